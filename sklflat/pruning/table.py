"""The path as a table: scores of nested sets of units, with intervals, beside baselines."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sklflat.pruning.judge import Judge

#: up to so many units every number is judged, else so many numbers in equal ratios
_ALL = 64


@dataclass(frozen=True)
class Curve:
    """Scores of one order at the numbers of units of a table.

    Attributes
    ----------
    scores : ndarray of shape (n_sizes,)
        Accuracy or R^2 on the judged rows.
    low, high : ndarray of shape (n_sizes,)
        Ends of a 95 % interval, paired over the judged rows, of how far the score is below
        that of the whole network; of a baseline, below that of the path.
    """

    scores: NDArray
    low: NDArray
    high: NDArray


@dataclass(frozen=True)
class PathTable:
    """What is left of a network with fewer and fewer units.

    Attributes
    ----------
    sizes : ndarray of shape (n_sizes,), int
        Numbers of units that are kept, from 0 to all.
    path : Curve
    full_score : float
        That of the whole network.
    baselines : dict of str to Curve
    random_sizes : ndarray of shape (n_random_sizes,), int
    random_scores : ndarray of shape (n_random, n_random_sizes)
        Of nested sets of random units.
    score_name : {"accuracy", "R^2"}
    n_judged : int
        Rows that were judged on.
    n_groups : int or None
        Groups of these, or blocks of a series, each of which counts once; None without any.
    parts : {"groups", "blocks"}
        What these are.
    """

    sizes: NDArray
    path: Curve
    full_score: float
    baselines: dict[str, Curve]
    random_sizes: NDArray
    random_scores: NDArray
    score_name: str
    n_judged: int
    n_groups: int | None = None
    parts: str = "groups"

    @property
    def n_independent(self) -> int:
        """Groups or blocks of judged rows, or judged rows."""
        return self.n_judged if self.n_groups is None else self.n_groups

    def __repr__(self) -> str:
        most = self.sizes[-1] if len(self.sizes) else 0
        return (
            f"PathTable(0 to {most} units, {self.score_name} {self.full_score:.3g} with all, "
            f"{self.n_judged} rows)"
        )

    def at(self, n_units: int) -> dict[str, float]:
        """The row of a number of units: ``score``, ``drop`` and its interval ``low`` to ``high``.

        Raises
        ------
        ValueError
            If that number was not judged.
        """
        found = np.flatnonzero(self.sizes == n_units)
        if not len(found):
            raise ValueError(f"n_units={n_units} was not judged; these were: {self.sizes}.")
        i, path = found[0], self.path
        row = {"score": path.scores[i], "drop": self.full_score - path.scores[i]}
        row |= {"low": path.low[i], "high": path.high[i]}
        return {name: float(value) for name, value in row.items()}

    def smallest_within(self, tol: float) -> int:
        """The smallest number of units that is shown to lose no more than `tol`.

        Read from the whole network downwards, up to the first number whose interval ends above
        `tol`: as the order is settled before, at most one time in forty is the number too small.
        """
        smallest = int(self.sizes[-1])
        for size, high in zip(self.sizes[-2::-1], self.path.high[-2::-1], strict=True):
            if high > tol:
                break
            smallest = int(size)
        return smallest

    def to_frame(self) -> Any:
        """The table as a DataFrame, one row a number of units.

        Returns
        -------
        frame : pandas.DataFrame
            Columns ``score``, ``drop``, ``low``, ``high``, one for the score of every baseline, and
            ``random``, the mean of the random sets, NaN where none were judged.
        """
        import pandas as pd

        columns = {
            "score": self.path.scores,
            "drop": self.full_score - self.path.scores,
            "low": self.path.low,
            "high": self.path.high,
            **{name: curve.scores for name, curve in self.baselines.items()},
        }
        frame = pd.DataFrame(columns, index=pd.Index(self.sizes, name="n_units"))
        random = self.random_scores.mean(axis=0) if len(self.random_scores) else np.nan
        return frame.assign(random=pd.Series(random, index=self.random_sizes))


def judged_sizes(n_units: int, n_most: int = _ALL) -> NDArray:
    """Numbers of units from 0 to all, `n_most` of them in equal ratios where there are more.

    Examples
    --------
    >>> judged_sizes(4)
    array([0, 1, 2, 3, 4])
    >>> judged_sizes(100, 5)
    array([  0,   1,   3,  10,  32, 100])
    """
    if n_units <= n_most:
        return np.arange(n_units + 1)
    grid = np.geomspace(1, n_units, n_most).round().astype(int)
    return np.unique(np.concatenate([[0], grid]))


def sizes_of_random_sets(n_units: int, *, coarse: bool) -> NDArray:
    """No units, all, and doublings with the middles between, or quadruplings.

    Examples
    --------
    >>> sizes_of_random_sets(20, coarse=False)
    array([ 0,  1,  2,  3,  4,  6,  8, 12, 16, 20])
    >>> sizes_of_random_sets(20, coarse=True)
    array([ 0,  1,  4, 16, 20])
    """
    doublings = 2 ** np.arange(0, int(n_units).bit_length(), 2 if coarse else 1)
    between = doublings[:0] if coarse else 3 * doublings // 2
    grid = np.concatenate([[0, n_units], doublings, between]).astype(int)
    return np.unique(grid[grid <= n_units])


def kept_sets(order: NDArray, sizes: NDArray) -> NDArray:
    """Masks (n_sizes, n_units) of the first units of an order.

    Examples
    --------
    >>> kept_sets(np.array([2, 0, 1]), np.array([1, 2])).astype(int)
    array([[0, 0, 1],
           [1, 0, 1]])
    """
    place = np.argsort(order)
    return place[None] < np.asarray(sizes)[:, None]


def table_of(
    judge: Judge,
    order: NDArray,
    baselines: dict[str, NDArray],
    random: NDArray,
    sizes: NDArray,
    random_sizes: NDArray,
) -> PathTable:
    """Judge an order, baselines and random orders (n_random, n_units)."""
    full = judge.full_errors()
    own = judge.errors(kept_sets(order, sizes))
    judge = judge.in_blocks(own - full)
    s, groups = judge.judged.weights, judge.judged.groups
    classifies = judge.judged.trained.classes is not None
    return PathTable(
        sizes,
        _curve(judge, own, np.broadcast_to(full, own.shape)),
        float(1 - s @ full),
        {
            name: _curve(judge, judge.errors(kept_sets(other, sizes)), own)
            for name, other in baselines.items()
        },
        random_sizes,
        random_scores(judge, random, random_sizes),
        "accuracy" if classifies else "R^2",
        int((s > 0).sum()),
        None if groups is None else len(np.unique(groups[s > 0])),
        "blocks" if judge.judged.in_time else "groups",
    )


def random_scores(judge: Judge, random: NDArray, sizes: NDArray) -> NDArray:
    """Scores (n_random, n_sizes) of nested sets of the first units of random orders."""
    s = judge.judged.weights
    scores = [1 - judge.errors(kept_sets(order, sizes)) @ s for order in random]
    return np.array(scores).reshape(len(random), len(sizes))


def _curve(judge: Judge, errors: NDArray, references: NDArray) -> Curve:
    """Errors (n_sizes, n_judged), and how far they are above those of references."""
    ends = [judge.interval(e, r) for e, r in zip(errors, references, strict=True)]
    low, high = np.array(ends).T
    return Curve(1 - errors @ judge.judged.weights, low, high)
