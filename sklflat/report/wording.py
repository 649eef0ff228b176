"""How numbers and lists are written: the same in every format."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from sklflat.report.parts import Quantity

#: what is written where there is no number
NOTHING = "–"


def number(value: Any) -> str:
    """A number to three digits that count, whole numbers in full.

    Parameters
    ----------
    value : object

    Examples
    --------
    >>> from sklflat.report.wording import number
    >>> [number(v) for v in (1234567, 0.123456, 12.345, 3e-19, True, None, "wide")]
    ['1,234,567', '0.123', '12.3', '3e-19', 'yes', '–', 'wide']
    """
    if value is None:
        return NOTHING
    if isinstance(value, (bool, np.bool_)):
        return "yes" if value else "no"
    if isinstance(value, (int, np.integer)):
        return f"{int(value):,}"
    if isinstance(value, (float, np.floating)):
        value = float(value)
        if np.isnan(value):
            return NOTHING
        if np.isinf(value):
            return "unbounded"
        if value == round(value) and 1e3 <= abs(value) < 1e15:
            return f"{value:,.0f}"
        return f"{value + 0.0:.3g}" if abs(value) < 1e3 else f"{value:.3g}"
    return str(value)


def with_interval(quantity: Quantity) -> str:
    """A quantity with its unit and interval.

    Parameters
    ----------
    quantity : Quantity

    Examples
    --------
    >>> from sklflat.report.parts import Quantity
    >>> from sklflat.report.wording import with_interval
    >>> with_interval(Quantity("accuracy", 0.5, "", low=0.4, high=0.6))
    '0.5 (0.4 to 0.6)'
    """
    text = number(quantity.value)
    if quantity.unit and text != NOTHING:
        text += f" {quantity.unit}"
    if quantity.low is not None and quantity.high is not None:
        text += f" ({number(quantity.low)} to {number(quantity.high)})"
    return text


def duration(seconds: float) -> str:
    """Seconds in words.

    Parameters
    ----------
    seconds : float

    Examples
    --------
    >>> from sklflat.report.wording import duration
    >>> duration(0.04), duration(12.3), duration(192)
    ('0.0 s', '12.3 s', '3 min 12 s')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s"


def listed(words: list[str]) -> str:
    """Words as a list in a sentence.

    Parameters
    ----------
    words : list of str

    Examples
    --------
    >>> from sklflat.report.wording import listed
    >>> listed(["a"]), listed(["a", "b", "c"])
    ('a', 'a, b and c')
    """
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} and {words[-1]}"


def shortened(words: Sequence[str], most: int = 12) -> str:
    """The first words of a list, and how many others there are.

    Parameters
    ----------
    words : sequence of str
    most : int, default=12

    Examples
    --------
    >>> from sklflat.report.wording import shortened
    >>> shortened(["a", "b"]), shortened(["a", "b", "c", "d"], 2)
    ('a, b', 'a, b and 2 more')
    """
    shown = ", ".join(words[:most])
    return shown if len(words) <= most else f"{shown} and {len(words) - most} more"
