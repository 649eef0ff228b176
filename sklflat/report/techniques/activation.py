"""Which units vary with the target."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sklflat.probing import ActivationProbe, UnitDisplay
from sklflat.probing.false_discovery import discovered
from sklflat.report.findings import units_know_target
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


def fit(subject: Subject) -> ActivationProbe:
    """The variance of each unit that the target explains."""
    probe = ActivationProbe(subject.network, unit_score="class_variance", random_state=subject.seed)
    return fitted(probe, subject.held_out)


def tied_units(probe: ActivationProbe) -> NDArray[np.bool_]:
    """Mask (n_units,) of units that vary with the target beyond chance.

    Parameters
    ----------
    probe : ActivationProbe
        Fitted.
    """
    return discovered(probe.q_values_, probe.dead_, probe.unit_scores_)


def read(probe: ActivationProbe, subject: Subject) -> Reading:
    """How many units vary with the target beyond chance."""
    tied = tied_units(probe)
    n, alive = int(tied.sum()), n_living(probe)
    finding = units_know_target(subject.name, n, alive)
    strongest = str(probe.unit_names_[probe.unit_scores_.argmax()])
    quantities = (
        Quantity(
            "units that know the target",
            n,
            "Units whose activation varies with the target beyond shuffled targets.",
            source="q_values_",
        ),
        Quantity("strongest unit", strongest, "The one that varies most with the target."),
    )
    units = unit_columns(probe, explained_by_target=probe.unit_scores_, target_q=probe.q_values_)
    alt = (
        f"Variance of each of {len(tied)} units that the target explains, largest first, against "
        f"shuffled targets; {n} units are beyond chance."
    )
    return Reading(
        (
            finding.statement,
            f"The strongest is {strongest}: such units are the likeliest to come back in another "
            "training.",
        ),
        quantities,
        probe.null_hypothesis_,
        (finding,),
        units,
        alt=alt,
    )


def draw(probe: Any) -> Any:
    """The units' scores against chance."""
    return UnitDisplay.from_estimator(probe, selected=tied_units(probe)).figure_


ACTIVATION = Technique(
    "activation",
    "Units that know the target",
    "Which units vary with the target?",
    "probes",
    always,
    fit,
    read,
    draw,
)
