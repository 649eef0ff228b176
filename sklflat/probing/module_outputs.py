"""Whether a module's outputs are what its criterion takes."""

from typing import Any

import torch
from torch import Tensor, nn

from sklflat.exceptions import ProbabilitiesWarning, UnsupportedNetworkError, warn
from sklflat.networks import Network
from sklflat.networks.outputs import ends_in

__all__ = ["check_criterion", "default_loss"]

#: how far sums of probabilities are from 1
_ROUNDING = 1e-3

#: criteria of logits, the function that each applies to outputs, and the criterion without it
_OF_LOGITS = {
    nn.CrossEntropyLoss: ("softmax", "NLLLoss of the logarithms"),
    nn.BCEWithLogitsLoss: ("sigmoid", "BCELoss()"),
}


def default_loss(module: nn.Module, n_classes: int) -> str:
    """The loss of a classifier that nobody has named: "logistic" of one output, else "softmax".

    Parameters
    ----------
    module : torch.nn.Module
        Its last linear layer or convolution says how many outputs there are; what they really are
        is compared on the first data.
    n_classes : int

    Examples
    --------
    >>> import torch
    >>> from sklflat.probing.module_outputs import default_loss
    >>> default_loss(torch.nn.Linear(3, 1), 2), default_loss(torch.nn.Linear(3, 2), 2)
    ('logistic', 'softmax')
    """
    names = ("out_features", "out_channels")
    widths = [getattr(m, n) for m in module.modules() for n in names if hasattr(m, n)]
    return "logistic" if n_classes == 2 and widths[-1:] == [1] else "softmax"


@torch.no_grad()
def check_criterion(criterion: nn.Module, network: Network, x: Tensor) -> None:
    """Make sure that outputs are what a criterion that somebody has named takes.

    Parameters
    ----------
    criterion : torch.nn.Module
    network : Network
    x : Tensor of shape (n, ...)
        The first data that are seen.

    Raises
    ------
    UnsupportedNetworkError
        If a criterion of probabilities is given to what are none.

    Warns
    -----
    ProbabilitiesWarning
        If a criterion of logits is given to probabilities, which are taken for logits then.
    """
    if isinstance(criterion, nn.NLLLoss):
        z = network.forward(x)
        if not bool((z.logsumexp(1).abs() < _ROUNDING).all()):
            raise UnsupportedNetworkError(
                "criterion=NLLLoss() means a module that ends in log-probabilities, but the "
                f"probabilities of a row add up to {float(z[0].exp().sum()):.3g}. Let the "
                "module end in log_softmax, or use CrossEntropyLoss()."
            )
    elif isinstance(criterion, nn.BCELoss):
        p = network.module.module(network.prepare(x))  # type: ignore[operator]
        if not bool(((p >= 0) & (p <= 1)).all()):
            raise UnsupportedNetworkError(
                "criterion=BCELoss() means a module that ends in a probability, but outputs "
                f"are from {float(p.min()):.3g} to {float(p.max()):.3g}. Let the module end in "
                "a sigmoid, or use BCEWithLogitsLoss()."
            )
    else:
        _warn_of_probabilities(criterion, network, x)


def _warn_of_probabilities(criterion: Any, network: Network, x: Tensor) -> None:
    applied, without = _OF_LOGITS.get(type(criterion), (None, ""))
    if applied is not None and ends_in(network.forward, network.prepare(x)) == applied:
        name = type(criterion).__name__
        warn(
            f"The module ends in a {applied}, and criterion={name}() applies another one: "
            "probabilities, loss and curvature are those of both. That is right if it was trained "
            f"so. If it was trained with {without}, leave criterion out.",
            ProbabilitiesWarning,
        )
