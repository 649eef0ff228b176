"""A tree of classes, and how sure its branches are."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.cluster import hierarchy
from scipy.spatial.distance import squareform

__all__ = ["ClassTree", "branches", "cophenetic", "grow", "is_branch", "share_with"]

#: heights that differ by no more than this share of the highest, and by no more than distances
#: of 1 are rounded by, are equal
_RELATIVE, _ABSOLUTE = 1e-9, 1e-14


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
        Share of the bootstrap samples of rows whose tree has the branch; 1 for the root. NaN for a
        branch that is as high as the one above it, as those are one, and for one with a class of
        one row, which is in every sample.
    persistence : ndarray of shape (n_classes - 1,)
        Share of the temperatures whose tree has the branch; NaN as above for equal heights.
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
            Branch lengths are differences of heights; inner nodes are named by their support,
            where it is known. Branches of one height are one node.
        """
        n = len(self.classes)
        heights = [0.0] * n + self.linkage[:, 2].tolist()
        text = ["'" + str(c).replace("'", "''") + "'" for c in self.classes]
        is_node = [True] * n + is_branch(self.linkage).tolist()
        below: list[list[str]] = [[] for _ in text]
        for row, support in zip(self.linkage, self.support, strict=True):
            parts: list[str] = []
            for c in row[:2].astype(int):
                parts += [f"{text[c]}:{row[2] - heights[c]:.6g}"] if is_node[c] else below[c]
            below.append(parts)
            text.append(f"({','.join(parts)})" + ("" if np.isnan(support) else f"{support:.2f}"))
        return text[-1] + ";"

    def __str__(self) -> str:
        """One line a branch, the tightest first; branches of one height are one."""
        groups = self.groups()
        lines = [
            f"{', '.join(map(str, groups[k]))}  (distance {self.linkage[k, 2]:.3g}, support "
            + ("unknown)" if np.isnan(self.support[k]) else f"{self.support[k]:.0%})")
            for k in np.flatnonzero(is_branch(self.linkage))
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
    """Share (n_classes - 1,) of the other trees that have each branch of a tree.

    NaN for what :func:`is_branch` says is none, which does not count in the others either.
    """
    own = branches(linkage)
    found = [[b in known for b in own] for known in map(_own_branches, others)]
    if not found:
        return np.full(len(own), np.nan)
    return np.where(is_branch(linkage), np.mean(found, axis=0), np.nan)


def is_branch(linkage: NDArray) -> NDArray:
    """Which branches (n_classes - 1,) are lower than the one above them, by more than rounding.

    Of three classes at one distance two are joined first, by the order of their names: that is no
    branch, and says nothing of them.
    """
    n = len(linkage) + 1
    above = np.full(len(linkage), np.inf)
    for left, right, height, _ in linkage.tolist():
        for c in (int(left), int(right)):
            if c >= n:
                above[c - n] = height
    heights = linkage[:, 2]
    return np.asarray(above - heights > _RELATIVE * heights.max(initial=0.0) + _ABSOLUTE)


def _own_branches(linkage: NDArray) -> set[int]:
    return {b for b, stands in zip(branches(linkage), is_branch(linkage), strict=True) if stands}
