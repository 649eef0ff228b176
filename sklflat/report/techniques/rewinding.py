"""Whether most weights can go, and from where on training is settled."""

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import t

from sklflat.probing.resolve import is_search
from sklflat.report.findings import ticket
from sklflat.report.parts import Quantity
from sklflat.report.subjects import Subject
from sklflat.report.techniques.base import Reading, Technique, figure_of, fitted
from sklflat.report.wording import number
from sklflat.rewinding import BasinDisplay, BasinRewinder

#: share of the rows that the rewinder looks on
HOLDOUT = 0.25
OWN = (
    "Of an unpruned network that the rewinder trains itself, on the quarter of all rows that it "
    "holds out: another network and other rows than those of Predictions."
)


def why_not(subject: Subject) -> str:
    """Rewinding trains again, many times."""
    if not subject.effort.rewinds:
        return "tickets are looked for in a full report only, as that trains dozens of networks"
    if subject.fresh is None or is_search(subject.fresh):
        return f"{subject.name} has no training of its own that could be rewound"
    return ""


def fit(subject: Subject) -> BasinRewinder:
    """Find a ticket, the onset, and what comes back in retrained children."""
    rewinder = BasinRewinder(
        subject.fresh,
        n_retrains=4,
        holdout=HOLDOUT,
        cache_dir=subject.cache_dir,
        random_state=subject.seed,
    )
    return fitted(rewinder, subject.all_rows)


def read(rewinder: BasinRewinder, subject: Subject) -> Reading:
    """The ticket's score beside the whole network's, and the onset."""
    table, found = rewinder.rounds_, rewinder.consistency_["after"]
    whole = float(table.loc[table["remaining"].idxmax(), "score"])
    scores = np.asarray(found.child_scores, dtype=float)
    drop = whole - float(scores.mean())
    margin = float(np.hypot(margin_of(scores), _margin_of_rows(whole, subject)))
    finding = ticket(subject.name, rewinder.sparsity_, drop, margin, len(scores))
    quantities = (
        Quantity("pruned", rewinder.sparsity_, "Share of the weights.", source="sparsity_"),
        Quantity("score of the whole network", whole, OWN, source="rounds_"),
        Quantity(
            "score of retrained tickets",
            float(scores.mean()),
            "On the same rows: mean over children that were retrained in other orders.",
            source="consistency_['after'].child_scores",
        ),
        Quantity(
            "onset",
            rewinder.onset_,
            "The step from which on all continuations end in one basin; 0 is from the start.",
            "steps",
            source="onset_",
        ),
        Quantity(
            "instability",
            float(found.instability),
            "Mean barrier of the training error between children.",
            source="consistency_['after'].instability",
        ),
    )
    said = f"From step {number(rewinder.onset_)} on all continuations end in one basin."
    if rewinder.onset_ is None:
        said = "No step was found from which on all continuations end in one basin."
    if rewinder.entered_at_init_:
        said = (
            "All continuations end in one basin from the first step on, as on small clean tables."
        )
    alt = (
        f"Scores of tickets and controls over rounds of pruning, the onset, and the consistency "
        f"of units over {len(scores)} retrained children."
    )
    return Reading(
        (finding.statement, said),
        quantities,
        f"A drop of 0.02 of the score. Units: {rewinder.null_hypothesis_}",
        (finding,),
        {},  # units of the ticket, which is another network
        alt=alt,
    )


def _margin_of_rows(score: float, subject: Subject) -> float:
    """Of the difference of two accuracies on other rows like these, were all errors different.

    Of numbers it is not known.
    """
    if not subject.is_classifier:
        return 0.0
    n = HOLDOUT * len(subject.all_rows)
    return float(1.96 * np.sqrt(max(2 * score * (1 - score), 1 / n) / n))


def margin_of(scores: ArrayLike) -> float:
    """Half the width of Student's 95 % interval of a mean.

    Parameters
    ----------
    scores : array-like of shape (n_networks,)

    Examples
    --------
    >>> from sklflat.report.techniques.rewinding import margin_of
    >>> round(margin_of([0.0, 2.0]), 4)  # 12.7062 times a standard error of 1
    12.7062
    """
    x = np.asarray(scores, dtype=float)
    if len(x) < 2:
        return float("inf")
    return float(t.ppf(0.975, len(x) - 1) * x.std(ddof=1) / np.sqrt(len(x)))


REWINDING = Technique(
    "rewinding",
    "Tickets and onset",
    "Can most weights go, and when is training settled?",
    "rewinding",
    why_not,
    fit,
    read,
    figure_of(BasinDisplay),
    divides_anew=True,
)
