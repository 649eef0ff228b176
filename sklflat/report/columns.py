"""Columns of a file as a network can read them, and what was left out or changed in words."""

import re
import shlex
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

import numpy as np

from sklflat.exceptions import CommandError, did_you_mean
from sklflat.report.table_files import listed_names
from sklflat.report.text_columns import looks_like_dates, numbers_in_text

#: share of different values from which on a column of text is taken for names of the rows
_NAMES = 0.9
_ODD_DATES = "what looks like dates in a form that is not read"
_WRITE_DATES = "Write all dates as YYYY-MM-DD, and leave missing ones empty, to have them as days."
_DATE = re.compile(r"\d{4}-\d\d-\d\d([ T]\d\d:\d\d(:\d\d(\.\d+)?)?)?(Z|[+-]\d\d:?\d\d)?")


def usable_columns(frame: Any, target: str) -> tuple[Any, tuple[str, ...]]:
    """The columns to predict from, and sentences about the others.

    Parameters
    ----------
    frame : DataFrame
        Without the target. It is not changed.
    target : str
        Its name, for messages.

    Raises
    ------
    CommandError
        If values cannot be used as they are, or nothing is left.
    """
    said = []
    X = frame.copy()
    dates = [c for c in X.columns if _as_date(X, c)]
    for name in dates:
        X[name] = (X[name] - X[name].min()) / np.timedelta64(1, "D")
    if dates:
        said.append(f"Dates became days since the first one: {listed_names(dates)}.")
    spans = [c for c in X.columns if X[c].dtype.kind == "m"]
    for name in spans:
        X[name] = X[name] / np.timedelta64(1, "D")
    if spans:
        said.append(f"Spans of time became days: {listed_names(spans)}.")
    for name in X.columns:
        X[name] = _without_objects(X[name])
    _check_values(X)
    tests: dict[str, Callable[[Any], bool]] = {
        "lists or records": is_nested,
        "all missing": lambda c: bool(c.isna().all()),
        "the same in all rows": lambda c: not c.isna().any() and c.nunique() == 1,
        "the numbers of the rows": _counts_rows,
        _ODD_DATES: lambda c: looks_like_dates(c) and _names_rows(c),
        "names of rows rather than categories": _names_rows,
    }
    for why, holds in tests.items():
        names = [c for c in X.columns if holds(X[c])]
        if names:
            remedy = f" {_WRITE_DATES}" if why == _ODD_DATES else ""
            said.append(f"Left out, being {why}: {listed_names(names)}.{remedy}")
        X = X.drop(columns=names)
    if not X.shape[1]:
        raise CommandError(
            f"Beside the target {target!r} there is no column to predict from. {' '.join(said)}"
        )
    kinds = [c for c in X.columns if looks_like_dates(X[c])]
    if kinds:
        said.append(
            f"Taken for categories, though they look like dates: {listed_names(kinds)}. "
            f"{_WRITE_DATES}"
        )
    return X, tuple(said)


def _texts(column: Any) -> list[str] | None:
    """The values that are there, if all of these are text and there are some."""
    if column.dtype.kind in "iufbMm":
        return None
    values = list(column.dropna())
    return values if values and all(isinstance(v, str) for v in values) else None


def _as_date(X: Any, name: str) -> bool:
    """Whether the column has dates; text that is one in every row is made so."""
    if X[name].dtype.kind == "M":
        return True
    texts = _texts(X[name])
    if texts is None or not all(_DATE.fullmatch(v) for v in texts):
        return False
    import pandas as pd

    try:
        X[name] = pd.to_datetime(X[name], format="ISO8601", utc=True)
    except ValueError:  # such as the 31st of February
        return False
    return True


def _without_objects(column: Any) -> Any:
    """The column as numbers, where it has numbers that only Python knows."""
    if column.dtype != object:
        return column
    values = list(column.dropna())
    kinds = (int, float, Decimal)
    if not values or not all(isinstance(v, kinds) and not isinstance(v, bool) for v in values):
        return column
    try:
        return column.map(float, na_action="ignore").astype(float)
    except OverflowError:
        return column.map(_float_or_infinite, na_action="ignore").astype(float)


def _float_or_infinite(value: Any) -> float:
    try:
        return float(value)
    except OverflowError:
        return float("inf")


def _check_values(X: Any) -> None:
    infinite = [c for c in X.columns if X[c].dtype.kind == "f" and np.isinf(X[c]).any()]
    if infinite:
        raise CommandError(
            f"Infinite values in {listed_names(infinite)}: remove these rows, or leave the fields "
            "empty for missing ones."
        )


def check_numbers(frame: Any) -> None:
    """Raise where columns of numbers were read as text, and say what to do.

    Parameters
    ----------
    frame : DataFrame
        Categories that were declared as such are left alone.
    """
    found = {c: odd for c in frame.columns if (odd := numbers_in_text(frame[c])) is not None}
    commas = [c for c, odd in found.items() if odd.kind == "text" and odd.has_comma]
    if commas:
        raise CommandError(
            f"The numbers in {listed_names(commas)} have a comma: say --decimal ',' if it stands "
            "before the decimals, or take it out if it stands before thousands."
        )
    if not found:
        return
    said = [odd.said for odd in found.values()]
    kinds = {odd.kind for odd in found.values()}
    signs = [s for odd in found.values() if odd.kind == "others" for s in odd.signs]
    if "others" in kinds:
        few = " ".join(f"--missing {shlex.quote(s)}" for s in list(dict.fromkeys(signs))[:3])
        said.append(f"Say {few} where that stands for missing values.")
    if "unit" in kinds:
        said.append("Take out of the file what stands beside numbers.")
    if "text" in kinds:
        said.append("Take out what stands before thousands; --decimal is what is before decimals.")
    name = shlex.quote(next(iter(found)))
    said.append(f"Say --categories {name} where these are categories and no numbers.")
    raise CommandError(" ".join(said))


def declared(frame: Any, categories: Sequence[str]) -> Any:
    """The table with some columns as categories, whatever their values look like.

    Parameters
    ----------
    frame : DataFrame
    categories : sequence of str
        Names of columns.

    Raises
    ------
    CommandError
        If there is no such column.
    """
    made = frame.copy()
    for name in categories:
        if name not in frame.columns:
            meant = did_you_mean(name, frame.columns, 3)
            raise CommandError(f"--categories {name!r}: there is no such column.{meant}")
        values = frame[name]
        made[name] = values.astype(str).where(values.notna()).astype("category")
    return made


def is_nested(column: Any) -> bool:
    """Whether values of a column are lists, sets, records or arrays.

    Parameters
    ----------
    column : Series
    """
    if column.dtype != object:
        return False
    return any(isinstance(v, (list, tuple, set, dict, np.ndarray)) for v in column)


def _counts_rows(column: Any) -> bool:
    """Whether it is 0, 1, 2, ... or 1, 2, 3, ..., row by row."""
    if column.dtype.kind not in "iu":
        return False
    values = np.asarray(column)
    return bool(values[0] in (0, 1) and (values == values[0] + np.arange(len(values))).all())


def _names_rows(column: Any) -> bool:
    return column.dtype.kind not in "iufb" and column.nunique() > _NAMES * len(column)
