"""What a report consists of: plain dataclasses, which every format is written from."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

#: what a check can end with
ATTENTION, INCONCLUSIVE, PASSED = "attention", "inconclusive", "passed"
STATUSES = (ATTENTION, INCONCLUSIVE, PASSED)


@dataclass(frozen=True)
class Quantity:
    """One number, with what it means.

    Parameters
    ----------
    name : str
        In words.
    value : float, int, bool, str or None
        None where there is none.
    meaning : str
        What the number says, and how to read it.
    unit : str, default=""
    low, high : float or None, default=None
        Ends of its 95 % interval.
    source : str, default=""
        Where the number is from: an attribute of the fitted probe.
    """

    name: str
    value: Any
    meaning: str
    unit: str = ""
    low: float | None = None
    high: float | None = None
    source: str = ""


@dataclass(frozen=True)
class Finding:
    """What one check says about one estimator; what the code means is in ``CODES``.

    Parameters
    ----------
    code : str
        As ``"SKF001"``.
    estimator : str
        Its name.
    status : {"attention", "inconclusive", "passed"}
    statement : str
        In words, with the numbers that it rests on.
    """

    code: str
    estimator: str
    status: str
    statement: str


@dataclass(frozen=True)
class Picture:
    """A picture, and what it shows in words.

    Parameters
    ----------
    png : bytes
    alt : str
        For those who do not see it.
    caption : str
    """

    png: bytes = field(repr=False)
    alt: str
    caption: str


@dataclass(frozen=True)
class Section:
    """What one technique says about one estimator.

    Parameters
    ----------
    technique : str
        Its key.
    estimator : str
        Its name.
    title, question : str
    page : str
        Of the documentation.
    left_out : str, default=""
        Why it does not apply; empty where it does.
    sentences : tuple of str
        The result in words.
    quantities : tuple of Quantity
    null : str
        What the result is compared with.
    settings : dict of str to str
        Parameters of the probe, and the rows that it has seen.
    notes : tuple of str
        What the probe has warned of.
    findings : tuple of Finding
    units : dict of str to list
        Columns of the table of units; the names are its ``unit`` column.
    cards : dict of str to str
        What there is to know about each unit.
    seconds : float
    picture : Picture or None
    details : dict of str to list of float
        What estimators are compared by; in no format.
    inapplicable : tuple of str
        Checks that do not apply to this estimator, and why.
    """

    technique: str
    estimator: str
    title: str
    question: str
    page: str
    left_out: str = ""
    sentences: tuple[str, ...] = ()
    quantities: tuple[Quantity, ...] = ()
    null: str = ""
    settings: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    units: dict[str, list[Any]] = field(default_factory=dict)
    cards: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    picture: Picture | None = None
    details: dict[str, list[float]] = field(default_factory=dict, repr=False)
    inapplicable: tuple[str, ...] = ()

    def quantity(self, name: str) -> Quantity:
        """The quantity of a name.

        Parameters
        ----------
        name : str
        """
        for found in self.quantities:
            if found.name == name:
                return found
        raise ValueError(
            f"{self.title} of {self.estimator!r} has no quantity {name!r}: there are "
            f"{[q.name for q in self.quantities]}."
        )


@dataclass(frozen=True)
class UnitTable:
    """The units of one estimator, with what every technique says about them.

    Parameters
    ----------
    estimator : str
    columns : tuple of str
        The first is ``"unit"``, the name.
    rows : tuple of tuple
        One a unit; None where a technique says nothing.
    cards : dict of str to str
        What there is to know about a unit, by its name.
    """

    estimator: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    cards: dict[str, str]


@dataclass(frozen=True)
class Comparison:
    """One quantity of all estimators.

    Parameters
    ----------
    name, meaning : str
    values : tuple of Quantity or None
        In the order of the estimators; None where it was not measured.
    """

    name: str
    meaning: str
    values: tuple[Quantity | None, ...]


@dataclass(frozen=True)
class Page:
    """A whole report.

    Parameters
    ----------
    title : str
    estimators : tuple of str
    data : tuple of Quantity
        What was looked at.
    verdict : tuple of str
        One sentence an estimator, and one that compares them.
    comparison : tuple of Comparison
        The first three are the numbers that matter.
    findings : tuple of Finding
    sections : tuple of Section
        By technique, then by estimator.
    units : tuple of UnitTable
    left_out : tuple of str
        What does not apply, and why.
    settings : dict of str to str
    seconds : float
    version : str
    """

    title: str
    estimators: tuple[str, ...]
    data: tuple[Quantity, ...]
    verdict: tuple[str, ...]
    comparison: tuple[Comparison, ...]
    findings: tuple[Finding, ...]
    sections: tuple[Section, ...]
    units: tuple[UnitTable, ...]
    left_out: tuple[str, ...]
    settings: dict[str, str]
    seconds: float
    version: str

    def section(self, technique: str, estimator: str) -> Section:
        """The section of a technique and an estimator.

        Parameters
        ----------
        technique, estimator : str
        """
        for found in self.sections:
            if (found.technique, found.estimator) == (technique, estimator):
                return found
        raise ValueError(f"There is no section {technique!r} of {estimator!r}.")

    def quantities(self) -> Iterator[tuple[str, str, Quantity]]:
        """Technique, estimator and quantity of every number, in the order of the page."""
        for quantity in self.data:
            yield "data", "", quantity
        for section in self.sections:
            for quantity in section.quantities:
                yield section.technique, section.estimator, quantity


def as_plain(part: Any) -> Any:
    """A part as dictionaries, lists, strings and Python numbers, without pictures and details.

    Parameters
    ----------
    part : dataclass instance
    """
    left_out = ("png", "details")
    fields = asdict(part, dict_factory=lambda own: {k: v for k, v in own if k not in left_out})
    return plain(fields, lambda value: None if np.isnan(value) else str(value))


def plain(value: Any, not_finite: Callable[[float], Any]) -> Any:
    """A value as dictionaries, lists, strings and Python numbers.

    Parameters
    ----------
    value : object
    not_finite : callable
        What stands for NaN and the infinities, which JSON cannot hold.
    """
    if isinstance(value, dict):
        return {str(k): plain(v, not_finite) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v, not_finite) for v in value]
    if isinstance(value, np.generic):
        value = value.item()
    return not_finite(value) if isinstance(value, float) and not np.isfinite(value) else value
