"""Functions of torch that come down to one operation of the dispatcher, with less way to it."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode

#: what was found, by operation and types of arguments
_KNOWN: dict[Any, Callable[..., Any] | None] = {}


def direct_call(func: OpOverload, args: Any, kwargs: Any, out: Any) -> Callable[..., Any] | None:
    """The function of torch that makes just this call of an operation; None if there is none.

    An overload finds its arguments' types by a schema, which takes two microseconds more than the
    functions that users call. These choose among overloads themselves, so what they choose is
    looked at: it has to be this operation with these arguments, and no other.

    Parameters
    ----------
    func : OpOverload
        That changes none of its arguments, and draws no random numbers.
    args, kwargs
        Of the call.
    out
        What it returned.

    Examples
    --------
    >>> import torch
    >>> from sklflat.training.engine.direct_calls import direct_call
    >>> a, add = torch.ones(2), torch.ops.aten.add
    >>> direct_call(add.Tensor, (a, a), {"alpha": 2}, 3 * a) is torch.add
    True
    >>> direct_call(add.Scalar, (a, 1), {}, 2 * a)  # torch.add makes a tensor of the number
    """
    kind = func, _kinds(args), _kinds(kwargs)
    if kind not in _KNOWN:
        _KNOWN[kind] = _found(func, args, kwargs, out)
    return _KNOWN[kind]


def _found(func: OpOverload, args: Any, kwargs: Any, out: Any) -> Callable[..., Any] | None:
    name = func._schema.name.removeprefix("aten::")
    if func._schema.is_mutable or not func._schema.name.startswith("aten::"):
        return None
    for owner in (torch._C._VariableFunctions, Tensor):
        candidate = getattr(owner, name, None)
        if candidate is not None and _makes_just(candidate, func, args, kwargs, out):
            return candidate
    return None


def _kinds(value: Any) -> Any:
    """What of arguments a function of torch chooses an overload by: their types."""
    if isinstance(value, (list, tuple)):
        return type(value), *map(_kinds, value)
    if isinstance(value, dict):
        return tuple((key, _kinds(item)) for key, item in value.items())
    if isinstance(value, Tensor):  # one without dimensions may pass for a number
        return type(value), value.ndim == 0, value.dtype
    return type(value)


def _makes_just(candidate: Any, func: OpOverload, args: Any, kwargs: Any, out: Any) -> bool:
    with torch.no_grad(), _Watch(out) as watch:
        try:
            candidate(*args, **kwargs)
        except (TypeError, RuntimeError):  # it takes other arguments
            return False
    return len(watch.calls) == 1 and _is_same(watch.calls[0], (func, args, kwargs))


class _Watch(TorchDispatchMode):
    """Notes operations, and answers them with what is known, in place of computing it."""

    def __init__(self, out: Any) -> None:
        super().__init__()
        self.out = out
        self.calls: list[Any] = []

    def __torch_dispatch__(
        self, func: OpOverload, types: object, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        self.calls.append((func, args, kwargs))
        return func(*args, **kwargs) if func.is_view else self.out  # views have to be new


def _is_same(a: Any, b: Any) -> bool:
    """Whether two nested arguments are equal, and their tensors and operations the same."""
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return len(a) == len(b) and all(map(_is_same, a, b))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_is_same(a[key], b[key]) for key in a)
    if isinstance(a, (Tensor, OpOverload)) or isinstance(b, (Tensor, OpOverload)):
        return a is b
    return type(a) is type(b) and bool(a == b)
