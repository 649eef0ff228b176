"""Data for the command: bundled tables, and CSV and parquet files, checked before any work."""

from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
from sklearn import datasets
from sklearn.utils.multiclass import type_of_target

from sklflat.exceptions import CommandError, did_you_mean
from sklflat.report.columns import check_numbers, declared, is_nested, usable_columns
from sklflat.report.table_files import Format, listed_names, read_frame

BUNDLED = {
    "digits": datasets.load_digits,
    "breast_cancer": datasets.load_breast_cancer,
    "wine": datasets.load_wine,
    "iris": datasets.load_iris,
    "diabetes": datasets.load_diabetes,
}
#: bundled tables whose target is a number to estimate, whole or not
_NUMBERS = frozenset({"diabetes"})
#: classes beyond which a target is taken for a number or a name
MOST_CLASSES = 100
_FEWEST_ROWS = 20
#: commas, points and UTF-8
_CSV = Format()


@dataclass(frozen=True)
class Table:
    """A table to make a report on.

    Parameters
    ----------
    name : str
    X : DataFrame of shape (n_samples, n_features)
    y : ndarray of shape (n_samples,)
    task : {"classification", "regression"}
    said : tuple of str
        What was done to the columns.
    """

    name: str
    X: Any
    y: Any
    task: str
    said: tuple[str, ...]


def read_table(data: str, target: str | None, task: str, format_: Format = _CSV) -> Table:
    """A bundled table or a file, with its target checked.

    Parameters
    ----------
    data : str
        Name of a bundled table, or path of a CSV or parquet file.
    target : str or None
        Its column; None for bundled tables.
    task : {"auto", "classification", "regression"}
    format_ : Format
        Of a CSV file.

    Raises
    ------
    CommandError
        Says what is wrong and what to do.
    """
    if data in BUNDLED and not Path(data).exists():
        if target not in (None, "target"):
            raise CommandError(
                f"--target {target}: the bundled table {data} has its own target; leave it out."
            )
        found = BUNDLED[data](as_frame=_has_pandas())
        y = np.asarray(found.target)
        labels = getattr(found, "target_names", None)
        if data not in _NUMBERS and labels is not None:
            y = np.asarray(labels)[y]
        if data in _NUMBERS and task == "auto":
            task = "regression"
        return Table(data, found.data, y, task_of(y, data, task), ())
    frame = read_frame(Path(data), format_, tuple(BUNDLED))
    column = _column(list(frame.columns), target)
    frame = declared(frame, format_.categories)
    check_numbers(frame.drop(columns=[column]) if task == "classification" else frame)
    y = _target(frame[column], column)
    X, said = usable_columns(frame.drop(columns=[column]), column)
    return Table(Path(data).name, X, y, task_of(y, column, task), said)


def _has_pandas() -> bool:
    try:
        import pandas  # noqa: F401
    except ImportError:
        return False
    return True


def _column(columns: list[str], target: str | None) -> str:
    if target is None:
        raise CommandError(
            f"Say which column is to be predicted: --target {columns[-1]!r}, for instance. There "
            f"are {listed_names(columns)}."
        )
    if target not in columns:
        raise CommandError(
            f"There is no column {target!r}.{did_you_mean(target, columns, 3)} There are "
            f"{listed_names(columns)}."
        )
    return target


def _target(column: Any, name: str) -> Any:
    if is_nested(column):
        raise CommandError(
            f"The target {name!r} has lists or records: choose a column of numbers or of names."
        )
    missing = int(column.isna().sum())
    if missing:
        raise CommandError(
            f"The target {name!r} is missing in {missing:,} of {len(column):,} rows: remove these "
            "rows."
        )
    if len(column) < _FEWEST_ROWS:
        raise CommandError(
            f"{len(column)} row{'s are' if len(column) > 1 else ' is'} too few for a report: give "
            f"{_FEWEST_ROWS} at least, and better hundreds."
        )
    if column.nunique() == 1:
        raise CommandError(
            f"The target {name!r} is {str(column.iloc[0])!r} in all rows, so there is nothing to "
            "predict. Choose another by --target."
        )
    if any(isinstance(v, Decimal) for v in column):
        column = column.astype(float)
    if column.dtype.kind not in "iufb":
        return _labels(np.asarray(column.astype(str)), name)
    y = np.asarray(
        column, dtype=column.dtype.type
    )  # not the objects of a column that may miss some
    if y.dtype.kind == "f" and not np.isfinite(y).all():
        raise CommandError(f"The target {name!r} has infinite values: remove these rows.")
    return y


def _labels(y: Any, name: str) -> Any:
    """Names of classes, no two of which look the same."""
    alike: dict[str, set[str]] = {}
    for label in set(y.tolist()):
        alike.setdefault(label.strip(), set()).add(label)
    twice = [label for labels in alike.values() if len(labels) > 1 for label in sorted(labels)]
    if twice:
        raise CommandError(
            f"Labels of the target {name!r} differ in nothing but spaces: {listed_names(twice)}. "
            "Write each in one way."
        )
    return y


def task_of(y: Any, name: str, task: str) -> str:
    """Whether a target is of classes or of numbers.

    Parameters
    ----------
    y : ndarray of shape (n_samples,)
    name : str
        Of the target.
    task : {"auto", "classification", "regression"}

    Raises
    ------
    CommandError
        If there are too many classes, or numbers are asked of text.
    """
    is_number = y.dtype.kind in "iuf"
    if task == "regression":
        if not is_number:
            raise CommandError(
                f"--task regression needs numbers, but {name!r} has values such as {str(y[0])!r}."
            )
        return task
    if task == "auto" and is_number and type_of_target(y).startswith("continuous"):
        return "regression"
    labels, counts = np.unique(y, return_counts=True)
    if len(labels) > min(MOST_CLASSES, len(y) // 2):
        hint = (
            "Did you mean --task regression?"
            if is_number
            else "If these are names of rows, choose another target."
        )
        raise CommandError(
            f"The target {name!r} has {len(labels):,} different values in {len(y):,} rows, too "
            f"many for classes (at most {MOST_CLASSES}). {hint}"
        )
    rare = [str(label) for label, n in zip(labels, counts, strict=True) if n < 2]
    if rare:
        other = ", or say --task regression if they are numbers to estimate" if is_number else ""
        raise CommandError(
            f"Classes of a single row cannot be trained on and looked at: {listed_names(rare)} of "
            f"{name!r}. Remove or merge them{other}."
        )
    return "classification"


def check_not_numbers(y: Any) -> None:
    """Raise where whole numbers are more likely a quantity than classes.

    Parameters
    ----------
    y : ndarray of shape (n_samples,) or (n_samples, n_outputs)

    Raises
    ------
    ValueError
        If there are more than 100 different ones, or fewer than two rows of each.
    """
    if y.ndim > 1 or y.dtype.kind not in "iuf" or not (np.round(y) == y).all():
        return
    n = len(np.unique(y))
    if n > min(MOST_CLASSES, max(len(y) // 2, 2)):
        raise ValueError(
            f"y has {n:,} different whole numbers in {len(y):,} rows: set task='regression' if it "
            "is a quantity, or task='classification' if these are classes."
        )
