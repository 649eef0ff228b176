"""Small versions of the tables of trees and units, which fail if either were wrong."""

import numpy as np
import pytest
from scipy.cluster.hierarchy import linkage
from scipy.spatial.distance import squareform
from sklearn.frozen import FrozenEstimator

from sklflat import SAMClassifier, TemperatureProbe
from sklflat.datasets import Truth, make_class_tree
from sklflat.training.runs import Training
from sklflat.training.stacking import train

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:No unit scores above 0"),
]
N_SEEDS, N_TRAIN = 3, 3000


def fitted(sets):
    """A network for each data set, trained as a stack, and probes of them on other rows."""
    options = {"rho": 0, "learning_rate_init": 0.003, "max_iter": 25}
    trainings = [
        Training(SAMClassifier((128,), random_state=seed, **options), X[:N_TRAIN], y[:N_TRAIN])
        for seed, (X, y, _) in enumerate(sets)
    ]
    list(train(trainings))
    return [
        TemperatureProbe(
            FrozenEstimator(t.estimator), n_bootstrap=30, n_null=100, random_state=0
        ).fit(X[N_TRAIN:], y[N_TRAIN:])
        for t, (X, y, _) in zip(trainings, sets, strict=True)
    ]


def planted(tree, overlap):
    separation, decay = overlap
    return [
        make_class_tree(
            N_TRAIN + 1000,
            tree=tree,
            separation=separation,
            decay=decay,
            n_noise=0,
            warp="parity",
            random_state=seed,
        )
        for seed in range(N_SEEDS)
    ]


@pytest.mark.parametrize("tree", ["balanced", "unbalanced"])
def test_a_tree_is_found_and_is_the_planted_one(tree):
    sets = planted(tree, (5.0, 0.7))
    probes = fitted(sets)
    assert all(probe.hierarchy_ is not None for probe in probes)
    truths = [truth for *_, truth in sets]
    found = [
        truth.triplet_accuracy(probe.hierarchy_.linkage)
        for probe, truth in zip(probes, truths, strict=True)
    ]
    assert min(found) > 0.9
    # class means of the inputs have nothing to say: chance is 1/3
    by_inputs = [
        truth.triplet_accuracy(c.linkage)
        for probe, truth in zip(probes, truths, strict=True)
        for c in probe.comparisons_
        if c.name == "class means of the inputs"
    ]
    assert np.mean(by_inputs) < 0.6


def test_a_star_has_no_hierarchy():
    assert [probe.hierarchy_ for probe in fitted(planted("star", (5.0, 0.7)))] == [None] * N_SEEDS


def test_units_that_read_the_top_level_are_the_coarse_ones():
    """The area is .81 in the table, and .5 for a score without a meaning."""
    sets = planted("balanced", (8.0, 0.6))
    areas = []
    for probe, (X, _, truth) in zip(fitted(sets), sets, strict=True):
        weights = dict(probe.estimator_.module_.named_parameters())["hidden.linear_0.weight"]
        reads = np.square(weights.detach().double().numpy()) * X.var(axis=0)
        share = reads[:, truth.levels == 0].sum(axis=1) / reads.sum(axis=1)
        areas.append(truth.auc(probe.unit_scores_, of=share >= np.quantile(share, 0.75)))
    assert min(areas) > 0.6


def test_a_moderate_temperature_needs_fewer_rows_than_confusions():
    """Classes of three bits, flipped rarely: 300 rows hold few confusions."""
    sets = []
    for seed in range(N_SEEDS):
        rng = np.random.RandomState(seed)
        X = rng.normal(size=(N_TRAIN + 300, 10))
        bits = X[:, [0, 2, 4]] * X[:, [1, 3, 5]] > 0
        bits ^= rng.uniform(size=bits.shape) < (0.005, 0.01, 0.03)
        numbers = np.arange(8)
        height = np.frexp(numbers[:, None] ^ numbers)[1].astype(float)
        sets.append((X, bits @ [4, 2, 1], Truth(linkage=linkage(squareform(height), "single"))))
    gains = []
    for probe, (*_, truth) in zip(fitted(sets), sets, strict=True):
        hard = next(c for c in probe.comparisons_ if c.name == "hard confusion")
        gains.append(
            truth.triplet_accuracy(probe.tree_.linkage) - truth.triplet_accuracy(hard.linkage)
        )
    assert min(gains) >= 0
    assert np.mean(gains) > 0
