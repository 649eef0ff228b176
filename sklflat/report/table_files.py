"""CSV and parquet files as DataFrames, with what cannot be read said in words."""

import csv
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from sklflat.exceptions import CommandError, did_you_mean
from sklflat.report.wording import shortened

#: what columns may be separated by, and how that is said
_SEPARATORS = {";": ";", "\t": "\\t", "|": "|", ",": ","}
#: lines that have to agree on what separates them
_LINES_READ = 20
_PARQUET = (".parquet", ".pq")
_SHEETS = (".xlsx", ".xls", ".ods")


@dataclass(frozen=True)
class Format:
    """How a CSV file is written.

    Parameters
    ----------
    separator : str
        Between columns.
    decimal : str
        Between a number's whole part and the rest.
    encoding : str
        Of its characters; "utf-8" is read with a byte order mark, too.
    missing : tuple of str
        What stands for missing values beside empty fields, NA and the like; of parquet files, too.
    categories : tuple of str
        Columns that are of categories, whatever their values look like; of any file.
    """

    separator: str = ","
    decimal: str = "."
    encoding: str = "utf-8"
    missing: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()


def read_frame(path: Path, format_: Format, bundled: Sequence[str] = ()) -> Any:
    """The file as a DataFrame whose columns have names of their own.

    Parameters
    ----------
    path : Path
    format_ : Format
        Of a CSV file.
    bundled : sequence of str
        Other names that may have been meant.

    Raises
    ------
    CommandError
        Says what is wrong and what to do.
    """
    if not path.exists():
        folder = path.parent if path.parent.is_dir() else Path()
        names = [*bundled, *(p.name for p in folder.iterdir() if p.is_file())]
        raise CommandError(f"There is no file {str(path)!r}.{did_you_mean(path.name, names, 3)}")
    if path.is_dir():
        raise CommandError(f"{str(path)!r} is a directory: give a CSV or parquet file.")
    if path.suffix.lower() in _SHEETS:
        raise CommandError(f"{str(path)!r} is a spreadsheet: export its table as CSV.")
    try:
        import pandas as pd
    except ImportError as error:
        raise CommandError("Files are read by pandas: pip install 'sklflat[frame]'.") from error
    is_parquet = path.suffix.lower() in _PARQUET
    other = None if is_parquet else _other_separator(path, format_)
    if other is not None:
        raise CommandError(
            f"The header of {str(path)!r} looks separated by '{other}': say --separator '{other}'."
        )
    read: Callable[[], Any] = lambda: _parquet(path, format_) if is_parquet else _csv(path, format_)  # noqa: E731
    try:
        frame = read()
    except ImportError as error:
        raise CommandError("Parquet files need pyarrow: pip install 'sklflat[parquet]'.") from error
    except (UnicodeError, LookupError) as error:
        raise CommandError(
            f"{str(path)!r} is not written in {format_.encoding}: say --encoding, which often is "
            "latin-1 or utf-16."
        ) from error
    except (OSError, ValueError, pd.errors.ParserError) as error:
        hint = (
            "It is no parquet file, or a part of one."
            if is_parquet
            else "A CSV file has a line of names and equally many columns in every line; "
            "--separator says what is between these."
        )
        said = str(error).splitlines()[0].rstrip(".")
        raise CommandError(f"{str(path)!r} cannot be read as a table: {said}. {hint}") from error
    if not len(frame):
        raise CommandError(f"{str(path)!r} has no rows.")
    _check_names(frame, path, None if is_parquet else format_.separator)
    return frame


def _parquet(path: Path, format_: Format) -> Any:
    import pandas as pd

    frame = pd.read_parquet(path)
    if any(name is not None for name in frame.index.names):  # a named index is a column, too
        frame = frame.reset_index()
    frame.columns = [str(c) for c in frame.columns]
    for name in frame.columns if format_.missing else ():
        marked = frame[name].isin(format_.missing)
        if marked.any():
            rest = frame[name].mask(marked)
            numbers = pd.to_numeric(rest, errors="coerce")
            frame[name] = numbers if numbers.notna().sum() == rest.notna().sum() else rest
    return frame


def _csv(path: Path, format_: Format) -> Any:
    """The table, with its names as they are written: pandas would number those that come twice."""
    import pandas as pd

    given = {"sep": format_.separator, "encoding": _encoding(format_)}
    missing = list(format_.missing)
    frame = pd.read_csv(path, decimal=format_.decimal, na_values=missing, low_memory=False, **given)
    if not isinstance(frame.index, pd.RangeIndex):
        raise ValueError(
            f"lines have more fields than there are names ({len(frame.columns)}); give every "
            "column a name, one of names of rows, too, and end no line in a separator"
        )
    names = pd.read_csv(path, header=None, nrows=1, dtype=str, keep_default_na=False, **given)
    frame.columns = [str(name) for name in names.iloc[0]]
    return frame


def _encoding(format_: Format) -> str:
    is_utf8 = format_.encoding.replace("-", "").lower() == "utf8"
    return "utf-8-sig" if is_utf8 else format_.encoding


def _other_separator(path: Path, format_: Format) -> str | None:
    """What else the header looks separated by, with more names than as it is said.

    Where the separator that was said gives several names, the first lines have to agree.
    """

    def widths(separator: str) -> list[int]:
        with path.open(encoding=_encoding(format_), newline="") as file:
            return [
                len(line) for line in islice(csv.reader(file, delimiter=separator), _LINES_READ)
            ]

    try:
        names = {s: widths(s) for s in (format_.separator, *_SEPARATORS)}
    except (OSError, UnicodeError, LookupError, csv.Error):
        return None  # reading says what is wrong
    said = names.pop(format_.separator)
    found = [
        s
        for s, n in names.items()
        if n and n[0] > said[0] and (said[0] == 1 or len({*n} - {0}) == 1)
    ]
    return _SEPARATORS[max(found, key=lambda s: names[s][0])] if found else None


def _check_names(frame: Any, path: Path, separator: str | None) -> None:
    columns = list(frame.columns)
    if len(columns) == 1 and separator is not None:
        hint = f"Columns are taken to be separated by {separator!r}: see --separator."
        raise CommandError(f"{str(path)!r} has one column, {columns[0][:60]!r}. {hint}")
    twice = [name for name, n in Counter(columns).items() if n > 1]
    if twice:
        raise CommandError(f"Columns have the same name, {listed_names(twice)}: rename them.")


def listed_names(names: Sequence[str]) -> str:
    """The first names in quotation marks, and how many others there are.

    Parameters
    ----------
    names : sequence of str
    """
    return shortened([repr(name) for name in names])
