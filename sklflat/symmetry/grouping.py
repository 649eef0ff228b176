"""From classes of axis indices to groups of classes that can be exchanged."""

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from sklflat.networks.tracing.tensors import NONE
from sklflat.symmetry.symmetry import FIXED, Group
from sklflat.symmetry.tracing.axis_indices import AxisIndexClasses
from sklflat.symmetry.tracing.labels import compact, varying_axes


@dataclass(frozen=True)
class Signature:
    """What a class has to have in common with another to be exchanged with it.

    Attributes
    ----------
    places : tuple of (str, int, int)
        Where it occurs: a parameter, one of its labels, and how often.
    number : int
        Of the sequence of operations that were applied to it.
    operations : frozenset
        These operations.
    """

    places: tuple[tuple[str, int, int], ...]
    number: int
    operations: frozenset[Any] = field(repr=False)


@dataclass(frozen=True)
class Grouping:
    """Classes of axis indices, numbered from 0 on.

    Attributes
    ----------
    groups : tuple of Group
    labels : dict of str to tuple of Tensor
        Of parameters and buffers: classes, of length 1 along axes on which they do not differ.
    number : dict of int to int
        By representative, the number of each class that a permutation can move.
    n_hidden : int
        Classes of hidden units, movable or not.
    pinned : dict of str to tuple of str
        What pins hidden units, and the axes of parameters that these are along.
    """

    groups: tuple[Group, ...]
    labels: dict[str, tuple[Tensor, ...]]
    number: dict[int, int]
    n_hidden: int
    pinned: dict[str, tuple[str, ...]]


def group_classes(classes: AxisIndexClasses, parameter_labels: dict[str, list[Tensor]]) -> Grouping:
    """Group the classes of hidden units that can be exchanged.

    Parameters
    ----------
    classes : AxisIndexClasses
    parameter_labels : dict of str to list of Tensor
        Labels of parameters and buffers.
    """
    _merge_equal_blocks(classes)
    roots = {name: [classes.find(x) for x in layers] for name, layers in parameter_labels.items()}
    signatures = _signatures(classes, roots)
    block_of: dict[int, set[int]] = defaultdict(set)
    for inside, block in classes.block_pairs():
        if inside != block:
            block_of[inside].add(block)
    hidden = {r for r in classes.find_all(classes.hidden) if signatures.get(r)}
    hidden -= classes.find_all(classes.outputs)
    tables = _tables(hidden, signatures, block_of, _immovable(classes, block_of), roots)
    number: dict[int, int] = {}
    for _, members, inner in tables:
        for r in (*members, *(i for part in inner for row in part for i in row)):
            number.setdefault(r, len(number))
    groups = tuple(
        Group(
            name,
            torch.tensor([number[r] for r in members]),
            tuple(torch.tensor([[number[r] for r in row] for row in part]) for part in inner),
        )
        for name, members, inner in tables
    )
    labels = {name: _numbered(layers, number) for name, layers in roots.items()}
    reasons = _reasons(classes, hidden, set(number), signatures, block_of)
    pinned: dict[str, dict[str, None]] = defaultdict(dict)
    for r, reason in sorted(reasons.items()):
        pinned[reason][_name(r, signatures, roots)] = None
    return Grouping(
        groups,
        {name: layers for name, layers in labels.items() if layers},
        number,
        len(hidden | {r for r in number if r in signatures}),
        {reason: tuple(axes) for reason, axes in pinned.items()},
    )


def _merge_equal_blocks(classes: AxisIndexClasses) -> None:
    """Blocks that hold the same classes are one block."""
    while classes.blocks_of:
        members = defaultdict(set)
        for inside, block in classes.block_pairs():
            members[block].add(inside)
        first: dict[frozenset[int], int] = {}
        again = [(first.setdefault(frozenset(m), b), b) for b, m in sorted(members.items())]
        pairs = torch.tensor([pair for pair in again if pair[0] != pair[1]])
        if not len(pairs):
            return
        classes.union(pairs[:, 0], pairs[:, 1])


def _immovable(classes: AxisIndexClasses, block_of: dict[int, set[int]]) -> set[int]:
    """Classes that are pinned, and blocks that do not move.

    A block does not move if one of its classes is pinned or is a block itself: blocks within blocks
    are pinned. Of two blocks that share a class the larger one moves, and the class is exchanged
    with others of the smaller one only: dimensions of heads that rotations tell apart, say.
    """
    found = classes.find_all(classes.pinned)
    size = Counter(b for blocks in block_of.values() for b in blocks)
    while True:
        before = len(found)
        for inside, blocks in block_of.items():
            moving = blocks - found
            outer = {o for b in moving for o in block_of.get(b, ())}
            if inside in found:
                outer |= blocks
            outer |= set(sorted(moving, key=lambda b: (-size[b], b))[1:])
            found |= outer
        if len(found) == before:
            return found


def _reasons(
    classes: AxisIndexClasses,
    hidden: set[int],
    moved: set[int],
    signatures: dict[int, Signature],
    block_of: dict[int, set[int]],
) -> dict[int, str]:
    """For each class of hidden units in no group, though on an axis with others, what pins it."""
    reasons: dict[int, str] = {}
    pinned = torch.tensor(list(classes.pinned), dtype=torch.int64)
    for r, reason in zip(classes.find(pinned).tolist(), classes.pinned.values(), strict=True):
        reasons.setdefault(r, reason)
    by_axis: dict[tuple[str, int], list[int]] = defaultdict(list)
    for r in sorted(hidden):
        by_axis[signatures[r].places[0][:2]].append(r)
    found = {}
    for alike in by_axis.values():
        shared = frozenset.intersection(*(signatures[r].operations for r in alike))
        for r in alike if len(alike) > 1 else ():
            own = [reasons[b] for b in (r, *sorted(block_of.get(r, ()))) if b in reasons]
            own += sorted(str(what[0]) for what in signatures[r].operations - shared)
            if r not in moved:
                found[r] = (own or ["units that are read in different ways"])[0]
    return found


def _signatures(classes: AxisIndexClasses, roots: dict[str, list[Tensor]]) -> dict[int, Signature]:
    """Where each class occurs, how often, and which operations were applied to it."""
    found: dict[int, list[tuple[str, int, int]]] = defaultdict(list)
    for name, layers in roots.items():
        for i, labels in enumerate(layers):
            own, counts = labels[labels != NONE].unique(return_counts=True)
            for r, n in zip(own.tolist(), counts.tolist(), strict=True):
                found[r].append((name, i, n))
    applied: dict[int, list[Hashable]] = defaultdict(list)
    for operation, labels in classes.marks:
        for r in classes.find(labels).unique().tolist():
            applied[r].append(operation)
    known: dict[tuple[Hashable, ...], int] = {}
    return {
        r: Signature(
            tuple(places), known.setdefault(tuple(applied[r]), len(known)), frozenset(applied[r])
        )
        for r, places in found.items()
    }


Table = tuple[str, list[int], list[list[list[int]]]]


def _tables(
    hidden: set[int],
    signatures: dict[int, Signature],
    block_of: dict[int, set[int]],
    immovable: set[int],
    roots: dict[str, list[Tensor]],
) -> list[Table]:
    """Names, members and inner classes of all groups of at least two."""
    inside: dict[int, list[int]] = defaultdict(list)
    for r in sorted(signatures.keys() - immovable):  # all that is in a block moves with it
        for b in block_of.get(r, set()) - immovable:
            inside[b].append(r)
    inside = {b: rows for b, rows in inside.items() if hidden & set(rows)}

    def own(r: int) -> str:
        """What a class has to have in common with another to be exchanged with it."""
        return str((signatures.get(r), sorted(block_of.get(r, set()) & immovable)))

    def key(r: int) -> str:
        """The same, and all that is in it."""
        return str((own(r), sorted(own(i) for i in inside.get(r, ()))))

    tops = {r for r in hidden | set(inside) if not block_of.get(r, set()) - immovable} - immovable
    tables: list[Table] = []
    for members in _alike(sorted(tops), key).values():
        kinds = [_alike(inside.get(r, ()), own) for r in members]
        if len(members) == 1:
            alone = [kind for kind in kinds[0].values() if kind[0] in hidden] or [members]
            tables += [(_name(kind[0], signatures, roots), kind, []) for kind in alone]
            continue
        first = next(iter(kinds[0].values()))[0] if kinds[0] else members[0]
        inner = [[kind[k] for kind in kinds] for k in kinds[0]]
        tables.append((_name(first, signatures, roots), members, inner))
    return [t for t in tables if len(t[1]) > 1]


def _alike(classes: Iterable[int], key: Callable[[int], str]) -> dict[str, list[int]]:
    """Classes of equal keys together, in order of the first."""
    found: dict[str, list[int]] = defaultdict(list)
    for r in classes:
        found[key(r)].append(r)
    return found


def _name(r: int, signatures: dict[int, Signature], roots: dict[str, list[Tensor]]) -> str:
    """The axis of the first parameter in which a class occurs."""
    name, layer, _ = signatures[r].places[0]
    return axis_name(name, roots[name][layer])


def axis_name(name: str, labels: Tensor) -> str:
    """A parameter with the axes along which some of its labels vary: ``"0.weight[0]"``."""
    return f"{name}[{', '.join(map(str, sorted(varying_axes(labels))))}]"


def numbered(roots: Tensor, number: dict[int, int]) -> Tensor:
    """Numbers of classes in place of their representatives; FIXED if no permutation moves them."""
    found, inverse = roots.unique(return_inverse=True)
    return torch.tensor([number.get(r, FIXED) for r in found.tolist()])[inverse]


def _numbered(layers: list[Tensor], number: dict[int, int]) -> tuple[Tensor, ...]:
    """Labels by numbers of classes; those left out that no permutation moves."""
    found = [numbered(labels, number) for labels in layers]
    return tuple(compact(x).clone() for x in found if bool((x != FIXED).any()))
