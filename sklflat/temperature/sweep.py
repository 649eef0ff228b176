"""The trees of classes over a grid of temperatures, and the one to use."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sklflat.temperature.class_similarity import (
    class_distances,
    class_similarity,
    merge_temperatures,
)
from sklflat.temperature.class_tree import ClassTree, branches, grow, share_with
from sklflat.temperature.reproducibility import reproduced_p_value
from sklflat.temperature.resampled_rows import ResampledRows, softmax_distances
from sklflat.temperature.stability import tree_p_value

#: random arrangements of the distances, and the p-values from which there is no hierarchy: of
#: distances that are no tree's, and of pairs whose effects do not come back on other rows
N_ARRANGEMENTS, LEVEL, LEVEL_REPRODUCED = 1999, 0.001, 0.01

#: fewer classes than this have too few arrangements for such p-values
FEWEST_CLASSES = 7

#: pairs of halves that pair effects are compared on
_N_HALVES = 4


@dataclass(frozen=True, eq=False)
class TemperatureSweep:
    """What a classifier's softened probabilities say of its classes, temperature by temperature.

    Parameters
    ----------
    temperatures : ndarray of shape (n_temperatures,)
    classes : ndarray of shape (n_classes,)
    similarity : ndarray of shape (n_temperatures, n_classes, n_classes)
        See :func:`~sklflat.temperature.class_similarity.class_similarity`.
    linkages : ndarray of shape (n_temperatures, n_classes - 1, 4)
    support : ndarray of shape (n_temperatures, n_classes - 1)
        Share of bootstrap samples whose tree at this temperature has the branch. NaN where two
        heights are equal, and where a class of the branch has one row.
    stability : ndarray of shape (n_temperatures,)
        Mean correlation of a tree grown on half of the rows with the distances on the other half.
    p_value : float
        Of the most stable tree against distances that are no tree's.
    reproduced_p_value : float
        Of pairs of classes being more than two hard classes, on other rows.
    """

    temperatures: NDArray
    classes: NDArray
    similarity: NDArray
    linkages: NDArray
    support: NDArray
    stability: NDArray
    p_value: float
    reproduced_p_value: float

    @property
    def best(self) -> int:
        """Which temperature has the most stable tree."""
        return int(self.stability.argmax())

    @property
    def merges(self) -> NDArray:
        """Merge temperatures (n_classes, n_classes)."""
        return merge_temperatures(self.similarity, self.temperatures)

    @property
    def tree(self) -> ClassTree:
        """The most stable tree, whether or not it is more than chance."""
        k = self.best
        return ClassTree(
            self.classes,
            self.linkages[k],
            float(self.temperatures[k]),
            self.support[k],
            share_with(self.linkages[k], self.linkages),
        )

    @property
    def has_hierarchy(self) -> bool:
        """Whether a tree describes the classes better than chance and their difficulty do."""
        return (
            self.p_value <= LEVEL
            and self.reproduced_p_value <= LEVEL_REPRODUCED
            and self.stability[self.best] > 0
        )

    @classmethod
    def of(
        cls,
        probabilities: Callable[[float], NDArray],
        y: NDArray,
        weight: NDArray,
        temperatures: NDArray,
        classes: NDArray,
        method: str,
        resampled: ResampledRows,
        rng: np.random.RandomState,
    ) -> "TemperatureSweep":
        """Sweep over temperatures.

        Parameters
        ----------
        probabilities : callable
            Softened output (n_samples, n_classes) at a temperature.
        y : ndarray of shape (n_samples,), int
            Its columns; every class has a row.
        weight : ndarray of shape (n_samples,)
        temperatures : ndarray of shape (n_temperatures,)
        classes : ndarray of shape (n_classes,)
        method : str
            Of the linkage.
        resampled : ResampledRows
            For support and stability.
        rng : RandomState
        """
        similarity, linkages, support = [], [], []
        stability: list[float] = []
        n_rows = resampled.n_independent
        for T in temperatures:
            p = probabilities(float(T))
            distances = softmax_distances(p, y)
            similarity.append(class_similarity(p, y, weight))
            linkages.append(grow(class_distances(similarity[-1]), method))
            share = share_with(linkages[-1], resampled.trees(distances, method))
            support.append(np.where(_rests_on_one_row(linkages[-1], n_rows), np.nan, share))
            agreement = float(resampled.agreement(distances, method, distances).mean())
            if agreement > max(stability, default=-np.inf):
                halves = (resampled.first[:_N_HALVES], resampled.second[:_N_HALVES])
                first, second = (class_similarity(p, y, s) for s in halves)
            stability.append(agreement)
        n = N_ARRANGEMENTS if len(classes) >= FEWEST_CLASSES else 0
        best = class_distances(similarity[int(np.argmax(stability))])
        return cls(
            temperatures,
            classes,
            np.stack(similarity),
            np.stack(linkages),
            np.stack(support),
            np.array(stability),
            tree_p_value(best, n, rng),
            reproduced_p_value(first, second, n_rows, n, rng) if n else 1.0,
        )


def _rests_on_one_row(linkage: NDArray, n_rows: NDArray) -> NDArray:
    """Branches (n_classes - 1,), but the root, with a class whose only row is in all samples."""
    members = branches(linkage)
    single = sum(1 << int(k) for k in np.flatnonzero(n_rows == 1))
    return np.array([bool(m & single) and m != members[-1] for m in members], dtype=bool)
