"""How alike two networks represent the same samples."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linear_sum_assignment
from sklearn.utils import check_array, check_consistent_length, column_or_1d

from sklflat.metrics._checks import standardised, varying

__all__ = ["UnitMatching", "debiased_cka", "matched_correlation"]


class UnitMatching(NamedTuple):
    """Pairs of units of two networks, and how they correlate."""

    first: NDArray[np.intp]
    second: NDArray[np.intp]
    correlations: NDArray[np.float64]


def debiased_cka(A: ArrayLike, B: ArrayLike) -> float:
    r"""Linear centred kernel alignment, with the bias of small samples taken out.

    .. math:: \frac{\mathrm{HSIC}_u(K, L)}{\sqrt{\mathrm{HSIC}_u(K, K)\,\mathrm{HSIC}_u(L, L)}}

    with :math:`K = A A^T`, :math:`L = B B^T` and the unbiased estimator of HSIC [1]_. The plain
    estimator tends to 1 when there are more units than samples, whatever the representations;
    this one is 0 on average for independent ones [2]_, and may be slightly negative. Orthogonal
    transformations and factors of A or B do not change it.

    Parameters
    ----------
    A : array-like of shape (n_samples, n_units)
    B : array-like of shape (n_samples, n_other_units)
        The same samples; at least four.

    Returns
    -------
    float
        In [-1, 1]. NaN where there is nothing to align: one of the two is constant, or differs
        from a constant in one sample only.

    References
    ----------
    .. [1] L. Song et al., "Feature selection via dependence maximization", JMLR 13, 2012, eq. 4.
    .. [2] T. Nguyen, M. Raghu, S. Kornblith, "Do wide and deep networks learn the same things?",
       ICLR 2021. https://arxiv.org/abs/2010.15327

    Examples
    --------
    >>> import numpy as np
    >>> from sklflat.metrics import debiased_cka
    >>> A = np.random.RandomState(0).normal(size=(20, 3))
    >>> rotation = np.linalg.qr(np.random.RandomState(1).normal(size=(3, 3)))[0]
    >>> round(debiased_cka(A, 5 * A @ rotation), 6)
    1.0
    """
    a, b = _pair(A, B, min_samples=4)
    a, b = _normalised(a), _normalised(b)
    ab, aa, bb = _hsic(a, b), _hsic(a, a), _hsic(b, b)
    if min(aa, bb) <= 1e-12:
        return float("nan")
    return float(np.clip(ab / np.sqrt(aa * bb), -1.0, 1.0))


def _normalised(A: NDArray) -> NDArray:
    r"""A with centred columns and :math:`\|A A^T\|_F = 1`, or zero."""
    centred = np.where(varying(A), A - A.mean(axis=0), 0)
    centred /= np.abs(centred).max() or 1.0
    gram = centred.T @ centred if A.shape[1] < len(A) else centred @ centred.T
    return centred / (np.sqrt(np.linalg.norm(gram)) or 1.0)


def _hsic(A: NDArray, B: NDArray) -> float:
    r"""Unbiased HSIC up to a factor.

    :math:`\mathrm{tr}(\tilde K \tilde L) + \frac{1^T\tilde K1\,1^T\tilde L1}{(n-1)(n-2)}
    - \frac{2}{n-2} 1^T\tilde K\tilde L1`, tilde: without the diagonal.
    """
    n = len(A)
    a, b = np.square(A).sum(axis=1), np.square(B).sum(axis=1)  # the diagonals
    # in the space of units where that is smaller than the space of samples
    if A.shape[1] * B.shape[1] < n * n:
        trace = np.square(A.T @ B).sum() - a @ b
    else:
        trace = ((A @ A.T) * (B @ B.T)).sum() - a @ b
    rows_a, rows_b = A @ A.sum(axis=0) - a, B @ B.sum(axis=0) - b
    ends = rows_a.sum() * rows_b.sum() / ((n - 1) * (n - 2))
    return float(trace + ends - 2 / (n - 2) * rows_a @ rows_b)


def matched_correlation(
    A: ArrayLike,
    B: ArrayLike,
    *,
    fit_on: ArrayLike | None = None,
    signed: bool = True,
    sample_weight: ArrayLike | None = None,
) -> UnitMatching:
    r"""Units of two networks, matched one to one so that the sum of correlations is greatest.

    A matching maximises what it is then judged by, so its correlations are inflated on the
    samples it was found on. With `fit_on` it is found on those rows and judged on the others.

    Parameters
    ----------
    A : array-like of shape (n_samples, n_units)
    B : array-like of shape (n_samples, n_other_units)
        The same samples.
    fit_on : array-like of shape (n_samples,), bool, or of row numbers, default=None
        Rows to find the matching on. ``None`` finds and judges it on all rows.
    signed : bool, default=True
        Whether a unit and its negative differ. If not, absolute values are maximised and
        returned.
    sample_weight : array-like of shape (n_samples,), default=None
        Not negative; a row of weight 2 is as good as two rows.

    Returns
    -------
    UnitMatching
        Named tuple ``(first, second, correlations)`` of length ``min(n_units, n_other_units)``,
        in the order of `first`. A constant unit correlates 0 with every other.

    Raises
    ------
    ValueError
        If fewer than two rows are left on one side, or `fit_on` does not fit the samples.

    References
    ----------
    Y. Li et al., "Convergent learning: do different neural networks learn the same
    representations?", ICLR 2016. https://arxiv.org/abs/1511.07543

    Examples
    --------
    >>> import numpy as np
    >>> from sklflat.metrics import matched_correlation
    >>> A = np.random.RandomState(0).normal(size=(50, 3))
    >>> matching = matched_correlation(A, 2 * A[:, [2, 0, 1]] + 1)
    >>> matching.second.tolist(), matching.correlations.round(6).tolist()
    ([1, 2, 0], [1.0, 1.0, 1.0])
    """
    a, b = _pair(A, B, min_samples=2)
    fitted, judged = _split(fit_on, len(a))
    w = np.ones(len(a)) if sample_weight is None else column_or_1d(sample_weight, dtype=float)
    check_consistent_length(a, w)
    if w.min() < 0:
        raise ValueError("sample_weight holds negative numbers.")
    profit = _correlations(a[fitted], b[fitted], w[fitted])
    first, second = linear_sum_assignment(profit if signed else np.abs(profit), maximize=True)
    found = _correlations(a[judged], b[judged], w[judged])[first, second]
    return UnitMatching(first, second, found if signed else np.abs(found))


def _split(fit_on: ArrayLike | None, n_samples: int) -> tuple[NDArray, NDArray]:
    """Masks of the rows to match on and of those to judge on."""
    if fit_on is None:
        return np.ones(n_samples, dtype=bool), np.ones(n_samples, dtype=bool)
    fitted = np.zeros(n_samples, dtype=bool)
    try:
        fitted[np.asarray(fit_on)] = True
    except IndexError as error:
        raise ValueError(
            f"fit_on must be a mask of {n_samples} rows or hold numbers of rows below {n_samples}: "
            f"{error}."
        ) from error
    for rows, name in (fitted, "to match on"), (~fitted, "to judge on"):
        if rows.sum() < 2:
            raise ValueError(f"fit_on leaves {rows.sum()} rows {name}; at least two are needed.")
    return fitted, ~fitted


def _correlations(A: NDArray, B: NDArray, weight: NDArray) -> NDArray:
    """Correlations (n_units, n_other_units), 0 with a constant unit."""
    if (weight > 0).sum() < 2:
        return np.zeros((A.shape[1], B.shape[1]))
    return np.clip(standardised(A, weight).T @ standardised(B, weight), -1.0, 1.0)


def _pair(A: ArrayLike, B: ArrayLike, min_samples: int) -> tuple[NDArray, NDArray]:
    first = check_array(A, dtype=np.float64, ensure_min_samples=min_samples, input_name="A")
    second = check_array(B, dtype=np.float64, ensure_min_samples=min_samples, input_name="B")
    check_consistent_length(first, second)
    return first, second
