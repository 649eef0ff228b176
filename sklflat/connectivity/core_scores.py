"""How much of a unit stays on the way from one network to another: scores of the invariant core."""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sklflat.metrics import intraclass_correlation

#: numbers that are judged at once by the analysis of variance: half a gigabyte of temporaries
_MAX_NUMBERS = 8_000_000


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
    first = _standardised(next(points), weight)
    least = np.where(first.any(axis=0), 1.0, 0.0)
    for a in points:
        least = np.minimum(least, (first * _standardised(a, weight)).sum(axis=0))
    return np.clip(least, -1, 1)


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


def path_icc(path: Sequence[ArrayLike], kind: str = "C") -> NDArray:
    """Intraclass correlation of a unit, samples by points of the path.

    :func:`~sklflat.metrics.intraclass_correlation` of a matrix of one row a sample and one column
    a point. ``kind="C"`` forgives a shift of the mean along the path, ``"A"`` does not; both see a
    change of scale.

    Parameters
    ----------
    path : sequence of at least two arrays of shape (n_samples, n_units)
    kind : {"C", "A"}, default="C"

    Returns
    -------
    ndarray of shape (n_units,)
        At most 1; 0 for constant units.

    Examples
    --------
    >>> import numpy as np
    >>> from sklflat.connectivity.core_scores import path_icc
    >>> a = np.array([[1.0], [2.0], [3.0]])
    >>> path_icc([a, a + 2]), path_icc([a, a + 2], kind="A").round(3)
    (array([1.]), array([0.333]))
    """
    A = [np.asarray(a, dtype=float) for a in path]
    n_units = A[0].shape[1]
    at_once = max(1, _MAX_NUMBERS // (len(A) * len(A[0])))
    parts = []
    for start in range(0, n_units, at_once):
        ratings = np.stack([a[:, start : start + at_once] for a in A], axis=1)
        parts.append(intraclass_correlation(ratings, kind=kind))  # type: ignore[arg-type]
    # two samples and two points can leave the formula without a value
    return np.nan_to_num(np.concatenate(parts), nan=0.0)


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
    points = iter(path)
    start = np.asarray(next(points), dtype=float)
    s = _weights(len(start), weight)
    k, total, squares = 1, np.zeros_like(start), np.zeros_like(start)
    for a in points:
        d = np.asarray(a, dtype=float) - start  # from the start, so that little is cancelled
        k, total, squares = k + 1, total + d, squares + d**2
    within = s @ np.maximum(squares / k - (total / k) ** 2, 0)
    if not relative:
        return within
    mean = start + total / k
    everything = within + s @ np.square(mean - s @ mean)
    return np.divide(within, everything, out=np.zeros_like(within), where=everything > 0)


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
