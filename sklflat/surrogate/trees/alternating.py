"""Tree alternating optimisation: one node's question at a time, all others as they are."""

import numpy as np

from sklflat.surrogate.trees.bins import Bins
from sklflat.surrogate.trees.layout import Layout
from sklflat.surrogate.trees.losses import Taught

_MAX_SWEEPS = 25
#: share of the loss that a sweep has to gain, or it was the last
_GAIN = 1e-4


def alternate(tree: Layout, bins: Bins, taught: Taught) -> tuple[Layout, float]:
    r"""Improve a tree until no node's question can be improved.

    Given the subtrees below a node, each row :math:`i` that reaches it loses :math:`l_i` if it goes
    left, and :math:`r_i` if it goes right, at the values of the leaves that it comes to. The best
    question of all thresholds :math:`t` of all features :math:`f` is then [1]_

    .. math:: \arg\min_{f, t} \sum_{i:\, x_{if} \le t} w_i (l_i - r_i),

    which is found exactly (over the thresholds of the bins). Nodes of one level share no rows, so a
    level is improved at once. From the last level to the root, then the leaves' values again,
    until a sweep gains less than a ten-thousandth of the loss, which never rises.

    Parameters
    ----------
    tree : Layout
        Not changed.
    bins : Bins
    taught : Taught

    Returns
    -------
    tree : Layout
    loss : float
        Mean over the rows.

    References
    ----------
    .. [1] M. Carreira-Perpiñán, P. Tavallali, "Alternating optimization of decision trees, with
       application to learning sparse oblique trees", NeurIPS 2018.

    Examples
    --------
    Exclusive or, from a root that asks the wrong question of the first input:

    >>> import numpy as np
    >>> from sklflat.surrogate.trees.alternating import alternate
    >>> from sklflat.surrogate.trees.bins import Bins
    >>> from sklflat.surrogate.trees.layout import Layout
    >>> from sklflat.surrogate.trees.losses import Taught
    >>> x = np.stack(np.meshgrid(np.arange(6.0), np.arange(6.0)), axis=-1).reshape(-1, 2)
    >>> y = ((x[:, 0] > 2.5) != (x[:, 1] > 2.5)) * 1.0
    >>> taught = Taught(y[:, None], np.ones(36), by_log=False)
    >>> start = Layout(2, np.array([0, 1, 1]), np.array([1, 2, 2]))
    >>> tree, _ = alternate(start, Bins.of(x.astype(np.float32)), taught)
    >>> tree.feature.tolist(), tree.cut.tolist()
    ([0, 1, 1], [2, 2, 2])
    """
    tree = Layout(tree.depth, tree.feature.copy(), tree.cut.copy())
    loss = taught.mean_loss(tree.leaves(bins), 2**tree.depth)
    for _ in range(_MAX_SWEEPS):
        for level in reversed(range(tree.depth)):
            _improve_level(tree, level, bins, taught)
        before, loss = loss, taught.mean_loss(tree.leaves(bins), 2**tree.depth)
        if before - loss <= _GAIN * abs(before):
            break
    return tree, loss


def _improve_level(tree: Layout, level: int, bins: Bins, taught: Taught) -> None:
    """Give each node of a level its best question."""
    n, size = bins.numbers.shape[1], bins.size
    m, first = 2**level, 2**level - 1
    leaf = tree.leaves(bins)
    node = leaf >> (tree.depth - level)
    values = taught.losses(taught.means(leaf, 2**tree.depth))
    left = tree.leaves(bins, 2 * (node + first) + 1)
    right = tree.leaves(bins, 2 * (node + first) + 2)
    rows = np.arange(n)
    gain = taught.weight * (values[rows, left] - values[rows, right])
    # what going left up to each threshold changes, against all rows going right
    change = bins.sums_below(node, m, gain)
    nodes, own = np.arange(m), slice(first, first + m)
    now = change[nodes, tree.feature[own], np.minimum(tree.cut[own], size - 1)]
    best = change.reshape(m, -1).argmin(axis=1)
    better = change.reshape(m, -1)[nodes, best] < now - 1e-9
    tree.feature[own] = np.where(better, best // size, tree.feature[own])
    tree.cut[own] = np.where(better, best % size, tree.cut[own])
