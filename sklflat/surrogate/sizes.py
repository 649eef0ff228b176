"""Fidelity against the size of the surrogate."""

from collections.abc import Iterable
from typing import Any

from sklearn.base import clone, is_classifier
from sklearn.frozen import FrozenEstimator
from sklearn.utils.validation import check_is_fitted

from sklflat.surrogate.fidelity import FidelityReport
from sklflat.surrogate.student import default_surrogate


def fidelity_by_size(
    aligner: Any,
    X: Any,
    y: Any,
    sizes: Iterable[Any] = range(1, 7),
    parameter: str = "max_depth",
) -> dict[Any, FidelityReport]:
    """How faithful surrogates of other sizes are to the network of a fitted aligner.

    Each is taught on a part of the data and compared on the rest (``holdout`` of the aligner),
    beside the same students that never saw the network, or no oracle samples.

    Parameters
    ----------
    aligner : SurrogateAligner
        Fitted; it is not changed.
    X : array-like of shape (n_samples, ...)
        Rows that the network was not trained on.
    y : array-like of shape (n_samples,)
    sizes : iterable, default=range(1, 7)
    parameter : str, default="max_depth"
        Of the surrogate, that says its size.

    Returns
    -------
    reports : dict of size to FidelityReport

    Raises
    ------
    ValueError
        If the surrogate has no such parameter.
    """
    check_is_fitted(aligner)
    surrogate = aligner.surrogate
    if surrogate is None:
        surrogate = default_surrogate(aligner.target, is_classifier(aligner))
    quick = clone(aligner).set_params(
        estimator=FrozenEstimator(aligner.estimator_),
        n_redraws=0,
        n_basin_models=0,
        basin_models=None,
        min_fidelity=0.0,
        n_null=1,
        n_units=None,
    )
    reports = {}
    for size in sizes:
        student = clone(surrogate).set_params(**{parameter: size})
        reports[size] = clone(quick).set_params(surrogate=student).fit(X, y).fidelity_
    return reports
