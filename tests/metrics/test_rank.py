"""Effective dimensions of matrices whose spectrum is known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import entropy, ortho_group

from sklflat.metrics import effective_rank, participation_ratio

MEASURES = [effective_rank, participation_ratio]


def with_singular_values(sigma, n=30, seed=0):
    """Columns of mean 0, so that the covariance has the squares as eigenvalues."""
    k = len(sigma)
    basis = np.random.RandomState(seed).normal(size=(n, k))
    Q = np.linalg.qr(basis - basis.mean(axis=0))[0]
    return Q * sigma @ ortho_group.rvs(k, random_state=seed).T


@pytest.mark.parametrize("sigma", [[1, 1, 1], [5, 2, 1, 0.1], [1, 0, 0]])
def test_closed_forms(sigma):
    A = with_singular_values(np.array(sigma, dtype=float))
    assert effective_rank(A) == pytest.approx(np.exp(entropy(sigma)), rel=1e-9)
    eigenvalues = np.square(sigma)
    expected = eigenvalues.sum() ** 2 / np.square(eigenvalues).sum()
    assert participation_ratio(A) == pytest.approx(expected, rel=1e-9)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), factor=st.floats(1e-6, 1e6), shift=st.floats(-10, 10))
def test_invariances(seed, factor, shift):
    rng = np.random.RandomState(seed)
    A = rng.normal(size=(20, 5)) * [3, 2, 1, 0.5, 0.1]
    Q = ortho_group.rvs(5, random_state=rng)
    for measure in MEASURES:
        plain = measure(A)
        assert 1 <= plain <= 5
        assert measure(factor * A[rng.permutation(20)] @ Q) == pytest.approx(plain, rel=1e-6)
    shifted = participation_ratio(A + shift)
    assert shifted == pytest.approx(participation_ratio(A), rel=1e-6)


def test_duplicates_do_not_add_dimensions():
    A = np.random.RandomState(0).normal(size=(50, 3))
    assert participation_ratio(np.hstack([A, A])) == pytest.approx(participation_ratio(A))
    assert effective_rank(np.hstack([A, A])) == pytest.approx(effective_rank(A))


def test_nothing_there():
    assert effective_rank(np.zeros((4, 3))) == 0
    A = with_singular_values(np.array([2.0, 1.0]))
    assert participation_ratio(1e-170 * A) == pytest.approx(25 / 17)  # (4 + 1)^2 / (16 + 1)
    # a unit is constant by its own measure, not beside a large one
    assert participation_ratio(np.c_[np.full(30, 1e9), 1e-4 * A]) == pytest.approx(25 / 17)
    assert participation_ratio(np.full((4, 3), 0.1)) == 0
    assert participation_ratio(np.c_[np.arange(4.0), np.full(4, 1e6)]) == pytest.approx(1)
    for measure in MEASURES:
        with pytest.raises(ValueError, match="NaN"):
            measure([[np.nan]])
