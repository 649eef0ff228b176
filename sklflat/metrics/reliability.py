"""How far several measurements of the same thing agree."""

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import check_array, check_scalar

__all__ = ["intraclass_correlation", "spearman_brown"]


def intraclass_correlation(
    ratings: ArrayLike, *, kind: Literal["C", "A"] = "A"
) -> float | NDArray[np.float64]:
    r"""Intraclass correlation of single measurements, ICC(C,1) or ICC(A,1).

    From the mean squares of a two-way analysis of variance of n targets (rows) measured k times
    (columns) [1]_,

    .. math::
        \mathrm{ICC}(C,1) &= \frac{MS_R - MS_E}{MS_R + (k-1) MS_E}

        \mathrm{ICC}(A,1) &= \frac{MS_R - MS_E}
            {MS_R + (k-1) MS_E + \frac{k}{n} (MS_C - MS_E)}

    Consistency (C) forgives a shift of a whole column, absolute agreement (A) does not. 1 is
    perfect; values may be negative.

    Parameters
    ----------
    ratings : array-like of shape (n_targets, k) or (n_targets, k, n_units)
        At least two of each. With three dimensions every unit is judged on its own.
    kind : {"C", "A"}, default="A"

    Returns
    -------
    float, or ndarray of shape (n_units,)
        0 where the targets do not differ and nothing else does but whole columns: there is
        nothing to tell apart. NaN where the formula divides by zero though measurements differ,
        which takes two targets, two columns and ``kind="A"``.

    Raises
    ------
    ValueError
        If there are fewer than two targets or columns, a value is not finite, or `kind` is
        unknown.

    References
    ----------
    .. [1] K. McGraw, S. Wong, "Forming inferences about some intraclass correlation
       coefficients", Psychological Methods 1, 1996. https://doi.org/10.1037/1082-989X.1.1.30

    Examples
    --------
    The second measurement is the first, shifted:

    >>> from sklflat.metrics import intraclass_correlation
    >>> ratings = [[1.0, 3.0], [2.0, 4.0], [3.0, 5.0]]
    >>> intraclass_correlation(ratings, kind="C"), round(intraclass_correlation(ratings), 3)
    (1.0, 0.333)
    """
    if kind not in ("C", "A"):
        raise ValueError(f"kind must be 'C' (consistency) or 'A' (agreement), got {kind!r}.")
    x = check_array(
        ratings, dtype=np.float64, allow_nd=True, ensure_min_samples=2, input_name="ratings"
    )
    if x.ndim not in (2, 3) or x.shape[1] < 2:
        raise ValueError(
            "ratings must have shape (n_targets, k) or (n_targets, k, n_units) with k >= 2, got "
            f"{x.shape}."
        )
    n, k = x.shape[:2]
    scale = np.abs(x).max(axis=(0, 1))
    x = x / np.where(scale > 0, scale, 1)
    x = x - x.mean(axis=(0, 1))
    rows, columns = x.mean(axis=1, keepdims=True), x.mean(axis=0, keepdims=True)
    ms_r = k * np.square(rows).sum(axis=(0, 1)) / (n - 1)
    ms_c = n * np.square(columns).sum(axis=(0, 1)) / (k - 1)
    ms_e = np.square(x - rows - columns).sum(axis=(0, 1)) / ((n - 1) * (k - 1))
    total = ms_r + (k - 1) * ms_e + (k / n * (ms_c - ms_e) if kind == "A" else 0.0)
    usable = total > 1e-24  # less is rounding, of numbers up to 1
    unusable = np.where(ms_e > 1e-24, np.nan, 0.0)
    icc = np.where(usable, (ms_r - ms_e) / np.where(usable, total, 1.0), unusable)
    return float(icc) if icc.ndim == 0 else icc


def spearman_brown(reliability: ArrayLike, k: float) -> float | NDArray[np.float64]:
    r"""Reliability of the mean of k measurements from that of one.

    .. math:: \rho_k = \frac{k \rho}{1 + (k - 1) \rho}

    Parameters
    ----------
    reliability : float or array-like
        Of a single measurement, at most 1; negative ones are taken as they are.
    k : float
        How many measurements are averaged, > 0; less than 1 shortens.

    Returns
    -------
    float or ndarray
        NaN where the formula has no value, at ``reliability = -1 / (k - 1)`` and below.

    References
    ----------
    C. Spearman, W. Brown, British Journal of Psychology 3, 1910.

    Examples
    --------
    >>> from sklflat.metrics import spearman_brown
    >>> round(spearman_brown(0.5, 3), 6)
    0.75
    """
    check_scalar(
        k, "k", (int, float, np.integer, np.floating), min_val=0, include_boundaries="neither"
    )
    rho = np.asarray(reliability, dtype=np.float64)
    if np.any(rho > 1):
        raise ValueError(f"reliability must be at most 1, got {rho.max():.6g}.")
    below = 1 + (k - 1) * rho
    result = np.where(below > 0, k * rho / np.where(below > 0, below, 1.0), np.nan)
    return float(result) if result.ndim == 0 else result
