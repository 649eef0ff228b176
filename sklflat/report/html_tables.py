"""Tables of the page, that of units among them, which scripts sort and filter."""

from collections.abc import Iterable, Iterator
from html import escape
from typing import Any

from sklflat.report.parts import Page, UnitTable
from sklflat.report.wording import number

#: what the columns say
COLUMNS = {
    "unit": "Layer and number; open it to see its card.",
    "evidence": "Real is what is needed and comes back.",
    "verdict": "What held-out rows decide: needed, harmful, negligible, undecided.",
    "rise of loss": "Of the held-out loss without the unit, in its own unit.",
    "low": "Low end of the 95 % interval of the rise.",
    "high": "High end of it.",
    "q": "Against shuffled targets, adjusted for the number of units.",
    "explained by target": "Variance of the activation that the target explains.",
    "target q": "Against shuffled targets, adjusted.",
    "flat share": "Share of the unit's parameters outside of the sharpest directions.",
    "core": "Whether it keeps its activations on the way to another training.",
    "along path": "Least correlation on that way.",
    "comes back": "Whether other trainings have such a unit, beyond chance.",
    "return above chance": "Correlation with its partner there, less chance.",
    "return q": "Against networks that have learned nothing, adjusted.",
    "coarse": "Whether it matters more for the logits than for which class wins.",
    "coarseness": "How much more: above 0.5 at a high temperature.",
    "explained by inputs": "R² of a small tree of the inputs, above that of untrained units.",
    "kept": "Whether it is among the units that are enough together.",
    "place in path": "1 for the one that is needed most among others.",
}


def table(
    label: str, attributes: str, caption: str, heads: Iterable[str], rows: Iterable[str]
) -> Iterator[str]:
    """A table that scrolls by itself where it is wider than the window.

    Parameters
    ----------
    label : str
        What a screen reader calls it.
    attributes : str
        HTML, of the element.
    caption : str
        HTML.
    heads : iterable of str
        Names of the columns.
    rows : iterable of str
        HTML.
    """
    yield f'<div class="wide" tabindex="0" role="region" aria-label="{escape(label)}">'
    yield f"<table {attributes}>"
    yield f"<caption>{caption}</caption>"
    cells = "".join(f'<th scope="col">{escape(head)}</th>' for head in heads)
    yield f"<thead><tr>{cells}</tr></thead><tbody>"
    yield from rows
    yield "</tbody></table></div>"


def units(page: Page, n_most: int, n_cards: int) -> Iterator[str]:
    """The section of all units.

    Parameters
    ----------
    page : Page
    n_most : int
        Rows of each table at most.
    n_cards : int
        Cards of each table at most.
    """
    if not page.units:
        return
    yield '<section class="units-of" aria-labelledby="units"><h2 id="units">Table of units</h2>'
    shown = dict.fromkeys(c for own in page.units for c in own.columns)
    yield "<details><summary>What the columns say</summary><dl>"
    for name in shown:
        yield f"<dt>{escape(name)}</dt><dd>{escape(COLUMNS.get(name, ''))}</dd>"
    yield "</dl></details>"
    for place, own in enumerate(page.units):
        yield from _units_of(own, f"filter-{place}", n_most, n_cards)
    yield "</section>"


def _units_of(units: UnitTable, name: str, n_most: int, n_cards: int) -> Iterator[str]:
    of = escape(units.estimator)
    yield f"<h3>Units of {of}</h3>"
    yield f'<p class="filter" id="{name}" hidden><label>Filter the units of {of} by name, evidence '
    yield "or verdict <input type='search'></label> <output></output></p>"
    cut = ""
    if len(units.rows) > n_most:
        cut = f" The first {n_most} of {len(units.rows):,} are shown; to_json() has all."
    n_shown = sum(row[0] in units.cards for row in units.rows[:n_most])
    opened = "Open a name to see the unit's card."
    if n_cards < n_shown:
        opened = f"The first {n_cards} open to a card" if n_cards else "Cards are left out"
        opened += "; unit_card() of the probes has all."
    yield from table(
        f"Units of {units.estimator}",
        f'class="units" data-filter="{name}"',
        f"Real units first.{cut} {opened}",
        units.columns,
        (
            _row(row, units.cards.get(row[0]) if place < n_cards else None)
            for place, row in enumerate(units.rows[:n_most])
        ),
    )


def _row(row: tuple[Any, ...], card: str | None) -> str:
    label = exact = escape(str(row[0]))
    if card:
        label = f"<details><summary>{label}</summary><pre>{escape(card)}</pre></details>"
    cells = "".join(f"<td>{escape(number(value))}</td>" for value in row[1:])
    return f'<tr><th scope="row" data-value="{exact}">{label}</th>{cells}</tr>'
