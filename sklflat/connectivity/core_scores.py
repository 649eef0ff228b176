"""How much of a unit stays on the way from one network to another: scores of the invariant core."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike, NDArray


def profile_agreement(path: Iterable[ArrayLike], weight: ArrayLike | None = None) -> NDArray:
    r"""Least correlation of a unit along the path with itself at the path's start.

    .. math:: s_u = \min_t r_u(t), \qquad r_u(t) = \mathrm{corr}_x(a_u(x, 0), a_u(x, t))

    The start is the reference network, whose units are scored; all others are aligned to it. The
    other end is a point of the path, so :math:`s_u` is at most :func:`endpoint_agreement`. Where
    activations are a straight path themselves, :math:`a(t) = (1 - t)\, a(0) + t\, a(1)`, the two
    are equal: centred profiles then move along a segment, on which the angle with its start only
    grows, so the minimum is at the other end. What is below that is what the path adds.

    Parameters
    ----------
    path : iterable of arrays of shape (n_samples, n_units)
        Activations at the points of the path, the start first; they are read one after the other.
    weight : array of shape (n_samples,), default=None
        Of the samples.

    Returns
    -------
    ndarray of shape (n_units,)
        In [-1, 1]; 0 for a unit that is constant somewhere on the path, unless it is negative
        elsewhere.

    Examples
    --------
    A unit that turns into its negative, and one that only changes its scale and its mean:

    >>> import numpy as np
    >>> from sklflat.connectivity.core_scores import profile_agreement
    >>> a = np.array([[0.0, 0.0], [1.0, 1.0], [3.0, 3.0]])
    >>> profile_agreement([a, a * [0.5, 2.0] + [0.0, 1.0], a * [-1.0, 5.0]]).round(12)
    array([-1.,  1.])
    """
    points = iter(path)
    agreement = Agreement(next(points), weight)
    for a in points:
        agreement.add(a)
    return agreement.least


def endpoint_agreement(
    first: ArrayLike, last: ArrayLike, weight: ArrayLike | None = None
) -> NDArray:
    r"""Correlation :math:`\mathrm{corr}_x(a_u(x, 0), a_u(x, 1))` of matched units: no path at all.

    This is what a path has to beat.

    Parameters
    ----------
    first, last : arrays of shape (n_samples, n_units)
    weight : array of shape (n_samples,), default=None

    Returns
    -------
    ndarray of shape (n_units,)
        In [-1, 1], 0 for constant units.

    Examples
    --------
    >>> import numpy as np
    >>> from sklflat.connectivity.core_scores import endpoint_agreement
    >>> a = np.array([[0.0, 1.0], [1.0, 1.0], [2.0, 1.0]])
    >>> endpoint_agreement(a, 3 * a + 1).round(12)
    array([1., 0.])
    """
    r = (_standardised(first, weight) * _standardised(last, weight)).sum(axis=0)
    return np.clip(r, -1, 1)


def path_icc(path: Iterable[ArrayLike], weight: ArrayLike | None = None) -> NDArray:
    r"""Intraclass correlation ICC(C,1) of a unit, samples by points of the path [1]_.

    With :math:`\bar a_x`, :math:`\bar a_t` the means of a sample and of a point, and k points,

    .. math:: \frac{R - E}{R + (k - 1) E}, \qquad R = k\, \mathrm{Var}_x \bar a_x, \qquad
        E = \frac{1}{k - 1} \sum_t E_x [a(x, t) - \bar a_x - \bar a_t + \bar a]^2

    A shift of the mean along the path is forgiven, a change of scale is not.

    Parameters
    ----------
    path : iterable of at least two arrays of shape (n_samples, n_units)
        They are read one after the other.
    weight : array of shape (n_samples,), default=None

    Returns
    -------
    ndarray of shape (n_units,)
        At most 1; 0 for constant units.

    References
    ----------
    .. [1] K. McGraw, S. Wong, "Forming inferences about some intraclass correlation
       coefficients", Psychological Methods 1, 1996. https://doi.org/10.1037/1082-989X.1.1.30

    Examples
    --------
    >>> import numpy as np
    >>> from sklflat.connectivity.core_scores import path_icc
    >>> a = np.array([[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]])
    >>> path_icc([a, a * [1.0, -1.0] + 2]).round(12)
    array([ 1., -1.])
    """
    return _varied(path, weight).icc


def path_variance(
    path: Iterable[ArrayLike], weight: ArrayLike | None = None, *, relative: bool = False
) -> NDArray:
    r"""How far a unit's activation varies along the path: the idea as it was first stated.

    .. math:: E_x \mathrm{Var}_t\, a_u(x, t), \qquad\text{or relative to}\quad
        \mathrm{Var}_{x,t}\, a_u(x, t)

    Low values were to be the invariant core. They are not: a dead unit has 0, a collapse of the
    variance lowers all, and a rescaling of ReLU units changes it. Kept for comparison. One minus
    the relative one is an intraclass correlation up to factors of the degrees of freedom.

    Parameters
    ----------
    path : iterable of arrays of shape (n_samples, n_units)
    weight : array of shape (n_samples,), default=None
    relative : bool, default=False

    Returns
    -------
    ndarray of shape (n_units,)
        Not negative; relative: in [0, 1], 0 for constant units.

    Examples
    --------
    >>> import numpy as np
    >>> from sklflat.connectivity.core_scores import path_variance
    >>> a = np.array([[1.0, 0.0], [3.0, 0.0]])
    >>> path_variance([a, a + [2.0, 0.0]]), path_variance([a, a + [2.0, 0.0]], relative=True)
    (array([1., 0.]), array([0.5, 0. ]))
    """
    found = _varied(path, weight)
    return found.relative_variance if relative else found.variance


def _varied(path: Iterable[ArrayLike], weight: ArrayLike | None) -> "Variation":
    points = iter(path)
    found = Variation(next(points), weight)
    for a in points:
        found.add(a)
    return found


class Agreement:
    """Correlations with the start of a path, point by point: see :func:`profile_agreement`.

    Parameters
    ----------
    first : array of shape (n_samples, n_units)
        Activations at the start.
    weight : array of shape (n_samples,), default=None

    Attributes
    ----------
    least, last : ndarray of shape (n_units,)
        The lowest so far, and that of the point that was added last.
    """

    def __init__(self, first: ArrayLike, weight: ArrayLike | None = None) -> None:
        self._weight = weight
        self._first = _standardised(first, weight)
        self.least = self.last = np.where(self._first.any(axis=0), 1.0, 0.0)

    def add(self, a: ArrayLike) -> None:
        """Take the next point of the path."""
        r = (self._first * _standardised(a, self._weight)).sum(axis=0)
        self.last = np.clip(r, -1, 1)
        self.least = np.minimum(self.least, self.last)


class Variation:
    """Variances along a path, point by point: see :func:`path_variance` and :func:`path_icc`.

    Parameters
    ----------
    first : array of shape (n_samples, n_units)
        Activations at the start.
    weight : array of shape (n_samples,), default=None
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


def eligible_units(
    first: ArrayLike,
    last: ArrayLike,
    weight: ArrayLike | None = None,
    *,
    floor: float = 1e-6,
    min_rows: float = 4.0,
) -> NDArray[np.bool_]:
    r"""Units with a signal at both ends, without which a correlation says nothing.

    A unit counts if its variance is above rounding,
    :math:`\mathrm{Var}_x a > \mathrm{floor} \cdot E_x a^2`, and rests on several samples:
    :math:`(\sum_x d^2)^2 / \sum_x d^4 \ge \mathrm{min\_rows}` with :math:`d = a - E_x a`. A unit
    that fires once has 1, and correlates with any other that fires on the same sample. Neither
    depends on the scale of a unit.

    Parameters
    ----------
    first, last : arrays of shape (n_samples, n_units)
        Activations at the two ends.
    weight : array of shape (n_samples,), default=None
    floor : float, default=1e-6
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
        spread = variance > floor * (s @ np.square(a))
        both &= spread & (variance**2 >= min_rows * fourth)
    return both


def _weights(n_samples: int, weight: ArrayLike | None) -> NDArray:
    """Weights (n_samples,) that add up to 1."""
    s = np.ones(n_samples) if weight is None else np.asarray(weight, dtype=float)
    return s / s.sum()


def _standardised(A: ArrayLike, weight: ArrayLike | None) -> NDArray:
    """Columns whose products add up to correlations; 0 for constant ones."""
    a = np.asarray(A, dtype=float)
    if weight is None:
        s, root = np.full(len(a), 1 / len(a)), np.ones((len(a), 1))
    else:
        s = _weights(len(a), weight)
        root = np.sqrt(s)[:, None]
        a = np.where(s[:, None] > 0, a, a[s > 0][:1])  # a row without weight is not seen
    # what is left of a constant after subtracting its mean is not variance
    varies = np.ptp(a, axis=0) > 1e-12 * np.abs(a).max(axis=0)
    d = np.where(varies, a - s @ a, 0)
    d = d / np.where(varies, np.abs(d).max(axis=0), 1) * root
    return d / np.where(varies, np.linalg.norm(d, axis=0), 1)
