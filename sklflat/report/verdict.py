"""What a page says first: a verdict in words, the comparison, and which units are real."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sklflat.metrics import sign_flip_test
from sklflat.report.findings import estimators_differ, flatter_than_first
from sklflat.report.parts import (
    ATTENTION,
    PASSED,
    STATUSES,
    Comparison,
    Finding,
    Quantity,
    Section,
    UnitTable,
)
from sklflat.report.techniques.prediction import are_rates, difference
from sklflat.report.wording import listed, number

REAL = "real units"
#: technique, quantity, name in the comparison; the first three answer the questions of the page
COMPARED = (
    ("units", REAL, "Real units"),
    ("curvature", "rise in the sharpest direction", "Rise in the sharpest direction"),
    ("universality", "units that come back", "Units that come back in another training"),
    ("ablation", "needed units", "Units shown to be needed"),
    ("prediction", "accuracy", "Accuracy on held-out rows"),
    ("prediction", "R²", "R² on held-out rows"),
    ("prediction", "log loss", "Log loss on held-out rows"),
    ("curvature", "top eigenvalue", "Top eigenvalue of the Hessian"),
    ("curvature", "trace", "Trace of the Hessian"),
    ("connectivity", "barrier of the error, aligned", "Barrier between two trainings"),
    ("connectivity", "units of the invariant core", "Units of the invariant core"),
    ("temperature", "calibrated temperature", "Calibrated temperature"),
    ("surrogate", "fidelity", "Fidelity of a small tree"),
    ("pruning", "units kept", "Units needed together"),
    ("rewinding", "score of retrained tickets", "Score of tickets"),
)
N_KEY = 3
#: units that a sentence names at most
_N_NAMED = 8


def compared(
    sections: Sequence[Section], tables: Sequence[UnitTable], estimators: Sequence[str]
) -> tuple[Comparison, ...]:
    """Quantities of all estimators side by side; those that none has are left out.

    Parameters
    ----------
    sections : sequence of Section
    tables : sequence of UnitTable
    estimators : sequence of str
    """
    by_name: dict[tuple[str, str, str], Quantity | None] = {
        (s.technique, s.estimator, q.name): q for s in sections for q in s.quantities
    }
    by_name |= {("units", t.estimator, REAL): real_units(t) for t in tables}
    rows = []
    for i, (technique, name, said) in enumerate(COMPARED):
        values = tuple(by_name.get((technique, e, name)) for e in estimators)
        known = [v for v in values if v is not None]
        if known or i < N_KEY:
            meaning = known[0].meaning if known else "Not measured; see what was left out."
            rows.append(Comparison(said, meaning, values))
    return tuple(rows)


# --- findings that need two estimators ------------------------------------------------------------


def between(sections: Sequence[Section], estimators: Sequence[str]) -> tuple[Finding, ...]:
    """How every further estimator differs from the first.

    Parameters
    ----------
    sections : sequence of Section
    estimators : sequence of str
    """
    found = []
    for name in estimators[1:]:
        one, other = (_details(sections, "prediction", e) for e in (estimators[0], name))
        if one and other and len(one["losses"]) == len(other["losses"]):
            losses = np.array(one["losses"]), np.array(other["losses"])
            values = difference(*losses, scale=one["scale"][0])
            score = "accuracy" if are_rates(*losses) else "R²"
            found.append(estimators_differ(name, estimators[0], values, score, len(losses[0])))
        one, other = (_details(sections, "curvature", e) for e in (estimators[0], name))
        if one and other and one["known"] == other["known"]:  # else losses are of other rows
            here = bool(one["known"][0])
            found += flatter(name, estimators[0], one["top"], other["top"], here)
    return tuple(found)


def flatter(
    name: str,
    first: str,
    one: Sequence[float],
    other: Sequence[float],
    are_trained_here: bool = True,
) -> list[Finding]:
    """Whether an estimator ends flatter than the first; empty where that cannot be compared.

    Parameters
    ----------
    name, first : str
    one, other : sequence of float
        Top eigenvalues of the first and of this estimator, from the same seeds.
    are_trained_here : bool, default=True
        Else they are of networks given, in their order.
    """
    n = min(len(one), len(other))
    a, b = np.array(one[:n]), np.array(other[:n])
    if n < 2 or (a <= 0).any() or (b <= 0).any():
        return []
    d = np.log(b / a)
    p = float(sign_flip_test(d)) if d.any() else 1.0
    ratio, least = float(np.exp(d.mean())), 2.0 ** (1 - n)
    return [flatter_than_first(name, first, ratio, p, n, least, are_trained_here)]


def _details(sections: Sequence[Section], technique: str, estimator: str) -> dict[str, list[float]]:
    for section in sections:
        if (section.technique, section.estimator) == (technique, estimator):
            return section.details
    return {}


# --- units ----------------------------------------------------------------------------------------

BOTH, ONLY_NEEDED, ONLY_BACK, NOTHING = (
    "needed and comes back",
    "needed here only",
    "comes back, not shown needed",
    "nothing shown",
)
DEAD, HARMS = "dead", "harms"
#: of the rows of a table
_ORDER = (BOTH, "needed", ONLY_NEEDED, HARMS, ONLY_BACK, NOTHING, DEAD)


def evidence(verdict: str | None, comes_back: bool | None, is_dead: bool) -> str:
    """What is shown of a unit, in a few words.

    Parameters
    ----------
    verdict : str or None
        Of held-out rows: needed, harmful, negligible, undecided.
    comes_back : bool or None
        None where further trainings are missing.
    is_dead : bool
    """
    if is_dead:
        return DEAD
    if verdict == "harmful":
        return HARMS
    if verdict == "needed":
        if comes_back is None:
            return "needed"
        return BOTH if comes_back else ONLY_NEEDED
    return ONLY_BACK if comes_back else NOTHING


def real_units(table: UnitTable) -> Quantity | None:
    """How many units are shown to be real; None where that was not looked at.

    Parameters
    ----------
    table : UnitTable
    """
    if "verdict" not in table.columns:
        return None
    n = sum(row[1] in (BOTH, "needed") for row in table.rows)
    if "comes back" in table.columns:
        text = "Units that are needed here and come back in other trainings."
    else:
        text = "Units that are needed here; whether they come back was not measured."
    return Quantity(REAL, n, text, source="evidence")


def unit_tables(sections: Sequence[Section], estimators: Sequence[str]) -> tuple[UnitTable, ...]:
    """All columns that techniques have about units, in one table an estimator.

    Parameters
    ----------
    sections : sequence of Section
    estimators : sequence of str
    """
    tables = []
    for name in estimators:
        own = [s for s in sections if s.estimator == name and s.units]
        if not own:
            continue
        units = list(dict.fromkeys(u for s in own for u in s.units["unit"]))
        columns: dict[str, dict[str, Any]] = {}
        cards: dict[str, str] = {}
        for section in own:
            for column, values in section.units.items():
                if column != "unit":
                    columns[column] = dict(zip(section.units["unit"], values, strict=True))
            cards |= section.cards
        shown = {
            u: evidence(
                columns.get("verdict", {}).get(u),
                columns["comes back"].get(u) if "comes back" in columns else None,
                columns.get("dead", {}).get(u, False),
            )
            for u in units
        }
        names = ("unit", "evidence", *(c for c in columns if c != "dead"))
        rises = columns.get("rise of loss", {})
        units.sort(key=lambda u: (_ORDER.index(shown[u]), -(rises.get(u) or 0.0)))
        rows = tuple((u, shown[u], *(columns[c].get(u) for c in names[2:])) for u in units)
        tables.append(UnitTable(name, names, rows, cards))
    return tuple(tables)


# --- words ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Background:
    """What a verdict has to know of an estimator beside its findings.

    Parameters
    ----------
    asked : frozenset of str
        Keys of the techniques that were asked for; of others nothing is said.
    is_given : bool
        Whether it was brought trained, so that the rows trained on are not known.
    stopped : str
        That training ended before it converged, in words; empty where it did not.
    """

    asked: frozenset[str]
    is_given: bool = False
    stopped: str = ""


def verdicts(
    findings: Sequence[Finding],
    tables: Sequence[UnitTable],
    backgrounds: Mapping[str, Background],
) -> tuple[str, ...]:
    """What techniques say on the three questions, by estimator, and what differs between them.

    Parameters
    ----------
    findings : sequence of Finding
    tables : sequence of UnitTable
    backgrounds : mapping of str to Background
        By estimator, in the order of the page.
    """
    said = []
    by_table = {t.estimator: t for t in tables}
    for name, known in backgrounds.items():
        own = {f.code: f for f in findings if f.estimator == name}
        parts = []
        if "SKF001" in own and own["SKF001"].status != PASSED:
            parts.append(own["SKF001"].statement)
        if "curvature" in known.asked:
            parts.append(_flatness(own, name, known.is_given))
        if "universality" in known.asked:
            parts.append(_valley_and_return(own))
        if "ablation" in known.asked:
            parts.append(_real_units(by_table.get(name)))
        if not parts:  # none of the three questions was asked
            parts = [own["SKF001"].statement if "SKF001" in own else "see the sections."]
        stopped = known.stopped
        if stopped and "SKF008" in own and own["SKF008"].status == PASSED:
            stopped += " The training loss hardly falls along its gradient, though (SKF008)."
        said.append(f"{name}: {' '.join(p for p in (stopped, *parts) if p)}")
    said += [f.statement for f in findings if f.code in ("SKF002", "SKF009")]
    return tuple(said)


def flatness_in_words(findings: Sequence[Finding], name: str) -> str:
    """Flat, sharp, not flat or undecided.

    Parameters
    ----------
    findings : sequence of Finding
    name : str
        Of the estimator.
    """
    for finding in findings:
        if (finding.code, finding.estimator) == ("SKF007", name):
            if finding.status != ATTENTION:
                return "flat" if finding.status == PASSED else "undecided"
            return "sharp" if finding.statement.startswith(("A sharp", "Sharp")) else "not flat"
    return "not measured"


_MINIMA = {
    "flat": "It is in a flat minimum.",
    "sharp": "It is in a sharp minimum.",
    "not flat": "It is not in a flat minimum.",
    "undecided": "Whether its minimum is flat is undecided.",
    "not measured": "How flat it is was not measured.",
}


def _flatness(own: dict[str, Finding], name: str, is_given: bool) -> str:
    words = flatness_in_words(tuple(own.values()), name)
    said = _MINIMA[words]
    if is_given and words == "undecided":
        said = "Whether its loss on the rows given is flat is undecided."
    elif is_given and words != "not measured":
        said = f"Its loss on the rows given is {words}."
    rest = own.get("SKF008")
    if rest is not None and rest.status == ATTENTION:
        said += " (Training has not come to rest, so this is a point on the way.)"
    return said


def _valley_and_return(own: dict[str, Finding]) -> str:
    finding = own.get("SKF011")
    if finding is None:
        return "Whether another training would find the same units was not measured."
    return finding.statement


def _real_units(table: UnitTable | None) -> str:
    """Units that are needed and come back, by name."""
    if table is None or "verdict" not in table.columns:
        return "Which of its units are needed was not measured."
    of = {kind: [row[0] for row in table.rows if row[1] == kind] for kind in (BOTH, ONLY_NEEDED)}
    if "comes back" not in table.columns:
        needed = [row[0] for row in table.rows if row[1] == "needed"]
        if not needed:
            return f"None of {len(table.rows)} units is shown to be needed."
        n = f"{len(needed)} of {len(table.rows)}"
        return f"{n} units are shown to be needed: {_some(needed)}."
    if not of[BOTH]:
        said = f"No unit of {len(table.rows)} is shown to be real, which is to be needed and to "
        said += "come back in other trainings"
        only = len(of[ONLY_NEEDED])
        return said + (f"; {only} are needed in this network only." if only else ".")
    return (
        f"{len(of[BOTH])} of {len(table.rows)} units are real, being needed and coming back in "
        f"other trainings: {_some(of[BOTH])}."
    )


def _some(names: list[str]) -> str:
    shown = names[:_N_NAMED]
    if len(names) > _N_NAMED:
        n_others = len(names) - _N_NAMED
        shown = [*shown, "another" if n_others == 1 else f"{number(n_others)} others"]
    return listed(shown)


def in_order(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """What needs attention first, then what is open, then what passed; by code.

    Parameters
    ----------
    findings : sequence of Finding
    """
    rank = {status: i for i, status in enumerate(STATUSES)}
    return tuple(sorted(findings, key=lambda f: (rank[f.status], f.code)))
