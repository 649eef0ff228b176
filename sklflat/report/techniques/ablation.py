"""Which units are needed, one by one."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sklflat.probing import AblationProbe, UnitDisplay
from sklflat.probing.ablation import needed_beyond_chance
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


def needed_and_tied(probe: AblationProbe) -> NDArray[np.bool_]:
    """Mask (n_units,) of units that are needed and beyond shuffled targets.

    Parameters
    ----------
    probe : AblationProbe
        Fitted.
    """
    return needed_beyond_chance(probe.decisions_, probe.p_values_, probe.dead_)


def read(probe: AblationProbe, subject: Subject) -> Reading:
    """What held-out rows decide about each unit."""
    found, alive, n = probe.decisions_, n_living(probe), len(probe.unit_scores_)
    counts = {v: found.count(v) for v in ("needed", "harmful", "negligible", "undecided")}
    dead, tied = int(probe.dead_.sum()), needed_and_tied(probe)
    untied, counts["needed"] = counts["needed"] - int(tied.sum()), int(tied.sum())
    counts["negligible"] -= dead  # a dead unit changes nothing, whatever the rows
    needed = needed_units(
        subject.name,
        counts["needed"],
        counts["negligible"],
        alive,
        found.rows_for_half,
        found.n_rows,
    )
    harmful = harmful_units(subject.name, counts["harmful"], counts["undecided"], alive)
    quantities = _quantities(counts, untied, n, dead)
    first = (
        f"Of {alive} living units {counts['needed']} are needed, {counts['harmful']} harm, "
        f"{counts['negligible']} are negligible and {counts['undecided']} undecided"
        + (f"; {untied} matter to the outputs, but not to the target." if untied else ".")
    )
    units = unit_columns(
        probe,
        verdict=np.where(
            (found.verdict == "needed") & ~tied, "needed whatever the target", found.verdict
        ),
        rise_of_loss=found.rise,
        low=found.low,
        high=found.high,
        q=probe.q_values_,
        dead=probe.dead_,
    )
    cards = {str(name): str(probe.unit_card(str(name))) for name in probe.unit_names_}
    alt = (
        f"Rise of the held-out loss without each of {n} units, largest first, against the range of "
        f"shuffled targets; {counts['needed']} are needed."
    )
    return Reading(
        (first, needed.statement),
        quantities,
        "A rise is compared with 0 over held-out rows and with that for shuffled targets, at a "
        f"false discovery rate of 5 % over units. {probe.null_hypothesis_}",
        (dead_units(subject.name, dead, n, found.n_rows), needed, harmful),
        units,
        cards,
        alt,
    )


def _quantities(counts: dict[str, int], untied: int, n: int, dead: int) -> tuple[Quantity, ...]:
    meanings = {
        "needed": "Units without which the held-out loss rises, beyond shuffled targets.",
        "harmful": "Units without which it is shown to fall.",
        "negligible": "Living units without which it is shown to stay as it is, within 1 %.",
        "undecided": "Units of which the rows are too few to say.",
    }
    quantities = [
        Quantity(f"{name} units", count, meanings[name], source=f"decisions_.count({name!r})")
        for name, count in counts.items()
    ]
    quantities += [
        Quantity(
            "needed whatever the target",
            untied,
            "Units without which the loss rises, but no more than it does for shuffled targets: "
            "the network's outputs need them, and the target does not.",
            source="decisions_, p_values_",
        ),
        Quantity("units", n, "Hidden units of all layers.", source="unit_names_"),
        Quantity("dead units", dead, "Units that do the same for all rows.", source="dead_"),
    ]
    return tuple(quantities)


def draw(probe: Any) -> Any:
    """The units' scores against chance."""
    return UnitDisplay.from_estimator(probe, selected=needed_and_tied(probe)).figure_


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
