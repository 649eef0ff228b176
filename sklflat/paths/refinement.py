"""The place of a maximum, found on a grid and then between its points."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: new points on each side of the highest one in a round
_N_EACH = 2


def refine(f: Callable[[NDArray], Any], ts: Any, *, tol: float = 1e-3) -> tuple[NDArray, NDArray]:
    """A grid, denser and denser around the highest value on it.

    In every round four more points, evaluated together, divide the two intervals beside the
    highest one, until these are not longer than `tol`. So a maximum is found if the grid's highest
    value is beside it; a peak that no point of the grid is on the slope of is not seen. Where all
    values are the same, nothing is added.

    Parameters
    ----------
    f : callable
        ``f(ts) -> values``, both of shape (T,). Values that are not finite are kept, but are
        no maximum.
    ts : array-like of shape (T,)
        At least two points.
    tol : float, default=1e-3

    Returns
    -------
    ts, values : ndarray of shape (T + refined,)
        In ascending order of ts.

    Examples
    --------
    >>> import numpy as np
    >>> from sklflat.paths.refinement import refine
    >>> ts, values = refine(lambda t: -np.abs(t - 1 / 3), [0.0, 0.5, 1.0])
    >>> bool(abs(ts[values.argmax()] - 1 / 3) < 1e-3), len(ts)
    (True, 27)
    """
    grid = np.unique(np.asarray(ts, dtype=float))
    if grid.ndim != 1 or len(grid) < 2:
        raise ValueError(f"ts must be at least two points, got {len(grid)}.")
    values = np.asarray(f(grid), dtype=float)
    known = values[np.isfinite(values)]
    if not known.size or known.min() == known.max():
        return grid, values
    top = grid[int(np.argmax(_heights(values)))]
    while True:
        i = int(np.searchsorted(grid, top))
        low, high = grid[max(i - 1, 0)], grid[min(i + 1, len(grid) - 1)]
        steps = np.linspace(0, 1, _N_EACH + 2)[1:-1]
        sides = [side for side in (low, high) if abs(side - top) > tol]
        if not sides:
            return grid, values
        new = np.concatenate([top + (side - top) * steps for side in sides])
        found = np.asarray(f(new), dtype=float)
        top = np.r_[new, top][int(np.argmax(_heights(np.r_[found, values[i]])))]
        grid, order = np.unique(np.r_[grid, new], return_index=True)
        values = np.r_[values, found][order]


def _heights(values: NDArray) -> NDArray:
    return np.where(np.isfinite(values), values, -np.inf)
