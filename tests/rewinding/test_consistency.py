"""Consistency, against intraclass correlations, published formulas and planted units."""

import numpy as np
from scipy import stats

from sklflat.metrics import intraclass_correlation
from sklflat.metrics.consistency import (
    bootstrap_interval,
    correlations,
    matched,
    mean_of_pairs,
    resampled_means,
    too_many_failed,
)
from sklflat.rewinding.consistency import Consistency, Group


def planted(seed, R=4, n=300, shared=3, private=3):
    """R networks with ``shared`` units in common, in other orders, scales and noise."""
    rng = np.random.RandomState(seed)
    common = rng.normal(size=(n, shared))
    parts, orders = [], []
    for _ in range(R):
        own = np.hstack(
            [common + 0.3 * rng.normal(size=common.shape), rng.normal(size=(n, private))]
        )
        order = rng.permutation(shared + private)
        parts.append((own * rng.uniform(0.5, 3, own.shape[1]) + 1)[:, order])
        orders.append(order)
    return np.stack(parts), orders


def test_it_is_the_intraclass_correlation_of_standardised_activations():
    A = np.random.RandomState(0).normal(size=(5, 40, 3)) + np.random.RandomState(1).normal(
        size=(1, 40, 3)
    )
    ours = mean_of_pairs(correlations(A))
    z = stats.zscore(A, axis=1, ddof=1)
    np.testing.assert_allclose(ours, intraclass_correlation(z.transpose(1, 0, 2), kind="C"))
    pairs = [
        [np.corrcoef(A[i, :, u], A[j, :, u])[0, 1] for i in range(5) for j in range(i)]
        for u in range(3)
    ]
    np.testing.assert_allclose(ours, np.mean(pairs, axis=1))


def test_a_row_of_weight_two_is_two_rows():
    A = np.random.RandomState(0).normal(size=(3, 20, 2))
    weights = np.r_[np.full(10, 2.0), np.ones(9), 0.0]
    rows = np.repeat(np.arange(20), weights.astype(int))
    twice = mean_of_pairs(correlations(A[:, rows]))
    np.testing.assert_allclose(mean_of_pairs(correlations(A, weights)), twice, rtol=1e-12)


def test_planted_units_are_matched_and_consistent():
    """Signal variance 1 and noise .09 correlate by 1 / 1.09; private units by nothing."""
    A, orders = planted(0)
    group = Group(A[:, :150], A[:, 150:], np.zeros(6, dtype=int))
    scores, lives = group.scores()
    real = orders[0] < 3
    assert lives.all()
    np.testing.assert_allclose(scores[real], 1 / 1.09, atol=0.04)
    assert np.abs(scores[~real]).max() < 0.2
    order = matched(A[0, :150], A[1, :150], np.zeros(6, dtype=int))
    np.testing.assert_array_equal(orders[1][order][real], orders[0][real])


def test_matching_stays_within_layers():
    A = np.random.RandomState(0).normal(size=(50, 4))
    order = matched(A, A[:, ::-1], np.array([0, 0, 1, 1]))
    assert set(order[:2]) == {0, 1}
    assert set(order[2:]) == {2, 3}


def test_scales_shifts_and_orders_of_units_do_not_count():
    A, _ = planted(1)
    layer_of = np.zeros(6, dtype=int)
    before = Group(A[:, :150], A[:, 150:], layer_of).scores()[0]
    B = A.copy()
    B[2] = (A[2] * np.array([5, 1, 2, 0.1, 3, 7]) + 4)[:, [3, 1, 0, 5, 2, 4]]
    after = Group(B[:, :150], B[:, 150:], layer_of).scores()[0]
    np.testing.assert_allclose(after, before, rtol=1e-9)


def test_dead_units_score_nothing():
    A, _ = planted(2)
    A[0, :, 1] = 3.0
    scores, lives = Group(A[:, :150], A[:, 150:], np.zeros(6, dtype=int)).scores()
    assert not lives[1]
    assert scores[1] == 0


def test_a_network_drawn_twice_makes_no_pair_with_itself():
    C = np.array([[[1.0, 0.2, 0.4], [0.2, 1.0, 0.6], [0.4, 0.6, 1.0]]])
    # two of the first and one of the second: both pairs correlate by .2
    np.testing.assert_allclose(mean_of_pairs(C, np.array([2.0, 1.0, 0.0])), [0.2])
    np.testing.assert_allclose(mean_of_pairs(C), [0.4])


def test_the_interval_covers_the_planted_correlation():
    """Of 40 units in 5 draws of data, 95 % intervals miss no more than chance would have it."""
    covered = []
    for seed in range(5):
        A, _ = planted(seed, R=6, n=200, shared=8, private=0)
        aligned = Group(A[:, :100], A[:, 100:], np.zeros(8, dtype=int)).aligned()
        low, high = bootstrap_interval(aligned, None, np.random.RandomState(seed), 100)
        covered += ((low <= 1 / 1.09) & (high >= 1 / 1.09)).tolist()
    assert np.mean(covered) > 0.85


def test_subspaces_may_come_back_where_units_do_not():
    rng = np.random.RandomState(0)
    A = rng.normal(size=(400, 4))
    rotated = np.stack([A @ np.linalg.qr(rng.normal(size=(4, 4)))[0] for _ in range(4)])

    class Layer:
        name = "layer"

    group = Group(rotated[:, :200], rotated[:, 200:], np.zeros(4, dtype=int))
    assert group.cka([Layer])["layer"] > 0.99
    assert group.scores()[0].mean() < 0.9


def test_more_than_a_quarter():
    assert not too_many_failed(2, 8)
    assert too_many_failed(3, 8)
    assert too_many_failed(1, 2)


def test_a_row_of_weight_zero_is_no_row_of_the_subspace():
    A, _ = planted(3)
    weights = np.r_[np.zeros(40), np.ones(110)]

    class Layer:
        name = "layer"

    layer_of = np.zeros(6, dtype=int)
    own = Group(A[:, :150], A[:, 150:], layer_of, weights).cka([Layer])
    assert own == Group(A[:, :150], A[:, 190:], layer_of).cka([Layer])


def found(**own):
    known = {"step": 3, "n_children": 2, "n_failed": 0, "child_scores": np.zeros(2)}
    return known | own


def test_reliability_is_a_share_and_the_mean_is_of_units_that_live():
    """Two networks with opposite activations correlate by -1, which is no reliability."""
    a = np.random.RandomState(0).normal(size=(30, 3))
    a[:, 2] = 1.0
    b = a * np.array([1, -1, 1])

    class Layer:
        name = "layer"

    group = Group(np.stack([b, b]), np.stack([a, b]), np.arange(3))
    layers = [Layer] * 3
    own = group.consistency(layers, np.random.RandomState(0), 3, instability=0.0, **found())
    np.testing.assert_allclose(own.scores, [1, -1, 0], atol=1e-12)
    np.testing.assert_allclose(own.reliability, [1, 0, 0], atol=1e-12)
    assert abs(own.mean) < 1e-12  # of the first two
    assert own.dead.tolist() == [False, False, True]
    assert "consistency of 2 units" in str(own)
    assert "(1 more are dead)" in str(own)


def test_a_failed_reference_is_said_to_be_what_failed():
    refused = Consistency.refused(**found(reference_failed=True))
    assert "the reference" in str(refused)
    assert "too many" not in str(refused)


def test_resampled_means_are_those_of_each_weighting():
    """Units of all kinds: dead, active in one row, with a large offset, hardly varying."""
    rng = np.random.RandomState(0)
    A = np.maximum(rng.normal(size=(4, 60, 8)) + rng.normal(size=(1, 60, 8)), 0.0)
    A[:, :, 0] = 0.0
    A[:, :, 1] = np.eye(60)[7]
    A[:, :, 2] += 1e6
    A[:, :, 3] = 1e9 + 1e-5 * A[:, :, 3]
    A[2, :, 4] = 3.0
    weights = rng.randint(3, size=(30, 60)) * rng.uniform(size=60)
    weights[:, -5:] = 0.0
    A[:, -5:] = np.inf
    counts = rng.randint(3, size=(30, 4)).astype(float)
    counts[:, :2] += 1
    seen = A[:, :-5]
    pairs = zip(weights[:, :-5], counts, strict=True)
    by_hand = [mean_of_pairs(correlations(seen, s), m) for s, m in pairs]
    np.testing.assert_allclose(resampled_means(A, weights, counts), by_hand, atol=1e-9)
