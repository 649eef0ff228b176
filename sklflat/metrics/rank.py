"""How many dimensions a representation uses."""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import check_array

from sklflat.metrics._checks import varying

__all__ = ["effective_rank", "participation_ratio"]


def effective_rank(A: ArrayLike) -> float:
    r"""Exponential of the entropy of the normalised singular values.

    .. math:: \exp\Big(-\sum_i p_i \ln p_i\Big), \qquad p_i = \sigma_i / \sum_j \sigma_j

    of the matrix as it is [1]_; centre the columns first for the rank of a covariance. Between 1
    and the rank. Factors, orthogonal transformations and permutations do not change it.

    Parameters
    ----------
    A : array-like of shape (n_samples, n_units)

    Returns
    -------
    float
        0 for a matrix of zeros.

    References
    ----------
    .. [1] O. Roy, M. Vetterli, "The effective rank: a measure of effective dimensionality",
       EUSIPCO 2007.

    Examples
    --------
    >>> import numpy as np
    >>> from sklflat.metrics import effective_rank
    >>> round(effective_rank(np.eye(4)), 6), round(effective_rank(np.ones((4, 4))), 6)
    (4.0, 1.0)
    """
    sigma = _singular_values(check_array(A, dtype=np.float64, input_name="A"))
    if not sigma.any():
        return 0.0
    p = sigma / sigma.sum()
    p = p[p > 0]
    return float(np.exp(-(p * np.log(p)).sum()))


def participation_ratio(A: ArrayLike) -> float:
    r"""Number of directions over which the variance of a representation is spread.

    .. math:: \frac{(\sum_i \lambda_i)^2}{\sum_i \lambda_i^2}

    with :math:`\lambda_i` the eigenvalues of the covariance of the columns [1]_. Between 1 and
    the number of units. Shifts, factors, orthogonal transformations and permutations do not
    change it.

    Parameters
    ----------
    A : array-like of shape (n_samples, n_units)

    Returns
    -------
    float
        0 where nothing varies.

    References
    ----------
    .. [1] P. Gao et al., "A theory of multineuronal dimensionality, dynamics and measurement",
       2017. https://doi.org/10.1101/214262

    Examples
    --------
    >>> from sklflat.metrics import participation_ratio
    >>> round(participation_ratio([[1, 0], [-1, 0], [0, 1], [0, -1]]), 6)
    2.0
    """
    checked = check_array(A, dtype=np.float64, input_name="A")
    centred = np.where(varying(checked), checked - checked.mean(axis=0), 0)
    sigma = _singular_values(centred)
    if not sigma.any():
        return 0.0
    eigenvalues = np.square(sigma / sigma[0])  # squares of tiny numbers would be 0
    return float(eigenvalues.sum() ** 2 / np.square(eigenvalues).sum())


def _singular_values(A: NDArray) -> NDArray:
    """Singular values, those that are rounding set to zero."""
    sigma = np.linalg.svd(A, compute_uv=False)
    return np.where(sigma > max(A.shape) * np.finfo(float).eps * sigma[0], sigma, 0.0)
