"""What the outputs of a skorch net mean: the one place that decides it.

From the criterion, the net's own ``predict_nonlinearity`` and ``threshold``, and what is seen in
the outputs. What cannot be known is refused with the ways to say it.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from skorch import NeuralNetClassifier
from torch import Tensor, nn

from sklflat._compat import predict_nonlinearity
from sklflat.exceptions import UnsupportedNetworkError
from sklflat.networks import Criterion, Network
from sklflat.networks.outputs import (
    LogOdds,
    LogProbabilities,
    OfProbabilities,
    are_distributions,
    in_log_odds,
    log_of,
)

_SAYS = (
    "Let the module return logits under CrossEntropyLoss or BCEWithLogitsLoss, or set "
    "predict_nonlinearity to a function that makes probabilities of its outputs."
)


def takes_logarithm(net: Any) -> bool:
    """Whether a net's loss takes the logarithm of probabilities, as skorch's classifier does."""
    return isinstance(net.criterion_, nn.NLLLoss) and isinstance(net, NeuralNetClassifier)


def is_known(net: Any) -> bool:
    """Whether a classifier's outputs mean what the criterion says, and the net's nonlinearity."""
    if net.predict_nonlinearity not in ("auto", None):
        return False
    known = isinstance(net.criterion_, (nn.CrossEntropyLoss, nn.BCEWithLogitsLoss, nn.NLLLoss))
    return isinstance(net.criterion_, nn.BCELoss) or (
        known and (net.predict_nonlinearity == "auto" or takes_logarithm(net))
    )


def in_logits(
    net: Any, module: nn.Module, criterion: nn.Module, is_own: bool
) -> tuple[nn.Module, nn.Module]:
    """Module and criterion in logits, where the net's criterion is one of probabilities.

    Parameters
    ----------
    net : skorch.NeuralNet
    module, criterion : torch.nn.Module
        The net's, or what stands for them.
    is_own : bool
        Whether the loss is computed in a way of the net's own, from what the module returns.
    """
    if takes_logarithm(net):
        return LogProbabilities(module), OfProbabilities(criterion) if is_own else criterion
    if isinstance(net.criterion_, nn.BCELoss):
        if is_own:
            return LogOdds(module), OfProbabilities(criterion, of_odds=True)
        return in_log_odds(module, net.criterion_)
    return module, criterion


def check_outputs(net: Any, z: Tensor) -> None:
    """Refuse outputs (n, k) of which the net's own loss makes nothing.

    Raises
    ------
    UnsupportedNetworkError
    """
    ends_in_logs = z.ndim == 2 and bool((z <= 0).all()) and z.shape[1] > 1
    if takes_logarithm(net) and ends_in_logs and bool((z.logsumexp(1).abs() < 1e-4).all()):
        raise UnsupportedNetworkError(
            "The module ends in log-probabilities, but skorch's classifier takes the logarithm "
            "itself under NLLLoss. Let the module end in softmax, or set "
            "criterion=torch.nn.CrossEntropyLoss."
        )


def probabilities_by(net: Any, z: Tensor) -> NDArray[np.float64]:
    """Probabilities (n, C) that the net's own nonlinearity makes of its outputs.

    Raises
    ------
    UnsupportedNetworkError
        If they are none.
    """
    p = predict_nonlinearity(net)(z)
    p = p[:, None] if p.ndim == 1 else p
    if p.shape[1] == 1 and bool(((p >= 0) & (p <= 1)).all()):
        p = torch.cat([1 - p, p], 1)
    if not are_distributions(p):
        name = type(net.criterion_).__name__
        raise UnsupportedNetworkError(
            f"It is not known what outputs mean under criterion={name} with "
            f"predict_nonlinearity={net.predict_nonlinearity!r}: read by these they are no "
            f"probabilities that add up to 1 (from {float(p.min()):.3g} to {float(p.max()):.3g}). "
            + _SAYS
        )
    return p.double().numpy()


def log_probabilities_by(net: Any, z: Tensor) -> NDArray[np.float64]:
    """Their logarithms (n, C)."""
    return log_of(torch.as_tensor(probabilities_by(net, z))).numpy()


def needs_reading(net: Any, is_classifier: bool) -> bool:
    """Whether what a net's outputs mean is up to its own nonlinearity.

    Raises
    ------
    UnsupportedNetworkError
        If a regressor's outputs are logarithms of means, and nothing says that they are predicted
        as such.
    """
    if is_classifier:
        return not is_known(net)
    if net.predict_nonlinearity not in ("auto", None):
        return True
    if isinstance(net.criterion_, nn.PoissonNLLLoss) and net.criterion_.log_input:
        raise UnsupportedNetworkError(
            "Outputs under PoissonNLLLoss(log_input=True) are logarithms of means, but "
            f"{type(net).__name__} would return them as predictions. Set "
            "predict_nonlinearity=torch.exp, or log_input=False and let the module return means."
        )
    return False


def values_by(net: Any, z: Tensor) -> NDArray[np.float64]:
    """Predictions (n, k) that a regressor's own nonlinearity makes of its outputs."""
    return predict_nonlinearity(net)(z).double().numpy()


@torch.no_grad()
def settle(net: Any, network: Network, x: Tensor) -> None:
    """Let a network end in logits, of a net whose own nonlinearity reads its outputs on some rows.

    Raises
    ------
    UnsupportedNetworkError
        If outputs are neither logits of that nonlinearity nor probabilities.
    """
    if "outputs" in network.verified:
        return
    z = network.outputs(x)
    p = torch.as_tensor(probabilities_by(net, z))
    logits = z if z.shape[1] > 1 else torch.cat([torch.zeros_like(z), z], 1)
    if not torch.allclose(p, logits.softmax(1), rtol=0, atol=1e-6):
        if not (are_distributions(z) and torch.allclose(p, z, rtol=0, atol=1e-6)):
            raise UnsupportedNetworkError(
                f"predict_nonlinearity={net.predict_nonlinearity!r} makes probabilities of the "
                "outputs in a way of its own, so it is not known what their logits are. " + _SAYS
            )
        network.module = LogProbabilities(network.module)
        network.criterion = Criterion(OfProbabilities(network.criterion.module))
    network.verified.add("outputs")
