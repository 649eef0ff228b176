"""Permutations of hidden units that leave the function of a network as it is."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from numpy.typing import NDArray
from torch import Tensor

from sklflat.networks.state import check_state

#: label of an index that no permutation moves
FIXED = -1


@dataclass(frozen=True, repr=False)
class Group:
    """Interchangeable parts of a network: units, or blocks of units such as attention heads.

    Attributes
    ----------
    name : str
        The first parameter whose axis it permutes, such as ``"layers.0.weight[0]"``.
    members : Tensor of shape (m,), int
        The class of each member.
    inner : tuple of Tensor of shape (m, d), int
        Classes that move with the member, and may also be permuted among themselves: the
        dimensions of a head, say.
    """

    name: str
    members: Tensor
    inner: tuple[Tensor, ...] = ()

    def __repr__(self) -> str:
        blocks = " and ".join(str(part.shape[1]) for part in self.inner)
        return f"<Group {self.name!r}: {len(self)} {f'blocks of {blocks}' if blocks else 'units'}>"

    def __len__(self) -> int:
        return len(self.members)

    def place(self, perm: Tensor, order: Tensor, inner: Sequence[Tensor] = ()) -> Tensor:
        """A permutation in which this group is ordered anew.

        Parameters
        ----------
        perm : Tensor of shape (n_classes,), int
            Copied, and changed where this group's classes are.
        order : Tensor of shape (m,), int
            Member i gets what member ``order[i]`` was.
        inner : sequence of Tensor of shape (m, d), int
            For each of ``self.inner``: part j of member i gets part ``inner[i, j]`` of that member;
            as they are if not given.
        """
        perm = perm.clone()
        perm[self.members] = self.members[order]
        for k, part in enumerate(self.inner):
            moved = part[order]
            if k < len(inner):
                moved = moved.gather(1, inner[k])
            perm[part] = moved
        return perm


@dataclass(frozen=True)
class RecordingPoint:
    """An operation of a run whose output has the activations of units.

    Attributes
    ----------
    number : int
        Of the call, counted from 1 as the module runs.
    operation : str
    labels : Tensor
        The class of each element of the output, or -1; of length 1 along axes on which it does
        not differ.
    averaged : tuple of int
        Axes that other classes are along, whose order is not known before they are aligned.
    """

    number: int
    operation: str
    labels: Tensor
    averaged: tuple[int, ...] = ()


@dataclass(frozen=True, repr=False)
class Symmetry:
    """Which indices of which parameters move together, and which may be exchanged.

    Every parameter has *labels*: integer tensors that broadcast to its shape and give the class of
    each entry, or -1. Two entries with the same labels are told apart by their order. A
    permutation of classes moves entries to where their new labels are.

    Parameters
    ----------
    n_classes : int
    groups : tuple of Group
    labels : dict of str to tuple of Tensor
        For parameters and buffers by name; what is not named is not moved.
    pinned : dict of str to tuple of str
        What keeps hidden units where they are, such as ``"add: something of fixed order"``, and the
        axes of parameters that they are along. An operation's name alone is one that is not
        understood.
    verified : bool
        Whether the function was seen to stay as it is under random permutations.
    n_hidden : int
        Classes of hidden units, those that are pinned included.
    recording_points : tuple of RecordingPoint
        Where activations of every group can be recorded.

    Examples
    --------
    The two hidden units of a network with one input and output may be exchanged:

    >>> import torch
    >>> from sklflat.symmetry import Group, Symmetry
    >>> units = torch.arange(2)
    >>> labels = {"W": (units[:, None],), "b": (units,), "V": (units[None],)}
    >>> symmetry = Symmetry(2, (Group("W[0]", units),), labels)
    >>> state = {"W": torch.tensor([[1.0], [2.0]]), "b": torch.zeros(2), "V": torch.ones(1, 2)}
    >>> symmetry.permute(state, torch.tensor([1, 0]))["W"]
    tensor([[2.],
            [1.]])
    """

    n_classes: int
    groups: tuple[Group, ...]
    labels: dict[str, tuple[Tensor, ...]]
    pinned: dict[str, tuple[str, ...]] = field(default_factory=dict)
    verified: bool = False
    n_hidden: int = 0
    recording_points: tuple[RecordingPoint, ...] = ()

    def __repr__(self) -> str:
        n = len(self.groups)
        text = (
            f"{self.n_movable} of {self.n_hidden} hidden channels in {n} "
            f"{'group' if n == 1 else 'groups'}, {'' if self.verified else 'not '}verified"
        )
        why = "; ".join(f"{reason} ({', '.join(axes)})" for reason, axes in self.pinned.items())
        return f"<Symmetry: {text}{why and f'; pinned: {why}'}>"

    @property
    def n_movable(self) -> int:
        """Classes of hidden units that a permutation can move."""
        found = [x.unique() for layers in self.labels.values() for x in layers]
        parts = [part.flatten() for group in self.groups for part in (group.members, *group.inner)]
        if not found or not parts:
            return 0
        return int(torch.isin(torch.cat(found).unique(), torch.cat(parts)).sum())

    def identity(self) -> Tensor:
        """The permutation (n_classes,) that moves nothing."""
        return torch.arange(self.n_classes)

    def random(self, generator: torch.Generator) -> Tensor:
        """A random allowed permutation (n_classes,)."""
        return ordered(self, lambda n: torch.randperm(n, generator=generator))

    def permute(self, state: Mapping[str, Tensor], perm: Tensor | NDArray) -> dict[str, Tensor]:
        """Parameters and buffers with classes permuted: class c gets what ``perm[c]`` was.

        ``permute(permute(s, p), q)`` is ``permute(s, p[q])``.

        Parameters
        ----------
        state : mapping of str to Tensor
        perm : Tensor or ndarray of shape (n_classes,), int

        Raises
        ------
        TypeError
            If it is not a state.
        ValueError
            If perm is no permutation of the classes, or would exchange some of different sizes.
        """
        check_state(state, "state")
        order = torch.as_tensor(perm).cpu()
        if order.dtype == torch.bool or order.is_floating_point() or order.is_complex():
            raise ValueError(f"perm must be integers, got {order.dtype}.")
        if not torch.equal(order.long().sort().values, self.identity()):
            raise ValueError(
                f"perm must be a permutation of 0 to {self.n_classes - 1}, got entries of shape "
                f"{tuple(order.shape)} that are none."
            )
        return {name: self._moved(name, t, order.long()) for name, t in state.items()}

    def _moved(self, name: str, tensor: Tensor, perm: Tensor) -> Tensor:
        for axes, labels in joint_axes(self.labels.get(name, ()), tensor.shape):
            index = _sources(labels, perm, name).to(tensor.device)
            if len(axes) == 1:
                tensor = tensor.index_select(axes[0], index)
            else:
                first = tensor.movedim(axes, tuple(range(len(axes))))
                flat = first.flatten(0, len(axes) - 1)[index].view(first.shape)
                tensor = flat.movedim(tuple(range(len(axes))), axes)
        return tensor


def ordered(symmetry: Symmetry, order: Callable[[int], Tensor]) -> Tensor:
    """The permutation (n_classes,) of the order of n things, for the members and inner rows."""
    perm = symmetry.identity()
    for group in symmetry.groups:
        members = order(len(group))
        inner = [torch.stack([order(len(row)) for row in part]) for part in group.inner]
        perm = group.place(perm, members, inner)
    return perm


def joint_axes(
    labels: Sequence[Tensor], shape: torch.Size
) -> Iterator[tuple[tuple[int, ...], Tensor]]:
    """Axes of a tensor that are permuted together, and the labels (n, k) of their indices."""
    found: list[tuple[set[int], list[Tensor]]] = []
    for each in labels:
        axes, members = {i for i, n in enumerate(each.shape) if n > 1}, [each]
        for other in [f for f in found if f[0] & axes]:
            found.remove(other)
            axes, members = axes | other[0], other[1] + members
        if axes:
            found.append((axes, members))
    for axes, members in found:
        own = tuple(sorted(axes))
        kept = [shape[i] if i in axes else 1 for i in range(len(shape))]
        yield own, torch.stack([m.expand(kept).flatten() for m in members], dim=1)


def _sources(labels: Tensor, perm: Tensor, name: str) -> Tensor:
    """For each of n indices with labels (n, k), the index that it gets its content from."""
    moved = torch.where(labels == FIXED, labels, perm[labels])
    both = torch.cat([labels, moved])
    one = both.shape[1] == 1  # not as rows: a tenth of the time
    number = torch.unique(both, dim=None if one else 0, return_inverse=True)[1].flatten()
    own, wanted = number.split(len(labels))
    order = own.argsort(stable=True)
    counts = own.bincount(minlength=int(number.max()) + 1)
    starts = counts.cumsum(0) - counts
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(order)) - starts[own[order]]
    if not torch.equal(counts[wanted], counts[own]):
        raise ValueError(f"The permutation exchanges parts of different sizes of {name!r}.")
    return order[starts[wanted] + rank]
