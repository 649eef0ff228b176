"""The steps of ModeConnectivityProbe: networks, paths, barriers, scores, nulls."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import clone, is_classifier
from torch import nn

from sklflat.connectivity.barrier_table import BarrierTable
from sklflat.connectivity.barriers import Barriers, measure_barriers
from sklflat.connectivity.core import PathScores, least
from sklflat.connectivity.core_nulls import (
    n_pairs,
    paired_null,
    rotation_null,
    shuffled_label_pairs,
    split_null,
    train_all,
    untrained_pairs,
)
from sklflat.connectivity.core_scores import eligible_units, path_variance, profile_agreement
from sklflat.connectivity.paths import LinearPath, Path
from sklflat.connectivity.repair import repaired, repaired_losses
from sklflat.connectivity.state import State, check_same_architecture, read_state, write_state
from sklflat.connectivity.symmetry import Symmetry
from sklflat.connectivity.walk import MAX_ROWS, Rows, Walk, symmetry_of
from sklflat.networks.network import copy_module
from sklflat.probing import split
from sklflat.probing.nulls import Null, reseeded, seeded, split_halves
from sklflat.probing.resolve import ends_frozen, is_frozen, resolve, unfitted
from sklflat.probing.sample import Sample, TrainingSet
from sklflat.training.dispatch import Training

#: points of the paths of null pairs. Fewer points have a higher minimum, so chance is not made easy
_N_NULL_POINTS = 5
#: null pairs at most
_MAX_UNTRAINED, _MAX_TRAINED = 20, 10


class Networks:
    """Networks of one architecture, and the rows that they are matched and judged on.

    Parameters
    ----------
    estimators : list of fitted estimators
    sample : Sample
        Units of the first, on the rows that are judged on.
    matched_on : Rows of probing
        The others.
    rng : RandomState
    """

    walk: Walk

    def __init__(
        self,
        estimators: list[Any],
        sample: Sample,
        matched_on: split.Rows,
        rng: np.random.RandomState,
    ) -> None:
        self.estimators = estimators
        self.sample = sample
        self.rng = rng
        trained = [sample.trained, *(resolve(e) for e in estimators[1:])]
        for other in trained[1:]:
            check_same_architecture(trained[0].network.module, other.network.module)
        X = sample.trained.to_input(matched_on.X)
        for i, other in enumerate(trained[1:], start=1):
            rows = other.to_input(matched_on.X)
            if rows.shape != X.shape or not torch.allclose(rows.to(X), X, rtol=1e-4, atol=1e-6):
                raise ValueError(
                    f"Network {i} reads other inputs than the first: what stands before it in its "
                    "pipeline was fitted on other data. Fit the transformers once, before the "
                    "networks."
                )
        y = np.asarray(matched_on.y)
        y = y[:, 0] if y.shape[1:] == (1,) else y
        self.match = Rows(X, sample.trained.to_target(y))
        network = sample.network
        self.states: list[State] = [
            {n: network.prepare(t) for n, t in read_state(t.network.module).items()}
            for t in trained
        ]

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
            paths.append(self.walk.path(self.states[0], aligned, self.rng))
        return paths, orders

    @property
    def held_out(self) -> Rows:
        """The rows that are judged on."""
        return Rows(self.sample.X, self.sample.target)

    @property
    def error_scale(self) -> float:
        """What an error is a share of: 1 for classifiers, the variance of real targets."""
        if self.sample.trained.classes is not None:
            return 1.0
        return float(self.sample.target.double().var(correction=0)) or 1.0


def _orders(symmetry: Symmetry | None, perm: torch.Tensor | None) -> dict[str, NDArray]:
    """For each group the member that is now in each place."""
    if symmetry is None or perm is None:
        return {}
    found: dict[str, NDArray] = {}
    for group in symmetry.groups:
        place = {c: i for i, c in enumerate(group.members.tolist())}
        name, number = group.name, 1
        while name in found:
            name, number = f"{group.name}_{number}", number + 1
        found[name] = np.array([place[c] for c in perm[group.members].tolist()])
    return found


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
    estimators: Sequence[Any], rows: split.Rows, layers: Any, rng: np.random.RandomState
) -> Networks:
    """Frozen networks, with one half of the rows to match on and the other to judge on."""
    check_several(estimators)
    return _halved(list(estimators), rows, layers, None, rng)


def train_networks(
    estimator: Any,
    n_models: int,
    rows: split.Rows,
    holdout: float | None,
    layers: Any,
    n_jobs: int | None,
    rng: np.random.RandomState,
) -> Networks:
    """Networks trained from seeds of their own, as one stack where that is possible."""
    fresh = seeded(unfitted(estimator), rng)
    if ends_frozen(fresh):
        raise ValueError(
            "The network at the end of this estimator is frozen, so n_models trainings would give "
            "the same one. Pass a list of frozen networks."
        )
    fitted, judged = split.split_rows(rows, holdout, is_classifier(fresh), rng)
    # the first has the seed that it was given, if it was given one
    seeds = [clone(fresh), *(reseeded(fresh, rng) for _ in range(n_models - 1))]
    trainings = [Training(e, fitted.X, fitted.y, dict(fitted.params)) for e in seeds]
    train_all(trainings, n_jobs)
    estimators = [training.estimator for training in trainings]
    training = TrainingSet(fresh, fitted.X, fitted.y, fitted.params, n_jobs)
    if holdout is None:
        return _halved(estimators, rows, layers, training, rng)
    return Networks(estimators, _sample(estimators, judged, layers, training), fitted, rng)


def _halved(
    estimators: list[Any],
    rows: split.Rows,
    layers: Any,
    training: TrainingSet | None,
    rng: np.random.RandomState,
) -> Networks:
    if len(rows) < 4:
        raise ValueError(
            f"n_samples={len(rows)} rows cannot be split into some to match units on and some to "
            "score them on: give 4 at least, and better hundreds."
        )
    match, judge = (rows.take(half) for half in split_halves(len(rows), rng))
    return Networks(estimators, _sample(estimators, judge, layers, training), match, rng)


def _sample(
    estimators: list[Any], rows: split.Rows, layers: Any, training: TrainingSet | None
) -> Sample:
    return Sample.of(
        estimators[0],
        rows.X,
        rows.y,
        layers=layers,
        weight=rows.weight,
        training=training,
        numbers=rows.numbers,
    )


# --- barriers and scores ----------------------------------------------------------------------


def measure_paths(networks: Networks, paths: list[Path], n_points: int) -> BarrierTable:
    """Barriers along all paths, and along the straight lines between networks as they are."""
    network, walk = networks.sample.network, networks.walk
    parts = {"train": networks.match, "held-out": networks.held_out}
    data = {name: (rows.X, rows.y) for name, rows in parts.items()}
    found: dict[tuple[int, str], Barriers] = {}
    for k, path in enumerate(paths, start=1):
        naive = LinearPath(networks.states[0], networks.states[k])
        found[k, "naive"] = measure_barriers(network, naive, data, n_points=n_points)
        as_it_is = walk.symmetry is None and walk.kind == "linear"
        found[k, "aligned"] = (
            found[k, "naive"]
            if as_it_is
            else measure_barriers(network, path, data, n_points=n_points)
        )
        if walk.repair:
            moments = walk.match.first(MAX_ROWS).X
            ts = np.linspace(0, 1, n_points)
            found[k, "repaired"] = Barriers(
                {
                    name: repaired_losses(network, path, ts, moments, *rows)
                    for name, rows in data.items()
                }
            )
    return BarrierTable(found)


def core_of(networks: Networks, paths: list[Path], n_points: int, repair: bool) -> dict[str, Any]:
    """Scores of all units: the lowest over the paths."""
    sample, walk = networks.sample, networks.walk
    weight = None if sample.weight is None else sample.weights
    ts = np.linspace(0, 1, n_points)
    halves = split_halves(sample.n_samples, networks.rng)
    before, after, variances, eligible = [], [], [], []
    by_half: tuple[list[NDArray], list[NDArray]] = ([], [])
    for path in paths:
        A = list(walk.activations(path, ts, sample.units, sample.X, repair=False))
        eligible.append(eligible_units(A[0], A[-1], weight))
        variances.append(path_variance(A, weight, relative=True))
        before.append(PathScores.of(A, weight))
        if repair:
            A = list(walk.activations(path, ts, sample.units, sample.X, repair=True))
            after.append(PathScores.of(A, weight))
        for scores, half in zip(by_half, halves, strict=True):
            scores.append(profile_agreement([a[half] for a in A]))
    alive = np.all(eligible, axis=0)
    last = after or before
    nothing = np.full(len(alive), np.nan)
    return {
        "score": np.where(alive, least([s.agreement for s in last]), 0.0),
        "before": least([s.agreement for s in before]),
        "after": least([s.agreement for s in after]) if after else nothing,
        "icc_before": least([s.icc for s in before]),
        "icc_after": least([s.icc for s in after]) if after else nothing,
        "ends": least([s.ends for s in before]),
        "path_variance": np.max(variances, axis=0),
        "eligible": alive,
        "halves": tuple(np.where(alive, least(scores), 0.0) for scores in by_half),
    }


# --- nulls ------------------------------------------------------------------------------------


def connectivity_nulls(networks: Networks, n_draws: int, rng: np.random.RandomState) -> list[Null]:
    """What scores would be by chance: four nulls, or three where nothing can be trained."""
    sample, walk = networks.sample, networks.walk
    units, layer_of = sample.units, sample.units.layer_of
    module = sample.network.module
    _, aligned = walk.aligned(networks.states[0], networks.states[1], rng)
    ends = [_with_state(module, state) for state in (networks.states[0], aligned)]
    X = torch.cat([walk.match.first(MAX_ROWS).X, sample.X])
    n = len(X) - len(sample.X)
    halves = np.arange(n), np.arange(n, len(X))
    with torch.no_grad():
        first, last = (units.activations(end, X).double().numpy() for end in ends)
    pair_ts = np.linspace(0, 1, _N_NULL_POINTS)
    weight = None if sample.weight is None else sample.weights

    def score(pair: tuple[nn.Module, nn.Module]) -> tuple[NDArray, NDArray, NDArray]:
        A = list(walk.between(pair, units, sample.X, pair_ts, rng))
        return profile_agreement(A, weight), layer_of, eligible_units(A[0], A[-1], weight)

    n_untrained = n_pairs(n_draws, layer_of, _MAX_UNTRAINED)
    nulls = [
        split_null(first, last, halves, layer_of, n_draws, rng),
        rotation_null(first, last, halves, layer_of, n_draws, rng),
        paired_null(
            "untrained twins", untrained_pairs((module, module), n_untrained, rng), score, layer_of
        ),
    ]
    if sample.training is not None:
        n_trained = n_pairs(n_draws, layer_of, _MAX_TRAINED)
        pairs = _modules(module, shuffled_label_pairs(sample.training, n_trained, rng))
        nulls.append(paired_null("trained on shuffled labels", pairs, score, layer_of))
    return nulls


def _modules(
    like: nn.Module, pairs: Iterator[tuple[Any, Any]]
) -> Iterator[tuple[nn.Module, nn.Module]]:
    """The modules of pairs of estimators; not those of a search that chose other sizes."""
    for one, other in pairs:
        first, second = (resolve(e).network.module for e in (one, other))
        try:
            for module in (first, second):
                check_same_architecture(like, module)
        except ValueError:
            continue
        yield first, second


def _with_state(like: nn.Module, state: State) -> nn.Module:
    module = copy_module(like)
    write_state(module, state)
    return module


def merged_module(networks: Networks, path: Path, repair: bool) -> nn.Module:
    """The network in the middle of a path."""
    network = networks.sample.network
    if repair:
        return repaired(network, path, 0.5, networks.walk.match.first(MAX_ROWS).X)
    return _with_state(network.module, path.at(0.5))
