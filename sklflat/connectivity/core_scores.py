"""How much of a unit stays along a path between two networks: scores of the invariant core."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sklflat.metrics._checks import standardised

#: variance, as a share of the mean square, up to which a unit is constant but for rounding
_LEAST_VARIANCE = 1e-6


class LeastCorrelation:
    r"""Least correlation of a unit along the path with itself at the path's start.

    .. math:: s_u = \min_t r_u(t), \qquad r_u(t) = \mathrm{corr}_x(a_u(x, 0), a_u(x, t))

    The start is the reference network, whose units are scored; all others are aligned to it. The
    other end is a point of the path, so :math:`s_u` is at most the correlation of the ends, which
    needs no path and is what a path has to beat. Where activations are a straight path themselves,
    :math:`a(t) = (1 - t)\, a(0) + t\, a(1)`, the two are equal: centred profiles then move along a
    segment, on which the angle with its start only grows, so the minimum is at the other end. What
    is below that is what the path adds.

    Parameters
    ----------
    first : array of shape (n_samples, n_units)
        Activations at the start.
    weight : array of shape (n_samples,), default=None
        Of the samples.

    Attributes
    ----------
    least, last : ndarray of shape (n_units,)
        The lowest so far, and that of the point that was added last; in [-1, 1]. 0 for a unit that
        is constant somewhere on the path, unless it is negative elsewhere.

    Examples
    --------
    A unit that turns into its negative, and one that only changes its scale and its mean:

    >>> import numpy as np
    >>> from sklflat.connectivity.core_scores import LeastCorrelation
    >>> a = np.array([[0.0, 0.0], [1.0, 1.0], [3.0, 3.0]])
    >>> score = LeastCorrelation(a)
    >>> for point in (a * [0.5, 2.0] + [0.0, 1.0], a * [-1.0, 5.0]):
    ...     score.add(point)
    >>> score.least.round(12)
    array([-1.,  1.])
    """

    def __init__(self, first: ArrayLike, weight: ArrayLike | None = None) -> None:
        self._weight = None if weight is None else np.asarray(weight, dtype=float)
        self._first = self._standardised(first)
        self.least = self.last = np.where(self._first.any(axis=0), 1.0, 0.0)

    def add(self, a: ArrayLike) -> None:
        """Take the next point of the path."""
        r = (self._first * self._standardised(a)).sum(axis=0)
        self.last = np.clip(r, -1, 1)
        self.least = np.minimum(self.least, self.last)

    def _standardised(self, A: ArrayLike) -> NDArray:
        return standardised(np.asarray(A, dtype=float), self._weight)


class Variation:
    r"""Intraclass correlation and variance of a unit, samples by points of the path.

    With :math:`\bar a_x`, :math:`\bar a_t` the means of a sample and of a point, and k points, the
    intraclass correlation ICC(C,1) [1]_ is

    .. math:: \frac{R - E}{R + (k - 1) E}, \qquad R = k\, \mathrm{Var}_x \bar a_x, \qquad
        E = \frac{1}{k - 1} \sum_t E_x [a(x, t) - \bar a_x - \bar a_t + \bar a]^2

    A shift of the mean along the path is forgiven, a change of scale is not. The variance

    .. math:: E_x \mathrm{Var}_t\, a_u(x, t), \qquad\text{or relative to}\quad
        \mathrm{Var}_{x,t}\, a_u(x, t)

    is the idea as it was first stated: low values were to be the invariant core. They are not: a
    dead unit has 0, a collapse of the variance lowers all, and a rescaling of ReLU units changes
    it. Kept for comparison. One minus the relative one is an intraclass correlation up to factors
    of the degrees of freedom.

    Parameters are those of :class:`LeastCorrelation`.

    References
    ----------
    .. [1] K. McGraw, S. Wong, "Forming inferences about some intraclass correlation
       coefficients", Psychological Methods 1, 1996. https://doi.org/10.1037/1082-989X.1.1.30

    Examples
    --------
    A unit that shifts, one that turns into its negative, and a dead one:

    >>> import numpy as np
    >>> from sklflat.connectivity.core_scores import Variation
    >>> a = np.array([[1.0, 1.0, 0.0], [3.0, 3.0, 0.0]])
    >>> path = Variation(a)
    >>> path.add(a * [1.0, -1.0, 0.0] + [2.0, 4.0, 0.0])
    >>> path.icc, path.variance, path.relative_variance
    (array([ 1., -1.,  0.]), array([1., 1., 0.]), array([0.5, 1. , 0. ]))
    """

    def __init__(self, first: ArrayLike, weight: ArrayLike | None = None) -> None:
        self._start = np.asarray(first, dtype=float)
        self._s = _weights(len(self._start), weight)
        self._seen = self._s > 0
        self._total, self._squares = np.zeros_like(self._start), np.zeros_like(self._start)
        self._shifts = [np.zeros(self._start.shape[1])]
        self._largest = np.abs(self._start[self._seen]).max(axis=0)

    def add(self, a: ArrayLike) -> None:
        """Take the next point of the path."""
        a = np.asarray(a, dtype=float)
        d = a - self._start  # from the start, so that little is cancelled
        self._total += d
        self._squares += d**2
        self._shifts.append(self._s[self._seen] @ d[self._seen])
        self._largest = np.maximum(self._largest, np.abs(a[self._seen]).max(axis=0))

    @property
    def variance(self) -> NDArray:
        """Mean over samples of the variance along the path (n_units,)."""
        k = len(self._shifts)
        within = np.maximum(self._squares / k - (self._total / k) ** 2, 0)
        return self._s[self._seen] @ within[self._seen]

    @property
    def relative_variance(self) -> NDArray:
        """The same, relative to the variance over samples and points; 0 for constant units."""
        within = self.variance
        everything = within + self._between()
        return np.divide(within, everything, out=np.zeros_like(within), where=everything > 0)

    @property
    def icc(self) -> NDArray:
        """Intraclass correlation (n_units,); 0 for constant units."""
        k = len(self._shifts)
        shifts = np.var(self._shifts, axis=0)
        residual = np.maximum(self.variance - shifts, 0) * k / (k - 1)
        rows = k * self._between()
        whole = rows + (k - 1) * residual
        varies = whole > (1e-12 * self._largest) ** 2  # what rounding leaves is no signal
        return np.divide(rows - residual, whole, out=np.zeros_like(whole), where=varies)

    def _between(self) -> NDArray:
        """Variance over samples of their means along the path (n_units,)."""
        mean = (self._start + self._total / len(self._shifts))[self._seen]
        s = self._s[self._seen]
        return s @ np.square(mean - s @ mean)


@dataclass(frozen=True, eq=False)
class PathScores:
    """Scores (n_units,) of all units along one path; those of ``halves`` are from half the rows."""

    correlation: NDArray
    ends: NDArray
    icc: NDArray
    variance: NDArray
    eligible: NDArray
    halves: tuple[NDArray, ...] = ()

    @classmethod
    def of(
        cls, path: Iterable[NDArray], weight: NDArray | None, halves: Sequence[NDArray] = ()
    ) -> "PathScores":
        """From activations (n, n_units) at the points of a path, one after the other."""
        points = iter(path)
        first = last = next(points)
        correlation, variation = LeastCorrelation(first, weight), Variation(first, weight)
        weights = [None if weight is None else weight[half] for half in halves]
        parts = [LeastCorrelation(first[half], w) for half, w in zip(halves, weights, strict=True)]
        for last in points:
            correlation.add(last)
            variation.add(last)
            for part, half in zip(parts, halves, strict=True):
                part.add(last[half])
        return cls(
            correlation.least,
            correlation.last,
            variation.icc,
            variation.relative_variance,
            eligible_units(first, last, weight),
            tuple(part.least for part in parts),
        )

    @classmethod
    def least(cls, paths: Sequence["PathScores"]) -> "PathScores":
        """The lowest score of each unit over several paths; the greatest variance."""

        def lowest(name: str) -> NDArray:
            return np.min([getattr(scores, name) for scores in paths], axis=0)

        halves = zip(*(scores.halves for scores in paths), strict=True)
        return cls(
            lowest("correlation"),
            lowest("ends"),
            lowest("icc"),
            np.max([scores.variance for scores in paths], axis=0),
            np.all([scores.eligible for scores in paths], axis=0),
            tuple(np.min(half, axis=0) for half in halves),
        )


def eligible_units(
    first: ArrayLike,
    last: ArrayLike,
    weight: ArrayLike | None = None,
    *,
    min_rows: float = 4.0,
) -> NDArray[np.bool_]:
    r"""Units with a signal at both ends, without which a correlation says nothing.

    A unit counts if its variance is above rounding,
    :math:`\mathrm{Var}_x a > 10^{-6} E_x a^2`, and rests on several samples:
    :math:`(\sum_x d^2)^2 / \sum_x d^4 \ge \mathrm{min\_rows}` with :math:`d = a - E_x a`. A unit
    that fires once has 1, and correlates with any other that fires on the same sample. Neither
    depends on the scale of a unit.

    Parameters
    ----------
    first, last : arrays of shape (n_samples, n_units)
        Activations at the two ends.
    weight : array of shape (n_samples,), default=None
    min_rows : float, default=4.0

    Returns
    -------
    ndarray of shape (n_units,), bool

    Examples
    --------
    A unit that varies, one that is constant at an end, and one that fires once:

    >>> import numpy as np
    >>> from sklflat.connectivity.core_scores import eligible_units
    >>> a = np.column_stack([np.arange(20.0), np.arange(20.0), np.eye(20)[0]])
    >>> eligible_units(a, a * [1.0, 0.0, 1.0])
    array([ True, False, False])
    """
    both = np.ones(np.shape(first)[1], dtype=bool)
    for A in (np.asarray(first, dtype=float), np.asarray(last, dtype=float)):
        s = _weights(len(A), weight)
        a = A / np.maximum(np.abs(A).max(axis=0), np.finfo(float).tiny)
        d2 = np.square(a - s @ a)
        variance = s @ d2
        fourth = np.square(s) @ np.square(d2)
        spread = variance > _LEAST_VARIANCE * (s @ np.square(a))
        both &= spread & (variance**2 >= min_rows * fourth)
    return both


def _weights(n_samples: int, weight: ArrayLike | None) -> NDArray:
    """Weights (n_samples,) that add up to 1."""
    s = np.ones(n_samples) if weight is None else np.asarray(weight, dtype=float)
    return s / s.sum()
