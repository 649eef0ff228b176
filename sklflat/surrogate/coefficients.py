"""The coefficients of a linear surrogate, in the units of the data."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import issparse
from sklearn.pipeline import Pipeline

from sklflat.surrogate.columns import Columns, filled
from sklflat.surrogate.rules import Rules
from sklflat.training.estimators.containers import own_copy

#: rows on which steps are asked whether they are linear, and how near to a line that is, of what a
#: number changes by
_ROWS, _STRAIGHT = 200, 1e-6


def coefficients(model: Any, features: NDArray) -> NDArray[np.float64] | None:
    """Coefficients (n_outputs, n_features) of a linear model, in the units of the features.

    Of a pipeline whose last step is one, and whose other steps are linear on the data, such as a
    scaler or a principal component analysis, they are those of all steps together.

    Parameters
    ----------
    model : fitted estimator
    features : ndarray of shape (n_samples, n_features)
        On which a pipeline is asked whether it is linear.

    Returns
    -------
    coef : ndarray or None
        None for a model that has no coefficients.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LinearRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from sklflat.surrogate.coefficients import coefficients
    >>> X = np.array([[0.0, 10.0], [1.0, 30.0], [2.0, 20.0], [3.0, 0.0]])
    >>> model = make_pipeline(StandardScaler(), LinearRegression()).fit(X, X @ [2, 0.5])
    >>> coefficients(model, X).round(9)
    array([[2. , 0.5]])
    """
    if not isinstance(model, Pipeline):
        coef = getattr(model, "coef_", None)
        if hasattr(model, "dual_coef_") and len(getattr(model, "classes_", ())) > 2:
            return None  # of pairs of classes, not of classes
        return None if coef is None else np.atleast_2d(np.asarray(coef, dtype=float))
    before = _slopes(model[:-1], features)
    if before is None:
        return None
    own = coefficients(model[-1], _transformed(model[:-1], filled(features)[:_ROWS]))
    return None if own is None else own @ before


def _slopes(steps: Pipeline, features: NDArray) -> NDArray[np.float64] | None:
    """What a unit of each feature changes in what steps make of it; None if they are not linear.

    Parameters
    ----------
    steps : Pipeline
    features : ndarray of shape (n_samples, n_features)

    Returns
    -------
    slopes : ndarray of shape (n_made, n_features) or None
    """
    if not len(steps):
        return np.eye(features.shape[1])
    rows = filled(features)[:_ROWS]
    centre = rows.mean(axis=0)
    width = np.ptp(rows, axis=0)
    width[width == 0] = 1
    asked = np.vstack([centre, centre + np.diag(width), rows])
    try:
        made = _transformed(steps, asked)
    except ValueError:  # an encoder knows no values between those of the data, and is not linear
        return None
    start, slopes = made[0], (made[1 : 1 + len(width)] - made[0]).T / width
    of_rows = made[1 + len(width) :]
    straight = start + (rows - centre) @ slopes.T
    # of each number that is made, as one of large ones would hide how others are bent
    size = (
        np.abs(of_rows - start).max(axis=0) + np.abs(rows - centre).max(axis=0) @ np.abs(slopes).T
    )
    return slopes if (np.abs(of_rows - straight) <= _STRAIGHT * size).all() else None


def _transformed(steps: Pipeline, rows: NDArray) -> NDArray[np.float64]:
    """What steps make of rows, as numbers."""
    if not len(steps):
        return np.asarray(rows, dtype=float)
    with np.errstate(all="ignore"):
        made = steps.transform(own_copy(rows))
    return np.asarray(made.toarray() if issparse(made) else made, dtype=float)


def rules_of_coefficients(
    coef: NDArray, columns: Columns, features: NDArray, classes: NDArray | None
) -> Rules:
    """The coefficients of a linear model that are not 0, first those that change the output most.

    Coefficients of features in different units cannot be compared, so beside each is what a
    standard deviation of its feature changes ("per_deviation"), and that is their order.

    Parameters
    ----------
    coef : ndarray of shape (n_outputs, n_features)
    columns : Columns
    features : ndarray of shape (n_samples, n_features)
    classes : ndarray of shape (n_classes,) or None
    """
    output, feature = np.nonzero(coef)
    changed = coef * filled(features).std(axis=0)
    order = np.argsort(-np.abs(changed[output, feature]), kind="stable")
    output, feature = output[order], feature[order]
    if classes is None:
        said: list[Any] = output.tolist()
    else:
        of_output = classes[-1:] if len(coef) == 1 else classes
        said = of_output[output].tolist()
    names = [columns.feature_names[f] for f in feature]
    numbers = [values[output, feature].tolist() for values in (coef, changed)]
    return Rules(("feature", "output", "coefficient", "per_deviation"), (names, said, *numbers))
