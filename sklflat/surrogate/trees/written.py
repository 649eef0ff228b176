"""A tree of one's own as scikit-learn's, so that all that reads its trees reads it."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sklflat._compat import TREE_NODE_FIELDS
from sklflat.surrogate.trees.bins import Bins
from sklflat.surrogate.trees.layout import Layout
from sklflat.surrogate.trees.losses import Taught

#: sums of rows that differ by less are the same
_TINY = 1e-12


def written(
    like: Any, tree: Layout, bins: Bins, taught: Taught, counts: NDArray, weight: NDArray
) -> Any:
    """scikit-learn's tree with the questions of a layout, and the values that rows give it.

    Branches that no row takes are left out, and splits whose two leaves say the same.

    Parameters
    ----------
    like : sklearn.tree._tree.Tree
        Of an estimator fitted to the same rows: it has the same outputs, and is not changed.
    tree : Layout
    bins : Bins
    taught : Taught
        Values are what a node's rows are taught in the mean.
    counts, weight : ndarray of shape (n_samples,)
        Rows and weights that each of the rows stands for.
    """
    nodes: list[tuple[Any, ...]] = []
    values: list[NDArray] = []
    writer = _Writer(tree, bins, taught, counts, weight, nodes, values)
    depth = writer.write(0, np.arange(bins.numbers.shape[1]))
    make, arguments, state = like.__reduce__()
    dtype = state["nodes"].dtype
    assert dtype.names == TREE_NODE_FIELDS
    shape = (len(nodes), *state["values"].shape[1:])
    found = make(*arguments)
    found.__setstate__(
        {
            "max_depth": depth,
            "node_count": len(nodes),
            "nodes": np.array(nodes, dtype=dtype),
            "values": np.ascontiguousarray(np.array(values).reshape(shape), dtype=np.float64),
        }
    )
    return found


class _Writer:
    """Nodes in the order of scikit-learn's: a node, all on its left, all on its right."""

    def __init__(
        self,
        tree: Layout,
        bins: Bins,
        taught: Taught,
        counts: NDArray,
        weight: NDArray,
        nodes: list[tuple[Any, ...]],
        values: list[NDArray],
    ) -> None:
        self.tree, self.bins, self.taught = tree, bins, taught
        self.counts, self.weight = counts, weight
        self.nodes, self.values = nodes, values

    def write(self, u: int, rows: NDArray) -> int:
        """Write what is below node u of the layout; return how deep it is."""
        if u >= len(self.tree.feature):
            self._node(rows)
            return 0
        feature, cut = int(self.tree.feature[u]), int(self.tree.cut[u])
        right = self.bins.numbers[feature, rows] > cut
        if right.all() or not right.any():
            return self.write(2 * u + 1 + int(bool(right.all())), rows)
        k = self._node(rows)
        depths = [self.write(2 * u + 1, rows[~right])]
        second = len(self.nodes)
        depths.append(self.write(2 * u + 2, rows[right]))
        leaves = max(depths) == 0
        if leaves and np.abs(self.values[k + 1] - self.values[second]).max() <= _TINY:
            del self.nodes[k + 1 :], self.values[k + 1 :]
            return 0
        threshold = float(self.bins.cuts[feature][cut])
        self.nodes[k] = (k + 1, second, feature, threshold, *self.nodes[k][4:])
        return 1 + max(depths)

    def _node(self, rows: NDArray) -> int:
        """Write a leaf, which may become a split."""
        w = self.weight[rows]
        mean = w @ self.taught.values[rows] / w.sum()
        sizes = int(self.counts[rows].sum()), float(w.sum())
        self.nodes.append((-1, -1, -2, -2.0, self._impurity(mean, rows, w), *sizes, 0))
        self.values.append(mean)
        return len(self.nodes) - 1

    def _impurity(self, mean: NDArray, rows: NDArray, w: NDArray) -> float:
        """Entropy in bits, or the mean of the outputs' variances."""
        if self.taught.by_log:
            p = mean[mean > 0]
            return float(-(p * np.log2(p)).sum() + 0.0)
        apart = np.square(self.taught.values[rows] - mean).mean(axis=1)
        return float(w @ apart / w.sum())
