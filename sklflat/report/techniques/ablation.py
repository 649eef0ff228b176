"""Which units are needed, one by one."""

from typing import Any

from sklflat.probing import AblationProbe, UnitDisplay
from sklflat.report.findings import dead_units, harmful_units, needed_units
from sklflat.report.parts import Quantity
from sklflat.report.subjects import Subject
from sklflat.report.techniques.base import (
    Reading,
    Technique,
    always,
    fitted,
    n_living,
    unit_columns,
)


def fit(subject: Subject) -> AblationProbe:
    """Silence each unit on held-out rows."""
    return fitted(AblationProbe(subject.network, random_state=subject.seed), subject.held_out)


def read(probe: AblationProbe, subject: Subject) -> Reading:
    """What held-out rows decide about each unit."""
    found, alive, n = probe.decisions_, n_living(probe), len(probe.unit_scores_)
    counts = {v: found.count(v) for v in ("needed", "harmful", "negligible", "undecided")}
    dead = int(probe.dead_.sum())
    counts["negligible"] -= dead  # a dead unit changes nothing, whatever the rows
    needed = needed_units(
        subject.name, counts["needed"], counts["negligible"], alive, found.rows_for_half
    )
    harmful = harmful_units(subject.name, counts["harmful"], counts["undecided"], alive)
    meanings = {
        "needed": "Units without which the held-out loss is shown to rise.",
        "harmful": "Units without which it is shown to fall.",
        "negligible": "Living units without which it is shown to stay as it is, within 1 %.",
        "undecided": "Units of which the rows are too few to say.",
    }
    quantities = [
        Quantity(f"{name} units", count, meanings[name], source=f"decisions_.count({name!r})")
        for name, count in counts.items()
    ]
    quantities += [
        Quantity("units", n, "Hidden units of all layers.", source="unit_names_"),
        Quantity("dead units", dead, "Units that do the same for all rows.", source="dead_"),
    ]
    first = (
        f"Of {alive} living units {counts['needed']} are needed, {counts['harmful']} harm, "
        f"{counts['negligible']} are negligible and {counts['undecided']} undecided."
    )
    units = unit_columns(
        probe,
        verdict=found.verdict,
        rise_of_loss=found.rise,
        low=found.low,
        high=found.high,
        q=probe.q_values_,
        dead=probe.dead_,
    )
    cards = {str(name): str(probe.unit_card(str(name))) for name in probe.unit_names_}
    alt = (
        f"Rise of the held-out loss without each of {n} units, largest first, against the range of "
        f"shuffled targets; {counts['needed']} units are selected."
    )
    return Reading(
        (first, needed.statement),
        tuple(quantities),
        "A rise is compared with 0 over held-out rows, at a false discovery rate of 5 % over "
        f"units. {probe.null_hypothesis_}",
        (dead_units(subject.name, dead, n, found.n_rows), needed, harmful),
        units,
        cards,
        alt,
    )


def draw(probe: Any) -> Any:
    """The units' scores against chance."""
    return UnitDisplay.from_estimator(probe).figure_


ABLATION = Technique(
    "ablation",
    "Needed units",
    "Which units does the network need?",
    "probes",
    always,
    fit,
    read,
    draw,
)
