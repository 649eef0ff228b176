"""Checks of the input that several measures share."""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import check_array, column_or_1d

from sklflat._compat import check_sample_weight

__all__ = ["check_labels", "check_vector", "check_weights", "standardised", "varying"]


def varying(A: NDArray) -> NDArray[np.bool_]:
    """Mask (..., n_units) of the columns of A (..., n_samples, n_units) that are not constant.

    Up to rounding: what is left of a constant after subtracting its mean is not variance.
    """
    return np.ptp(A, axis=-2) > 1e-12 * np.abs(A).max(axis=-2)


def standardised(A: NDArray, weights: NDArray | None = None) -> NDArray[np.float64]:
    """Columns of weighted mean 0 and length 1, weights multiplied in; of zeros where constant.

    ``A`` is (..., n, n_units), ``weights`` (n,), and rows of weight 0 are left out. The product of
    two such columns is their correlation.
    """
    s = np.full(A.shape[-2], 1 / A.shape[-2]) if weights is None else weights / weights.sum()
    if not s.all():
        A, s = A[..., s > 0, :], s[s > 0]
    varies = varying(A)[..., None, :]
    centred = np.where(varies, A - np.einsum("n,...nu->...u", s, A)[..., None, :], 0.0)
    # at unit size, as squares of tiny numbers are 0 and of huge ones infinite
    size = np.abs(centred).max(axis=-2, keepdims=True)
    centred *= np.sqrt(s)[:, None] / np.where(varies, size, 1.0)
    length = np.sqrt(np.square(centred).sum(axis=-2, keepdims=True))
    return np.asarray(centred / np.where(varies, length, 1.0), dtype=np.float64)


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
