"""A name for data and parameters that is the same in every process."""

import hashlib
import types
from typing import Any

import numpy as np
import torch


def fingerprint(*objects: Any) -> str:
    """A hash of parameters and data: equal for equal ones, whatever the process.

    Numbers of different types differ, as do 0.0 and -0.0; the order of dictionaries and sets does
    not matter. Estimators count by class and parameters, modules by class, layout and tensors,
    functions and classes of yours by byte code, bases and the globals that they read.

    Parameters
    ----------
    *objects : object
        None, numbers, strings, arrays, tensors, data frames, estimators, modules, functions,
        classes, and lists, tuples, sets and dictionaries of them.

    Returns
    -------
    key : str
        32 hexadecimal digits.

    Raises
    ------
    TypeError
        For an object whose contents are not known.

    Examples
    --------
    >>> from sklflat.storage import fingerprint
    >>> fingerprint({"a": 1, "b": 2.0}) == fingerprint({"b": 2.0, "a": 1})
    True
    >>> fingerprint(1) == fingerprint(1.0)
    False
    """
    return hashlib.blake2b(_bytes(objects, ()), digest_size=16).hexdigest()


def _bytes(value: Any, above: tuple[int, ...]) -> bytes:
    """Type and contents, with their lengths, so that no two values run together."""
    if id(value) in above:
        return b"cycle"
    above = (*above, id(value))
    kind, parts = _parts(value)
    items = [parts] if isinstance(parts, bytes) else [_bytes(part, above) for part in parts]
    if kind in ("dict", "set"):
        size = 2 if kind == "dict" else 1
        items = sorted(b"".join(items[i : i + size]) for i in range(0, len(items), size))
    body = b"".join(items)
    digest = hashlib.blake2b(body, digest_size=16).digest() if len(body) > 64 else body
    return f"{kind}:{len(digest)}:".encode() + digest


def _parts(value: Any) -> tuple[str, Any]:
    """A name for the kind of a value, and its bytes or the values that it is made of."""
    if value is None or isinstance(value, (bool, int)):
        return type(value).__name__, repr(value).encode()
    if isinstance(value, np.generic):
        return "array", _array(np.asarray(value))
    if isinstance(value, (float, complex)):
        return type(value).__name__, np.asarray(value).tobytes()
    if isinstance(value, str):
        return "str", value.encode("utf-8", "surrogatepass")
    if isinstance(value, (bytes, bytearray)):
        return "bytes", bytes(value)
    if isinstance(value, (list, tuple)):
        return type(value).__name__, list(value)
    if isinstance(value, (set, frozenset)):
        return "set", list(value)
    if isinstance(value, dict):
        return "dict", [part for pair in value.items() for part in pair]
    if isinstance(value, np.ndarray):
        if value.dtype == object:
            return "objects", [list(value.shape), value.ravel().tolist()]
        return "array", _array(value)
    if isinstance(value, torch.Tensor):
        bits = value.detach().cpu().contiguous()
        raw = bits.reshape(-1).view(torch.uint8).numpy().tobytes() if bits.numel() else b""
        return "tensor", [str(value.dtype), list(value.shape), raw]
    return _parts_of_object(value)


def _array(value: np.ndarray) -> bytes:
    return f"{value.dtype.str}{value.shape}".encode() + np.ascontiguousarray(value).tobytes()


def _parts_of_object(value: Any) -> tuple[str, Any]:
    name = f"{type(value).__module__}.{type(value).__qualname__}"
    if isinstance(value, np.random.RandomState):
        return "random state", [value.get_state(legacy=False)]
    if isinstance(value, (types.FunctionType, types.MethodType)):
        return "function", _function(value)
    if isinstance(value, property):
        return "property", [value.fget, value.fset]
    if isinstance(value, (staticmethod, classmethod)):
        return "method", [type(value).__name__, value.__func__]
    if isinstance(value, types.CodeType):
        return "code", _code(value)
    if isinstance(
        value, (types.BuiltinFunctionType, np.ufunc, torch.dtype, torch.device, np.dtype)
    ):
        return "name", [name, str(value)]
    if isinstance(value, type):
        own = {k: v for k, v in vars(value).items() if isinstance(v, (*_PLAIN, *_CODE))}
        bases = [] if _is_known(value) else [list(value.__bases__), own]
        return "class", [f"{value.__module__}.{value.__qualname__}", bases]
    if isinstance(value, torch.nn.Module):
        return "module", [type(value), repr(value), dict(value.state_dict())]
    if hasattr(value, "get_params"):
        return "estimator", [type(value), value.get_params(deep=False)]
    if hasattr(value, "func") and hasattr(value, "keywords"):  # functools.partial
        return "partial", [value.func, list(value.args), dict(value.keywords)]
    if hasattr(value, "tocsr"):
        csr = value.tocsr()
        return "sparse", [list(csr.shape), csr.indptr, csr.indices, csr.data]
    if hasattr(value, "to_numpy"):  # a column or a table
        columns = list(getattr(value, "columns", ()))
        return "frame", [name, columns, [str(d) for d in np.ravel(value.dtypes)], value.to_numpy()]
    raise TypeError(
        f"An object of class {name} has no fingerprint, so what depends on it cannot be kept in "
        "cache_dir. Use cache_dir=None, or give it get_params."
    )


_PLAIN = (bool, int, float, str, tuple, type(None))
_CODE = (types.FunctionType, property, staticmethod, classmethod)
_KNOWN = ("torch", "sklearn", "numpy", "scipy", "skorch", "pandas", "builtins", "sklflat")


def _is_known(value: Any) -> bool:
    """Whether the code of a function or class is a library's, which its name stands for."""
    return (getattr(value, "__module__", None) or "").split(".")[0] in _KNOWN


def _names(code: types.CodeType) -> list[str]:
    """Global names that a function may read, those of functions inside of it included."""
    inner = [c for c in code.co_consts if isinstance(c, types.CodeType)]
    return sorted({*code.co_names, *(name for c in inner for name in _names(c))})


def _globals(value: Any) -> dict[str, Any]:
    """Constants, functions and classes of the user's own that a function reads."""
    found = {n: value.__globals__[n] for n in _names(value.__code__) if n in value.__globals__}
    kinds = (*_PLAIN, types.FunctionType, type)
    return {n: v for n, v in found.items() if isinstance(v, kinds)}


def _function(value: Any) -> list[Any]:
    if _is_known(value):
        return [value.__module__, value.__qualname__]
    cells = [cell.cell_contents for cell in value.__closure__ or ()]
    bound = getattr(value, "__self__", None)
    value = getattr(value, "__func__", value)
    own = [value.__code__, value.__defaults__, value.__kwdefaults__, cells, _globals(value)]
    return [value.__module__, value.__qualname__, *own, bound]


def _code(value: types.CodeType) -> list[Any]:
    return [value.co_code, list(value.co_consts), list(value.co_names), list(value.co_varnames)]
