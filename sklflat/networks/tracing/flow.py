"""What flows through a network: for each element of a tensor, the channels it comes from."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from sklflat.networks.tracing.tensors import NONE

#: label of an element that several channels reach
SHARED = -2

_ABOVE_ALL = 2**62
_MAX_LABELINGS = 16


@dataclass(eq=False)
class Source:
    """Something with channels: rows of data, a parameter, an affine operation, a layer."""


@dataclass(eq=False)
class Rows(Source):
    """The rows of X."""


@dataclass(eq=False)
class Entries(Source):
    """A parameter; its channels are its entries in row-major order."""

    name: str


@dataclass(eq=False)
class Affine(Source):
    """An affine operation, whose channels are its outputs.

    Attributes
    ----------
    order : int
        Its place among all affine operations.
    n_channels : int
    rows : list of (str, Tensor, Tensor)
        A parameter's name, and for its entries their numbers and the channels they make.
    lost : set of str
        Operations behind which parameters got out of sight.
    """

    order: int
    n_channels: int
    rows: list[tuple[str, Tensor, Tensor]] = field(default_factory=list)
    lost: set[str] = field(default_factory=set)


@dataclass(eq=False)
class Layer(Source):
    """A layer of units, whose channels are its units."""

    order: int


Pair = tuple[Source, Tensor]


@dataclass(frozen=True, eq=False)
class Flow:
    """What is known about one tensor.

    Attributes
    ----------
    pairs : tuple of (Source, Tensor)
        Sources that reach the tensor and, for each of its elements, the channel.
    depends : bool
        Whether the tensor depends on X.
    upstream : frozenset of int
        All layers of units that the tensor depends on.
    direct : frozenset of int
        Those with no other layer and no affine operation in between.
    lost : frozenset of (str, int or None)
        An operation since then behind which the units of a layer, or the channels of affine
        operations (None), got out of sight.
    """

    pairs: tuple[Pair, ...] = ()
    depends: bool = False
    upstream: frozenset[int] = frozenset()
    direct: frozenset[int] = frozenset()
    lost: frozenset[tuple[str, int | None]] = frozenset()

    def of(self, *kinds: type[Source]) -> list[Pair]:
        """The pairs whose sources are of some kinds."""
        return [pair for pair in self.pairs if isinstance(pair[0], kinds)]

    def relabeled(self, function: Callable[[Tensor], Tensor]) -> "Flow":
        """With a function applied to all labels."""
        return replace(self, pairs=tuple((s, function(labels)) for s, labels in self.pairs))

    def losing(self, operation: str) -> "Flow":
        """With no pairs, because an operation is not understood."""
        layers: set[int | None] = {*self.direct}
        if self.of(Affine, Entries):
            layers.add(None)
        return replace(self, pairs=(), lost=self.lost | {(operation, layer) for layer in layers})


def merged(flows: Iterable[Flow], pairs: Iterable[Pair]) -> Flow:
    """What is known about a tensor computed from others, with the pairs it has."""
    flows = list(flows)
    known = Flow(
        tuple(pairs),
        any(f.depends for f in flows),
        frozenset[int]().union(*(f.upstream for f in flows)),
        frozenset[int]().union(*(f.direct for f in flows)),
        frozenset[tuple[str, int | None]]().union(*(f.lost for f in flows)),
    )
    kept = _distinct(known.pairs)
    return known.losing("a sum of shifted copies") if kept is None else replace(known, pairs=kept)


def _distinct(pairs: Iterable[Pair]) -> tuple[Pair, ...] | None:
    """Pairs of which no two can be one; None if one source has too many."""
    kept: dict[Source, list[Tensor]] = {}
    for source, labels in pairs:
        known = kept.setdefault(source, [])
        for i, other in enumerate(known):
            union = _union(other, labels)
            if union is not None:
                known[i] = union
                break
        else:
            known.append(labels)
            if len(known) > _MAX_LABELINGS:
                return None
    flat = ((s, labels) for s, known in kept.items() for labels in known)
    return tuple((s, labels) for s, labels in flat if bool((labels != NONE).any()))


def _union(a: Tensor, b: Tensor) -> Tensor | None:
    """Labels that hold both, if no element has two."""
    if a is b or torch.equal(a, b):
        return a
    if bool(((a != b) & (a != NONE) & (b != NONE)).any()):
        return None
    return torch.where(a == NONE, b, a)


def common_label(lowest: Tensor, highest: Tensor) -> Tensor:
    """The one label among many, from their extremes; without any, `lowest` is above all."""
    one = torch.where((lowest == highest) & (lowest >= 0), lowest, SHARED)
    return torch.where(lowest == _ABOVE_ALL, NONE, one)


def shared_over(labels: Tensor, axes: Iterable[int]) -> Tensor:
    """The label that all elements along some axes have in common; these get length 1."""
    axes = [axis % labels.ndim for axis in axes]
    for axis in axes:
        if labels.stride(axis) == 0:  # expanded, so all the same
            labels = labels.narrow(axis, 0, 1)
    axes = [axis for axis in axes if labels.shape[axis] != 1]
    if not axes:
        return labels
    lowest = torch.where(labels == NONE, _ABOVE_ALL, labels).amin(axes, keepdim=True)
    return common_label(lowest, labels.amax(axes, keepdim=True))


def collected(size: int, index: Tensor, labels: Tensor) -> Tensor:
    """For each of `size` items the one label found where `index` names it, or SHARED, or NONE."""
    index, labels = index.flatten(), labels.flatten()
    if index.numel() == size and torch.equal(index, torch.arange(size)):  # most parameters
        return labels
    valid = (index >= 0) & (labels != NONE)
    index, labels = index[valid], labels[valid]
    lowest = torch.full((size,), _ABOVE_ALL).scatter_reduce(0, index, labels, "amin")
    highest = torch.full((size,), -_ABOVE_ALL).scatter_reduce(0, index, labels, "amax")
    return common_label(lowest, highest)


def arange_along(shape: Sequence[int], *axes: int) -> Tensor:
    """For every element of a tensor of some shape, its index along some axes in row-major order."""
    axes = tuple(axis % len(shape) for axis in axes)
    index = torch.zeros((), dtype=torch.int64)
    for axis in axes:
        sizes = [1] * len(shape)
        sizes[axis] = shape[axis]
        index = index * shape[axis] + torch.arange(shape[axis]).view(sizes)
    return index.expand(*shape)
