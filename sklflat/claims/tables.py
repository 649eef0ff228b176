"""Verdicts as text: a table to read, and the numbers behind it."""

from collections.abc import Iterator, Mapping

import numpy as np

from sklflat.claims.protocol import protocol_hash
from sklflat.claims.registry import CLAIMS, protocols
from sklflat.claims.results import Results
from sklflat.claims.verdicts import Finding, Verdict

#: what the columns of a table of comparisons are
LEGEND = (
    "*Columns.* **difference**: mean over seeds, positive where the claim holds; **95 % "
    "interval**: of it; **of interest**: the smallest difference that is; **d_z**: the "
    "difference in standard deviations of the seeds' differences; **P(better)**: share of the "
    "seeds in which the claim holds, ties counted half; **p**: by flipping signs, before Holm's "
    "method; **80 % power at**: the smallest difference that so many seeds see in four of five "
    "runs; **accuracy** and **gradients**: difference in held-out accuracy and ratio of "
    "gradient evaluations. **Ease** is how much more easily the spurious cue is learned than "
    "the real one, which has 1. A dash stands for what is not known, or lies outside of what "
    "the metric can take, as with few seeds."
)
#: least and largest value of the metrics that have both
_RANGES = {"rank correlation": (-1.0, 1.0)}

__all__ = ["LEGEND", "changed_verdicts", "details", "summary", "verdict_table"]


def summary(results: Results) -> str:
    """One line: what was run, when, and by which protocol."""
    configuration = results.configuration
    first, n = configuration["first_seed"], configuration["seeds"]
    return (
        f"Begun {results.begun}, {n} paired seeds from {first}, sklflat "
        f"{results.versions['sklflat']}, protocol "
        f"{protocol_hash(protocols(sorted(results.records)))}."
    )


def verdict_table(results: Results, repeated: Results | None = None) -> str:
    """The verdicts, a line a claim and a column a data set.

    Parameters
    ----------
    results : Results
    repeated : Results, default=None
        With other seeds: verdicts that differ are marked as unstable.

    Returns
    -------
    text : str
        Markdown.
    """
    verdicts = {data: results.verdicts(data) for data in results.data}
    unstable = set() if repeated is None else set(changed_verdicts(results, repeated))
    lines = [
        f"| claim | {' | '.join(verdicts)} |",
        "|---" * (1 + len(verdicts)) + "|",
    ]
    for number in sorted(results.records):
        cells = [
            _cell(by_claim.get(number)) + (" (unstable)" if (number, data) in unstable else "")
            for data, by_claim in verdicts.items()
        ]
        lines.append(f"| {number} {CLAIMS[number].protocol.title} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(verdict: Verdict | None) -> str:
    return "not applicable" if verdict is None else verdict.outcome


def changed_verdicts(
    results: Results, repeated: Results
) -> Mapping[tuple[int, str], tuple[str, str]]:
    """Claims and data sets whose verdicts differ, and both outcomes."""
    found = {}
    for data in results.data:
        if data not in repeated.data:
            continue
        again = repeated.verdicts(data)
        for number, verdict in results.verdicts(data).items():
            if number in again and again[number].outcome != verdict.outcome:
                found[number, data] = (verdict.outcome, again[number].outcome)
    return found


def details(results: Results) -> Iterator[str]:
    """Every claim with its verdicts in a sentence, and a table of all comparisons, as Markdown."""
    for number, by_data in sorted(results.records.items()):
        protocol = CLAIMS[number].protocol
        yield f"## Claim {number}: {protocol.title}\n"
        yield f"*Hypothesis.* {protocol.hypothesis}\n"
        yield f"*Metric.* {_sentence(protocol.metric)} *Null.* {_sentence(protocol.null)}\n"
        for data in (d for d in results.data if d in by_data):
            verdict = results.verdicts(data)[number]
            yield f"**{data}.** {verdict.sentence}\n"
            yield from finding_table(verdict)
            yield ""
            for said in results.mediations(number, data):
                yield f"- Mediation. {said}"
            yield ""


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def finding_table(verdict: Verdict) -> Iterator[str]:
    """Lines of a table of comparisons, those that decide in bold."""
    yield (
        "| comparison | matched in | difference | 95 % interval | of interest | d_z | P(better) | "
        "p | 80 % power at | accuracy | gradients |"
    )
    yield "|---" * 11 + "|"
    for f in verdict.findings:
        yield f"| {' | '.join(row(f))} |"


def range_of(f: Finding) -> tuple[float, float]:
    """Least and largest difference that the metric of a comparison can have."""
    c = f.comparison
    low, high = _RANGES.get(c.metric, (-np.inf, np.inf))
    other = (low, high) if c.against is not None else (c.null_value, c.null_value)
    ends = low - other[1], high - other[0]
    return ends if c.larger_is_claimed else (-ends[1], -ends[0])


def row(f: Finding) -> list[str]:
    """The cells of one comparison."""
    c = f.comparison
    name = f"**{c.name}**" if c.primary else c.name
    low, high = range_of(f)
    is_possible = bool(low <= f.low <= f.high <= high)
    return [
        name,
        c.matched_in,
        f"{f.mean:+.3f}",
        f"{f.low:+.3f} to {f.high:+.3f}" if is_possible else "–",
        f"{c.smallest_effect:g}",
        f"{f.d_z:+.2f}" if np.isfinite(f.d_z) else "–",
        f"{f.p_better:.2f}",
        f"{f.p_value:.2g}",
        f"{f.smallest_seen:.3f}" if f.smallest_seen <= max(-low, high) else "–",
        f"{f.accuracy_gap:+.3f}",
        f"x {f.gradient_ratio:.2f}",
    ]
