"""BCa intervals and sign-flip tests against closed forms and scipy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from sklflat.metrics import bca_interval, mean_bounds, mean_interval, mean_test, sign_flip_test


def test_bca_of_many_normal_values_is_the_t_interval():
    values = np.random.default_rng(0).normal(3.0, 2.0, 2000)
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.9)
    got = bca_interval(values, confidence_level=0.9, random_state=0)
    np.testing.assert_allclose(got, expected, atol=0.01)


def test_bca_leans_to_the_long_tail():
    values = np.random.default_rng(1).exponential(size=30)
    low, high = bca_interval(values, random_state=0)
    assert high - values.mean() > values.mean() - low


def test_bca_covers_the_mean_as_often_as_it_says():
    rng = np.random.default_rng(2)
    hits = 0
    for seed in range(200):
        interval = bca_interval(rng.normal(size=20), n_resamples=499, random_state=seed)
        hits += interval.low <= 0 <= interval.high
    # For 20 values the nominal 95 % is known to be some 93 %; 200 trials spread by 1.8 points.
    assert 0.87 <= hits / 200 <= 0.99


LAWS = {
    "normal": (lambda rng, n: rng.normal(size=n), 0.0),
    "exponential": (lambda rng, n: rng.exponential(size=n), 1.0),
    "lognormal": (lambda rng, n: rng.lognormal(size=n), np.exp(0.5)),
}
#: coverage of 4,000 intervals, docs/user_guide/metrics.md; rounded down by three standard errors
COVERAGE = {
    "normal": {3: 0.95, 5: 0.95, 10: 0.94, 50: 0.94},
    "exponential": {3: 0.91, 5: 0.91, 10: 0.93, 50: 0.94},
    "lognormal": {3: 0.87, 5: 0.85, 10: 0.90, 50: 0.93},
}


@pytest.mark.parametrize("law", LAWS)
def test_intervals_of_few_values_cover_the_mean(law):
    """BCa covered .72 of three normal values, .84 of five and .90 of ten."""
    draw, mean = LAWS[law]
    for n, least in COVERAGE[law].items():
        low, high = mean_bounds(draw(np.random.RandomState(n), (n, 4000)))
        assert least <= np.mean((low <= mean) & (mean <= high)) <= 0.98, n


@pytest.mark.parametrize("n", [3, 5, 10, 50])
@pytest.mark.parametrize("p", [0.02, 0.3, 0.5])
def test_intervals_of_zeros_and_ones_are_exact(n, p):
    k = np.arange(n + 1)
    ends = [mean_interval(np.arange(n) < successes) for successes in k]
    covers = [low <= p <= high for low, high in ends]
    assert stats.binom.pmf(k, n, p)[covers].sum() >= 0.95


def test_bca_of_the_mean_of_few_values_is_the_interval_of_a_mean():
    values = np.random.default_rng(0).exponential(size=8)
    assert bca_interval(values) == mean_interval(values)
    low, high = mean_interval([3.0, 5.0, 7.0])  # without skewness: Student's
    expected = stats.ttest_1samp([3.0, 5.0, 7.0], 0).confidence_interval()
    np.testing.assert_allclose((low, high), expected)


def test_one_sided_tests_of_skewed_values_have_their_size():
    """Student's t alone rejects .083 of 50 exponential values on the side without a tail."""
    rng = np.random.RandomState(0)
    found = mean_test(rng.exponential(size=(50, 4000)), 1.0)
    for p in found:
        assert np.mean(p <= 0.05) <= 0.065
        assert np.mean(p <= 0.005) <= 0.012


@pytest.mark.parametrize("scale", [1e-200, 1e-3, 1e150])
def test_tests_of_means_know_no_unit(scale):
    x = np.random.RandomState(0).exponential(size=(30, 3))
    for a, b in zip(mean_test(scale * x, scale), mean_test(x, 1.0), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9)
    for a, b in zip(mean_bounds(scale * x), mean_bounds(x), strict=True):
        np.testing.assert_allclose(a, scale * b, rtol=1e-9)


def test_bca_takes_a_statistic_without_axis():
    values = np.random.default_rng(3).normal(size=40)
    slow = bca_interval(values, lambda x: float(np.mean(x)), n_resamples=999, random_state=0)
    fast = bca_interval(values, n_resamples=999, random_state=0)
    np.testing.assert_allclose(slow, fast, rtol=1e-12)


def test_bca_is_repeatable_and_leaves_the_global_generator_alone():
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    first = bca_interval([1, 2, 4, 8], random_state=5)
    assert first == bca_interval([1, 2, 4, 8], random_state=5)
    assert np.array_equal(before, np.random.get_state()[1])  # noqa: NPY002


@pytest.mark.parametrize("statistic", [np.mean, np.median, np.max])
def test_bca_of_equal_values_is_a_point(statistic):
    assert bca_interval([2.0] * 5, statistic) == (2.0, 2.0)


def test_bca_that_is_undefined_falls_back_to_percentiles_and_says_so():
    # Leaving out any one value leaves the median at 0: the acceleration is 0 / 0.
    values = [0, 0, 0, 0, 1]
    with pytest.warns(RuntimeWarning, match="percentile interval"):
        low, high = bca_interval(values, np.median, random_state=0)
    assert (low, high) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        ([1.0], {}, "minimum of 2 is required"),
        ([1.0, np.nan], {}, "values contains NaN"),
        ([[1.0, 2.0], [3.0, 4.0]], {}, "should be a 1d array"),
        ([1.0, 2.0], {"confidence_level": 95}, "confidence_level == 95, must be < 1"),
        ([1.0, 2.0], {"n_resamples": 0}, "n_resamples == 0, must be >= 1"),
    ],
)
def test_bad_input_to_bca_is_named(values, options, message):
    with pytest.raises(ValueError, match=message):
        bca_interval(values, **options)


@pytest.mark.parametrize(
    ("differences", "alternative", "expected"),
    [
        # The sums of 1, 2, 3 under eight sign patterns: +-6, +-4, +-2, 0, 0.
        ([1, 2, 3], "greater", 1 / 8),
        ([1, 2, 3], "two-sided", 2 / 8),
        ([1, 2, 3], "less", 8 / 8),
        ([-1, 2, 3], "greater", 2 / 8),
        ([1, -2, -3], "less", 2 / 8),
        ([1, 2, -3], "two-sided", 8 / 8),
        ([0, 0, 5], "greater", 4 / 8),
        ([0.0, 0.0], "two-sided", 1.0),
        ([7], "two-sided", 1.0),
        # Twenty of one sign: the observed pattern and its mirror image.
        (np.ones(20), "two-sided", 2 / 2**20),
    ],
)
def test_sign_flip_p_values_counted_by_hand(differences, alternative, expected):
    assert sign_flip_test(differences, alternative=alternative) == expected


def test_equal_sums_count_in_spite_of_rounding():
    # 0.1 + 0.2 - 0.3 is not 0 in binary; by hand all eight sums are 0, +-.2, +-.4, +-.6, 0.
    assert sign_flip_test([0.1, 0.2, -0.3], alternative="greater") == 5 / 8


@pytest.mark.parametrize("alternative", ["two-sided", "greater", "less"])
def test_exact_sign_flip_equals_scipys_permutation_test(alternative):
    differences = np.random.default_rng(4).normal(0.4, 1.0, 11)
    expected = stats.permutation_test(
        (differences,),
        np.mean,
        permutation_type="samples",
        n_resamples=np.inf,
        alternative=alternative,
    ).pvalue
    assert sign_flip_test(differences, alternative=alternative) == pytest.approx(expected)


def test_random_sign_flips_agree_with_the_normal_limit():
    # The sum of flipped signs has variance sum(d**2) and is normal for many pairs.
    differences = np.random.default_rng(5).normal(0.1, 1.0, 400)
    z = differences.sum() / np.sqrt(np.sum(differences**2))
    expected = stats.norm.sf(z)
    got = sign_flip_test(differences, alternative="greater", n_resamples=19_999, random_state=0)
    assert got == pytest.approx(expected, abs=4 * np.sqrt(expected / 20_000))


def test_random_sign_flips_are_never_zero():
    assert sign_flip_test(np.ones(50), n_resamples=99, random_state=0) == 1 / 100


@given(
    st.lists(st.integers(-1000, 1000), min_size=1, max_size=10),
    st.sampled_from([-4.0, -0.25, 0.5, 2.0]),
)
def test_two_sided_p_ignores_sign_and_unit(differences, unit):
    differences = np.array(differences)
    assert sign_flip_test(differences) == sign_flip_test(unit * differences)


@pytest.mark.parametrize(
    ("differences", "options", "message"),
    [
        ([], {}, "minimum of 1 is required"),
        ([1.0, np.inf], {}, "differences contains infinity"),
        ([1.0], {"alternative": "both"}, "'two-sided', 'greater' or 'less', got 'both'"),
        ([1.0], {"n_resamples": -1}, "n_resamples == -1, must be >= 1"),
    ],
)
def test_bad_input_to_the_sign_flip_test_is_named(differences, options, message):
    with pytest.raises(ValueError, match=message):
        sign_flip_test(differences, **options)
