"""How much a unit's activation depends on the target."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import check_array, check_consistent_length

from sklflat.metrics._checks import check_labels, check_weights, varying

__all__ = ["class_selectivity", "target_correlation"]

_CHUNK_BYTES = 2**26


def class_selectivity(
    activations: ArrayLike, y: ArrayLike, *, sample_weight: ArrayLike | None = None
) -> NDArray[np.float64]:
    r"""How much more active each unit is on its favourite class than on the others.

    .. math:: \frac{\mu_{\max} - \mu_{-\max}}{\mu_{\max} + \mu_{-\max}}

    with :math:`\mu_{\max}` the greatest mean activation over a class and :math:`\mu_{-\max}` the
    mean of the other classes' means [1]_. It is 1 for a unit that is active on one class only and
    0 for one whose classes have equal means, or that is constant. The definition needs
    activations that are not negative; a unit that takes negative values (tanh, GELU) is first
    shifted so that its smallest is 0, and one that does not is left as it is.

    Neither the order of the rows nor a positive factor of a unit changes it.

    Parameters
    ----------
    activations : array-like of shape (n_samples, n_units)
    y : array-like of shape (n_samples,)
        Class labels, at least two different ones.
    sample_weight : array-like of shape (n_samples,), default=None

    Returns
    -------
    ndarray of shape (n_units,), float64
        In [0, 1].

    Raises
    ------
    ValueError
        If there are fewer than two classes of positive weight, or `y` holds numbers with a
        fraction.

    References
    ----------
    .. [1] A. Morcos, D. Barrett, N. Rabinowitz, M. Botvinick, "On the importance of single
       directions for generalization", ICLR 2018. https://arxiv.org/abs/1803.06959

    Examples
    --------
    >>> from sklflat.metrics import class_selectivity
    >>> class_selectivity([[1.0, 3.0], [1.0, 0.0], [0.0, 1.0]], ["a", "a", "b"])
    array([1. , 0.2])
    """
    labels = check_labels(y, advice="Use target_correlation(..., discrete=False).")
    A, labels, s = _check(activations, labels, sample_weight)
    classes, indices = np.unique(labels, return_inverse=True)
    if len(classes) < 2:
        raise ValueError(f"y must hold at least two classes, got only {classes.tolist()[0]!r}.")
    return permuted_class_selectivity(A, indices, np.arange(len(A))[None], s)[0]


def target_correlation(
    activations: ArrayLike,
    y: ArrayLike,
    *,
    discrete: bool = True,
    sample_weight: ArrayLike | None = None,
) -> NDArray[np.float64]:
    r"""Share of each unit's variance that the target explains.

    For class labels the correlation ratio
    :math:`\eta^2 = \mathrm{SS}_\mathrm{between} / \mathrm{SS}_\mathrm{total}`; for real targets
    the squared correlation :math:`r^2`, the greatest over the columns of `y`. 0 for a constant
    unit. Neither the order of the rows nor a factor or shift of a unit changes it. Labels that
    are drawn at random have a mean of (C - 1) / (n - 1) for C classes and n samples, not 0.

    Parameters
    ----------
    activations : array-like of shape (n_samples, n_units)
    y : array-like of shape (n_samples,), or (n_samples, n_targets) if not discrete
    discrete : bool, default=True
        Whether `y` holds class labels.
    sample_weight : array-like of shape (n_samples,), default=None

    Returns
    -------
    ndarray of shape (n_units,), float64
        In [0, 1].

    Raises
    ------
    ValueError
        If `y` holds numbers with a fraction and `discrete` is true, or a value is not finite.

    Examples
    --------
    >>> from sklflat.metrics import target_correlation
    >>> target_correlation([[0.0, 1.0], [0.0, 2.0], [3.0, 3.0]], ["a", "a", "b"])
    array([1.  , 0.75])
    >>> target_correlation([[0.0, 1.0], [0.0, 2.0], [3.0, 3.0]], [1.0, 2.0, 3.0], discrete=False)
    array([0.75, 1.  ])
    """
    if discrete:
        labels = check_labels(y, advice="For real targets pass discrete=False.")
        target = np.unique(labels, return_inverse=True)[1]
    else:
        target = check_array(y, ensure_2d=False, dtype=np.float64, input_name="y")
    A, target, s = _check(activations, target, sample_weight)
    return permuted_target_correlation(A, target, np.arange(len(A))[None], s)[0]


def permuted_class_selectivity(
    A: NDArray, y: NDArray, permutations: NDArray, sample_weight: NDArray | None = None
) -> NDArray[np.float64]:
    """:func:`class_selectivity` (m, n_units) with the labels in several orders.

    Row r of the permutations (m, n_samples) gives sample i the label ``y[permutations[r, i]]``, the
    index of a class. Weights stay with the samples; 0 also where one class alone is left with some.
    """
    A, s, varies = _prepared(A, sample_weight)
    A = A - np.minimum(A[s > 0].min(axis=0), 0)
    scores = [_selectivity(means) for means, _ in _class_means(A, y, permutations, s)]
    return np.where(varies, np.concatenate(scores), 0.0)


def permuted_target_correlation(
    A: NDArray, y: NDArray, permutations: NDArray, sample_weight: NDArray | None = None
) -> NDArray[np.float64]:
    """:func:`target_correlation` (m, n_units) with the targets in orders as above.

    Integers (n_samples,) are indices of classes, all else real targets (n_samples[, n_targets]).
    """
    A, s, varies = _prepared(A, sample_weight)
    A = A - s @ A
    total = s @ np.square(A)
    if y.ndim == 1 and y.dtype.kind in "iu":
        parts = [
            np.einsum("rc,rcu->ru", weights, np.square(np.nan_to_num(means)))
            for means, weights in _class_means(A, y, permutations, s)
        ]
    else:
        Y = (y[:, None] if y.ndim == 1 else y).astype(np.float64)
        Y /= np.maximum(np.abs(Y).max(axis=0), np.finfo(float).tiny)
        parts = [_explained(A, part, s) for part in _permuted(Y, permutations, A.shape[1])]
    # rounding may lead a little above 1
    return np.where(varies, np.minimum(np.concatenate(parts) / np.where(varies, total, 1), 1), 0.0)


def _class_means(
    A: NDArray, y: NDArray, permutations: NDArray, s: NDArray
) -> Iterator[tuple[NDArray, NDArray]]:
    """Means (m, n_classes, n_units) over classes, NaN where one is empty, and their weights."""
    members = np.eye(y.max() + 1)[y]
    for Y in _permuted(members, permutations, A.shape[1]):
        weighted = Y * s[:, None]
        weights = weighted.sum(axis=1)
        sums = weighted.transpose(0, 2, 1) @ A
        empty = weights[:, :, None] <= 0
        yield np.where(empty, np.nan, sums / np.where(empty, 1, weights[:, :, None])), weights


def _permuted(Y: NDArray, permutations: NDArray, n_units: int) -> Iterator[NDArray]:
    """Y (n_samples, k) in the order of each permutation, (m, n_samples, k), a part at a time."""
    n_samples, k = Y.shape
    size = max(1, _CHUNK_BYTES // (8 * k * max(n_samples, n_units)))
    for start in range(0, len(permutations), size):
        yield Y[permutations[start : start + size]]


def _selectivity(means: NDArray) -> NDArray:
    """From class means (m, n_classes, n_units) that are not negative, or NaN."""
    top = np.nanmax(means, axis=1)
    n_classes = np.count_nonzero(~np.isnan(means), axis=1)
    others = (np.nansum(means, axis=1) - top) / np.maximum(n_classes - 1, 1)
    total = top + others
    defined = (total > 0) & (n_classes > 1)
    return np.divide(top - others, total, out=np.zeros_like(total), where=defined)


def _explained(A: NDArray, Y: NDArray, s: NDArray) -> NDArray:
    """Variance (m, n_units) of centred units A that the best column of Y (m, n, k) explains."""
    Y = Y - np.einsum("n,rnk->rk", s, Y)[:, None]
    variance = np.einsum("n,rnk->rk", s, np.square(Y))
    covariance = (Y * s[:, None]).transpose(0, 2, 1) @ A
    varies = variance > 1e-24  # columns of Y have a greatest value of 1
    share = np.square(covariance) / np.where(varies, variance, np.inf)[:, :, None]
    return share.max(axis=1)


def _prepared(A: NDArray, sample_weight: NDArray | None) -> tuple[NDArray, NDArray, NDArray]:
    """Units with a greatest value of 1, weights that add up to 1, and which units vary."""
    s = np.ones(len(A)) if sample_weight is None else sample_weight
    seen = A[s > 0]
    # squares of very small and very large activations would be 0 and infinite
    scale = np.abs(seen).max(axis=0)
    return A / np.where(scale > 0, scale, 1), s / s.sum(), varying(seen)


def _check(
    activations: ArrayLike, y: NDArray, sample_weight: ArrayLike | None
) -> tuple[NDArray, NDArray, NDArray]:
    A = check_array(activations, dtype=np.float64, input_name="activations")
    check_consistent_length(A, y)
    s = check_weights(sample_weight, A)
    return A[s > 0], y[s > 0], s[s > 0]
