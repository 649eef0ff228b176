"""Greedy growth over bins, all nodes of a level at once."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import xlogy

from sklflat.surrogate.trees.bins import Bins
from sklflat.surrogate.trees.layout import Layout
from sklflat.surrogate.trees.losses import Taught

#: of the tree that says which features matter: its depth, and rows of a leaf at least
_DEEP, _DEEP_LEAF = 8, 5
#: a split that gains less gains nothing: relative to the loss of all rows, and of each row, as
#: what is taught is of the order of 1
_TINY, _ROUNDING = 1e-10, 1e-12


def grow(
    bins: Bins, taught: Taught, depth: int, min_leaf: float = 1e-9
) -> tuple[Layout, NDArray[np.float64]]:
    """A tree whose nodes each ask what gains most at once, as scikit-learn's trees are grown.

    Parameters
    ----------
    bins : Bins
    taught : Taught
    depth : int
    min_leaf : float, default=1e-9
        Weight of a leaf, at least.

    Returns
    -------
    tree : Layout
    gains : ndarray of shape (n_features,)
        What the splits of each feature gain, relative to the loss of all rows.

    Examples
    --------
    >>> import numpy as np
    >>> from sklflat.surrogate.trees.bins import Bins
    >>> from sklflat.surrogate.trees.greedy import grow
    >>> from sklflat.surrogate.trees.losses import Taught
    >>> x = np.array([[0, 5], [1, 5], [2, 5], [3, 5]], dtype=np.float32)
    >>> taught = Taught(np.array([[-1.0], [-1.0], [-1.0], [3.0]]), np.ones(4), by_log=False)
    >>> tree, gains = grow(Bins.of(x), taught, 1)
    >>> tree.feature.tolist(), tree.cut.tolist(), gains
    ([0], [2], array([1., 0.]))
    """
    tree, gains = Layout.empty(depth), np.zeros(len(bins.numbers))
    node = np.zeros(len(taught.weight), dtype=np.int64)
    whole = _whole(taught)
    for level in range(depth):
        m, first = 2**level, 2**level - 1
        cost, unsplit = _costs(bins, taught, node, m, min_leaf)
        best = cost.argmin(axis=1)
        gained = unsplit - cost[np.arange(m), best]
        split = gained > max(_TINY * whole, _ROUNDING * taught.weight.sum())
        feature, cut = best // bins.size, best % bins.size
        own = np.arange(first, first + m)[split]
        tree.feature[own], tree.cut[own] = feature[split], cut[split]
        np.add.at(gains, feature[split], gained[split] / whole)
        if not split.any():
            break
        asked, above = tree.feature[first + node], tree.cut[first + node]
        node = 2 * node + (bins.numbers[asked, np.arange(len(node))] > above)
    return tree, gains


def importance_of(bins: Bins, taught: Taught) -> NDArray[np.float64]:
    """How much each feature matters (n_features,) to a deep tree, in which few are hidden.

    Over coarse bins, by the squared error of the outputs' main directions.
    """
    main = Taught(taught.main_directions(), taught.weight, by_log=False)
    return grow(bins.coarser(), main, _DEEP, _DEEP_LEAF)[1]


def _whole(taught: Taught) -> float:
    """Loss of all rows in one leaf."""
    w, v = taught.weight, taught.values
    if taught.by_log:
        return float(_loss(w @ v, w.sum(), by_log=True).sum())
    return float((w @ np.square(v - np.average(v, axis=0, weights=w))).sum())


def _costs(
    bins: Bins, taught: Taught, node: NDArray, m: int, min_leaf: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Loss of each node (m, n_features * size) by where it is cut, and (m,) uncut."""
    below = bins.sums_below(node, m, taught.weight)
    above = below[:, :, -1:] - below
    cost, unsplit = np.zeros_like(below), np.zeros(m)
    for column in taught.values.T:
        left = bins.sums_below(node, m, taught.weight * column)
        everything = left[:, :, -1:]
        cost += _loss(left, below, taught.by_log) + _loss(everything - left, above, taught.by_log)
        unsplit += _loss(everything, below[:, :, -1:], taught.by_log)[:, 0, 0]
    cost[(below < min_leaf) | (above < min_leaf)] = np.inf
    return cost.reshape(m, -1), unsplit


def _loss(sums: NDArray, weight: Any, by_log: bool) -> NDArray:
    """What rows of a weight lose by one output, which sums up to this; up to what splits share."""
    if by_log:
        return np.asarray(xlogy(sums, weight) - xlogy(sums, sums))
    return -np.square(sums) / np.maximum(weight, 1e-12)
