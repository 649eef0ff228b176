"""One forward pass that goes on with several copies of its rows from some layer on."""

from typing import Any
from weakref import ref

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten, tree_unflatten


class Widening(TorchFunctionMode):
    """While it is entered, rows from before some point are repeated where they meet copies of them.

    A network computes what comes before a layer once, and what comes after it for ``n_copies``
    copies of the batch. A residual stream carries rows around the layer: they are repeated where
    they are added to the copies, along the first axis along which these are ``n_copies`` times as
    long.
    Only what was computed from the input is repeated, weights never. Networks that keep the length
    of the batch as a number may fail or end in other outputs than with the copies from the start
    on, so what this is used for has to be compared.

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
        self._note(x, self._rows)

    def begin(self, copies: Tensor) -> None:
        """What is computed from these (n_copies * n, ...) on is of copies."""
        self._note(copies, self._wide)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Called by PyTorch in place of every function."""
        given, shape = tree_flatten((args, kwargs or {}))
        wide = next((t for t in given if self._knows(t, self._wide)), None)
        has_rows = any(self._knows(t, self._rows) for t in given)
        if wide is not None and has_rows:
            given = [self._like(wide, t) if self._knows(t, self._rows) else t for t in given]
            args, kwargs = tree_unflatten(given, shape)
        out = func(*args, **(kwargs or {}))
        if wide is not None or has_rows:
            known = self._rows if wide is None else self._wide
            for t in out if isinstance(out, (tuple, list)) else (out,):
                if isinstance(t, Tensor) and not self._knows(t, self._wide):
                    self._note(t, known)
        return out

    def _like(self, wide: Tensor, t: Tensor) -> Tensor:
        """Rows repeated as those that they meet; as they are, if they need not be."""
        for axis, (n, m) in enumerate(zip(t.shape, wide.shape, strict=False)):
            if n > 1 and m == n * self.n_copies:
                return torch.cat([t] * self.n_copies, dim=axis)
        return t

    @staticmethod
    def _note(t: Tensor, known: dict[int, "ref[Tensor]"]) -> None:
        known[id(t)] = ref(t)

    @staticmethod
    def _knows(t: Any, known: dict[int, "ref[Tensor]"]) -> bool:
        return isinstance(t, Tensor) and id(t) in known and known[id(t)]() is t
