"""Rho scores against the binomial distribution, and their null where orders are independent."""

import numpy as np
import pytest
from scipy.stats import binom, kstest, rankdata

from sklflat.consensus import midranks, rho_scores
from sklflat.consensus.rank_aggregation import permuted_shares
from sklflat.metrics import benjamini_hochberg
from sklflat.probing import Null


def by_binomial(ranks):
    """At least k of K orders put a unit as far up: a binomial tail, for every k by itself."""
    n_probes, n_units = ranks.shape
    rho = np.ones(n_units)
    for u in range(n_units):
        for k, r in enumerate(np.sort(ranks[:, u] / n_units), start=1):
            rho[u] = min(rho[u], binom.sf(k - 1, n_probes, r))
    return rho


@pytest.mark.parametrize("n_probes", [1, 2, 3, 7])
def test_rho_is_the_smallest_binomial_tail(n_probes):
    scores = np.random.RandomState(n_probes).normal(size=(n_probes, 11)).round(1)
    ranks = midranks(scores, np.ones(11, dtype=bool))
    np.testing.assert_allclose(rho_scores(ranks / 11), by_binomial(ranks), rtol=1e-9)


def test_the_ends_of_rho():
    up = np.tile(np.arange(1.0, 6.0), (3, 1)) / 5
    assert rho_scores(up)[0] == pytest.approx(5.0**-3)
    assert rho_scores(up)[-1] == 1.0


def test_equal_scores_share_the_mean_of_their_ranks_and_dead_units_have_none():
    scores = np.random.RandomState(0).randint(4, size=(3, 12)).astype(float)
    living = np.arange(12) != 5
    found = midranks(scores, living)
    assert np.isnan(found[:, 5]).all()
    np.testing.assert_array_equal(found[:, living], rankdata(-scores[:, living], axis=1))


def test_scores_that_differ_by_rounding_are_equal():
    scores = np.array([[1.0, 1.0 + 1e-15, 3.0, np.inf, -np.inf, -1e-9, -2e-9]])
    found = midranks(scores, np.ones(7, dtype=bool))
    np.testing.assert_array_equal(found, [[3.5, 3.5, 2.0, 1.0, 7.0, 5.0, 6.0]])


def test_random_orders_keep_ties_and_layers_and_forget_the_order_of_units():
    shares = np.array([[0.4, 0.4, 0.8, 1.0, 0.5], [1.0, 0.8, 0.6, 0.4, 1.0]])
    layer_of = np.array([0, 0, 0, 1, 1])
    draws = permuted_shares(shares, layer_of, 50, np.random.RandomState(0))
    for layer in (0, 1):
        own = draws[:, :, layer_of == layer]
        expected = np.broadcast_to(shares[:, layer_of == layer], own.shape)
        np.testing.assert_array_equal(np.sort(own), np.sort(expected))
    order = [2, 0, 1, 4, 3]
    other = permuted_shares(shares[:, order], layer_of, 50, np.random.RandomState(0))
    np.testing.assert_array_equal(draws, other)
    assert not np.array_equal(draws[:, 0], np.broadcast_to(draws[0, 0], draws[:, 0].shape))


def null_p_values(scores, layer_of, rng):
    """P-values of the units of one network whose probes know nothing of each other."""
    shares = np.empty(scores.shape)
    for layer in np.unique(layer_of):
        own = layer_of == layer
        shares[:, own] = midranks(scores, own)[:, own] / own.sum()
    draws = -np.log10(rho_scores(permuted_shares(shares, layer_of, 100, rng)))
    return Null("independent orders", draws, matched=False).p_values(-np.log10(rho_scores(shares)))


@pytest.mark.slow
@pytest.mark.parametrize(("n_probes", "widths"), [(2, [20]), (3, [20]), (3, [12, 30])])
@pytest.mark.parametrize("tied", [False, True])
def test_independent_orders_are_rejected_one_time_in_twenty(n_probes, widths, tied):
    """2,000 networks; a unit of each, as those of one network exclude each other's ranks."""
    rng, layer_of = np.random.RandomState(0), np.repeat(np.arange(len(widths)), widths)
    p, any_passes = np.empty(2000), np.empty(2000, dtype=bool)
    for run in range(2000):
        scores = rng.normal(size=(n_probes, len(layer_of)))
        if tied:  # a probe that has nothing to say of half of the units, and coarse ones
            scores[0] = np.maximum(scores[0], 0)
            scores[1] = scores[1].round()
        own = null_p_values(scores, layer_of, rng)
        p[run], any_passes[run] = rng.choice(own), (benjamini_hochberg(own) <= 0.05).any()
    rejected = (p <= 0.05).mean()
    # two orders of 20 units give few values of rho, so that the test is discrete
    assert (0.03 if n_probes > 2 else 0) <= rejected <= 0.07
    assert any_passes.mean() <= 0.07
    # nowhere more small p-values than there are by chance
    assert kstest(p, "uniform", alternative="greater").statistic < 0.03
