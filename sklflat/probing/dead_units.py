"""What decides that a unit is dead."""

import numpy as np
from numpy.typing import NDArray


def dead_units(A: NDArray, dtype: str = "float64") -> NDArray:
    """Mask (n_units,) of units whose activations are the same in all rows, up to rounding.

    Such a unit scores 0 and is never selected.

    Parameters
    ----------
    A : ndarray of shape (n_samples, n_units)
        Activations on rows of positive weight. A unit with NaN is not dead.
    dtype : str, default="float64"
        Precision in which they were computed.

    Examples
    --------
    >>> dead_units(np.array([[0.0, 1.0, 3.0], [0.0, 2.0, 3.0]]))
    array([ True, False,  True])
    """
    return np.ptp(A, axis=0) <= rounding_of(dtype) * np.abs(A).max(axis=0)


def rounding_of(dtype: str) -> float:
    """Range, as a share of the largest value, that rounding in the sums of a batch may have."""
    return max(1e-12, 64 * float(np.finfo(dtype).eps))
