"""Whether two trainings end in one valley."""

from typing import Any

import numpy as np

from sklflat.connectivity import ModeConnectivityProbe, PathDisplay
from sklflat.report.findings import BARRIER, one_valley
from sklflat.report.parts import Quantity
from sklflat.report.subjects import Subject
from sklflat.report.targets import total_variance
from sklflat.report.techniques.base import Reading, Technique, figure_of, fitted, unit_columns
from sklflat.report.wording import listed


def why_not(subject: Subject) -> str:
    """A path needs two ends."""
    if len(subject.networks) > 1:
        return ""
    return (
        f"{subject.name} is one trained network that cannot be trained again, and a path needs two "
        "ends: give a list of it and further trainings"
    )


def fit(subject: Subject) -> ModeConnectivityProbe:
    """Align the network with its second training and join them."""
    probe = ModeConnectivityProbe(list(subject.networks[:2]), random_state=subject.seed)
    return fitted(probe, subject.held_out)


def read(probe: ModeConnectivityProbe, subject: Subject) -> Reading:
    """The barrier between the two, and the units that stay what they are."""
    barriers = probe.barriers_
    has_error = barriers.curves[1, "aligned"].curves["held-out"].error is not None
    measure = "error" if has_error else "loss"
    barrier = barriers.value("aligned", measure)
    curve = barriers.curves[1, "aligned"].curves["held-out"]
    values = np.asarray(curve.error if has_error else curve.loss)
    n = len(subject.held_out) - len(subject.held_out) // 2  # the other half is matched on
    scale, error = 1.0, barrier_error(values, n)
    if not subject.is_classifier:
        scale = total_variance(subject.held_out.y)
        error = float(np.max(values)) / np.sqrt(n)
    finding = one_valley(subject.name, barrier, error, n, scale)
    core = [str(u) for u in probe.unit_names_[probe.core_.mask]]
    quantities = [
        Quantity(
            "barrier of the error, aligned",
            100 * barrier / scale,
            "Rise of the held-out error above the ends on the straight way between two trainings "
            f"with aligned units, in per cent of the rows; at most {BARRIER:.0%} is one valley.",
            "%",
            source=f"barriers_.value('aligned', {measure!r})",
        ),
        Quantity(
            "barrier of the error, as they are",
            100 * barriers.value("naive", measure) / scale,
            "The same without aligning units.",
            "%",
            source=f"barriers_.value('naive', {measure!r})",
        ),
        Quantity(
            "barrier of the loss, aligned",
            barriers.value("aligned", "loss"),
            "Rise of the held-out loss.",
            source="barriers_.value('aligned', 'loss')",
        ),
        Quantity(
            "units of the invariant core",
            len(core),
            "Units that keep their activations on the way, beyond all nulls.",
            source="core_.mask",
        ),
    ]
    said = f"{len(core)} of {len(probe.unit_names_)} units keep their activations on the way"
    said += f": {listed(core[:8])}{' and others' if len(core) > 8 else ''}." if core else "."
    alt = (
        "Loss and error on held-out rows along the way between two trainings: as they are, with "
        f"aligned units, and repaired. The largest rise of the aligned error is "
        f"{barrier / scale:.1%}."
    )
    return Reading(
        (finding.statement, said),
        tuple(quantities),
        "The barrier is compared with 2 % of the rows. Units: " + probe.null_hypothesis_,
        (finding,),
        unit_columns(probe, core=probe.core_.mask, along_path=probe.unit_scores_),
        alt=alt,
    )


def barrier_error(errors: Any, n_rows: int) -> float:
    """Standard error of a barrier: of the difference of the largest error and the ends' mean.

    Rows are the same at all points, and errors at the ends are taken to be among those of the
    peak; where they are not, the binomial error of both is added up.

    Parameters
    ----------
    errors : array-like of shape (n_points,)
        Shares of wrong rows, ends first and last.
    n_rows : int

    Examples
    --------
    >>> from sklflat.report.techniques.connectivity import barrier_error
    >>> round(barrier_error([0.0, 0.1, 0.0], 100), 3)
    0.03
    """
    e = np.asarray(errors, dtype=float)
    ends, peak = (e[0] + e[-1]) / 2, e.max()
    # one row more or less is never excluded
    variance = max(peak * (1 - peak) + ends * (1 - ends) * (ends > 0) / 2, 1 / n_rows)
    return float(np.sqrt(variance / n_rows))


CONNECTIVITY = Technique(
    "connectivity",
    "One valley",
    "Do two trainings end in the same valley?",
    "connectivity",
    why_not,
    fit,
    read,
    figure_of(PathDisplay),
)
