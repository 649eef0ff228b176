"""What objects consist of, for their fingerprints."""

import enum
import functools
import logging
import os
import pathlib
import re
import types
import typing
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from torch._ops import OpOverload, OpOverloadPacket

from sklflat.storage import code
from sklflat.storage.libraries import library_of, name_of
from sklflat.storage.outside import UnkeyableError, check_allowed

#: a kind, and the values that an object is made of, in an order or by names
Parts = tuple[str, list[Any] | dict[str, Any]]

#: types whose values have no parts, and their bytes
SCALARS: dict[type, Callable[[Any], bytes]] = {
    type(None): lambda value: b"",
    type(...): lambda value: b"",
    type(NotImplemented): lambda value: b"",
    bool: lambda value: b"%d" % value,
    int: lambda value: hex(value).encode(),
    float: lambda value: np.float64(value).tobytes(),
    complex: lambda value: np.complex128(value).tobytes(),
    str: lambda value: value.encode("utf-8", "surrogatepass"),
    bytes: lambda value: value,
    torch.dtype: lambda value: str(value).encode(),
    torch.device: lambda value: str(value).encode(),
    torch.layout: lambda value: str(value).encode(),
    torch.memory_format: lambda value: str(value).encode(),
}


def taken_apart(value: Any) -> Parts:
    """What an object that is no scalar, array, tensor, function or class consists of.

    Raises
    ------
    UnkeyableError
        If that is not known.
    """
    if type(value) is list:
        return "list", value
    if type(value) in (dict, OrderedDict):
        of_names = all(type(key) is str for key in value)
        return (type(value).__name__, dict(value)) if of_names else ("pairs", _pairs(value.items()))
    for kinds, parts in _KINDS:
        if isinstance(value, kinds):
            name, known = parts(value)
            own = _own_parts(value, kinds)
            return (name, [known, *own]) if own else (name, known)
    library = (library_of(type(value).__module__) or "").partition(" ")[0]
    if library == "scipy" and hasattr(value, "tocsr"):
        csr = value.tocsr()
        return "sparse", [type(value), list(csr.shape), csr.indptr, csr.indices, csr.data]
    if library in ("pandas", "polars") and hasattr(value, "to_numpy") and hasattr(value, "shape"):
        return "frame", _frame(value)
    return _instance(value)


def _own_parts(value: Any, kinds: Any) -> list[Any]:
    """Class and attributes of what extends a kind that is known."""
    kind = type(value)
    if kind in (kinds if isinstance(kinds, tuple) else (kinds,)):
        return []
    is_whole = isinstance(value, (types.ModuleType, logging.Logger))
    if is_whole or library_of(kind.__module__) is not None:
        return [kind]
    return [kind, attributes(value)]


def attributes(value: Any) -> dict[str, Any]:
    """All attributes of an object itself, those in slots included, without what torch counts.

    Hooks are kept under numbers that count all hooks of the process.
    """
    own = dict(getattr(value, "__dict__", {}))
    for base in type(value).__mro__:
        slots = vars(base).get("__slots__", ())
        for slot in (slots,) if isinstance(slots, str) else slots:
            private = slot.startswith("__") and not slot.endswith("__")
            name = f"_{base.__name__.lstrip('_')}{slot}" if private else slot
            if name not in ("__dict__", "__weakref__") and hasattr(value, name):
                own[name] = getattr(value, name)
    if isinstance(value, torch.nn.Module):
        _number_hooks(own)
    if isinstance(value, torch.Tensor):
        own.pop("_backward_hooks", None)
    return own


#: what torch keeps in every module under the numbers of hooks
_HOOKS = {name for name in vars(torch.nn.Module()) if "_hooks" in name}


def _number_hooks(own: dict[str, Any]) -> None:
    """Number a module's hooks by their order, in place of torch's count of all hooks."""
    held = {name: own[name] for name in _HOOKS & set(own) if isinstance(own[name], dict)}
    order = {k: n for n, k in enumerate(sorted({k for hooks in held.values() for k in hooks}))}
    own.update({name: {order[k]: v for k, v in hooks.items()} for name, hooks in held.items()})


def _instance(value: Any) -> Parts:
    """By class and attributes; what C defines also by what it would be pickled as."""
    kind = type(value)
    if kind.__module__ == "typing" or kind in (types.GenericAlias, types.UnionType):
        return "annotation", _annotation(value)
    own = attributes(value)
    layout = next(base for base in kind.__mro__ if _is_defined_in_c(base))
    if layout is object:
        return "instance", [kind, own]
    if layout in _CONTENTS:
        return "instance", [kind, own, _CONTENTS[layout](value)]
    try:
        reduced = value.__reduce_ex__(4)
    except Exception:
        reduced = None
    if not isinstance(reduced, tuple):
        raise UnkeyableError(f"a {name_of(kind)}, whose contents are not known")
    make, args, state, items, pairs, *_ = (*reduced, None, None, None)
    contents = [None if part is None else list(part) for part in (items, pairs)]
    return "reduced", [kind, own, make, list(args), state, *contents]


def _annotation(value: Any) -> list[Any]:
    """Of generic types their origin and parts, of type variables what they stand for."""
    origin = typing.get_origin(value)
    if origin is not None:
        return [origin, list(typing.get_args(value))]
    meant = ("__bound__", "__constraints__", "__supertype__")
    return [repr(value), *(getattr(value, name, None) for name in meant)]


def _is_defined_in_c(kind: type) -> bool:
    """Whether instances have contents that C knows, beside attributes."""
    new = vars(kind).get("__new__")
    is_own = isinstance(new, types.BuiltinFunctionType) and new.__self__ is kind
    return is_own or kind.__flags__ & (_HEAP | _IMMUTABLE) != _HEAP


#: flags of types: made at run time, as by a class statement; and never changed, as only C's are
_HEAP, _IMMUTABLE = 1 << 9, 1 << 8

#: contents of the containers and numbers that a class may extend
_CONTENTS: dict[type, Callable[[Any], Any]] = {
    dict: lambda value: _pairs(dict.items(value)),
    OrderedDict: lambda value: _pairs(dict.items(value)),
    defaultdict: lambda value: [value.default_factory, *_pairs(dict.items(value))],
    list: lambda value: list(list.__iter__(value)),
    deque: lambda value: [value.maxlen, *deque.__iter__(value)],
    tuple: lambda value: tuple(tuple.__iter__(value)),
    set: lambda value: set(set.__iter__(value)),
    frozenset: lambda value: frozenset(frozenset.__iter__(value)),
    str: lambda value: str.__str__(value),
    int: lambda value: int.__int__(value),
    float: lambda value: float.__float__(value),
    bytes: lambda value: bytes(value),
}


def _frame(value: Any) -> list[Any]:
    """A column or a table: names, dtypes and values, column by column."""
    index: Any = getattr(value, "index", None)  # polars has none
    rows = index.to_numpy() if hasattr(index, "to_numpy") else None
    columns: Any = getattr(value, "columns", None)
    names = [_names(labels) for labels in (value, index, columns)]
    head = [type(value), list(value.shape), rows, names, getattr(value, "attrs", None)]
    if columns is None:
        return [*head, _of_dtype(value.dtype), value.to_numpy()]
    dtypes = [_of_dtype(dtype) for dtype in np.ravel(np.asarray(value.dtypes, dtype=object))]
    if hasattr(value, "iloc"):
        parts = [value.iloc[:, k].to_numpy() for k in range(value.shape[1])]
    else:
        parts = [value[name].to_numpy() for name in columns]
    return [*head, list(columns), dtypes, *parts]


def _names(labels: Any) -> list[Any]:
    """Names of rows and columns, which have some in pandas."""
    is_named = hasattr(labels, "name") and not callable(labels.name)
    return list(getattr(labels, "names", [labels.name])) if is_named else []


def _of_dtype(dtype: Any) -> list[Any]:
    """The type of a column; of a categorical one with its categories in their order."""
    categories: Any = getattr(dtype, "categories", None)
    if not hasattr(categories, "to_numpy"):
        return [str(dtype)]
    return [str(dtype), categories.to_numpy(), str(dtype.ordered)]


def _builtin(value: Any) -> list[Any]:
    """A function that C defines, with what it is bound to."""
    bound = getattr(value, "__self__", None)
    check_allowed(value)
    module, is_free = getattr(value, "__module__", None), isinstance(bound, types.ModuleType)
    if is_free or bound is None:
        library = library_of(module or getattr(bound, "__name__", None))
        if library is None:
            raise UnkeyableError(f"{value.__name__}, a compiled function of no known library")
        return [f"{module}.{value.__qualname__}", library]
    return [f"{module}.{value.__qualname__}", bound]


def _ufunc(value: Any) -> list[Any]:
    from scipy import special

    if not any(getattr(home, value.__name__, None) is value for home in (np, special)):
        raise UnkeyableError("a ufunc that is no library's")
    return [value.__name__]


def _cached(value: Any) -> dict[str, Any]:
    """A function under ``functools.lru_cache``."""
    own = {k: v for k, v in vars(value).items() if k != "__wrapped__"}
    return {
        "function": value.__wrapped__,
        "settings": list(value.cache_parameters().items()),
        **own,
    }


def _partial(value: Any) -> list[Any]:
    return [value.func, list(value.args), value.keywords, vars(value)]


def _pairs(items: Iterable[tuple[Any, Any]]) -> list[Any]:
    return [part for pair in items for part in pair]


def _refuse(value: Any) -> Parts:
    kind = type(value)
    raise UnkeyableError(f"a {kind.__module__}.{kind.__qualname__}, whose code is not known")


def _operator(value: Any) -> Parts:
    """One of torch's own; those that users register are code of theirs that is kept elsewhere."""
    name = str(value)
    if name.removeprefix("torch.ops.").partition(".")[0] not in ("aten", "prim", "prims"):
        raise UnkeyableError(f"the registered operator {name}, whose code is not known")
    return "operator", [name]


#: kinds with parts of their own, the first that fits
_KINDS: list[tuple[Any, Callable[[Any], Parts]]] = [
    (enum.Enum, lambda v: ("enum", [type(v), attributes(v)])),
    ((torch.jit.ScriptModule, torch.jit.ScriptFunction, type(os.environ)), _refuse),
    ((OpOverload, OpOverloadPacket), _operator),
    (re.Pattern, lambda v: ("pattern", [v.pattern, v.flags])),
    (pathlib.PurePath, lambda v: ("path", [type(v).__name__, str(v)])),
    (torch.Size, lambda v: ("size", list(v))),
    (torch.Generator, lambda v: ("generator", [v.device, v.get_state()])),
    (np.random.RandomState, lambda v: ("random state", [v.get_state(legacy=False)])),
    (np.random.Generator, lambda v: ("generator", [v.bit_generator.state])),
    (np.generic, lambda v: ("scalar", [np.asarray(v)])),
    (np.dtype, lambda v: ("dtype", [str(v.descr if v.fields else v.str)])),
    (np.ufunc, lambda v: ("ufunc", _ufunc(v))),
    (types.ModuleType, lambda v: ("module", [code.module_contents(v)])),
    (types.CodeType, lambda v: ("code", code.of_code(v))),
    (types.MethodType, lambda v: ("method", [v.__func__, v.__self__])),
    ((types.BuiltinFunctionType, types.MethodWrapperType), lambda v: ("builtin", _builtin(v))),
    (
        (types.MethodDescriptorType, types.WrapperDescriptorType, types.ClassMethodDescriptorType),
        lambda v: ("descriptor", [v.__objclass__, v.__name__]),
    ),
    (
        (types.GetSetDescriptorType, types.MemberDescriptorType),
        lambda v: ("slot", [v.__name__]),
    ),
    (functools._lru_cache_wrapper, lambda v: ("cached", _cached(v))),
    (functools.partial, lambda v: ("partial", _partial(v))),
    (functools.partialmethod, lambda v: ("partial method", _partial(v))),
    (functools.cached_property, lambda v: ("cached property", [v.func, v.attrname])),
    (property, lambda v: ("property", [type(v), v.fget, v.fset, v.fdel])),
    ((staticmethod, classmethod), lambda v: ("method kind", [type(v), v.__func__])),
    (types.MappingProxyType, lambda v: ("proxy", _pairs(v.items()))),
    (logging.Logger, lambda v: ("logger", [v.name])),
    (slice, lambda v: ("slice", [v.start, v.stop, v.step])),
    (range, lambda v: ("range", [v.start, v.stop, v.step])),
    ((bytearray, memoryview), lambda v: (type(v).__name__, [bytes(v)])),
]
