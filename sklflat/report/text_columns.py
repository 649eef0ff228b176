"""Columns of text that look like numbers or dates: what they have in them, in words."""

import re
import unicodedata
from collections import Counter
from dataclasses import dataclass
from typing import Any, Literal

#: share of the values from which on a column is taken for one of numbers, or of dates
_MOST = 0.5
#: different numbers with a unit, such as "4WD", up to which they may be names of kinds
_KINDS = 5
_DIGITS = r"(?:(?:\d{1,3}(?:[,.' \u00a0\u202f]\d{3})+|\d+)(?:[.,]\d*)?|[.,]\d+)(?:[eE][+-]?\d+)?"
_NUMBER = re.compile(rf"(?P<before>\D*?)[+\u2212-]?(?P<number>{_DIGITS})(?P<after>\D*)")
_SIGNS = "~<>=(\u2264\u2265\u2248\u00b1"
_CURRENCY = re.compile(r"[A-Z]{3}|Rs\.?")
_MONTH = r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*"
_DATE = re.compile(
    r"(\d{1,2}([./-])\d{1,2}\2\d{4}|\d{4}([./-])\d{1,2}\3\d{1,2}|\d\d([./-])\d\d\4\d\d"
    rf"|\d{{1,2}}[. -]+{_MONTH}[ .,-]+\d{{2,4}}|{_MONTH}[ .]+\d{{1,2}}[a-z,]* +\d{{4}})([ T,].*)?",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class NumbersInText:
    """Numbers that a column of text has, and what keeps it from being one of numbers.

    Parameters
    ----------
    kind : {"others", "unit", "text"}
        Other values among them, a unit beside them, or nothing but that they are text.
    signs : tuple of str
        These values, the most frequent first; or the unit.
    said : str
        In a sentence.
    has_comma : bool
        Whether some of the numbers have one.
    """

    kind: Literal["others", "unit", "text"]
    signs: tuple[str, ...]
    said: str
    has_comma: bool


def numbers_in_text(column: Any) -> NumbersInText | None:
    """What keeps a column from being one of numbers; None where it is none, or is one.

    Most of its values, or of its different values, are numbers then, or numbers with one unit.
    Categories that were declared as such are left alone.

    Parameters
    ----------
    column : Series

    Examples
    --------
    >>> import pandas as pd
    >>> from sklflat.report.text_columns import numbers_in_text
    >>> found = numbers_in_text(pd.Series(["1.5", "2", "?", "7"], name="q"))
    >>> print(found.said)
    75 % of the values of 'q' are numbers; '?' is not.
    >>> numbers_in_text(pd.Series(["red", "blue", "7"], name="colour")) is None
    True
    """
    counts = _counted(column)
    if not counts:
        return None
    units = {value: _unit(value) for value in counts}
    plain = {v: n for v, n in counts.items() if units[v] == ("", "")}
    others = {v: n for v, n in counts.items() if v not in plain}
    has_comma = any("," in v for v in plain)
    if not others:
        said = f"The numbers in {column.name!r} are text, such as {next(iter(counts))!r}."
        return NumbersInText("text", (), said, has_comma)
    if _are_most(plain, counts):
        signs = tuple(v for v, _ in Counter(others).most_common())
        n, total = sum(plain.values()), counts.total()
        share = f"{min(round(100 * n / total), 99)} %" if n > _MOST * total else f"{n:,}"
        said = f"{share} of the values of {column.name!r} are numbers; {_are_not(signs)}."
        return NumbersInText("others", signs, said, has_comma)
    frequent = Counter(
        {u: sum(n for v, n in counts.items() if units[v] == u) for u in set(units.values()) if u}
    )
    frequent.pop(("", ""), None)
    if not frequent:
        return None
    unit = max(frequent, key=lambda u: (frequent[u], u))
    with_unit = {v: n for v, n in counts.items() if units[v] == unit}
    if len(with_unit) <= _KINDS or not _are_most(plain | with_unit, counts):
        return None
    signs = tuple(sign for sign in unit if sign)
    said = (
        f"The numbers in {column.name!r} have {' and '.join(map(repr, signs))} beside them, such "
        f"as {next(iter(with_unit))!r}."
    )
    return NumbersInText("unit", signs, said, has_comma)


def looks_like_dates(column: Any) -> bool:
    """Whether most values of a column of text look like dates, in whatever form.

    Parameters
    ----------
    column : Series
    """
    counts = _counted(column)
    dates = {v: n for v, n in counts.items() if _DATE.fullmatch(v)}
    return bool(counts) and _are_most(dates, counts)


def _counted(column: Any) -> Counter[str]:
    """How often each value comes; nothing for a column that is not of text and numbers."""
    if column.dtype.kind in "iufbMm" or hasattr(column.dtype, "categories"):
        return Counter()
    counts: Counter[str] = Counter()
    is_text = False
    for value in column.dropna():
        if isinstance(value, str):
            is_text = True
            counts[value.strip()] += 1
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            counts[str(value)] += 1  # of a long file some parts are read as numbers
        else:
            return Counter()
    return counts if is_text else Counter()


def _unit(value: str) -> tuple[str, str] | None:
    """What stands before and after a number; None for what is none, or a name with a number."""
    match = _NUMBER.fullmatch(value)
    if match is None:
        return None
    before, after = match["before"].strip(" +-\u2212\u00a0"), match["after"].strip()
    is_unit = all(unicodedata.category(sign) == "Sc" or sign in _SIGNS for sign in before)
    return (before, after) if is_unit or _CURRENCY.fullmatch(before) else None


def _are_most(some: dict[str, int], counts: Counter[str]) -> bool:
    return len(some) > _MOST * len(counts) or sum(some.values()) > _MOST * counts.total()


def _are_not(signs: tuple[str, ...]) -> str:
    shown = ", ".join(map(repr, signs[:3]))
    if len(signs) > 3:
        return f"{shown} and {len(signs) - 3:,} other values are not"
    return f"{shown} is not" if len(signs) == 1 else f"{shown} are not"
