"""The file of results: everything from configuration to the numbers of every seed, as JSON."""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from sklflat.claims.mediation import mediation, paired, sentence
from sklflat.claims.protocol import DECISION, SCHEMA, protocol_hash
from sklflat.claims.registry import CLAIMS, DATA, protocols
from sklflat.claims.verdicts import Verdict, as_json, judge
from sklflat.exceptions import CommandError
from sklflat.storage.text_files import writable

__all__ = ["Results", "check_output", "read_results"]

FORMAT = "sklflat claims"


@dataclass(frozen=True)
class Results:
    """Numbers of every seed, and the verdicts that follow from them.

    Attributes
    ----------
    configuration : dict
        ``seeds``, ``first_seed``, ``claims`` and ``data``.
    versions : dict
        Of what the numbers may depend on.
    begun : str
        Date.
    records : dict of int to dict of str to list of dict
        By claim and data set, one of each seed: see :func:`~sklflat.claims.cells.measure_cell`.
    """

    configuration: dict[str, Any]
    versions: dict[str, str]
    begun: str
    records: dict[int, dict[str, list[dict[str, Any]]]]

    @property
    def data(self) -> list[str]:
        """Data sets that some claim was measured on."""
        return [name for name in DATA if any(name in r for r in self.records.values())]

    def verdicts(self, data: str) -> dict[int, Verdict]:
        """By claim, on one data set."""
        return self._verdicts[data]

    @cached_property
    def _verdicts(self) -> dict[str, dict[int, Verdict]]:
        found = {}
        for data in self.data:
            readings = {
                number: [record["arms"] for record in by_data[data]]
                for number, by_data in self.records.items()
                if data in by_data
            }
            found[data] = judge(protocols(sorted(readings)), readings, data)
        return found

    def mediations(self, number: int, data: str) -> list[str]:
        """In words, how much of a claim's differences goes with its mediators."""
        protocol = CLAIMS[number].protocol
        readings = [record["arms"] for record in self.records[number][data]]
        said = []
        for arm, against, mediator in protocol.mediators:
            pairs = [
                paired(readings, (arm, against), metric)
                for metric in (protocol.primary_metric_on(data), mediator)
            ]
            known = np.isfinite(pairs).all(axis=0)
            found = mediation(pairs[0][known], pairs[1][known])
            if found is not None:
                said.append(sentence(found, f"{arm} less {against}", mediator))
        return said

    def to_json(self) -> str:
        """The file's text, the same for the same numbers."""
        verdicts = {data: self.verdicts(data) for data in self.data}
        claims = []
        for number in sorted(self.records):
            protocol = CLAIMS[number].protocol
            said = {
                d: _verdict_as_json(v[number]) | {"mediation": self.mediations(number, d)}
                for d, v in verdicts.items()
                if number in v
            }
            claims.append(
                {
                    **{k: v for k, v in asdict(protocol).items() if k != "comparisons"},
                    "protocol_hash": protocol_hash([protocol]),
                    "verdicts": said,
                    "seeds": {d: _columns(rows) for d, rows in self.records[number].items()},
                }
            )
        whole = {
            "format": FORMAT,
            "schema": SCHEMA,
            "protocol_hash": protocol_hash(protocols(sorted(self.records))),
            "rule": asdict(DECISION),
            "configuration": self.configuration,
            "versions": self.versions,
            "begun": self.begun,
            "claims": claims,
        }
        return _text(whole | {"digest": digest(whole)})


def digest(whole: Mapping[str, Any]) -> str:
    """A hash of what a file of results holds, but for the digest itself.

    Returns
    -------
    hash : str
        16 hexadecimal digits; another number, word or order of the parts changes them.
    """
    rest = {name: part for name, part in whole.items() if name != "digest"}
    return hashlib.sha256(_text(rest).encode()).hexdigest()[:16]


def _text(whole: Mapping[str, Any]) -> str:
    return json.dumps(whole, separators=(",", ":"), allow_nan=False, ensure_ascii=False)


def _columns(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Records of seeds with each metric as a list over seeds: a tenth of the text."""
    known = {(a, m) for r in rows for a, metrics in (r["arms"] or {}).items() for m in metrics}
    arms: dict[str, dict[str, list[float | None]]] = {}
    for arm, metric in sorted(known):  # in one order, whatever the records come from
        values = [(r["arms"] or {}).get(arm, {}).get(metric) for r in rows]
        arms.setdefault(arm, {})[metric] = values
    names = ("seed", "diverged", "warnings")
    return {name: [record[name] for record in rows] for name in names} | {"arms": arms}


def _rows(columns: dict[str, Any]) -> list[dict[str, Any]]:
    """The records that columns were made of."""
    names = ("seed", "diverged", "warnings")
    rows = [
        dict(zip(names, values, strict=True))
        for values in zip(*(columns[name] for name in names), strict=True)
    ]
    for k, record in enumerate(rows):
        record["arms"] = None
        if record["diverged"] is None:
            record["arms"] = {
                arm: {metric: values[k] for metric, values in metrics.items()}
                for arm, metrics in columns["arms"].items()
            }
    return rows


def _verdict_as_json(verdict: Verdict) -> dict[str, Any]:
    return {
        "outcome": verdict.outcome,
        "sentence": verdict.sentence,
        "p_value": float(f"{verdict.p_value:.6g}"),
        "adjusted_p_value": float(f"{verdict.adjusted_p_value:.6g}"),
        "findings": [as_json(finding) for finding in verdict.findings],
    }


def read_results(path: str | os.PathLike[str]) -> Results:
    """Results from a file, if its protocol is that of this version.

    Parameters
    ----------
    path : path

    Returns
    -------
    Results

    Raises
    ------
    CommandError
        If it cannot be read, is no file of results, was changed after it was written, or was
        measured by another protocol.
    """
    where = str(path)
    try:
        whole = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise CommandError(f"{where} cannot be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise CommandError(f"{where} is no file of results: {error}.") from error
    if not isinstance(whole, Mapping) or whole.get("format") != FORMAT:
        raise CommandError(f"{where} is no file of results of `sklflat claims`.")
    try:
        _check_protocol(where, whole)
        found = _results(whole)
        if whole.get("digest") != digest(whole):
            raise CommandError(
                f"{where} was changed after it was written: its digest is that of other numbers or "
                "words. Measure again, or take the file as it was."
            )
        return found
    except CommandError:
        raise
    except Exception as error:  # whatever a part has become, no number of it is to be believed
        what = f"{type(error).__name__}: {str(error)[:200]}"
        raise CommandError(f"{where} is damaged ({what}). Measure again.") from error


def _results(whole: Mapping[str, Any]) -> Results:
    """What a file holds, all of which has been read and judged."""
    configuration, versions = dict(whole["configuration"]), dict(whole["versions"])
    first, n = configuration["first_seed"], configuration["seeds"]
    if not (type(first) is type(n) is int and first >= 0 and 2 <= n < 10**6):
        raise ValueError(f"{n!r} seeds from {first!r}")
    records: dict[int, dict[str, list[dict[str, Any]]]] = {}
    for claim in whole["claims"]:
        number = claim["number"]
        if number in records or not set(claim["seeds"]) <= set(CLAIMS[number].protocol.data):
            raise ValueError(f"claim {number} on {', '.join(claim['seeds'])}")
        records[number] = {d: _rows(columns) for d, columns in claim["seeds"].items()}
        for data, rows in records[number].items():
            if [record["seed"] for record in rows] != list(range(first, first + n)):
                raise ValueError(f"the seeds of claim {number}, {data}, are not {n} from {first}")
    if whole["protocol_hash"] != protocol_hash(protocols(sorted(records))):
        raise ValueError("the protocol's hash is another")
    if not isinstance(whole["begun"], str) or not isinstance(versions["sklflat"], str):
        raise TypeError("date and version are no text")
    found = Results(configuration, versions, whole["begun"], records)
    found.to_json()
    return found


def _check_protocol(where: str, whole: Mapping[str, Any]) -> None:
    advice = "Measure again, or read it with the version that wrote it"
    by = f"(sklflat {whole.get('versions', {}).get('sklflat', 'unknown')})"
    if whole.get("schema") != SCHEMA or whole.get("rule") != asdict(DECISION):
        raise CommandError(f"{where} was decided by another rule. {advice} {by}.")
    changed = [
        str(claim["number"])
        for claim in whole["claims"]
        if type(claim["number"]) is not int
        or claim["number"] not in CLAIMS
        or claim["protocol_hash"] != protocol_hash([CLAIMS[claim["number"]].protocol])
    ]
    if changed:
        raise CommandError(
            f"{where} is of another protocol version: that of claim {', '.join(changed)} has "
            f"changed since. {advice} {by}."
        )


def check_output(paths: Sequence[Path]) -> None:
    """Make sure, before the work, that files can be written, and that none is another's.

    Parameters
    ----------
    paths : sequence of Path
        That of the numbers first. The others are taken to be drawn from it, if it is there.

    Raises
    ------
    CommandError
        Names the file and says what to do.
    """
    first, *others = (writable(path) for path in paths)
    if first.exists() and first.stat().st_size:
        read_results(first)
        return
    for path in others:
        if path.exists():
            raise CommandError(
                f"{path} would be overwritten, and is not of results: there is no {first}. Choose "
                "another name, or move it away."
            )
