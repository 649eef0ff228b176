"""The onset: the step from which on all continuations of a training end in one basin."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.isotonic import IsotonicRegression

from sklflat.rewinding.segments import n_networks


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
    def n_copies(self) -> int:
        """How many networks were compared, the parent among them."""
        return n_networks(len(self.barriers))

    @property
    def standard_error(self) -> float:
        """Of the mean over pairs, by the jackknife over copies, as pairs share these.

        NaN with fewer than three copies, or if one failed.
        """
        n_copies = self.n_copies
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


def falling_curve(points: Sequence[Instability]) -> NDArray:
    """The falling curve (n_points,) that is nearest to some looks (isotonic regression).

    A look counts as often as copies were trained for it. A failed copy counts as an error of all
    rows.

    Examples
    --------
    >>> import numpy as np
    >>> from sklflat.rewinding.onset import Instability, falling_curve
    >>> looks = [Instability(k, np.array([b])) for k, b in enumerate((0.5, 0.25, 0.375, 0.0))]
    >>> falling_curve(looks).tolist()
    [0.5, 0.3125, 0.3125, 0.0]
    """
    values = np.minimum([p.value for p in points], 1.0)
    weights = [p.n_copies - 1.0 for p in points]
    regression = IsotonicRegression(increasing=False)
    found: NDArray = regression.fit_transform(np.arange(len(points)), values, sample_weight=weights)
    # which rounding may overstep: a mean of looks is no higher than they are
    return np.clip(found, np.minimum.accumulate(values), np.maximum.accumulate(values[::-1])[::-1])
