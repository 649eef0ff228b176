"""The interval of a difference of two rates that were measured on the same rows."""

import numpy as np
from scipy.optimize import brentq
from scipy.stats import norm
from sklearn.utils import check_scalar

from sklflat.metrics.intervals import ConfidenceInterval

__all__ = ["paired_rate_interval"]

#: where the search for an end begins
_BESIDE = 1e-9


def paired_rate_interval(
    n_up: float, n_down: float, n: float, *, confidence_level: float = 0.95
) -> ConfidenceInterval:
    r"""Tango's score interval of the difference of two rates on the same rows.

    Of n rows, :math:`b` are wrong by the first rule only and :math:`c` by the second only. The
    interval of :math:`\delta = p_b - p_c` holds the values with

    .. math:: |b - c - n \delta| \le z \sqrt{n (2 \hat q + \delta (1 - \delta))},

    where :math:`\hat q` is the likeliest :math:`p_c` given :math:`\delta` [1]_. It does not shrink
    to a point where no row differs.

    Parameters
    ----------
    n_up, n_down : float
        Rows :math:`b` and :math:`c`.
    n : float
        All rows.
    confidence_level : float, default=0.95

    Returns
    -------
    ConfidenceInterval
        Named tuple ``(low, high)``.

    Raises
    ------
    ValueError
        If there are no rows, or more that differ than there are.

    References
    ----------
    .. [1] T. Tango, "Equivalence test and confidence interval for the difference in proportions
       for the paired-sample design", Statistics in Medicine 17, 1998.

    Examples
    --------
    Where no row differs its ends are :math:`\pm z^2 / (n + z^2)`, here 3.8415 / 103.8415:

    >>> from sklflat.metrics import paired_rate_interval
    >>> low, high = paired_rate_interval(0, 0, 100)
    >>> round(low, 4), round(high, 4)
    (-0.037, 0.037)
    """
    check_scalar(confidence_level, "confidence_level", (int, float), min_val=0, max_val=1)
    if n <= 0 or min(n_up, n_down) < 0 or n_up + n_down > n * (1 + 1e-9):
        raise ValueError(
            f"n_up={n_up} and n_down={n_down} must be counts of different rows among n={n}."
        )
    z = float(norm.ppf((1 + confidence_level) / 2))
    estimate = (n_up - n_down) / n

    def outside(delta: float) -> float:
        distance = abs(n_up - n_down - n * delta)
        return distance - z * _deviation(delta, n_up, n_down, n)

    def end(limit: float) -> float:
        # where no row differs the estimate itself has no deviation, but what is beside it has
        start = estimate + _BESIDE * np.sign(limit)
        if abs(start) >= 1 or outside(limit) <= 0:
            return limit
        return float(brentq(outside, start, limit))

    return ConfidenceInterval(end(-1.0), end(1.0))


def _deviation(delta: float, b: float, c: float, n: float) -> float:
    """Standard deviation of b - c where the rates differ by delta."""
    linear = (2 * n - b + c) * delta - b - c
    q = (np.sqrt(max(linear**2 + 8 * n * c * delta * (1 - delta), 0.0)) - linear) / (4 * n)
    return float(np.sqrt(max(n * (2 * q + delta * (1 - delta)), 0.0)))
