"""The page, put together from sections."""

from collections.abc import Sequence

import numpy as np

from sklflat._version import __version__
from sklflat.probing.split import Rows
from sklflat.report.parts import Page, Quantity, Section
from sklflat.report.subjects import Subject
from sklflat.report.targets import target_spread
from sklflat.report.verdict import Background, between, compared, in_order, unit_tables, verdicts


def page_of(
    rows: Rows,
    subjects: Sequence[Subject],
    sections: Sequence[Section],
    settings: dict[str, str],
    seconds: float,
    diverged: Sequence[str] = (),
) -> Page:
    """Everything that the sections say, and what follows from several of them.

    Parameters
    ----------
    rows : Rows
    subjects : sequence of Subject
    sections : sequence of Section
    settings : dict of str to str
    seconds : float
    diverged : sequence of str, default=()
        Why estimators are left out.
    """
    names = tuple(s.name for s in subjects)
    tables = unit_tables(sections, names)
    findings = in_order([*(f for s in sections for f in s.findings), *between(sections, names)])
    left_out = [*diverged]
    left_out += list(dict.fromkeys(f"{s.title}: {s.left_out}" for s in sections if s.left_out))
    left_out += [
        f"{s.name}: {s.n_failed} further trainings diverged." for s in subjects if s.n_failed
    ]
    left_out += dict.fromkeys(words for s in sections for words in s.inapplicable)
    notes = dict.fromkeys(n for s in subjects for n in s.notes)
    if notes:
        settings = settings | {"training said": " ".join(notes)}
    return Page(
        "What in these networks is real",
        names,
        data_quantities(rows, subjects[0]),
        (
            *verdicts(findings, tables, {s.name: _background(s, sections) for s in subjects}),
            *diverged,
        ),
        compared(sections, tables, names),
        findings,
        tuple(s for s in sections if not s.left_out),
        tables,
        tuple(left_out),
        settings,
        seconds,
        __version__,
    )


def _background(subject: Subject, sections: Sequence[Section]) -> Background:
    asked = frozenset(s.technique for s in sections if s.estimator == subject.name)
    return Background(asked, subject.trained_on is None, subject.stopped)


def data_quantities(rows: Rows, subject: Subject) -> tuple[Quantity, ...]:
    """What was looked at, in numbers.

    Parameters
    ----------
    rows : Rows
    subject : Subject
    """
    X, y = rows.X, np.asarray(rows.y)
    found = [Quantity("rows", len(rows), "Of the table.")]
    if getattr(X, "ndim", 1) > 2:
        shape = " × ".join(map(str, X.shape[1:]))
        found.append(Quantity("as the shape of a row", shape, "Of what the networks read."))
    else:
        n_columns = X.shape[1] if getattr(X, "ndim", 1) > 1 else 1
        found.append(Quantity("columns", int(n_columns), "That the networks read."))
    if subject.is_classifier and y.ndim == 1:
        labels, counts = np.unique(y, return_counts=True)
        found.append(Quantity("classes", len(labels), "Of the target."))
        text = "Share of the most frequent one."
        found.append(Quantity("largest class", float(counts.max() / len(y)), text))
    if not subject.is_classifier:
        found.append(target_spread(subject.all_rows.y))
    text = "Looked at, and not trained on."
    if subject.trained_on is None:
        text = "Looked at. They are taken for rows that the networks given were not trained on."
    found.append(Quantity("held-out rows", len(subject.held_out), text))
    if subject.trained_on is not None:
        found.append(Quantity("training rows", len(subject.trained_on), "Trained on."))
    return tuple(found)
