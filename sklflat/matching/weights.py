"""Weight matching: the permutation that brings the weights of two networks closest."""

from collections.abc import Collection, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from torch import Tensor

from sklflat.exceptions import warn
from sklflat.matching.assignment import (
    Counted,
    Solve,
    best_inner,
    best_order,
    parts_of,
    rearranged,
)
from sklflat.matching.result import Matching
from sklflat.matching.weight_objective import WeightObjective
from sklflat.networks.state import State
from sklflat.symmetry.symmetry import Symmetry


class Ascent:
    """A permutation that is improved group by group until no group can be improved.

    A step that gains less than `tol` of the product of norms is rounding.
    """

    def __init__(self, weights: WeightObjective, perm: Tensor, solve: Counted, tol: float) -> None:
        self.weights, self.perm, self.solve = weights, perm, solve
        self.moved = weights.permuted(perm)
        self.value = weights.value(self.moved)
        self.least_gain = tol * weights.scale
        self.n_sweeps = 0

    def run(self, order: list[int], max_sweeps: int) -> None:
        """Visit groups in an order, again only those that share a tensor with one that moved."""
        waiting = set(order)
        while waiting and self.n_sweeps < max_sweeps:
            self.n_sweeps += 1
            for group in order:
                if group in waiting:
                    waiting.remove(group)
                    if any(self._accept(group, step) for step in self._steps(group)):
                        waiting |= self.weights.neighbours[group]
        if waiting:
            warn(
                f"max_sweeps={max_sweeps!r} sweeps did not end the ascent of weight matching; "
                "increase max_sweeps.",
                ConvergenceWarning,
            )

    def _steps(self, i: int) -> Iterator[Tensor]:
        """Permutations of one group that may raise the objective."""
        group = self.weights.symmetry.groups[i]
        gains = self.weights.gains(i, self.perm, self.moved)
        yield rearranged(self.weights.symmetry, group, *best_order(group, gains, self.solve))
        if i in self.weights.neighbours[i]:
            # the gains of two parts that meet in one tensor do not add up: one at a time
            for part, gain in enumerate(gains[1:]):
                inner = best_inner(group, part, gain, self.solve)
                order = torch.arange(len(group))
                yield rearranged(self.weights.symmetry, group, order, inner)

    def _accept(self, group: int, step: Tensor) -> bool:
        """Take a step of one group if the objective rises."""
        perm = self.perm[step]
        if torch.equal(perm, self.perm):
            return False
        moved = self.weights.permuted(perm, self.moved, group)
        value = self.weights.value(moved)
        if not value > self.value + self.least_gain:
            return False
        self.perm, self.moved, self.value = perm, moved, value
        return True


def initial_guess(
    weights: WeightObjective, solve: Solve, order: Sequence[int] | None = None
) -> Tensor:
    """A permutation (n_classes,) found by assigning one group after the other.

    In a given order, or always the one next, most of whose weights are known to correspond.

    Coordinate ascent needs to know, for the gain of exchanging two units, to which units of the
    other network their neighbours correspond. At the start that is not known, and what is computed
    from a random guess is noise: in a residual network it comes from all blocks, and drowns the
    little that inputs and outputs say about the stream. So the ascent starts from a guess that
    needs no neighbours. The largest inner product that any order of the neighbours allows is that
    of the *sorted* weights (the rearrangement inequality). If the second network is a permutation
    of the first, it is largest for the right pairs, whatever the permutation.
    """
    symmetry = weights.symmetry
    # the number of the part of every class; -1 for those that nothing moves or that are assigned
    unknown = np.full(symmetry.n_classes + 1, -1)
    for number, classes in enumerate(part for g in symmetry.groups for part in parts_of(g)):
        unknown[classes] = number
    perm = symmetry.identity()
    moved = weights.permuted(perm)
    left = list(range(len(symmetry.groups)) if order is None else order)
    shares: dict[int, float] = {}
    while left:
        if order is None:
            shares |= {i: weights.determinate(i, unknown) for i in left if i not in shares}
            i = max(left, key=shares.__getitem__)
        else:
            i = left[0]
        left.remove(i)
        group = symmetry.groups[i]
        gains = weights.gains(i, perm, moved, unknown)
        perm = perm[rearranged(symmetry, group, *best_order(group, gains, solve))]
        moved = weights.permuted(perm, moved, i)
        unknown[np.concatenate(parts_of(group))] = -1
        for near in weights.neighbours[i]:
            shares.pop(near, None)
    return perm


def match_weights(
    symmetry: Symmetry,
    a: State,
    b: State,
    *,
    names: Collection[str] | None = None,
    start: Tensor | None = None,
    n_restarts: int = 5,
    tol: float = 1e-12,
    max_sweeps: int = 100,
    random_state: Any = None,
) -> Matching:
    r"""Permute the second network so that its weights are closest to the first's.

    Maximises the inner product of all weights, and so minimises their squared distance [1]_:

    .. math:: f(\pi) = \sum_t \langle A_t, \pi(B_t) \rangle

    by coordinate ascent: given all other groups, the best order of one group is a linear assignment
    problem, for blocks such as heads one of assignment problems. The problem as a whole is NP-hard,
    so the ascent is started several times, and the best end is kept: first from `start`, then from
    initial guesses in which groups are assigned one by one, by weights and by sorted weights: in
    the second start in order of how much is known, in the others in random order. It stops early
    when no permutation can be better.

    The scales of ReLU units, which a network's function leaves free, are not matched and do change
    the result; :func:`match_activations` does not depend on them.

    Where a tensor has one group on two axes, gains are those of one axis at a time, and a step is
    taken only if the objective itself rises.

    Parameters
    ----------
    symmetry : Symmetry
    a, b : mapping of str to Tensor
        States of the two networks.
    names : collection of str, default=None
        Tensors that count: the parameters, and not the statistics of normalisation layers. None:
        all tensors of floating point.
    start : Tensor of shape (n_classes,), int, default=None
        Where the first ascent begins; None: at the identity.
    n_restarts : int, default=5
    tol : float, default=1e-12
        Least gain of a step, relative to the product of norms.
    max_sweeps : int, default=100
        Passes over the groups in one ascent.
    random_state : int, RandomState instance or None, default=None

    Returns
    -------
    Matching
        Its objective is the inner product.

    Warns
    -----
    ConvergenceWarning
        If `max_sweeps` ended an ascent.

    References
    ----------
    .. [1] S. Ainsworth, J. Hayase, S. Srinivasa, "Git Re-Basin: Merging models modulo permutation
       symmetries", ICLR 2023, section 3.2. https://arxiv.org/abs/2209.04836

    Examples
    --------
    Two networks that are permutations of each other: the inner product is the squared norm, 7.

    >>> import torch
    >>> from sklflat.symmetry import Group, Symmetry
    >>> from sklflat.matching import match_weights
    >>> units = torch.arange(2)
    >>> labels = {"W": (units[:, None],), "V": (units[None],)}
    >>> symmetry = Symmetry(2, (Group("W[0]", units),), labels)
    >>> a = {"W": torch.tensor([[1.0], [2.0]]), "V": torch.ones(1, 2)}
    >>> b = symmetry.permute(a, torch.tensor([1, 0]))
    >>> matching = match_weights(symmetry, a, b)
    >>> matching.perm, matching.objective, matching.objective_identity
    (tensor([1, 0]), 7.0, 6.0)
    """
    if n_restarts < 1:
        raise ValueError(f"n_restarts must be at least 1, got {n_restarts!r}.")
    if max_sweeps < 1:
        raise ValueError(f"max_sweeps must be at least 1, got {max_sweeps!r}.")
    rng = check_random_state(random_state)
    weights = WeightObjective(symmetry, a, b, names)
    solve = Counted()
    ends: list[Ascent] = []
    for restart in range(n_restarts):
        order = rng.permutation(len(symmetry.groups)).tolist()
        if restart == 0:
            perm = symmetry.identity() if start is None else start
        else:
            perm = initial_guess(weights, solve, None if restart == 1 else order)
        ends.append(Ascent(weights, perm, solve, tol))
        ends[-1].run(order, max_sweeps)
        if ends[-1].value >= weights.upper_bound - 1e-12 * weights.scale:
            break
    best = max(ends, key=lambda end: end.value)
    return Matching(
        perm=best.perm,
        objective=best.value,
        objective_identity=weights.value(weights.b),
        upper_bound=weights.upper_bound,
        objectives=tuple(end.value for end in ends),
        n_sweeps=sum(end.n_sweeps for end in ends),
        n_assignments=solve.n_calls,
    )
