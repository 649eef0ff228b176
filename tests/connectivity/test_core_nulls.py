"""Nulls of the invariant core, with an aligner of one hidden layer: draws, and what beats them."""

import copy

import numpy as np
import pytest
import torch
from scipy.stats import kstest
from sklearn.datasets import load_digits

from sklflat import SAMClassifier
from sklflat.connectivity.core_nulls import (
    n_pairs,
    paired_null,
    rotation_null,
    shuffled_label_pairs,
    split_null,
    untrained_pairs,
)
from sklflat.connectivity.core_scores import PathScores
from sklflat.datasets import make_shared_private
from sklflat.metrics import matched_correlation
from sklflat.probing.false_discovery import q_values
from sklflat.probing.nulls import split_halves
from sklflat.probing.training_set import TrainingSet
from tests._probes import two_layer
from tests._slow import slow_after


def hidden(module, X):
    """Activations of the first hidden layer."""
    return torch.relu(module[0](torch.as_tensor(X))).detach().numpy()


def aligned(pair, X):
    """The pair, the hidden units of the second in the order of the first's."""
    order = matched_correlation(hidden(pair[0], X), hidden(pair[1], X)).second
    second = copy.deepcopy(pair[1])
    with torch.no_grad():
        second[0].weight.copy_(pair[1][0].weight[order])
        second[0].bias.copy_(pair[1][0].bias[order])
        second[2].weight.copy_(pair[1][2].weight[:, order])
    return pair[0], second


def along(pair, X, n_points=9):
    """Activations at points of the straight path."""
    states = [module.state_dict() for module in pair]
    point = copy.deepcopy(pair[0])
    for t in np.linspace(0, 1, n_points):
        mixed = {name: (1 - t) * states[0][name] + t * states[1][name] for name in states[0]}
        point.load_state_dict(mixed)
        yield hidden(point, X)


def scorer(X, halves):
    def score(pair):
        pair = aligned(pair, X[halves[0]])
        found = PathScores.of(along(pair, X[halves[1]]), None)
        return found.correlation, np.zeros(len(found.ends), dtype=int), found.eligible

    return score


def planted(seed, **options):
    X, y, truth = make_shared_private(1200, random_state=seed, **options)
    pair = tuple(two_layer(s.W1, s.b1, s.W2, s.b2) for s in truth.students)
    return X, y, truth, pair


def four(X, pair, halves, rng, n_draws=2000):
    """The nulls that need no training."""
    A, B = hidden(pair[0], X), hidden(pair[1], X)
    layer_of = np.zeros(A.shape[1], dtype=int)
    twins = untrained_pairs(pair, int(np.ceil(n_draws / A.shape[1])), rng)
    return [
        split_null(A, B, halves, layer_of, n_draws, rng),
        paired_null("untrained twins", twins, scorer(X, halves), layer_of),
        rotation_null(A, B, halves, layer_of, n_draws, rng),
    ]


def core(scores, lives, nulls):
    """Mask of the units that pass all nulls at a false discovery rate of 5 %."""
    p = np.max([null.p_values(scores) for null in nulls], axis=0)
    return (q_values(np.where(lives, p, 1.0), ~lives) <= 0.05) & (scores > 0)


# --- draws in closed form ---------------------------------------------------------------------


def test_unrelated_units_correlate_as_independent_numbers_do():
    """Correlations of independent normals over m rows have standard deviation 1/sqrt(m - 1)."""
    rng = np.random.RandomState(0)
    A, B = rng.normal(size=(2, 400, 30))
    null = split_null(A, B, split_halves(400, rng), np.zeros(30, dtype=int), 6000, rng)
    assert null.draws.shape == (200, 30)
    assert null.draws.mean() == pytest.approx(0, abs=0.003)
    assert null.draws.std() == pytest.approx(1 / np.sqrt(199), rel=0.03)


def test_shuffling_unrelates_equal_networks_and_leaves_them_as_they_were():
    rng = np.random.RandomState(0)
    A = rng.normal(size=(300, 10))
    before = A.copy()
    null = split_null(A, A, split_halves(300, rng), np.zeros(10, dtype=int), 100, rng)
    assert np.abs(null.draws).max() < 0.4
    np.testing.assert_array_equal(A, before)
    # judged on the rows it was matched on, the same would be inflated
    rows = np.arange(300)
    inflated = split_null(A, A, (rows[:150], rows[:150]), np.zeros(10, dtype=int), 100, rng)
    assert inflated.draws.mean() > 0.04 > abs(null.draws.mean())


def test_rotations_of_one_and_of_two_units_in_closed_form():
    """In a plane, one matching has the sum 2 cos w, the other 0: both get E max(cos w, 0)."""
    rng = np.random.RandomState(0)
    A = np.linalg.qr(rng.normal(size=(1000, 3)))[0]
    null = rotation_null(A, A, split_halves(1000, rng), np.array([0, 1, 1]), 2000, rng)
    np.testing.assert_allclose(np.abs(null.draws[:, 0]), 1)  # a sign
    assert abs(null.draws[:, 0].mean()) < 0.1
    assert null.draws[:, 1:].mean() == pytest.approx(1 / np.pi, abs=0.03)


def test_layers_are_matched_each_on_its_own():
    rng = np.random.RandomState(0)
    A = rng.normal(size=(200, 4))
    halves, layer_of = split_halves(200, rng), np.array([0, 0, 1, 1])
    B = A[:, [2, 3, 0, 1]]  # every unit's twin is in the other layer
    null = rotation_null(A, B, halves, layer_of, 200, rng)
    assert np.abs(null.draws).max() < 0.5


def test_dead_units_of_pairs_are_no_draws():
    def score(pair):
        return np.array([0.1, 0.0, 0.3]), np.array([0, 0, 1]), np.array([True, False, True])

    null = paired_null("pairs", [(0, 1)] * 4, score, np.array([0, 1]))
    np.testing.assert_array_equal(null.draws, [0.1, 0.3] * 4)
    # 4 draws in each layer, all at least 0.1 in the first and less than 0.5 in the second
    np.testing.assert_allclose(null.p_values(np.array([0.1, 0.5])), [1.0, 0.2])


def test_pairs_are_as_many_as_the_narrowest_layer_needs():
    one, two = np.zeros(5, dtype=int), np.repeat([0, 1], [512, 10])
    assert n_pairs(2000, one, 1000) == 400
    assert n_pairs(2000, two, 1000) == 100  # a thousand draws of the layer of ten
    assert n_pairs(2000, two, 10) == 10
    assert n_pairs(1000, np.zeros(512, dtype=int), 10) == 2


def test_weights_of_nulls_are_those_of_the_scores():
    """Few heavy rows are few rows: chance correlations are as wide as theirs."""
    rng = np.random.RandomState(0)
    A, B = rng.normal(size=(2, 800, 20))
    weight = np.where(rng.uniform(size=800) < 0.1, 1.0, 1e-9)
    of, halves = np.zeros(20, dtype=int), split_halves(800, rng)
    n_heavy = (weight[halves[1]] == 1).sum()
    for null in (split_null, rotation_null):
        draws = null(A, B, halves, of, 4000, rng, weight).draws
        assert draws.std() == pytest.approx(1 / np.sqrt(n_heavy - 1), rel=0.1)
    # a row without weight is not seen, whatever is in it
    weight = np.where(weight == 1, 1.0, 0.0)
    wild = np.where(weight[:, None] > 0, B, 1e6)
    for null in (split_null, rotation_null):
        own = [
            null(A, b, halves, of, 100, np.random.RandomState(0), weight).draws for b in (B, wild)
        ]
        np.testing.assert_allclose(*own, atol=1e-12)


def test_the_scale_of_a_unit_is_of_no_account():
    rng = np.random.RandomState(0)
    A, B = rng.normal(size=(2, 300, 8))
    of, halves, scale = np.zeros(8, dtype=int), split_halves(300, rng), np.geomspace(1e-3, 1e3, 8)
    for null in (split_null, rotation_null):
        own = [null(A, b, halves, of, 100, np.random.RandomState(0)).draws for b in (B, B * scale)]
        np.testing.assert_allclose(*own, atol=1e-9)


# --- what they are for ------------------------------------------------------------------------


# of the eleven units that one pair yields, one may be chance's
@pytest.mark.parametrize(("n_pairs", "precision"), slow_after(1, [(1, 0.9), (4, 0.95)]))
def test_planted_shared_units_are_found_and_private_ones_are_not(n_pairs, precision):
    n_right = n_found = n_shared = 0
    for seed in range(n_pairs):
        X, _, truth, pair = planted(seed)
        rng = np.random.RandomState(seed)
        halves = split_halves(len(X), rng)
        scores, _, lives = scorer(X, halves)(pair)
        found = core(scores, lives, four(X, pair, halves, rng))
        n_right += (found & truth.units).sum()
        n_found += found.sum()
        n_shared += truth.units.sum()
    assert n_right >= 0.8 * n_shared
    assert n_right >= precision * n_found


def test_p_values_of_untrained_pairs_are_uniform_under_their_null():
    X, _, _, pair = planted(0)
    rng = np.random.RandomState(0)
    halves = split_halves(len(X), rng)
    score = scorer(X, halves)
    layer_of = np.zeros(26, dtype=int)
    null = paired_null("untrained", untrained_pairs(pair, 100, rng), score, layer_of)
    p = []
    for twins in untrained_pairs(pair, 20, rng):
        scores, _, lives = score(twins)
        p.append(rng.choice(null.p_values(scores)[lives]))
    assert kstest(p, "uniform").pvalue > 0.01


@pytest.mark.slow
def test_rotated_networks_have_no_core_under_the_rotation_null():
    X, _, _, pair = planted(1)
    rng = np.random.RandomState(1)
    halves = split_halves(len(X), rng)
    A, B = hidden(pair[0], X), hidden(pair[1], X)
    n_found, n_tried = 0, 20
    for _ in range(n_tried):
        Q = np.linalg.qr(rng.normal(size=(B.shape[1],) * 2))[0]
        null = rotation_null(A, B @ Q, halves, np.zeros(A.shape[1], dtype=int), 2000, rng)
        matching = matched_correlation(
            A[np.concatenate(halves)],
            (B @ Q)[np.concatenate(halves)],
            fit_on=np.arange(len(X)) < len(halves[0]),
        )
        n_found += core(matching.correlations, np.ones(A.shape[1], dtype=bool), [null]).any()
    assert n_found <= 3  # 5 % of 20, and two standard errors


def test_networks_of_shuffled_labels_come_in_pairs_of_equal_labels_stacked():
    X, y = load_digits(return_X_y=True)
    X, y = X[:60] / 16, y[:60]
    clf = SAMClassifier((100,), rho=0, max_iter=100, learning_rate_init=0.02, random_state=0)
    training = TrainingSet(clf, X, y, {})
    pairs = list(shuffled_label_pairs(training, 3, np.random.RandomState(0)))
    said = np.array([[one.predict(X), two.predict(X)] for one, two in pairs])
    same, other = (said[:, 0] == said[:, 1]).mean(), (said[0, 0] == said[1, 0]).mean()
    assert same > 0.9 > 0.5 > other  # they know their labels by heart, which have nothing in common
    assert (said == y).mean() < 0.3
    assert all(e.net_.fast_path_ == "stacked" for pair in pairs for e in pair)
    one, two = pairs[0]
    assert not np.array_equal(one.predict_proba(X), two.predict_proba(X))


def test_a_failed_training_is_raised():
    training = TrainingSet(SAMClassifier((3,), max_iter=-1), np.zeros((9, 2)), np.arange(9) % 2, {})
    with pytest.raises(ValueError, match="max_iter"):
        list(shuffled_label_pairs(training, 1, np.random.RandomState(0)))
