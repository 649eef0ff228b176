"""A start for weight matching: groups are placed one by one, by what does not depend on the rest.

Coordinate ascent needs to know, for the gain of exchanging two units, to which units of the other
network their neighbours correspond. At the start that is not known, and what is computed from a
random guess is noise: in a residual network it comes from all blocks, and drowns the little that
inputs and outputs say about the stream. So the ascent starts from a guess that needs no neighbours.
The largest inner product that any order of the neighbours allows is that of the *sorted* weights
(the rearrangement inequality). If the second network is a permutation of the first, it is largest
for the right pairs, whatever the permutation.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from sklflat.matching.assignment import Solve, best_order, parts_of, rearranged
from sklflat.matching.weight_objective import Weights


def placed(weights: Weights, solve: Solve, order: Sequence[int] | None = None) -> Tensor:
    """A permutation (n_classes,) found by placing one group after the other.

    Parameters
    ----------
    weights : Weights
    solve : callable
        Of linear assignment problems.
    order : sequence of int, default=None
        Of the groups. None: always the one next, most of whose weights are known to correspond.
    """
    symmetry = weights.symmetry
    unknown = _all_unknown(weights)
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


def _all_unknown(weights: Weights) -> NDArray:
    """Number of the part of every class; -1 for those that nothing moves, and at the end."""
    unknown = np.full(weights.symmetry.n_classes + 1, -1)
    number = 0
    for group in weights.symmetry.groups:
        for classes in parts_of(group):
            unknown[classes] = number
            number += 1
    return unknown
