"""Streamed correlations against NumPy's, whatever the batches, means and scales."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sklflat.metrics.consistency import largest_correlations
from sklflat.metrics.streamed_correlation import StreamedCorrelation


def streamed(A, B, ends=(), weight=None):
    found = StreamedCorrelation(A.shape[1], B.shape[1])
    s = np.ones(len(A)) if weight is None else weight
    for a, b, w in zip(*(np.split(x, ends) for x in (A, B, s)), strict=True):
        found.update(a, b, w)
    return found


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    ends=st.lists(st.integers(0, 60), max_size=6),
    scale=st.sampled_from([1e-12, 1.0, 1e12]),
    shift=st.sampled_from([0.0, 1e4]),
)
def test_it_is_numpys_correlation(seed, ends, scale, shift):
    rng = np.random.RandomState(seed)
    A, B = rng.normal(size=(60, 4)), rng.normal(size=(60, 3)) + 1
    B[:, 0] += A[:, 1]
    expected = np.corrcoef(A.T, B.T)[:4, 4:]
    found = streamed(scale * (A + shift), B, sorted(ends)).correlations
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_weights_are_repetitions_and_zero_is_absence():
    rng = np.random.RandomState(0)
    A, B = rng.normal(size=(30, 3)), rng.normal(size=(30, 2))
    A[0] = np.nan  # a row of weight 0 is not there
    weight = np.r_[0.0, np.arange(29) % 3]
    rows = np.repeat(np.arange(30), weight.astype(int))
    expected = np.corrcoef(A[rows].T, B[rows].T)[:3, 3:]
    found = streamed(A, B, [4, 11], weight)
    np.testing.assert_allclose(found.correlations, expected, atol=1e-12)
    assert found.n == len(rows)


def test_constant_columns_correlate_with_nothing():
    A = np.random.RandomState(0).normal(size=(40, 3))
    A[:, 1] = 0.1  # its mean is not exactly .1
    found = streamed(A, A, [7, 20])
    assert found.varying.tolist() == [True, False, True]
    assert (found.correlations[1] == 0).all()
    assert (found.correlations[:, 1] == 0).all()
    np.testing.assert_allclose(found.correlations[[0, 2], [0, 2]], 1)


def test_a_column_that_is_constant_in_the_first_batch_only():
    A = np.random.RandomState(1).normal(size=(40, 2))
    A[:20, 0] = 3.0
    expected = np.corrcoef(A.T)
    np.testing.assert_allclose(streamed(A, A, [20]).correlations, expected, atol=1e-12)


def test_memory_does_not_grow_with_rows():
    found = StreamedCorrelation(5, 4)
    rng = np.random.RandomState(0)
    for _ in range(50):
        found.update(rng.normal(size=(100, 5)), rng.normal(size=(100, 4)))
    held = [v for v in vars(found).values() if isinstance(v, np.ndarray)]
    assert max(v.size for v in held) == 20
    assert found.n == 5000


LAYERS = np.array([0, 0, 1])


@pytest.mark.parametrize("one_to_one", [False, True])
def test_partners_stay_within_layers(one_to_one):
    C = np.array([[0.1, 0.2, 0.9], [0.2, 0.4, 0.9], [0.9, 0.9, -0.5]])
    values, partners = largest_correlations(C, LAYERS, LAYERS, one_to_one=one_to_one)
    expected = [0.1, 0.4, -0.5] if one_to_one else [0.2, 0.4, -0.5]
    assert values.tolist() == expected
    assert partners.tolist() == ([0, 1, 2] if one_to_one else [1, 1, 2])


def test_a_narrower_network_leaves_units_without_partners():
    C = np.array([[0.9], [0.8], [0.3]])
    values, partners = largest_correlations(C, LAYERS, np.array([0]), one_to_one=True)
    assert values.tolist() == [0.9, 0, 0]
    assert partners.tolist() == [0, -1, -1]
    values, partners = largest_correlations(C, LAYERS, np.array([0]))
    assert values.tolist() == [0.9, 0.8, 0]


def test_a_negative_is_the_same_unit_without_sign():
    C = np.array([[0.2, -0.9]])
    layers = np.zeros(1, dtype=int), np.zeros(2, dtype=int)
    assert largest_correlations(C, *layers)[0].tolist() == [0.2]
    values, partners = largest_correlations(C, *layers, signed=False)
    assert (values.tolist(), partners.tolist()) == ([0.9], [1])
