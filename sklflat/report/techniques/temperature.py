"""Whether confidence is honest, and whether classes form a hierarchy."""

import numpy as np

from sklflat.report.findings import class_hierarchy, honest_confidence
from sklflat.report.parts import Quantity
from sklflat.report.subjects import Subject
from sklflat.report.techniques.base import Reading, Technique, figure_of, fitted, unit_columns
from sklflat.temperature import TemperatureDisplay, TemperatureProbe
from sklflat.temperature.sweep import FEWEST_CLASSES


def why_not(subject: Subject) -> str:
    """Temperature belongs to probabilities of classes."""
    if not subject.is_classifier:
        return f"{subject.name} is a regressor, and a temperature divides the logits of classes"
    if np.asarray(subject.held_out.y).ndim > 1:
        return "rows have several labels, and a temperature belongs to one softmax"
    return ""


def fit(subject: Subject) -> TemperatureProbe:
    """Sweep the temperature on held-out rows."""
    probe = TemperatureProbe(
        subject.network, n_bootstrap=subject.effort.n_bootstrap, random_state=subject.seed
    )
    return fitted(probe, subject.held_out)


def read(probe: TemperatureProbe, subject: Subject) -> Reading:
    """The calibrated temperature, and the tree of classes if there is one."""
    found, n = probe.calibration_, len(probe.classes_)
    honest = honest_confidence(subject.name, found.temperature, found.interval, found.bound)
    has = probe.hierarchy_ is not None
    said = probe.findings_[0]
    tree = (class_hierarchy(subject.name, has, said),) if n >= FEWEST_CLASSES else ()
    quantities = (
        Quantity(
            "calibrated temperature",
            found.temperature,
            "What the logits should be divided by; 1 is honest, above 1 is too sure of itself.",
            low=found.interval[0],
            high=found.interval[1],
            source="calibrated_temperature_",
        ),
        Quantity(
            "calibration error",
            found.ece_before,
            "Mean distance of confidence and accuracy over 15 bins, as it is.",
            source="calibration_.ece_before",
        ),
        Quantity("hierarchy of classes", has, "Whether one is shown.", source="hierarchy_"),
        Quantity(
            "p-value of the hierarchy",
            probe.hierarchy_p_value_,
            "Of distances being no more those of a tree than by chance; at most 0.001 is needed.",
            source="hierarchy_p_value_",
        ),
        Quantity(
            "coarse units",
            int(probe.coarse_units_.sum()),
            "Units that matter more for what the logits are than for which class wins.",
            source="coarse_units_",
        ),
    )
    words = "a hierarchy is shown" if has else "no hierarchy is shown"
    alt = f"Tree of {n} classes ({words}), its stability over temperatures, and the units' shares."
    return Reading(
        (honest.statement, tree[0].statement if tree else said),
        quantities,
        "A temperature of 1; for the tree, the same distances given to other pairs of classes. "
        f"Units: {probe.null_hypothesis_}",
        (honest, *tree),
        unit_columns(probe, coarse=probe.coarse_units_, coarseness=probe.unit_scores_),
        alt=alt,
        inapplicable=()
        if tree
        else (f"A hierarchy of classes (SKF013) of {subject.name}: {said}",),
    )


TEMPERATURE = Technique(
    "temperature",
    "Confidence and classes",
    "Is its confidence honest, and do its classes form a tree?",
    "temperature",
    why_not,
    fit,
    read,
    figure_of(TemperatureDisplay),
)
