"""The onset: the step from which on all continuations of a training end in one basin."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray


def step_grid(n_steps: int, n_grid: int) -> tuple[int, ...]:
    """Steps to look for the onset among: 0, and others at equal ratios, as onsets are early.

    Parameters
    ----------
    n_steps : int
        Of the training.
    n_grid : int
        Steps that are chosen, at most.

    Returns
    -------
    steps : tuple of int
        Ascending.

    Examples
    --------
    >>> from sklflat.rewinding.onset import step_grid
    >>> step_grid(n_steps=101, n_grid=3)
    (0, 1, 10, 100)
    """
    last = n_steps - 1
    if last <= n_grid:
        return tuple(range(max(n_steps, 1)))
    steps = np.geomspace(1, last, n_grid).round().astype(int)
    # the first would be rounded to the same
    return (0, *(int(s) for s in np.maximum(steps, np.arange(1, n_grid + 1))))


@dataclass(frozen=True)
class Instability:
    """How far apart copies of a training end that went on from one step in other orders.

    Parameters
    ----------
    step : int
    barriers : ndarray of shape (n_pairs,)
        In the order of :func:`itertools.combinations`.
        Of the training error, on the segment between two copies, above the mean of its ends.
        NaN where a copy failed.
    consistency : float
        Mean correlation of a unit over the copies, of units that live.
    n_trained : int
        Steps that were trained for it.
    """

    step: int
    barriers: NDArray = field(repr=False)
    consistency: float = float("nan")
    n_trained: int = 0

    @property
    def value(self) -> float:
        """The mean over pairs; infinite if a copy failed."""
        found = float(np.mean(self.barriers))
        return found if np.isfinite(found) else float("inf")

    @property
    def standard_error(self) -> float:
        """Of the mean over pairs, by the jackknife over copies, as pairs share these.

        NaN with fewer than three copies, or if one failed.
        """
        n_copies = round((1 + np.sqrt(1 + 8 * len(self.barriers))) / 2)
        if n_copies < 3 or not np.isfinite(self.barriers).all():
            return float("nan")
        pairs = list(combinations(range(n_copies), 2))
        without = [
            np.mean([b for b, pair in zip(self.barriers, pairs, strict=True) if k not in pair])
            for k in range(n_copies)
        ]
        return float(np.sqrt((n_copies - 1) * np.var(without)))


@dataclass(frozen=True)
class OnsetCurve:
    """Instability at the steps that were looked at, and the onset that follows from it.

    Parameters
    ----------
    points : tuple of Instability
        In ascending order of steps.
    tol : float
        Highest instability of a step that is stable.
    grid : tuple of int
        Steps that could be looked at.
    onset : int or None
        The first step of the grid from which on training is stable; None if there is none.
    """

    points: tuple[Instability, ...]
    tol: float
    grid: tuple[int, ...]
    onset: int | None

    @property
    def entered_at_init(self) -> bool:
        """Whether training is stable from its first step, so that there is nothing before."""
        return self.onset == 0

    @property
    def before(self) -> int | None:
        """The last step of the grid before the onset (or the end); None if there is none."""
        earlier = [s for s in self.grid if self.onset is None or s < self.onset]
        return max(earlier, default=None)

    @property
    def contradictions(self) -> tuple[int, ...]:
        """Steps that were looked at and contradict the onset, as instability is not monotone."""
        end = np.inf if self.onset is None else self.onset
        return tuple(p.step for p in self.points if (p.value <= self.tol) != (p.step >= end))

    @property
    def n_trained(self) -> int:
        """Steps that were trained for all points."""
        return sum(p.n_trained for p in self.points)

    def to_frame(self) -> Any:
        """The points as a pandas DataFrame, one row a step."""
        import pandas as pd

        rows = [
            {
                "step": p.step,
                "instability": p.value,
                "standard_error": p.standard_error,
                "lowest": float(np.min(p.barriers)),
                "highest": float(np.max(p.barriers)),
                "n_pairs": len(p.barriers),
                "stable": p.value <= self.tol,
                "consistency": p.consistency,
            }
            for p in self.points
        ]
        return pd.DataFrame(rows).set_index("step")


def find_onset(
    instability: Callable[[int], Instability], grid: Sequence[int], tol: float
) -> OnsetCurve:
    """The first stable step of a grid by bisection, if instability falls with the step.

    The first step is looked at first. At the end of training nothing is left that could differ, so
    that needs no look: of n steps about ``log2(n) + 2`` are looked at. Bisection itself cannot see
    whether instability falls, so one more step is looked at, halfway from the onset to the end; if
    it is not stable, it is among :attr:`OnsetCurve.contradictions`.

    Parameters
    ----------
    instability : callable
        ``instability(step) -> Instability``.
    grid : sequence of int
        Ascending, from 0.
    tol : float
        Instability up to which a step is stable.

    Returns
    -------
    curve : OnsetCurve

    References
    ----------
    J. Frankle et al., "Linear mode connectivity and the lottery ticket hypothesis", ICML 2020.
    https://arxiv.org/abs/1912.05671

    Examples
    --------
    >>> import numpy as np
    >>> from sklflat.rewinding.onset import Instability, find_onset
    >>> curve = find_onset(lambda k: Instability(k, np.array([1 / (1 + k)])), range(100), tol=0.1)
    >>> curve.onset, len(curve.points)
    (9, 9)
    """
    found: dict[int, Instability] = {}

    def is_stable(i: int) -> bool:
        if i not in found:
            found[i] = instability(grid[i])
        return found[i].value <= tol

    onset = 0
    if not is_stable(0):
        low, onset = 0, len(grid)
        while onset - low > 1:
            middle = (low + onset) // 2
            low, onset = (low, middle) if is_stable(middle) else (middle, onset)
    if onset < len(grid):
        is_stable((onset + len(grid)) // 2)  # what was only concluded so far
    points = tuple(found[i] for i in sorted(found))
    at = grid[onset] if onset < len(grid) else None
    return OnsetCurve(points, tol, tuple(grid), at)
