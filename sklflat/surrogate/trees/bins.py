"""Features as numbers of bins, so that all thresholds of all features are compared at once."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: thresholds of a feature, at most
MAX_CUTS = 254
#: bins of which one is made, where coarse ones will do
_COARSE = 8


@dataclass(frozen=True)
class Bins:
    """Where the values of each feature lie between its thresholds.

    Attributes
    ----------
    numbers : ndarray of shape (n_features, n_samples), uint8
        Number b of the bin: a value is above threshold c where b > c. A missing one is above all.
    cuts : list of ndarray
        Rising thresholds of each feature, half way between two of its values.
    """

    numbers: NDArray[np.uint8]
    cuts: list[NDArray[np.float64]]

    @classmethod
    def of(cls, X: NDArray[np.float32]) -> "Bins":
        """Bins of data (n_samples, n_features), by quantiles where there are many values.

        Examples
        --------
        >>> import numpy as np
        >>> from sklflat.surrogate.trees.bins import Bins
        >>> bins = Bins.of(np.array([[1.0], [2.0], [2.0], [4.0]], dtype=np.float32))
        >>> bins.cuts, bins.numbers.tolist()
        ([array([1.5, 3. ])], [[0, 1, 1, 2]])
        """
        cuts = [_cuts(column) for column in X.T]
        numbers = [np.searchsorted(c, x, side="left") for c, x in zip(cuts, X.T, strict=True)]
        return cls(np.array(numbers, dtype=np.uint8).reshape(len(cuts), len(X)), cuts)

    @property
    def size(self) -> int:
        """Bins of the feature that has most."""
        return max((len(c) for c in self.cuts), default=0) + 1

    def take(self, rows: NDArray) -> "Bins":
        """The bins of some rows."""
        return Bins(np.ascontiguousarray(self.numbers[:, rows]), self.cuts)

    def coarser(self) -> "Bins":
        """Every eighth threshold of the features that have many."""
        many = np.array([len(cuts) >= _COARSE * 4 for cuts in self.cuts], dtype=bool)
        numbers = np.where(many[:, None], self.numbers // _COARSE, self.numbers)
        cuts = [
            c[_COARSE - 1 :: _COARSE] if fine else c
            for c, fine in zip(self.cuts, many, strict=True)
        ]
        return Bins(numbers, cuts)

    def sums_below(self, node: NDArray, n_nodes: int, values: NDArray) -> NDArray[np.float64]:
        """Sums of values (n_samples,) of each node's rows up to each bin.

        Returns
        -------
        sums : ndarray of shape (n_nodes, n_features, size)
        """
        first, n = node * self.size, n_nodes * self.size
        # feature by feature, as one array of all would leave the processor's cache
        sums = np.stack([np.bincount(first + bins, values, n) for bins in self.numbers])
        return sums.reshape(-1, n_nodes, self.size).swapaxes(0, 1).cumsum(axis=2)


def _cuts(column: NDArray[np.float32]) -> NDArray[np.float64]:
    known = column[np.isfinite(column)].astype(np.float64)
    values, counts = np.unique(known, return_counts=True)
    middle = (values[1:] + values[:-1]) / 2
    # a middle that rounds to the upper value would not part the two
    middle = np.where(middle < values[1:], middle, values[:-1])
    if len(middle) > MAX_CUTS:
        below = counts.cumsum()[:-1]
        places = np.linspace(0, counts.sum(), MAX_CUTS + 2)[1:-1]
        middle = middle[np.unique(np.minimum(np.searchsorted(below, places), len(middle) - 1))]
    if len(known) < len(column) and len(values):
        middle = np.append(middle[: MAX_CUTS - 1], values[-1])  # parts what is known from the rest
    return middle
