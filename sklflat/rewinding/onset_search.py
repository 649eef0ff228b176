"""The search for the onset: bisection that knows its noise."""

from collections.abc import Callable, Sequence

import numpy as np

from sklflat.rewinding.onset import Instability, OnsetCurve, falling_curve

#: steps that may be trained in all, as a share of those of looks at all steps of the grid
SHARE = 0.25
#: looks at one step, at most: four halve the error of one
MOST = 4
#: standard errors between a look and the tolerance, from which on there is no doubt
SURE = 2.0


def find_onset(
    instability: Callable[[int], Instability],
    grid: Sequence[int],
    tol: float,
    *,
    cost: Callable[[int], float] | None = None,
) -> OnsetCurve:
    """The first stable step of a grid by bisection, if instability falls with the step.

    The first step is looked at first. At the end of training nothing is left that could differ, so
    that needs no look: of n steps about ``log2(n) + 2`` are looked at. Bisection itself cannot see
    whether instability falls, so one more step is looked at, halfway from the onset to the end; if
    it is not stable, it is among :attr:`OnsetCurve.contradictions`.

    A look is a mean over few copies, and takes a wrong turn where it is on the wrong side of the
    tolerance by chance. So with ``cost`` the two steps between which the onset lies are looked at
    again, with further copies, as long as one of them is within two standard errors of the
    tolerance, four times at most, until a quarter of the cost of looks at all steps is spent. The
    onset is then the first step at which the falling curve nearest to all looks is stable, as it is
    of looks at all steps; where that moves away, bisection goes on between looks. If the quarter is
    spent before it has ended, the onset is the next step that was looked at, and the true one may
    be any after the look before. On simulated noisy curves that is so in 4 to 19 % of runs.

    Parameters
    ----------
    instability : callable
        ``instability(step) -> Instability``. Called again for a step, it returns what all copies
        say, old and new.
    grid : sequence of int
        Ascending, from 0.
    tol : float
        Instability up to which a step is stable.
    cost : callable, default=None
        ``cost(step)``, the steps that one look trains. None looks at no step twice.

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
    >>> from sklflat.rewinding import Instability, find_onset
    >>> curve = find_onset(lambda k: Instability(k, np.array([1 / (1 + k)])), range(100), tol=0.1)
    >>> curve.onset, len(curve.points)
    (9, 9)
    """
    search = _Search(instability, grid, tol)
    onset = search.bisected()
    if onset < len(grid):
        search.is_stable((onset + len(grid)) // 2)  # what was only concluded so far
    if cost is not None:
        costs = [float(cost(step)) for step in grid]
        onset = search.doubted(costs, SHARE * sum(costs))
    at = grid[onset] if onset < len(grid) else None
    return OnsetCurve(search.points, tol, tuple(grid), at)


class _Search:
    """Looks that were made, by their place on the grid."""

    def __init__(
        self, instability: Callable[[int], Instability], grid: Sequence[int], tol: float
    ) -> None:
        self.instability, self.grid, self.tol = instability, grid, tol
        self.found: dict[int, Instability] = {}
        self.n_looks: dict[int, int] = {}

    @property
    def points(self) -> tuple[Instability, ...]:
        return tuple(self.found[i] for i in sorted(self.found))

    def look(self, i: int) -> None:
        """Look at a step for the first time, or again."""
        self.found[i] = self.instability(self.grid[i])
        self.n_looks[i] = self.n_looks.get(i, 0) + 1

    def is_stable(self, i: int) -> bool:
        if i not in self.found:
            self.look(i)
        return self.found[i].value <= self.tol

    def bisected(self) -> int:
        """The place of the first stable step, each look taken as it is; the end if none is."""
        if self.is_stable(0):
            return 0
        low, onset = 0, len(self.grid)
        while onset - low > 1:
            middle = (low + onset) // 2
            low, onset = (low, middle) if self.is_stable(middle) else (middle, onset)
        return onset

    def doubted(self, costs: Sequence[float], budget: float) -> int:
        """The place at which the falling curve is stable, after looks where that is in doubt."""
        while True:
            low, onset = self._bracket()
            if onset - low > 1:
                wanted = [(low + onset) // 2]
            else:
                wanted = [i for i in (low, onset) if self._is_doubtful(i)]
            spent = sum(n * costs[i] for i, n in self.n_looks.items())
            wanted = [i for i in wanted if spent + costs[i] <= budget]
            if not wanted:
                return onset
            # of two the one that is known less; of equals the later, which costs less
            self.look(min(wanted, key=lambda i: (self.n_looks.get(i, 0), -i)))

    def _bracket(self) -> tuple[int, int]:
        """Places of the last look before the falling curve is stable (or -1), and of the next."""
        places = sorted(self.found)
        stable = np.flatnonzero(falling_curve(self.points) <= self.tol)
        k = stable[0] if len(stable) else len(places)
        return (places[k - 1] if k else -1), (places[k] if k < len(places) else len(self.grid))

    def _is_doubtful(self, i: int) -> bool:
        """Whether a look is nearer to the tolerance than its noise allows.

        Its own standard error is that of few copies, so half of the variance is that of all looks,
        each for as many copies.
        """
        if not 0 < self.n_looks.get(i, 0) < MOST or not np.isfinite(self.found[i].value):
            return False
        looks = list(self.found.values())
        variances = [p.standard_error**2 * (p.n_copies - 1) for p in looks]
        known = [v for v in variances if np.isfinite(v)]
        look = self.found[i]
        own = look.standard_error**2 * (look.n_copies - 1)
        if not known:
            return True
        mixed = (np.mean(known) + (own if np.isfinite(own) else np.mean(known))) / 2
        return bool(abs(look.value - self.tol) < SURE * np.sqrt(mixed / (look.n_copies - 1)))
