"""Symmetries that were found, held against what the network does."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from sklflat.connectivity.agreement import agree
from sklflat.connectivity.symmetry import Group, Symmetry
from sklflat.exceptions import UnsupportedNetworkError

#: largest change of the outputs under a permutation, relative to the largest output
_TOL = 1e-9

State = Mapping[str, Tensor]
#: from a number of things to an order of them
Order = Callable[[int], Tensor]


def verified(
    symmetry: Symmetry,
    outputs: Callable[[dict[str, Tensor]], Sequence[Tensor]],
    states: Sequence[State],
    *,
    seed: int = 0,
) -> Symmetry:
    """The part of a symmetry under whose permutations no output changes.

    Every group is permuted by :func:`draws` at every state. If an output changes by more than 1e-9
    of its largest value, the groups at fault are found by halving and left out; of blocks, the
    order within them may be kept. What is left has been seen to hold as a whole.

    Parameters
    ----------
    symmetry : Symmetry
    outputs : callable
        From parameters and buffers to the network's outputs. Each call has random numbers of its
        own, so that a network that uses any is noticed.
    states : sequence of dict of str to Tensor
        The network's own parameters and buffers, then others.
    seed : int, default=0
        Of the permutations.

    Returns
    -------
    Symmetry
        Verified; ``frozen["verification"]`` names what was left out.

    Raises
    ------
    UnsupportedNetworkError
        If the outputs at the first state are not finite, or change from one call to the next.

    Examples
    --------
    Of the entries of a vector, the last two are summed with the same weight:

    >>> import torch
    >>> from sklflat.connectivity import Group, Symmetry
    >>> from sklflat.connectivity.verification import verified
    >>> labels = {"w": (torch.arange(4),)}
    >>> groups = Group("w[0]", torch.tensor([0, 1])), Group("w[0]", torch.tensor([2, 3]))
    >>> found = verified(
    ...     Symmetry(4, groups, labels),
    ...     lambda state: [state["w"] @ torch.tensor([1.0, 2.0, 3.0, 3.0]).double()],
    ...     [{"w": torch.tensor([0.3, 0.1, 0.7, 0.2]).double()}],
    ... )
    >>> [group.members.tolist() for group in found.groups], found.frozen
    ([[2, 3]], {'verification': ('w[0]',)})
    """
    check = _Check(symmetry, outputs, states, seed)
    kept = _held(list(symmetry.groups), check.holds)
    while not check.holds(kept):  # the draws are other ones each time
        less = _held(kept, check.holds)
        kept = less if len(less) < len(kept) else kept[:-1]
    lost = tuple(g.name for g in symmetry.groups if not any(g is k for k in kept))
    if not lost:
        return replace(symmetry, verified=True)
    check.run_again()
    frozen = {**symmetry.frozen, "verification": lost}
    return replace(symmetry, groups=tuple(kept), frozen=frozen, verified=True)


class _Check:
    """Whether outputs stay as they are at all states, under permutations of groups."""

    def __init__(
        self,
        symmetry: Symmetry,
        outputs: Callable[[dict[str, Tensor]], Sequence[Tensor]],
        states: Sequence[State],
        seed: int,
    ) -> None:
        self._symmetry, self._outputs, self._states = symmetry, outputs, states
        self._generator = torch.Generator().manual_seed(seed)
        self._plain = [list(outputs(dict(state))) for state in states]
        if not all(bool(t.isfinite().all()) for t in self._plain[0]):
            raise UnsupportedNetworkError("The network's outputs are not finite.")
        self.run_again()

    def run_again(self) -> None:
        """Raise if the outputs are others than before."""
        if not self._are_equal(dict(self._states[0]), self._plain[0]):
            raise UnsupportedNetworkError(
                "The network's outputs in evaluation mode are not the same when it is run again, "
                "so that no symmetry of theirs can be verified. align=None needs none."
            )

    def holds(self, groups: Sequence[Group]) -> bool:
        trial = replace(self._symmetry, groups=tuple(groups))
        for perm in draws(trial, self._generator) if groups else ():
            for state, plain in zip(self._states, self._plain, strict=True):
                try:
                    moved = trial.permute(state, perm)
                except ValueError:  # classes of different sizes
                    return False
                if not self._are_equal(moved, plain):
                    return False
        return True

    def _are_equal(self, state: dict[str, Tensor], plain: Sequence[Tensor]) -> bool:
        found = self._outputs(state)
        return len(found) == len(plain) and all(
            agree(z, right, _TOL) for z, right in zip(found, plain, strict=True)
        )


def _held(groups: list[Group], holds: Callable[[Sequence[Group]], bool]) -> list[Group]:
    """Groups that hold, found by halving; those that do so alone but not together are left out."""
    if not groups or holds(groups):
        return groups
    if len(groups) == 1:
        parts = [Group(groups[0].name, row) for part in groups[0].inner for row in part]
        return _held(parts, holds)
    middle = len(groups) // 2
    kept, others = _held(groups[:middle], holds), _held(groups[middle:], holds)
    if holds([*kept, *others]):
        return [*kept, *others]
    for group in others:
        if holds([*kept, group]):
            kept = [*kept, group]
    return kept


# --- permutations that tell -------------------------------------------------------------------


def draws(symmetry: Symmetry, generator: torch.Generator) -> Iterator[Tensor]:
    """Random permutations (n_classes,) that show whether all permutations are symmetries.

    What may be ordered by itself are the members of each group, and each row of its inner parts.

    - All are moved along random cycles, so that nothing stays where it is.
    - All are moved by swaps: cycles of an odd number of things make even permutations only.
    - Some are moved along cycles and the others stay, in so many ways that of any two, one is
      once moved while the other stays: what is a symmetry together need not be one alone.

    Parameters
    ----------
    symmetry : Symmetry
    generator : torch.Generator

    Examples
    --------
    >>> import torch
    >>> from sklflat.connectivity import Group, Symmetry
    >>> from sklflat.connectivity.verification import draws
    >>> symmetry = Symmetry(2, (Group("W[0]", torch.arange(2)),), {})
    >>> [perm.tolist() for perm in draws(symmetry, torch.Generator().manual_seed(0))]
    [[1, 0], [1, 0], [1, 0]]
    """

    def cycle(n: int) -> Tensor:
        path = torch.randperm(n, generator=generator)
        order = torch.empty_like(path)
        order[path] = path.roll(1)
        return order

    def swap(n: int) -> Tensor:
        pair = torch.randperm(n, generator=generator)[:2]
        order = torch.arange(n)
        order[pair] = pair.flip(0)
        return order

    n = sum(1 + sum(len(part) for part in group.inner) for group in symmetry.groups)
    everything = torch.ones(n, dtype=torch.bool)
    yield _ordered(symmetry, cycle, everything)
    yield _ordered(symmetry, swap, everything)
    numbers = torch.randperm(n, generator=generator) + 1
    for bit in range(n.bit_length()):
        yield _ordered(symmetry, cycle, (numbers >> bit) % 2 == 1)


def _ordered(symmetry: Symmetry, order: Order, moving: Tensor) -> Tensor:
    """A permutation (n_classes,) in which some of what may be ordered by itself gets an order."""
    turn = iter(moving.tolist())
    perm = symmetry.identity()
    for group in symmetry.groups:
        members = order(len(group)) if next(turn) else torch.arange(len(group))
        inner = [
            torch.stack([order(len(row)) if next(turn) else torch.arange(len(row)) for row in part])
            for part in group.inner
        ]
        perm = group.place(perm, members, inner)
    return perm
