"""From networks to a path between them: align, join, repair, and watch units on the way."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sklflat.connectivity.find import find_symmetry
from sklflat.connectivity.matching import (
    match_by_activations,
    match_straight_through,
    match_transport,
    match_weights,
)
from sklflat.connectivity.path_training import fit_bend
from sklflat.connectivity.paths import LinearPath, Path
from sklflat.connectivity.repair import Repair
from sklflat.connectivity.state import State, read_state, write_state
from sklflat.connectivity.symmetry import Symmetry
from sklflat.exceptions import UnsupportedNetworkError
from sklflat.networks import Network
from sklflat.networks.network import copy_module
from sklflat.networks.units import Units

ALIGNMENTS = ("weights", "activations", "ot", "straight_through")

#: rows from which REPAIR takes moments, and on which units are matched
MAX_ROWS = 2048


@dataclass(frozen=True)
class Rows:
    """Some data, as a network takes them.

    Attributes
    ----------
    X : Tensor of shape (n, ...)
    y : Tensor of shape (n, ...)
    """

    X: Tensor
    y: Tensor

    def first(self, n: int) -> "Rows":
        """At most so many rows, evenly spread."""
        kept = np.unique(np.linspace(0, len(self.X) - 1, min(n, len(self.X))).round().astype(int))
        return Rows(self.X[kept], self.y[kept])


def symmetry_of(network: Network, X: Tensor) -> Symmetry:
    """The symmetry of a network by which its units can be aligned.

    Raises
    ------
    UnsupportedNetworkError
        If no unit can be moved; names the operations that are in the way.
    """
    symmetry = find_symmetry(network.module, X)
    if symmetry.groups:
        return symmetry
    why = ", ".join(
        f"{operation!r} (at {', '.join(axes) or 'its inputs'})"
        for operation, axes in symmetry.frozen.items()
    )
    raise UnsupportedNetworkError(
        "No unit of this network can be aligned: "
        + (f"not understood are {why}." if why else "it has no group of units to exchange.")
        + " Use align=None to walk between the networks as they are."
    )


def align(
    how: str,
    symmetry: Symmetry,
    network: Network,
    a: State,
    b: State,
    rows: Rows,
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
    rows : Rows
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


def join(kind: str, network: Network, a: State, b: State, rows: Rows, random_state: Any) -> Path:
    """A path from one network to another: straight, or trained to be low."""
    if kind == "linear":
        return LinearPath(a, b)
    n_bends = 1 if kind == "bezier" else 3
    return fit_bend(
        network, a, b, rows.X, rows.y, kind=kind, n_bends=n_bends, random_state=random_state
    )


def modules_along(
    network: Network, path: Path, ts: NDArray, X: Tensor, *, repair: bool
) -> Iterator[nn.Module]:
    """The networks at points of a path, as they are or repaired; one module, but for repaired."""
    if repair:
        yield from map(Repair(network, path, X), ts)
        return
    twin = copy_module(network.module)
    for t in ts:
        write_state(twin, path.at(t))
        yield twin


def activations_along(
    network: Network,
    path: Path,
    ts: NDArray,
    units: Units,
    X: Tensor,
    moments: Tensor,
    *,
    repair: bool,
) -> Iterator[NDArray]:
    """Activations (n, n_units), float64, at points of a path.

    Parameters
    ----------
    network : Network
    path : Path
    ts : ndarray of shape (T,)
    units : Units
    X : Tensor of shape (n, ...)
    moments : Tensor of shape (m, ...)
        Data on which moments are taken.
    repair : bool
    """
    for module in modules_along(network, path, ts, moments, repair=repair):
        with torch.no_grad():
            yield units.activations(module, X, network.batch_size).double().numpy()


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
    match : Rows
        Data to match on, to train bends and to take moments.
    """

    network: Network
    symmetry: Symmetry | None
    how: str | None
    kind: str
    repair: bool
    match: Rows

    def aligned(self, a: State, b: State, rng: Any) -> tuple[Tensor | None, State]:
        """The permutation of the second network, and its state with it."""
        if self.symmetry is None or self.how is None:
            return None, b
        rows = self.match.first(MAX_ROWS)
        perm = align(self.how, self.symmetry, self.network, a, b, rows, rng)
        return perm, self.symmetry.permute(b, perm)

    def path(self, a: State, b: State, rng: Any) -> Path:
        """The path between two aligned networks."""
        return join(self.kind, self.network, a, b, self.match, rng)

    def activations(
        self, path: Path, ts: NDArray, units: Units, X: Tensor, *, repair: bool
    ) -> Iterator[NDArray]:
        """Activations (n, n_units) at points of a path."""
        moments = self.match.first(MAX_ROWS).X
        return activations_along(self.network, path, ts, units, X, moments, repair=repair)

    def between(
        self, pair: tuple[nn.Module, nn.Module], units: Units, X: Tensor, ts: NDArray, rng: Any
    ) -> Iterator[NDArray]:
        """Align and join any pair of such networks, and watch units along the path."""
        a, b = (_as(self.network, read_state(module)) for module in pair)
        path = self.path(a, self.aligned(a, b, rng)[1], rng)
        return self.activations(path, ts, units, X, repair=self.repair)


def _as(network: Network, state: Mapping[str, Tensor]) -> State:
    """A state in a network's precision."""
    return {n: network.prepare(t) for n, t in state.items()}
