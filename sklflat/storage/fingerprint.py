"""Keys: hashes of data, parameters and code that are the same in every process."""

import hashlib
import types
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch

from sklflat.storage import code, values
from sklflat.storage.libraries import name_of
from sklflat.storage.outside import UnkeyableError
from sklflat.storage.shared_memory import Overlaps


def fingerprint(*objects: Any, given: Sequence[Any] = ()) -> str:
    """A hash of parameters, data and code: equal for equal ones, whatever the process.

    Numbers of different types differ, as do 0.0 and -0.0; the order of dictionaries matters.
    Objects count by their class and all their attributes (modules also by buffers, hooks and what
    can be trained), functions and classes by their code and everything that it reads: globals,
    attributes of modules, closures, defaults. What a library defines counts by its name and the
    library's version.

    Parameters
    ----------
    *objects : object
        None, numbers, strings, arrays, tensors, data frames, functions, classes, instances, and
        lists, tuples, sets and dictionaries of them.
    given : sequence of object, default=()
        Objects that count by their place in this sequence, not by what they hold.

    Returns
    -------
    key : str
        32 hexadecimal digits.

    Raises
    ------
    TypeError
        For what is not understood, so that nothing is taken for something else: objects whose
        contents are not known, such as files, locks and generators, and code that reads what no
        object holds, such as ``eval`` or ``open``. Says where it was found.

    Examples
    --------
    >>> from sklflat.storage import fingerprint
    >>> fingerprint({"a": 1, "b": 2.0}) == fingerprint({"a": 1, "b": 2.0})
    True
    >>> fingerprint(1) == fingerprint(1.0)
    False
    """
    try:
        return _Hash(given).of(list(objects)).hex()
    except RecursionError:
        raise UnkeyableError("something nested too deep") from None


def _digest(kind: str, parts: Iterable[Any]) -> bytes:
    """A hash of a kind and of bytes, with their lengths, so that no two run together."""
    found = hashlib.blake2b(kind.encode(), digest_size=16)
    for part in parts:
        found.update(b":%d:" % len(part))
        found.update(part)
    return found.digest()


class _Hash:
    """Hashes objects that may refer to each other.

    Objects that can change are numbered when they are met, and met again they are their number:
    tied weights differ from equal ones, and cycles end. Arrays count by the memory that they share.
    """

    def __init__(self, given: Sequence[Any] = ()) -> None:
        self._numbers = {id(value): n for n, value in enumerate(given)}
        self._alive = list(given)  # so that no id is used twice
        self._definitions: dict[int, bytes] = {}
        self._memory = Overlaps()

    def of(self, value: Any) -> bytes:
        """The hash of one object."""
        kind = type(value)
        if kind in values.SCALARS:
            return _digest(kind.__name__, [values.SCALARS[kind](value)])
        if kind is tuple:
            return self._items("tuple", value)
        if kind in (set, frozenset):  # without an order, so elements are hashed apart
            return _digest(kind.__name__, sorted(_Hash().of(element) for element in value))
        if isinstance(value, (types.FunctionType, type)):
            return self._definition(value)
        if id(value) in self._numbers:
            return _digest("again", [b"%d" % self._numbers[id(value)]])
        self._numbers[id(value)] = len(self._numbers)
        self._alive.append(value)
        if isinstance(value, np.ndarray):
            return self._array(value)
        if isinstance(value, torch.Tensor):
            return self._tensor(value)
        name, parts = values.taken_apart(value)
        if name == "frame":  # its columns may lie in one memory or not
            return _Hash()._items(name, parts)
        return self._named(name, parts) if isinstance(parts, dict) else self._items(name, parts)

    def _items(self, kind: str, items: Iterable[Any]) -> bytes:
        """Of values in their order; an error says which of them it is in."""
        return _digest(kind, [self._part(value, f"[{i}]") for i, value in enumerate(items)])

    def _named(self, kind: str, named: dict[str, Any]) -> bytes:
        """Of values with names, in their order."""
        found = []
        for name, value in named.items():
            found += [name.encode("utf-8", "surrogatepass"), self._part(value, f".{name}")]
        return _digest(kind, found)

    def _part(self, value: Any, where: str) -> bytes:
        try:
            return self.of(value)
        except UnkeyableError as error:
            raise error.inside(where) from None
        except RecursionError:
            raise
        except Exception as error:  # whatever a user's object does when it is looked at
            what = f"something that cannot be looked at ({type(error).__name__}: {str(error)[:80]})"
            raise UnkeyableError(what, where) from error

    def _definition(self, value: Any) -> bytes:
        """Of a function or a class; inside of itself it is its name."""
        name = name_of(value)
        if id(value) not in self._definitions:
            self._alive.append(value)
            number = b"%d" % len(self._definitions)
            self._definitions[id(value)] = _digest("inside", [name.encode(), number])
            self._definitions[id(value)] = self._named(name, code.contents(value))
        return self._definitions[id(value)]

    def _array(self, value: np.ndarray) -> bytes:
        dtype = value.dtype
        if dtype.hasobject and dtype.fields:
            raise UnkeyableError("an array of records that hold objects")
        head: list[Any] = [str(dtype.descr if dtype.fields else dtype.str), list(value.shape)]
        address, steps = value.__array_interface__["data"][0], value.strides
        head += [_order(value.shape, steps)]
        head += [self._memory.place(address, value.shape, steps, value.itemsize)]
        if type(value) not in (np.ndarray, np.memmap):
            head += [type(value), values.attributes(value)]
        if dtype.hasobject:
            content: Any = self._items("objects", value.ravel().tolist())
        else:
            plain = np.ascontiguousarray(value).view(np.ndarray).reshape(-1)
            content = plain.view(np.uint8).data if plain.size else b""
        return _digest("array", [self._items("head", head), content])

    def _tensor(self, value: torch.Tensor) -> bytes:
        if value.layout is not torch.strided or value.is_quantized or value.is_meta:
            raise UnkeyableError("a tensor that is not dense")
        if value._backward_hooks or getattr(value, "_post_accumulate_grad_hooks", None):
            raise UnkeyableError("a tensor with hooks")
        plain = value.detach().cpu().resolve_conj().resolve_neg().contiguous().reshape(-1)
        content = plain.view(torch.uint8).numpy().data if plain.numel() else b""
        head = [type(value), value.dtype, list(value.shape), value.device.type]
        steps = [n * value.itemsize for n in value.stride()]
        head += [_order(value.shape, steps)]
        head += [self._memory.place(value.data_ptr(), value.shape, steps, value.itemsize)]
        head += [value.requires_grad, value.grad if value.is_leaf else None]
        head += [values.attributes(value)]
        return _digest("tensor", [self._items("head", head), content])


def _order(shape: Iterable[int], strides: Iterable[int]) -> list[int]:
    """How far apart the elements lie along each axis that has two."""
    return [step if n > 1 else 0 for n, step in zip(shape, strides, strict=True)]
