"""Barriers between two networks: how much the loss along a path rises above its ends."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from sklflat.networks import Network
from sklflat.paths.losses import PathEvaluator, PathLosses
from sklflat.paths.paths import Path

DEFINITIONS = ("lower", "mean", "chord")
MEASURES = ("loss", "error")

#: new points on each side of the highest one in a round of refinement
_N_EACH = 2


def barrier(ts: Any, values: Any, definition: str = "mean") -> float:
    r"""The barrier of a curve from t = 0 to t = 1: how far it rises above what its ends say.

    With :math:`L_0` and :math:`L_1` at the ends,

    .. math::
        \mathrm{lower} &= \sup_{0 \le t \le 1} L(t) - \min(L_0, L_1) \\
        \mathrm{mean} &= \sup_{0 \le t \le 1} L(t) - (L_0 + L_1) / 2 \\
        \mathrm{chord} &= \sup_{0 \le t \le 1}\, [L(t) - (1 - t) L_0 - t L_1]

    The first is how connectivity is usually stated, the second is the instability of Frankle et al.
    (2020), the third is that of Entezari et al. (2022). As the ends belong to the curve, the first
    is at least :math:`|L_0 - L_1|`, the second at least half of that, and the third at least 0: no
    curve has a lower barrier than the straight ramp. Whether a curve dips below its ends is said by
    :meth:`Barriers.midpoint`.

    Parameters
    ----------
    ts : array-like of shape (T,)
        Points from 0 to 1, both among them.
    values : array-like of shape (T,)
    definition : {"lower", "mean", "chord"}, default="mean"

    Returns
    -------
    float
        NaN if any value is not finite.

    Examples
    --------
    >>> from sklflat.paths.barriers import barrier
    >>> [barrier([0, 0.5, 1], [1.0, 4.0, 2.0], d) for d in ("lower", "mean", "chord")]
    [3.0, 2.5, 2.5]
    >>> [barrier([0, 0.25, 1], [0.0, 1.0, 4.0], d) for d in ("lower", "mean", "chord")]
    [4.0, 2.0, 0.0]
    """
    rise = above(ts, values, definition)
    return float(rise.max()) if np.isfinite(rise).all() else float("nan")


def above(ts: Any, values: Any, definition: str) -> NDArray:
    """What the values (T,) of a curve are above the reference of a barrier, NaN if not finite."""
    if definition not in DEFINITIONS:
        raise ValueError(f"definition must be one of {DEFINITIONS}, got {definition!r}.")
    t, L = np.asarray(ts, dtype=float), np.asarray(values, dtype=float)
    if t.shape != L.shape or t.ndim != 1 or len(t) < 2 or t.min() != 0 or t.max() != 1:
        raise ValueError("ts must be points from 0 to 1, both among them, one for each of values.")
    L = np.where(np.isfinite(L), L, np.nan)
    L0, L1 = L[t == 0][0], L[t == 1][0]
    if definition == "chord":
        return L - (1 - t) * L0 - t * L1
    return L - (np.minimum(L0, L1) if definition == "lower" else (L0 + L1) / 2)


@dataclass(frozen=True)
class Barriers:
    """Barriers of one path: three definitions, of loss and error, on each of some data.

    Attributes
    ----------
    curves : dict of str to PathLosses
        By the data's name, at the same points.

    Examples
    --------
    >>> import numpy as np
    >>> from sklflat.paths.barriers import Barriers
    >>> from sklflat.paths.losses import PathLosses
    >>> curve = PathLosses(np.array([0, 0.5, 1]), np.array([1.0, 4.0, 2.0]), None)
    >>> Barriers({"train": curve}).value("loss", "train", "lower")
    3.0
    """

    curves: dict[str, PathLosses]

    @property
    def ts(self) -> NDArray:
        """The points (T,) of all curves, in ascending order."""
        return next(iter(self.curves.values())).ts

    @property
    def non_finite(self) -> dict[str, NDArray]:
        """Points at which the loss is not finite, by the data's name; such a barrier is NaN."""
        return {name: curve.non_finite for name, curve in self.curves.items()}

    def value(
        self, measure: str = "loss", data: str = "held-out", definition: str = "mean"
    ) -> float:
        """One barrier.

        Parameters
        ----------
        measure : {"loss", "error"}, default="loss"
        data : str, default="held-out"
            One of the names of ``curves``.
        definition : {"lower", "mean", "chord"}, default="mean"
            See :func:`barrier`.
        """
        values = self._values(measure, data)
        return float("nan") if values is None else barrier(self.ts, values, definition)

    def midpoint(
        self, measure: str = "loss", data: str = "held-out", definition: str = "mean"
    ) -> float:
        """The value halfway, above what a barrier is measured from; negative where it is below.

        Other than a barrier it has a sign, and it does not depend on the other points: a path that
        dips below both its ends has a negative one by every definition. "mean" and "chord" are the
        same. NaN if the value or an end is not finite, or there is no point at 0.5.

        Parameters
        ----------
        measure, data, definition
            As in :meth:`value`.

        Examples
        --------
        >>> import numpy as np
        >>> from sklflat.paths.barriers import Barriers
        >>> from sklflat.paths.losses import PathLosses
        >>> curve = PathLosses(np.array([0, 0.5, 1]), np.array([2.0, 1.0, 4.0]), None)
        >>> found = Barriers({"train": curve})
        >>> [found.midpoint("loss", "train", d) for d in ("lower", "mean", "chord")]
        [-1.0, -2.0, -2.0]
        """
        values = self._values(measure, data)
        if values is None:
            return float("nan")
        halfway = above(self.ts, values, definition)[self.ts == 0.5]
        return float(halfway[0]) if len(halfway) else float("nan")

    def rows(self) -> list[dict[str, Any]]:
        """All barriers, each a row with its ``definition``, ``measure`` and ``data``.

        Further columns are ``t``, where the curve is highest (above the chord, for "chord"), and
        ``midpoint``, see :meth:`midpoint`.
        """
        return [
            {
                "definition": definition,
                "measure": measure,
                "data": data,
                "barrier": self.value(measure, data, definition),
                "t": self._argmax(measure, data, definition),
                "midpoint": self.midpoint(measure, data, definition),
            }
            for definition in DEFINITIONS
            for measure in MEASURES
            for data in self.curves
            if getattr(self.curves[data], measure) is not None
        ]

    def to_frame(self) -> Any:
        """:meth:`rows` as a pandas DataFrame."""
        import pandas as pd

        return pd.DataFrame(self.rows())

    def _values(self, measure: str, data: str) -> NDArray | None:
        if measure not in MEASURES:
            raise ValueError(f"measure must be 'loss' or 'error', got {measure!r}.")
        if data not in self.curves:
            raise ValueError(f"data must be one of {sorted(self.curves)}, got {data!r}.")
        return getattr(self.curves[data], measure)

    def _argmax(self, measure: str, data: str, definition: str) -> float:
        rise = above(self.ts, self._values(measure, data), definition)
        return float(self.ts[rise.argmax()]) if np.isfinite(rise).all() else float("nan")


def measure_barriers(
    network: Network,
    path: Path,
    data: Mapping[str, Sequence[Any]],
    *,
    n_points: int = 25,
    refined: bool = True,
    tol: float = 1e-3,
    batch_statistics: Tensor | None = None,
) -> Barriers:
    """Barriers of a path, of loss and error on some data.

    Parameters
    ----------
    network : Network
    path : Path
    data : mapping of str to (X, y) or (X, y, sample_weight or None)
        By their names, ``{"train": ..., "held-out": ...}`` say.
    n_points, refined, tol
        As in :func:`walk_barriers`.
    batch_statistics : Tensor of shape (n, ...), default=None
        See :class:`~sklflat.paths.losses.PathEvaluator`.

    Returns
    -------
    Barriers
    """

    def evaluator(X: Tensor, y: Tensor, s: Tensor | None = None) -> PathEvaluator:
        options = {"sample_weight": s, "batch_statistics": batch_statistics}
        return PathEvaluator(network, path, X, y, **options)

    evaluators = {name: evaluator(*given) for name, given in data.items()}
    return walk_barriers(evaluators, n_points=n_points, refined=refined, tol=tol)


def walk_barriers(
    evaluators: Mapping[str, Callable[[NDArray], PathLosses]],
    *,
    n_points: int = 25,
    refined: bool = True,
    tol: float = 1e-3,
) -> Barriers:
    """Barriers of anything that has losses at points from 0 to 1, repaired networks say.

    Parameters
    ----------
    evaluators : mapping of str to callable
        By the data's names, ``f(ts) -> PathLosses`` at points (T,). All are asked for the same
        points, and for none of them twice.
    n_points : int, default=25
        Of the grid, ends included; at least 3. With an even number the middle is added.
    refined : bool, default=True
        Whether points are added until it is known to `tol` where loss and error are highest, each
        as it is and above its chord, on each of the data.
    tol : float, default=1e-3
        Distance between points.

    Returns
    -------
    Barriers

    Examples
    --------
    >>> import numpy as np
    >>> from sklflat.paths.barriers import walk_barriers
    >>> from sklflat.paths.losses import PathLosses
    >>> found = walk_barriers({"train": lambda ts: PathLosses(ts, ts * (2 - 3 * ts), None)})
    >>> round(found.value("loss", "train", "lower"), 4)  # the peak is 1/3, the last value -1
    1.3333
    >>> round(found.value("loss", "train", "chord"), 4)  # above the chord 3 t (1 - t)
    0.75
    """
    if n_points < 3:
        raise ValueError(f"n_points must be at least 3, got {n_points}.")
    if not evaluators:
        raise ValueError("There are no data: give at least one name with its (X, y).")
    curves = _Curves(evaluators)
    grid = np.unique(np.r_[np.linspace(0, 1, n_points), 0.5])
    curves.evaluate(grid)
    for name, measure, definition in product(evaluators, MEASURES, ("lower", "chord")):
        if refined and getattr(curves.curve(name), measure) is not None:
            refine(partial(curves.rise, name, measure, definition), grid, tol=tol)
    return Barriers({name: curves.curve(name) for name in evaluators})


class _Curves:
    """Curves on several data at the same points, none of which is computed twice."""

    def __init__(self, evaluators: Mapping[str, Callable[[NDArray], PathLosses]]) -> None:
        self._evaluators = evaluators
        self._found: dict[str, dict[float, tuple[float, float | None]]] = {
            name: {} for name in evaluators
        }

    def evaluate(self, ts: NDArray) -> None:
        new = np.array([t for t in ts if t not in next(iter(self._found.values()))])
        for name, evaluate in self._evaluators.items() if len(new) else ():
            curve = evaluate(new)
            errors = [None] * len(new) if curve.error is None else curve.error
            self._found[name] |= dict(zip(new, zip(curve.loss, errors, strict=True), strict=True))

    def rise(self, name: str, measure: str, definition: str, ts: NDArray) -> NDArray:
        """Values (T,) above the reference of a barrier."""
        self.evaluate(ts)
        curve = self.curve(name, np.r_[0.0, ts, 1.0])
        return above(curve.ts, getattr(curve, measure), definition)[1:-1]

    def curve(self, name: str, ts: NDArray | None = None) -> PathLosses:
        """At given points, or at all that were asked for."""
        points = np.array(sorted(self._found[name])) if ts is None else ts
        loss, error = zip(*(self._found[name][t] for t in points), strict=True)
        errors = None if error[0] is None else np.array(error, dtype=float)
        return PathLosses(points, np.array(loss), errors)


def refine(f: Callable[[NDArray], Any], ts: Any, *, tol: float = 1e-3) -> tuple[NDArray, NDArray]:
    """The values of a function on a grid that is refined around the highest of them.

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
    >>> from sklflat.paths.barriers import refine
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
    top = grid[_highest(values)]
    while True:
        i = int(np.searchsorted(grid, top))
        low, high = grid[max(i - 1, 0)], grid[min(i + 1, len(grid) - 1)]
        steps = np.linspace(0, 1, _N_EACH + 2)[1:-1]
        sides = [side for side in (low, high) if abs(side - top) > tol]
        if not sides:
            return grid, values
        new = np.concatenate([top + (side - top) * steps for side in sides])
        found = np.asarray(f(new), dtype=float)
        top = np.r_[new, top][_highest(np.r_[found, values[i]])]
        grid, order = np.unique(np.r_[grid, new], return_index=True)
        values = np.r_[values, found][order]


def _highest(values: NDArray) -> int:
    return int(np.argmax(np.where(np.isfinite(values), values, -np.inf)))
