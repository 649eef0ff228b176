"""From a JSON table to an object, with nothing taken on trust.

Work and memory are bounded by the size of the table. A type is looked up in :mod:`known_types`
before anything is imported, attributes have to be the type's own, and what reaches C code (states
of random generators, dtypes, shapes) is checked for kind and range. No ``__init__`` of a type is
called but ``torch.nn.Module``'s, and no function that a file chooses.
"""

import base64
import math
import re
from collections import Counter, OrderedDict
from typing import Any

import numpy as np
import torch
from torch import nn

from sklflat.exceptions import CheckpointError
from sklflat.storage import known_types, recurrent, trees
from sklflat.storage.objects import (
    ABSTRACT,
    DTYPES,
    FUNCTIONS,
    HANDLERS,
    MAX_DEPTH,
    MAX_TEXT,
    Arrays,
    is_key,
)

_MAX_ENTRIES = 1_000_000
#: elements of an object, those that are in it several times counted as often: some, and how many
#: times those of the file
_MAX_UNFOLDED, _MAX_REPEATED = 100_000, 20
#: keys of one hash, which are compared with each other
_MAX_ALIKE = 64
_DTYPE = re.compile(r"[<>|=]?(?:b1|[iuf][1248]|[US]\d{1,6}|O)\Z", re.ASCII)
DEVICE = re.compile(r"(?:cpu|cuda(?::\d{1,2})?)\Z", re.ASCII)


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
        found = decoder.value(info["root"])
        known_types.check_whole(decoder.made.values())
        trees.check_trees(decoder.made.values())
        return found
    except CheckpointError:
        raise
    except Exception as error:  # whatever a damaged table leads to
        raise CheckpointError(
            f"The file holds no object of this package ({type(error).__name__})."
        ) from None


def expect(condition: Any, what: str) -> None:
    """Raise a ``CheckpointError`` that says what is wrong, unless a condition holds."""
    if not condition:
        raise CheckpointError(f"The file cannot be used: {what}.")


class _Decoder:
    """Makes objects of the table, each once."""

    def __init__(self, arrays: Arrays, entries: Any, trusted: tuple[str, ...]) -> None:
        expect(isinstance(entries, list) and len(entries) <= _MAX_ENTRIES, "it has no table")
        self.arrays = arrays
        self.entries = entries
        self.trusted = trusted
        self.made: dict[int, Any] = {}
        self.sizes: dict[int, int] = {}
        self._making: set[int] = set()
        self._text = self._own_size = 0

    def value(self, node: Any) -> Any:
        """The value that a node stands for."""
        if node is None or type(node) in (bool, str, int, float):
            return node
        k = node["r"] if isinstance(node, dict) else None
        expect(type(k) is int and 0 <= k < len(self.entries), "it refers to what is not there")
        assert isinstance(k, int)
        if k not in self.made:
            expect(k not in self._making, "its objects contain themselves")
            expect(len(self._making) < MAX_DEPTH, "its objects are nested too deep")
            self._making.add(k)
            kind, *entry = self.entries[k]
            self._make(k, kind, entry)
            self._making.discard(k)
            self._count(k, entry)
        return self.made[k]

    def _count(self, k: int, entry: list[Any]) -> None:
        """Bound what going through an object takes, in which parts may occur again and again."""
        size, left = 1, list(entry)
        while left:
            part = left.pop()
            if isinstance(part, list):
                left += part
                size += len(part)
                self._own_size += len(part)
            elif isinstance(part, dict):
                size += self.sizes.get(part.get("r", -1), 1)
        most = _MAX_UNFOLDED + _MAX_REPEATED * self._own_size
        expect(size <= most, "its objects contain each other too often")
        self.sizes[k] = size

    def _values(self, nodes: Any) -> list[Any]:
        expect(isinstance(nodes, list), "a list is none")
        return [self.value(node) for node in nodes]

    def _keys(self, nodes: Any) -> list[Any]:
        found = self._values(nodes)
        expect(all(is_key(key) for key in found), "a key is no scalar")
        alike = Counter(map(hash, found)).most_common(1)
        expect(not alike or alike[0][1] <= _MAX_ALIKE, "its keys are made to be slow")
        return found

    def _named(self, pairs: Any) -> dict[str, Any]:
        """Values with names, of which there are no two alike."""
        named = {name: self.value(node) for name, node in pairs}
        expect(len(named) == len(pairs) and all(type(n) is str for n in named), "a name is none")
        return named

    def _make(self, k: int, kind: str, entry: list[Any]) -> None:
        """What can be changed is there before its contents, which may refer to it."""
        if kind == "list":
            shell: list[Any] = []
            self.made[k] = shell
            shell.extend(self._values(*entry))
        elif kind in ("dict", "ordered"):
            keys, values = entry
            table: Any = {} if kind == "dict" else OrderedDict()
            self.made[k] = table
            table.update(zip(self._keys(keys), self._values(values), strict=True))
        elif kind == "object":
            self._object(k, *entry)
        elif kind == "layer":
            self._layer(k, *entry)
        else:
            expect(type(kind) is str and kind in _MAKERS, "an object is of unknown kind")
            self.made[k] = _MAKERS[kind](self, *entry)

    def _object(self, k: int, name: Any, named: Any) -> None:
        cls: Any = known_types.type_called(name, self.trusted)
        expect(not issubclass(cls, (nn.Module, dict)), f"{cls.__name__} is stored in another way")
        self.made[k] = made = cls.__new__(cls)
        own = self._named(named)
        for key, value in own.items():
            known_types.check_attribute(cls, key)
            known_types.check_value(key, value)
        vars(made).update(own)

    def _layer(
        self,
        k: int,
        name: Any,
        parameters: Any,
        buffers: Any,
        parts: Any,
        kept: Any,
        training: Any,
        rest: Any,
    ) -> None:
        cls: Any = known_types.type_called(name, self.trusted)
        expect(issubclass(cls, nn.Module), "a layer is none")
        self.made[k] = made = cls.__new__(cls)
        nn.Module.__init__(made)
        fresh = set(vars(made))
        given = [
            (parameters, "_parameters", nn.Parameter),
            (buffers, "_buffers", torch.Tensor),
            (parts, "_modules", nn.Module),
        ]
        for pairs, where, kind in given:
            named = self._named(pairs)
            right = all(v is None or isinstance(v, kind) for v in named.values())
            expect(right and not any("." in n or not n for n in named), "a part of a layer is none")
            vars(made)[where].update(named)
        expect(type(training) is bool and isinstance(kept, list), "a layer's state is none")
        made.training = training
        vars(made)["_non_persistent_buffers_set"].update(set(made._buffers) - set(kept))
        for key, value in self._named(rest).items():
            own = key in fresh or hasattr(nn.Module, key) or key in nn.Module.__annotations__
            expect(not own, "an attribute of a layer is torch's own")
            known_types.check_attribute(cls, key)
            if cls.__module__.startswith("torch."):
                known_types.check_layer_value(key, value)
            vars(made)[key] = value

    def _recurrent(self, name: Any, settings: Any, parameters: Any, training: Any) -> nn.Module:
        expect(type(training) is bool, "a layer's state is none")
        made = recurrent.make(name, self._named(settings), self._named(parameters))
        return made.train(training)

    # --- simple kinds -------------------------------------------------------------------------

    def _class(self, name: Any) -> type:
        cls = known_types.type_called(name, self.trusted)
        expect(issubclass(cls, nn.Module), "a class is no layer")
        return cls

    def _bunch(self, name: Any, pairs: Any) -> Any:
        cls: Any = known_types.type_called(name, self.trusted)
        expect(issubclass(cls, dict), "a table of names is none")
        made = cls.__new__(cls)
        dict.update(made, self._named(pairs))
        return made

    def _own(self, name: Any, node: Any) -> Any:
        expect(name in HANDLERS, "an object is of unknown kind")
        return HANDLERS[name].from_state(self.value(node))

    def _array(self, name: Any, scalar: Any) -> Any:
        array = self.arrays[name]
        expect(not scalar or array.ndim == 0, "a number is an array")
        return array[()] if scalar else array

    def _floats(self, name: Any) -> list[float]:
        array = self.arrays[name]
        expect(array.dtype == np.float64 and array.ndim == 1, "a list of numbers is none")
        return array.tolist()

    def _items(self, shape: Any, dtype: Any, nodes: Any, scalar: Any) -> Any:
        """An array of text, or of objects."""
        expect(isinstance(shape, list) and len(shape) <= 32, "a shape is none")
        expect(all(type(n) is int and n >= 0 for n in shape), "a shape is none")
        expect(isinstance(nodes, list) and math.prod(shape) == len(nodes), "a shape is another")
        expect(max(shape, default=0) < 2**31, "a shape is none")
        kind = _dtype(dtype)
        expect(kind.kind in "OUS", "text is none")
        self._text += kind.itemsize * len(nodes)
        expect(self._text <= MAX_TEXT + 64 * len(self.entries), "text is too long")
        array = np.empty(len(nodes), dtype=object)
        array[:] = self._values(nodes)
        if kind.kind in "US":
            right = str if kind.kind == "U" else bytes
            expect(all(type(value) is right for value in array), "text is none")
        array = array.reshape(shape).astype(kind)
        expect(not scalar or array.ndim == 0, "a number is an array")
        return array[()] if scalar else array

    def _random_state(self, name: Any, pos: Any, has_gauss: Any, gauss: Any) -> Any:
        return random_state((self.arrays[name], pos, has_gauss, float.fromhex(gauss)))

    def _generator(self, device: Any, name: Any) -> torch.Generator:
        generator = torch.Generator(_device(device))
        state = self.arrays[name]
        expect(state.dtype == np.uint8 and state.ndim == 1, "a generator's state is none")
        generator.set_state(torch.from_numpy(state))  # which checks it, see tests/storage
        return generator

    def _tensor(self, name: Any, parameter: Any, requires_grad: Any, brain: Any) -> torch.Tensor:
        flags = (parameter, requires_grad, brain)
        expect(all(type(flag) is bool for flag in flags), "a tensor's state is none")
        tensor = torch.from_numpy(self.arrays[name])
        tensor = tensor.view(torch.bfloat16) if brain else tensor
        if parameter:
            return nn.Parameter(tensor, requires_grad=requires_grad)
        return tensor.requires_grad_(requires_grad)


def random_state(state: Any) -> np.random.RandomState:
    """NumPy's generator in a state: (keys, pos, has_gauss, cached_gaussian), which is checked.

    NumPy takes any position over, and reads beyond its keys.

    Raises
    ------
    CheckpointError
    """
    keys, pos, has_gauss, gauss = state
    keys = np.asarray(keys)
    right = (
        keys.shape == (624,)
        and keys.dtype == np.uint32
        and type(pos) is int
        and 0 <= pos <= 624
        and type(has_gauss) is int
        and has_gauss in (0, 1)
        and type(gauss) is float
        and math.isfinite(gauss)
    )
    expect(right, "the state of a random generator is none")
    made = np.random.RandomState()
    made.set_state(("MT19937", keys, pos, has_gauss, gauss))
    return made


def _dtype(text: Any) -> np.dtype[Any]:
    expect(isinstance(text, str) and _DTYPE.match(text), "a dtype is unknown")
    return np.dtype(text)


def _number_type(text: Any) -> type:
    if isinstance(text, str) and text in ABSTRACT:
        return ABSTRACT[text]
    expect(_dtype(text).kind in "biuf", "a type of numbers is none")
    return np.dtype(text).type


def _torch_dtype(text: Any) -> torch.dtype:
    expect(isinstance(text, str) and text in DTYPES, "a dtype is unknown")
    return DTYPES[text]


def _device(text: Any) -> torch.device:
    expect(isinstance(text, str) and DEVICE.match(text), "a device is unknown")
    return torch.device("cpu" if not torch.cuda.is_available() else text)


def _integer(text: Any) -> int:
    expect(isinstance(text, str) and len(text) < 4000, "a number is none")
    return int(text)


def _range(start: Any, stop: Any, step: Any) -> range:
    expect(all(type(n) is int and abs(n) < 2**53 for n in (start, stop, step)), "a range is none")
    return range(start, stop, step)


#: kind of an entry -> what makes the object of it
_MAKERS: dict[str, Any] = {
    "int": lambda _, text: _integer(text),
    "float": lambda _, text: float.fromhex(text),
    "complex": lambda _, text: complex(text),
    "bytes": lambda _, text: base64.b64decode(text, validate=True),
    "function": lambda _, name: FUNCTIONS[name],
    "dtype": lambda _, text: _dtype(text),
    "number type": lambda _, text: _number_type(text),
    "torch dtype": lambda _, text: _torch_dtype(text),
    "device": lambda _, text: _device(text),
    "array": _Decoder._array,
    "by columns": lambda decoder, name: decoder._array(name, False).T,
    "floats": _Decoder._floats,
    "random state": _Decoder._random_state,
    "generator": _Decoder._generator,
    "tensor": _Decoder._tensor,
    "recurrent": _Decoder._recurrent,
    "class": _Decoder._class,
    "tuple": lambda decoder, nodes: tuple(decoder._values(nodes)),
    "set": lambda decoder, nodes: set(decoder._keys(nodes)),
    "frozenset": lambda decoder, nodes: frozenset(decoder._keys(nodes)),
    "slice": lambda decoder, nodes: slice(*decoder._values(nodes)),
    "range": lambda decoder, nodes: _range(*decoder._values(nodes)),
    "items": _Decoder._items,
    "bunch": _Decoder._bunch,
    "own": _Decoder._own,
}
