"""PathBuilder: aligns two networks, joins them by a path, and reads units along it."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from sklflat.exceptions import UnsupportedNetworkError
from sklflat.matching import (
    match_by_activations,
    match_straight_through,
    match_transport,
    match_weights,
)
from sklflat.networks import Network
from sklflat.networks.batch_statistics import recompute_batch_statistics
from sklflat.networks.buffers import write_mixed
from sklflat.networks.network import copy_module
from sklflat.networks.state import State, read_state
from sklflat.networks.units import Units
from sklflat.paths.paths import LinearPath, Path
from sklflat.paths.repair.repair import Repair
from sklflat.paths.trained_curves import fit_bend
from sklflat.symmetry.discovery import find_symmetry
from sklflat.symmetry.symmetry import Symmetry
from sklflat.training.estimators.loss_landscape import evenly_spread

ALIGNMENTS = ("weights", "activations", "ot", "straight_through")

#: rows from which REPAIR takes moments, and on which units are matched
MAX_ROWS = 2048


@dataclass(frozen=True)
class Data:
    """Rows, as a network takes them.

    Attributes
    ----------
    X : Tensor of shape (n, ...)
    y : Tensor of shape (n, ...)
    weight : Tensor of shape (n,), default=None
    """

    X: Tensor
    y: Tensor
    weight: Tensor | None = None

    def spread(self, most: int | None = None) -> "Data":
        """Rows of equal weight that stand for all: at most so many, evenly spread.

        With weights, rows are taken at even steps of the running sum of weights: those of great
        weight several times, those of none never.
        """
        n = len(self.X) if most is None else min(most, len(self.X))
        if self.weight is None:
            kept = evenly_spread(len(self.X), n)
        else:
            total = self.weight.double().cumsum(0).numpy()
            kept = np.searchsorted(total, (np.arange(n) + 0.5) / n * total[-1], side="right")
        return Data(self.X[kept], self.y[kept])


def symmetry_of(network: Network, X: Tensor) -> Symmetry:
    """The symmetry of a network by which its units can be aligned.

    Raises
    ------
    UnsupportedNetworkError
        If no unit can be moved; says why.
    """
    symmetry = find_symmetry(network.module, X)
    if symmetry.groups:
        return symmetry
    why = "; ".join(f"{k} (at {', '.join(v) or 'its inputs'})" for k, v in symmetry.pinned.items())
    raise UnsupportedNetworkError(
        "No unit of this network can be aligned: "
        + (f"units keep their places by {why}." if why else "it has no group of units to exchange.")
        + " Use align=None to join the networks as they are."
    )


def as_of(network: Network, state: Mapping[str, Tensor]) -> State:
    """A state on the device and in the precision of a network."""
    return {name: network.prepare(tensor) for name, tensor in state.items()}


@dataclass(frozen=True)
class PathBuilder:
    """How two networks of one architecture are aligned, joined and repaired.

    Attributes
    ----------
    network : Network
        The architecture and the criterion.
    symmetry : Symmetry or None
        None aligns nothing.
    align : str or None
        One of :data:`ALIGNMENTS`.
    kind : {"linear", "bezier", "polychain"}
        A straight line, or a curve that is trained to be low.
    repair : bool
        Whether moments of hidden layers are restored along a path.
    match : Data
        To match units on, to train curves on and to take moments of.
    """

    network: Network
    symmetry: Symmetry | None
    align: str | None
    kind: str
    repair: bool
    match: Data

    @cached_property
    def few(self) -> Data:
        """Rows enough to match on and to take moments of."""
        return self.match.spread(MAX_ROWS)

    @cached_property
    def statistics(self) -> Tensor | None:
        """Rows for the statistics of batch normalisation, without which it means nothing between.

        None if the network has none.
        """
        norms = (m for m in self.network.module.modules() if isinstance(m, _BatchNorm))
        return self.few.X if any(m.running_mean is not None for m in norms) else None

    def permutation(self, a: State, b: State, rng: Any) -> Tensor | None:
        """The permutation of the second network's units that aligns them with the first's."""
        symmetry, module, rows = self.symmetry, self.network.module, self.few
        if symmetry is None or self.align is None:
            return None
        if self.align == "activations":
            return match_by_activations(symmetry, module, a, b, rows.X).perm
        if self.align == "straight_through":
            return match_straight_through(
                symmetry, self.network, a, b, rows.X, rows.y, random_state=rng
            ).perm
        names = [name for name, _ in module.named_parameters()]
        if self.align == "ot":
            return match_transport(symmetry, a, b, names=names).perm
        return match_weights(symmetry, a, b, names=names, random_state=rng).perm

    def permuted(self, state: State, perm: Tensor | None) -> State:
        """A network's state with its units in another order."""
        if self.symmetry is None or perm is None:
            return state
        return self.symmetry.permute(state, perm)

    def path(self, a: State, b: State, rng: Any) -> Path:
        """The path between two aligned networks."""
        if self.kind == "linear":
            return LinearPath(a, b)
        n_bends = 1 if self.kind == "bezier" else 3
        rows = self.match.spread()
        return fit_bend(
            self.network, a, b, rows.X, rows.y, kind=self.kind, n_bends=n_bends, random_state=rng
        )

    def repaired(self, path: Path) -> Repair | None:
        """Repaired networks on a path; None if none is to be repaired."""
        return Repair(self.network, path, self.few.X) if self.repair else None

    def modules(
        self, path: Path, ts: Iterable[float], repair: Repair | None = None
    ) -> Iterator[nn.Module]:
        """The networks at points of a path; where it is not repaired, the same module each time."""
        if repair is not None:
            yield from map(repair, ts)
            return
        module = copy_module(self.network.module)
        for t in ts:
            write_mixed(module, path.anchors, path.coefficients(t))
            if self.statistics is not None:
                recompute_batch_statistics(module, [self.network.prepare(self.statistics)])
            yield module

    def activations(
        self,
        path: Path,
        ts: Iterable[float],
        units: Units,
        X: Tensor,
        repair: Repair | None = None,
    ) -> Iterator[NDArray]:
        """Activations (n, n_units), float64, at points of a path, with the repair of that path."""
        for module in self.modules(path, ts, repair):
            with torch.no_grad():
                yield units.activations(module, X, self.network.batch_size).double().numpy()

    def joined(
        self, pair: tuple[nn.Module, nn.Module], units: Units, X: Tensor, ts: NDArray, rng: Any
    ) -> Iterator[NDArray]:
        """Align and join two modules, and read the units' activations along the path."""
        a, b = (as_of(self.network, read_state(module)) for module in pair)
        path = self.path(a, self.permuted(b, self.permutation(a, b, rng)), rng)
        return self.activations(path, ts, units, X, self.repaired(path))
