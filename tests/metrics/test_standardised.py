"""Columns whose products are correlations: against NumPy's, and at the ends of floats."""

import numpy as np
import pytest

from sklflat.metrics._checks import standardised

A = np.random.RandomState(0).normal([0, 1, -5, 100], size=(30, 4))
B = np.random.RandomState(1).normal(size=(30, 2))


def test_products_are_correlations():
    expected = np.corrcoef(A.T, B.T)[:4, 4:]
    np.testing.assert_allclose(standardised(A).T @ standardised(B), expected, atol=1e-12)


def test_whole_weights_are_repeated_rows_and_no_weight_is_no_row():
    weights = np.array([0, 1, 2] * 10)
    expected = np.corrcoef(np.repeat(A, weights, axis=0).T)
    unseen = np.where(weights[:, None] == 0, np.nan, A)
    z = standardised(unseen, weights)
    assert z.shape == (20, 4)
    np.testing.assert_allclose(z.T @ z, expected, atol=1e-12)


def test_of_several_networks_each_is_on_its_own():
    both = standardised(np.stack([A, 2 - 3 * A]))
    np.testing.assert_allclose(both[0], standardised(A), atol=1e-15)
    np.testing.assert_allclose(both[1], -both[0], atol=1e-12)


@pytest.mark.parametrize("size", [1e-300, 1e-160, 1.0, 1e160, 1e300])
def test_size_does_not_matter(size):
    np.testing.assert_allclose(standardised(size * A / 1e3), standardised(A), atol=1e-9)


@pytest.mark.parametrize("constant", [0.0, 0.1, 1e9, 1e-300])
def test_constant_columns_are_zero_also_up_to_rounding(constant):
    noisy = np.column_stack([np.full(30, constant), constant * (1 + 1e-15 * B[:, 0])])
    assert not standardised(noisy).any()
