"""Symmetries that were found, verified on the network's outputs."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from sklflat.exceptions import UnsupportedNetworkError
from sklflat.networks.same_outputs import same_outputs
from sklflat.networks.state import State
from sklflat.symmetry.symmetry import Group, Symmetry, ordered

#: key of ``pinned`` for what was found and does not hold
CHANGED = "exchanging units changed the outputs"

#: largest change of the outputs under a permutation, relative to the largest output
_TOL = 1e-9
#: the same in roundings, for networks that work in a lower precision inside, and its limit
_ROUNDINGS, _LARGEST_TOL = 500, 1e-3
#: sets of members that are tried, at most, to find those of a group that can be exchanged
_MAX_TRIED = 512


def tolerance(dtype: torch.dtype) -> float:
    """Up to which outputs count as the same, if some are computed in this precision.

    Sums that are taken in another order differ by roundings. A wrong permutation changes outputs by
    far more, at one of the weights at least; in half precision it cannot be told from rounding.
    """
    if dtype == torch.float64:
        return _TOL
    return min(_ROUNDINGS * torch.finfo(dtype).eps, _LARGEST_TOL)


def verified(
    symmetry: Symmetry,
    outputs: Callable[[State], Sequence[Tensor]],
    states: Sequence[State],
    *,
    seed: int = 0,
    tol: float = _TOL,
) -> Symmetry:
    """The part of a symmetry under whose permutations no output changes.

    Every group is permuted by :func:`draws` at every state. If an output changes by more than `tol`
    of its largest value, the groups at fault are found by halving, and so are the members of each
    that can be exchanged after all; of blocks, the order within them may be kept. What is left has
    been seen to hold as a whole.

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
    tol : float, default=1e-9

    Returns
    -------
    Symmetry
        Verified; ``pinned["exchanging units changed the outputs"]`` names the groups of which
        some or all was left out.

    Raises
    ------
    UnsupportedNetworkError
        If the outputs at the first state are not finite, or change from one call to the next.

    Examples
    --------
    Of the entries of a vector, the last two are summed with the same weight:

    >>> import torch
    >>> from sklflat.symmetry import Group, Symmetry
    >>> from sklflat.symmetry.verification import verified
    >>> labels = {"w": (torch.arange(4),)}
    >>> groups = Group("w[0]", torch.tensor([0, 1])), Group("w[0]", torch.tensor([2, 3]))
    >>> found = verified(
    ...     Symmetry(4, groups, labels),
    ...     lambda state: [state["w"] @ torch.tensor([1.0, 2.0, 3.0, 3.0]).double()],
    ...     [{"w": torch.tensor([0.3, 0.1, 0.7, 0.2]).double()}],
    ... )
    >>> [group.members.tolist() for group in found.groups], found.pinned
    ([[2, 3]], {'exchanging units changed the outputs': ('w[0]',)})
    """
    check = _Check(symmetry, outputs, states, seed, tol)
    if check.holds(symmetry.groups):
        return replace(symmetry, verified=True)
    kept = _parts(symmetry.groups, check.holds)
    while not check.holds(kept):  # the draws are other ones each time
        less = _parts(kept, check.holds)
        kept = less if _freedom(less) < _freedom(kept) else kept[:-1]
    lost = dict.fromkeys(g.name for g in symmetry.groups if not any(g is k for k in kept))
    check.run_again()
    pinned = {**symmetry.pinned, CHANGED: tuple(lost)}
    return replace(symmetry, groups=tuple(kept), pinned=pinned, verified=True)


class _Check:
    """Whether outputs stay as they are at all states, under permutations of groups."""

    def __init__(
        self,
        symmetry: Symmetry,
        outputs: Callable[[State], Sequence[Tensor]],
        states: Sequence[State],
        seed: int,
        tol: float,
    ) -> None:
        self._tol = tol
        self._symmetry, self._outputs, self._states = symmetry, outputs, states
        self._places = {n: torch.arange(t.numel()).view(t.shape) for n, t in states[0].items()}
        self._generator = torch.Generator().manual_seed(seed)
        self._plain = [list(outputs(state)) for state in states]
        if not all(bool(t.isfinite().all()) for t in self._plain[0]):
            raise UnsupportedNetworkError("The network's outputs are not finite.")
        self.run_again()

    def run_again(self) -> None:
        """Raise if the outputs are others than before."""
        if not self._are_equal(self._states[0], self._plain[0]):
            raise UnsupportedNetworkError(
                "The network's outputs in evaluation mode are not the same when it is run again, "
                "so that no symmetry of theirs can be verified. align=None needs none."
            )

    def holds(self, groups: Sequence[Group]) -> bool:
        trial = replace(self._symmetry, groups=tuple(groups))
        for perm in draws(trial, self._generator) if groups else ():
            try:
                sources = trial.permute(self._places, perm)
            except ValueError:  # classes of different sizes
                return False
            for state, plain in zip(self._states, self._plain, strict=True):
                moved = {name: t.take(sources[name]) for name, t in state.items()}
                if not self._are_equal(moved, plain):
                    return False
        return True

    def _are_equal(self, state: State, plain: Sequence[Tensor]) -> bool:
        found = self._outputs(state)
        return len(found) == len(plain) and all(
            same_outputs(z, right, self._tol) for z, right in zip(found, plain, strict=True)
        )


Holds = Callable[[Sequence[Group]], bool]


def _holding(groups: Sequence[Group], holds: Holds) -> list[Group]:
    """Groups that hold together: all, or some of their parts."""
    return list(groups) if not groups or holds(groups) else _parts(groups, holds)


def _parts(groups: Sequence[Group], holds: Holds) -> list[Group]:
    """What holds of groups that do not hold together."""
    if len(groups) == 1:
        return _together(_split(groups[0], holds), holds)
    middle = len(groups) // 2
    kept, others = _holding(groups[:middle], holds), _holding(groups[middle:], holds)
    return [*kept, *others] if holds([*kept, *others]) else _together([*kept, *others], holds)


def _together(groups: Sequence[Group], holds: Holds) -> list[Group]:
    """Of groups that hold alone those that do so together, one after the other."""
    kept: list[Group] = []
    for group in groups:
        if holds([*kept, group]):
            kept = [*kept, group]
    return kept


def _split(group: Group, holds: Holds) -> list[Group]:
    """The largest sets of members that can be exchanged, and what is within the others.

    What can be exchanged with the same member can be exchanged with each other.
    """

    def part(members: Sequence[int]) -> Group:
        rows = torch.tensor(members)
        return Group(group.name, group.members[rows], tuple(p[rows] for p in group.inner))

    tried = 0

    def like(first: int, others: list[int]) -> list[int]:
        nonlocal tried
        tried += 1
        if not others or tried > _MAX_TRIED:
            return []
        if len(others) + 1 < len(group) and holds([part([first, *others])]):
            return others
        middle = len(others) // 2
        halves = (others[:middle], others[middle:]) if middle else ()
        return [i for half in halves for i in like(first, half)]

    found, left = [], list(range(len(group)))
    while left:
        first, *others = left
        alike = [first, *like(first, others)]
        left = [i for i in others if i not in alike]
        if len(alike) > 1:
            found.append(part(alike))
        else:
            rows = [Group(group.name, inner[first]) for inner in group.inner]
            found += _holding(rows, holds)
    return found


def _freedom(groups: Sequence[Group]) -> int:
    """How many transpositions make up all permutations of some groups."""
    return sum(
        len(group) - 1 + sum(part.numel() - len(part) for part in group.inner) for group in groups
    )


# --- permutations that decide -----------------------------------------------------------------


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
    >>> from sklflat.symmetry import Group, Symmetry
    >>> from sklflat.symmetry.verification import draws
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

    def some(moving: Tensor) -> Tensor:
        turn = iter(moving.tolist())
        return ordered(symmetry, lambda n: cycle(n) if next(turn) else torch.arange(n))

    n = sum(1 + sum(len(part) for part in group.inner) for group in symmetry.groups)
    yield ordered(symmetry, cycle)
    yield ordered(symmetry, swap)
    numbers = torch.randperm(n, generator=generator) + 1
    for bit in range(n.bit_length()):
        yield some((numbers >> bit) % 2 == 1)
