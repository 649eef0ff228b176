"""Whether ModeConnectivityProbe is right where the truth is known."""

import warnings

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.frozen import FrozenEstimator

from sklflat import ModeConnectivityProbe, SAMClassifier, from_module
from sklflat.datasets import make_shared_private
from sklflat.exceptions import NothingFoundWarning
from sklflat.networks.state import read_state, write_state
from tests._probes import two_layer

X, Y = load_digits(return_X_y=True)
ORDER = np.random.RandomState(0).permutation(len(X))  # else the writers are not the same
X, Y = X[ORDER] / 16, Y[ORDER]
QUICK = {"n_points": 7, "n_null": 100, "n_units": 5, "random_state": 0}

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::sklflat.exceptions.NothingFoundWarning"),
    # that a single unit could not be in the core: nothing that is asked here
    pytest.mark.filterwarnings(
        "ignore:A null has too few draws:sklflat.exceptions.ConnectivityWarning"
    ),
]


def frozen(*modules):
    return [from_module(module) for module in modules]


@pytest.mark.slow
def test_connected_is_right_for_children_of_one_network_and_for_strangers():
    """20 pairs that share a basin, and 20 that do not, without alignment."""
    right = {"children": 0, "strangers": 0}
    common = {"rho": 0, "learning_rate_init": 0.01, "batch_size": 50}
    for seed in range(20):
        parent = SAMClassifier((32,), max_iter=15, random_state=seed, **common)
        parent.fit(X[:1000], Y[:1000])
        ends = []
        for child in (0, 1):
            module = SAMClassifier((32,), max_iter=1, random_state=0, **common)
            module = module.fit(X[:1000], Y[:1000]).module_
            write_state(module, read_state(parent.module_))
            twin = SAMClassifier(
                net=module, max_iter=10, random_state=100 + 2 * seed + child, **common
            )
            ends.append(FrozenEstimator(twin.fit(X[:1000], Y[:1000])))
        strangers = [
            FrozenEstimator(
                SAMClassifier((32,), max_iter=25, random_state=1000 + 2 * seed + i, **common).fit(
                    X[:1000], Y[:1000]
                )
            )
            for i in (0, 1)
        ]
        for name, pair in (("children", ends), ("strangers", strangers)):
            probe = ModeConnectivityProbe(pair, align=None, repair=False, **QUICK)
            probe.fit(X[1000:], Y[1000:])
            right[name] += probe.connected_ == (name == "children")
            if name == "strangers":  # they are ones whose barrier is there to be seen
                assert probe.barriers_.value("aligned", "error", "held-out", "mean") > 0.02
    assert right == {"children": 20, "strangers": 20}


@pytest.mark.slow
def test_the_planted_core_is_found_and_beside_it_the_ends():
    """Students of one teacher: precision and recall, and that of the ends, over 12 pairs."""
    precision, recall, by_ends = [], [], []
    for seed in range(12):
        data, y, truth = make_shared_private(1500, random_state=seed)
        pair = frozen(*(two_layer(s.W1, s.b1, s.W2, s.b2) for s in truth.students))
        probe = ModeConnectivityProbe(pair, n_points=9, random_state=seed).fit(data, y)
        found, shared = probe.core_.mask, truth.units
        precision.append((found & shared).sum() / found.sum())
        recall.append((found & shared).sum() / shared.sum())
        # the baseline: as many units, by the correlation of the ends alone
        top = np.argsort(-probe.core_.ends)[: found.sum()]
        by_ends.append(shared[top].mean())
        assert probe.gain_over_endpoints_.rank_correlation > 0.9
    assert np.mean(precision) >= 0.95
    assert np.mean(recall) >= 0.8
    # the path adds nothing to them, as theory says
    assert abs(np.mean(by_ends) - np.mean(precision)) < 0.02


def random_pair(seed, mask=None):
    rng = np.random.RandomState(seed)
    modules = []
    for i in range(2):
        W1 = rng.normal(size=(12, 20)) / 12**0.5
        if mask is not None:
            W1 = W1 * mask[i][:, None]
        modules.append(
            two_layer(W1, rng.normal(size=20) / 4, rng.normal(size=(20, 1)), np.zeros(1))
        )
    return modules


@pytest.mark.slow
@pytest.mark.parametrize("null", ["unrelated", "untrained", "shuffled labels"])
def test_there_is_no_core_where_a_null_is_true(null, draws):
    """20 pairs, or 8, for which one null is true: at most 5 % of the units are in a core."""
    n_found = n_units = 0
    rng = np.random.RandomState(0)
    for seed in range(draws(8, 20)):
        if null == "shuffled labels":  # trained by the probe, so that this null is drawn
            data, y = X[:800], rng.permutation(Y[:800])
            pair = SAMClassifier((20,), max_iter=20, learning_rate_init=0.02)
        else:
            data = rng.normal(size=(800, 12))
            y = data[:, 0]
            sides = [np.arange(12) < 6, np.arange(12) >= 6] if null == "unrelated" else None
            pair = frozen(*random_pair(seed, sides))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NothingFoundWarning)
            probe = ModeConnectivityProbe(pair, n_points=5, random_state=seed).fit(data, y)
        assert len(probe.nulls_) == (4 if null == "shuffled labels" else 3)
        n_found += len(probe.core_)
        n_units += len(probe.q_values_)
    assert n_found <= 0.05 * n_units
