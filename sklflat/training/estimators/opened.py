"""Small networks are opened once for many predictions, as long as nothing of them has changed."""

from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from sklflat.networks import Network

#: numbers in tensors up to which comparing them costs less than opening the network again
_MOST = 50_000
#: of an nn.Module, looked into beside its own attributes
_PARTS = ("_parameters", "_buffers", "_modules")
#: kinds of attributes that are not changed in place, and tensors, whose values are compared
_PLAIN = (Tensor, bool, int, float, str, type(None), torch.dtype, torch.device, torch.Size)

_OPENED: WeakKeyDictionary[Any, tuple[list[Any], Network]] = WeakKeyDictionary()


def opened(owner: Any, parts: tuple[Any, ...], open_network: Callable[[], Network]) -> Network:
    """The network of ``open_network()``; the same one while the parts are what they were.

    It is shared, and must not be changed. Copying a module costs several times what one row costs
    to predict.

    Parameters
    ----------
    owner : object
        Whose network it is; it is forgotten with it.
    parts : tuple
        All that the network depends on: modules, whose tensors are compared value by value, and
        other objects, which are compared by identity.
    open_network : callable
    """
    now = _state(parts)
    if now is None:
        return open_network()
    before, network = _OPENED.get(owner, (None, None))
    if network is None or before is None or not _is_same(before, now):
        network = open_network()
        _OPENED[owner] = [x.detach().clone() if isinstance(x, Tensor) else x for x in now], network
    return network


def _state(parts: tuple[Any, ...]) -> list[Any] | None:
    """What parts consist of, one by one; None if it is too much, or could change unseen."""
    state: list[Any] = list(parts)
    for whole in parts:
        for part in whole.modules() if isinstance(whole, nn.Module) else ():
            for name, value in vars(part).items():
                if name in _PARTS:
                    state += [len(value), *value.values()]
                elif isinstance(value, _PLAIN) or (
                    type(value) is tuple and all(isinstance(v, _PLAIN) for v in value)
                ):
                    state.append(value)
                elif not (isinstance(value, (dict, set, list)) and not value):
                    return None  # hooks, and whatever can be changed in place
    n_numbers = sum(value.numel() for value in state if isinstance(value, Tensor))
    return None if n_numbers > _MOST else state


def _is_same(before: list[Any], now: list[Any]) -> bool:
    return len(before) == len(now) and all(
        torch.equal(a, b) if isinstance(a, Tensor) and isinstance(b, Tensor) else a is b
        for a, b in zip(before, now, strict=True)
    )
