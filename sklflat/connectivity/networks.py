"""Networks of one architecture, trained or given, checked, and opened on rows to score them on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sklearn.base import clone, is_classifier

from sklflat.connectivity.path_builder import Data, as_of
from sklflat.exceptions import counted_convergence_warnings
from sklflat.networks.network import Network, copy_module, working_precision
from sklflat.networks.same_outputs import same_outputs
from sklflat.networks.state import State, check_same_architecture, read_state, write_state
from sklflat.networks.units import Units
from sklflat.probing.copies import refuse_copies
from sklflat.probing.nulls import reseeded, seeded, split_halves
from sklflat.probing.resolve import ends_frozen, is_frozen, resolve, unfitted
from sklflat.probing.sample import Sample
from sklflat.probing.split import Rows, split_rows
from sklflat.probing.training_set import TrainingSet, train_all
from sklflat.training.estimators.trained_network import TrainedNetwork
from sklflat.training.runs import Training

#: rows on which networks are compared, and how far apart outputs may be, relative to the largest
_N_COMPARED, _APART = 64, 1e-3


@dataclass(frozen=True, eq=False)
class Networks:
    """Networks of one architecture, and the rows that they are matched and scored on.

    Parameters
    ----------
    estimators : list of fitted estimators
    sample : Sample
        Units of the first, on the rows that they are scored on.
    match : Data
        The rows that they are matched on.
    states : list of state
        Of all networks, in the first one's precision.
    """

    estimators: list[Any]
    sample: Sample
    match: Data
    states: list[State]

    @classmethod
    def of(
        cls,
        estimators: list[Any],
        scored: Rows,
        matched: Rows,
        layers: Any,
        training: TrainingSet | None,
        dtype: str | None,
    ) -> "Networks":
        """Open fitted estimators, and check that their networks can be compared."""
        scored = scored.with_weight()
        sample = Sample.of(
            estimators[0],
            scored.X,
            scored.y,
            layers=layers,
            weight=scored.weight,
            training=training,
            numbers=scored.numbers,
            dtype=dtype,
        )
        first, others = sample.trained, [resolve(e, dtype) for e in estimators[1:]]
        X = first.to_input(matched.X)
        for i, other in enumerate(others, start=1):
            check_same_architecture(first.network.module, other.network.module)
            check_same_input(X, other.to_input(matched.X), i)
            check_same_task(first, other, i)
            _check_same_function(first, other, i, X[:_N_COMPARED])
        y = np.asarray(matched.y)
        y = y[:, 0] if y.shape[1:] == (1,) else y
        match = Data(X, first.to_target(y), matched.weight)
        states = [as_of(first.network, read_state(t.network.module)) for t in (first, *others)]
        real = [[t.flatten() for t in s.values() if t.is_floating_point()] for s in states]
        refuse_copies([torch.cat(tensors) for tensors in real], "weights")
        _refuse_permuted_copies([t.network for t in (first, *others)], sample.units, X)
        return cls(estimators, sample, match, states)


def check_same_input(X: torch.Tensor, rows: torch.Tensor, number: int) -> None:
    """Raise unless what a network reads of some rows is what the first one reads, X."""
    if rows.shape != X.shape or not torch.allclose(rows.to(X), X, rtol=1e-4, atol=1e-6):
        raise ValueError(
            f"Network {number} reads other inputs than the first: what stands before it in its "
            "pipeline was fitted on other data. Fit the transformers once, before the networks."
        )


def check_same_task(first: TrainedNetwork, other: TrainedNetwork, number: int) -> None:
    """Raise unless outputs mean the same."""
    one, two = (labels_in_order(trained) for trained in (first, other))
    if one != two:
        raise ValueError(
            f"Network {number} has other targets than the first, or in another order: {two} in "
            f"place of {one}. Outputs of networks that are compared have to mean the same."
        )


def labels_in_order(trained: TrainedNetwork) -> Any:
    """Labels in the order of the outputs; "numbers" for a regressor."""
    if trained.classes is None:
        return "numbers"
    given = getattr(trained.targets, "given", trained.targets.classes)
    if isinstance(given, (list, tuple)):
        return [np.asarray(each).tolist() for each in given]
    return np.asarray(given).tolist()


@torch.no_grad()
def _check_same_function(
    first: TrainedNetwork, other: TrainedNetwork, number: int, X: torch.Tensor
) -> None:
    """Raise unless the first architecture with the other's weights does what the other does."""
    copy = copy_module(first.network.module)
    write_state(copy, as_of(first.network, read_state(other.network.module)))
    found = copy(first.network.prepare(X).clone()).double()
    expected = other.network.forward(X).to(found)
    if not same_outputs(found, expected, _APART):
        raise ValueError(
            f"Network {number} is of another architecture than the first: its weights in the first "
            "one's module do not compute what it computes. They may differ in what has no weights, "
            "such as the activation function, pooling or the number of heads."
        )


def _refuse_permuted_copies(networks: Sequence[Network], units: Units, X: torch.Tensor) -> None:
    """Raise if two networks are one whose units are in another order, or only end in another way.

    A path between such ends says nothing of two trainings.
    """
    x = X[:_N_COMPARED]
    outputs = [network.outputs(x).to(working_precision(network.module)) for network in networks]
    refuse_copies(outputs, f"outputs on {len(x)} rows")
    hidden = [units.activations(network.module, x, len(x)) for network in networks]
    refuse_copies(hidden, f"activations on {len(x)} rows")


def check_several(estimators: Sequence[Any]) -> None:
    """Raise if these are not two frozen networks at least."""
    if len(estimators) < 2:
        raise ValueError(
            f"A path needs two networks, got {len(estimators)} frozen one(s): pass a list of at "
            "least two, or an estimator that can be trained n_models times."
        )
    check_all_frozen(estimators)


def check_all_frozen(estimators: Sequence[Any]) -> None:
    """Raise a TypeError if one of a list of networks is not frozen."""
    for i, estimator in enumerate(estimators):
        if not is_frozen(estimator):
            raise TypeError(
                f"estimator[{i}] is {type(estimator).__name__}(...), which is not frozen. Networks "
                "in a list are taken as they are: wrap fitted estimators in "
                "sklearn.frozen.FrozenEstimator, modules by sklflat.from_module."
            )


def trainings_from_seeds(
    fresh: Any, n_models: int, fitted: Rows, rng: np.random.RandomState
) -> list[Training]:
    """Trainings of one estimator from seeds of their own; the first keeps the one that it has."""
    estimators = [clone(fresh), *(reseeded(fresh, rng) for _ in range(n_models - 1))]
    return [Training(e, fitted.X, fitted.y, dict(fitted.params)) for e in estimators]


@dataclass(frozen=True)
class TrainedFromSeeds:
    """Networks trained from seeds of their own, and the rows that this was done on or without.

    Attributes
    ----------
    estimators : list of fitted estimators
        Those that did not diverge; the first is the one that is scored.
    n_failed : int
    training : TrainingSet
        What the first was trained on.
    fitted, scored : Rows
        Trained on, and held out.
    """

    estimators: list[Any]
    n_failed: int
    training: TrainingSet
    fitted: Rows
    scored: Rows


def train_from_seeds(
    fresh: Any,
    n_models: int,
    rows: Rows,
    holdout: float | None,
    n_jobs: int | None,
    settings: Mapping[str, Any],
    rng: np.random.RandomState,
    n_least: int = 1,
) -> TrainedFromSeeds:
    """Train one estimator from several seeds, as one stack where that is possible.

    Those that diverge are left out and counted; more than a quarter of them are refused, fewer
    than ``n_least`` that are left beside the first, and the first.
    """
    fitted, scored = split_rows(rows, holdout, is_classifier(fresh), rng)
    groups, fitted = fitted.groups, fitted.without_groups()
    trainings = trainings_from_seeds(fresh, n_models, fitted, rng)
    with counted_convergence_warnings(len(trainings)):
        good = train_all(
            trainings, n_jobs, what="from other seeds", n_needed=1, n_least=n_least, **settings
        )
    training = TrainingSet(fresh, fitted.X, fitted.y, fitted.params, n_jobs, groups)
    return TrainedFromSeeds(good, len(trainings) - len(good), training, fitted, scored)


def given_networks(
    estimators: Sequence[Any],
    rows: Rows,
    layers: Any,
    dtype: str | None,
    rng: np.random.RandomState,
) -> Networks:
    """Frozen networks, with one half of the rows to match on and the other to score on."""
    check_several(estimators)
    scored, matched = _halves(rows, rng)
    return Networks.of(list(estimators), scored, matched, layers, None, dtype)


def train_networks(
    estimator: Any,
    n_models: int,
    rows: Rows,
    holdout: float | None,
    layers: Any,
    dtype: str | None,
    n_jobs: int | None,
    settings: Mapping[str, Any],
    rng: np.random.RandomState,
) -> Networks:
    """Networks trained from seeds of their own, as one stack where that is possible.

    Those that diverge are left out; more than a quarter are refused, and so is the first.
    """
    fresh = seeded(unfitted(estimator), rng)
    if ends_frozen(fresh):
        raise ValueError(
            "The network at the end of this estimator is frozen, so n_models trainings would give "
            "the same one. Pass a list of frozen networks."
        )
    found = train_from_seeds(fresh, n_models, rows, holdout, n_jobs, settings, rng)
    scored, matched = _halves(rows, rng) if holdout is None else (found.scored, found.fitted)
    return Networks.of(found.estimators, scored, matched, layers, found.training, dtype)


def _halves(rows: Rows, rng: np.random.RandomState) -> tuple[Rows, Rows]:
    """Rows to score units on, and rows to match them on."""
    rows = rows.with_weight()
    if len(rows) < 4:
        raise ValueError(
            f"n_samples={len(rows)} rows cannot be split into some to match units on and some to "
            "score them on: give 4 at least, and better hundreds."
        )
    match, score = split_halves(len(rows), rng)
    return rows.take(score), rows.take(match)
