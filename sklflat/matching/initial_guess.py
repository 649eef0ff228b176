"""An initial guess for weight matching, by what does not depend on the order of other groups.

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
from torch import Tensor

from sklflat.matching.assignment import Solve, best_order, parts_of, rearranged
from sklflat.matching.weight_objective import WeightObjective


def initial_guess(
    weights: WeightObjective, solve: Solve, order: Sequence[int] | None = None
) -> Tensor:
    """A permutation (n_classes,) found by assigning one group after the other.

    Parameters
    ----------
    weights : WeightObjective
    solve : callable
        Of linear assignment problems.
    order : sequence of int, default=None
        Of the groups. None: always the one next, most of whose weights are known to correspond.
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
