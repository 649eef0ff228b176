"""What is looked at: estimators, trained once each from several seeds, and the rows to look on."""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import is_classifier
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline

from sklflat.exceptions import DivergenceError
from sklflat.probing.resolve import is_frozen, unfitted
from sklflat.probing.split import Rows, split_rows
from sklflat.report.efforts import Effort
from sklflat.report.encoding import encoder_of, inputs_of_categories
from sklflat.report.stopping import stopped
from sklflat.report.targets import TargetUnit
from sklflat.report.trained_networks import (
    TrainedNetworks,
    brought,
    train_all,
    without_diverged,
)
from sklflat.training import SAMClassifier, SAMRegressor


@dataclass(frozen=True, eq=False)
class Subject:
    """One estimator under its name, trained, and the rows that it is looked at on.

    Parameters
    ----------
    name : str
    networks : tuple of frozen estimators
        The first is described; the others are further trainings of it.
    held_out : Rows
        That no network was trained on.
    trained_on : Rows or None
        None for networks that were brought trained.
    fresh : estimator or None
        What can be trained again; None for networks that were brought trained.
    all_rows : Rows
        For techniques that train by themselves.
    effort : Effort
    seed : int
    is_classifier : bool
    n_failed : int
        Further trainings that diverged.
    notes : tuple of str
        What training has warned of.
    cache_dir : path or None
    stopped : str, default=""
        That training ended before it converged, in words; empty where it did not.
    """

    name: str
    networks: tuple[Any, ...]
    held_out: Rows
    trained_on: Rows | None
    fresh: Any
    all_rows: Rows
    effort: Effort
    seed: int
    is_classifier: bool
    n_failed: int = 0
    notes: tuple[str, ...] = ()
    cache_dir: Any = None
    stopped: str = ""

    @property
    def loss_name(self) -> str:
        """What the loss that curvature is of is called."""
        return "loss on the rows given" if self.trained_on is None else "training loss"

    @property
    def network(self) -> Any:
        """The network that is described."""
        return self.networks[0]

    def at_most(self, rows: Rows, n_most: int) -> Rows:
        """At most so many of the rows, drawn by the seed."""
        return rows.at_most(n_most, np.random.RandomState(self.seed))


def default_estimators(is_classification: bool, effort: Effort) -> dict[str, Any]:
    """Plain training and sharpness-aware training of the same network.

    Parameters
    ----------
    is_classification : bool
    effort : Effort
    """
    kind = SAMClassifier if is_classification else SAMRegressor
    n = effort.max_iter
    return {"plain": kind(rho=0, max_iter=n), "SAM": kind(max_iter=n)}


def named(estimators: Any) -> dict[str, Any]:
    """Estimators by name: of a dictionary its keys, else their classes, numbered where equal.

    Parameters
    ----------
    estimators : estimator, list of estimators, or dict of str to estimator
        An entry may be a list of frozen networks: one, and further trainings of it.

    Raises
    ------
    ValueError
        If there are none.
    """
    if isinstance(estimators, dict):
        found = {str(name): each for name, each in estimators.items()}
    else:
        many = list(estimators) if isinstance(estimators, (list, tuple)) else [estimators]
        kinds = [_kind(each) for each in many]
        found = {
            kind if kinds.count(kind) == 1 else f"{kind} {kinds[: i + 1].count(kind)}": each
            for i, (kind, each) in enumerate(zip(kinds, many, strict=True))
        }
    if not found:
        raise ValueError("estimators is empty: give one estimator at least, or None for two.")
    return found


def _kind(estimator: Any) -> str:
    while isinstance(estimator, (list, tuple)) and estimator:
        estimator = estimator[0]
    while isinstance(estimator, (FrozenEstimator, Pipeline)):
        last = estimator.steps[-1][1] if isinstance(estimator, Pipeline) else None
        estimator = estimator.estimator if last is None else last
    return type(estimator).__name__


def is_given(estimator: Any) -> bool:
    """Whether it was brought trained: a frozen network, or a list of such.

    Parameters
    ----------
    estimator : estimator or list of estimators
    """
    if isinstance(estimator, (list, tuple)):
        others = [e for e in estimator if not is_frozen(e)]
        if others or not estimator:
            raise ValueError(
                "A list in the place of an estimator is a network and further trainings of it, all "
                "frozen: FrozenEstimator(fitted) or from_module(...). Got "
                f"{[type(e).__name__ for e in estimator]}."
            )
        return True
    return is_frozen(estimator)


def task_of(estimators: dict[str, Any]) -> bool:
    """Whether the estimators classify.

    Parameters
    ----------
    estimators : dict of str to estimator or list

    Raises
    ------
    ValueError
        If some do and some do not.
    """
    first = {n: e[0] if isinstance(e, (list, tuple)) else e for n, e in estimators.items()}
    kinds = {name: bool(is_classifier(unfitted_kind(e))) for name, e in first.items()}
    if len(set(kinds.values())) > 1:
        one, other = ([n for n, k in kinds.items() if k is want] for want in (True, False))
        raise ValueError(
            f"estimators mixes classifiers ({', '.join(one)}) and regressors ({', '.join(other)}): "
            "make a report of each kind."
        )
    return next(iter(kinds.values()))


def unfitted_kind(estimator: Any) -> Any:
    """An estimator that says whether it classifies; of a skorch net its facade.

    Parameters
    ----------
    estimator : estimator
    """
    if is_frozen(estimator):
        return estimator
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it is fitted is said when it is trained
        return unfitted(estimator)


# --- from estimators and rows to subjects ---------------------------------------------------------


@dataclass(frozen=True)
class Plan:
    """How estimators are trained and rows divided.

    Parameters
    ----------
    effort : Effort
    is_classification : bool
    holdout : float
    encodes : bool
        Whether columns are encoded before the networks.
    n_jobs : int or None
    verbose : int
    """

    effort: Effort
    is_classification: bool
    holdout: float
    encodes: bool
    n_jobs: int | None
    verbose: int


def subjects_of(
    estimators: dict[str, Any],
    rows: Rows,
    plan: Plan,
    rng: np.random.RandomState,
    cache_dir: Any = None,
) -> tuple[list[Subject], dict[str, str], tuple[str, ...]]:
    """Train what is to be trained, divide the rows, and say what was done to columns and target.

    What of the estimators is left out, as it diverged, is said at the end.

    Parameters
    ----------
    estimators : dict of str to estimator or list of frozen estimators
    rows : Rows
    plan : Plan
    rng : RandomState
    cache_dir : path, default=None
    """
    seed = int(rng.randint(2**31 - 2))
    given = {n: e for n, e in estimators.items() if is_given(e)}
    fresh = {n: e for n, e in estimators.items() if n not in given}
    fitted, scored = None, rows
    ended: dict[str, TrainedNetworks | DivergenceError] = {}
    said = {"encoding of the columns": "as the estimators have it"}
    if fresh:
        fitted, scored = split_rows(rows, plan.holdout, plan.is_classification, rng)
        encoder, ready = None, fitted
        if plan.encodes:
            encoder, words = encoder_of(rows.X)
            if not plan.is_classification:
                unit = TargetUnit.of(fitted)
                fitted, scored, rows = (unit.standardised(r) for r in (fitted, scored, rows))
                said["target"] = unit.said
            encoded = np.asarray(encoder.fit_transform(fitted.X))
            words = (*words, *inputs_of_categories(encoder))
            said["encoding of the columns"] = " ".join(words)
            ready = Rows(encoded, fitted.y, fitted.params, fitted.numbers)
        runs = None if cache_dir is None else Path(cache_dir) / "runs"
        settings = {"n_jobs": plan.n_jobs, "cache_dir": runs, "verbose": plan.verbose}
        ended = train_all(fresh, ready, encoder, plan.effort.n_models, seed, **settings)
    scored = scored.at_most(plan.effort.max_held_out, np.random.RandomState(seed))
    for name, one in given.items():
        ended[name] = brought(one if isinstance(one, (list, tuple)) else [one], scored)
    good, left_out = without_diverged(ended, next(iter(estimators)))
    rewinds = None if cache_dir is None else Path(cache_dir) / "rewinding"

    def subject(name: str) -> Subject:
        found, is_given = good[name], name in given
        return Subject(
            name,
            found.networks,
            scored,
            None if is_given else fitted,
            found.fresh,
            rows,
            plan.effort,
            seed,
            plan.is_classification,
            found.n_failed,
            found.notes,
            rewinds,
            "" if is_given else stopped(found.n_epochs_short, plan.encodes, plan.effort),
        )

    subjects = [subject(name) for name in estimators if name in good]
    return subjects, said, tuple(left_out.values())
