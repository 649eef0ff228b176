"""Intraclass correlations against a published table and the model that defines them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sklflat.metrics import intraclass_correlation, spearman_brown

#: Shrout and Fleiss (1979), table 2: six targets, four judges
SHROUT_FLEISS = np.array(
    [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]]
)


def test_the_published_values():
    assert round(intraclass_correlation(SHROUT_FLEISS, kind="A"), 2) == 0.29  # ICC(2,1)
    assert round(intraclass_correlation(SHROUT_FLEISS, kind="C"), 2) == 0.71  # ICC(3,1)
    single = intraclass_correlation(SHROUT_FLEISS, kind="C")
    assert round(spearman_brown(single, 4), 2) == 0.91  # ICC(3,k)
    absolute = intraclass_correlation(SHROUT_FLEISS, kind="A")
    assert round(spearman_brown(absolute, 4), 2) == 0.62  # ICC(2,k)


def test_spearman_brown_is_cronbachs_alpha():
    x = SHROUT_FLEISS.astype(float)
    k = 4
    alpha = k / (k - 1) * (1 - x.var(axis=0, ddof=1).sum() / x.sum(axis=1).var(ddof=1))
    np.testing.assert_allclose(spearman_brown(intraclass_correlation(x, kind="C"), k), alpha)


def test_the_model_that_it_estimates():
    rng = np.random.RandomState(0)
    targets = rng.normal(scale=2, size=(4000, 1))
    x = targets + rng.normal(scale=1, size=(4000, 5))
    shifted = x + np.array([0, 1, 2, 3, 4])  # variance 2.5
    assert intraclass_correlation(x) == pytest.approx(4 / 5, abs=0.02)
    assert intraclass_correlation(shifted, kind="C") == pytest.approx(4 / 5, abs=0.02)
    assert intraclass_correlation(shifted, kind="A") == pytest.approx(4 / 7.5, abs=0.02)


def test_many_units_at_once():
    x = np.random.RandomState(0).normal(size=(20, 3, 7)) + np.arange(20)[:, None, None] / 9
    for kind in "CA":
        one_by_one = [intraclass_correlation(x[..., u], kind=kind) for u in range(7)]
        np.testing.assert_allclose(intraclass_correlation(x, kind=kind), one_by_one)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), factor=st.floats(1e-3, 1e3), shift=st.floats(-1e3, 1e3))
def test_invariances(seed, factor, shift):
    rng = np.random.RandomState(seed)
    x = rng.normal(size=(9, 4)) + rng.normal(size=(9, 1))
    rows, columns = rng.permutation(9), rng.permutation(4)
    for kind in "CA":
        plain = intraclass_correlation(x, kind=kind)
        other = intraclass_correlation(factor * x[rows][:, columns] + shift, kind=kind)
        assert other == pytest.approx(plain, rel=1e-6, abs=1e-7)
        assert plain <= 1


def test_ends():
    same = np.arange(5.0)[:, None].repeat(3, 1)
    assert intraclass_correlation(same) == 1
    assert intraclass_correlation(np.full((5, 3), 0.1)) == 0
    assert intraclass_correlation(same.T) <= 0  # targets are alike, columns differ
    # only columns differ, and what rounding leaves of the rest is no agreement
    assert intraclass_correlation([[0.1, 0.7, 0.3]] * 7, kind="C") == 0
    # two by two without effects of rows or columns: MS_E over zero
    assert np.isnan(intraclass_correlation([[1.0, -1.0], [-1.0, 1.0]], kind="A"))
    assert intraclass_correlation([[1.0, -1.0], [-1.0, 1.0]], kind="C") == -1
    tiny = intraclass_correlation(SHROUT_FLEISS * 1e-170)
    assert tiny == pytest.approx(intraclass_correlation(SHROUT_FLEISS))
    assert np.isnan(spearman_brown(-0.5, 3))
    np.testing.assert_allclose(spearman_brown([0.0, 0.5, 1.0], 1), [0, 0.5, 1])


def test_bad_input():
    for bad in [[1.0, 2.0]], [[1.0], [2.0]], [[1.0, np.nan], [1.0, 2.0]]:
        with pytest.raises(ValueError, match=r"ratings|minimum of 2"):
            intraclass_correlation(bad)
    with pytest.raises(ValueError, match=r"'A' \(agreement\)"):
        intraclass_correlation(SHROUT_FLEISS, kind="B")
    with pytest.raises(ValueError, match="at most 1"):
        spearman_brown(1.2, 2)
    with pytest.raises(ValueError, match="k == 0"):
        spearman_brown(0.5, 0)
