"""From networks to a path between them: align, join, repair, and watch units on the way."""

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
from sklflat.networks.network import copy_module
from sklflat.networks.state import State, read_state, write_state
from sklflat.networks.units import Units
from sklflat.paths.paths import LinearPath, Path
from sklflat.paths.repair.repair import Repair
from sklflat.paths.trained_curves import fit_bend
from sklflat.symmetry.discovery import find_symmetry
from sklflat.symmetry.symmetry import Symmetry

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
            kept = np.unique(np.linspace(0, len(self.X) - 1, n).round().astype(int))
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
        + " Use align=None to walk between the networks as they are."
    )


def align(
    how: str,
    symmetry: Symmetry,
    network: Network,
    a: State,
    b: State,
    rows: Data,
    random_state: Any,
) -> Tensor:
    """The permutation of the second network's units that aligns them with the first's.

    Parameters
    ----------
    how : {"weights", "activations", "ot", "straight_through"}
    symmetry : Symmetry
    network : Network
        The architecture and the criterion.
    a, b : state
    rows : Data
        Data to match on.
    random_state : RandomState
    """
    names = [name for name, _ in network.module.named_parameters()]
    if how == "weights":
        return match_weights(symmetry, a, b, names=names, random_state=random_state).perm
    if how == "activations":
        return match_by_activations(symmetry, network.module, a, b, rows.X).perm
    if how == "ot":
        return match_transport(symmetry, a, b, names=names).perm
    return match_straight_through(
        symmetry, network, a, b, rows.X, rows.y, random_state=random_state
    ).perm


def join(kind: str, network: Network, a: State, b: State, rows: Data, random_state: Any) -> Path:
    """A path from one network to another: straight, or trained to be low."""
    if kind == "linear":
        return LinearPath(a, b)
    n_bends = 1 if kind == "bezier" else 3
    return fit_bend(
        network, a, b, rows.X, rows.y, kind=kind, n_bends=n_bends, random_state=random_state
    )


@dataclass(frozen=True)
class Walk:
    """How pairs of networks of one architecture are aligned, joined and looked at.

    Attributes
    ----------
    network : Network
        The architecture and the criterion.
    symmetry : Symmetry or None
        None aligns nothing.
    how : str or None
        One of :data:`ALIGNMENTS`.
    kind : {"linear", "bezier", "polychain"}
    repair : bool
    match : Data
        To match on, to train bends and to take moments.
    """

    network: Network
    symmetry: Symmetry | None
    how: str | None
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

    def aligned(self, a: State, b: State, rng: Any) -> tuple[Tensor | None, State]:
        """The permutation of the second network, and its state with it."""
        if self.symmetry is None or self.how is None:
            return None, b
        perm = align(self.how, self.symmetry, self.network, a, b, self.few, rng)
        return perm, self.symmetry.permute(b, perm)

    def path(self, a: State, b: State, rng: Any) -> Path:
        """The path between two aligned networks."""
        return join(self.kind, self.network, a, b, self.match.spread(), rng)

    def repair_of(self, path: Path) -> Repair:
        """Repaired networks on a path."""
        return Repair(self.network, path, self.few.X)

    def modules(
        self, path: Path, ts: Iterable[float], repair: Repair | None = None
    ) -> Iterator[nn.Module]:
        """The networks at points of a path; where it is not repaired, the same module each time."""
        if repair is not None:
            yield from map(repair, ts)
            return
        twin = copy_module(self.network.module)
        for t in ts:
            write_state(twin, path.at(t))
            if self.statistics is not None:
                recompute_batch_statistics(twin, [self.network.prepare(self.statistics)])
            yield twin

    def activations(
        self,
        path: Path,
        ts: Iterable[float],
        units: Units,
        X: Tensor,
        repair: Repair | None = None,
    ) -> Iterator[NDArray]:
        """Activations (n, n_units), float64, at points of a path.

        Parameters
        ----------
        path : Path
        ts : iterable of float
        units : Units
        X : Tensor of shape (n, ...)
        repair : Repair, default=None
            Of that path.
        """
        for module in self.modules(path, ts, repair):
            with torch.no_grad():
                yield units.activations(module, X, self.network.batch_size).double().numpy()

    def between(
        self, pair: tuple[nn.Module, nn.Module], units: Units, X: Tensor, ts: NDArray, rng: Any
    ) -> Iterator[NDArray]:
        """Align and join any pair of such networks, and watch units along the path."""
        a, b = (as_of(self.network, read_state(module)) for module in pair)
        path = self.path(a, self.aligned(a, b, rng)[1], rng)
        return self.activations(path, ts, units, X, self.repair_of(path) if self.repair else None)


def as_of(network: Network, state: Mapping[str, Tensor]) -> State:
    """A state on the device and in the precision of a network."""
    return {name: network.prepare(tensor) for name, tensor in state.items()}
