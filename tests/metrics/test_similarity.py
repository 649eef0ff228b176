"""Similarity of representations against the definitions written out, and brute force."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ortho_group

from sklflat.metrics import debiased_cka, matched_correlation

RNG = np.random.RandomState(0)


def hsic_u(K, L):
    """Song et al. (2012), equation 4, word for word."""
    m = len(K)
    K, L = K - np.diag(np.diag(K)), L - np.diag(np.diag(L))
    one = np.ones(m)
    value = np.trace(K @ L) + one @ K @ one * (one @ L @ one) / ((m - 1) * (m - 2))
    return (value - 2 / (m - 2) * one @ K @ L @ one) / (m * (m - 3))


@pytest.mark.parametrize(("d", "e"), [(3, 5), (40, 60)])
def test_cka_is_the_definition(d, e):
    A = RNG.normal(size=(15, d))
    B = np.tanh(A @ RNG.normal(size=(d, e))) + 3
    K, L = A @ A.T, B @ B.T
    expected = hsic_u(K, L) / np.sqrt(hsic_u(K, K) * hsic_u(L, L))
    assert debiased_cka(A, B) == pytest.approx(expected, rel=1e-10)


def test_cka_of_independent_representations_is_zero_on_average():
    values = [
        debiased_cka(rng.normal(size=(20, 100)), rng.normal(size=(20, 100)))
        for rng in map(np.random.RandomState, range(200))
    ]
    # the plain estimator gives about 0.8 here
    assert abs(np.nanmean(values)) < 4 * np.nanstd(values) / np.sqrt(200)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), factor=st.floats(1e-3, 1e3))
def test_cka_invariances(seed, factor):
    rng = np.random.RandomState(seed)
    A, B = rng.normal(size=(25, 4)), rng.normal(size=(25, 6))
    B[:, :4] += A
    rows = rng.permutation(25)
    rotated = factor * A @ ortho_group.rvs(4, random_state=rng) + 5
    assert debiased_cka(rotated[rows], B[rows]) == pytest.approx(debiased_cka(A, B), rel=1e-6)
    assert debiased_cka(B, A) == pytest.approx(debiased_cka(A, B), rel=1e-9)


def test_nothing_to_align():
    B = RNG.normal(size=(9, 2))
    for nothing in np.ones((9, 2)), np.full((9, 2), 0.1), np.eye(9)[:, :1], np.eye(9)[:, :1] + 0.1:
        assert np.isnan(debiased_cka(nothing, B))
        assert np.isnan(debiased_cka(B, nothing))
    assert debiased_cka(1e-170 * B, 1e170 * B) == pytest.approx(1)
    with pytest.raises(ValueError, match="minimum of 4"):
        debiased_cka(np.eye(3), np.eye(3))


@pytest.mark.parametrize("signed", [True, False])
def test_matching_is_the_best_of_all(signed):
    A = RNG.normal(size=(12, 4))
    B = RNG.normal(size=(12, 5))
    C = np.corrcoef(A.T, B.T)[:4, 4:]
    C = C if signed else np.abs(C)
    best = max(C[range(4), list(p)].sum() for p in permutations(range(5), 4))
    found = matched_correlation(A, B, signed=signed)
    assert found.correlations.sum() == pytest.approx(best)
    np.testing.assert_allclose(found.correlations, C[found.first, found.second])


def test_matching_on_one_half_is_judged_on_the_other():
    A, B = RNG.normal(size=(60, 30)), RNG.normal(size=(60, 30))
    inflated = matched_correlation(A, B).correlations.mean()
    honest = matched_correlation(A, B, fit_on=np.arange(60) < 30)
    assert inflated > 0.2
    assert abs(honest.correlations.mean()) < 0.1
    by_rows = matched_correlation(A, B, fit_on=np.arange(30))
    np.testing.assert_array_equal(by_rows.second, honest.second)
    expected = np.corrcoef(A[30:].T, B[30:].T)[:30, 30:][honest.first, honest.second]
    np.testing.assert_allclose(honest.correlations, expected)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_matching_finds_permuted_and_rescaled_units(seed):
    rng = np.random.RandomState(seed)
    A = rng.normal(size=(40, 6))
    order = rng.permutation(6)
    found = matched_correlation(A, A[:, order] * rng.uniform(0.1, 9, 6) + rng.normal(size=6))
    np.testing.assert_array_equal(order[found.second], found.first)
    np.testing.assert_allclose(found.correlations, 1)


def test_constant_units_correlate_with_nothing():
    A = np.c_[np.full(9, 0.1), np.arange(9.0)]
    found = matched_correlation(A, A)
    np.testing.assert_allclose(found.correlations, [0, 1])
    negative = matched_correlation(A[:, 1:], -A[:, 1:], signed=False)
    np.testing.assert_allclose(negative.correlations, 1)
    np.testing.assert_allclose(matched_correlation(1e-170 * A, 1e170 * A).correlations, [0, 1])
    with pytest.raises(ValueError, match="fit_on leaves 1 rows to judge on"):
        matched_correlation(A, A, fit_on=np.arange(8))
    for wrong in [9], [0.5, 1.5], np.ones(8, dtype=bool):
        with pytest.raises(ValueError, match="fit_on must be a mask of 9 rows"):
            matched_correlation(A, A, fit_on=wrong)
    with pytest.raises(ValueError, match="inconsistent"):
        matched_correlation(A, A[:5])


def test_matched_correlation_takes_weights_for_repeated_rows():
    rng = np.random.RandomState(0)
    A = rng.normal(size=(40, 4))
    B = A[:, [2, 0, 3, 1]] + rng.normal(size=(40, 4))
    weight, fit_on = rng.randint(0, 4, size=40), np.arange(40) < 20
    found = matched_correlation(A, B, fit_on=fit_on, sample_weight=weight)
    repeated = np.repeat(np.arange(40), weight)
    expected = matched_correlation(A[repeated], B[repeated], fit_on=fit_on[repeated])
    np.testing.assert_array_equal(found.second, expected.second)
    np.testing.assert_allclose(found.correlations, expected.correlations, atol=1e-12)
    with pytest.raises(ValueError, match="negative"):
        matched_correlation(A, B, sample_weight=-np.ones(40))
