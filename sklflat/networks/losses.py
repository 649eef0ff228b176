"""Losses per sample, as scikit-learn defines them, with weights and a temperature."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def softmax_loss(z: Tensor, y: Tensor) -> Tensor:
    """Cross-entropy of logits z (n, C) and class indices y (n,)."""
    # Half the operations of F.cross_entropy, which looks for classes to ignore; and with classes
    # along the first axis, torch's kernel is up to ten times faster for few classes.
    return -F.log_softmax(z.t(), 0).gather(0, y[None])[0]


def logistic_loss(z: Tensor, y: Tensor) -> Tensor:
    """Binary cross-entropy of logits z (n, k) and 0/1 targets y (n, k), summed over k."""
    return F.binary_cross_entropy_with_logits(z, y, reduction="none").sum(1)


def squared_loss(z: Tensor, y: Tensor) -> Tensor:
    """``(z - y)^2 / 2`` of z and y (n, k), summed over k."""
    return 0.5 * (z - y).square().sum(1)


def poisson_loss(z: Tensor, y: Tensor) -> Tensor:
    """Half the Poisson deviance of log-means z (n, k) and counts y (n, k), summed over k."""
    return (torch.xlogy(y, y) - y * z - y + z.exp()).sum(1)


class TaskLoss(nn.Module):
    """A criterion: mean of per-sample losses at logits divided by a temperature.

    Parameters
    ----------
    loss : {"softmax", "logistic", "squared", "poisson"}
    temperature : float, default=1.0
        Divides the network's output.
    """

    LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
        "softmax": softmax_loss,
        "logistic": logistic_loss,
        "squared": squared_loss,
        "poisson": poisson_loss,
    }

    def __init__(self, loss: str, temperature: float | Tensor = 1.0) -> None:
        super().__init__()
        self.loss = loss
        self.temperature = temperature
        self.reduction = "mean"

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        """Scalar, or (n,) with ``reduction="none"``, from outputs z and targets y."""
        if z.ndim == 1:
            z, y = z[:, None], y.reshape(len(z), -1)
        if isinstance(self.temperature, Tensor) or self.temperature != 1.0:
            z = z / self.temperature
        losses = self.LOSSES[self.loss](z, y)
        return losses.mean() if self.reduction == "mean" else losses


def unreduced(criterion: nn.Module, evaluate: Callable[[], Tensor], n_samples: int) -> Tensor:
    """Losses (n, ...) of a torch criterion, by evaluating it with ``reduction="none"``."""
    if not hasattr(criterion, "reduction"):
        raise TypeError(
            f"sample_weight needs losses per sample, but {type(criterion).__name__} has no "
            "'reduction'. Give the criterion a 'reduction' attribute that it honours."
        )
    reduction: Any = criterion.reduction
    criterion.reduction = "none"  # type: ignore[assignment]
    try:
        losses = evaluate()
    finally:
        criterion.reduction = reduction
    if losses.ndim == 0 or len(losses) != n_samples:
        raise TypeError(
            f"{type(criterion).__name__} with reduction='none' returned shape "
            f"{tuple(losses.shape)} for {n_samples} samples; expected one loss per sample."
        )
    return losses
