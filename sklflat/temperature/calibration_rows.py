"""Rows that a temperature is fitted on: predictions that their own labels had no part in."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from sklflat.exceptions import CalibrationWarning, warn
from sklflat.probing.split import Rows
from sklflat.temperature.softened import logits_of
from sklflat.training.runs import Training
from sklflat.training.stacking import train


def out_of_fold(
    estimator: Any,
    rows: Rows,
    fit_params: dict[str, Any],
    splits: Sequence[tuple[NDArray, NDArray]],
    classes: NDArray,
) -> Iterator[tuple[NDArray, Rows]]:
    """Logits of rows from estimators that were not trained on them, fold by fold.

    Networks of this package are trained as one stack.

    Parameters
    ----------
    estimator : classifier
        Cloned for every fold.
    rows : Rows
    fit_params : dict
        For the estimator's ``fit``, split like the rows.
    splits : sequence of pairs of ndarrays, int
        Rows to train on and rows to predict.
    classes : ndarray of shape (n_classes,)
        What every fold has to be trained on.

    Yields
    ------
    logits : ndarray of shape (n_held_out, n_classes)
    held_out : Rows

    Raises
    ------
    ValueError
        If a fold would be trained without one of the classes.
    """
    trainings = []
    for k, (kept, _) in enumerate(splits):
        part = Rows(rows.X, rows.y, fit_params).take(kept)
        missing = np.setdiff1d(classes, part.y)
        if len(missing):
            raise ValueError(
                f"cv leaves no row of class {missing[0]!r} to train fold {k} on. Give at least 2 "
                "rows of every class, or a cv that keeps some of each."
            )
        trainings.append(Training(clone(estimator), part.X, part.y, part.params))
    for _ in train(trainings):
        pass
    for training, (_, held_out) in zip(trainings, splits, strict=True):
        if training.error is not None:
            raise training.error
        part = rows.take(held_out)
        yield logits_of(training.estimator, part.X), part


def gathered(parts: Sequence[tuple[NDArray, Rows]]) -> tuple[NDArray, NDArray, NDArray | None]:
    """Logits (n, K), labels (n,) and weights (n,) or None of all parts together."""
    weights = [rows.weight for _, rows in parts]
    weight = np.concatenate([w.numpy() for w in weights if w is not None] or [np.empty(0)])
    return (
        np.vstack([logits for logits, _ in parts]),
        np.concatenate([rows.y for _, rows in parts]),
        weight if len(weight) else None,
    )


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
            f"y has the label {unknown[0]!r}, which is not among the estimator's classes "
            f"{classes}. Leave its rows out, or train the estimator on it."
        )
    missing = np.setdiff1d(classes, labels if weight is None else labels[weight > 0])
    if len(missing):
        others = f" and {len(missing) - 1} others" if len(missing) > 1 else ""
        warn(
            f"temperature='nll' is fitted on rows without class {missing[0]!r}{others}, so nothing "
            "is known of the confidence in it. Calibrate on rows of all classes.",
            CalibrationWarning,
        )
    order = np.argsort(classes)
    return order[np.searchsorted(classes, labels, sorter=order)]
