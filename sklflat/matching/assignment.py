"""The best order of a group's members, and of the parts within them."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from sklflat.symmetry.symmetry import Group, Symmetry

#: gains (n, n) of giving row i what column j has -> the column of every row
Solve = Callable[[NDArray], NDArray]


def hungarian(gains: NDArray) -> NDArray:
    """The assignment of columns to rows with the largest sum of gains."""
    return linear_sum_assignment(gains, maximize=True)[1]


def parts_of(group: Group) -> list[NDArray]:
    """The classes of a group: of its members (m,), then of each inner part (m * d,)."""
    return [part.flatten().numpy() for part in (group.members, *group.inner)]


def positions(classes: NDArray, n_classes: int) -> NDArray:
    """The position (n_classes,) of every class among some, -1 for the others."""
    found = np.full(n_classes, -1)
    found[classes] = np.arange(len(classes))
    return found


def ranks(numbers: NDArray) -> NDArray:
    """How many of the same number there are before each (n,)."""
    order = np.argsort(numbers, kind="stable")
    _, counts = np.unique(numbers, return_counts=True)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
    return rank


def best_order(
    group: Group, gains: Sequence[NDArray], solve: Solve = hungarian
) -> tuple[Tensor, list[Tensor]]:
    """The order (m,) of members and (m, d) of inner parts with the largest sum of gains.

    Gains (n, n) say, for each of :func:`parts_of`, what is gained where class i gets what class j
    has; orders are as :meth:`Group.place` takes them. Exact for blocks: whichever member a member
    is replaced by, its inner parts are then assigned at their best, and the members are assigned
    with these values.

    Examples
    --------
    Two members of two parts each. The first part of the first member resembles the second part of
    the second member, and so on:

    >>> import numpy as np
    >>> import torch
    >>> from sklflat.symmetry import Group
    >>> group = Group("heads", torch.arange(2), (torch.arange(2, 6).view(2, 2),))
    >>> gains = [np.zeros((2, 2)), np.eye(4)[::-1]]
    >>> order, inner = best_order(group, gains)
    >>> order.tolist(), inner[0].tolist()
    ([1, 0], [[1, 0], [1, 0]])
    """
    m = len(group)
    outer = gains[0].copy()
    choices = []
    for part, gain in zip(group.inner, gains[1:], strict=True):
        d = part.shape[1]
        blocks = gain.reshape(m, d, m, d).transpose(0, 2, 1, 3)
        choice = np.array([[solve(block) for block in row] for row in blocks])
        outer += np.take_along_axis(blocks, choice[..., None], axis=3).sum(axis=(2, 3))
        choices.append(choice)
    order = solve(outer)
    inner = [torch.from_numpy(choice[np.arange(m), order]) for choice in choices]
    return torch.from_numpy(np.asarray(order)), inner


def best_inner(group: Group, part: int, gain: NDArray, solve: Solve = hungarian) -> list[Tensor]:
    """The best order of one inner part within every member, the members staying where they are."""
    inner = [torch.arange(p.shape[1]).repeat(len(p), 1) for p in group.inner]
    m, d = inner[part].shape
    blocks = gain.reshape(m, d, m, d)
    inner[part] = torch.from_numpy(np.stack([solve(blocks[i, :, i]) for i in range(m)]))
    return inner


def rearranged(
    symmetry: Symmetry, group: Group, order: Tensor, inner: Sequence[Tensor] = ()
) -> Tensor:
    """The permutation (n_classes,) that reorders one group and nothing else."""
    return group.place(symmetry.identity(), order, inner)


class Counted:
    """A solver of assignment problems that counts them."""

    def __init__(self, solve: Solve = hungarian) -> None:
        self.solve = solve
        self.n_calls = 0

    def __call__(self, gains: NDArray) -> NDArray:
        """Solve one problem."""
        self.n_calls += 1
        return self.solve(gains)
