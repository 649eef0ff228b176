"""Networks of one architecture, trained or given, and the rows that they are judged on."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import clone, is_classifier

from sklflat.connectivity.core_nulls import train_all
from sklflat.connectivity.path_builder import Data, Walk, as_of, symmetry_of
from sklflat.networks.network import copy_module
from sklflat.networks.state import State, check_same_architecture, read_state, write_state
from sklflat.paths.paths import Path
from sklflat.paths.repair.repair import Repair
from sklflat.probing.nulls import reseeded, seeded, split_halves
from sklflat.probing.resolve import ends_frozen, is_frozen, resolve, unfitted
from sklflat.probing.sample import Sample, TrainingSet
from sklflat.probing.split import Rows, split_rows
from sklflat.symmetry.symmetry import Symmetry
from sklflat.training.estimators.trained_network import TrainedNetwork
from sklflat.training.runs import Training

#: rows on which networks are compared, and how far apart outputs may be, relative to the largest
_N_COMPARED, _APART = 64, 1e-3


class Networks:
    """Networks of one architecture, and the rows that they are matched and judged on.

    Parameters
    ----------
    estimators : list of fitted estimators
    sample : Sample
        Units of the first, on the rows that are judged on.
    matched_on : Rows
        The others.
    rng : RandomState

    Attributes
    ----------
    states : list of state
        Of all networks, in the first one's precision.
    aligned : list of state
        Of all but the first, aligned with it.
    repairs : list of Repair
        Of the paths to them; empty where nothing is repaired.
    """

    walk: Walk

    def __init__(
        self,
        estimators: list[Any],
        sample: Sample,
        matched_on: Rows,
        rng: np.random.RandomState,
    ) -> None:
        self.estimators = estimators
        self.sample = sample
        self.rng = rng
        trained = [sample.trained, *(resolve(e) for e in estimators[1:])]
        X = sample.trained.to_input(matched_on.X)
        for i, other in enumerate(trained[1:], start=1):
            check_same_architecture(trained[0].network.module, other.network.module)
            rows = other.to_input(matched_on.X)
            if rows.shape != X.shape or not torch.allclose(rows.to(X), X, rtol=1e-4, atol=1e-6):
                raise ValueError(
                    f"Network {i} reads other inputs than the first: what stands before it in its "
                    "pipeline was fitted on other data. Fit the transformers once, before the "
                    "networks."
                )
            _check_same_task(trained[0], other, i)
            _check_same_function(trained[0], other, i, X[:_N_COMPARED])
        y = np.asarray(matched_on.y)
        y = y[:, 0] if y.shape[1:] == (1,) else y
        self.match = Data(X, sample.trained.to_target(y), matched_on.weight)
        self.states: list[State] = [
            as_of(sample.network, read_state(t.network.module)) for t in trained
        ]
        self.aligned: list[State] = []
        self.repairs: list[Repair] = []

    def walk_by(self, how: str | None, kind: str, repair: bool) -> None:
        """Find the symmetry, if there is something to align, and settle the way of going."""
        network = self.sample.network
        symmetry = None if how is None else symmetry_of(network, self.match.X)
        self.walk = Walk(network, symmetry, how, kind, repair, self.match)

    def join_all(self) -> tuple[list[Path], list[dict[str, NDArray]]]:
        """Paths from the first network to the others, and how these were permuted."""
        paths: list[Path] = []
        symmetry = self.walk.symmetry
        orders = [_orders(symmetry, None if symmetry is None else symmetry.identity())]
        for state in self.states[1:]:
            perm, aligned = self.walk.aligned(self.states[0], state, self.rng)
            orders.append(_orders(symmetry, perm))
            self.aligned.append(aligned)
            paths.append(self.walk.path(self.states[0], aligned, self.rng))
        self.repairs = [self.walk.repair_of(path) for path in paths if self.walk.repair]
        return paths, orders

    @property
    def held_out(self) -> Data:
        """The rows that are judged on."""
        return Data(self.sample.X, self.sample.target, self.sample.weight)

    @property
    def error_scale(self) -> float:
        """What an error is a share of: 1 for classifiers, the variance of real targets.

        As the error is a mean over outputs, so is the variance.
        """
        if self.sample.trained.classes is not None:
            return 1.0
        y = self.sample.target.double().reshape(self.sample.n_samples, -1)
        s = torch.as_tensor(self.sample.weights)
        return float((s @ (y - s @ y).square()).mean()) or 1.0


def _check_same_task(first: TrainedNetwork, other: TrainedNetwork, number: int) -> None:
    """Raise unless outputs mean the same."""
    one, two = (_labels(trained) for trained in (first, other))
    if one != two:
        raise ValueError(
            f"Network {number} has other targets than the first, or in another order: {two} in "
            f"place of {one}. Outputs of networks on a path have to mean the same."
        )


def _labels(trained: TrainedNetwork) -> Any:
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
    twin = copy_module(first.network.module)
    write_state(twin, as_of(first.network, read_state(other.network.module)))
    found = twin(first.network.prepare(X).clone()).double()
    expected = other.network.forward(X).to(found)
    scale = float(expected.abs().max()) if expected.numel() else 0.0
    if found.shape != expected.shape or not torch.allclose(
        found, expected, rtol=0, atol=_APART * scale, equal_nan=True
    ):
        raise ValueError(
            f"Network {number} is of another architecture than the first: its weights in the first "
            "one's module do not compute what it computes. They may differ in what has no weights, "
            "such as the activation function, pooling or the number of heads."
        )


def _orders(symmetry: Symmetry | None, perm: torch.Tensor | None) -> dict[str, NDArray]:
    """For each group the member that is now in each place, and so for the parts of blocks."""
    if symmetry is None or perm is None:
        return {}
    found: dict[str, NDArray] = {}
    for group in symmetry.groups:
        name, number = group.name, 1
        while name in found:
            name, number = f"{group.name}_{number}", number + 1
        order = _places(group.members, perm[group.members])
        found[name] = order
        for k, part in enumerate(group.inner):
            rows = zip(part[torch.as_tensor(order)], perm[part], strict=True)
            found[f"{name}.parts_{k}"] = np.stack([_places(own, now) for own, now in rows])
    return found


def _places(classes: torch.Tensor, wanted: torch.Tensor) -> NDArray:
    """Where in some classes others are."""
    place = {c: i for i, c in enumerate(classes.tolist())}
    return np.array([place[c] for c in wanted.tolist()])


# --- networks ---------------------------------------------------------------------------------


def check_several(estimators: Sequence[Any]) -> None:
    """Raise if these are not two frozen networks at least."""
    if len(estimators) < 2:
        raise ValueError(
            f"A path needs two networks, got {len(estimators)} frozen one(s): pass a list of at "
            "least two, or an estimator that can be trained n_models times."
        )
    for i, estimator in enumerate(estimators):
        if not is_frozen(estimator):
            raise TypeError(
                f"estimator[{i}] is {type(estimator).__name__}(...), which is not frozen. Networks "
                "in a list are taken as they are: wrap fitted estimators in "
                "sklearn.frozen.FrozenEstimator, modules by sklflat.from_module."
            )


def open_networks(
    estimators: Sequence[Any], rows: Rows, layers: Any, rng: np.random.RandomState
) -> Networks:
    """Frozen networks, with one half of the rows to match on and the other to judge on."""
    check_several(estimators)
    return _halved(list(estimators), rows, layers, None, rng)


def train_networks(
    estimator: Any,
    n_models: int,
    rows: Rows,
    holdout: float | None,
    layers: Any,
    n_jobs: int | None,
    settings: Mapping[str, Any],
    rng: np.random.RandomState,
) -> Networks:
    """Networks trained from seeds of their own, as one stack where that is possible."""
    fresh = seeded(unfitted(estimator), rng)
    if ends_frozen(fresh):
        raise ValueError(
            "The network at the end of this estimator is frozen, so n_models trainings would give "
            "the same one. Pass a list of frozen networks."
        )
    fitted, judged = split_rows(rows, holdout, is_classifier(fresh), rng)
    # the first has the seed that it was given, if it was given one
    seeds = [clone(fresh), *(reseeded(fresh, rng) for _ in range(n_models - 1))]
    trainings = [Training(e, fitted.X, fitted.y, dict(fitted.params)) for e in seeds]
    train_all(trainings, n_jobs, **settings)
    estimators = [training.estimator for training in trainings]
    training = TrainingSet(fresh, fitted.X, fitted.y, fitted.params, n_jobs)
    if holdout is None:
        return _halved(estimators, rows, layers, training, rng)
    return Networks(estimators, _sample(estimators, judged, layers, training), fitted, rng)


def _halved(
    estimators: list[Any],
    rows: Rows,
    layers: Any,
    training: TrainingSet | None,
    rng: np.random.RandomState,
) -> Networks:
    rows = _with_weight(rows)
    if len(rows) < 4:
        raise ValueError(
            f"n_samples={len(rows)} rows cannot be split into some to match units on and some to "
            "score them on: give 4 at least, and better hundreds."
        )
    match, judge = (rows.take(half) for half in split_halves(len(rows), rng))
    return Networks(estimators, _sample(estimators, judge, layers, training), match, rng)


def _with_weight(rows: Rows) -> Rows:
    """The rows that are there, as one without weight is not."""
    if rows.weight is None:
        return rows
    return rows.take(np.flatnonzero(rows.weight.numpy() > 0))


def _sample(estimators: list[Any], rows: Rows, layers: Any, training: TrainingSet | None) -> Sample:
    rows = _with_weight(rows)
    if len(rows) < 2:
        raise ValueError(
            f"{len(rows)} rows with a positive sample weight are left to score units on: give more."
        )
    return Sample.of(
        estimators[0],
        rows.X,
        rows.y,
        layers=layers,
        weight=rows.weight,
        training=training,
        numbers=rows.numbers,
    )
