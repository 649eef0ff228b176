"""Selectivity and correlation with targets, against loops, scikit-learn and scipy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.feature_selection import f_classif, r_regression
from sklearn.linear_model import LinearRegression

from sklflat.metrics import class_selectivity, target_correlation
from sklflat.metrics.selectivity import permuted_class_selectivity, permuted_target_correlation

RNG = np.random.RandomState(0)
A = np.abs(RNG.normal(size=(90, 5))) + np.arange(5)
Y = RNG.randint(4, size=90)
SEEDS = st.integers(0, 10_000)


def by_hand(A, y):
    scores = []
    for a in A.T:
        means = sorted(a[y == c].mean() for c in np.unique(y))
        rest = np.mean(means[:-1])
        scores.append((means[-1] - rest) / (means[-1] + rest))
    return scores


def test_selectivity_by_hand():
    np.testing.assert_allclose(class_selectivity(A, Y), by_hand(A, Y), rtol=1e-12)
    signed = A - 3
    np.testing.assert_allclose(
        class_selectivity(signed, Y), by_hand(signed - np.minimum(signed.min(0), 0), Y), rtol=1e-12
    )


def test_selectivity_at_its_ends():
    one_class = (Y == 2).astype(float)
    constant = np.full(90, 0.3)
    np.testing.assert_allclose(class_selectivity(np.c_[one_class, constant], Y), [1, 0])
    np.testing.assert_allclose(class_selectivity(np.c_[one_class * 0 - 5.0], Y), [0])


def test_a_signed_unit_is_shifted():
    """Class means -1, 0 and 1; shifted by the smallest value, -2: 1, 2 and 3."""
    a = np.array([-2.0, 0, -1, 1, 1, 1])[:, None]
    expected = (3 - 1.5) / (3 + 1.5)
    y = [0, 0, 1, 1, 2, 2]
    assert class_selectivity(a, y)[0] == pytest.approx(expected)
    assert class_selectivity(a - 7, y)[0] == pytest.approx(expected)


def test_very_small_and_very_large_activations():
    for score in class_selectivity, target_correlation:
        for factor in 1e-170, 1e170:
            np.testing.assert_allclose(score(factor * A, Y), score(A, Y), rtol=1e-9)


def test_classes_without_weight_are_not_there():
    weight = (Y != 3).astype(float)
    np.testing.assert_allclose(
        class_selectivity(A, Y, sample_weight=weight), class_selectivity(A[Y != 3], Y[Y != 3])
    )
    with pytest.raises(ValueError, match="two classes, got only 3"):
        class_selectivity(A, Y, sample_weight=(Y == 3).astype(float))
    alone = permuted_class_selectivity(A, Y, np.arange(90)[None], (Y == 3).astype(float))
    np.testing.assert_array_equal(alone, 0)


def test_correlation_ratio_is_that_of_the_analysis_of_variance():
    F, _ = f_classif(A, Y)
    between, within = 3, 90 - 4  # degrees of freedom
    np.testing.assert_allclose(
        target_correlation(A, Y), F * between / (F * between + within), rtol=1e-10
    )


def test_real_targets():
    y = A @ RNG.normal(size=5) + RNG.normal(size=90)
    np.testing.assert_allclose(target_correlation(A, y, discrete=False), r_regression(A, y) ** 2)
    two = np.c_[y, RNG.normal(size=90)]
    expected = np.maximum(r_regression(A, two[:, 0]) ** 2, r_regression(A, two[:, 1]) ** 2)
    np.testing.assert_allclose(target_correlation(A, two, discrete=False), expected)


def test_weighted_correlation_is_a_weighted_regressions_r_squared():
    y, s = RNG.normal(size=90), RNG.uniform(size=90)
    expected = [LinearRegression().fit(a[:, None], y, s).score(a[:, None], y, s) for a in A.T]
    np.testing.assert_allclose(
        target_correlation(A, y, discrete=False, sample_weight=s), expected, rtol=1e-9
    )


@pytest.mark.parametrize("score", [class_selectivity, target_correlation])
def test_a_weight_is_a_repeated_row(score):
    repeats = np.arange(90) % 3
    rows = np.repeat(np.arange(90), repeats)
    np.testing.assert_allclose(score(A, Y, sample_weight=repeats), score(A[rows], Y[rows]))


@pytest.mark.parametrize("weight", [None, RNG.uniform(size=90)])
def test_permuted_targets_are_permuted_and_weights_stay(weight, monkeypatch):
    monkeypatch.setattr("sklflat.metrics.selectivity._CHUNK_BYTES", 20_000)  # several parts
    permutations = np.stack([np.random.RandomState(i).permutation(90) for i in range(7)])
    y = RNG.normal(size=90)
    for r, scores in enumerate(permuted_class_selectivity(A, Y, permutations, weight)):
        expected = class_selectivity(A, Y[permutations[r]], sample_weight=weight)
        np.testing.assert_allclose(scores, expected)
    for r, scores in enumerate(permuted_target_correlation(A, Y, permutations, weight)):
        expected = target_correlation(A, Y[permutations[r]], sample_weight=weight)
        np.testing.assert_allclose(scores, expected)
    for r, scores in enumerate(permuted_target_correlation(A, y, permutations, weight)):
        expected = target_correlation(A, y[permutations[r]], discrete=False, sample_weight=weight)
        np.testing.assert_allclose(scores, expected, rtol=1e-6, atol=1e-12)


@settings(max_examples=15, deadline=None)
@given(seed=SEEDS, factor=st.floats(1e-3, 1e3), shift=st.floats(-100, 100))
def test_invariances(seed, factor, shift):
    rng = np.random.RandomState(seed)
    B, y = rng.normal(size=(40, 3)), rng.randint(3, size=40)
    rows, units = rng.permutation(40), rng.permutation(3)
    for score in class_selectivity, target_correlation:
        plain = score(B, y)
        np.testing.assert_allclose(score(B[rows], y[rows]), plain, rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(score(B[:, units], y), plain[units], rtol=1e-6)
        np.testing.assert_allclose(score(factor * B, y), plain, rtol=1e-6, atol=1e-9)
        assert (plain >= 0).all()
        assert (plain <= 1).all()
    np.testing.assert_allclose(
        target_correlation(B + shift, y), target_correlation(B, y), rtol=1e-6, atol=1e-9
    )


def test_independent_labels_follow_the_beta_law():
    """For normal units eta^2 of c classes is Beta((c - 1)/2, (n - c)/2)."""
    B = np.random.RandomState(1).normal(size=(60, 3000))
    values = target_correlation(B, np.arange(60) % 3)
    assert stats.kstest(values, stats.beta(1, 57 / 2).cdf).pvalue > 0.001


def test_bad_input():
    with pytest.raises(ValueError, match="two classes"):
        class_selectivity(A, np.zeros(90))
    with pytest.raises(ValueError, match="inconsistent"):
        class_selectivity(A, Y[:-1])
    with pytest.raises(ValueError, match="non-zero"):
        class_selectivity(A, Y, sample_weight=np.zeros(90))
    with pytest.raises(ValueError, match="pass discrete=False"):
        target_correlation(A, Y + 0.5)
    with pytest.raises(ValueError, match="Use target_correlation"):
        class_selectivity(A, Y + 0.5)
    with pytest.raises(ValueError, match="activations"):
        target_correlation(np.full((3, 1), np.nan), [0, 1, 1])
    np.testing.assert_array_equal(target_correlation(A, np.ones(90), discrete=False), 0)
