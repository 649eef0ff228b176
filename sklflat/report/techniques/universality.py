"""Which units come back when the network is trained again."""

from math import hypot, inf, sqrt

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm
from scipy.stats import t as student_t

from sklflat.probing.split import Rows
from sklflat.report.findings import units_come_back
from sklflat.report.parts import Quantity
from sklflat.report.subjects import Subject
from sklflat.report.techniques.base import (
    Reading,
    Technique,
    figure_of,
    fitted,
    n_living,
    unit_columns,
)
from sklflat.universality import UniversalityDisplay, UniversalityProbe
from sklflat.universality.networks import MIN_OTHERS


def why_not(subject: Subject) -> str:
    """Further trainings are needed."""
    if len(subject.networks) > MIN_OTHERS:
        return ""
    if subject.fresh is None:
        return (
            f"{subject.name} is a trained network that cannot be trained again, so nothing can be "
            f"said of what comes back: give a list of it and at least {MIN_OTHERS} further "
            "trainings"
        )
    return f"of {subject.name} fewer than {MIN_OTHERS} further trainings have ended"


def fit(subject: Subject) -> UniversalityProbe:
    """Compare the network with all of its further trainings."""
    probe = UniversalityProbe(list(subject.networks), random_state=subject.seed)
    return fitted(probe, subject.held_out)


def read(probe: UniversalityProbe, subject: Subject) -> Reading:
    """How many units come back, and how far that can be relied on."""
    excess = (probe.returns_ - probe.chance_)[:, ~probe.dead_]
    bound = mean_return_bound(excess, _n_independent(subject.held_out))
    n, alive, models = len(probe.universal_units_), n_living(probe), len(probe.returns_)
    finding = units_come_back(subject.name, n, alive, models, len(subject.held_out), bound)
    mean, chance = float(probe.returns_.mean()), float(probe.chance_.mean())
    reliability = float(probe.reliability_.excess)
    quantities = (
        Quantity(
            "units that come back",
            n,
            "Units that correlate with a unit of the other trainings beyond networks that have "
            "learned nothing.",
            source="universal_units_",
        ),
        Quantity("living units", alive, "Units that do something.", source="dead_"),
        Quantity("further trainings", models, "From other seeds.", source="returns_"),
        Quantity(
            "mean return",
            mean,
            "Mean correlation of a unit with its partner in another training.",
            source="returns_",
        ),
        Quantity(
            "mean return by chance",
            chance,
            "The same with networks that have learned nothing.",
            source="chance_",
        ),
        Quantity(
            "reliability",
            reliability,
            "Rank correlation that the order of the units would have with that by as many other "
            "trainings; below 0.7 single units should not be compared.",
            source="reliability_.excess",
        ),
    )
    second = (
        f"A unit correlates {mean:.2f} with its partner on average, and {chance:.2f} by chance; "
        f"as many other trainings would order the units alike with a rank correlation of "
        f"{reliability:.2f}."
    )
    alt = (
        f"Correlation of each of {len(probe.unit_names_)} units with its partner in {models} "
        f"further trainings, against networks that have learned nothing; {n} come back."
    )
    comes_back = [str(name) in set(map(str, probe.universal_units_)) for name in probe.unit_names_]
    return Reading(
        (finding.statement, second),
        quantities,
        probe.null_hypothesis_,
        (finding,),
        unit_columns(
            probe,
            comes_back=comes_back,
            return_above_chance=probe.unit_scores_,
            return_q=probe.q_values_,
        ),
        alt=alt,
    )


def mean_return_bound(excess: NDArray, n_rows: float) -> float:
    """Upper 95 % bound of the mean of returns above chance, over trainings and rows.

    Correlations of one network's units with others' err together: the error over rows of their
    mean is taken to be as large as that of a single one, 1 / sqrt(n_rows), which is the most that
    it can be.

    Parameters
    ----------
    excess : ndarray of shape (n_models, n_units)
    n_rows : float
        Independent rows.

    Returns
    -------
    bound : float
        Infinite for fewer than two trainings, or no units.
    """
    n_models, n_units = excess.shape
    if n_models < 2 or not n_units or not n_rows:
        return inf
    means = excess.mean(axis=1)
    over_trainings = student_t.ppf(0.95, n_models - 1) * means.std(ddof=1) / sqrt(n_models)
    return float(means.mean() + hypot(over_trainings, norm.ppf(0.95) / sqrt(n_rows)))


def _n_independent(rows: Rows) -> float:
    """Groups where there are some, else rows of equal weight that these are worth."""
    if rows.groups is not None:
        return len(np.unique(rows.groups))
    w = np.ones(len(rows)) if rows.weight is None else np.asarray(rows.weight, dtype=float)
    return float(w.sum() ** 2 / np.square(w).sum()) if w.any() else 0.0


UNIVERSALITY = Technique(
    "universality",
    "Units that come back",
    "Would another training find the same features?",
    "universality",
    why_not,
    fit,
    read,
    figure_of(UniversalityDisplay),
)
