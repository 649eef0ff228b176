"""Counting p-values against the definition; adjustments against worked examples and bounds."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from sklflat.metrics import benjamini_hochberg, holm, monte_carlo_p_values

PROBABILITIES = st.lists(st.floats(0, 1), min_size=1, max_size=12)


@pytest.mark.parametrize(("alternative", "sign"), [("greater", 1), ("less", -1)])
def test_monte_carlo_p_values_by_counting(alternative, sign):
    rng = np.random.RandomState(0)
    observed, null = rng.randint(5, size=20), rng.randint(5, size=30)  # many ties
    p = monte_carlo_p_values(observed, null, alternative=alternative)
    for value, found in zip(observed, p, strict=True):
        assert found == (sum(sign * draw >= sign * value for draw in null) + 1) / 31


def test_draws_that_tie_up_to_rounding_count():
    assert monte_carlo_p_values([0.1 + 0.2], [0.3, 0.0, 0.0])[0] == 2 / 4
    assert monte_carlo_p_values([-0.3], [-0.1 - 0.2, 0.0, 0.0], alternative="less")[0] == 2 / 4


def test_monte_carlo_p_values_are_valid():
    rng = np.random.RandomState(0)
    p = [monte_carlo_p_values(v[:1], v[1:])[0] for v in rng.normal(size=(2000, 20))]
    # exchangeable values: uniform on 1/20, ..., 1
    counts = np.bincount(np.round(20 * np.array(p)).astype(int), minlength=21)[1:]
    assert stats.chisquare(counts).pvalue > 0.001


def test_holm_and_benjamini_hochberg_on_a_published_example():
    """The 15 p-values of Benjamini and Hochberg (1995, section 4.1)."""
    p = [0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459]
    p += [0.3240, 0.4262, 0.5719, 0.6528, 0.7590, 1.0000]
    assert np.sum(benjamini_hochberg(p) <= 0.05) == 4  # as the paper says
    assert np.sum(holm(p) <= 0.05) == 3  # as Bonferroni's does there


@settings(max_examples=30, deadline=None)
@given(PROBABILITIES)
def test_order_among_the_adjustments(p):
    p = np.array(p)
    bh, h = benjamini_hochberg(p), holm(p)
    assert (p <= bh + 1e-15).all()
    assert (bh <= h + 1e-12).all()
    assert (h <= np.minimum(1, len(p) * p) + 1e-12).all()
    order = np.argsort(-p, kind="stable")
    np.testing.assert_allclose(holm(p[order]), h[order])


def test_holm_rejects_what_the_step_down_procedure_rejects():
    p = np.array([0.04, 0.01, 0.03, 0.005, 0.012])
    rejected = np.zeros(5, dtype=bool)
    for step, i in enumerate(np.argsort(p)):
        if p[i] > 0.05 / (5 - step):
            break
        rejected[i] = True
    np.testing.assert_array_equal(holm(p) <= 0.05, rejected)


@pytest.mark.parametrize("function", [holm, benjamini_hochberg])
@pytest.mark.parametrize("p", [[0.5, 1.5], [-0.1], [np.nan], []])
def test_what_is_no_p_value(function, p):
    with pytest.raises(ValueError, match=r"p_values|minimum of 1"):
        function(p)


def test_bad_draws():
    with pytest.raises(ValueError, match="null"):
        monte_carlo_p_values([1.0], [np.nan])
    with pytest.raises(ValueError, match="minimum of 1"):
        monte_carlo_p_values([1.0], [])
    with pytest.raises(ValueError, match="alternative"):
        monte_carlo_p_values([1.0], [1.0], alternative="two-sided")
