"""Loaders, dictionaries and modules of several outputs: said in our words, with what to do."""

import numpy as np
import pytest
import torch
from sklearn.frozen import FrozenEstimator
from skorch import NeuralNetClassifier
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from sklflat import (
    AblationProbe,
    ActivationProbe,
    FlatNoiseClassifier,
    HessianSpectrum,
    SAMClassifier,
    SAMRegressor,
    TemperatureProbe,
    from_module,
)
from sklflat.exceptions import OutputWidthError, UnsupportedNetworkError

X = np.random.RandomState(0).normal(size=(40, 4)).astype("float32")
y = X[:, :3].argmax(1)


def plain():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))


def asks(model):
    for probe in (ActivationProbe, AblationProbe, HessianSpectrum, TemperatureProbe):
        yield lambda X, probe=probe: probe(model).fit(X, y)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (DataLoader(TensorDataset(torch.as_tensor(X), torch.as_tensor(y))), r"X\.dataset"),
        ({"a": X[:, :2], "b": X[:, 2:]}, r"\['a', 'b'\].*default network|names of forward's"),
    ],
)
def test_loaders_and_dictionaries(given, message):
    model = from_module(plain(), classes=[0, 1, 2])
    net = NeuralNetClassifier(plain(), criterion=nn.CrossEntropyLoss, verbose=0, max_epochs=1)
    frozen = FrozenEstimator(net.fit(X, y))
    for ask in (
        model.predict,
        *asks(model),
        *asks(frozen),
        *(
            lambda X, e=e: e.fit(X, y)
            for e in (
                SAMClassifier(),
                SAMRegressor(),
                FlatNoiseClassifier(),
                SAMClassifier(net=net),
            )
        ),
    ):
        with pytest.raises((TypeError, UnsupportedNetworkError), match=message):
            ask(given)


class Several(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.body, self.kind = plain(), kind

    def forward(self, X):
        z = self.body(X)
        return {"dict": {"logits": z}, "tuple": (z, z), "list": [z]}[self.kind]


@pytest.mark.parametrize("kind", ["dict", "tuple", "list"])
def test_modules_of_several_outputs(kind):
    model = from_module(Several(kind), classes=[0, 1, 2])
    for ask in (model.predict, *asks(model), SAMClassifier(net=Several(kind)).fit):
        with pytest.raises(OutputWidthError, match=f"got {kind}"):
            ask(X, y) if ask.__name__ == "fit" else ask(X)


@pytest.mark.parametrize(
    "compiled", [torch.jit.script, lambda m: torch.jit.trace(m, torch.ones(2, 4))]
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_scripted_modules_predict_but_hide_what_probes_need(compiled):
    module = plain()
    model = from_module(compiled(module), classes=[0, 1, 2])
    right = from_module(module, classes=[0, 1, 2]).predict_proba(X)
    np.testing.assert_allclose(model.predict_proba(X), right, atol=1e-6)
    for ask in asks(model):
        with pytest.raises(UnsupportedNetworkError, match=r"torch\.jit hides its units"):
            ask(X)
    with pytest.raises(UnsupportedNetworkError, match=r"torch\.jit cannot be copied"):
        SAMClassifier(net=compiled(module)).fit(X, y)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.filterwarnings("ignore::sklflat.exceptions.NothingFoundWarning")
def test_compiled_modules_are_what_they_were_made_from():
    module = plain()
    inside = nn.Sequential(torch.compile(module[:2], backend="eager"), module[2])
    parallel = nn.DataParallel(torch.compile(module, backend="eager"))
    for given in (torch.compile(module, backend="eager"), inside, parallel):
        model = from_module(given, classes=[0, 1, 2])
        right = from_module(module, classes=[0, 1, 2])
        np.testing.assert_allclose(model.predict_proba(X), right.predict_proba(X), atol=1e-9)
        scores = [ActivationProbe(e, random_state=0).fit(X, y).unit_scores_ for e in (model, right)]
        np.testing.assert_allclose(*scores, atol=1e-9)
        assert len(HessianSpectrum(model, n_components=1).fit(X, y).eigenvalues_) == 1
        assert SAMClassifier(net=given, max_iter=2).fit(X, y).predict(X).shape == y.shape


class Sparse(nn.Module):
    def __init__(self, sparse):
        super().__init__()
        torch.manual_seed(0)
        self.table, self.last = nn.Embedding(20, 6, sparse=sparse), nn.Linear(6, 3)

    def forward(self, X):
        return self.last(self.table(X).mean(1).tanh())


@pytest.mark.filterwarnings("ignore::sklflat.exceptions.NothingFoundWarning")
def test_sparse_embeddings_are_as_dense_ones():
    tokens = np.random.RandomState(0).randint(0, 20, (60, 5))
    found = [
        HessianSpectrum(from_module(Sparse(s), classes=[0, 1, 2]), n_components=2, random_state=0)
        .fit(tokens, tokens[:, 0] % 3)
        .eigenvalues_
        for s in (True, False)
    ]
    np.testing.assert_allclose(*found, rtol=1e-8)
