"""Python objects as arrays and JSON, without a way for a file to run code.

An object is a table of entries that refer to each other by number, so that shared and cyclic
references survive. Plain objects are a class name and attributes; a class is looked up by
:mod:`sklflat.storage.classes`, and its ``__init__`` is not called.
"""

import base64
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from sklflat.exceptions import CheckpointError
from sklflat.storage.classes import class_at, path_of

Arrays = dict[str, np.ndarray]
_MAX_ENTRIES = 1_000_000
_FUNCTIONS = {"relu": nn.functional.relu, "gelu": nn.functional.gelu}

#: kinds of objects with a way of their own: (matches, to state, from state)
Handler = tuple[Callable[[Any], bool], Callable[[Any], Any], Callable[[Any], Any]]
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


def decode(arrays: Arrays, info: Any, trusted: tuple[str, ...] = ()) -> Any:
    """The object that was encoded.

    Parameters
    ----------
    arrays : dict of str to ndarray
    info : dict
    trusted : tuple of str
        Full names of classes, beyond the known ones, that the object may contain.

    Raises
    ------
    CheckpointError
        If the table is not one that ``encode`` makes, or names a class that is not trusted.
    """
    try:
        decoder = _Decoder(arrays, info["entries"], trusted)
        return decoder.value(info["root"])
    except CheckpointError:
        raise
    except RecursionError:
        raise CheckpointError("The file's objects are nested too deep.") from None
    except Exception as error:
        raise CheckpointError(
            f"The file holds no object of this package ({type(error).__name__}: {error})."
        ) from error


class _Encoder:
    """Builds the table."""

    def __init__(self) -> None:
        self.arrays: Arrays = {}
        self.entries: list[Any] = []
        self._known: dict[int, int] = {}
        self._alive: list[Any] = []  # so that no id is used twice

    def node(self, value: Any, path: str) -> Any:
        """What stands for a value inside of others: itself, or a reference."""
        if value is None or type(value) in (bool, str):
            return value
        if type(value) is int and abs(value) < 2**53:
            return value
        if id(value) in self._known:
            return {"r": self._known[id(value)]}
        k = len(self.entries)
        self._known[id(value)] = k
        self._alive.append(value)
        self.entries.append(None)
        self.entries[k] = self._entry(value, path)
        return {"r": k}

    def _nodes(self, values: Any, path: str) -> list[Any]:
        return [self.node(v, f"{path}[{i}]") for i, v in enumerate(values)]

    def _array(self, array: np.ndarray) -> str:
        name = str(len(self.arrays))
        self.arrays[name] = array
        return name

    def _entry(self, value: Any, path: str) -> list[Any]:
        kind = type(value)
        for name, (matches, to_state, _) in HANDLERS.items():
            if matches(value):
                return ["own", name, self.node(to_state(value), path)]
        if kind in (int, float, complex):
            return [kind.__name__, value.hex() if kind is float else repr(value)]
        if kind is bytes:
            return ["bytes", base64.b64encode(value).decode()]
        if kind in (list, tuple, set, frozenset):
            return [kind.__name__, self._nodes(value, path)]
        if kind in (dict, OrderedDict):
            items = value.items()
            pairs = [[self.node(k, path), self.node(v, f"{path}[{k!r}]")] for k, v in items]
            return ["dict" if kind is dict else "ordered", pairs]
        if kind in (slice, range):
            return [kind.__name__, self._nodes([value.start, value.stop, value.step], path)]
        if isinstance(value, (np.ndarray, np.generic, np.dtype, np.random.RandomState)):
            return self._numpy(value, path)
        if isinstance(value, (torch.Tensor, torch.dtype, torch.device, torch.Generator)):
            return self._torch(value)
        for name, function in _FUNCTIONS.items():
            if value is function:
                return ["function", name]
        return self._object(value, path)

    def _numpy(self, value: Any, path: str) -> list[Any]:
        if isinstance(value, np.random.RandomState):
            return ["random state", self.node(value.get_state(legacy=False), path)]
        if isinstance(value, np.dtype):
            return ["dtype", value.str]
        array = np.asarray(value)
        scalar = isinstance(value, np.generic)
        if array.dtype.kind in "OUS":
            nodes = self._nodes(array.ravel().tolist(), path)
            return ["items", list(array.shape), array.dtype.str, nodes, scalar]
        if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
            raise TypeError(f"{path} is an array of dtype {array.dtype}, which is not stored.")
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
            if isinstance(value, type):
                return ["class", path_of(value)]
            if not hasattr(value, "__dict__") or (callable(value) and not _has_state(value)):
                raise TypeError(f"it is a {type(value).__name__}")
            cls = path_of(type(value))
        except TypeError as error:
            raise TypeError(
                f"{path} cannot be stored: {error}. Pickle can hold it, or give it by a class of a "
                "module that can be imported."
            ) from None
        state = [[k, self.node(v, f"{path}.{k}")] for k, v in vars(value).items()]
        items = None
        if isinstance(value, dict):  # Bunch
            items = [[k, self.node(v, f"{path}[{k!r}]")] for k, v in value.items()]
        return ["object", cls, state, items]


def _has_state(value: Any) -> bool:
    """Whether something callable is an object like a module, not a function."""
    return isinstance(value, nn.Module) or hasattr(value, "get_params")


class _Decoder:
    """Makes objects of the table, each once."""

    def __init__(self, arrays: Arrays, entries: list[Any], trusted: tuple[str, ...]) -> None:
        if not isinstance(entries, list) or len(entries) > _MAX_ENTRIES:
            raise CheckpointError("The file has no table of objects.")
        self.arrays = arrays
        self.entries = entries
        self.trusted = trusted
        self.made: dict[int, Any] = {}
        self._making: set[int] = set()

    def value(self, node: Any) -> Any:
        """The value that a node stands for."""
        if node is None or type(node) in (bool, str, int):
            return node
        k = node["r"]
        if type(k) is not int or not 0 <= k < len(self.entries):
            raise CheckpointError(f"The file refers to an object {k!r} that is not there.")
        if k not in self.made:
            if k in self._making:
                raise CheckpointError("The file's objects contain themselves.")
            self._making.add(k)
            self._make(k, *self.entries[k])
            self._making.discard(k)
        return self.made[k]

    def _make(self, k: int, kind: str, *entry: Any) -> None:
        """Those that may contain themselves are there before their contents."""
        if kind == "list":
            shell: list[Any] = []
            self.made[k] = shell
            shell.extend(self.value(node) for node in entry[0])
        elif kind in ("dict", "ordered"):
            table: Any = {} if kind == "dict" else OrderedDict()
            self.made[k] = table
            table.update((self.value(key), self.value(v)) for key, v in entry[0])
        elif kind == "object":
            path, state, items = entry
            cls: Any = class_at(path, self.trusted)
            self.made[k] = made = cls.__new__(cls)
            own = {key: self.value(node) for key, node in state}
            if not all(type(key) is str for key in own):
                raise CheckpointError("The file names an attribute that is no name.")
            made.__dict__.update(own)
            if items is not None:
                made.update({key: self.value(node) for key, node in items})
        else:
            self.made[k] = self._simple(kind, *entry)

    def _simple(self, kind: str, *entry: Any) -> Any:
        first = entry[0]
        if kind in ("int", "complex"):
            return {"int": int, "complex": complex}[kind](first)
        if kind == "float":
            return float.fromhex(first)
        if kind == "bytes":
            return base64.b64decode(first, validate=True)
        if kind in ("tuple", "set", "frozenset"):
            make = {"tuple": tuple, "set": set, "frozenset": frozenset}[kind]
            return make([self.value(node) for node in first])
        if kind in ("slice", "range"):
            return {"slice": slice, "range": range}[kind](*[self.value(node) for node in first])
        if kind == "function":
            return _FUNCTIONS[first]
        if kind == "class":
            return class_at(first, self.trusted)
        if kind == "own":
            return HANDLERS[first][2](self.value(entry[1]))
        if kind in ("array", "items", "dtype", "random state"):
            return self._numpy(kind, *entry)
        return self._torch(kind, *entry)

    def _numpy(self, kind: str, *entry: Any) -> Any:
        if kind == "dtype":
            return np.dtype(str(entry[0]))
        if kind == "random state":
            random_state = np.random.RandomState()
            random_state.set_state(self.value(entry[0]))
            return random_state
        if kind == "array":
            name, scalar = entry
            array = self.arrays[name]
            return array[()] if scalar else array
        shape, dtype, nodes, scalar = entry
        if np.dtype(dtype).kind not in "OUS":
            raise CheckpointError("The file has an array of items that are none.")
        array = np.empty(len(nodes), dtype=object)
        array[:] = [self.value(node) for node in nodes]
        array = array.reshape(shape).astype(dtype)
        return array[()] if scalar else array

    def _torch(self, kind: str, *entry: Any) -> Any:
        first = entry[0]
        if kind == "torch dtype":
            found = getattr(torch, first)
            if not isinstance(found, torch.dtype):
                raise CheckpointError(f"{first!r} is no dtype of torch.")
            return found
        if kind == "device":
            return torch.device(first)
        if kind == "generator":
            generator = torch.Generator(first)
            generator.set_state(torch.from_numpy(self.arrays[entry[1]]))
            return generator
        if kind != "tensor":
            raise CheckpointError(f"The file has an object of unknown kind {kind!r}.")
        name, parameter, requires_grad, brain = entry
        tensor = torch.from_numpy(self.arrays[name])
        tensor = tensor.view(torch.bfloat16) if brain else tensor
        if parameter:
            return nn.Parameter(tensor, requires_grad=bool(requires_grad))
        return tensor.requires_grad_(bool(requires_grad))
