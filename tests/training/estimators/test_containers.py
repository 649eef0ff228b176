"""The containers in which users pass data give what arrays give."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import make_classification
from sklearn.frozen import FrozenEstimator
from skorch import NeuralNetClassifier
from skorch.callbacks import EpochScoring
from skorch.dataset import Dataset as SkorchDataset
from skorch.helper import SliceDataset, predefined_split
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset, TensorDataset

from sklflat import ActivationProbe, SAMClassifier, SAMRegressor, from_module
from sklflat.exceptions import UnsupportedNetworkError
from sklflat.training.runs import Training
from sklflat.training.stacking import train

X, y = make_classification(120, 6, n_informative=5, n_redundant=0, n_classes=3, random_state=0)
X = X.astype(np.float32)
TOKENS = np.random.RandomState(0).randint(0, 20, (60, 5))


class Net(nn.Module):
    def __init__(self, n_features=6, n_outputs=3):
        super().__init__()
        self.first, self.last = nn.Linear(n_features, 8), nn.Linear(8, n_outputs)

    def forward(self, X):
        return self.last(torch.relu(self.first(X)))


class ReadsFloats(Net):
    """Insists on float32, whatever comes."""

    def forward(self, X):
        return super().forward(X.float() / 20)


class Tokens(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding, self.last = nn.Embedding(20, 4), nn.Linear(4, 3)

    def forward(self, X):
        return self.last(self.embedding(X).mean(1))


class Items(Dataset):
    def __init__(self, *columns):
        self.columns = columns

    def __len__(self):
        return len(self.columns[0])

    def __getitem__(self, i):
        items = tuple(c[i] for c in self.columns)
        return items if len(items) > 1 else items[0]


def skorch_net(module=Net, **own):
    own = {"criterion": nn.CrossEntropyLoss, "max_epochs": 3, "train_split": None, **own}
    return NeuralNetClassifier(module, lr=0.1, verbose=0, **own)


NETS = {
    "own": lambda: SAMClassifier((8,), max_iter=3, shuffle=False, random_state=0),
    "skorch": lambda: SAMClassifier(net=skorch_net(), random_state=0),
}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("kind", NETS)
@pytest.mark.parametrize(
    ("given", "labels"),
    [
        (Items(X), y),
        (Items(X), torch.as_tensor(y)),
        (Items(X, y), None),
        (Items(X, y[::-1]), y),  # y goes before the data set's own
        (TensorDataset(torch.as_tensor(X)), y),
        (TensorDataset(torch.as_tensor(X), torch.as_tensor(y)), None),
        (SliceDataset(SkorchDataset(X, y), 0), SliceDataset(SkorchDataset(X, y), 1)),
        (Subset(Items(np.r_[X, X], np.r_[y, y]), range(120)), None),
        (torch.as_tensor(X), torch.as_tensor(y)),
        (list(torch.as_tensor(X)), y),
        (torch.as_tensor(X).requires_grad_(), y),
    ],
)
def test_data_sets_and_tensors_are_read_as_arrays(kind, given, labels):
    ours, theirs = NETS[kind]().fit(given, labels), NETS[kind]().fit(X, y)
    np.testing.assert_allclose(ours.predict_proba(given), theirs.predict_proba(X), atol=1e-5)
    np.testing.assert_allclose(ours.transform(given), theirs.transform(X), atol=1e-4)
    np.testing.assert_allclose(ours.sharpness(given, y), theirs.sharpness(X, y), rtol=1e-3)
    probe = ActivationProbe(FrozenEstimator(ours), n_null=20).fit(
        given, y if labels is None else labels
    )
    assert len(probe.unit_scores_) == 8


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("net", [ReadsFloats, skorch_net(ReadsFloats)])
def test_a_data_set_of_bytes_is_cast_as_in_training(net):
    B = np.abs(X * 20).astype(np.uint8)
    settings = {} if isinstance(net, NeuralNetClassifier) else {"max_iter": 3, "shuffle": False}
    fitted = SAMClassifier(net=net, random_state=0, **settings).fit(Items(B, y))
    expected = clone(fitted).fit(B.astype(np.float32), y).predict_proba(B.astype(np.float32))
    np.testing.assert_allclose(fitted.predict_proba(Items(B)), expected, atol=1e-5)
    np.testing.assert_allclose(fitted.predict_proba(B), expected, atol=1e-5)


class Endless(IterableDataset):
    def __iter__(self):
        return iter(zip(X, y, strict=True))


@pytest.mark.parametrize(
    ("given", "labels", "error", "message"),
    [
        (Endless(), None, TypeError, "IterableDataset"),
        (DataLoader(Items(X, y)), None, TypeError, "X.dataset"),
        ((X[:, :3], X[:, 3:]), y, TypeError, "tuple of 2 arrays"),
        ([X[:, :2], X[:, 2:]], y, TypeError, "list of 2 arrays"),
        (Items(X), None, ValueError, "without targets"),
        (Items(X, y), y[:5], ValueError, "inconsistent numbers of samples"),
        (Items(X[:0], y[:0]), None, ValueError, r"0 sample"),
    ],
)
@pytest.mark.parametrize("kind", NETS)
def test_what_cannot_be_read_is_named(kind, given, labels, error, message):
    with pytest.raises(error, match=message):
        NETS[kind]().fit(given, labels)


# --- token ids --------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(
    "container",
    [
        np.ndarray.tolist,
        pd.DataFrame,
        lambda T: pd.DataFrame(T).astype("category"),
        lambda T: pd.DataFrame(T).astype("Int64"),
        lambda T: T.astype(object),
        lambda T: T.astype(np.uint8),
        torch.as_tensor,
        lambda T: torch.as_tensor(T, dtype=torch.int32),
        lambda T: list(torch.as_tensor(T)),
    ],
)
def test_token_ids_are_read_from_every_container(container):
    labels, module = np.arange(60) % 3, Tokens()
    given = container(TOKENS)
    frozen = from_module(module, classes=[0, 1, 2])
    assert np.array_equal(frozen.predict_proba(given), frozen.predict_proba(TOKENS))
    for net in (Tokens, skorch_net(Tokens)):
        settings = {"max_iter": 2} if net is Tokens else {}
        fitted = SAMClassifier(net=net, random_state=0, **settings).fit(given, labels)
        expected = clone(fitted).fit(TOKENS, labels).predict_proba(TOKENS)
        np.testing.assert_allclose(fitted.predict_proba(given), expected, atol=1e-6)


def test_token_ids_as_floats_are_refused_with_the_remedy():
    floats = TOKENS / 1.0
    with pytest.raises(UnsupportedNetworkError, match=r"X.astype\(int\)"):
        from_module(Tokens(), classes=[0, 1, 2]).predict(floats)
    with pytest.raises(UnsupportedNetworkError, match=r"X.astype\(int\)"):
        SAMClassifier(net=Tokens).fit(floats, np.arange(60) % 3)


# --- validation data that a net brings --------------------------------------------------------


@pytest.mark.parametrize("names", [[1, 2, 3], ["a", "b", "c"], [-1.0, 2.0, 30.0]])
@pytest.mark.parametrize("kept", [[0, 1, 2], [0, 2], [1]])
def test_predefined_splits_are_encoded_and_scored_as_the_estimator_scores(names, kept):
    labels = np.array(names)[y]
    rows = np.flatnonzero(np.isin(y[:40], kept))
    for dtype in (np.float32, np.float64):
        valid = SkorchDataset(X[rows].astype(np.float32), labels[rows])
        scoring = EpochScoring("accuracy", name="own", use_caching=False, lower_is_better=False)
        net = skorch_net(train_split=predefined_split(valid), callbacks=[scoring])
        fitted = SAMClassifier(net=net, random_state=0).fit(X[40:].astype(dtype), labels[40:])
        score = fitted.score(X[rows].astype(dtype), labels[rows])
        last = fitted.net_.history[-1]
        assert last["valid_acc"] == last["own"] == score
        losses = -np.log(fitted.predict_proba(X[rows])[np.arange(len(rows)), y[rows]])
        assert last["valid_loss"] == pytest.approx(losses.mean(), rel=1e-4)
        assert fitted.net_.train_split is fitted.net_.get_params()["train_split"]


def test_a_data_set_is_trained_beside_a_predefined_split():
    for labels in (y + 1, np.array(["a", "b", "c"])[y]):
        net = skorch_net(train_split=predefined_split(SkorchDataset(X[:40], labels[:40])))
        fitted = SAMClassifier(net=net, random_state=0).fit(Items(X[40:], labels[40:]))
        assert fitted.net_.history[-1, "valid_acc"] == fitted.score(X[:40], labels[:40])


def test_predefined_splits_of_unknown_classes_are_named():
    net = skorch_net(train_split=predefined_split(SkorchDataset(X[:9], y[:9] + 7)))
    with pytest.raises(ValueError, match="not among"):
        SAMClassifier(net=net).fit(X, y)


# --- NumPy scalars ----------------------------------------------------------------------------

FLOATS = {
    "rho": 0.05,
    "alpha": 1e-4,
    "learning_rate_init": 1e-3,
    "beta_1": 0.9,
    "beta_2": 0.99,
    "epsilon": 1e-8,
    "tol": 1e-4,
    "momentum": 0.9,
    "power_t": 0.5,
    "validation_fraction": 0.25,
    "dropout": 0.25,
}
INTEGERS = {"batch_size": 16, "max_iter": 3, "n_iter_no_change": 4, "random_state": 3}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("make", [SAMClassifier, SAMRegressor])
@pytest.mark.parametrize("solver", ["adam", "sgd"])
@pytest.mark.parametrize("kinds", [(np.float32, np.int64), (np.float64, np.uint8)])
def test_numpy_scalars_are_numbers(make, solver, kinds):
    floats = {k: kinds[0](v) for k, v in FLOATS.items()}
    integers = {k: kinds[1](v) for k, v in INTEGERS.items()}
    more = {"early_stopping": np.bool_(True), "solver": solver}
    more["learning_rate"] = "invscaling" if solver == "sgd" else "constant"
    ours = make((kinds[1](8),), **floats, **integers, **more).fit(X, y)
    plain = {k: v.item() for k, v in {**floats, **integers}.items()}
    theirs = make((8,), **plain, **more).fit(X, y)
    assert np.array_equal(ours.predict(X), theirs.predict(X))


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.int32, np.int64])
@pytest.mark.parametrize("variant", ["sam", "gsam"])
def test_narrow_integers_are_cast_batch_by_batch_to_the_same_numbers(kind, variant):
    B = np.abs(X * 20).astype(kind)
    weight = np.random.RandomState(0).rand(len(B))
    for net, early in ((None, False), (Net, True)):
        base = SAMClassifier(
            net=net, variant=variant, max_iter=3, early_stopping=early, random_state=0
        )
        ours = clone(base).fit(B, y, sample_weight=weight)
        theirs = clone(base).fit(B.astype(float), y, sample_weight=weight)
        assert np.array_equal(ours.predict_proba(B), theirs.predict_proba(B.astype(float)))
        stacks = [Training(clone(base).set_params(random_state=s), B, y) for s in range(3)]
        assert sorted(train(stacks)) == [0, 1, 2]
        alone = clone(base).fit(B.astype(float), y)
        got = stacks[0].estimator.predict_proba(B)
        np.testing.assert_allclose(got, alone.predict_proba(B), atol=1e-8)


@pytest.mark.slow
def test_bytes_take_the_memory_of_a_few_batches():
    """30 MB of them: in the beginning they took 712 MB."""
    code = (
        "import resource, numpy as np, torch; from torch import nn;"
        "from sklflat import SAMClassifier;"
        "torch.set_num_threads(1);"
        "I = np.frombuffer(np.random.bytes(30_000_000), dtype=np.uint8).reshape(10_000, 3000);"
        "rss = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3;"
        "make = lambda n_features, n_outputs: nn.Linear(n_features, n_outputs);"
        "SAMClassifier(net=make, max_iter=1).fit(I[:50], np.arange(50) % 3);"
        "before = rss();"
        "SAMClassifier(net=make, max_iter=1).fit(I, np.arange(10_000) % 3).predict(I);"
        "print(rss() - before)"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True
    )
    assert float(done.stdout) < 300
