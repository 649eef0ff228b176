"""Whether an effect is that of a measured mediator: paired differences of both, over seeds."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

__all__ = ["Mediation", "mediation"]


@dataclass(frozen=True)
class Mediation:
    """An effect, and what is left of it where the mediator does not differ.

    Attributes
    ----------
    total : float
        Mean difference of the outcome.
    direct : float
        Of pairs whose mediator is equal, by linear regression.
    direct_low, direct_high : float
        95 % interval of that.
    slope : float
        Of the outcome's differences in the mediator's.
    slope_p_value : float
    n : int
        Pairs.
    """

    total: float
    direct: float
    direct_low: float
    direct_high: float
    slope: float
    slope_p_value: float
    n: int


def mediation(outcome: ArrayLike, mediator: ArrayLike) -> Mediation | None:
    r"""Divide a mean paired difference by a mediator that was measured in the same pairs.

    .. math:: \Delta y_i = a + b\, \Delta m_i + e_i

    The intercept a is the effect at an equal mediator, and :math:`b\, \overline{\Delta m}` the
    part that goes with it [1]_. This is association over seeds: no seed was given its mediator.

    Parameters
    ----------
    outcome, mediator : array-like of shape (n,)
        Differences of pairs.

    Returns
    -------
    Mediation or None
        None for fewer than four pairs, or a mediator that never varies.

    References
    ----------
    .. [1] C. Judd, D. Kenny, G. McClelland, "Estimating and testing mediation and moderation in
       within-subject designs", Psychological Methods 6, 2001.

    Examples
    --------
    All of the effect goes with the mediator:

    >>> from sklflat.claims.mediation import mediation
    >>> found = mediation([1.0, 2.0, 3.0, 4.0], [0.5, 1.0, 1.5, 2.0])
    >>> round(found.slope, 12), round(abs(found.direct), 12), found.total
    (2.0, 0.0, 2.5)
    """
    y, m = np.asarray(outcome, dtype=float), np.asarray(mediator, dtype=float)
    if len(y) < 4 or np.ptp(m) == 0:
        return None
    fit = stats.linregress(m, y)
    q = stats.t.ppf(0.975, len(y) - 2)
    return Mediation(
        total=float(y.mean()),
        direct=float(fit.intercept),
        direct_low=float(fit.intercept - q * fit.intercept_stderr),
        direct_high=float(fit.intercept + q * fit.intercept_stderr),
        slope=float(fit.slope),
        slope_p_value=float(fit.pvalue),
        n=len(y),
    )


def sentence(found: Mediation, what: str, mediator: str) -> str:
    """In words.

    Examples
    --------
    >>> from sklflat.claims.mediation import mediation, sentence
    >>> sentence(mediation([1.0, 2.0, 3.0, 4.0], [1.0, 3.0, 2.0, 4.0]), "SAM", "sharpness")
    'SAM: +2.500 in all; at equal sharpness +0.500 [-4.499, +5.499] (slope 0.8, p = 0.2, 4 seeds).'
    """
    return (
        f"{what}: {found.total:+.3f} in all; at equal {mediator} {found.direct:+.3f} "
        f"[{found.direct_low:+.3f}, {found.direct_high:+.3f}] (slope {found.slope:.2g}, "
        f"p = {found.slope_p_value:.2g}, {found.n} seeds)."
    )


def paired(
    readings: list[dict[str, dict[str, float | None]] | None], arms: tuple[str, str], metric: str
) -> NDArray[np.float64]:
    """Differences (n_seeds,) of a metric between two arms; NaN where one is missing."""
    found = []
    for reading in readings:
        values = [None, None] if reading is None else [reading[a].get(metric) for a in arms]
        found.append(np.nan if None in values else values[0] - values[1])  # type: ignore[operator]
    return np.array(found, dtype=float)
