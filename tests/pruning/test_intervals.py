"""Intervals of the drop: skewed losses of regressors, and rows in time."""

import numpy as np
import pytest
import torch
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import TimeSeriesSplit

from sklflat import PruningPath, SAMRegressor, from_module
from sklflat.exceptions import NothingFoundWarning
from sklflat.metrics import mean_bounds
from tests._probes import two_layer
from tests.probing.test_groups import autocorrelated

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::sklflat.exceptions.NothingFoundWarning"),
]


def rare(seed, n):
    """A network of which one unit speaks for one row in fourteen, and rows for it."""
    x = np.random.RandomState(seed).normal(size=(n, 1))
    W1, b1 = np.array([[1.0, -1.0, 1.0, -1.0]]), np.array([0.0, 0.0, -1.8, -1.8])
    module = two_layer(W1, b1, np.array([[2.0], [-2.0], [1.5], [1.5]]), np.zeros(1))
    noise = np.random.RandomState(seed + 10_000).normal(size=n)
    y = module(torch.as_tensor(x)).detach().numpy()[:, 0] + noise
    return from_module(module), x, y


def test_intervals_of_regressors_are_those_of_skewed_means():
    network, x, y = rare(0, 400)
    settings = {"refit": False, "n_random": 2, "n_units": 2, "random_state": 0}
    halves = [(np.arange(200), np.arange(200, 400))]

    class Halves:
        def split(self, X, y=None, groups=None):
            yield from halves

    path = PruningPath(network, holdout=Halves(), **settings).fit(x, y)
    keep = torch.as_tensor(path.support_)
    with torch.no_grad():
        module = network.module
        a = torch.relu(module[0](torch.as_tensor(x)))
        silenced = torch.where(keep, a, a[:200].mean(0))
        whole, small = (module[2](v)[200:, 0].numpy() for v in (a, silenced))
    judged = y[200:]
    rises = ((judged - small) ** 2 - (judged - whole) ** 2) / judged.var()
    low, high = mean_bounds(rises)
    row = path.path_.at(2)
    assert (row["low"], row["high"]) == pytest.approx((low, high), rel=1e-5)
    assert row["drop"] == pytest.approx(rises.mean(), rel=1e-5)


@pytest.mark.parametrize("grouped", [False, True])
def test_an_interval_of_a_gain_of_a_regressor_lies_below_zero(grouped):
    """A unit that only adds noise: without it R^2 rises, and zero is no part of the interval."""
    X = np.random.RandomState(0).normal(size=(400, 2))
    module = two_layer(np.eye(2), np.zeros(2), np.array([[1.0], [1.0]]), np.zeros(1))
    y = np.maximum(X[:, 0], 0) + 0.1 * np.random.RandomState(1).normal(size=400)
    params = {"groups": np.arange(400) // 2} if grouped else {}
    path = PruningPath(from_module(module), n_units=1, refit=False, n_random=2, random_state=0)
    row = path.fit(X, y, **params).path_.at(1)
    assert row["low"] < row["drop"] < row["high"] < 0


def test_doubled_weights_of_regressors_are_weighted_means():
    network, x, y = rare(0, 300)
    settings = {"refit": False, "n_random": 2, "n_units": 2, "random_state": 0}
    plain = PruningPath(network, **settings).fit(x, y)
    heavy = PruningPath(network, **settings).fit(x, y, sample_weight=np.full(300, 7.0))
    np.testing.assert_allclose(heavy.path_.path.high, plain.path_.path.high)
    some = np.where(np.arange(300) % 2, 0.0, 1.0)
    weighted = PruningPath(network, **settings).fit(x, y, sample_weight=some)
    assert weighted.path_.n_judged < plain.path_.n_judged
    assert np.isfinite(weighted.path_.path.high).all()


def test_a_row_that_outweighs_all_others_shows_nothing():
    network, x, y = rare(0, 400)
    weight = np.ones(400)
    weight[::3] = 1e6  # some of these are judged: with them, all others count for nothing
    weight[3:] = np.where(weight[3:] > 1, 1.0, weight[3:])
    halves = [(np.arange(200, 400), np.arange(200))]

    class Halves:
        def split(self, X, y=None, groups=None):
            yield from halves

    path = PruningPath(network, holdout=Halves(), refit=False, n_random=2, random_state=0)
    path.fit(x, y, sample_weight=weight)
    assert np.isinf(path.path_.path.high).all()
    assert path.support_.all()


def test_a_series_is_judged_by_blocks():
    rng = np.random.RandomState(0)
    X = autocorrelated(rng, 3000, 0.9, (4,))
    y = X[:, 0] - np.abs(X[:, 1]) + 0.5 * rng.normal(size=3000)
    net = SAMRegressor((8,), max_iter=20, learning_rate_init=0.02, random_state=0)
    frozen = FrozenEstimator(net.fit(X[:1000], y[:1000]))
    rest, settings = slice(1000, None), {"n_units": 3, "n_random": 2, "random_state": 0}
    path = PruningPath(frozen, holdout=TimeSeriesSplit(2), **settings).fit(X[rest], y[rest])
    assert path.path_.parts == "blocks"
    assert path.path_.n_judged == 666
    assert path.path_.n_groups < 666 / 5
    short = PruningPath(frozen, tol=0.5, n_random=2, holdout=TimeSeriesSplit(9, test_size=60))
    with pytest.warns(NothingFoundWarning, match="blocks of judged rows are too few"):
        short.fit(X[rest], y[rest])
    assert short.support_.all()


@pytest.mark.slow
def test_intervals_of_rare_losses_cover_more_than_students():
    """Of 300 rows, .92 where Student's interval covers .89; nominal .95."""

    def losses(rng, n):
        x, e = rng.normal(size=(2, n))
        d = np.where(np.abs(x) > 1.8, 1.5 * (np.abs(x) - 1.8), 0)
        return (e - d) ** 2 - e**2

    true = losses(np.random.RandomState(1), 4_000_000).mean()
    draws = losses(np.random.RandomState(0), 300 * 2000).reshape(300, 2000)
    low, high = mean_bounds(draws)
    half = 1.968 * draws.std(axis=0, ddof=1) / np.sqrt(300)
    covered = ((low <= true) & (true <= high)).mean()
    students = (np.abs(draws.mean(axis=0) - true) <= half).mean()
    assert covered > students + 0.01
    assert covered > 0.9
