"""Eigenspace clustering: groups of units that lie alike in the eigenspace."""

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score

#: the largest number of clusters that is tried
_MAX_CLUSTERS = 8

#: pairs of bootstrap samples that are clustered and compared, and null data sets
_N_PAIRS, _N_NULL = 6, 19


def cluster_units(
    loadings: NDArray,
    strata: NDArray,
    n_clusters: int | str,
    rng: np.random.RandomState,
) -> tuple[NDArray, float]:
    r"""Group units by how their directions spread over eigenvectors.

    Each unit is the vector of square roots of its shares :math:`(u_j \cdot v_i)^2` in the subspace,
    in unit length, so the Euclidean distance is Hellinger's and signs of eigenvectors do not
    matter. K-means is run on pairs of bootstrap samples with different seeds; the agreement of the
    two partitions of all units (adjusted Rand index) is the *stability* [1]_. The number of
    clusters is the one whose stability is furthest above that of data in which each column was
    shuffled among the units of a layer, if it is above all of them; else there is one cluster.

    ``loadings`` (k, n_units) are products of eigenvectors and units' directions, ``strata``
    (n_units,) the units' layers. ``n_clusters`` is ``"auto"`` or a number. Returned are the labels
    (n_units,), and the p-value of the stability against the null, NaN where the number of clusters
    was given.

    References
    ----------
    .. [1] A. Ben-Hur, A. Elisseeff, I. Guyon, "A stability based method for discovering structure
       in clustered data", Pacific Symposium on Biocomputing 2002.
    """
    Z = _profiles(loadings)
    if not isinstance(n_clusters, str):  # "auto"
        return _fit(Z, min(n_clusters, len(Z)), rng).labels_, float("nan")
    best, best_gain, best_p = 1, 0.0, 1.0
    for c in range(2, min(_MAX_CLUSTERS, len(Z) // 3) + 1):
        stability = _stability(Z, c, _N_PAIRS, rng)
        null = np.array(
            [_stability(_shuffled(loadings, strata, rng), c, 2, rng) for _ in range(_N_NULL)]
        )
        p = (1 + np.count_nonzero(null >= stability)) / (1 + _N_NULL)
        gain = stability - null.mean()
        best_p = min(best_p, p) if best == 1 else best_p
        if p <= 1 / (1 + _N_NULL) and gain > best_gain:
            best, best_gain, best_p = c, gain, p
    if best == 1:
        return np.zeros(len(Z), dtype=int), best_p
    return _fit(Z, best, rng, n_init=10).labels_, best_p


def _profiles(loadings: NDArray) -> NDArray:
    Z = np.abs(loadings).T
    norms = np.linalg.norm(Z, axis=1, keepdims=True)
    return np.divide(Z, norms, out=np.zeros_like(Z), where=norms > 0)


def _shuffled(loadings: NDArray, strata: NDArray, rng: np.random.RandomState) -> NDArray:
    shuffled = loadings.copy()
    for stratum in np.unique(strata):
        members = np.flatnonzero(strata == stratum)
        for row in shuffled:
            row[members] = row[rng.permutation(members)]
    return _profiles(shuffled)


def _stability(Z: NDArray, c: int, n_pairs: int, rng: np.random.RandomState) -> float:
    scores = []
    for _ in range(n_pairs):
        a, b = (_fit(Z[rng.randint(len(Z), size=len(Z))], c, rng).predict(Z) for _ in range(2))
        scores.append(adjusted_rand_score(a, b))
    return float(np.mean(scores))


def _fit(Z: NDArray, c: int, rng: np.random.RandomState, n_init: int = 2) -> KMeans:
    distinct = len(np.unique(Z, axis=0))  # k-means warns if there are fewer than clusters
    seed = int(rng.randint(2**31 - 1))
    return KMeans(min(c, distinct), n_init=n_init, random_state=seed).fit(Z)
