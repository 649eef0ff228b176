"""A planted decision tree, in the arrays of scikit-learn's ``tree_``."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["PlantedTree"]


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class PlantedTree:
    """A binary decision tree: go left where ``X[:, feature] <= threshold``.

    Attributes
    ----------
    feature : ndarray of shape (n_nodes,), of int
        Input that a node asks for, -2 at leaves.
    threshold : ndarray of shape (n_nodes,)
        Value that it is compared with, -2 at leaves.
    children_left, children_right : ndarray of shape (n_nodes,), of int
        Nodes to go to, -1 at leaves. Node 0 is the root.
    value : ndarray of shape (n_nodes,), of int
        Label of a leaf, -1 elsewhere.

    Examples
    --------
    >>> import numpy as np
    >>> from sklflat.datasets import PlantedTree
    >>> stump = PlantedTree(
    ...     feature=np.array([1, -2, -2]),
    ...     threshold=np.array([0.5, -2, -2]),
    ...     children_left=np.array([1, -1, -1]),
    ...     children_right=np.array([2, -1, -1]),
    ...     value=np.array([-1, 1, 0]),
    ... )
    >>> stump.apply([[9.0, 0.5], [9.0, 0.6]]), stump.predict([[9.0, 0.5], [9.0, 0.6]])
    (array([1, 2]), array([1, 0]))
    """

    feature: NDArray[np.int64]
    threshold: NDArray[np.float64]
    children_left: NDArray[np.int64]
    children_right: NDArray[np.int64]
    value: NDArray[np.int64]

    def apply(self, X: ArrayLike) -> NDArray[np.int64]:
        """Leaf that each sample ends in, shape (n_samples,)."""
        x = np.asarray(X, dtype=np.float64)
        node = np.zeros(len(x), dtype=np.int64)
        while (inner := np.flatnonzero(self.feature[node] >= 0)).size:
            at = node[inner]
            left = x[inner, self.feature[at]] <= self.threshold[at]
            node[inner] = np.where(left, self.children_left[at], self.children_right[at])
        return node

    def predict(self, X: ArrayLike) -> NDArray[np.int64]:
        """Label of each sample, shape (n_samples,)."""
        return self.value[self.apply(X)]

    @property
    def leaves(self) -> NDArray[np.int64]:
        """Numbers of the leaves, ascending."""
        return np.flatnonzero(self.feature < 0)

    def __repr__(self) -> str:
        used = sorted({int(f) for f in self.feature if f >= 0})
        return f"PlantedTree({len(self.leaves)} leaves over inputs {used})"
