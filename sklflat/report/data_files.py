"""Data for the command: bundled tables, and CSV and parquet files, checked before any work."""

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sklearn import datasets
from sklearn.utils.multiclass import type_of_target

from sklflat.exceptions import CommandError

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
#: share of different values from which on a column of text is taken for names of the rows
_NAMES = 0.9
#: what columns are separated by, where it is not a comma
_SEPARATORS = {";": ";", "\t": "\\t", "|": "|"}
_FEWEST_ROWS = 20


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


def read_table(data: str, target: str | None, task: str, separator: str | None) -> Table:
    """A bundled table or a file, with its target checked.

    Parameters
    ----------
    data : str
        Name of a bundled table, or path of a CSV or parquet file.
    target : str or None
        Its column; None for bundled tables.
    task : {"auto", "classification", "regression"}
    separator : str or None
        Of the columns of a CSV file; None is a comma.

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
    frame = _frame(Path(data), separator)
    frame.columns = [str(c) for c in frame.columns]
    column = _column(frame, target, data, separator)
    y = _target(frame[column], column)
    X, said = _features(frame.drop(columns=[column]), column)
    return Table(Path(data).name, X, y, task_of(y, column, task), said)


def _has_pandas() -> bool:
    try:
        import pandas  # noqa: F401
    except ImportError:
        return False
    return True


def _frame(path: Path, separator: str | None) -> Any:
    if not path.exists():
        folder = path.parent if path.parent.is_dir() else Path()
        names = [*BUNDLED, *(p.name for p in folder.iterdir() if p.is_file())]
        raise CommandError(f"There is no file {str(path)!r}.{_near(path.name, names)}")
    if path.is_dir():
        raise CommandError(f"{str(path)!r} is a directory: give a CSV or parquet file.")
    try:
        import pandas as pd
    except ImportError as error:
        raise CommandError("Files are read by pandas: pip install 'sklflat[frame]'.") from error
    try:
        if path.suffix.lower() in (".parquet", ".pq"):
            return pd.read_parquet(path)
        return pd.read_csv(path, sep=separator or ",")
    except ImportError as error:
        raise CommandError("Parquet files need pyarrow: pip install pyarrow.") from error
    except (OSError, ValueError, UnicodeError, pd.errors.ParserError) as error:
        raise CommandError(
            f"{str(path)!r} cannot be read as a table: {str(error).splitlines()[0]}. A CSV file "
            "has a line of names and equally many columns in every line; --separator says what is "
            "between these."
        ) from error


def _near(name: str, names: list[str]) -> str:
    close = difflib.get_close_matches(name, names, n=3)
    return f" Did you mean {' or '.join(map(repr, close))}?" if close else ""


def _column(frame: Any, target: str | None, data: str, separator: str | None) -> str:
    columns = list(frame.columns)
    if not len(frame):
        raise CommandError(f"{data!r} has no rows.")
    if len(columns) == 1:
        seen = next((s for s in _SEPARATORS if s in columns[0]), None)
        hint = f"Columns are taken to be separated by {separator or ','!r}: see --separator."
        if seen is not None:
            sign = _SEPARATORS[seen]
            hint = f"The names are separated by '{sign}': say --separator '{sign}'."
        raise CommandError(f"{data!r} has one column, {columns[0][:60]!r}. {hint}")
    if target is None:
        raise CommandError(
            f"Say which column is to be predicted: --target {columns[-1]!r}, for instance. There "
            f"are {_listed(columns)}."
        )
    if target not in columns:
        raise CommandError(
            f"There is no column {target!r}.{_near(target, columns)} There are {_listed(columns)}."
        )
    if columns.count(target) > 1:
        raise CommandError(f"There are {columns.count(target)} columns {target!r}: rename them.")
    return target


def _listed(names: list[str], most: int = 12) -> str:
    shown = ", ".join(repr(n) for n in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def _target(column: Any, name: str) -> Any:
    missing = int(column.isna().sum())
    if missing:
        raise CommandError(
            f"The target {name!r} is missing in {missing:,} of {len(column):,} rows: remove these "
            "rows."
        )
    if len(column) < _FEWEST_ROWS:
        raise CommandError(
            f"{len(column)} rows are too few for a report: give {_FEWEST_ROWS} at least, and "
            "better hundreds."
        )
    if column.nunique() == 1:
        raise CommandError(
            f"The target {name!r} is {str(column.iloc[0])!r} in all rows, so there is nothing to "
            "predict. Choose another by --target."
        )
    y = np.asarray(column)
    if y.dtype.kind in "f" and not np.isfinite(y).all():
        raise CommandError(f"The target {name!r} has infinite values: remove these rows.")
    return y if y.dtype.kind in "iufb" else np.asarray(column.astype(str))


def _features(X: Any, target: str) -> tuple[Any, tuple[str, ...]]:
    """Columns that can be used, and what was left out or changed."""
    said = []
    infinite = [c for c in X.columns if X[c].dtype.kind == "f" and np.isinf(X[c]).any()]
    if infinite:
        raise CommandError(
            f"Infinite values in {_listed(infinite)}: remove these rows, or leave the fields empty "
            "for missing ones."
        )
    dates = [c for c in X.columns if X[c].dtype.kind == "M"]
    for name in dates:
        day = np.timedelta64(1, "D")
        X[name] = (X[name] - X[name].min()) / day
    if dates:
        said.append(f"Dates became days since the first one: {_listed(dates)}.")
    unused = {
        "all missing": [c for c in X.columns if X[c].isna().all()],
        "the same in all rows": [
            c for c in X.columns if not X[c].isna().any() and X[c].nunique() == 1
        ],
        "names of rows rather than categories": [
            c
            for c in X.columns
            if X[c].dtype.kind not in "iufb" and X[c].nunique() > _NAMES * len(X)
        ],
    }
    for why, names in unused.items():
        if names:
            said.append(f"Left out, being {why}: {_listed(names)}.")
    X = X.drop(columns=[c for names in unused.values() for c in names])
    if not X.shape[1]:
        raise CommandError(
            f"Beside the target {target!r} there is no column to predict from. {' '.join(said)}"
        )
    return X, tuple(said)


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
            f"Classes of a single row cannot be trained on and looked at: {_listed(rare)} of "
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
