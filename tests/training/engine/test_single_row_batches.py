"""A last batch of one row with batch normalisation is part of the batch before."""

import numpy as np
import pytest
import torch
from skorch import NeuralNetClassifier
from skorch.dataset import Dataset
from torch import nn

from sklflat import FlatNoiseClassifier, SAMClassifier, StackedSearchCV
from sklflat.training.engine.loader import TensorLoader
from sklflat.training.runs import Training
from sklflat.training.stacking import train

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::sklflat.exceptions.NoiseWarning"),  # two epochs are few
]
RNG = np.random.RandomState(0)
X = RNG.normal(size=(201, 4))
y = X[:, :3].argmax(1)


def normed(n_features, n_outputs):
    return nn.Sequential(
        nn.Linear(n_features, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, n_outputs)
    )


def convolved(n_features, n_outputs):
    """Has several values of a channel in one row."""
    return nn.Sequential(
        nn.Unflatten(1, (1, n_features)),
        nn.Conv1d(1, 3, 2),
        nn.BatchNorm1d(3),
        nn.Flatten(),
        nn.Linear(3 * (n_features - 1), n_outputs),
    )


def sizes_of(**settings):
    seen = []

    def watched(n_features, n_outputs):
        module = settings["net"](n_features, n_outputs)
        module.register_forward_hook(
            lambda m, given, out: seen.append(len(out)) if m.training else None
        )
        return module

    settings = {"max_iter": 1, "rho": 0, "random_state": 0, **settings}
    SAMClassifier(**{**settings, "net": watched}).fit(X, y)
    while sum(seen) > len(X):  # what was run before the epoch
        seen.pop(0)
    return seen


def test_the_row_goes_to_the_batch_before_where_it_could_not_be_normalised():
    assert sizes_of(net=normed, batch_size=100) == [100, 101]
    assert sizes_of(net=normed, batch_size=67) == [67, 67, 67]
    assert sizes_of(net=convolved, batch_size=100) == [100, 100, 1]


@pytest.mark.parametrize("shuffle", [True, False])
def test_fits_with_the_defaults(shuffle):
    for make in (
        lambda: SAMClassifier(net=normed, max_iter=2, shuffle=shuffle),
        lambda: SAMClassifier(net=normed, max_iter=2, shuffle=shuffle, batch_size=40),
        lambda: FlatNoiseClassifier(net=normed, max_iter=2, shuffle=shuffle),
    ):
        assert np.isfinite(make().fit(X, y).predict_proba(X)).all()
    part = SAMClassifier(net=normed, shuffle=shuffle).partial_fit(X, y, classes=[0, 1, 2])
    assert np.isfinite(part.predict_proba(X)).all()


def test_a_stack_cuts_batches_as_a_training_alone():
    def made():
        return [
            SAMClassifier(net=normed, max_iter=3, batch_size=50, random_state=s) for s in (0, 1)
        ]

    together, alone = made(), made()
    for estimators, stack in ((together, True), (alone, False)):
        trainings = [Training(e, X, y) for e in estimators]
        list(train(trainings, stack=stack))
        assert [t.error for t in trainings] == [None, None]
    for a, b in zip(together, alone, strict=True):
        np.testing.assert_allclose(a.predict_proba(X), b.predict_proba(X), atol=1e-8)
    search = StackedSearchCV(
        SAMClassifier(net=normed, max_iter=2, batch_size=50, random_state=0),
        {"rho": [0.0, 0.05]},
        cv=3,
        error_score="raise",
    )
    assert np.isfinite(search.fit(X[:152], y[:152]).best_score_)


def test_one_row_has_no_statistics():
    with pytest.raises(ValueError, match="at least 2 samples for a variance, got batch_size=1"):
        SAMClassifier(net=normed, batch_size=1).fit(X, y)
    with pytest.raises(ValueError, match="at least 2 samples"):
        SAMClassifier(net=normed, batch_size=10).partial_fit(X[:1], y[:1], classes=[0, 1, 2])


def test_skorchs_own_batches_are_left_and_the_remedy_named():
    net = NeuralNetClassifier(
        normed(4, 3),
        criterion=nn.CrossEntropyLoss,
        batch_size=100,
        max_epochs=1,
        verbose=0,
        train_split=None,
    )
    rows = X.astype("float32")
    with pytest.raises(ValueError, match=r"batch of one sample.*iterator_train__drop_last=True"):
        SAMClassifier(net=net).fit(rows, y)
    net.set_params(iterator_train__drop_last=True)
    SAMClassifier(net=net).fit(rows, y)


def test_sizes_of_batches():
    rows = torch.zeros(9, 1)
    for least, size, expected in [(1, 4, [4, 4, 1]), (2, 4, [4, 5]), (2, 10, [9]), (2, 8, [9])]:
        loader = TensorLoader(Dataset(rows, rows), size, least=least)
        assert loader.sizes(9) == expected
        assert [len(x) for x, _ in loader] == expected
        assert len(loader) == len(expected)
