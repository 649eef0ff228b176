"""Grids and folds that cannot be searched, named before anything is trained."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.multiclass import type_of_target

from sklflat.exceptions import warn
from sklflat.training.estimators.targets import as_values

#: standard deviations that a mean may be from 0, and a factor that a deviation may be from 1
_FAR = 10


def grid(values: Any, name: str) -> NDArray:
    """Values (n,) of a parameter as float64.

    Raises
    ------
    ValueError
        If there are none, or one is no finite number of at least 0.

    Examples
    --------
    >>> grid((0, 0.5), "rhos")
    array([0. , 0.5])
    """
    needs = f"{name}={values!r} has to be a one-dimensional list of numbers >= 0"
    try:
        found = np.asarray(values, dtype=float)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{needs}; these are not all numbers.") from error
    if found.ndim != 1:
        raise ValueError(f"{needs}; it is not one-dimensional.")
    if not found.size:
        raise ValueError(f"{name}={values!r} is empty; give at least one number >= 0.")
    for value in values:
        if value is None or value is np.ma.masked or isinstance(value, (str, bool, np.bool_)):
            raise ValueError(f"{needs}; {value!r} is not among the numbers.")
    bad = found[~(np.isfinite(found) & (found >= 0))]
    if bad.size:
        raise ValueError(f"{needs} and finite, but {bad[0]:g} is not.")
    return found


def check_rows_of_classes(y: NDArray, cv: Any) -> None:
    """See that the folds that scikit-learn makes of a number have rows of every class.

    Raises
    ------
    ValueError
        If no class has a row for every fold.

    Warns
    -----
    UserWarning
        If some class has not.
    """
    n_folds = 5 if cv is None else cv
    if not isinstance(n_folds, (int, np.integer)) or type_of_target(y) not in (
        "binary",
        "multiclass",
    ):
        return
    classes, counts = np.unique(y, return_counts=True)
    rare = counts < n_folds
    if rare.all():
        most = classes.tolist()[counts.argmax()]
        raise ValueError(
            f"There are too few rows: no class has as many rows as cv={n_folds} asks for folds; "
            f"the largest, {most!r}, has {counts.max()}. Lower cv, or collect more rows."
        )
    for label, count in zip(classes[rare].tolist(), counts[rare], strict=True):
        rows = "row" if count == 1 else "rows"
        warn(
            f"The class {label!r} has {count} {rows}, fewer than the cv={n_folds} folds, so "
            "networks are trained or judged without it. Lower cv, or leave the class out."
        )


def warn_of_no_gain(best: float, y: NDArray) -> None:
    """Warn where no candidate predicts held-out rows better than the mean of the targets.

    The best R² is 0 at most; y are the targets (n,) or (n, k).

    Warns
    -----
    ConvergenceWarning
    """
    if best > 0:
        return
    values = np.reshape(as_values(y), (len(y), -1))
    mean, deviation = values.mean(axis=0), values.std(axis=0)
    far = (np.abs(mean) > _FAR * deviation) | (deviation > _FAR) | (deviation * _FAR < 1)
    advice = "Longer training, other inputs or more rows may help; or there is nothing to find."
    if far.any():
        k = int(far.argmax())
        advice = (
            f"y has the mean {mean[k]:.4g} and the standard deviation {deviation[k]:.3g}, where "
            "training expects about 0 and 1: wrap the whole in "
            "TransformedTargetRegressor(model, transformer=StandardScaler())."
        )
    warn(
        "No candidate predicts held-out rows better than the mean of y: the best R² is "
        f"{best:.3g}, so rho_ and alpha_ say nothing. {advice}",
        ConvergenceWarning,
    )


def scores_of_folds(search: Any) -> list[NDArray]:
    """Scores (n_candidates,) of every fold, from a search that is fitted.

    Raises
    ------
    ValueError
        If the scorer returned a dict of scores, as the choice is by one number.
    """
    if search.multimetric_:
        raise ValueError(
            f"scoring={search.scoring!r} returns scores by name, and the choice is by one: return "
            "a number."
        )
    return [search.cv_results_[f"split{k}_test_score"] for k in range(search.n_splits_)]


def check_scored(scores: NDArray) -> None:
    """See that the best candidate has a score in every fold.

    Scores are (n_folds, n_rhos, n_alphas).

    Raises
    ------
    ValueError
        If none has, or one of them is infinitely good, as a choice would be one by chance.
    """
    if np.isposinf(scores).any():
        raise ValueError(
            "Some candidates have an infinite score, so none can be chosen. Give a scoring that "
            "returns finite numbers."
        )
    missing = ~np.isfinite(scores)
    if not missing.any(axis=0).all():
        return
    folds = [str(k) for k, some in enumerate(missing.any(axis=(1, 2))) if some]
    raise ValueError(
        "No candidate has a score in every fold, so none can be chosen; scores are missing in "
        f"fold {', '.join(folds)}. See the warnings above. If the scoring needs every class, or "
        "rows of positive weight, in every fold, lower cv; if training diverges, lower rhos or "
        "scale the inputs."
    )
