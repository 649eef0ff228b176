"""Complete binary trees over bins."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sklflat.surrogate.trees.bins import Bins


@dataclass
class Layout:
    """The questions of a complete tree; the children of node u are 2 u + 1 and 2 u + 2.

    Attributes
    ----------
    depth : int
    feature, cut : ndarray of shape (2**depth - 1,), of int
        A row goes right where the number of its bin is above the cut.
    """

    depth: int
    feature: NDArray[np.int64]
    cut: NDArray[np.int64]

    @classmethod
    def empty(cls, depth: int) -> "Layout":
        """A tree that sends nothing right: no bin is above the last."""
        n = 2**depth - 1
        return cls(depth, np.zeros(n, dtype=np.int64), np.full(n, 255))

    def leaves(self, bins: Bins, start: NDArray | None = None) -> NDArray[np.int64]:
        """Number (n_samples,) of the leaf, from 0, that each row comes to.

        Parameters
        ----------
        bins : Bins
        start : ndarray of shape (n_samples,), of int, default=None
            Nodes of one level from which the rows go; None is the root.
        """
        n = bins.numbers.shape[1]
        rows = np.arange(n)
        node = np.zeros(n, dtype=np.int64) if start is None else start
        while n and node[0] < len(self.feature):  # all are on one level
            right = bins.numbers[self.feature[node], rows] > self.cut[node]
            node = 2 * node + 1 + right
        return node - len(self.feature)
