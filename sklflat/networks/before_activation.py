"""Logits that a network takes the softmax or the sigmoid of, as they are before it."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from sklflat.networks.network import Network
from sklflat.networks.outputs import LogOdds, LogProbabilities
from sklflat.networks.same_outputs import same_outputs

#: names of functions and methods that each of them is called by
_NAMES = {
    "softmax": {"softmax", "special_softmax"},
    "sigmoid": {"sigmoid", "sigmoid_", "special_expit"},
}
#: what may follow: it changes shapes, and asks for properties, but no values
_FOLLOWS = {
    *("__get__", "size", "dim", "numel", "view", "reshape", "flatten", "squeeze", "unsqueeze"),
    *("contiguous", "clone", "t", "transpose", "permute"),
}


class _Skipping(TorchFunctionMode):
    """While it is entered, counts the calls of a function, and leaves one of them out.

    ``after`` are the names of what was called since the last of them.
    """

    def __init__(self, kind: str, number: int | None = None) -> None:
        super().__init__()
        self.kind, self.number, self.count = kind, number, 0
        self.after: list[str] = []

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Called by PyTorch in place of every operation."""
        kwargs, name = kwargs or {}, getattr(func, "__name__", "")
        if name in _NAMES[self.kind]:
            self.count, self.after = self.count + 1, []
            if self.count == self.number:
                return args[0] if args else kwargs["input"]
        else:
            self.after.append(name)
        return func(*args, **kwargs)


class BeforeActivation(nn.Module):
    """A module that ends in a softmax or a sigmoid, ending in logits before it.

    The logarithms of its outputs are logits, too, but not where a probability is rounded to 0 or 1.
    Those of a softmax are log-probabilities, as NLLLoss needs them.

    Parameters
    ----------
    wrapped : LogProbabilities or LogOdds
        The module, ending in the logits of its outputs.
    number : int
        Which call of the softmax or the sigmoid in a forward pass is the last.

    Attributes
    ----------
    kind : {"softmax", "sigmoid"}

    Examples
    --------
    >>> import torch
    >>> from sklflat.networks.before_activation import BeforeActivation
    >>> from sklflat.networks.outputs import LogOdds
    >>> BeforeActivation(LogOdds(torch.nn.Sigmoid()), 1)(torch.tensor([[1000.0]]))
    tensor([[1000.]])
    """

    def __init__(self, wrapped: LogProbabilities | LogOdds, number: int) -> None:
        super().__init__()
        self.wrapped, self.number = wrapped, number
        self.kind = "softmax" if isinstance(wrapped, LogProbabilities) else "sigmoid"

    def forward(self, X: Tensor) -> Any:
        """Logits of X (n, ...) from before the activation, in the shape of the module's outputs.

        Where it is called another number of times for these rows, as by a module that goes through
        them in parts, it is not known which is the last: then these are logits of its outputs.
        """
        with _Skipping(self.kind, self.number) as skipping:
            z = self.wrapped.module(X)
        if skipping.count != self.number:
            return self.wrapped(X)
        return z.log_softmax(-1) if self.kind == "softmax" else z


def settle_before_activation(network: Network, x: Tensor) -> None:
    """Let a network of probabilities end before its last activation, by the first data x (n, ...).

    The module is replaced in place, once; others are left as they are.
    """
    if "activation" not in network.verified and len(x):
        network.module = before_activation(network.module, network.prepare(x))
        network.verified.add("activation")


@torch.no_grad()
def before_activation(wrapped: nn.Module, x: Tensor) -> nn.Module:
    """A module that ends before its last activation, where that is all that follows.

    Parameters
    ----------
    wrapped : torch.nn.Module
        Others than :class:`LogProbabilities` and :class:`LogOdds` are returned as they are, and so
        are these, if what follows is more, as a clip is.
    x : Tensor of shape (n, ...)
        The rows that this is compared on.
    """
    if not isinstance(wrapped, (LogProbabilities, LogOdds)):
        return wrapped
    found = BeforeActivation(wrapped, 0)
    with _Skipping(found.kind) as counting:
        p = wrapped.module(x.clone())
    found.number = counting.count
    if not counting.count or not _FOLLOWS.issuperset(counting.after):
        return wrapped  # such as a clip, which these rows need not reach
    z = found(x.clone())
    again = z.sigmoid() if found.kind == "sigmoid" else z.softmax(-1)
    return found if same_outputs(again, p) else wrapped
