"""Clusters that were planted, or not; noise whose effect is known in closed form."""

import numpy as np
import pytest
import torch
from sklearn.metrics import adjusted_rand_score
from torch import nn

from sklflat.eigenspace.clusters import cluster_units
from sklflat.eigenspace.noise import RankCorrelation, noise_rises, rank_correlation
from sklflat.networks import Network
from sklflat.networks.blocks import Blocks


def planted(seed, n=60, k=6, groups=3):
    """Loadings (k, n): each group of units lies in two eigenvectors of its own."""
    rng = np.random.RandomState(seed)
    labels = rng.randint(groups, size=n)
    loadings = 0.15 * rng.normal(size=(k, n))
    for u, label in enumerate(labels):
        loadings[2 * label : 2 * label + 2, u] += rng.choice([-1, 1], size=2)
    return loadings, labels


@pytest.mark.slow
def test_planted_clusters_are_found():
    loadings, labels = planted(0)
    found, p = cluster_units(loadings, np.zeros(60, int), None, np.random.RandomState(0))
    assert adjusted_rand_score(labels, found) == 1
    assert p == pytest.approx(0.05)


def test_signs_of_eigenvectors_do_not_matter():
    loadings, labels = planted(1)
    loadings[::2] *= -1
    found, _ = cluster_units(loadings, np.zeros(60, int), 3, np.random.RandomState(0))
    assert adjusted_rand_score(labels, found) == 1


def n_clusters_by_chance(seed, n):
    loadings = np.random.RandomState(seed).normal(size=(6, n))
    found, _ = cluster_units(loadings, np.zeros(n, int), None, np.random.RandomState(seed))
    return len(np.unique(found))


def test_chance_has_one_cluster():
    assert n_clusters_by_chance(0, 12) == 1


@pytest.mark.slow
def test_chance_mostly_has_one_cluster():
    counts = np.array([n_clusters_by_chance(seed, 60) for seed in range(8)])
    assert np.median(counts) == 1
    assert np.mean(counts > 1) <= 0.4  # six numbers of clusters are tried at 5 % each


@pytest.mark.parametrize("n", [1, 2, 4])
def test_few_units_are_one_cluster(n):
    found, _ = cluster_units(np.ones((3, n)), np.zeros(n, int), None, np.random.RandomState(0))
    assert (found == 0).all()


@pytest.mark.slow
def test_rise_by_noise_in_a_quadratic_is_half_the_trace_of_the_block():
    # L = w' A w / 2 with A = X'X / n: noise of length r in a block of d entries: r^2 tr(A_B) / 2d
    X = torch.randn(50, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    module = nn.Linear(6, 1, bias=False).double()
    network = Network(module, nn.MSELoss())
    y = network.outputs(X)
    blocks = Blocks(torch.tensor([0, 1, 2, 4]), torch.tensor([0, 0, 0, 1]), 2)
    rises = noise_rises(
        network, X, y, None, blocks, np.array([0, 1]), level=0.3, n_draws=4000, seed=0
    )
    A = 2 * X.T @ X / 50
    w = network.vector.read()
    for u in (0, 1):
        e = blocks.indices(u)
        length = (0.3 * w[e].norm()) ** 2
        expected = float(length * A[e, e].sum() / (2 * len(e)))
        assert rises[u] == pytest.approx(expected, rel=0.03)
    torch.testing.assert_close(network.vector.read(), w, rtol=0, atol=0)


def test_interval_of_a_rank_correlation_covers():
    rng = np.random.RandomState(0)
    covered = []
    for _ in range(400):
        a = rng.normal(size=40)
        covered.append(rank_correlation(a, rng.normal(size=40)).sign == 0)
    assert 0.92 <= np.mean(covered) <= 0.98


def test_equal_ranks_of_five_values_are_no_certainty():
    """The interval was the point 1, so that it covered .745 of five values at a correlation .9."""
    rng, rho, covered = np.random.RandomState(0), 0.9, []
    for _ in range(600):
        a = rng.normal(size=5)
        found = rank_correlation(a, rho * a + np.sqrt(1 - rho**2) * rng.normal(size=5))
        covered.append(found.low <= 6 / np.pi * np.arcsin(rho / 2) <= found.high)
    assert np.mean(covered) > 0.93
    certain = rank_correlation(np.arange(5.0), np.arange(5.0))
    assert certain.value == pytest.approx(1)
    assert certain.high == 1
    assert certain.sign == 0
    assert rank_correlation(np.arange(20.0), -np.arange(20.0)).sign == -1


def test_sign_of_a_rank_correlation():
    a = np.arange(20.0)
    assert rank_correlation(a, a**3).sign == 1
    assert rank_correlation(a, -a).sign == -1
    assert rank_correlation(a, np.zeros(20)) == RankCorrelation(0.0, -1.0, 1.0)
    assert rank_correlation(a[:3], a[:3]).sign == 0
