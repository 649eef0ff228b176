"""The table of checks: all of it is measured, and what fails says what to do."""

import numpy as np
import pytest
import torch
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn
from torch.nn import functional as F

from sklflat import SAMClassifier, check_network, from_module
from tests.cases import CASES

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
QUESTIONS = [
    "Is the network deterministic?",
    "Is each row's output its own?",
    "Does the loss add up?",
    "Are the derivatives right?",
    "Are the derivatives right?",
]


@pytest.mark.parametrize("name", [name for name in CASES if name != "conv_autoencoder"])
def test_architectures_pass(name):
    case = CASES[name]
    X = case.rows(20)
    module = case.module()
    k = module.double().eval()(X).shape[1]
    model = from_module(module, classes=np.arange(k))
    checks = check_network(model, X.numpy(), np.arange(20) % k)
    assert [c.question for c in checks.checks] == QUESTIONS
    assert checks.passed, checks
    assert all(np.isfinite(c.deviation) for c in checks.checks)
    assert (checks.to_frame()["answer"] == "yes").all()


class Body(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Linear(4, 9), nn.Linear(9, 3)

    def forward(self, X):
        return self.last(self.between(self.first(X)))


class Drops(Body):
    def between(self, a):
        return F.dropout(a)


class Centres(Body):
    def between(self, a):
        return (a - a.mean(0)).tanh()


class Cuts(Body):
    def between(self, a):
        return a / a.detach().norm(dim=1, keepdim=True)


class Own(nn.Module):
    def forward(self, z, y):
        return F.cross_entropy(z, y) ** 2


class Plain(Body):
    def between(self, a):
        return a.tanh()


X = np.random.RandomState(0).normal(size=(50, 4))
Y = X[:, :3].argmax(1)


@pytest.mark.parametrize(
    ("module", "criterion", "question"),
    [
        (Drops(), None, QUESTIONS[0]),
        (Centres(), None, QUESTIONS[1]),
        (Plain(), Own(), QUESTIONS[2]),
        (Cuts(), None, QUESTIONS[3]),
        (nn.Sequential(Plain(), nn.Sigmoid()), None, "Is it known what outputs mean?"),
    ],
)
def test_what_fails_is_named_with_advice(module, criterion, question):
    checks = check_network(from_module(module, criterion, classes=[0, 1, 2]), X, Y)
    assert not checks.passed
    failed = [c for c in checks.checks if not c.passed]
    assert failed[0].question == question
    assert failed[0].advice
    assert "NO" in repr(checks)
    assert failed[0].advice in repr(checks)


def test_what_the_table_says():
    ended = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 3), nn.Softmax(1))
    said = repr(check_network(from_module(ended, classes=[0, 1, 2]), X, Y))
    assert "probabilities, taken to logits" in said
    assert "float64, float64 inside" in said
    assert "3 in 1 layers" in said
    linear = repr(check_network(from_module(nn.Linear(4, 3), classes=[0, 1, 2]), X, Y))
    assert "none: No hidden layer" in linear


def test_fitted_estimators_and_pipelines():
    model = make_pipeline(StandardScaler(), SAMClassifier(max_iter=3, random_state=0)).fit(X, Y)
    assert check_network(model, X, Y).passed
    assert check_network(FrozenEstimator(model), X, Y).passed
