"""Scores of the invariant core against scipy, closed forms and the invariances they claim."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import roc_auc_score

from sklflat.connectivity.core_gain import gain_over_endpoints
from sklflat.connectivity.core_scores import LeastCorrelation, Variation, eligible_units
from sklflat.metrics import intraclass_correlation


def random_path(seed=0, n_points=4, n_samples=40, n_units=5):
    rng = np.random.RandomState(seed)
    common = rng.normal(size=(n_samples, n_units))
    return common + rng.normal(size=(n_points, n_samples, n_units))


def linear_path(seed=0, n_points=26, n_samples=30, n_units=6):
    rng = np.random.RandomState(seed)
    first, last = rng.normal(size=(2, n_samples, n_units))
    last += first * rng.uniform(-2, 2, size=n_units)
    t = np.linspace(0, 1, n_points)[:, None, None]
    return (1 - t) * first + t * last


def over(path, score, weight=None):
    """Show a score all points of a path, one after the other."""
    found = score(path[0], weight)
    for point in path[1:]:
        found.add(point)
    return found


def least_correlation(path, **weight):
    return over(path, LeastCorrelation, **weight).least


def end_correlation(path, **weight):
    return over(path, LeastCorrelation, **weight).last


def path_icc(path, **weight):
    return over(path, Variation, **weight).icc


def path_variance(path, **weight):
    return over(path, Variation, **weight).variance


def relative_variance(path, **weight):
    return over(path, Variation, **weight).relative_variance


SCORES = {
    "least correlation": least_correlation,
    "ends": end_correlation,
    "variance": path_variance,
    "relative variance": relative_variance,
    "ICC(C,1)": path_icc,
}


def test_the_score_is_the_least_of_scipys_correlations_with_the_start():
    path = random_path()
    expected = [
        min(pearsonr(path[0, :, u], path[t, :, u]).statistic for t in range(1, 4)) for u in range(5)
    ]
    np.testing.assert_allclose(least_correlation(path), expected, atol=1e-12)
    ends = [pearsonr(path[0, :, u], path[-1, :, u]).statistic for u in range(5)]
    np.testing.assert_allclose(end_correlation(path), ends, atol=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_on_a_straight_path_of_features_the_score_is_that_of_the_ends(seed):
    path = linear_path(seed)
    ends = end_correlation(path)
    np.testing.assert_allclose(least_correlation(path), ends, atol=1e-12)
    assert ends.min() < 0.5  # so this is no statement about units that stay as they are
    # from the other end it is the same number
    np.testing.assert_allclose(least_correlation(path[::-1]), ends, atol=1e-12)


@given(st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_the_score_is_never_above_that_of_the_ends(seed):
    path = random_path(seed)
    assert (least_correlation(path) <= end_correlation(path) + 1e-12).all()


def test_a_detour_is_seen_by_the_path_and_not_by_the_ends():
    a = np.arange(10.0)[:, None]
    detour = np.cos(np.pi * np.arange(10.0))[:, None]
    assert end_correlation([a, a]) == pytest.approx(1)
    assert least_correlation([a, detour, a]) == pytest.approx(pearsonr(a[:, 0], detour[:, 0])[0])


def test_variance_on_a_straight_path_is_that_of_the_ends_up_to_the_grid():
    """Uniform t in [0, 1] has variance 1/12, on k points (k + 1) / (12 (k - 1))."""
    path = linear_path(n_points=26)
    expected = np.square(path[-1] - path[0]).mean(axis=0) * (26 + 1) / (12 * (26 - 1))
    np.testing.assert_allclose(path_variance(path), expected, rtol=1e-12)
    np.testing.assert_allclose(
        relative_variance(path), expected / path.var(axis=(0, 1)), rtol=1e-12
    )


def test_a_relative_variance_is_an_intraclass_correlation_for_many_samples():
    path = random_path(n_samples=20_000, n_points=30)
    # one-way ICC of variances 1 and 1: 1/2
    np.testing.assert_allclose(path_icc(path), 0.5, atol=0.02)
    k = 30
    np.testing.assert_allclose(1 - relative_variance(path) * k / (k - 1), path_icc(path), atol=0.02)


@pytest.mark.parametrize("name", SCORES)
def test_constant_units_score_zero_and_never_nan(name):
    path = random_path()
    path[:, :, 1] = 0.1 + 0.2  # a constant that is not exact in binary
    path[:, :, 2] = 0.0
    scores = SCORES[name](path)
    assert np.isfinite(scores).all()
    np.testing.assert_allclose(scores[1:3], 0, atol=1e-20)


def test_a_unit_that_dies_on_the_path_scores_zero_at_most():
    path = random_path()
    path[2, :, 0] = 0
    assert least_correlation(path)[0] <= 0


def test_raw_variance_crowns_dead_units_and_correlation_does_not():
    path = random_path()
    path[:, :, 3] = 0
    assert path_variance(path).argmin() == 3
    assert least_correlation(path).argmax() != 3


@pytest.mark.parametrize("name", SCORES)
def test_order_of_units_does_not_matter(name):
    path, order = random_path(), np.array([3, 1, 4, 0, 2])
    np.testing.assert_allclose(SCORES[name](path[:, :, order]), SCORES[name](path)[order])


@pytest.mark.parametrize("name", SCORES)
def test_rescaled_units_score_the_same_except_by_raw_variance(name):
    path, scale = random_path(), np.array([1e-6, 0.1, 1.0, 7.0, 1e6])
    factor = scale**2 if name == "variance" else 1
    np.testing.assert_allclose(SCORES[name](path * scale), SCORES[name](path) * factor, rtol=1e-9)


def test_a_scale_that_changes_along_the_path_is_seen_by_the_icc_alone():
    path = random_path()[:1] * np.linspace(1, 3, 4)[:, None, None]
    np.testing.assert_allclose(least_correlation(path), 1)
    assert path_icc(path).max() < 0.9


@pytest.mark.parametrize("name", SCORES)
def test_weights_are_repeated_rows(name):
    path, weight = random_path(), np.random.RandomState(1).randint(0, 4, size=40)
    np.testing.assert_allclose(
        SCORES[name](path, weight=weight), SCORES[name](np.repeat(path, weight, axis=1)), atol=1e-12
    )


@pytest.mark.parametrize("name", SCORES)
def test_duplicated_rows_change_nothing(name):
    path = random_path()
    np.testing.assert_allclose(
        SCORES[name](np.concatenate([path, path], axis=1)), SCORES[name](path), atol=1e-12
    )


def test_the_icc_is_that_of_an_analysis_of_variance():
    path = random_path()
    expected = intraclass_correlation(path.transpose(1, 0, 2), kind="C")
    np.testing.assert_allclose(path_icc(path), expected, atol=1e-12)
    np.testing.assert_allclose(path_icc(path + 1e4), expected, atol=1e-6)


@pytest.mark.parametrize("name", SCORES)
def test_rows_without_weight_are_not_seen(name):
    path, weight = random_path(), np.repeat([1.0, 0.0], 20)
    wild = path.copy()
    wild[:, 20:] = 1e9 * np.random.RandomState(2).normal(size=wild[:, 20:].shape)
    np.testing.assert_allclose(SCORES[name](wild, weight=weight), SCORES[name](path[:, :20]))


def test_eligible_units_live_at_both_ends_on_several_rows():
    rng = np.random.RandomState(0)
    first = rng.normal(size=(50, 5))
    last = rng.normal(size=(50, 5))
    first[:, 1] = 2.0  # constant at the start
    last[:, 2] = 0.0  # dead at the end
    last[:, 3] = np.eye(50)[7] * 1e9  # rests on one row
    first[:, 4] *= 1e-9  # small, but alive
    expected = [True, False, False, False, True]
    np.testing.assert_array_equal(eligible_units(first, last), expected)
    weight = np.ones(50)
    np.testing.assert_array_equal(eligible_units(first, last, weight), expected)


def test_rows_a_signal_rests_on_are_counted_in_closed_form():
    """If a share p of n rows is at 1, it rests on n p (1 - p) / ((1 - p)^3 + p^3) of them."""
    n = 1000
    for k in (1, 2, 3, 4, 8, 500):
        a, p = (np.arange(n) < k).astype(float)[:, None], k / n
        rows = n * p * (1 - p) / ((1 - p) ** 3 + p**3)
        assert eligible_units(a, a, min_rows=rows * (1 - 1e-9))
        assert not eligible_units(a, a, min_rows=rows * (1 + 1e-9))


# --- what the path adds ---------------------------------------------------------------------


def test_gain_is_scipys_rank_correlation_and_r_squared():
    rng = np.random.RandomState(0)
    a, b = rng.normal(size=(2, 30))
    gain = gain_over_endpoints(a + b, b, path_selected=a > 0, end_selected=b > 0)
    assert gain.rank_correlation == pytest.approx(spearmanr(a + b, b).statistic)
    assert gain.r_squared == pytest.approx(pearsonr(a + b, b).statistic ** 2)
    assert gain.n_changed == np.sum((a > 0) != (b > 0))
    assert gain.adds is None


def test_gain_knows_a_path_that_helps_and_one_that_does_not():
    rng = np.random.RandomState(0)
    real = np.arange(200) < 60
    better, worse = real + 0.1 * rng.normal(size=200), real + 2.0 * rng.normal(size=200)
    helps = gain_over_endpoints(better, worse, truth=real, random_state=0)
    assert helps.adds
    assert helps.auc_path == 1
    assert helps.auc_ends == pytest.approx(roc_auc_score(real, worse))
    assert helps.auc_difference == helps.auc_path - helps.auc_ends
    same = gain_over_endpoints(worse, worse, truth=real, random_state=0)
    assert same.auc_interval == (0, 0)
    assert not same.adds
    assert "rank correlation 1.000" in str(same)


def test_whole_networks_are_resampled_where_they_are_known():
    """Of ten equal copies of one network, units give a falsely narrow interval."""
    rng = np.random.RandomState(0)
    real = np.tile(np.arange(20) < 8, 10)
    path, ends = np.repeat(rng.normal(size=(2, 10)), 20, axis=1) * real + rng.normal(size=(2, 200))
    networks = np.repeat(np.arange(10), 20)
    units = gain_over_endpoints(path, ends, truth=real, random_state=0)
    grouped = gain_over_endpoints(path, ends, truth=real, groups=networks, random_state=0)
    assert np.ptp(grouped.auc_interval) > 1.2 * np.ptp(units.auc_interval)


def test_a_handful_of_networks_decides_nothing():
    """Of two networks without a difference .285 were said to add, and the interval covered .52."""
    rng, covered = np.random.RandomState(0), 0
    for _ in range(60):
        real = np.tile(np.arange(20) < 10, 3)
        shift = np.repeat(rng.normal(size=3), 20)  # a network's own difference, 0 in the mean
        ends = real + rng.normal(size=60)
        path = real * (1 + 0.5 * shift) + rng.normal(size=60)
        groups = np.repeat(np.arange(3), 20)
        gain = gain_over_endpoints(path, ends, truth=real, groups=groups, n_resamples=100)
        covered += gain.auc_interval.low <= 0 <= gain.auc_interval.high
        assert gain.adds is None
    assert covered >= 52
    assert "3 networks do not decide" in str(gain)


def test_gain_of_constant_scores_is_zero_and_of_a_one_sided_truth_an_error():
    gain = gain_over_endpoints(np.ones(4), np.arange(4))
    assert (gain.rank_correlation, gain.r_squared) == (0, 0)
    with pytest.raises(ValueError, match="truth marks 4 of 4 units as real"):
        gain_over_endpoints(np.arange(4), np.arange(4), truth=np.ones(4, dtype=bool))
