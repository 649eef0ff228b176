"""The temperature at which logits are most likely to have given the labels."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

from sklflat.metrics import expected_calibration_error
from sklflat.temperature.softened import log_softened, softened

#: range of log T, as scikit-learn's of log beta: T is between 4.5e-5 and 2.2e4
LOG_BOUNDS = (-10.0, 10.0)
#: a temperature whose 95 % interval is wider than this to either side is called uncertain
_UNCERTAIN_FACTOR = 2.0
#: at the least temperature, rows without an error have a smaller negative log-likelihood
_CERTAIN = 1e-3


@dataclass(frozen=True)
class Calibration:
    r"""A fitted temperature, and what it has done to the rows that it was fitted on.

    Parameters
    ----------
    temperature : float
    interval : tuple of float
        95 % interval of the temperature, from the curvature of the likelihood in :math:`\log T`
        and, where that is wider, from how much its slope differs between rows, so that it holds
        where one temperature does not fit all rows. (0, inf) where the rows say nothing.
    nll_before, nll_after : float
        Mean negative log-likelihood in nats, at a temperature of 1 and at the fitted one.
    ece_before, ece_after : float
        Expected calibration error of the same, of 15 bins.
    n_rows : int
        Distinct rows with a positive weight.
    bound : {"lower", "upper"} or None
        The end of the allowed range at which the temperature is.
    """

    temperature: float
    interval: tuple[float, float]
    nll_before: float
    nll_after: float
    ece_before: float
    ece_after: float
    n_rows: int
    bound: str | None = None

    def doubts(self) -> Iterator[str]:
        """Reasons not to rely on the temperature, each with what to do; none if all is well."""
        T, n = self.temperature, self.n_rows
        if self.bound == "lower" and self.nll_after > _CERTAIN:
            yield (
                f"temperature={T:.2g} is the least allowed, and more confidence would be likelier: "
                "the logits are of a very small scale. Scale them."
            )
        elif self.bound == "lower":
            yield (
                f"temperature={T:.2g} is the least allowed: these {n} rows are classified without "
                "an error, so the likelihood only grows with confidence. Calibrate on rows that "
                "the estimator was not trained on, or give a number."
            )
        elif self.bound == "upper":
            yield (
                f"temperature={T:.2g} is the greatest allowed: the logits do not go with the "
                "labels, or are of a very large scale. Check the order of the classes, and scale "
                "the inputs."
            )
        elif self.nll_after == self.nll_before and self.interval == (0.0, np.inf):
            yield (
                f"temperature=1 is kept: the likelihood of these {n} rows does not depend on it, "
                "as their logits are equal or all certain. Calibrate on other rows."
            )
        elif self.interval[1] > T * _UNCERTAIN_FACTOR:
            low, high = self.interval
            yield (
                f"temperature={T:.3g} rests on {n} rows and is uncertain: its 95 % interval is "
                f"{low:.2g} to {high:.2g}. Calibrate on more rows."
            )
        # about the noise of the error itself, whose bins hold n / 15 rows each
        if self.ece_after > self.ece_before + 1 / np.sqrt(n):
            yield (
                f"The expected calibration error rises from {self.ece_before:.3f} to "
                f"{self.ece_after:.3f} at temperature={T:.3g}, though the negative log-likelihood "
                f"falls from {self.nll_before:.3f} to {self.nll_after:.3f}: one temperature does "
                "not fit all rows. Give temperature=1, or calibrate by "
                "CalibratedClassifierCV(method='isotonic')."
            )


def fit_temperature(
    logits: NDArray,
    y: NDArray,
    weight: NDArray | None = None,
    log_bounds: tuple[float, float] = LOG_BOUNDS,
    numbers: NDArray | None = None,
) -> Calibration:
    r"""Minimise the negative log-likelihood of labels over the temperature.

    With :math:`\beta = 1/T` the mean of :math:`-\log \mathrm{softmax}(\beta f_i)_{y_i}` is convex
    (Guo et al. 2017, section 4.2 [1]_), with the derivative :math:`\mathrm{E}_p[f_i] - f_{iy_i}`.
    Its root is bracketed in :math:`\log \beta`, so that the temperature is positive and bounded,
    and is found to rounding. The better of it and 1 is taken.

    Parameters
    ----------
    logits : ndarray of shape (n_samples, n_classes)
    y : ndarray of shape (n_samples,), int
        Columns of the labels.
    weight : ndarray of shape (n_samples,), default=None
        Not negative; integers are repeated rows to the temperature, and their scale does not
        matter.
    log_bounds : tuple of float, default=(-10, 10)
        Range of :math:`\log T`.
    numbers : ndarray of shape (n_samples,), int, default=None
        Which row each is a prediction of, where some have several: these are no independent rows,
        and count as one in the interval.

    Returns
    -------
    calibration : Calibration

    Raises
    ------
    ValueError
        If no row has a weight.

    References
    ----------
    .. [1] C. Guo, G. Pleiss, Y. Sun, K. Q. Weinberger, "On calibration of modern neural
       networks", ICML 2017. https://arxiv.org/abs/1706.04599

    Examples
    --------
    Three of four are right at a margin of 1. That is calibrated at 1 / T = log 3:

    >>> import numpy as np
    >>> logits, y = np.array([[0.0, 1.0]] * 4), np.array([1, 1, 1, 0])
    >>> round(float(fit_temperature(logits, y).temperature * np.log(3)), 9)
    1.0
    """
    weight = np.ones(len(y)) if weight is None else np.asarray(weight, dtype=float)
    there = weight > 0
    if not there.any():
        raise ValueError("There is no row of positive sample_weight to calibrate on: give one.")
    numbers = np.arange(len(y)) if numbers is None else numbers
    rows = _Rows(logits[there], y[there], weight[there], numbers[there])
    T, bound = rows.most_likely(log_bounds)
    before, after = rows.nll(1.0), rows.nll(T)
    if not after < before:
        T, bound, after = 1.0, None, before
    return Calibration(
        T, rows.interval(T), before, after, rows.ece(1.0), rows.ece(T), rows.n_distinct, bound
    )


class _Rows:
    """Logits with labels and weights, as functions of the temperature."""

    def __init__(self, logits: NDArray, y: NDArray, weight: NDArray, numbers: NDArray) -> None:
        with np.errstate(over="ignore"):
            below = logits - logits.max(axis=1, keepdims=True)
        self.f = np.maximum(below, np.finfo(float).min)
        self.y = y
        self.share = weight / weight.sum()
        self.row = np.unique(numbers, return_inverse=True)[1]

    @property
    def n_distinct(self) -> int:
        return int(self.row.max()) + 1

    def nll(self, T: float) -> float:
        log_p = log_softened(self.f, T)
        return float(-self.share @ log_p[np.arange(len(self.y)), self.y])

    def ece(self, T: float) -> float:
        return expected_calibration_error(
            self.y,
            softened(self.f, T),
            sample_weight=self.share,
            labels=np.arange(self.f.shape[1]),
        )

    def slope(self, log_beta: float) -> float:
        """Derivative of the negative log-likelihood in beta = 1 / T."""
        p = softened(self.f, np.exp(-log_beta))
        excess = (p * self.f).sum(axis=1) - self.f[np.arange(len(self.y)), self.y]
        return float(self.share @ excess)

    def most_likely(self, log_bounds: tuple[float, float]) -> tuple[float, str | None]:
        """The temperature in the range, and the end at which it is."""
        low, high = log_bounds
        if self.slope(-low) <= 0:  # more confidence is still better
            return float(np.exp(low)), "lower"
        if self.slope(-high) >= 0:  # and even none is still too much
            return float(np.exp(high)), "upper"
        log_beta = brentq(self.slope, -high, -low, xtol=1e-15, rtol=4 * np.finfo(float).eps)
        return float(np.exp(-log_beta)), None

    def interval(self, T: float) -> tuple[float, float]:
        """The temperature's 95 % interval: its logarithm's standard error, to both sides.

        The Fisher information of log T is the variance of f / T under p, added up over the rows.
        Of weighted rows as many count as have their effective number (Kish), so that the scale
        of the weights does not matter. If the model is wrong, the squared slopes of the rows add
        up to something else, and the variance is theirs over the squared information (Huber 1967);
        the larger variance is taken. All predictions of a row are added up first.
        """
        p = softened(self.f, T)
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            z = np.where(p > 0, self.f / T, 0.0)
            variance = (p * z**2).sum(axis=1) - (p * z).sum(axis=1) ** 2
            curvature = self.share @ variance
            slope = (p * z).sum(axis=1) - z[np.arange(len(self.y)), self.y]
            share, slopes = (np.bincount(self.row, s) for s in (self.share, self.share * slope))
            noise = max(slopes @ slopes, curvature * (share @ share))
            error = np.sqrt(noise) / curvature if curvature > 0 else np.inf
            reach = np.exp(1.96 * error)
        return float(T / reach), float(T * reach)
