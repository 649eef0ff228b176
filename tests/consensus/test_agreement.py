"""Rank correlations of probes against scipy's, and their null."""

import numpy as np
import pytest
from scipy.stats import rankdata, spearmanr

from sklflat.consensus.agreement import rank_agreement


def ranks_of(scores):
    """Shares, and that all units are of one layer."""
    shares = rankdata(-np.asarray(scores), axis=1) / len(scores[0])
    return shares, np.zeros(len(scores[0]), dtype=int)


def test_correlations_are_spearmans_with_ties():
    scores = np.random.RandomState(0).randint(5, size=(3, 30))
    found = rank_agreement(("a", "b", "c"), *ranks_of(scores), np.random.RandomState(0))
    np.testing.assert_allclose(found.correlations, spearmanr(scores, axis=1).statistic, atol=1e-12)
    np.testing.assert_array_equal(found.p_values, found.p_values.T)
    assert found.to_frame().loc["a", "c"] == found.correlations[0, 2]


def test_the_p_value_of_a_pair_is_that_of_a_permutation_test():
    rng = np.random.RandomState(1)
    a = rng.normal(size=80)
    scores = np.array([a, -a + 4 * rng.normal(size=80)])
    found = rank_agreement(("a", "b"), *ranks_of(scores), rng)
    expected = spearmanr(*scores).pvalue  # two-sided, by Student's t
    assert 0.01 < expected < 0.5
    assert found.p_values[0, 1] == pytest.approx(expected, abs=0.03)


def test_pairs_are_adjusted_by_holm():
    rng = np.random.RandomState(2)
    a = rng.normal(size=50)
    scores = np.array([a, a, rng.normal(size=50), rng.normal(size=50)])
    found = rank_agreement(tuple("abcd"), *ranks_of(scores), rng)
    assert found.p_values[0, 1] == pytest.approx(6 / 2000)  # the least of six pairs
    assert "a, b: 1.00" in str(found)


def test_a_probe_that_scores_all_the_same_has_no_correlation():
    scores = np.array([np.ones(9), np.arange(9.0), np.arange(9.0)])
    found = rank_agreement(tuple("abc"), *ranks_of(scores), np.random.RandomState(0))
    assert np.isnan(found.correlations[0]).all()
    assert found.mean == pytest.approx(1.0)
    assert "a, b: not defined" in str(found)


@pytest.mark.slow
def test_independent_probes_agree_one_time_in_twenty():
    rng = np.random.RandomState(0)
    p = np.array(
        [
            (found.p_values[0, 1], found.p_value)
            for found in (
                rank_agreement(("a", "b"), *ranks_of(rng.normal(size=(2, 12))), rng)
                for _ in range(2000)
            )
        ]
    )
    assert (((p <= 0.05).mean(axis=0) >= 0.03) & ((p <= 0.05).mean(axis=0) <= 0.07)).all()
