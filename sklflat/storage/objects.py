"""Fitted estimators as arrays and a JSON table.

A file describes data, never calls: :mod:`decoding` makes scalars, arrays and objects of known
types of it, each checked. An object is a table of entries that refer to each other by number, so
that shared and cyclic references survive.
"""

import base64
import functools
import inspect
import math
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn import feature_selection
from torch import nn

from sklflat.storage import known_types, recurrent

Arrays = dict[str, np.ndarray]

#: functions that torch's layers keep as attributes
FUNCTIONS: dict[str, Any] = {
    "relu": nn.functional.relu,
    "gelu": nn.functional.gelu,
    "mean": np.mean,
    **{
        name: getattr(feature_selection, name)
        for name in (
            *("chi2", "f_classif", "f_regression", "r_regression"),
            *("mutual_info_classif", "mutual_info_regression"),
        )
    },
}
#: NumPy's kinds of numbers, of which there are several dtypes, by name
ABSTRACT: dict[str, type] = {
    kind.__name__: kind
    for kind in (
        *(np.number, np.integer, np.signedinteger, np.unsignedinteger),
        *(np.inexact, np.floating, np.complexfloating),
    )
}
DTYPES = {str(d).removeprefix("torch."): d for d in vars(torch).values() if type(d) is torch.dtype}
#: how deep objects may be inside of each other
MAX_DEPTH = 60
#: bytes of all arrays of text
MAX_TEXT = 2**24


class Handler(NamedTuple):
    """How objects are stored that are more than their attributes.

    Attributes
    ----------
    matches : callable
        Whether an object is such a one.
    to_state : callable
        What it consists of.
    from_state : callable
        The object again; checks whatever it is given.
    """

    matches: Callable[[Any], bool]
    to_state: Callable[[Any], Any]
    from_state: Callable[[Any], Any]


HANDLERS: dict[str, Handler] = {}


def encode(obj: Any) -> tuple[Arrays, dict[str, Any]]:
    """Arrays and a JSON table that ``decode`` makes an object of.

    Raises
    ------
    TypeError
        For functions and other things that cannot be stored; says where in the object.
    """
    encoder = _Encoder()
    root = encoder.node(obj, type(obj).__name__)
    return encoder.arrays, {"root": root, "entries": encoder.entries}


def classes_in(info: dict[str, Any]) -> tuple[str, ...]:
    """Full names of the classes of what was encoded."""
    kinds = ("object", "bunch", "layer", "class")
    return tuple({str(entry[1]) for entry in info["entries"] if entry[0] in kinds})


def is_key(value: Any) -> bool:
    """Whether a value may be a key or an element of a set: a scalar, or a tuple of such."""
    if type(value) in (tuple, frozenset):
        return all(type(part) in _SCALARS for part in value)
    return type(value) in _SCALARS


_SCALARS = {type(None), bool, int, float, complex, str, bytes}


class _Encoder:
    """Builds the table."""

    def __init__(self) -> None:
        self.arrays: Arrays = {}
        self.entries: list[Any] = []
        self._known: dict[int, int] = {}
        self._alive: list[Any] = []  # so that no id is used twice
        self._depth = 0

    def node(self, value: Any, path: str) -> Any:
        """What stands for a value inside of others: itself, or a reference."""
        if value is None or type(value) in (bool, str):
            return value
        if type(value) is int and abs(value) < 2**53:
            return value
        if type(value) is float and math.isfinite(value):  # JSON keeps every bit of it
            return value
        if id(value) in self._known:
            return {"r": self._known[id(value)]}
        if self._depth >= MAX_DEPTH:
            raise TypeError(f"{path} cannot be stored: it is nested more than {MAX_DEPTH} deep.")
        k = len(self.entries)
        self._known[id(value)] = k
        self._alive.append(value)
        self.entries.append(None)
        self._depth += 1
        self.entries[k] = self._entry(value, path)
        self._depth -= 1
        return {"r": k}

    def _nodes(self, values: Any, path: str) -> list[Any]:
        return [self.node(v, f"{path}[{i}]") for i, v in enumerate(values)]

    def _keys(self, values: Any, path: str) -> list[Any]:
        if not all(is_key(value) for value in values):
            raise TypeError(f"{path} cannot be stored: a key or element of it is no scalar.")
        return [self.node(value, path) for value in values]

    def _named(self, values: dict[str, Any], path: str) -> list[Any]:
        return [[k, self.node(v, f"{path}.{k}")] for k, v in values.items()]

    def _array(self, array: np.ndarray) -> str:
        name = str(len(self.arrays))
        self.arrays[name] = array
        return name

    def _entry(self, value: Any, path: str) -> list[Any]:
        kind = type(value)
        for name, handler in HANDLERS.items():
            if handler.matches(value):
                return ["own", name, self.node(handler.to_state(value), path)]
        if kind in (int, float, complex):
            return [kind.__name__, value.hex() if kind is float else repr(value)]
        if kind is bytes:
            return ["bytes", base64.b64encode(value).decode()]
        if kind is list and len(value) > 1 and all(type(v) is float for v in value):
            return ["floats", self._array(np.array(value))]
        if kind in (list, tuple):
            return [kind.__name__, self._nodes(value, path)]
        if kind in (set, frozenset):
            return [kind.__name__, self._keys(value, path)]
        if kind in (dict, OrderedDict):
            keys = self._keys(value, path)
            values = [self.node(v, f"{path}[{k!r}]") for k, v in value.items()]
            return ["dict" if kind is dict else "ordered", keys, values]
        if kind in (slice, range):
            return [kind.__name__, self._nodes([value.start, value.stop, value.step], path)]
        if isinstance(value, (np.ndarray, np.generic, np.dtype, np.random.RandomState)):
            return self._numpy(value, path)
        if isinstance(value, (torch.Tensor, torch.dtype, torch.device, torch.Generator)):
            return self._torch(value)
        for name, function in FUNCTIONS.items():
            if value is function:
                return ["function", name]
        return self._object(value, path)

    def _numpy(self, value: Any, path: str) -> list[Any]:
        if isinstance(value, np.random.RandomState):
            found: Any = value.get_state()
            _, keys, pos, has_gauss, gauss = found
            return ["random state", self._array(keys), pos, has_gauss, float(gauss).hex()]
        if isinstance(value, np.dtype):
            return ["dtype", value.str]
        array = np.asarray(value)
        scalar = isinstance(value, np.generic)
        if array.dtype.kind in "OUS":
            if array.dtype.kind in "US" and array.nbytes > MAX_TEXT:
                raise TypeError(f"{path} holds more than {MAX_TEXT} bytes of text.")
            nodes = self._nodes(array.ravel().tolist(), path)
            return ["items", list(array.shape), array.dtype.str, nodes, scalar]
        if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
            raise TypeError(f"{path} is an array of dtype {array.dtype}, which is not stored.")
        if array.flags.f_contiguous and not array.flags.c_contiguous:
            return ["by columns", self._array(np.ascontiguousarray(array.T))]
        return ["array", self._array(array), scalar]

    def _torch(self, value: Any) -> list[Any]:
        if isinstance(value, torch.dtype):
            return ["torch dtype", str(value).removeprefix("torch.")]
        if isinstance(value, torch.device):
            return ["device", str(value)]
        if isinstance(value, torch.Generator):
            return ["generator", str(value.device), self._array(value.get_state().numpy())]
        plain = value.detach().cpu()
        brain = plain.dtype == torch.bfloat16
        plain = plain.view(torch.int16) if brain else plain
        parameter = isinstance(value, nn.Parameter)
        return ["tensor", self._array(plain.numpy()), parameter, value.requires_grad, brain]

    def _object(self, value: Any, path: str) -> list[Any]:
        try:
            if isinstance(value, type) and issubclass(value, (np.number, np.bool_)):
                if value in ABSTRACT.values():  # a dtype would be one of them
                    return ["number type", value.__name__]
                return ["number type", np.dtype(value).str]
            if isinstance(value, type):
                return ["class", known_types.name_of(value)]
            if not hasattr(value, "__dict__") or (callable(value) and not _has_state(value)):
                raise TypeError(f"it is a {type(value).__name__}")
            name = known_types.name_of(type(value))
            if not (isinstance(value, nn.Module) or _is_its_attributes(value)):
                raise TypeError(f"a {type(value).__name__} is more than its attributes")
        except TypeError as error:
            raise TypeError(
                f"{path} cannot be stored: {error}. Pickle can hold it, or give it by a class of a "
                "module that can be imported."
            ) from None
        if isinstance(value, nn.Module):
            return self._layer(value, name, path)
        own = {k: v for k, v in vars(value).items() if not _is_cached(value, k)}
        own = {k: None if k in known_types.PLACES else v for k, v in own.items()}
        if not isinstance(value, dict):
            return ["object", name, self._named(own, path)]
        return ["bunch", name, self._named(dict(value), path)]

    def _layer(self, module: nn.Module, name: str, path: str) -> list[Any]:
        """A module by its parameters, buffers and parts; hooks are code."""
        own = vars(module)
        hooks = [k for k, v in own.items() if k.endswith(("_hooks", "_hooks_with_kwargs")) and v]
        if hooks:
            raise TypeError(f"{path} cannot be stored: it has hooks ({hooks[0]}), which are code.")
        if recurrent.name_of(module) is not None:
            weights = {k: v for k, v in own["_parameters"].items() if v is not None}
            settings = self._named(recurrent.settings_of(module), path)
            return ["recurrent", name, settings, self._named(weights, path), module.training]
        fresh = vars(nn.Module())
        rest = {k: v for k, v in own.items() if k not in fresh and not _is_cached(module, k)}
        kept = [n for n in own["_buffers"] if n not in own["_non_persistent_buffers_set"]]
        parts = [self._named(own[k], path) for k in ("_parameters", "_buffers", "_modules")]
        return ["layer", name, *parts, kept, module.training, self._named(rest, path)]


def _is_its_attributes(value: Any) -> bool:
    """Whether an object is what its attributes say, as those of C extensions are not."""
    if known_types.is_known(type(value)) or isinstance(value, dict):
        return True
    try:
        state = value.__reduce_ex__(4)[2]
    except Exception:  # whatever an object raises that cannot be pickled
        return False
    return isinstance(state, dict) and state.keys() <= vars(value).keys() | {"_sklearn_version"}


def _is_cached(value: Any, name: str) -> bool:
    """Whether an attribute is what a property has kept, and would compute again."""
    static = inspect.getattr_static(type(value), name, None)
    return isinstance(static, functools.cached_property)


def _has_state(value: Any) -> bool:
    """Whether something callable is an object like a module, not a function."""
    is_estimator = isinstance(value, nn.Module) or hasattr(value, "get_params")
    return is_estimator or known_types.is_known(type(value))
