"""How many units are needed together."""

import numpy as np

from sklflat.pruning import PruningDisplay, PruningPath
from sklflat.report.findings import more_units_than_needed
from sklflat.report.parts import Quantity
from sklflat.report.subjects import Subject
from sklflat.report.techniques.base import (
    Reading,
    Technique,
    always,
    figure_of,
    fitted,
    n_living,
    unit_columns,
)


def fit(subject: Subject) -> PruningPath:
    """Leave units out, one after the other."""
    path = PruningPath(subject.network, n_random=subject.effort.n_random, random_state=subject.seed)
    return fitted(path, subject.held_out)


def read(path: PruningPath, subject: Subject) -> Reading:
    """The smallest number of units that is shown to be enough."""
    alive, n = n_living(path), path.n_units_
    judged = n in path.path_.sizes
    row = path.path_.at(n) if judged else {"drop": np.nan, "low": np.nan, "high": np.inf}
    drop = float(row["drop"]), float(row["low"]), float(row["high"])
    finding = more_units_than_needed(subject.name, n, alive, drop, path.tol)
    quantities = (
        Quantity(
            "units kept",
            n,
            "The smallest number that is shown to lose no more than 0.01 of the score.",
            source="n_units_",
        ),
        Quantity("living units of the path", alive, "Units that do something.", source="dead_"),
        Quantity(
            "drop",
            drop[0],
            "Of accuracy or R² with these units only, on rows that neither trained nor chose.",
            low=drop[1],
            high=drop[2],
            source="path_.at(n_units_)",
        ),
        Quantity(
            "p-value of the choice",
            path.p_value_,
            "Share of random sets of as many units that do as well.",
            source="p_value_",
        ),
    )
    alt = (
        f"Score with every number of units of the path, with its interval, beside random sets; "
        f"{n} of {alive} units are kept."
    )
    place = (np.argsort(path.order_) + 1).tolist()
    return Reading(
        (finding.statement, path.findings_[-1]),
        quantities,
        "A drop of more than 0.01; and random sets of as many units.",
        (finding,),
        unit_columns(path, kept=path.support_, place_in_path=place),
        alt=alt,
    )


PRUNING = Technique(
    "pruning",
    "Units that are needed together",
    "How many units does the network need?",
    "pruning",
    always,
    fit,
    read,
    figure_of(PruningDisplay),
    says_shortage=True,
)
