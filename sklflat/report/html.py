"""A page as one file of HTML that needs nothing else, and says all without JavaScript."""

import base64
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from html import escape
from importlib.resources import files
from typing import Any

from sklflat.report.codes import CODES, false_alarm, link
from sklflat.report.html_tables import table, units
from sklflat.report.parts import Comparison, Finding, Page, Quantity, Section
from sklflat.report.pictures import as_webp
from sklflat.report.verdict import N_KEY, flatness_in_words
from sklflat.report.wording import duration, number, with_interval

#: bytes that a page has at most
MAX_BYTES = 400_000
#: share of the pictures' width, rows and cards of each table of units, until a page is small enough
_DETAILS = (
    *((1.0, 400, 400), (1.0, 150, 150), (1.0, 150, 60), (1.0, 150, 40), (1.0, 150, 20)),
    *((1.0, 100, 20), (1.0, 60, 10), (1.0, 40, 5), (0.7, 40, 5), (0.5, 40, 5), (0.35, 20, 5)),
    *((0.0, 20, 5), (0.0, 5, 0)),
)

STATUS_WORDS = {
    "attention": "needs attention",
    "inconclusive": "open",
    "passed": "passed",
}


def to_html(page: Page) -> str:
    """The page, of at most 400 kB: pictures are made smaller and units fewer until it is.

    Parameters
    ----------
    page : Page
    """
    text = ""
    for share, n_units, n_cards in _DETAILS:
        text = "\n".join(_document(page, share, n_units, n_cards)) + "\n"
        if len(text.encode()) <= MAX_BYTES:
            break
    return text


def fragment(page: Page) -> str:
    """The page in a frame of its own, for notebooks.

    Parameters
    ----------
    page : Page
    """
    inner = escape(to_html(page), quote=True)
    return (
        f'<iframe title="{escape(page.title, quote=True)}" sandbox="allow-scripts" '
        f'style="width:100%;height:48rem;border:1px solid #999" srcdoc="{inner}"></iframe>'
    )


def data(quantity: Quantity | None) -> str:
    """A number as it is written, with its exact value.

    Parameters
    ----------
    quantity : Quantity or None
    """
    if quantity is None:
        return number(None)
    return f'<data value="{exact(quantity.value)}">{escape(with_interval(quantity))}</data>'


def exact(value: Any) -> str:
    """A value in full, for a quoted attribute.

    Parameters
    ----------
    value : object
    """
    return "" if value is None else escape(str(value), quote=True)


@lru_cache(maxsize=256)
def _picture(png: bytes, share: float) -> str:
    return "data:image/webp;base64," + base64.b64encode(as_webp(png, share)).decode()


def _own_file(name: str) -> str:
    return files("sklflat.report").joinpath(name).read_text(encoding="utf-8").strip()


def _techniques(page: Page) -> dict[str, list[Section]]:
    found: dict[str, list[Section]] = {}
    for section in page.sections:
        found.setdefault(section.technique, []).append(section)
    return found


def _document(page: Page, share: float, n_units: int, n_cards: int) -> Iterator[str]:
    title = escape(page.title)
    yield '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">'
    yield f"<title>{title}</title>"
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f"<style>\n{_own_file('page.css')}\n</style>\n</head>\n<body>"
    yield '<a class="skip" href="#main">Skip to the findings</a>'
    yield from _header(page)
    yield from _navigation(page)
    yield '<main id="main">'
    yield from _comparison(page)
    yield from _findings(page)
    for sections in _techniques(page).values():
        yield from _technique(sections, share)
    yield from units(page, n_units, n_cards)
    yield from _about(page)
    yield "</main>"
    yield f"<script>\n{_own_file('page.js')}\n</script>\n</body>\n</html>"


def _header(page: Page) -> Iterator[str]:
    of = "; ".join(
        f"{number(q.value)} {q.name}" for q in page.data if isinstance(q.value, (int, str))
    )
    yield f"<header>\n<h1>{escape(page.title)}</h1>"
    yield f'<p class="soft">{escape(" and ".join(page.estimators))}; {escape(of)}.</p>'
    yield '<ul class="verdict">'
    yield from (f"<li>{_named(sentence, page.estimators)}</li>" for sentence in page.verdict)
    yield "</ul>"
    questions = (
        "Which units are real?",
        "Is it a flat minimum?",
        "Would another training find the same?",
    )
    yield '<div class="key">'
    for question, row in zip(questions, page.comparison[:N_KEY], strict=True):
        yield f"<div><h2>{question}</h2><dl>"
        for name, value in zip(page.estimators, row.values, strict=True):
            said = _key_number(page, row, name, value)
            yield f'<dt>{escape(name)}</dt><dd class="big">{said}</dd>'
        yield f'</dl><p class="soft">{escape(row.meaning)}</p></div>'
    yield "</div>\n</header>"


def _named(sentence: str, names: Sequence[str]) -> str:
    """A sentence; the name of an estimator that it begins with stands out."""
    for name in names:
        if sentence.startswith(f"{name}: "):
            return f"<strong>{escape(name)}:</strong>{escape(sentence[len(name) + 1 :])}"
    return escape(sentence)


def _key_number(page: Page, row: Comparison, name: str, value: Quantity | None) -> str:
    """A number that matters; of units also of how many."""
    if value is None:
        return "not measured"
    if row is page.comparison[1]:
        words = flatness_in_words(page.findings, name)
        return f"{escape(words)}: {data(replace(value, low=None))} of a constant's loss"
    total = next((len(t.rows) for t in page.units if t.estimator == name), 0)
    return f"{data(value)} of {total:,} units"


def _navigation(page: Page) -> Iterator[str]:
    yield '<nav aria-label="Sections of this page"><ul>'
    yield '<li><a href="#comparison">Comparison</a></li><li><a href="#findings">Findings</a></li>'
    for key, sections in _techniques(page).items():
        yield f'<li><a href="#{key}">{escape(sections[0].title)}</a></li>'
    yield '<li><a href="#units">Table of units</a></li><li><a href="#about">About</a></li>'
    yield "</ul></nav>"


def _comparison(page: Page) -> Iterator[str]:
    yield '<section aria-labelledby="comparison">'
    yield '<h2 id="comparison">Comparison of the estimators</h2>'
    yield from table(
        "Table of the comparison",
        'class="stack"',
        "In brackets: 95 % intervals. What was not measured is a dash.",
        ("Number", *page.estimators, "What it says"),
        (_compared(page.estimators, row) for row in page.comparison),
    )
    yield "</section>"


def _compared(estimators: Sequence[str], row: Comparison) -> str:
    cells = "".join(
        f'<td class="n" data-label="{escape(name, quote=True)}">{data(v)}</td>'
        for name, v in zip(estimators, row.values, strict=True)
    )
    name, meaning = escape(row.name), escape(row.meaning)
    return f'<tr><th scope="row">{name}</th>{cells}<td>{meaning}</td></tr>'


def _findings(page: Page) -> Iterator[str]:
    yield '<section aria-labelledby="findings"><h2 id="findings">Findings</h2>'
    counts = {s: sum(f.status == s for f in page.findings) for s in STATUS_WORDS}
    said = "Checks: " + ", ".join(f"{n} {STATUS_WORDS[s]}" for s, n in counts.items())
    yield (
        f"<p>{escape(said)}. Open is what these rows cannot decide: not shown is not shown to be "
        "absent. How often a code is reported where nothing is there was measured; rates are of "
        "one check, so of twenty checks at 5 % one is expected to be wrong.</p>"
    )
    yield from table(
        "Table of findings",
        'class="stack found"',
        "What needs attention first, then what is open, then what passed.",
        ("Code", "Status", "Estimator", "What was found", "What is rejected, and how sure"),
        map(_finding, page.findings),
    )
    yield "</section>"


def _finding(finding: Finding) -> str:
    code = CODES[finding.code]
    todo = {
        "attention": f"<br><strong>To do:</strong> {escape(code.action)}",
        "inconclusive": f"<br><strong>What would decide it:</strong> {escape(code.decides)}",
        "passed": "",
    }[finding.status]
    return (
        f'<tr><th scope="row"><a href="{link(finding.code)}">{finding.code}</a>'
        f'<br><span class="soft">{escape(code.title)}</span></th>'
        f'<td class="status {finding.status}">{STATUS_WORDS[finding.status]}</td>'
        f"<td>{escape(finding.estimator)}</td><td>{escape(finding.statement)}{todo}</td>"
        f'<td class="soft">{escape(code.null)}<br>False alarms: '
        f"{escape(false_alarm(finding.code))}.</td></tr>"
    )


def _technique(sections: list[Section], share: float) -> Iterator[str]:
    first = sections[0]
    yield f'<section aria-labelledby="{first.technique}">'
    yield f'<h2 id="{first.technique}">{escape(first.title)}</h2>'
    yield f'<p>{escape(first.question)} <a href="{first.page}">How it is measured</a>.</p>'
    for section in sections:
        yield from _article(section, share)
    yield "</section>"


def _article(section: Section, share: float) -> Iterator[str]:
    of = f"{section.title} of {section.estimator}"
    yield f"<article><h3>{escape(of)}</h3>"
    yield from (f"<p>{escape(sentence)}</p>" for sentence in section.sentences)
    picture = section.picture
    if picture is not None and share > 0:
        source, alt = _picture(picture.png, share), escape(picture.alt, quote=True)
        yield f'<figure><img src="{source}" alt="{alt}">'
        yield f"<figcaption>{escape(picture.alt)}</figcaption></figure>"
    elif picture is not None:
        yield f'<p class="soft">Picture left out for size. It shows: {escape(picture.alt)}</p>'
    yield from table(
        f"Numbers: {of}",
        'class="stack"',
        escape(of),
        ("Number", "Value", "What it says"),
        (
            f'<tr><th scope="row">{escape(q.name)}</th><td class="n">{data(q)}</td>'
            f"<td>{escape(q.meaning)}</td></tr>"
            for q in section.quantities
        ),
    )
    yield f"<p><strong>Compared with:</strong> {escape(section.null)}</p>"
    if section.notes:
        yield "<ul>" + "".join(f"<li>Note: {escape(n)}</li>" for n in section.notes) + "</ul>"
    settings = "; ".join(f"{k}: {v}" for k, v in section.settings.items())
    yield f'<p class="soft">Settings: {escape(settings)}. Took {duration(section.seconds)}.</p>'
    yield "</article>"


def _about(page: Page) -> Iterator[str]:
    yield '<section aria-labelledby="about"><h2 id="about">About this page</h2>'
    if page.left_out:
        yield "<h3>Left out</h3><ul>"
        yield from (f"<li>{escape(reason)}</li>" for reason in page.left_out)
        yield "</ul>"
    yield "<h3>Data and settings</h3><dl>"
    for q in page.data:
        meaning = f'<span class="soft">{escape(q.meaning)}</span>'
        yield f"<dt>{escape(q.name)}</dt><dd>{data(q)} {meaning}</dd>"
    for name, value in page.settings.items():
        yield f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>"
    yield "</dl>"
    yield (
        "<p>Units are called real here if the held-out loss is shown to rise without them and they "
        "come back in trainings from other seeds. That is no proof that they mean something: an "
        "easy spurious cue comes back, too. Flatness is that of these weights; rescaling a ReLU "
        "unit changes it and not the network.</p>"
    )
    yield f'<p class="soft">Made by sklflat {escape(page.version)} in {duration(page.seconds)}.</p>'
    yield "</section>"
