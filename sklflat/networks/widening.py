"""One forward pass that goes on with several copies of its rows from some layer on."""

from typing import Any
from weakref import ref

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten, tree_unflatten

#: functions that may return a tensor as it is
_ALIASES = (Tensor.movedim, Tensor.to)


class Widening(TorchFunctionMode):
    """While it is entered, rows from before some point are repeated where they meet copies of them.

    A network computes what comes before a layer once, and what comes after it for ``n_copies``
    copies of the batch. A residual stream carries rows around the layer: they are repeated where
    they are added to the copies, along the first axis along which these are ``n_copies`` times as
    long.
    Only what was computed from the input is repeated, weights never. Networks that keep the length
    of the batch as a number may fail or end in other outputs than with the copies from the start
    on, so what this is used for has to be compared.

    Where copies differ from the rows in one channel each, a linear layer that reads them is
    computed once, and gets what that channel changes: a product of two vectors a copy.

    Parameters
    ----------
    x : Tensor of shape (n, ...)
        The input, in one batch.
    n_copies : int

    Examples
    --------
    >>> import torch
    >>> from sklflat.networks.widening import Widening
    >>> x = torch.tensor([[1.0], [2.0]])
    >>> with Widening(x, 2) as widening:
    ...     copies = torch.cat([x, 10 * x])  # what comes after some layer
    ...     widening.begin(copies)
    ...     (copies + x).flatten()
    tensor([ 2.,  4., 11., 22.])
    """

    def __init__(self, x: Tensor, n_copies: int) -> None:
        super().__init__()
        self.n_copies = n_copies
        self._rows: dict[int, ref[Tensor]] = {}
        self._wide: dict[int, ref[Tensor]] = {}
        #: with the version of their data, as a network may work on them in place
        self._changed: dict[int, tuple[ref[Tensor], int]] = {}
        self._rows_and_change: tuple[Tensor, Tensor, Tensor] | None = None
        self._note(x, self._rows)

    def begin(
        self, copies: Tensor, rows: Tensor | None = None, channels: Tensor | None = None
    ) -> None:
        """What is computed from these copies on is of copies.

        Parameters
        ----------
        copies : Tensor of shape (n_copies * n, n_channels, ...)
        rows : Tensor of shape (n, n_channels, ...), default=None
            What they are copies of, if they differ from it in one channel each.
        channels : Tensor of shape (n_copies,), int, default=None
            These channels.
        """
        self._note(copies, self._wide)
        if rows is not None and channels is not None and rows.ndim == 2:
            own = copies.unflatten(0, (self.n_copies, -1))
            each = torch.arange(self.n_copies, device=copies.device)
            self._rows_and_change = rows, channels, own[each, :, channels] - rows[:, channels].T
            self._note_changed(copies)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Called by PyTorch in place of every function."""
        given, shape = tree_flatten((args, kwargs or {}))
        wide = next((t for t in given if self._knows(t, self._wide)), None)
        has_rows = any(self._knows(t, self._rows) for t in given)
        if wide is not None and has_rows:
            given = [self._like(wide, t) if self._knows(t, self._rows) else t for t in given]
            args, kwargs = tree_unflatten(given, shape)
        is_changed = wide is not None and self._is_changed(wide)
        if is_changed and func is torch.nn.functional.linear and args[0] is wide:
            out = self._linear(*args[1:], **(kwargs or {}))
        else:
            out = func(*args, **(kwargs or {}))
        if is_changed and wide is not None and _is_copy(func, wide, out):
            self._note_changed(out)
        if wide is not None or has_rows:
            known = self._rows if wide is None else self._wide
            for t in out if isinstance(out, (tuple, list)) else (out,):
                if isinstance(t, Tensor) and not self._knows(t, self._wide):
                    self._note(t, known)
        return out

    def _linear(self, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """A linear layer of copies that differ from the rows in one channel each."""
        assert self._rows_and_change is not None
        rows, channels, change = self._rows_and_change
        out = torch.nn.functional.linear(rows, weight, bias)
        columns = weight.T[channels]
        return torch.addcmul(out, change[:, :, None], columns[:, None, :]).flatten(0, 1)

    def _like(self, wide: Tensor, t: Tensor) -> Tensor:
        """Rows repeated as those that they meet; as they are, if they need not be."""
        for axis, (n, m) in enumerate(zip(t.shape, wide.shape, strict=False)):
            if n > 1 and m == n * self.n_copies:
                return torch.cat([t] * self.n_copies, dim=axis)
        return t

    def _note_changed(self, t: Tensor) -> None:
        self._changed[id(t)] = ref(t), t._version

    def _is_changed(self, t: Tensor) -> bool:
        """Whether these are still the copies that differ in one channel each."""
        known, version = self._changed.get(id(t), (None, 0))
        return known is not None and known() is t and t._version == version

    @staticmethod
    def _note(t: Tensor, known: dict[int, "ref[Tensor]"]) -> None:
        known[id(t)] = ref(t)

    @staticmethod
    def _knows(t: Any, known: dict[int, "ref[Tensor]"]) -> bool:
        return isinstance(t, Tensor) and id(t) in known and known[id(t)]() is t


def _is_copy(func: Any, x: Tensor, out: Any) -> bool:
    """Whether a function has returned a tensor (n, n_channels) itself, or a copy of it."""
    if not isinstance(out, Tensor) or out.shape != x.shape or x.ndim != 2 or out.dtype != x.dtype:
        return False
    is_alias = out.data_ptr() == x.data_ptr() and out.stride() == x.stride()
    return func is Tensor.clone or (is_alias and func in _ALIASES)
