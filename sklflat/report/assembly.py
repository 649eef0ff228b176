"""The page, put together from sections."""

from collections.abc import Sequence

import numpy as np

from sklflat._version import __version__
from sklflat.probing.split import Rows
from sklflat.report.parts import Page, Quantity, Section
from sklflat.report.subjects import Subject
from sklflat.report.verdict import between, compared, in_order, unit_tables, verdicts


def page_of(
    rows: Rows,
    subjects: Sequence[Subject],
    sections: Sequence[Section],
    settings: dict[str, str],
    seconds: float,
) -> Page:
    """Everything that the sections say, and what follows from several of them.

    Parameters
    ----------
    rows : Rows
    subjects : sequence of Subject
    sections : sequence of Section
    settings : dict of str to str
    seconds : float
    """
    names = tuple(s.name for s in subjects)
    tables = unit_tables(sections, names)
    findings = in_order([*(f for s in sections for f in s.findings), *between(sections, names)])
    left_out = list(dict.fromkeys(f"{s.title}: {s.left_out}" for s in sections if s.left_out))
    left_out += [
        f"{s.name}: {s.n_failed} further trainings diverged." for s in subjects if s.n_failed
    ]
    notes = dict.fromkeys(n for s in subjects for n in s.notes)
    if notes:
        settings = settings | {"training said": " ".join(notes)}
    return Page(
        "What in these networks is real",
        names,
        data_quantities(rows, subjects[0]),
        verdicts(findings, tables, names),
        compared(sections, tables, names),
        findings,
        tuple(s for s in sections if not s.left_out),
        tables,
        tuple(left_out),
        settings,
        seconds,
        __version__,
    )


def data_quantities(rows: Rows, subject: Subject) -> tuple[Quantity, ...]:
    """What was looked at, in numbers.

    Parameters
    ----------
    rows : Rows
    subject : Subject
    """
    X, y = rows.X, np.asarray(rows.y)
    n_columns = X.shape[1] if getattr(X, "ndim", 1) > 1 else 1
    found = [
        Quantity("rows", len(rows), "Of the table."),
        Quantity("columns", int(n_columns), "That the networks read."),
    ]
    if subject.is_classifier and y.ndim == 1:
        labels, counts = np.unique(y, return_counts=True)
        found.append(Quantity("classes", len(labels), "Of the target."))
        text = "Share of the most frequent one."
        found.append(Quantity("largest class", float(counts.max() / len(y)), text))
    found.append(Quantity("held-out rows", len(subject.held_out), "Looked at, and not trained on."))
    if subject.trained_on is not None:
        found.append(Quantity("training rows", len(subject.trained_on), "Trained on."))
    return tuple(found)
