"""Dose and response: instability and consistency at every step that copies may leave from."""

from collections.abc import Sequence

import numpy as np

from sklflat.rewinding.onset import Instability, OnsetCurve, falling_curve
from sklflat.rewinding.rewinds import Comparison, instability_of
from sklflat.training.runs import Training
from sklflat.training.runs.start import Start


def dose_response(
    comparison: Comparison, parent: Training, n_copies: int, tol: float, seed: int
) -> OnsetCurve:
    """Train copies from every step that the parent kept, all as one stack.

    That is brute force: bisection looks at a few of these steps. The onset is that of
    :func:`onset_of_all`.

    Parameters
    ----------
    comparison : Comparison
    parent : Training
    n_copies : int
        Networks that are compared at each step, the parent among them.
    tol : float
        Instability of a stable step at most.
    seed : int
        Of the orders of the rows, the same at every step.
    """
    recipe, grid = comparison.recipe, sorted(parent.states)
    rng = np.random.RandomState(seed)
    seeds = [int(rng.randint(2**31 - 1)) for _ in range(n_copies - 1)]
    copies = {
        step: [recipe.training(start=Start(parent.states[step], s)) for s in seeds] for step in grid
    }
    recipe.run([t for own in copies.values() for t in own])
    points = [instability_of(comparison, parent, step, own) for step, own in copies.items()]
    return onset_of_all(points, tol)


def onset_of_all(points: Sequence[Instability], tol: float) -> OnsetCurve:
    """The onset where all steps were looked at: the first at which a falling curve is stable.

    The curve is that of :func:`~.onset.falling_curve`, so that one look that is stable by luck
    makes no onset.

    Examples
    --------
    >>> import numpy as np
    >>> from sklflat.rewinding.dose_response import onset_of_all
    >>> from sklflat.rewinding.onset import Instability
    >>> looks = [0.10, 0.01, 0.09, 0.00, 0.01]
    >>> curve = onset_of_all([Instability(k, np.array([v])) for k, v in enumerate(looks)], 0.02)
    >>> curve.onset, curve.contradictions
    (3, (1,))
    """
    stable = np.flatnonzero(falling_curve(points) <= tol)
    grid = tuple(p.step for p in points)
    return OnsetCurve(tuple(points), tol, grid, grid[stable[0]] if len(stable) else None)
