"""Which tree comes back on other rows, and whether there is one at all."""

from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import squareform

from sklflat.temperature.memory import n_at_once

__all__ = [
    "condensed",
    "correlation",
    "correlations",
    "tree_likeness",
    "tree_p_value",
    "triplets_of",
]

#: triplets of classes that are looked at
_MAX_TRIPLETS = 3000


def condensed(distances: NDArray) -> NDArray:
    """Distances (..., n_pairs) in SciPy's condensed order, of (..., n_classes, n_classes)."""
    return distances[(..., *np.triu_indices(distances.shape[-1], 1))]


def correlation(a: NDArray, b: NDArray) -> float:
    """Pearson correlation; 0 where one of both does not vary."""
    if len(a) < 2:
        return 0.0
    a, b = a - a.mean(), b - b.mean()
    norm = np.linalg.norm(a) * np.linalg.norm(b)
    scale = np.finfo(float).eps * len(a) * max(np.abs(a).max(), np.abs(b).max(), 1e-300) ** 2
    return float(a @ b / norm) if norm > scale else 0.0


def correlations(A: NDArray, B: NDArray) -> NDArray:
    """Pearson correlations (n,) of the rows of A and B (n, m)."""
    return np.array([correlation(a, b) for a, b in zip(A, B, strict=True)])


def tree_likeness(distances: NDArray, triplets: NDArray) -> NDArray:
    r"""How far distances are from those of a tree, by the three-point condition.

    On a tree whose leaves are equally far from the root, of any three distances between three
    classes the two largest are equal. With those of a triplet sorted, this is

    .. math:: \delta = \frac{\sum (d_{(3)} - d_{(2)})}{\sum (d_{(3)} - d_{(1)})}

    summed over the triplets: 0 for a tree, about 1/2 where distances have nothing to do with each
    other (Holland et al. 2002 [1]_ use such ratios for quartets).

    Parameters
    ----------
    distances : ndarray of shape (..., n_pairs)
        In SciPy's condensed order.
    triplets : ndarray of shape (n_triplets, 3), int
        Positions of the three pairs of each triplet.

    Returns
    -------
    delta : ndarray of shape (...), 1 where all distances are equal

    References
    ----------
    .. [1] B. R. Holland, K. T. Huber, A. Dress, V. Moulton, "Delta plots: a tool for analyzing
       phylogenetic distance data", Molecular Biology and Evolution 19, 2002.
       https://doi.org/10.1093/oxfordjournals.molbev.a004030
    """
    d = np.sort(distances[..., triplets], axis=-1)
    width = (d[..., 2] - d[..., 0]).sum(axis=-1)
    excess = (d[..., 2] - d[..., 1]).sum(axis=-1)
    return np.divide(excess, width, out=np.ones_like(width), where=width > 0)


def tree_p_value(distances: NDArray, n_draws: int, rng: np.random.RandomState) -> float:
    """Whether distances (n_classes, n_classes) are more like a tree's than by chance.

    Under the null the same distances belong to other pairs of classes. With four classes or
    fewer there are too few arrangements for a small p-value.
    """
    d = condensed(distances)
    triplets = triplets_of(len(distances), rng)
    if not len(triplets):
        return 1.0
    observed = tree_likeness(d, triplets)
    # of thousands of classes only the pairs that are looked at are given other distances
    pairs, places = np.unique(triplets, return_inverse=True)
    places = places.reshape(triplets.shape)
    stream = np.random.default_rng(rng.randint(2**31 - 1))
    at_once = n_at_once(triplets.size)
    n_as_good = 0
    for start in range(0, n_draws, at_once):
        drawn = [
            d[stream.choice(len(d), len(pairs), replace=False)]
            for _ in range(min(at_once, n_draws - start))
        ]
        n_as_good += int((tree_likeness(np.stack(drawn), places) <= observed + 1e-12).sum())
    return (1 + n_as_good) / (1 + n_draws)


def triplets_of(n_classes: int, rng: np.random.RandomState) -> NDArray:
    """Positions (n, 3) of the pairs of all triplets, or of a random choice of them."""
    position = squareform(np.arange(n_classes * (n_classes - 1) // 2), checks=False)
    n_all = n_classes * (n_classes - 1) * (n_classes - 2) // 6
    if n_all <= _MAX_TRIPLETS:
        chosen = np.array(list(combinations(range(n_classes), 3)), dtype=int).reshape(-1, 3)
    else:
        chosen = np.stack([rng.choice(n_classes, 3, replace=False) for _ in range(_MAX_TRIPLETS)])
    i, j, k = chosen.T
    return np.column_stack([position[i, j], position[i, k], position[j, k]])
