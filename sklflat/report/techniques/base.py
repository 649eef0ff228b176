"""What a technique of a report is: a probe, what is read off it, and a picture."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from sklflat.report.parts import Finding, Quantity
from sklflat.report.subjects import Subject

GUIDE = "https://sklflat.readthedocs.io/en/latest/user_guide/"


@dataclass(frozen=True)
class Reading:
    """What is read off a fitted probe.

    Parameters
    ----------
    sentences : tuple of str
    quantities : tuple of Quantity
    findings : tuple of Finding
    null : str
    units : dict of str to array
        Columns of the table of units; ``"unit"`` holds the names.
    cards : dict of str to str
    alt : str
        What the picture shows, in words.
    details : dict of str to array of float
        What estimators are compared by.
    inapplicable : tuple of str
        Checks that do not apply, and why.
    """

    sentences: tuple[str, ...]
    quantities: tuple[Quantity, ...]
    null: str
    findings: tuple[Finding, ...] = ()
    units: dict[str, Any] = field(default_factory=dict)
    cards: dict[str, str] = field(default_factory=dict)
    alt: str = ""
    details: dict[str, Any] = field(default_factory=dict)
    inapplicable: tuple[str, ...] = ()


@dataclass(frozen=True)
class Technique:
    """One technique: when it applies, what is fitted, read and drawn.

    Parameters
    ----------
    key : str
    title, question : str
    page : str
        Name of its page of the user guide.
    why_not : callable
        Why it does not apply to a subject; empty where it does.
    fit : callable
        The fitted probe of a subject.
    read : callable
        The reading of a fitted probe and a subject.
    draw : callable or None
        The figure of a fitted probe.
    says_shortage : bool, default=False
        Whether its ``NothingFoundWarning`` says more than its findings.
    divides_anew : bool, default=False
        Whether it takes all rows, divides them itself, and trains networks of its own.
    """

    key: str
    title: str
    question: str
    page: str
    why_not: Callable[[Subject], str]
    fit: Callable[[Subject], Any]
    read: Callable[[Any, Subject], Reading]
    draw: Callable[[Any], Any] | None = None
    says_shortage: bool = False
    divides_anew: bool = False

    @property
    def link(self) -> str:
        """The address of its page."""
        return f"{GUIDE}{self.page}.html"


def always(subject: Subject) -> str:
    """Apply to every subject."""
    return ""


def fitted(probe: Any, rows: Any) -> Any:
    """A probe, fitted to rows with their weights and groups.

    Parameters
    ----------
    probe : UnitProbe
    rows : Rows
    """
    return probe.fit(rows.X, rows.y, **rows.params)


def n_living(probe: Any) -> int:
    """Units that do something.

    Parameters
    ----------
    probe : UnitProbe
    """
    return int((~probe.dead_).sum())


def figure_of(display: Any) -> Callable[[Any], Any]:
    """What draws a fitted probe by its display.

    Parameters
    ----------
    display : class
        With a method ``from_estimator``.
    """
    return lambda probe: display.from_estimator(probe).figure_


def unit_columns(probe: Any, **columns: Any) -> dict[str, list[Any]]:
    """Columns of the table of units.

    Parameters
    ----------
    probe : UnitProbe
    **columns : array-like of shape (n_units,)
    """
    found = {"unit": [str(name) for name in probe.unit_names_]}
    for name, values in columns.items():
        found[name.replace("_", " ")] = [v.item() if hasattr(v, "item") else v for v in values]
    return found
