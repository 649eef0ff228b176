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
from tests._slow import slow_after
from tests.cases import CASES

ARCHITECTURES = sorted(set(CASES) - {"conv_autoencoder"})
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
QUESTIONS = [
    "Is the network deterministic?",
    "Is it the same with gradients?",
    "Is each row's output its own?",
    "Is each row's activation its own?",
    "Does the loss add up?",
    "Are the derivatives right?",
    "Are the derivatives right?",
]


@pytest.mark.parametrize("name", slow_after(6, ARCHITECTURES))
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


class Sorts(Plain):
    """Sorts the rows of a batch, and puts outputs back."""

    def forward(self, x):
        order = x[:, 0].argsort()
        return super().forward(x[order])[order.argsort()]


X = np.random.RandomState(0).normal(size=(50, 4))
Y = X[:, :3].argmax(1)


@pytest.mark.parametrize(
    ("module", "criterion", "question"),
    [
        (Drops(), None, QUESTIONS[0]),
        (Centres(), None, QUESTIONS[2]),
        (Sorts(), None, QUESTIONS[3]),
        (Plain(), Own(), QUESTIONS[4]),
        (Cuts(), None, QUESTIONS[5]),
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


def test_padding_that_torch_zeroes_without_gradients_is_refused():
    class Padded(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            layer = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True, dropout=0.0)
            self.encoder, self.last = nn.TransformerEncoder(layer, 1), nn.Linear(4, 3)

        def forward(self, X):
            rows = X[:, None].expand(-1, 3, -1) * torch.arange(1, 4).to(X)[:, None]
            mask = torch.tensor([False, False, True]).expand(len(X), -1)
            return self.last(self.encoder(rows, src_key_padding_mask=mask).mean(1))

    checks = check_network(from_module(Padded(), classes=[0, 1, 2]), X, Y)
    assert [c.question for c in checks.checks if not c.passed] == [QUESTIONS[1]]
    assert "enable_nested_tensor=False" in repr(checks)


def test_lengths_have_to_agree():
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        check_network(from_module(Plain(), classes=[0, 1, 2]), X, Y[:10])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_networks_of_a_lower_precision_inside_are_no_failure(dtype):
    class Lower(Body):
        def between(self, a):
            return a.to(dtype).relu().to(a.dtype)

    checks = check_network(from_module(Lower(), classes=[0, 1, 2]), X, Y)
    assert checks.passed, checks
    assert ("not compared" in repr(checks)) == (dtype == torch.bfloat16)


def test_what_the_table_says():
    ended = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 3), nn.Softmax(1))
    said = repr(check_network(from_module(ended, classes=[0, 1, 2]), X, Y))
    assert "probabilities, taken to the logits before the softmax" in said
    assert "float32, float32 inside" in said
    assert "3 in 1 layers" in said
    linear = repr(check_network(from_module(nn.Linear(4, 3), classes=[0, 1, 2]), X, Y))
    assert "none: No hidden layer" in linear


def test_classes_in_another_order_than_the_outputs_are_noticed():
    rows = np.random.RandomState(0).normal(size=(90, 3))
    names = np.array(["ash", "oak", "yew"])
    y, module = names[rows.argmax(axis=1)], nn.Linear(3, 3)
    with torch.no_grad():
        _ = module.weight.copy_(torch.eye(3)), module.bias.zero_()
    asked = "are classes in the order of the outputs?"
    assert asked not in repr(check_network(from_module(module, classes=names), rows, y))
    assert asked in repr(check_network(from_module(module, classes=names[[1, 2, 0]]), rows, y))
    # chance is no wrong order: 30 rows of 90 right, as of the most frequent class
    assert asked not in repr(check_network(from_module(module, classes=names), rows[::-1], y))


def test_fitted_estimators_and_pipelines():
    model = make_pipeline(StandardScaler(), SAMClassifier(max_iter=3, random_state=0)).fit(X, Y)
    assert check_network(model, X, Y).passed
    assert check_network(FrozenEstimator(model), X, Y).passed
