"""Checks of the input that several measures share."""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import check_array, column_or_1d

from sklflat._compat import check_sample_weight

__all__ = ["check_labels", "check_vector", "check_weights", "standardised", "varying"]


def varying(A: NDArray) -> NDArray[np.bool_]:
    """Mask (n_units,) of the columns of A (n_samples, n_units) that are not constant.

    Up to rounding: what is left of a constant after subtracting its mean is not variance.
    """
    return np.ptp(A, axis=0) > 1e-12 * np.abs(A).max(axis=0)


def standardised(A: NDArray, s: NDArray) -> NDArray[np.float64]:
    """Columns (n, n_units) of mean 0 and length 1, whose products are correlations; or of zeros.

    Weights ``s`` (n,) add up to 1, and the products are weighted by them.
    """
    varies = varying(A)
    centred = np.where(varies, A - s @ A, 0)
    centred *= np.sqrt(s)[:, None] / np.where(varies, np.abs(centred).max(axis=0), 1)
    return centred / np.where(varies, np.linalg.norm(centred, axis=0), 1)


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


def check_vector(values: ArrayLike, name: str, min_samples: int = 1) -> NDArray[np.float64]:
    """At least so many finite numbers, shape (n_samples,)."""
    options = {"ensure_min_samples": min_samples, "input_name": name}
    return column_or_1d(check_array(values, ensure_2d=False, dtype=np.float64, **options))


def check_weights(sample_weight: ArrayLike | None, A: NDArray) -> NDArray[np.float64]:
    """A weight a sample of A, shape (n_samples,); none is negative, and not all are zero."""
    s = check_sample_weight(sample_weight, A, dtype=np.float64, ensure_non_negative=True)
    if not s.any():  # scikit-learn raises it itself from 1.9 on
        raise ValueError("Sample weights must contain at least one non-zero number.")
    return s
