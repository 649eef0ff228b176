"""Copies of rows that differ from them in one channel each, kept as these channels."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sklflat.networks.tracing.operations import (
    BOUNDS,
    CONVOLUTIONS,
    ELEMENTWISE,
    NONLINEARITIES,
    POOLINGS,
    draws,
    name_of,
    works_in_place,
)

_ALONE = (ELEMENTWISE | NONLINEARITIES | BOUNDS) - {"glu"}
_SAME = frozenset({"clone", "contiguous", "to", "type", "float", "double", "detach"})
_OVER_POSITIONS = frozenset({"mean", "sum", "amax", "amin"})
_CONVOLUTION = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")


@dataclass(frozen=True)
class OneChannel:
    """Copies of rows, each of which has other values in one of the channels.

    Functions that work on every channel alone are computed for the rows and for the changed
    channels; a linear layer or a convolution that reads the copies is computed for the rows, and
    for every copy only what its channel changes.

    Parameters
    ----------
    rows : Tensor of shape (n, ..., n_channels, ...)
    changed : Tensor of shape (n, ..., n_copies, ...)
        The changed channel of every copy, in place of the channels.
    channels : Tensor of shape (n_copies,), int
        Which that is.
    axis : int
        Of the channels.

    Examples
    --------
    >>> import torch
    >>> from sklflat.networks.one_channel import OneChannel
    >>> rows = torch.tensor([[1.0, 2.0, 3.0]])
    >>> copies = OneChannel(rows, torch.tensor([[0.0, 9.0]]), torch.tensor([0, 2]), axis=1)
    >>> copies.joined()
    tensor([[0., 2., 3.],
            [1., 2., 9.]])
    >>> copies.through(torch.square, (), {}).joined()
    tensor([[ 0.,  4.,  9.],
            [ 1.,  4., 81.]])
    """

    rows: Tensor
    changed: Tensor
    channels: Tensor
    axis: int

    def joined(self) -> Tensor:
        """All copies (n_copies * n, ..., n_channels, ...), one after the other."""
        n_copies = len(self.channels)
        copies = torch.cat([self.rows] * n_copies).unflatten(0, (n_copies, -1))
        each = torch.arange(n_copies, device=copies.device)
        values = self.changed.movedim(self.axis, 0)
        copies.movedim(self.axis + 1, 2)[each, :, self.channels] = values
        return copies.flatten(0, 1)

    def through(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What a function makes of the copies, as `OneChannel` or Tensor.

        Parameters
        ----------
        func : callable
            A function of torch.
        args, kwargs
            What it is called with behind the copies.

        Returns
        -------
        OneChannel, Tensor or None
            These copies themselves, if the function returns its argument. ``None`` if it is not
            known to do the same to every channel, or returns a view, into which may be written.
        """
        name = name_of(func)
        if works_in_place(func, kwargs) or draws(name, kwargs):
            return None
        if name == "linear":
            return self._linear(func, *args, **kwargs)
        if name == "batch_norm":
            return self._normalised(func, args, kwargs)
        if name in CONVOLUTIONS and "transpose" not in name:
            return self._convolved(func, dict(zip(_CONVOLUTION[1:], args, strict=False)) | kwargs)
        if any(isinstance(v, Tensor) for v in (*args, *kwargs.values())):
            return None
        if not self._is_alone(name, args, kwargs):
            return None
        return self._each(lambda x: func(x, *args, **kwargs))

    def _is_alone(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        """Whether a function works on every channel as on all others, and on it alone."""
        n_behind = self.rows.ndim - 1 - self.axis  # axes of positions that follow the channels
        if name in _ALONE:
            return not any(v is True for v in args)  # may mean: in place
        if name in POOLINGS:
            return (int(name[-2]) if name[-1] == "d" else self.rows.ndim - 2) <= n_behind
        if name == "pad":
            return len(args[0] if args else kwargs["pad"]) <= 2 * n_behind
        if name in _OVER_POSITIONS:
            axes = args[0] if args else kwargs.get("dim")
            axes = axes if isinstance(axes, (list, tuple)) else [axes]
            known = bool(axes) and all(isinstance(axis, int) for axis in axes)
            return known and all(axis % self.rows.ndim > self.axis for axis in axes)
        return name in _SAME

    @property
    def _n(self) -> int:
        return self.rows.shape[self.axis]

    def _each(self, function: Callable[[Tensor], Any]) -> "OneChannel | None":
        """Copies of which a function has made others of the same channels."""
        rows = function(self.rows)
        if rows is self.rows:
            return self
        if not isinstance(rows, Tensor) or not rows.is_floating_point():
            return None
        if rows.untyped_storage().data_ptr() == self.rows.untyped_storage().data_ptr():
            return None
        changed = function(self.changed)
        kept = rows.ndim > self.axis and rows.shape[self.axis] == self._n
        if not kept or changed.shape[self.axis] != len(self.channels):
            return None
        return OneChannel(rows, changed, self.channels, self.axis)

    def _normalised(self, func: Any, args: Any, kwargs: dict[str, Any]) -> "OneChannel | None":
        """By the statistics of the training, of which every channel has its own."""
        if self.axis != 1 or kwargs.get("training") or len(args) > 4 or args[:1] in ((), (None,)):
            return None
        own = lambda v: v[self.channels] if isinstance(v, Tensor) else v  # noqa: E731
        rows = func(self.rows, *args, **kwargs)
        its = {key: own(v) for key, v in kwargs.items()}
        changed = func(self.changed, *(own(v) for v in args), **its)
        return OneChannel(rows, changed, self.channels, self.axis)

    def _convolved(self, func: Any, given: dict[str, Any]) -> "OneChannel | Tensor | None":
        weight, groups = given["weight"], given.get("groups", 1)
        positions = self.rows.ndim - 2
        if self.axis != 1 or weight.ndim != positions + 2:
            return None
        if groups == self._n == len(weight):  # every channel has a filter of its own
            own = {k: v[self.channels] if isinstance(v, Tensor) else v for k, v in given.items()}
            own["groups"] = len(self.channels)
            rows, changed = func(self.rows, **given), func(self.changed, **own)
            return OneChannel(rows, changed, self.channels, self.axis)
        if groups != 1:
            return None
        changes = self.changed - self.rows[:, self.channels]
        if not bool(changes.isfinite().all()):
            return None
        out = func(self.rows, **given)
        copies = out.new_empty((len(self.channels), *out.shape))
        for i, channel in enumerate(self.channels.tolist()):
            filters = {"weight": weight[:, channel : channel + 1], "bias": None}
            copies[i] = out + func(changes[:, i : i + 1], **(given | filters))
        return copies.flatten(0, 1)

    def _linear(self, func: Any, weight: Tensor, bias: Tensor | None = None) -> Tensor | None:
        if self.axis != self.rows.ndim - 1 or weight.ndim != 2:
            return None
        change = (self.changed - self.rows[..., self.channels]).movedim(-1, 0)
        if not bool(change.isfinite().all()):
            return None
        out = func(self.rows, weight, bias)
        columns = weight.T[self.channels]
        shape = len(columns), *(1,) * (out.ndim - 1), columns.shape[1]
        return torch.addcmul(out, change[..., None], columns.view(shape)).flatten(0, 1)
