"""What a leaf loses of a row, and the value of a leaf that loses least."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Taught:
    """What a tree is to say of some rows.

    Attributes
    ----------
    values : ndarray of shape (n_samples, n_outputs)
        Shares of the classes, or numbers.
    weight : ndarray of shape (n_samples,)
        Adds up to the number of rows.
    by_log : bool
        Whether the loss is the cross-entropy of the shares; else it is squared error.
    """

    values: NDArray[np.float64]
    weight: NDArray[np.float64]
    by_log: bool

    def take(self, rows: NDArray) -> "Taught":
        """The same of some rows."""
        w = self.weight[rows]
        return Taught(self.values[rows], w * (len(w) / max(w.sum(), 1e-300)), self.by_log)

    def main_directions(self, most: int = 3) -> NDArray[np.float64]:
        """Outputs (n_samples, at most `most`) along the principal axes in which they vary."""
        Y = self.values - np.average(self.values, axis=0, weights=self.weight)
        if Y.shape[1] > 1:
            Y = Y @ np.linalg.eigh(Y.T @ Y)[1][:, ::-1][:, :most]
        return np.asarray(Y[:, np.square(Y).sum(axis=0) > 1e-9 * np.square(Y).sum()])

    def means(self, leaf: NDArray, n_leaves: int) -> NDArray[np.float64]:
        """Value (n_leaves, n_outputs) of each leaf: the mean of its rows and of one row like all.

        So a leaf without rows says what all rows say, and no share is 0.
        """
        w = self.weight
        everywhere = w @ self.values / max(w.sum(), 1e-300)
        found = [np.bincount(leaf, w * column, minlength=n_leaves) for column in self.values.T]
        size = np.bincount(leaf, w, minlength=n_leaves)
        return (np.column_stack(found) + everywhere) / (size + 1)[:, None]

    def losses(self, leaf_values: NDArray) -> NDArray[np.float64]:
        """Loss (n_samples, n_leaves) of each row in each leaf."""
        if self.by_log:
            return np.asarray(-self.values @ np.log(np.maximum(leaf_values, 1e-12)).T)
        own = np.square(self.values).sum(axis=1)[:, None]
        theirs = np.square(leaf_values).sum(axis=1)
        return np.asarray(own - 2 * self.values @ leaf_values.T + theirs)

    def mean_loss(self, leaf: NDArray, n_leaves: int) -> float:
        """Weighted mean loss of rows in their leaves, at the leaves' own values."""
        values = self.means(leaf, n_leaves)[leaf]
        if self.by_log:
            rows = -(self.values * np.log(np.maximum(values, 1e-12))).sum(axis=1)
        else:
            rows = np.square(self.values - values).sum(axis=1)
        return float(self.weight @ rows / max(self.weight.sum(), 1e-300))
