"""Scores of units from their directions in the eigenspace of the curvature."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sklflat.curvature import CurvatureOperator, ScaledOperator, Subspace
from sklflat.curvature.network_operator import exact_arithmetic
from sklflat.networks import Blocks, Network, ParameterVector, Units
from sklflat.probing.nulls import Null

#: numbers in one block of dense directions
_BLOCK = 20_000_000

#: draws in memory at once: of more than 1,800 units each has fewer than one that is alone needs
_MAX_DRAWS = 2**26
#: draws for all units whose share is computed at once, so that it stays in the cache
_AT_ONCE = 256

#: random directions for each top one
_N_RANDOM = 3


@dataclass(frozen=True)
class UnitDirections:
    """Units as directions in parameter space.

    A unit's direction u is the part of ``d`` in its own block of parameters, in unit length.

    Parameters
    ----------
    blocks : Blocks
        The parameters of each of U units.
    d : Tensor of shape (p,)
        The parameters themselves; in the adaptive metric their signs.
    scale : Tensor of shape (p,) or None
        The metric's diagonal T: a direction v of the eigenspace moves the parameters by T v.
    """

    blocks: Blocks
    d: Tensor
    scale: Tensor | None

    @classmethod
    def of(
        cls, units: Units, vector: ParameterVector, metric: str, outgoing: bool, dtype: torch.dtype
    ) -> "UnitDirections":
        """The units of a network, in the "plain" or "adaptive" metric.

        With ``outgoing``, what reads a unit belongs to it too.
        """
        blocks = units.incoming(vector)
        if outgoing:
            blocks = _union(blocks, units.outgoing(vector))
        w = vector.read().to(dtype)
        if metric == "plain":
            return cls(blocks, w, None)
        return cls(blocks, w.sign(), w.abs())

    @property
    def norms(self) -> Tensor:
        """Lengths (U,) before they are normalised."""
        return self.blocks.sum(self.d.square()).sqrt()

    @property
    def are_defined(self) -> NDArray:
        """Mask (U,) of units that have parameters other than zero."""
        return (self.norms > 0).cpu().numpy()

    def in_metric(self, operator: CurvatureOperator) -> CurvatureOperator:
        """An operator over the parameters, T A T."""
        return operator if self.scale is None else ScaledOperator(operator, self.scale)

    def loadings(self, V: Tensor) -> Tensor:
        """Products (k, U) of directions V (k, p) with each unit's direction."""
        tiny = torch.finfo(self.d.dtype).tiny
        return self.blocks.sum(V * self.d) / self.norms.clamp_min(tiny)

    def rows(self, numbers: Tensor, drawn: Tensor | None = None) -> Tensor:
        """Some units' unit vectors, or other directions cut to their blocks, as rows (b, p)."""
        D = torch.zeros(len(numbers), len(self.d), dtype=self.d.dtype, device=self.d.device)
        for row, u in enumerate(numbers.tolist()):
            entries = self.blocks.indices(u)
            own = self.d[entries] if drawn is None else drawn[row, : len(entries)]
            D[row, entries] = own / own.norm().clamp_min(torch.finfo(D.dtype).tiny)
        return D


def _union(a: Blocks, b: Blocks) -> Blocks:
    pairs = torch.stack(
        [torch.cat([a.owners, b.owners]), torch.cat([a.entries, b.entries])]
    ).unique(dim=1)
    return Blocks(pairs[1], pairs[0], len(a))


# --- flat alignment ---------------------------------------------------------------------------


def flat_alignment(directions: UnitDirections, top: Subspace) -> NDArray:
    r"""Share of each unit's direction in the complement of a subspace, shape (U,).

    .. math:: 1 - \sum_{i \le k} (u_j \cdot v_i)^2
    """
    inside = directions.loadings(top.vectors).double().square().sum(0)
    return np.where(directions.are_defined, 1 - inside.cpu().numpy(), 0.0)


def flat_alignment_null(
    directions: UnitDirections, top: Subspace, n_draws: int, rng: np.random.RandomState
) -> Null:
    r"""The same shares of directions that are uniform inside each unit's own block.

    The share in the subspace is :math:`\sum_i \gamma_i \chi^2_i / \sum_i \chi^2_i` with the
    eigenvalues :math:`\gamma` of :math:`V_B V_B^\top`, V's columns in the block B, and as many
    independent :math:`\chi^2_1` as the block has entries. It is drawn exactly, and every unit is
    compared with its own draws, so the layer a unit is in makes no difference. As permutations of
    targets do, the same :math:`\chi^2` serve all units.
    """
    blocks = [directions.blocks.indices(u) for u in range(len(directions.blocks))]
    n, k = min(n_draws, _MAX_DRAWS // max(1, len(blocks))), len(top)
    draws = np.zeros((n, len(blocks)))
    z = rng.chisquare(1, size=(n, k))
    sizes = np.array([len(entries) for entries in blocks])
    for size in dict.fromkeys(sizes[sizes > 0].tolist()):
        # what is outside the subspace has no weight in the share
        rest = rng.chisquare(size - k, size=n) if size > k else 0.0
        length = z[:, :size].sum(axis=1) + rest
        own = np.flatnonzero(sizes == size)
        together = len(own) == own[-1] + 1 - own[0]  # as a layer is: written in one piece
        columns = slice(own[0], own[-1] + 1) if together else own
        values = [torch.linalg.svdvals(top.vectors[:, blocks[u]].double()).cpu() for u in own]
        gammas = torch.stack(values).square().numpy()
        for some in range(0, n, _AT_ONCE):
            part = slice(some, some + _AT_ONCE)
            share = z[part, :size] @ gammas.T
            share /= length[part, None]
            draws[part, columns] = np.subtract(1, share, out=share)
    return Null("directions in its parameters", draws, pooled=False)


# --- curvature --------------------------------------------------------------------------------


def unit_curvature(directions: UnitDirections, operator: CurvatureOperator) -> NDArray:
    r"""Curvature along each unit's direction, :math:`u_j^\top A\, u_j`, shape (U,)."""
    return _curvature(directions, operator, None)


def unit_curvature_null(
    directions: UnitDirections,
    operator: CurvatureOperator,
    n_draws: int,
    rng: np.random.RandomState,
) -> Null:
    """Curvature along directions that are uniform inside each unit's own block."""
    n = max(int(np.ceil(n_draws / len(directions.blocks))), 20)
    widest = int(directions.blocks.sizes.max())
    draws = []
    for _ in range(n):
        G = torch.as_tensor(rng.normal(size=(len(directions.blocks), widest))).to(directions.d)
        draws.append(_curvature(directions, operator, G))
    return Null("directions in its parameters", np.stack(draws))


def _curvature(
    directions: UnitDirections, operator: CurvatureOperator, drawn: Tensor | None
) -> NDArray:
    parts = []
    for numbers in torch.arange(len(directions.blocks)).split(max(1, _BLOCK // operator.size)):
        D = directions.rows(numbers, None if drawn is None else drawn[numbers])
        parts.append((D * operator.product(D)).double().sum(1))
    return torch.cat(parts).cpu().numpy()


# --- response ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Response:
    r"""Mean square derivatives of activations along directions in parameter space.

    Parameters
    ----------
    top, random : ndarray of shape (k, U) and (m, U)
        :math:`\mathrm E_x (\partial a_j(x) / \partial v)^2` for the top directions, and for random
        ones in the whole space, of unit length.
    flat : ndarray of shape (m, U)
        For the random ones without their parts in the top subspace.
    curvature_top, curvature_flat : ndarray of shape (k,) and (m,)
        :math:`v^\top A v` of these directions.
    """

    top: NDArray
    random: NDArray
    flat: NDArray
    curvature_top: NDArray
    curvature_flat: NDArray

    def at_equal_norm(self) -> tuple[NDArray, NDArray]:
        """Mean square responses (U,) to top directions and to those of the complement."""
        return self.top.mean(0), self.flat.mean(0)

    def at_equal_rise(self) -> tuple[NDArray, NDArray]:
        """The same for a step that raises the loss by 1 to second order.

        A direction along which the loss does not rise is left out.
        """
        return _per_rise(self.top, self.curvature_top), _per_rise(self.flat, self.curvature_flat)

    def scores(self) -> NDArray:
        """Share of the complement in both mean responses, (U,): 1/2 if they are equal."""
        return _share(self.flat.mean(0), self.top.mean(0))

    def null(self, n_draws: int, rng: np.random.RandomState) -> Null:
        """The same with top and random directions exchanged at random.

        If the top directions are random ones, all of them are exchangeable, so a unit's rank among
        its own draws is exact. Draws of different units are of the same directions, and are not
        pooled. What a score differs from that with whole random directions, as only part of them
        is in the complement, is added to the draws.
        """
        k, m = len(self.top), len(self.random)
        all_of_them = np.concatenate([self.top, self.random])
        n = max(min(n_draws, _MAX_DRAWS // max(1, self.top.shape[1])), 200)
        orders = np.argsort(rng.uniform(size=(n, k + m)), axis=1)
        chosen = np.zeros((n, k + m))
        np.put_along_axis(chosen, orders[:, :k], 1.0, axis=1)
        draws = _share((1 - chosen) @ all_of_them / m, chosen @ all_of_them / k)
        whole = _share(self.random.mean(0), self.top.mean(0))
        return Null("random directions", draws + (self.scores() - whole), pooled=False)


def _share(flat: NDArray, top: NDArray) -> NDArray:
    return np.divide(flat, flat + top, out=np.full_like(flat, 0.5), where=flat + top > 0)


def _per_rise(response: NDArray, curvature: NDArray) -> NDArray:
    rises = curvature > 0
    if not rises.any():
        return np.full(response.shape[1], np.nan)
    return (2 * response[rises] / curvature[rises, None]).mean(0)


def unit_response(
    network: Network,
    units: Units,
    X: Tensor,
    weights: NDArray,
    directions: UnitDirections,
    top: Subspace,
    operator: CurvatureOperator,
    generator: torch.Generator,
) -> Response:
    """Derivatives of the units' activations along top directions and random ones.

    The samples' ``weights`` (n,) add up to 1; the operator is in the metric of ``directions``.
    """
    m = (1 + _N_RANDOM) * len(top)
    R = operator.random(m, generator)
    flat = top.complement(R)
    R, flat = (V / V.norm(dim=1, keepdim=True) for V in (R, flat))
    s = torch.as_tensor(weights).to(operator.device, operator.dtype)

    def energies(V: Tensor) -> NDArray:
        steps = V if directions.scale is None else V * directions.scale
        return np.stack([_energy(network, units, X, s, v) for v in steps])

    def curvature(V: Tensor) -> NDArray:
        return (V * operator.product(V)).double().sum(1).cpu().numpy()

    return Response(
        energies(top.vectors), energies(R), energies(flat), curvature(top.vectors), curvature(flat)
    )


def _energy(network: Network, units: Units, X: Tensor, s: Tensor, v: Tensor) -> NDArray:
    run = network.vector.runner(network.module)
    views = network.vector.views(v)
    parameters = [p.detach() for p in network.vector.parameters]
    total = torch.zeros(len(units), dtype=torch.float64)
    start = 0
    for batch in X.split(network.batch_size):
        x = network.prepare(batch)

        def activations(*tensors: Any, x: Tensor = x) -> Tensor:
            return units.watched(lambda: run(tensors, x))

        with exact_arithmetic:
            da = torch.func.jvp(activations, tuple(parameters), tuple(views))[1]
        weight = s[start : start + len(batch), None]
        total += (weight * da.square()).sum(0).double().cpu()
        start += len(batch)
    return total.numpy()
