"""Permutations by gradients of the midpoint's loss, through the matching."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from sklearn.utils import check_random_state
from torch import Tensor
from torch.func import functional_call

from sklflat.matching.result import Matching
from sklflat.matching.weights import match_weights
from sklflat.networks import Network
from sklflat.networks.state import State, check_state
from sklflat.symmetry.module_runs import check_rows
from sklflat.symmetry.symmetry import Symmetry


def match_straight_through(
    symmetry: Symmetry,
    network: Network,
    a: State,
    b: State,
    X: Tensor,
    y: Tensor,
    *,
    n_steps: int = 100,
    batch_size: int = 512,
    learning_rate: float = 0.01,
    momentum: float = 0.9,
    random_state: Any = None,
) -> Matching:
    r"""Permute the second network so that the loss halfway to it is low.

    A network :math:`\tilde\theta` that starts at the first one is projected on the permutations of
    the second, :math:`\pi = \arg\max_\pi \langle \tilde\theta, \pi(\theta_B) \rangle`, and moved
    along the gradient of :math:`L((\theta_A + \pi(\theta_B)) / 2)`, taken as if the projection were
    the identity [1]_. Every projection is a weight matching that starts from the one before.

    Of all permutations on the way, the one of the lowest midpoint loss on *all* data is taken.
    (The lowest loss of a single batch, as published, is chosen for its batch.)

    Parameters
    ----------
    symmetry : Symmetry
    network : Network
        The architecture and the criterion; left as it is.
    a, b : state
    X, y : Tensor of shape (n_samples, ...)
    n_steps : int, default=100
    batch_size : int, default=512
    learning_rate : float, default=0.01
    momentum : float, default=0.9
    random_state : int, RandomState instance or None, default=None

    Returns
    -------
    Matching
        Its objective is minus the loss at the midpoint, on all data.

    References
    ----------
    .. [1] S. Ainsworth, J. Hayase, S. Srinivasa, "Git Re-Basin", ICLR 2023, section 3.3.
       https://arxiv.org/abs/2209.04836
    """
    if n_steps < 1:
        raise ValueError(f"n_steps must be at least 1, got {n_steps!r}.")
    check_state(a, "a")
    check_state(b, "b")
    check_rows(X)
    check_rows(y, "y")
    rng = check_random_state(random_state)
    names = [n for n, p in network.module.named_parameters() if p.is_floating_point()]
    free = {n: network.prepare(a[n]).requires_grad_(True) for n in names}
    optimizer = torch.optim.SGD(free.values(), learning_rate, momentum=momentum)
    midpoint = _Midpoint(symmetry, network, a, b, X, y, names)
    perm = symmetry.identity()
    tried: dict[tuple[int, ...], float] = {}
    n_assignments = n_sweeps = 0
    for _ in range(n_steps):
        found = match_weights(
            symmetry,
            {n: free[n].detach() for n in names},
            b,
            names=names,
            start=perm,
            n_restarts=1,
            random_state=rng,
        )
        perm = found.perm
        n_assignments += found.n_assignments
        n_sweeps += found.n_sweeps
        if tuple(perm.tolist()) not in tried:
            tried[tuple(perm.tolist())] = midpoint.loss(perm)
        rows = torch.as_tensor(rng.permutation(len(X))[:batch_size])
        optimizer.zero_grad()
        midpoint.gradient(perm, free, rows)
        optimizer.step()
    best = min(tried, key=tried.__getitem__)
    return Matching(
        perm=torch.tensor(best),
        objective=-tried[best],
        objective_identity=-midpoint.loss(symmetry.identity()),
        objectives=tuple(-loss for loss in tried.values()),
        n_sweeps=n_sweeps,
        n_assignments=n_assignments,
    )


class _Midpoint:
    """The network halfway between the first and the permuted second."""

    def __init__(
        self,
        symmetry: Symmetry,
        network: Network,
        a: State,
        b: State,
        X: Tensor,
        y: Tensor,
        names: list[str],
    ) -> None:
        self.symmetry, self.network, self.names = symmetry, network, names
        self.a = {n: network.prepare(t) for n, t in a.items()}
        self.b = {n: network.prepare(t) for n, t in b.items()}
        self.X, self.y = network.prepare(X), network.prepare(y)

    def _state(self, perm: Tensor) -> dict[str, Tensor]:
        moved = self.symmetry.permute(self.b, perm)
        return {n: (t + moved[n]) / 2 if t.is_floating_point() else t for n, t in self.a.items()}

    def _sums(self, state: State, rows: Tensor) -> tuple[Tensor, Tensor]:
        z = functional_call(self.network.module, dict(state), (self.X[rows].clone(),))
        return self.network.sums(z, self.y[rows])

    @torch.no_grad()
    def loss(self, perm: Tensor) -> float:
        state, total = self._state(perm), np.zeros(2)
        for rows in torch.arange(len(self.X)).split(self.network.batch_size):
            total += [float(part) for part in self._sums(state, rows)]
        loss = float(self.network.criterion.mean(*map(torch.as_tensor, total)))
        return loss if np.isfinite(loss) else float("inf")

    def gradient(self, perm: Tensor, free: Mapping[str, Tensor], rows: Tensor) -> None:
        """Leave in ``free`` the gradient at the midpoint, half of which is the second network's."""
        state = self._state(perm)
        leaves = [state[n].detach().requires_grad_(True) for n in self.names]
        state |= dict(zip(self.names, leaves, strict=True))
        loss = self.network.criterion.mean(*self._sums(state, rows))
        for name, g in zip(self.names, torch.autograd.grad(loss, leaves), strict=True):
            free[name].grad = g / 2
