"""From tied atoms to classes, and from classes to groups of such that can be exchanged."""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from sklflat.symmetry.symmetry import FIXED, Group
from sklflat.symmetry.tracing.axis_indices import NONE, Atoms
from sklflat.symmetry.tracing.labels import varying_axes


@dataclass(frozen=True)
class Signature:
    """What a class has to have in common with another to be exchanged with it.

    Attributes
    ----------
    places : tuple of (str, int, int)
        Where it occurs: a parameter, one of its labels, and how often.
    number : int
        Of the sequence of what was done to it.
    done : frozenset
        What was done to it.
    """

    places: tuple[tuple[str, int, int], ...]
    number: int
    done: frozenset[Any] = field(repr=False)


@dataclass(frozen=True)
class Grouping:
    """Classes of atoms, numbered from 0 on.

    Attributes
    ----------
    groups : tuple of Group
    labels : dict of str to tuple of Tensor
        Of parameters and buffers: classes, of length 1 along axes on which they do not differ.
    number : dict of int to int
        The class of each root atom that a permutation can move.
    n_hidden : int
        Classes of hidden units, movable or not.
    frozen : dict of str to tuple of str
        What holds hidden units in place that have others beside them, and the axes of parameters
        that they are along.
    """

    groups: tuple[Group, ...]
    labels: dict[str, tuple[Tensor, ...]]
    number: dict[int, int]
    n_hidden: int
    frozen: dict[str, tuple[str, ...]]


def group_atoms(atoms: Atoms, places: dict[str, list[Tensor]]) -> Grouping:
    """Group the classes of hidden units that play the same part.

    Parameters
    ----------
    atoms : Atoms
    places : dict of str to list of Tensor
        Labels of parameters and buffers.
    """
    _merge_equal_blocks(atoms)
    roots = {name: [atoms.roots(x) for x in layers] for name, layers in places.items()}
    signatures = _signatures(atoms, roots)
    block_of = _blocks(atoms)
    frozen = _frozen(atoms, block_of)
    made = set(atoms.roots(torch.tensor(sorted(atoms.made), dtype=torch.int64)).tolist())
    shown = set(atoms.roots(torch.tensor(sorted(atoms.outputs), dtype=torch.int64)).tolist())
    hidden = {r for r in made if signatures.get(r)} - shown
    tables = _tables(hidden, signatures, block_of, frozen, roots)
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
    kept = {n: x for n, x in labels.items() if x}
    why = _why_frozen(atoms, hidden, set(number), signatures, block_of)
    held: dict[str, dict[str, None]] = defaultdict(dict)
    for r, reason in sorted(why.items()):
        held[reason][_name(r, signatures, roots)] = None
    by_reason = {reason: tuple(axes) for reason, axes in held.items()}
    n_hidden = len(hidden | {r for r in number if r in signatures})
    return Grouping(groups, kept, number, n_hidden, by_reason)


def _merge_equal_blocks(atoms: Atoms) -> None:
    """Blocks that hold the same classes are one block."""
    while atoms.blocks_of:
        held = defaultdict(set)
        inside, block = atoms.roots(torch.tensor(atoms.blocks_of).T.contiguous())
        for i, b in zip(inside.tolist(), block.tolist(), strict=True):
            held[b].add(i)
        first: dict[frozenset[int], int] = {}
        again = [
            (first.setdefault(frozenset(members), b), b) for b, members in sorted(held.items())
        ]
        pairs = torch.tensor([pair for pair in again if pair[0] != pair[1]])
        if not len(pairs):
            return
        atoms.tie(pairs[:, 0], pairs[:, 1])


def _blocks(atoms: Atoms) -> dict[int, set[int]]:
    """The blocks that each class is in."""
    found: dict[int, set[int]] = defaultdict(set)
    if atoms.blocks_of:
        inside, block = atoms.roots(torch.tensor(atoms.blocks_of).T.contiguous())
        for i, b in zip(inside.tolist(), block.tolist(), strict=True):
            if i != b:
                found[i].add(b)
    return found


def _frozen(atoms: Atoms, block_of: dict[int, set[int]]) -> set[int]:
    """Classes that nothing may move: what was frozen, and blocks that something holds in place.

    A block does not move if one of its classes is frozen or is in another block, too, or if one
    of its classes is a block itself: blocks within blocks stay where they are.
    """
    frozen = set(atoms.roots(torch.tensor(sorted(atoms.reasons), dtype=torch.int64)).tolist())
    while True:
        before = len(frozen)
        for inside, blocks in block_of.items():
            outer = {o for b in blocks if b not in frozen for o in block_of.get(b, ())}
            if inside in frozen or len(blocks) > 1:
                outer |= blocks
            frozen |= outer
        if len(frozen) == before:
            return frozen


def _why_frozen(
    atoms: Atoms,
    hidden: set[int],
    moved: set[int],
    signatures: dict[int, Signature],
    block_of: dict[int, set[int]],
) -> dict[int, str]:
    """For each class of hidden units that is in no group, but beside others, what holds it."""
    reasons: dict[int, str] = {}
    frozen = torch.tensor(list(atoms.reasons), dtype=torch.int64)
    for r, reason in zip(atoms.roots(frozen).tolist(), atoms.reasons.values(), strict=True):
        reasons.setdefault(r, reason)
    beside: dict[tuple[str, int], list[int]] = defaultdict(list)
    for r in sorted(hidden):
        beside[signatures[r].places[0][:2]].append(r)
    found = {}
    for alike in beside.values():
        shared = frozenset.intersection(*(signatures[r].done for r in alike))
        for r in alike if len(alike) > 1 else ():
            own = [reasons[b] for b in (r, *sorted(block_of.get(r, ()))) if b in reasons]
            own += sorted(str(what[0]) for what in signatures[r].done - shared)
            if r not in moved:
                found[r] = (own or ["units that are read in different ways"])[0]
    return found


def _signatures(atoms: Atoms, roots: dict[str, list[Tensor]]) -> dict[int, Signature]:
    """Where each class occurs, how often, and what was done to it."""
    found: dict[int, list[tuple[str, int, int]]] = defaultdict(list)
    for name, layers in roots.items():
        for i, labels in enumerate(layers):
            classes, counts = labels[labels != NONE].unique(return_counts=True)
            for r, n in zip(classes.tolist(), counts.tolist(), strict=True):
                found[r].append((name, i, n))
    done: dict[int, list[Hashable]] = defaultdict(list)
    for what, labels in atoms.marks:
        for r in atoms.roots(labels).unique().tolist():
            done[r].append(what)
    known: dict[tuple[Hashable, ...], int] = {}
    return {
        r: Signature(
            tuple(places), known.setdefault(tuple(done[r]), len(known)), frozenset(done[r])
        )
        for r, places in found.items()
    }


Table = tuple[str, list[int], list[list[list[int]]]]


def _tables(
    hidden: set[int],
    signatures: dict[int, Signature],
    block_of: dict[int, set[int]],
    frozen: set[int],
    roots: dict[str, list[Tensor]],
) -> list[Table]:
    """Names, members and inner classes of all groups of at least two."""
    inside: dict[int, list[int]] = defaultdict(list)
    for r in sorted(signatures.keys() - frozen):  # all that is in a block goes where it goes
        for b in block_of.get(r, set()) - frozen:
            inside[b].append(r)
    inside = {b: rows for b, rows in inside.items() if hidden & set(rows)}

    def part(r: int) -> tuple:
        """What a class has to have in common with another to be exchanged with it."""
        held_by = sorted(block_of.get(r, set()) & frozen)
        held = sorted(str(signatures[i]) for i in inside.get(r, ()))
        return signatures.get(r), held_by, held

    tops = sorted({r for r in hidden | set(inside) if not block_of.get(r, set()) - frozen} - frozen)
    tables: list[Table] = []
    for members in _alike(tops, lambda r: str(part(r))).values():
        kinds = [_alike(inside.get(r, ()), lambda i: str(signatures[i])) for r in members]
        if len(members) == 1:
            own = [kind for kind in kinds[0].values() if kind[0] in hidden] or [members]
            tables += [(_name(kind[0], signatures, roots), kind, []) for kind in own]
            continue
        first = next(iter(kinds[0].values()))[0] if kinds[0] else members[0]
        inner = [[kind[key] for kind in kinds] for key in kinds[0]]
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
    axes = sorted(varying_axes(roots[name][layer]))
    return f"{name}[{', '.join(map(str, axes))}]"


def _numbered(layers: list[Tensor], number: dict[int, int]) -> tuple[Tensor, ...]:
    """Labels by numbers of classes; those left out that no permutation moves."""
    kept = []
    for labels in layers:
        classes, inverse = labels.unique(return_inverse=True)
        new = torch.tensor([number.get(r, FIXED) for r in classes.tolist()])[inverse]
        if bool((new != FIXED).any()):
            axes = varying_axes(new)
            for a in range(new.ndim):
                if a not in axes:
                    new = new.narrow(a, 0, 1)
            kept.append(new.clone())
    return tuple(kept)
