"""Checks of the input that several measures share."""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import column_or_1d

__all__ = ["check_labels", "varying"]


def varying(A: NDArray) -> NDArray[np.bool_]:
    """Mask (n_units,) of the columns of A (n_samples, n_units) that are not constant.

    Up to rounding: what is left of a constant after subtracting its mean is not variance.
    """
    return np.ptp(A, axis=0) > 1e-12 * np.abs(A).max(axis=0)


def check_labels(y: ArrayLike, name: str = "y", *, advice: str) -> NDArray:
    """One label a sample, shape (n_samples,); numbers with a fraction are no labels."""
    labels = column_or_1d(y)
    if labels.dtype.kind == "f":
        wrong = ~(np.isfinite(labels) & (labels == np.floor(labels)))
        if wrong.any():
            raise ValueError(
                f"{name} must hold class labels, but one is {labels[wrong][0]:.6g}. {advice}"
            )
    return labels
