"""What outputs mean: logits, or probabilities, which become logits."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from sklflat.exceptions import UnsupportedNetworkError

#: last operations of a network that ends in probabilities, and what these are
_ENDS = {"_softmax": "softmax", "sigmoid": "sigmoid", "sigmoid_": "sigmoid"}

#: operations after which probabilities are still these
_KEEPS = {"clone", "_to_copy", "clamp", "clamp_", "clamp_min", "clamp_max", "squeeze", "cat"}

#: how far sums of probabilities may be from 1
_ROUNDING = 1e-4

#: rows on which it is settled what outputs mean
N_SETTLED = 64

#: outputs of as many rows that are all in [0, 1] and as far apart are no logits of two classes
_N_ROWS, _SPREAD = 10, 0.5


class LogProbabilities(nn.Module):
    """A module that ends in probabilities of exclusive classes, ending in their logarithms.

    These are logits of the same probabilities.

    Parameters
    ----------
    module : torch.nn.Module

    Examples
    --------
    >>> import torch
    >>> from sklflat.networks.outputs import LogProbabilities
    >>> module = torch.nn.Softmax(1)
    >>> LogProbabilities(module)(torch.zeros(1, 2)).softmax(1)
    tensor([[0.5000, 0.5000]])
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, X: Tensor) -> Tensor:
        """Logarithms of the module's outputs (n, k)."""
        return log_of(self.module(X))


class LogOdds(nn.Module):
    """A module that ends in probabilities of one class each, ending in their logits.

    Parameters
    ----------
    module : torch.nn.Module

    Examples
    --------
    >>> import torch
    >>> from sklflat.networks.outputs import LogOdds
    >>> LogOdds(torch.nn.Sigmoid())(torch.tensor([[3.0]]))
    tensor([[3.0000]])
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, X: Tensor) -> Tensor:
        """``log(p / (1 - p))`` of the module's outputs."""
        return log_odds_of(self.module(X))


def log_of(p: Tensor) -> Tensor:
    """The logarithm of probabilities; of 0, that of the smallest number."""
    return p.clamp_min(torch.finfo(p.dtype).tiny).log()


def log_odds_of(p: Tensor) -> Tensor:
    """``log(p / (1 - p))`` of probabilities; of 0 and 1, those of the numbers next to them."""
    largest = 1 - torch.finfo(p.dtype).eps / 2
    return log_of(p) - torch.log1p(-p.clamp_max(largest))


def in_log_odds(module: nn.Module, criterion: nn.BCELoss) -> tuple[nn.Module, nn.Module]:
    """A module of probabilities under ``BCELoss`` as one of logits, with the same loss."""
    weight, reduction = criterion.weight, criterion.reduction
    return LogOdds(module), nn.BCEWithLogitsLoss(weight, reduction=reduction)


class OfProbabilities(nn.Module):
    """A criterion of probabilities, as one of their logarithms or log-odds: the same loss.

    Parameters
    ----------
    own : torch.nn.Module
    of_odds : bool, default=False
        Whether it is called with log-odds.
    """

    def __init__(self, own: nn.Module, of_odds: bool = False) -> None:
        super().__init__()
        self.own = own
        self.of_odds = of_odds

    def __getattr__(self, name: str) -> Any:
        if name == "reduction":  # there, if the criterion has one
            return self.own.reduction
        return super().__getattr__(name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "reduction":
            self.own.reduction = value
        else:
            super().__setattr__(name, value)

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        """The criterion's own value at the probabilities of z."""
        return self.own(z.sigmoid() if self.of_odds else z.exp(), y)


class _LastOperation(TorchDispatchMode):
    """Remembers which operation has written each tensor last."""

    def __enter__(self) -> "_LastOperation":
        self.wrote: dict[int, str] = {}
        self.alive: list[Tensor] = []  # or another tensor may get the address of one
        return super().__enter__()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Called by PyTorch in place of every operation."""
        out = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        for t in out if isinstance(out, (tuple, list)) else (out,):
            if not isinstance(t, Tensor) or func.is_view:
                continue
            if name in _KEEPS and isinstance(args[0], Tensor):
                name = self.wrote.get(args[0].untyped_storage().data_ptr(), name)
            self.wrote[t.untyped_storage().data_ptr()] = name
            self.alive.append(t)
        return out


@torch.no_grad()
def ends_in(forward: Callable[[Tensor], Tensor], x: Tensor) -> str | None:
    """Whether a network's outputs are probabilities: "softmax", "sigmoid", or None.

    Known by the last operation, and probabilities of exclusive classes also by their sums.

    Parameters
    ----------
    forward : callable
        Outputs (n, k) or (n,) of rows.
    x : Tensor of shape (n, ...)

    Examples
    --------
    >>> import torch
    >>> from sklflat.networks.outputs import ends_in
    >>> module = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Softmax(1))
    >>> ends_in(module, torch.ones(4, 2)), ends_in(module[0], torch.ones(4, 2))
    ('softmax', None)
    """
    with _LastOperation() as last:
        z = forward(x)
        found = _ENDS.get(last.wrote.get(z.untyped_storage().data_ptr(), ""))
    if found == "sigmoid":
        return found
    # the same outputs for all rows may add up to 1 by chance, as an untrained head's biases do
    varies = found == "softmax" or len(z) == 1 or not bool((z == z[:1]).all())
    return "softmax" if varies and are_distributions(z) else None


def are_distributions(z: Tensor) -> bool:
    """Whether rows (n, k) are probabilities of k classes, as logits never are by chance."""
    if z.ndim != 2 or z.shape[1] < 2 or not len(z):
        return False
    within = (z >= 0) & (z <= 1)
    return bool(within.all() and ((z.sum(1) - 1).abs() <= _ROUNDING).all())


def as_logits(module: nn.Module, x: Tensor, loss: str, forward: Any = None) -> nn.Module:
    """A module whose outputs are the logits of a loss, where those of the given one need not be.

    Parameters
    ----------
    module : torch.nn.Module
    x : Tensor of shape (n, ...)
        The first data that are seen.
    loss : {"softmax", "logistic", "squared", "poisson"}
    forward : callable, default=None
        Runs the module on rows.

    Returns
    -------
    torch.nn.Module
        The module itself, or :class:`LogProbabilities` or :class:`LogOdds` of it.

    Raises
    ------
    UnsupportedNetworkError
        If outputs are probabilities, but not those that the loss needs; or look like probabilities
        of two classes, without an operation that says so.
    """
    if loss not in ("softmax", "logistic"):
        return module
    forward = module if forward is None else forward
    found = ends_in(forward, x)
    if found is None:
        if loss == "logistic":
            _check_are_no_probabilities(forward, x)
        return module
    if found == "softmax" and loss == "softmax":
        return LogProbabilities(module)
    if found == "sigmoid" and loss == "logistic":
        return LogOdds(module)
    wanted = "one probability a class that add up to 1" if loss == "softmax" else "a sigmoid"
    raise UnsupportedNetworkError(
        f"{type(module).__name__} ends in a {found}, but the targets ask for {wanted}. Let the "
        "module return logits, without a last activation; for two classes one logit with "
        "BCEWithLogitsLoss, or two with CrossEntropyLoss."
    )


@torch.no_grad()
def _check_are_no_probabilities(forward: Callable[[Tensor], Tensor], x: Tensor) -> None:
    z = forward(x)
    within = bool(((z >= 0) & (z <= 1)).all())
    if within and len(z) >= _N_ROWS and float(z.max() - z.min()) > _SPREAD:
        raise UnsupportedNetworkError(
            f"All outputs of {len(z)} rows are within [0, 1], from {float(z.min()):.3g} to "
            f"{float(z.max()):.3g}: they look like probabilities, but count as logits. Let the "
            "module return logits, without a last activation, or end it in torch.sigmoid; "
            "from_module takes criterion=torch.nn.BCELoss() for probabilities."
        )
