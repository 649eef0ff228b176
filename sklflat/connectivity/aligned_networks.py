"""The steps of ModeConnectivityProbe: barriers, scores, nulls, the network in the middle."""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from sklflat.connectivity.core import PathScores
from sklflat.connectivity.core_nulls import (
    n_pairs,
    paired_null,
    rotation_null,
    shuffled_label_pairs,
    split_null,
    untrained_pairs,
)
from sklflat.connectivity.networks import Networks
from sklflat.networks.state import check_same_architecture
from sklflat.paths.barrier_table import BarrierTable
from sklflat.paths.barriers import Barriers, measure_barriers, walk_barriers
from sklflat.paths.paths import LinearPath, Path
from sklflat.probing.nulls import Null, split_halves
from sklflat.probing.resolve import resolve

#: points of the paths of null pairs. Fewer points have a higher minimum, so chance is not made easy
_N_NULL_POINTS = 5
#: distance of points around peaks. A smooth peak is missed by 4 of its square: .04 % of the barrier
_TOL = 0.01
#: pairs of untrained networks at most
_MAX_UNTRAINED = 20
#: pairs of networks to train, and draws from them, at most, unless more are asked for
_MAX_TRAINED, _MAX_TRAINED_DRAWS = 10, 1000


def measure_paths(networks: Networks, paths: list[Path], n_points: int) -> BarrierTable:
    """Barriers along all paths, and along the straight lines between networks as they are."""
    walk = networks.walk
    parts = {"train": networks.match, "held-out": networks.held_out}
    plain = partial(
        measure_barriers,
        networks.sample.network,
        data={name: (own.X, own.y, own.weight) for name, own in parts.items()},
        n_points=n_points,
        tol=_TOL,
        batch_statistics=walk.statistics,
    )
    found: dict[tuple[int, str], Barriers] = {}
    for k, path in enumerate(paths, start=1):
        found[k, "naive"] = plain(LinearPath(networks.states[0], networks.states[k]))
        as_it_is = walk.symmetry is None and walk.kind == "linear"
        found[k, "aligned"] = found[k, "naive"] if as_it_is else plain(path)
        if walk.repair:
            losses = networks.repairs[k - 1].losses
            found[k, "repaired"] = walk_barriers(
                {
                    name: partial(losses, X=own.X, y=own.y, sample_weight=own.weight)
                    for name, own in parts.items()
                },
                n_points=n_points,
                tol=_TOL,
            )
    return BarrierTable(found)


def core_of(networks: Networks, paths: list[Path], n_points: int) -> dict[str, Any]:
    """Scores of all units: the lowest over the paths."""
    sample, walk = networks.sample, networks.walk
    weight = None if sample.weight is None else sample.weights
    ts = np.linspace(0, 1, n_points)
    halves = split_halves(sample.n_samples, networks.rng)
    before, after = [], []
    for k, path in enumerate(paths):
        along = walk.activations(path, ts, sample.units, sample.X)
        before.append(PathScores.of(along, weight, halves))
        if walk.repair:
            along = walk.activations(path, ts, sample.units, sample.X, networks.repairs[k])
            after.append(PathScores.of(along, weight, halves))
    plain, scored = PathScores.least(before), PathScores.least(after or before)
    nothing = np.full(len(plain.eligible), np.nan)
    return {
        "score": np.where(plain.eligible, scored.agreement, 0.0),
        "before": plain.agreement,
        "after": scored.agreement if after else nothing,
        "icc_before": plain.icc,
        "icc_after": scored.icc if after else nothing,
        "ends": plain.ends,
        "path_variance": plain.variance,
        "eligible": plain.eligible,
        "halves": tuple(np.where(plain.eligible, half, 0.0) for half in scored.halves),
    }


# --- nulls ------------------------------------------------------------------------------------


def connectivity_nulls(
    networks: Networks,
    n_draws: int,
    asked: bool,
    settings: Mapping[str, Any],
    rng: np.random.RandomState,
) -> list[Null]:
    """What scores would be by chance: four nulls, or three where nothing can be trained.

    Parameters
    ----------
    networks : Networks
        Joined.
    n_draws : int
        Of each null.
    asked : bool
        Whether so many draws are wanted even where networks have to be trained for them.
    settings : mapping
        Of :func:`~sklflat.training.stacking.train`.
    rng : RandomState
    """
    sample, walk = networks.sample, networks.walk
    units, layer_of = sample.units, sample.units.layer_of
    module = sample.network.module
    few = walk.few.X
    X = torch.cat([few, sample.X])
    halves = np.arange(len(few)), np.arange(len(few), len(X))
    weight = own = None
    if sample.weight is not None:
        own = sample.weights
        weight = np.concatenate([np.ones(len(few)), own])
    line = LinearPath(networks.states[0], networks.aligned[0])
    first, last = walk.activations(line, np.array([0.0, 1.0]), units, X)
    pair_ts = np.linspace(0, 1, _N_NULL_POINTS)

    def score(pair: tuple[nn.Module, nn.Module]) -> tuple[NDArray, NDArray, NDArray]:
        found = PathScores.of(walk.between(pair, units, sample.X, pair_ts, rng), own)
        return found.agreement, layer_of, found.eligible

    n_untrained = n_pairs(n_draws, layer_of, _MAX_UNTRAINED)
    nulls = [
        split_null(first, last, halves, layer_of, n_draws, rng, weight),
        rotation_null(first, last, halves, layer_of, n_draws, rng, weight),
        paired_null(
            "untrained twins", untrained_pairs((module, module), n_untrained, rng), score, layer_of
        ),
    ]
    if sample.training is not None:
        most = (n_draws, n_draws) if asked else (min(n_draws, _MAX_TRAINED_DRAWS), _MAX_TRAINED)
        n_trained = n_pairs(most[0], layer_of, most[1])
        trained = shuffled_label_pairs(sample.training, n_trained, rng, **settings)
        pairs = _modules(module, trained)
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


def merged_module(networks: Networks, path: Path) -> nn.Module:
    """The network in the middle of the first path."""
    if networks.walk.repair:
        return networks.repairs[0](0.5)
    return next(iter(networks.walk.modules(path, [0.5])))
