"""How well a simple model of known factors explains what a unit does."""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn import config_context
from sklearn.tree import DecisionTreeRegressor
from sklearn.utils import check_array, check_consistent_length, check_scalar

from sklflat.metrics._checks import varying
from sklflat.metrics._many_trees import predict_by_trees

__all__ = ["sparse_probe_explainability", "tree_explainability"]

Predict = Callable[[NDArray, NDArray, NDArray], NDArray]


def sparse_probe_explainability(
    activations: ArrayLike, factors: ArrayLike, *, k: int = 1, cv: int = 5
) -> NDArray[np.float64]:
    r"""Cross-validated :math:`R^2` of each unit as a linear function of its k best factors.

    In every fold the factors are chosen on the training rows, one after the other, by their
    correlation with what is not yet explained (orthogonal matching pursuit [1]_). Predictions of
    all left-out rows :math:`\hat a` are put together,

    .. math:: R^2 = \max\Big(0, 1 - \frac{\sum_i (a_i - \hat a_i)^2}{\sum_i (a_i - \bar a)^2}\Big).

    A constant unit has 0. A positive factor or a shift of a unit changes nothing, nor does the
    order of the rows: they are sorted, then dealt out to folds by the same random numbers always.
    Rows should be independent; a copy of a row may be left out while its original is fitted.

    Parameters
    ----------
    activations : array-like of shape (n_samples, n_units)
    factors : array-like of shape (n_samples, n_factors)
        What may explain them: inputs, or factors known to have made the data.
    k : int, default=1
        Number of factors a unit may use; no more are used than there are.
    cv : int, default=5
        Number of folds.

    Returns
    -------
    ndarray of shape (n_units,), float64
        In [0, 1].

    Raises
    ------
    ValueError
        If there are fewer samples than folds, or a value is not finite.

    References
    ----------
    .. [1] Y. Pati, R. Rezaiifar, P. Krishnaprasad, "Orthogonal matching pursuit", Asilomar
       Conference 1993.

    Examples
    --------
    The first unit is a factor, the second the sum of two independent ones:

    >>> import numpy as np
    >>> from sklflat.metrics import sparse_probe_explainability
    >>> F = np.random.RandomState(0).normal(size=(5000, 3))
    >>> A = np.column_stack([2 * F[:, 0] + 1, F[:, 1] + F[:, 2]])
    >>> sparse_probe_explainability(A, F, k=1).round(1)
    array([1. , 0.5])
    >>> sparse_probe_explainability(A, F, k=2).round(1)
    array([1., 1.])
    """
    check_scalar(k, "k", int, min_val=1)

    def predict(F: NDArray, A: NDArray, F_left: NDArray) -> NDArray:
        return _matching_pursuit(F, A, F_left, k)

    return _cross_validated(activations, factors, cv, predict)


def tree_explainability(
    activations: ArrayLike,
    factors: ArrayLike,
    *,
    max_depth: int = 4,
    cv: int = 5,
    max_cuts: int | None = None,
) -> NDArray[np.float64]:
    r"""Cross-validated :math:`R^2` of each unit as a small regression tree of the factors.

    Defined as :func:`sparse_probe_explainability`, with scikit-learn's ``DecisionTreeRegressor``
    in place of the linear model.

    With `max_cuts` the trees may ask only for that many thresholds of each factor, at its
    quantiles. Then the trees of all units are grown at once, which takes a fraction of the time.

    Parameters
    ----------
    activations : array-like of shape (n_samples, n_units)
    factors : array-like of shape (n_samples, n_factors)
    max_depth : int, default=4
        Of the trees.
    cv : int, default=5
        Number of folds.
    max_cuts : int or None, default=None
        Thresholds of a factor, at most. None allows all.

    Returns
    -------
    ndarray of shape (n_units,), float64
        In [0, 1].

    Raises
    ------
    ValueError
        If there are fewer samples than folds, or a value is not finite.

    Examples
    --------
    >>> import numpy as np
    >>> from sklflat.metrics import tree_explainability
    >>> F = np.random.RandomState(0).normal(size=(500, 2))
    >>> A = np.column_stack([(F[:, 0] > 0) & (F[:, 1] > 0), np.ones(500)])
    >>> tree_explainability(A, F, max_depth=2).round(1)
    array([1., 0.])
    """
    check_scalar(max_depth, "max_depth", int, min_val=1)
    if max_cuts is not None:
        check_scalar(max_cuts, "max_cuts", int, min_val=1)

    def at_once(F: NDArray, A: NDArray, F_left: NDArray) -> NDArray:
        assert max_cuts is not None
        return predict_by_trees(F, A, F_left, max_depth, max_cuts)

    def predict(F: NDArray, A: NDArray, F_left: NDArray) -> NDArray:
        tree = DecisionTreeRegressor(max_depth=max_depth, random_state=0)
        # checked already, and in a tree's own precision: checks take longer than such a tree
        F, F_left = F.astype(np.float32), F_left.astype(np.float32)
        with config_context(skip_parameter_validation=True):
            fitted = (tree.fit(F, a, check_input=False) for a in np.ascontiguousarray(A.T))
            return np.column_stack([t.predict(F_left, check_input=False) for t in fitted])

    return _cross_validated(activations, factors, cv, predict if max_cuts is None else at_once)


def _cross_validated(
    activations: ArrayLike, factors: ArrayLike, cv: int, predict: Predict
) -> NDArray[np.float64]:
    """R^2 (n_units,) of the predictions of all left-out rows."""
    check_scalar(cv, "cv", int, min_val=2)
    A = check_array(activations, dtype=np.float64, input_name="activations", ensure_min_samples=cv)
    F = check_array(factors, dtype=np.float64, input_name="factors")
    check_consistent_length(A, F)
    varies = varying(A)
    A, F = _in_one_order(A, _scaled(F))
    # one scale as well: the last digits break a tree's ties
    A = A / np.where(varies, np.abs(A).max(axis=0), 1)
    A = np.round((A - A.mean(axis=0)) / np.where(varies, A.std(axis=0), 1), 10)
    total = np.square(A).sum(axis=0)
    # at random: dealt out in turn, a grid of factors could lose a whole level to one fold
    fold = np.random.RandomState(0).permutation(len(F)) % cv
    error = np.zeros(A.shape[1])
    if varies.any():
        for i in range(cv):
            left = fold == i
            predicted = predict(F[~left], A[~left][:, varies], F[left])
            error[varies] += np.square(A[left][:, varies] - predicted).sum(axis=0)
    return np.where(varies, np.maximum(0, 1 - error / np.where(varies, total, 1)), 0.0)


def _scaled(F: NDArray) -> NDArray:
    """Factors from 0 to near 1: trees see them in single precision, and no step below 1e-7."""
    shifted = F - F.min(axis=0)
    scaled = np.ldexp(shifted, -np.frexp(shifted.max(axis=0))[1])
    return np.where(varying(F), scaled, 0)


def _in_one_order(A: NDArray, F: NDArray) -> tuple[NDArray, NDArray]:
    """Rows sorted by their factors; where those are equal, by the activation, unit by unit."""
    order = np.lexsort(F.T)
    A, F = A[order], F[order]
    group = np.cumsum(np.r_[0, (F[1:] != F[:-1]).any(axis=1)])
    within = np.lexsort((A, np.broadcast_to(group[:, None], A.shape)), axis=0)
    return np.take_along_axis(A, within, axis=0), F


def _matching_pursuit(F: NDArray, A: NDArray, F_left: NDArray, k: int) -> NDArray:
    """Predictions (n_left, n_units) from the k best factors of each unit."""
    center, scale, known = F.mean(axis=0), F.std(axis=0), varying(F)
    scale = np.where(known, scale, 1)
    Z = np.where(known, (F - center) / scale, 0)
    Z_left = np.where(known, (F_left - center) / scale, 0)
    mean = A.mean(axis=0)
    gram, rhs = Z.T @ Z, Z.T @ (A - mean)
    predicted = np.empty((len(F_left), A.shape[1]))
    for u in range(A.shape[1]):
        chosen, coef = _pursue(gram, rhs[:, u], min(k, int(known.sum())))
        predicted[:, u] = mean[u] + Z_left[:, chosen] @ coef
    return predicted


def _pursue(gram: NDArray, rhs: NDArray, k: int) -> tuple[list[int], NDArray]:
    """Factors and coefficients, from inner products of standardised factors and a unit."""
    chosen: list[int] = []
    coef = np.zeros(0)
    for _ in range(k):
        residual = rhs - gram[:, chosen] @ coef
        residual[chosen] = 0
        best = int(np.argmax(np.abs(residual)))
        if abs(residual[best]) <= 1e-12 * np.abs(rhs).max(initial=0):
            break
        chosen.append(best)
        coef = np.linalg.lstsq(gram[np.ix_(chosen, chosen)], rhs[chosen], rcond=None)[0]
    return chosen, coef
