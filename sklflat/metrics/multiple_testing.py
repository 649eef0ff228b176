"""P-values by counting, and what many of them mean together."""

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import false_discovery_control

from sklflat.metrics._checks import check_vector

__all__ = ["benjamini_hochberg", "holm", "monte_carlo_p_values"]


def monte_carlo_p_values(
    observed: ArrayLike,
    null: ArrayLike,
    *,
    alternative: Literal["greater", "less"] = "greater",
) -> NDArray[np.float64]:
    r"""P-values of observed values by counting draws under the null.

    .. math:: p = \frac{b + 1}{m + 1}

    with :math:`b` of the :math:`m` draws at least as extreme as the observed value [1]_. The
    observed value counts as one of the draws, so p is never 0 and the test is exact. A draw that
    is equal to the observed value, up to a relative 1e-12 of rounding, counts as extreme.

    Parameters
    ----------
    observed : array-like of shape (n,)
    null : array-like of shape (m,)
        Independent draws of the same quantity under the null.
    alternative : {"greater", "less"}, default="greater"
        Whether large or small values speak against the null.

    Returns
    -------
    ndarray of shape (n,), float64

    Raises
    ------
    ValueError
        If a value is NaN or infinite, if there are no draws, or if `alternative` is unknown.

    References
    ----------
    .. [1] B. Phipson, G. K. Smyth, "Permutation p-values should never be zero", Statistical
       Applications in Genetics and Molecular Biology 9, 2010. https://arxiv.org/abs/1603.05766

    Examples
    --------
    >>> from sklflat.metrics import monte_carlo_p_values
    >>> monte_carlo_p_values([0.5, 3.0, 9.0], null=[1.0, 2.0, 3.0])
    array([1.  , 0.5 , 0.25])
    """
    if alternative not in ("greater", "less"):
        raise ValueError(f"alternative must be 'greater' or 'less', got {alternative!r}.")
    sign = 1.0 if alternative == "greater" else -1.0
    values = sign * check_vector(observed, "observed")
    draws = np.sort(sign * check_vector(null, "null"))
    b = len(draws) - np.searchsorted(draws, values - 1e-12 * np.abs(values), side="left")
    return (b + 1) / (len(draws) + 1)


def holm(p_values: ArrayLike) -> NDArray[np.float64]:
    r"""P-values adjusted for their number by Holm's step-down method.

    With :math:`p_{(1)} \le \dots \le p_{(m)}` the adjusted value is
    :math:`\max_{j \le i} \min(1, (m - j + 1) p_{(j)})`. Rejecting those at most :math:`\alpha`
    keeps the probability of any false rejection at :math:`\alpha`, however they depend on each
    other [1]_.

    Parameters
    ----------
    p_values : array-like of shape (m,)

    Returns
    -------
    ndarray of shape (m,), float64

    Raises
    ------
    ValueError
        If a value is not in [0, 1].

    References
    ----------
    .. [1] S. Holm, "A simple sequentially rejective multiple test procedure", Scandinavian
       Journal of Statistics 6, 1979.

    Examples
    --------
    >>> from sklflat.metrics import holm
    >>> holm([0.01, 0.04, 0.03])
    array([0.03, 0.06, 0.06])
    """
    p = _check_p(p_values)
    m = len(p)
    order = np.argsort(p, kind="stable")
    stepped = np.minimum(1.0, (m - np.arange(m)) * p[order])
    adjusted = np.empty(m)
    adjusted[order] = np.maximum.accumulate(stepped)
    return adjusted


def benjamini_hochberg(p_values: ArrayLike) -> NDArray[np.float64]:
    r"""P-values adjusted so that a threshold on them is a false discovery rate.

    The adjusted value is :math:`\min_{j \ge i} m\, p_{(j)} / j` [1]_, as computed by
    :func:`scipy.stats.false_discovery_control`. Selecting those at most :math:`q` keeps the
    expected share of false ones among the selected at :math:`q`, if the p-values are independent
    or positively dependent.

    Parameters
    ----------
    p_values : array-like of shape (m,)

    Returns
    -------
    ndarray of shape (m,), float64

    Raises
    ------
    ValueError
        If a value is not in [0, 1].

    References
    ----------
    .. [1] Y. Benjamini, Y. Hochberg, "Controlling the false discovery rate", Journal of the Royal
       Statistical Society B 57, 1995.

    Examples
    --------
    >>> from sklflat.metrics import benjamini_hochberg
    >>> benjamini_hochberg([0.01, 0.04, 0.03])
    array([0.03, 0.04, 0.04])
    """
    return np.asarray(false_discovery_control(_check_p(p_values)), dtype=np.float64)


def _check_p(p_values: ArrayLike) -> NDArray[np.float64]:
    p = check_vector(p_values, "p_values")
    if p.min() < 0 or p.max() > 1:
        raise ValueError(f"p_values must lie in [0, 1], got {p.min():.6g} to {p.max():.6g}.")
    return p
