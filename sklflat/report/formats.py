"""A page as JSON, Markdown and a DataFrame."""

import json
from collections.abc import Iterator
from typing import Any

from sklflat.report.codes import CODES, false_alarm, link
from sklflat.report.parts import Page, Section, UnitTable, as_plain
from sklflat.report.wording import duration, number, with_interval


def to_json(page: Page) -> str:
    """All parts but pictures' bytes; findings with what their codes mean.

    Parameters
    ----------
    page : Page
    """
    plain = as_plain(page)
    for finding in plain["findings"]:
        code = CODES[finding["code"]]
        finding |= {
            "title": code.title,
            "null": code.null,
            "false_alarms": false_alarm(finding["code"]),
            "action": code.action,
            "link": link(finding["code"]),
        }
    return json.dumps(plain, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def to_frame(page: Page) -> Any:
    """Every number in a row: see ``MinimaReport.to_frame``.

    Parameters
    ----------
    page : Page
    """
    import pandas as pd

    rows = [
        {
            "technique": technique,
            "estimator": estimator,
            "quantity": q.name,
            "value": q.value,
            "low": q.low,
            "high": q.high,
            "unit": q.unit,
            "meaning": q.meaning,
        }
        for technique, estimator, q in page.quantities()
    ]
    frame = pd.DataFrame(rows)
    frame["value"] = pd.Series([row["value"] for row in rows], dtype=object)
    return frame


def to_markdown(page: Page) -> str:
    """The page without pictures.

    Parameters
    ----------
    page : Page
    """
    return "\n".join(_lines(page)) + "\n"


def escaped(text: Any) -> str:
    r"""Text that Markdown leaves as it is.

    Parameters
    ----------
    text : object

    Examples
    --------
    >>> from sklflat.report.formats import escaped
    >>> print(escaped("a|b *c* <script>"))
    a\|b \*c\* &lt;script&gt;
    """
    text = str(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    for sign in "\\`*_|[]#":
        text = text.replace(sign, "\\" + sign)
    return " ".join(text.split())


def _table(head: list[str], rows: list[list[str]]) -> Iterator[str]:
    yield "| " + " | ".join(escaped(h) for h in head) + " |"
    yield "|" + "---|" * len(head)
    for row in rows:
        yield "| " + " | ".join(escaped(cell) for cell in row) + " |"
    yield ""


def _lines(page: Page) -> Iterator[str]:
    yield f"# {escaped(page.title)}"
    yield ""
    for sentence in page.verdict:
        yield f"- {escaped(sentence)}"
    yield ""
    yield "## Comparison"
    yield ""
    rows = [
        [c.name, *("–" if v is None else with_interval(v) for v in c.values), c.meaning]
        for c in page.comparison
    ]
    yield from _table(["", *page.estimators, "meaning"], rows)
    yield "## Findings"
    yield ""
    rows = [
        [f.code, f.status, f.estimator, f.statement, CODES[f.code].null, false_alarm(f.code)]
        for f in page.findings
    ]
    head = ["code", "status", "estimator", "statement", "what is rejected", "false alarms"]
    yield from _table(head, rows)
    for section in page.sections:
        yield from _section(section)
    for table in page.units:
        yield from _units(table)
    yield "## The data"
    yield ""
    yield from _table(
        ["", "value", "meaning"], [[q.name, with_interval(q), q.meaning] for q in page.data]
    )
    for name, value in page.settings.items():
        yield f"- {escaped(name)}: {escaped(value)}"
    yield ""
    if page.left_out:
        yield "## Left out"
        yield ""
        yield from (f"- {escaped(reason)}" for reason in page.left_out)
        yield ""
    yield f"Made by sklflat {page.version} in {duration(page.seconds)}."


def _section(section: Section) -> Iterator[str]:
    yield f"## {escaped(section.title)}: {escaped(section.estimator)}"
    yield ""
    yield f"*{escaped(section.question)}*"
    yield ""
    for sentence in section.sentences:
        yield escaped(sentence)
        yield ""
    rows = [[q.name, with_interval(q), q.meaning] for q in section.quantities]
    yield from _table(["", "value", "meaning"], rows)
    yield f"Compared with: {escaped(section.null)}"
    yield ""
    for note in section.notes:
        yield f"- Note: {escaped(note)}"
    settings = "; ".join(f"{k} {v}" for k, v in section.settings.items())
    yield f"Settings: {escaped(settings)}. Time: {duration(section.seconds)}."
    yield ""


def _units(table: UnitTable) -> Iterator[str]:
    yield f"## Units of {escaped(table.estimator)}"
    yield ""
    yield from _table(list(table.columns), [[number(v) for v in row] for row in table.rows])
