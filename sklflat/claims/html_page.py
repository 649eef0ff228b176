"""Verdicts as one HTML page that needs nothing else: from each to the numbers of every seed."""

import re
from collections.abc import Iterator
from html import escape

from sklflat.claims.protocol import Protocol
from sklflat.claims.registry import CLAIMS
from sklflat.claims.results import Results
from sklflat.claims.tables import LEGEND, changed_verdicts, range_of, row, summary
from sklflat.claims.verdicts import Finding, Verdict

__all__ = ["html_page"]

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:72rem;padding:0 1rem;color:#222}
table{border-collapse:collapse;margin:.6rem 0;font-size:.9em}
th,td{border:1px solid #bbb;padding:.2rem .5rem;text-align:left;vertical-align:top}
th{background:#eee}td.number{text-align:right;font-variant-numeric:tabular-nums}
.supported{background:#cfe8cf}.refuted{background:#f3cfc6}.inconclusive{background:#eee}
.no-verdict{background:#f6e6b4}details{margin:.3rem 0}svg{vertical-align:middle}
"""
_HEADS = (
    *("comparison", "matched in", "difference", "95 % interval", "of interest", "d_z"),
    *("P(better)", "p", "80 % power at", "accuracy", "gradients"),
)
#: size of a picture of an interval, in pixels
_WIDTH, _HEIGHT = 200, 22


def html_page(results: Results, repeated: Results | None = None) -> str:
    """The page.

    Parameters
    ----------
    results : Results
    repeated : Results, default=None
        With other seeds: verdicts that differ are marked as unstable.

    Returns
    -------
    text : str
    """
    parts = [
        "<!DOCTYPE html><html lang='en'><head><meta charset='utf-8'>",
        "<meta name='viewport' content='width=device-width'>",
        f"<title>Verdicts on the claims</title><style>{_STYLE}</style></head><body>",
        f"<h1>Verdicts on the claims</h1><p>{escape(summary(results))} A verdict leads to its ",
        "numbers; in bold are the comparisons that decide, all of which must hold.</p>",
        *_overview(results, repeated),
        *_claims(results),
        _legend(),
        "</body></html>",
    ]
    return "\n".join(parts) + "\n"


def _legend() -> str:
    text = re.sub(r"[*]+(.+?)[*]+", r"<b>\1</b>", escape(LEGEND))
    return f"<p>{text}</p>"


def _overview(results: Results, repeated: Results | None) -> Iterator[str]:
    unstable = {} if repeated is None else changed_verdicts(results, repeated)
    verdicts = {data: results.verdicts(data) for data in results.data}
    heads = "".join(f"<th>{escape(data)}</th>" for data in verdicts)
    yield f"<table><tr><th>claim</th>{heads}</tr>"
    for number in sorted(results.records):
        cells = []
        for data, by_claim in verdicts.items():
            if number not in by_claim:
                cells.append("<td>not applicable</td>")
                continue
            outcome = by_claim[number].outcome
            note = " (unstable)" if (number, data) in unstable else ""
            cells.append(
                f"<td class='{outcome.replace(' ', '-')}'>"
                f"<a href='#{_anchor(number, data)}'>{outcome}</a>{note}</td>"
            )
        title = escape(CLAIMS[number].protocol.title)
        yield f"<tr><td>{number} {title}</td>{''.join(cells)}</tr>"
    yield "</table>"


def _anchor(number: int, data: str) -> str:
    return f"claim-{number}-{data.replace(' ', '-')}"


def _claims(results: Results) -> Iterator[str]:
    verdicts = {data: results.verdicts(data) for data in results.data}
    for number, by_data in sorted(results.records.items()):
        protocol = CLAIMS[number].protocol
        yield f"<h2>Claim {number}: {escape(protocol.title)}</h2>"
        yield from _protocol(protocol)
        for data in (d for d in results.data if d in by_data):
            verdict = verdicts[data][number]
            yield f"<h3 id='{_anchor(number, data)}'>{escape(data)}</h3>"
            yield f"<p>{escape(verdict.sentence)}</p>"
            yield from _findings(verdict)
            for said in results.mediations(number, data):
                yield f"<p><b>Mediation.</b> {escape(said)}</p>"
            seeds = [str(record["seed"]) for record in by_data[data]]
            yield from _every_seed(verdict, seeds)


def _protocol(protocol: Protocol) -> Iterator[str]:
    yield f"<p><b>Hypothesis.</b> {escape(protocol.hypothesis)}</p>"
    yield f"<p><b>Metric.</b> {escape(protocol.metric)}. <b>Null.</b> {escape(protocol.null)}.</p>"
    arms = "".join(f"<li><b>{escape(a)}</b>: {escape(what)}</li>" for a, what in protocol.arms)
    settings = ", ".join(f"{escape(name)} {value:g}" for name, value in protocol.settings)
    yield f"<details><summary>arms and sizes</summary><ul>{arms}</ul><p>{settings}</p></details>"


def _findings(verdict: Verdict) -> Iterator[str]:
    heads = "".join(f"<th>{head}</th>" for head in (*_HEADS, ""))
    yield f"<table><tr>{heads}</tr>"
    for f in verdict.findings:
        name, matched_in, *numbers = (escape(cell.replace("**", "")) for cell in row(f))
        name = f"<b>{name}</b>" if f.comparison.primary else name
        cells = "".join(f"<td class='number'>{number}</td>" for number in numbers)
        yield f"<tr><td>{name}</td><td>{matched_in}</td>{cells}<td>{_picture(f)}</td></tr>"
    yield "</table>"


def _picture(f: Finding) -> str:
    """The interval, with zero and, shaded, what is smaller than the smallest effect of interest."""
    delta = f.comparison.smallest_effect
    least, largest = range_of(f)
    if not least <= f.low <= f.high <= largest:
        return ""
    farthest = 1.1 * max(abs(f.low), abs(f.high), 1.5 * delta)

    def x(value: float) -> float:
        return round((value / farthest + 1) * _WIDTH / 2, 1)

    middle = _HEIGHT / 2
    return (
        f"<svg width='{_WIDTH}' height='{_HEIGHT}' role='img' aria-label='interval'>"
        f"<rect x='{x(-delta)}' width='{round(x(delta) - x(-delta), 1)}' height='{_HEIGHT}' "
        "fill='#ddd'/>"
        f"<line x1='{x(0)}' x2='{x(0)}' y1='0' y2='{_HEIGHT}' stroke='#888'/>"
        f"<line x1='{x(f.low)}' x2='{x(f.high)}' y1='{middle}' y2='{middle}' stroke='#000' "
        "stroke-width='2'/>"
        f"<circle cx='{x(f.mean)}' cy='{middle}' r='4'/></svg>"
    )


def _every_seed(verdict: Verdict, seeds: list[str]) -> Iterator[str]:
    """Differences of every seed, a column a comparison."""
    heads = "".join(
        f"<th>{escape(f.comparison.name)} ({escape(f.comparison.matched_in)})</th>"
        for f in verdict.findings
    )
    yield f"<details><summary>every seed</summary><table><tr><th>seed</th>{heads}</tr>"
    columns = [f.differences for f in verdict.findings]
    for seed, *differences in zip(seeds, *columns, strict=True):
        cells = "".join(
            f"<td class='number'>{'–' if d is None else format(d, '+.4f')}</td>"
            for d in differences
        )
        yield f"<tr><td>{seed}</td>{cells}</tr>"
    yield "</table></details>"
