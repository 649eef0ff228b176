"""AlignedNetworks: what a ModeConnectivityProbe scores units on."""

from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from sklflat.connectivity.core_scores import PathScores
from sklflat.connectivity.networks import Networks
from sklflat.connectivity.path_builder import Data, PathBuilder, symmetry_of
from sklflat.networks.state import State
from sklflat.paths.barrier_table import BarrierTable
from sklflat.paths.barriers import Barriers, measure_barriers, walk_barriers
from sklflat.paths.paths import LinearPath, Path
from sklflat.paths.repair.repair import Repair
from sklflat.probing.nulls import split_halves
from sklflat.probing.sample import Sample
from sklflat.symmetry.symmetry import Symmetry

#: distance of points around peaks. A smooth peak is missed by 4 of its square: .04 % of the barrier
_TOL = 0.01


@dataclass(frozen=True, eq=False, kw_only=True)
class AlignedNetworks(Sample):
    """Networks aligned with a first one, whose units are scored, and the paths to them.

    The rows of the sample are those that units are scored on. All that is random was drawn when
    the networks were aligned; the rest is computed when it is asked for, once.

    Parameters
    ----------
    builder : PathBuilder
        Knows the symmetry and the rows that units were matched on.
    states : list of state
        Of all networks as they are.
    permutations : list of Tensor or None
        Those of the units of all networks but the first.
    aligned : list of state
        Of all but the first, permuted.
    paths : list of Path
        From the first to each of these.
    n_points : int
        Points of a path at which units and losses are computed.
    halves : (ndarray of int, ndarray of int)
        Halves of the rows, to compare scores from the two.
    """

    builder: PathBuilder
    states: list[State]
    permutations: list[torch.Tensor | None]
    aligned: list[State]
    paths: list[Path]
    n_points: int
    halves: tuple[NDArray, NDArray]

    @classmethod
    def align(
        cls,
        networks: Networks,
        *,
        align: str | None,
        path: str,
        repair: bool,
        n_points: int,
        rng: np.random.RandomState,
    ) -> "AlignedNetworks":
        """Align all networks with the first, and join them with it.

        Parameters are those of :class:`~sklflat.ModeConnectivityProbe`.
        """
        sample = networks.sample
        symmetry = None if align is None else symmetry_of(sample.network, networks.match.X)
        builder = PathBuilder(sample.network, symmetry, align, path, repair, networks.match)
        first, *others = networks.states
        permutations, aligned, paths = [], [], []
        for other in others:
            permutations.append(builder.permutation(first, other, rng))
            aligned.append(builder.permuted(other, permutations[-1]))
            paths.append(builder.path(first, aligned[-1], rng))
        return cls.extending(
            sample,
            builder=builder,
            states=networks.states,
            permutations=permutations,
            aligned=aligned,
            paths=paths,
            n_points=n_points,
            halves=split_halves(sample.n_samples, rng),
        )

    @property
    def orders(self) -> list[dict[str, NDArray]]:
        """For every network, the order of each group of units that aligns it with the first."""
        symmetry = self.builder.symmetry
        first = None if symmetry is None else symmetry.identity()
        return [_orders(symmetry, perm) for perm in (first, *self.permutations)]

    @cached_property
    def repairs(self) -> list[Repair | None]:
        """Repaired networks on each path; None where nothing is to be repaired."""
        return [self.builder.repaired(path) for path in self.paths]

    @cached_property
    def barriers(self) -> BarrierTable:
        """Barriers along all paths, and along the straight lines between networks as they are."""
        held_out = Data(self.X, self.target, self.weight)
        parts = {"train": self.builder.match, "held-out": held_out}
        plain = partial(
            measure_barriers,
            self.network,
            data={name: (rows.X, rows.y, rows.weight) for name, rows in parts.items()},
            n_points=self.n_points,
            tol=_TOL,
            batch_statistics=self.builder.statistics,
        )
        as_they_are = self.builder.symmetry is None and self.builder.kind == "linear"
        found: dict[tuple[int, str], Barriers] = {}
        for k, (path, repair) in enumerate(zip(self.paths, self.repairs, strict=True), start=1):
            found[k, "naive"] = plain(LinearPath(self.states[0], self.states[k]))
            found[k, "aligned"] = found[k, "naive"] if as_they_are else plain(path)
            if repair is not None:
                losses = {
                    name: partial(repair.losses, X=rows.X, y=rows.y, sample_weight=rows.weight)
                    for name, rows in parts.items()
                }
                found[k, "repaired"] = walk_barriers(losses, n_points=self.n_points, tol=_TOL)
        return BarrierTable(found)

    @cached_property
    def path_scores(self) -> tuple[PathScores, PathScores | None]:
        """Scores of all units, on the paths as they are and repaired: the lowest over the paths."""
        weight = None if self.weight is None else self.weights
        ts = np.linspace(0, 1, self.n_points)
        before, after = [], []
        for path, repair in zip(self.paths, self.repairs, strict=True):
            along = self.builder.activations(path, ts, self.units, self.X)
            before.append(PathScores.of(along, weight, self.halves))
            if repair is not None:
                along = self.builder.activations(path, ts, self.units, self.X, repair)
                after.append(PathScores.of(along, weight, self.halves))
        return PathScores.least(before), PathScores.least(after) if after else None

    @property
    def eligible(self) -> NDArray:
        """Mask (n_units,) of units with a signal at both ends of all paths."""
        return self.path_scores[0].eligible

    @property
    def scores(self) -> NDArray:
        """Least correlations (n_units,) along the (repaired) paths; 0 without a signal."""
        plain, repaired = self.path_scores
        return np.where(self.eligible, (repaired or plain).correlation, 0.0)

    @property
    def error_scale(self) -> float:
        """What an error is a share of: 1 for classifiers, the variance of real targets.

        As the error is a mean over outputs, so is the variance.
        """
        return self.trained.error_scale(self.target, torch.as_tensor(self.weights))

    def midpoint(self) -> nn.Module:
        """The (repaired) network in the middle of the first path."""
        return next(iter(self.builder.modules(self.paths[0], [0.5], self.repairs[0])))


def _orders(symmetry: Symmetry | None, perm: torch.Tensor | None) -> dict[str, NDArray]:
    """For each group which member is now at each index, and so for the parts of blocks."""
    if symmetry is None or perm is None:
        return {}
    found: dict[str, NDArray] = {}
    for group in symmetry.groups:
        name, number = group.name, 1
        while name in found:
            name, number = f"{group.name}_{number}", number + 1
        order = _indices(group.members, perm[group.members])
        found[name] = order
        for k, part in enumerate(group.inner):
            rows = zip(part[torch.as_tensor(order)], perm[part], strict=True)
            found[f"{name}.parts_{k}"] = np.stack([_indices(own, now) for own, now in rows])
    return found


def _indices(classes: torch.Tensor, wanted: torch.Tensor) -> NDArray:
    """The index in `classes` of each of `wanted`."""
    index = {c: i for i, c in enumerate(classes.tolist())}
    return np.array([index[c] for c in wanted.tolist()])
