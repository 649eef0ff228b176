"""Rows that a temperature is fitted on: predictions that their own labels had no part in."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from sklflat._compat import safe_indexing
from sklflat.exceptions import CalibrationWarning, warn
from sklflat.probing.split import Rows
from sklflat.temperature.softened import logits_of
from sklflat.training.runs import Training
from sklflat.training.stacking import train


def out_of_fold(
    estimator: Any,
    rows: Rows,
    splits: Sequence[tuple[NDArray, NDArray]],
    classes: NDArray,
) -> tuple[NDArray, NDArray]:
    """Logits of rows from estimators that were not trained on them, fold by fold.

    Networks of this package are trained as one stack.

    Parameters
    ----------
    estimator : classifier
        Cloned for every fold.
    rows : Rows
        With the parameters of the estimator's ``fit``, which are split like X.
    splits : sequence of pairs of ndarrays, int
        Rows to train on and rows to predict.
    classes : ndarray of shape (n_classes,)
        What every fold has to be trained on.

    Returns
    -------
    logits : ndarray of shape (n_predicted, n_classes)
    numbers : ndarray of shape (n_predicted,), int
        Which rows these are.

    Raises
    ------
    ValueError
        If a fold would be trained without one of the classes.
    """
    trainings = []
    for k, (kept, _) in enumerate(splits):
        part = rows.take(kept)
        missing = np.setdiff1d(classes, part.y)
        if len(missing):
            raise ValueError(
                f"cv leaves no row of class {missing.tolist()[0]!r} to train fold {k} on. Give at "
                "least 2 rows of every class, or a cv that keeps some of each."
            )
        trainings.append(Training(clone(estimator), part.X, part.y, part.params))
    for _ in train(trainings):
        pass
    logits = []
    for training, (_, held_out) in zip(trainings, splits, strict=True):
        if training.error is not None:
            raise training.error
        logits.append(logits_of(training.estimator, safe_indexing(rows.X, held_out)))
    return np.vstack(logits), np.concatenate([held_out for _, held_out in splits])


def columns_of(classes: NDArray, labels: NDArray, weight: NDArray | None) -> NDArray:
    """The column of each label among the classes.

    Raises
    ------
    ValueError
        If a label is no class.

    Warns
    -----
    CalibrationWarning
        If no row with a weight is of some class.
    """
    unknown = np.setdiff1d(labels, classes)
    if len(unknown):
        raise ValueError(
            f"y has the label {unknown.tolist()[0]!r}, which is not among the estimator's classes "
            f"{classes}. Leave its rows out, or train the estimator on it."
        )
    missing = np.setdiff1d(classes, labels if weight is None else labels[weight > 0]).tolist()
    if missing:
        others = f" and {len(missing) - 1} others" if len(missing) > 1 else ""
        warn(
            f"temperature='nll' is fitted without rows of class {missing[0]!r}{others}, so nothing "
            "is known of the confidence in it. Calibrate on rows of all classes.",
            CalibrationWarning,
        )
    order = np.argsort(classes)
    return order[np.searchsorted(classes, labels, sorter=order)]
