"""One forward pass that goes on with several copies of its rows from some layer on."""

from typing import Any
from weakref import ref

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten, tree_unflatten
from torch.utils.weak import WeakTensorKeyDictionary

from sklflat.networks.one_channel import OneChannel
from sklflat.networks.tracing.operations import name_of
from sklflat.networks.tracing.tensors import named

#: what does not depend on the values
_QUESTIONS = named("""
    shape size dim ndim ndimension len numel nelement dtype device layout itemsize element_size
    requires_grad is_floating_point is_complex is_cuda is_sparse is_quantized is_nested is_meta
""")


class Widening(TorchFunctionMode):
    """While it is entered, rows from before some point are repeated where they meet copies of them.

    A network computes what comes before a layer once, and what comes after it for ``n_copies``
    copies of the batch. A residual stream carries rows around the layer: they are repeated where
    they are added to the copies, along the first axis along which these are ``n_copies`` times as
    long.
    Only what was computed from the input is repeated, weights never. Networks that keep the length
    of the batch as a number may fail or end in other outputs than with the copies from the start
    on, so what this is used for has to be compared.

    Copies that differ from the rows in one channel each need not be made: the network goes on with
    a tensor of their shape that holds NaN, in place of which their channels are computed as long as
    it does the same to every channel. See :class:`~sklflat.networks.one_channel.OneChannel`.

    Parameters
    ----------
    x : Tensor of shape (n, ...)
        The input, in one batch.
    n_copies : int

    Attributes
    ----------
    n_bytes : int
        Of the largest tensor that was made of copies, for one copy.

    Examples
    --------
    >>> import torch
    >>> from sklflat.networks.widened_batch import Widening
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
        self.n_bytes = 0
        self._rows: dict[int, ref[Tensor]] = {}
        self._wide: dict[int, ref[Tensor]] = {}
        #: in place of which copies a tensor stands; as a tensor, once they were needed
        self._standing: Any = WeakTensorKeyDictionary()
        self._note(x, self._rows)

    def begin(self, copies: Tensor) -> None:
        """What is computed from these copies (n_copies * n, ...) on is of copies."""
        self._note(copies, self._wide)
        self._measure(copies)

    def stand_in(self, copies: OneChannel) -> Tensor:
        """A tensor (n_copies * n, ...) in place of copies, of which the network goes on."""
        rows = copies.rows
        shape = self.n_copies * len(rows), *rows.shape[1:]
        t = rows.new_full((1,), torch.nan).expand(shape)
        self._standing[t] = copies
        self._measure(copies.changed)
        return t

    def joined(self, t: Tensor) -> Tensor:
        """The copies, where a tensor stands in place of some: the same from now on; else it."""
        copies = self._standing.get(t)
        if isinstance(copies, OneChannel):
            copies = self._standing[t] = copies.joined()
            self.begin(copies)
        return t if copies is None else copies

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Called by PyTorch in place of every function."""
        kwargs = kwargs or {}
        if name_of(func) in _QUESTIONS:
            return func(*args, **kwargs)
        if len(self._standing):
            copies = self._standing.get(args[0]) if args and isinstance(args[0], Tensor) else None
            if isinstance(copies, OneChannel):
                out = copies.through(func, args[1:], kwargs)
                if out is copies:
                    return args[0]
                if isinstance(out, OneChannel):
                    return self.stand_in(out)
                if out is not None:
                    self.begin(out)
                    return out
        return self._widened(func, args, kwargs)

    def _widened(self, func: Any, args: Any, kwargs: Any) -> Any:
        """What a function makes of rows and of copies."""
        given, shape = tree_flatten((args, kwargs))
        if len(self._standing):
            given = [self.joined(t) if isinstance(t, Tensor) else t for t in given]
            args, kwargs = tree_unflatten(given, shape)
        wide = next((t for t in given if self._knows(t, self._wide)), None)
        has_rows = any(self._knows(t, self._rows) for t in given)
        if wide is not None and has_rows:
            given = [self._like(wide, t) if self._knows(t, self._rows) else t for t in given]
            args, kwargs = tree_unflatten(given, shape)
        out = func(*args, **kwargs)
        if wide is not None or has_rows:
            known = self._rows if wide is None else self._wide
            for t in out if isinstance(out, (tuple, list)) else (out,):
                if isinstance(t, Tensor) and not self._knows(t, self._wide):
                    self._note(t, known)
                    if wide is not None:
                        self._measure(t)
        return out

    def _like(self, wide: Tensor, t: Tensor) -> Tensor:
        """Rows repeated as those that they meet; as they are, if they need not be."""
        for axis, (n, m) in enumerate(zip(t.shape, wide.shape, strict=False)):
            if n > 1 and m == n * self.n_copies:
                return torch.cat([t] * self.n_copies, dim=axis)
        return t

    def _measure(self, t: Tensor) -> None:
        self.n_bytes = max(self.n_bytes, t.numel() * t.element_size() // self.n_copies)

    @staticmethod
    def _note(t: Tensor, known: dict[int, "ref[Tensor]"]) -> None:
        known[id(t)] = ref(t)

    @staticmethod
    def _knows(t: Any, known: dict[int, "ref[Tensor]"]) -> bool:
        return isinstance(t, Tensor) and id(t) in known and known[id(t)]() is t
