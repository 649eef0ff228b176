"""A tree of classes, and how sure its branches are."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.cluster import hierarchy
from scipy.spatial.distance import squareform

__all__ = ["ClassTree", "branches", "cophenetic", "grow"]


@dataclass(frozen=True, eq=False)
class ClassTree:
    """A tree of classes at one temperature.

    Parameters
    ----------
    classes : ndarray of shape (n_classes,)
    linkage : ndarray of shape (n_classes - 1, 4)
        In SciPy's format, for ``scipy.cluster.hierarchy``; heights are distances in [0, 1].
    temperature : float
    support : ndarray of shape (n_classes - 1,)
        Share of the bootstrap samples of rows whose tree has the branch; 1 for the root.
    persistence : ndarray of shape (n_classes - 1,)
        Share of the temperatures whose tree has the branch.
    """

    classes: NDArray
    linkage: NDArray = field(repr=False)
    temperature: float
    support: NDArray = field(repr=False)
    persistence: NDArray = field(repr=False)

    def groups(self) -> list[tuple[Any, ...]]:
        """The classes below each branch, in the order of the linkage."""
        members = branches(self.linkage)
        return [tuple(c for k, c in enumerate(self.classes) if m >> k & 1) for m in members]

    def to_frame(self) -> Any:
        """The branches as a tidy DataFrame.

        Returns
        -------
        frame : pandas.DataFrame
            Columns ``classes`` (a tuple), ``distance``, ``support``, ``persistence``.
        """
        import pandas as pd

        return pd.DataFrame(
            {
                "classes": self.groups(),
                "distance": self.linkage[:, 2],
                "support": self.support,
                "persistence": self.persistence,
            }
        )

    def to_newick(self) -> str:
        """The tree in Newick's format, which programs for trees read.

        Returns
        -------
        text : str
            Branch lengths are differences of heights; inner nodes are named by their support.
        """
        n = len(self.classes)
        heights = [0.0] * n + self.linkage[:, 2].tolist()
        text = ["'" + str(c).replace("'", "''") + "'" for c in self.classes]
        for row, support in zip(self.linkage, self.support, strict=True):
            parts = [f"{text[int(c)]}:{row[2] - heights[int(c)]:.6g}" for c in row[:2]]
            text.append(f"({','.join(parts)}){support:.2f}")
        return text[-1] + ";"

    def __str__(self) -> str:
        """One line a branch, the tightest first."""
        lines = [
            f"{', '.join(map(str, group))}  (distance {row[2]:.3g}, support {support:.0%})"
            for group, row, support in zip(self.groups(), self.linkage, self.support, strict=True)
        ]
        return f"Tree of {len(self.classes)} classes at T = {self.temperature:.3g}\n" + "\n".join(
            lines
        )


def grow(distances: NDArray, method: str = "average") -> NDArray:
    """Linkage (n_classes - 1, 4) of symmetric distances (n_classes, n_classes)."""
    if len(distances) == 1:
        return np.zeros((0, 4))
    return np.asarray(hierarchy.linkage(squareform(distances, checks=False), method))


def cophenetic(linkage: NDArray) -> NDArray:
    """Heights (n_pairs,) at which the pairs of classes meet, in SciPy's condensed order.

    As ``scipy.cluster.hierarchy.cophenet``, without its checks of the argument, which take most of
    the time of trees as small as these.
    """
    n = len(linkage) + 1
    heights = np.zeros((n, n))
    members = [[k] for k in range(n)]
    for left, right, height, _ in linkage.tolist():
        a, b = members[int(left)], members[int(right)]
        heights[np.array(a)[:, None], b] = height
        members.append(a + b)
    return np.asarray(squareform(heights + heights.T, checks=False))


def branches(linkage: NDArray) -> list[int]:
    """The set of classes below each branch, as the bits of an integer."""
    n = len(linkage) + 1
    members = [1 << k for k in range(n)]
    for left, right in linkage[:, :2].astype(int):
        members.append(members[left] | members[right])
    return members[n:]


def share_with(linkage: NDArray, others: Iterable[NDArray]) -> NDArray:
    """Share (n_classes - 1,) of the other trees that have each branch of a tree."""
    own = branches(linkage)
    found = [[b in known for b in own] for known in (set(branches(o)) for o in others)]
    return np.mean(found, axis=0) if found else np.full(len(own), np.nan)
