"""How small an effect so many paired seeds can see."""

from functools import lru_cache

import numpy as np
from scipy import stats
from scipy.optimize import brentq
from sklearn.utils import check_scalar

__all__ = ["paired_power", "smallest_effect_seen"]

#: beyond any effect, in standard deviations
_FARTHEST = 1e3


def paired_power(d: float, n: int, level: float) -> float:
    r"""Power of the two-sided paired t-test, which sign flips come close to.

    .. math:: P(|T| > t_{1 - \alpha / 2,\, n - 1}), \qquad T \sim t'_{n - 1}(d \sqrt n)

    Parameters
    ----------
    d : float
        Mean of the differences in their standard deviations.
    n : int
        Pairs, at least two.
    level : float
        The level :math:`\alpha`, in (0, 1).

    Returns
    -------
    float

    Examples
    --------
    With 34 pairs an effect of half a standard deviation is seen in 8 of 10 cases (Cohen 1988):

    >>> from sklflat.claims.statistical_power import paired_power
    >>> round(paired_power(0.5, 34, 0.05), 2)
    0.81
    """
    check_scalar(n, "n", int, min_val=2)
    check_scalar(level, "level", float, min_val=0, max_val=1, include_boundaries="neither")
    t = stats.t.ppf(1 - level / 2, n - 1)
    shift = abs(d) * np.sqrt(n)
    above = stats.nct.sf(t, n - 1, shift)
    below = stats.nct.cdf(-t, n - 1, shift)
    return float(np.nan_to_num(above, nan=1.0) + np.nan_to_num(below, nan=0.0))


@lru_cache
def smallest_effect_seen(n: int, level: float, power: float) -> float:
    """The effect, in standard deviations of the differences, that n pairs see with a power.

    Parameters
    ----------
    n : int
    level : float
    power : float

    Returns
    -------
    d : float

    Examples
    --------
    >>> from sklflat.claims.statistical_power import smallest_effect_seen
    >>> round(smallest_effect_seen(24, 0.05 / 7, 0.8), 1)
    0.8
    """
    high = 1.0
    while paired_power(high, n, level) < power and high < _FARTHEST:
        high *= 2
    return float(brentq(lambda d: paired_power(d, n, level) - power, 0, high))
