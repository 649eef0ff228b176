"""Calls of a recording that need not be made again: their results are known, or nobody reads them.

Autograd of a small network makes a sixth of its calls for what is the same in every batch (the
derivative of a mean, a gradient of zeros to write into), and for views that lead nowhere.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor
from torch._ops import OpOverload

#: whose values depend on the shapes of tensors alone
_OF_SHAPES = {
    f"aten::{name}"
    for name in ("ones_like", "zeros_like", "full_like", "new_zeros", "new_ones", "new_full")
} | {f"aten::{name}" for name in ("zeros", "ones", "full", "scalar_tensor", "arange")}

#: operator, args, kwargs, output, whether it draws random numbers
Call = tuple[OpOverload, tuple[Any, ...], dict[str, Any], Any, bool]
Key = tuple[Any, ...]


def view_key(t: Tensor) -> Key:
    """Identifies a view of memory, which autograd may wrap in several objects."""
    storage = t.untyped_storage()._cdata
    return (storage, t.storage_offset(), tuple(t.shape), t.stride(), t.dtype)


def leaves(value: Any) -> list[Any]:
    """The items of nested lists, tuples and dictionaries."""
    if isinstance(value, (list, tuple)):
        return [leaf for item in value for leaf in leaves(item)]
    if isinstance(value, dict):
        return [leaf for item in value.values() for leaf in leaves(item)]
    return [value]


def written(func: OpOverload, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Tensor]:
    """The tensors among the arguments, or in lists of them, that an operation changes in place."""
    declared = func._schema.arguments
    given = {d.name: a for a, d in zip(args, declared, strict=False)} | dict(kwargs)
    return [
        t
        for d in declared
        if d.alias_info and d.alias_info.is_write
        for t in _tensors(given.get(d.name))
    ]


def without_known(
    calls: Sequence[Call], inputs: Sequence[Tensor], outputs: Sequence[Tensor]
) -> tuple[list[Call], set[int]]:
    """The calls that have to be made again, in order.

    Parameters
    ----------
    calls : sequence of Call
        All that were made.
    inputs : sequence of Tensor
        What a replay gets anew.
    outputs : sequence of Tensor
        What is wanted of them; others may change these in place.

    Returns
    -------
    calls : list of Call
    known : set of int
        Memory whose values are the same in every replay, as the calls that made them read nothing
        but shapes. Nothing changes it.
    """
    changed = {_memory(t) for func, args, kwargs, *_ in calls for t in written(func, args, kwargs)}
    changed |= {_memory(t) for t in outputs}
    known: set[int] = set()
    made = {view_key(t) for t in inputs}
    left: list[Call] = []
    for call in calls:
        func, args, kwargs, out, draws = call
        results = list(_tensors(out))
        if draws or func._schema.is_mutable or not results:
            left.append(call)
        elif _is_known(func, (args, kwargs), known) and not changed & set(map(_memory, results)):
            known |= {_memory(t) for t in results}
        elif not made.issuperset(map(view_key, results)):  # or it is another name for the same
            left.append(call)
        made |= {view_key(t) for t in results}
    wanted = {view_key(t) for t in outputs}
    kept: list[Call] = []
    for call in reversed(left):
        func, args, kwargs, out, draws = call
        results = list(_tensors(out))
        asked = not results or any(view_key(t) in wanted for t in results)
        if draws or func._schema.is_mutable or asked:
            kept.append(call)
            wanted |= {view_key(t) for t in _tensors((args, kwargs))}
    return kept[::-1], known


def _is_known(func: OpOverload, given: Any, known: set[int]) -> bool:
    """Whether a call reads nothing but shapes and what is known."""
    if func._schema.name in _OF_SHAPES:
        return True
    tensors = list(_tensors(given))
    return bool(tensors) and known.issuperset(map(_memory, tensors))


def _memory(t: Tensor) -> int:
    return int(t.untyped_storage()._cdata)


def _tensors(value: Any) -> Iterator[Tensor]:
    return (leaf for leaf in leaves(value) if isinstance(leaf, Tensor))
