"""How far a classifier's confidence is from its accuracy."""

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import check_array, check_consistent_length, check_scalar, column_or_1d

from sklflat.metrics._checks import check_weights

__all__ = ["expected_calibration_error"]


def expected_calibration_error(
    y_true: ArrayLike,
    y_prob: ArrayLike,
    *,
    n_bins: int = 15,
    strategy: Literal["uniform", "quantile"] = "uniform",
    sample_weight: ArrayLike | None = None,
    labels: ArrayLike | None = None,
) -> float:
    r"""Top-label expected calibration error.

    Every sample has a confidence :math:`\hat p_i = \max_c p_{ic}` and is either right or wrong.
    The samples are binned by confidence, and

    .. math:: \mathrm{ECE} = \sum_b \frac{|B_b|}{n}
              \bigl|\mathrm{acc}(B_b) - \mathrm{conf}(B_b)\bigr|

    where :math:`\mathrm{acc}` and :math:`\mathrm{conf}` are a bin's accuracy and mean confidence
    (Guo et al. 2017, eq. 3 [1]_). 0 is perfect, 1 is always wrong with certainty.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        True labels, numbers or strings.
    y_prob : array-like of shape (n_samples,) or (n_samples, n_classes)
        Predicted probabilities. A 1-D array holds the probability of the greater of two labels;
        the columns of a 2-D array follow the sorted labels, as ``predict_proba`` gives them.
    n_bins : int, default=15
        Number of bins. Empty ones count nothing.
    strategy : {"uniform", "quantile"}, default="uniform"
        Bins of equal width on [0, 1], or bins of equal weight. Every bin is open on the left and
        closed on the right; samples of equal confidence are never parted.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights, not negative and not all zero; an integer weight is a repeated row.
    labels : array-like of shape (n_classes,), default=None
        All labels, where `y_true` may lack one. ``None`` takes those found in `y_true`.

    Returns
    -------
    float
        The calibration error, in [0, 1].

    Raises
    ------
    ValueError
        If `y_prob` holds anything but probabilities, if its width does not fit the labels, or if
        a parameter is out of its range.

    References
    ----------
    .. [1] C. Guo, G. Pleiss, Y. Sun, K. Q. Weinberger, "On calibration of modern neural
       networks", ICML 2017. https://arxiv.org/abs/1706.04599

    Examples
    --------
    Ten predictions at 90 % confidence of which six are right are off by 0.3:

    >>> from sklflat.metrics import expected_calibration_error
    >>> y_true = [1] * 6 + [0] * 4
    >>> round(expected_calibration_error(y_true, [0.9] * 10), 6)
    0.3
    """
    check_scalar(n_bins, "n_bins", int, min_val=1)
    if strategy not in ("uniform", "quantile"):
        raise ValueError(f"strategy must be 'uniform' or 'quantile', got {strategy!r}.")
    truth = column_or_1d(check_array(y_true, ensure_2d=False, dtype=None, input_name="y_true"))
    weight = check_weights(sample_weight, truth)
    known = _check_labels(truth, labels)
    probability = _check_probabilities(y_prob, known)
    check_consistent_length(truth, probability)

    confidence = probability.max(axis=1)
    correct = known[probability.argmax(axis=1)] == truth
    edges = _inner_edges(confidence, weight, n_bins, strategy)
    bins = np.searchsorted(edges, confidence, side="left")
    gap = np.bincount(bins, weights=weight * (correct - confidence))
    return float(np.abs(gap).sum() / weight.sum())


def _inner_edges(confidence: NDArray, weight: NDArray, n_bins: int, strategy: str) -> NDArray:
    """Right edges of all bins but the last, ascending."""
    if strategy == "uniform":
        return np.arange(1, n_bins) / n_bins
    order = np.argsort(confidence, kind="stable")
    cumulative = np.cumsum(weight[order])
    targets = np.arange(1, n_bins) * cumulative[-1] / n_bins
    # Rounding may put the last target above the total.
    position = np.minimum(np.searchsorted(cumulative, targets), len(order) - 1)
    return confidence[order][position]


def _check_labels(truth: NDArray, labels: ArrayLike | None) -> NDArray:
    """All labels, sorted: at least two, none of `truth` missing."""
    found = np.unique(truth)
    if labels is None:
        if len(found) < 2:
            raise ValueError(
                f"y_true contains only one label ({found[0]!r}): pass all labels as `labels`."
            )
        return found
    known = np.unique(column_or_1d(labels))
    if len(known) < 2:
        raise ValueError(f"labels must hold at least two labels, got {known.tolist()}.")
    unknown = np.setdiff1d(found, known)
    if len(unknown):
        raise ValueError(
            f"y_true contains labels that are not in labels={known.tolist()}: {unknown.tolist()}."
        )
    return known


def _check_probabilities(y_prob: ArrayLike, labels: NDArray) -> NDArray:
    """`y_prob` in float64 with one column a label, rows adding up to 1."""
    given = check_array(
        y_prob, ensure_2d=False, dtype=(np.float64, np.float32, np.float16), input_name="y_prob"
    )
    if given.min() < 0 or given.max() > 1:
        raise ValueError(
            "y_prob must hold probabilities in [0, 1], got values from "
            f"{given.min():.6g} to {given.max():.6g}."
        )
    probability = given.astype(np.float64)
    if given.ndim == 1:
        probability = np.column_stack([1 - probability, probability])
    if probability.shape[1] != len(labels):
        raise ValueError(
            f"y_prob has {probability.shape[1]} columns for {len(labels)} labels "
            f"{labels.tolist()}: give one column a label, or all labels as `labels`."
        )
    tolerance = np.sqrt(np.finfo(given.dtype).eps)
    if np.abs(probability.sum(axis=1) - 1).max() > tolerance:
        raise ValueError("The rows of y_prob must add up to 1: pass probabilities, not scores.")
    return probability
