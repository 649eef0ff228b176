"""What the codes of findings mean: what each rejects, how often by mistake, and what to do."""

from dataclasses import dataclass

from sklflat.report.false_alarms import FALSE_ALARMS

#: where the documentation of a code is
PAGE = "https://sklflat.readthedocs.io/en/latest/user_guide/report.html"


@dataclass(frozen=True)
class Code:
    """One kind of finding.

    Parameters
    ----------
    title : str
        What is claimed.
    null : str
        What is rejected by the claim, in words.
    action : str
        What to do where it needs attention.
    decides : str, default=""
        What would decide it where it is open.
    """

    title: str
    null: str
    action: str
    decides: str = "More held-out rows."


CODES = {
    "SKF001": Code(
        "Better than a constant",
        "On held-out rows the network is right no more often than always saying the most frequent "
        "class (for numbers: its squared error is no less than that of the mean). An interval that "
        "contains 0 leaves it open; one wholly below 0 is worse than a constant.",
        "Check the target, the columns and the training before reading anything else on this page.",
    ),
    "SKF002": Code(
        "Estimators differ on held-out rows",
        "Both estimators are right equally often (for numbers: have the same squared error).",
        "Prefer the better one.",
        "More held-out rows; or choose by what else the page says.",
    ),
    "SKF003": Code(
        "Units that do nothing",
        "The unit is active on one row in a hundred.",
        "Dead units can be removed; many of them are a sign of a learning rate that is too high.",
    ),
    "SKF004": Code(
        "Units that are needed",
        "Without the unit the loss on rows like these does not rise, or the target has nothing to "
        "do with what the network says (for every unit).",
        "Prune the network: single units can be done without.",
        "More held-out rows; the statement says how many, where that can be told.",
    ),
    "SKF005": Code(
        "Units that harm",
        "Without the unit the loss on rows like these does not fall (for every unit).",
        "Look at the cards of these units: they have fitted something that does not hold here.",
    ),
    "SKF006": Code(
        "Units that know the target",
        "On these rows the target has nothing to do with the unit (for every unit).",
        "Check the data and the training; what is not shown here is not shown to be absent.",
        "More held-out rows, or longer training.",
    ),
    "SKF007": Code(
        "Flat minimum",
        "Over rows like those that the loss is of (the rows trained on; of networks that were "
        "brought trained, the rows given), a step of 0.05 along the sharpest direction raises the "
        "loss by more than 1 % of a constant's loss.",
        "Train with a larger rho, or a larger learning rate, and compare.",
        "More rows, or a larger n_components where eigenpairs are not certified.",
    ),
    "SKF008": Code(
        "Training has come to rest",
        "None: the gradient is known exactly, so no mistake by chance is possible.",
        "Train longer: the curvature is that of a point on the way, and not of a minimum.",
    ),
    "SKF009": Code(
        "Flatter than the first estimator",
        "Trainings of both estimators, from the same seeds where they are trained here, end "
        "equally sharp. A difference that is shown passes where this one is flatter, or sharper by "
        "at most 5 %, which is too little to matter.",
        "Prefer the other one if it predicts as well.",
        "More trainings (n_models).",
    ),
    "SKF010": Code(
        "Two trainings end in one valley",
        "Halfway between two trainings, units aligned, the error on rows like these is more than "
        "2 % above that of the ends.",
        "Do not average these networks or their weights; a larger network often is connected.",
    ),
    "SKF011": Code(
        "Another training finds the same units",
        "The unit correlates no more with units of other trainings than a unit of a network that "
        "has learned nothing (for every unit). Needs attention where, the other way round, it "
        "is shown that units correlate by at most 0.1 more on average, and else is open.",
        "Do not give a meaning to units that do not come back: another seed has others.",
        "More trainings (n_models) and held-out rows; the table of units says which come back.",
    ),
    "SKF012": Code(
        "Confidence is honest",
        "The network's probabilities are right: labels are drawn from them.",
        "Divide the logits by the temperature: TemperatureClassifier(estimator, "
        "temperature='nll').",
    ),
    "SKF013": Code(
        "A hierarchy of classes",
        "What the network confuses says nothing of pairs of classes beyond how hard each is. Left "
        "out below seven classes: their names can be put in too few orders.",
        "Do not draw a tree of these classes.",
        "More rows a class; until then, do not draw a tree of these classes.",
    ),
    "SKF014": Code(
        "A small tree can stand for the network",
        "A tree that never saw the network agrees with it as often (for numbers: has the same R² "
        "to its outputs).",
        "Take the rules for those of the data, and not of the network.",
        "A larger surrogate; until then, take the rules for those of the data.",
    ),
    "SKF015": Code(
        "More units than needed",
        "Without the other units the network loses more than 1 % of its accuracy (or R²).",
        "PruningPath(...).to_module() gives the smaller network.",
    ),
    "SKF016": Code(
        "A ticket: most weights can go",
        "The pruned and retrained network is worse by 2 % of the rows or more.",
        "Prune less: BasinRewinder(sparsity=...).",
        "More retrained networks (n_retrains).",
    ),
}


def link(code: str) -> str:
    """Where the documentation of a code is.

    Parameters
    ----------
    code : str
    """
    return f"{PAGE}#{code.lower()}"


def false_alarm(code: str) -> str:
    """How often a code is reported by mistake, in words.

    Parameters
    ----------
    code : str

    Examples
    --------
    >>> from sklflat.report.codes import false_alarm
    >>> false_alarm("SKF008")
    'no chance is involved'
    """
    if code not in FALSE_ALARMS:
        return "no chance is involved"
    n_false, n_runs = FALSE_ALARMS[code]
    return f"{n_false} of {n_runs:,} null runs ({n_false / n_runs:.1%})"
