"""A section: one technique on one estimator, measured, read and drawn, or read from a store."""

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from sklflat.exceptions import NothingFoundWarning, collected_warnings
from sklflat.probing.resolve import resolve
from sklflat.report.parts import Finding, Picture, Quantity, Section, plain
from sklflat.report.pictures import png_of
from sklflat.report.subjects import Subject
from sklflat.report.techniques import Reading, Technique
from sklflat.report.trained_networks import named_error
from sklflat.storage import RunStore, fingerprint

#: name of numbers that JSON cannot hold
_NOT_FINITE = "not finite"


def measured(
    technique: Technique, subject: Subject, store: RunStore | None = None
) -> tuple[Section, Any]:
    """The section of a technique and a subject, and the fitted probe.

    The probe is None where the technique does not apply, could not be measured, or was measured
    before and is read from the store.

    Parameters
    ----------
    technique : Technique
    subject : Subject
    store : RunStore, default=None
    """
    head: dict[str, Any] = {
        "technique": technique.key,
        "estimator": subject.name,
        "title": technique.title,
        "question": technique.question,
        "page": technique.link,
    }
    why = technique.why_not(subject)
    if why:
        return Section(**head, left_out=f"{why}."), None
    key = None if store is None else _key(technique, subject)
    if store is not None and key is not None:
        kept = store.get(key)
        if kept is not None:
            return _restored(head, *kept), None
    section, probe = _computed(technique, subject, head)
    if store is not None and key is not None and not section.left_out:
        _keep(store, key, section)
    return section, probe


def _computed(technique: Technique, subject: Subject, head: dict[str, Any]) -> tuple[Section, Any]:
    start = time.perf_counter()
    with collected_warnings() as caught:
        try:
            probe = technique.fit(subject)
            reading = technique.read(probe, subject)
            picture = None if technique.draw is None else _picture(technique, probe, reading)
        except ValueError as error:  # of data or a network that a technique cannot treat
            if technique.key == "prediction":  # then they do not go together
                raise named_error(subject.name, error) from None
            return Section(**head, left_out=f"{subject.name}: {error}"), None
    # that nothing was found is said by the findings, but why no unit can go is not
    left_out = (DeprecationWarning, *(() if technique.says_shortage else (NothingFoundWarning,)))
    said = [w for w in caught if not issubclass(w.category, left_out)]
    notes = dict.fromkeys(str(w.message) for w in said)
    return Section(
        **head,
        sentences=reading.sentences,
        quantities=reading.quantities,
        null=reading.null,
        settings=_settings(probe, subject, technique.divides_anew),
        notes=tuple(notes),
        findings=reading.findings,
        units=reading.units,
        cards=reading.cards,
        seconds=time.perf_counter() - start,
        picture=picture,
        details={name: np.asarray(v, dtype=float).tolist() for name, v in reading.details.items()},
        inapplicable=reading.inapplicable,
    ), probe


def _picture(technique: Technique, probe: Any, reading: Reading) -> Picture | None:
    assert technique.draw is not None
    png = png_of(technique.draw, probe)
    return None if png is None else Picture(png, reading.alt, technique.question)


def _settings(probe: Any, subject: Subject, divides_anew: bool) -> dict[str, str]:
    """Parameters of the probe that are not its defaults, and the rows."""
    probe = getattr(probe, "spectrum", probe)
    found = {
        "held-out rows": f"{len(subject.held_out):,}",
        "rows trained on": "not known"
        if subject.trained_on is None
        else f"{len(subject.trained_on):,}",
    }
    if divides_anew:
        found = {"rows": f"all {len(subject.all_rows):,}, divided anew by the probe"}
    if hasattr(probe, "get_params"):
        defaults = type(probe)().get_params(deep=False)
        for name, value in probe.get_params(deep=False).items():
            if name not in ("estimator", "cache_dir") and value is not defaults[name]:
                found[name] = str(value)
        found = {"probe": type(probe).__name__, **found}
    return found


# --- kept sections --------------------------------------------------------------------------------


def _key(technique: Technique, subject: Subject) -> str | None:
    """What a section depends on; None where that cannot be said, so that nothing is kept."""
    rows = [subject.held_out, subject.trained_on, subject.all_rows]
    try:
        return fingerprint(
            "section",
            technique.key,
            subject.name,
            asdict(subject.effort),
            subject.seed,
            [resolve(network).network.vector.read() for network in subject.networks],
            [None if r is None else [r.X, r.y, dict(r.params)] for r in rows],
            subject.fresh if technique.key == "rewinding" else None,
        )
    except TypeError:
        return None


def _keep(store: RunStore, key: str, section: Section) -> None:
    info = asdict(section)
    picture = info.pop("picture")
    arrays = {}
    if picture is not None:
        arrays["png"] = np.frombuffer(picture.pop("png"), dtype=np.uint8)
    found = plain(info, lambda value: {_NOT_FINITE: str(value)})
    store.put(key, arrays, {"section": found, "picture": picture})


def _restored(head: dict[str, Any], arrays: dict[str, np.ndarray], info: Any) -> Section:
    """A section as it was kept, under the names that it has now."""
    fields = _decoded(info["section"])
    picture = info["picture"]
    fields["quantities"] = tuple(Quantity(**q) for q in fields["quantities"])
    fields["findings"] = tuple(Finding(**f) for f in fields["findings"])
    fields["sentences"], fields["notes"] = tuple(fields["sentences"]), tuple(fields["notes"])
    fields["inapplicable"] = tuple(fields.get("inapplicable", ()))
    fields["picture"] = None if picture is None else Picture(arrays["png"].tobytes(), **picture)
    return Section(**{**fields, **head})


def _decoded(value: Any) -> Any:
    if isinstance(value, dict):
        if set(value) == {_NOT_FINITE}:
            return float(value[_NOT_FINITE])
        return {k: _decoded(v) for k, v in value.items()}
    return [_decoded(v) for v in value] if isinstance(value, list) else value


def open_store(cache_dir: Any) -> RunStore | None:
    """The store of finished sections, beside the trainings.

    Parameters
    ----------
    cache_dir : path or None
    """
    return None if cache_dir is None else RunStore(Path(cache_dir) / "sections")
