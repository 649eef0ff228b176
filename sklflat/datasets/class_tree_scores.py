"""Agreement of a proposed tree of classes, or of a similarity, with the planted tree."""

from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.cluster import hierarchy
from scipy.spatial.distance import squareform
from sklearn.utils import check_array

__all__ = ["cophenetic_correlation", "cophenetic_distances", "resolves", "triplet_accuracy"]


def cophenetic_distances(linkage: NDArray) -> NDArray[np.float64]:
    """Heights at which two classes meet, shape (n_classes, n_classes)."""
    return np.asarray(squareform(hierarchy.cophenet(linkage)))


def resolves(planted: NDArray) -> NDArray[np.bool_]:
    """Which triplets a tree resolves: one pair meets strictly below the other two."""
    pairs = _triplet_distances(planted)
    return np.asarray((pairs == pairs.min(axis=1, keepdims=True)).sum(axis=1) == 1)


def cophenetic_correlation(planted: NDArray, proposal: ArrayLike) -> float:
    """Pearson correlation of planted and proposed distances over all pairs of classes."""
    proposed = _distances(proposal, len(planted))
    pairs = np.triu_indices(len(planted), k=1)
    a, b = planted[pairs], proposed[pairs]
    _refuse_star(planted)
    if np.ptp(b) == 0:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])


def triplet_accuracy(planted: NDArray, proposal: ArrayLike) -> float:
    """Share of the resolved triplets whose closest pair the proposal names; ties share credit."""
    proposed = _triplet_distances(_distances(proposal, len(planted)))
    _refuse_star(planted)
    resolved = resolves(planted)
    closest = _triplet_distances(planted).argmin(axis=1)
    named = proposed == proposed.min(axis=1, keepdims=True)
    credit = named[np.arange(len(named)), closest] / named.sum(axis=1)
    return float(credit[resolved].mean())


def _triplet_distances(distances: NDArray) -> NDArray:
    """Distances of the pairs (i, j), (i, k), (j, k) of every triplet, shape (n_triplets, 3)."""
    i, j, k = np.array(list(combinations(range(len(distances)), 3))).T
    return np.column_stack([distances[i, j], distances[i, k], distances[j, k]])


def _distances(proposal: ArrayLike, n_classes: int) -> NDArray[np.float64]:
    """Distances that a linkage or a similarity matrix proposes."""
    matrix = check_array(proposal, dtype=np.float64, input_name="proposal")
    if matrix.shape == (n_classes - 1, 4):
        hierarchy.is_valid_linkage(matrix, throw=True, name="proposal")
        return cophenetic_distances(matrix)
    if matrix.shape != (n_classes, n_classes):
        raise ValueError(
            f"proposal must be a linkage of shape {(n_classes - 1, 4)} or a similarity matrix of "
            f"shape {(n_classes, n_classes)}, got shape {matrix.shape}."
        )
    scale = np.abs(matrix).max()
    if not np.allclose(matrix, matrix.T, rtol=0, atol=1e-8 * scale):
        raise ValueError(
            "proposal must be a symmetric similarity matrix; symmetrise it first, for example "
            "with (proposal + proposal.T) / 2."
        )
    return -matrix


def _refuse_star(planted: NDArray) -> None:
    if not resolves(planted).any():
        raise ValueError(
            "The planted tree is a star: there is no hierarchy to recover. Compare a verdict "
            "'no hierarchy' with truth.has_hierarchy."
        )
