"""Joint greedy orders of units: who is silenced next is tried beside all who are silenced already.

An order lists all units, the most needed first: its first m are the m units that are kept.
"""

from collections.abc import Callable, Iterable

import numpy as np
import torch
from numpy.typing import NDArray

from sklflat.probing.sample import Sample
from sklflat.pruning.joint_ablation import LinearReadout, outputs_of_sets
from sklflat.pruning.losses import at_once, mean_losses
from sklflat.pruning.output_layer import Moments

#: losses (n_candidates,) when the units kept (n_units,) change by one candidate each
Trial = Callable[[NDArray, NDArray], NDArray]

#: one step moves one unit, or one of so many that are left: where candidates are a matrix product,
#: and where the network has to be run for every one
_OF_PRODUCTS, _OF_PASSES = 128, 16


def greedy_order(
    trial: Trial, free: NDArray, n_units: int, *, forward: bool, share: int
) -> NDArray:
    """An order by the loss of the network, all units silenced but those that are kept.

    Parameters
    ----------
    trial : callable
    free : ndarray of int
        Units to be ordered; the others come last.
    n_units : int
    forward : bool
        Whether units are added to none, or taken from all.
    share : int
        A step moves one unit, or one of so many that are left.
    """
    kept = np.zeros(n_units, dtype=bool)
    kept[free] = not forward
    left, moved = np.array(free, dtype=int), [np.zeros(0, dtype=int)]
    while len(left):
        best = np.argsort(trial(kept, left), kind="stable")[: max(1, len(left) // share)]
        kept[left[best]] = forward
        moved.append(left[best])
        left = np.delete(left, best)
    order = np.concatenate(moved)
    rest = np.setdiff1d(np.arange(n_units), free)
    return np.concatenate([order if forward else order[::-1], rest])


def readout_order(
    sample: Sample, readout: LinearReadout, free: NDArray, *, forward: bool
) -> NDArray:
    """The greedy order of units that the output layer reads: a matrix product for a candidate."""
    sign = 1.0 if forward else -1.0

    @torch.no_grad()
    def trial(kept: NDArray, candidates: NDArray) -> NDArray:
        z, C, losses = readout.outputs(kept), readout.C, []
        for some in np.array_split(candidates, -(-len(candidates) // at_once(z))):
            i = torch.as_tensor(some, device=C.device)
            moved = C[:, i].T[:, :, None] * readout.W[:, i].T[:, None, :]
            losses.append(mean_losses(sample, z + sign * moved))
        return np.concatenate(losses)

    return greedy_order(trial, free, len(sample.units), forward=forward, share=_OF_PRODUCTS)


def passes_order(sample: Sample, means: NDArray, free: NDArray, *, forward: bool) -> NDArray:
    """The greedy order of any units, by running the network for every candidate."""

    def trial(kept: NDArray, candidates: NDArray) -> NDArray:
        sets = np.repeat(kept[None], len(candidates), axis=0)
        sets[np.arange(len(sets)), candidates] = forward
        outputs = outputs_of_sets(sample, sample.network.module, sets, means)
        return np.concatenate([mean_losses(sample, z[None]) for z in outputs])

    return greedy_order(trial, free, len(sample.units), forward=forward, share=_OF_PASSES)


def refitted_order(moments: Moments, free: NDArray, n_units: int, *, forward: bool) -> NDArray:
    r"""The greedy order of what the output layer reads, refitted at every step, in closed form.

    Where the outputs of the whole network are refitted from the units S by least squares, with
    :math:`H = G_{SS}^{-1}` and :math:`w = H B_S`, the squared error rises without unit u by

    .. math:: \|w_u\|^2 / H_{uu},

    and falls with another unit u by :math:`\|r_u\|^2 / g_{uu}`, r and g being what the units in S
    leave of B and G (Gram and Schmidt). The former is the optimal brain surgeon's saliency.

    References
    ----------
    B. Hassibi, D. Stork, "Second order derivatives for network pruning: optimal brain surgeon",
    NeurIPS 1992. S. Chen, S. Billings, W. Luo, "Orthogonal least squares methods", International
    Journal of Control 50, 1989.
    """
    ordered = _added if forward else _taken
    order = ordered(moments.G[np.ix_(free, free)].copy(), moments.B[free].copy())
    rest = np.setdiff1d(np.arange(n_units), free)
    return np.concatenate([free[np.array(order, dtype=int)], rest]).astype(int)


def _added(g: NDArray, r: NDArray) -> Iterable[int]:
    diagonal, order = np.diag(g).copy(), []
    left = np.ones(len(g), dtype=bool)
    for _ in range(len(g)):
        own = np.diag(g)
        # what is left of a copy of chosen units is rounding
        fresh = left & (own > 1e-10 * diagonal)
        gain = np.square(r).sum(axis=1) / np.where(fresh, own, 1.0)
        u = int(np.argmax(np.where(fresh, gain, np.where(left, -1.0, -2.0))))
        order.append(u)
        left[u] = False
        if fresh[u]:
            column = g[:, u] / own[u]
            r -= np.outer(column, r[u])
            g -= np.outer(column, g[u])
    return order


def _taken(G: NDArray, B: NDArray) -> Iterable[int]:
    H = np.linalg.inv(G) if len(G) else G
    w, order = H @ B, []
    left = np.ones(len(G), dtype=bool)
    for _ in range(len(G)):
        own = np.where(left, np.diag(H), 1.0)
        u = int(np.argmin(np.where(left, np.square(w).sum(axis=1) / own, np.inf)))
        order.append(u)
        left[u] = False
        column = H[:, u] / own[u]
        w = w - np.outer(column, w[u])
        H = H - np.outer(column, H[u])
    return order[::-1]
