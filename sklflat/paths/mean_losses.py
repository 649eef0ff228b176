"""Mean loss and mean error of a network, added up over batches."""

import math

import torch
from torch import Tensor, nn

from sklflat.networks.criterion import Criterion
from sklflat.networks.losses import likelihood_of


class MeanLosses:
    """Mean loss and mean error of one network, from batches of its outputs.

    Parameters
    ----------
    criterion : Criterion

    Examples
    --------
    >>> import torch
    >>> from sklflat.networks.criterion import Criterion
    >>> from sklflat.paths.mean_losses import MeanLosses
    >>> mean = MeanLosses(Criterion(torch.nn.MSELoss()))
    >>> mean.add(torch.tensor([[0.0], [2.0]]), torch.ones(2, 1))
    >>> mean.add(torch.tensor([[3.0]]), torch.ones(1, 1))
    >>> mean.loss(), mean.error()
    (2.0, 2.0)
    """

    def __init__(self, criterion: Criterion) -> None:
        self.criterion = criterion
        # sums of losses and of their weights; of errors and of theirs
        self._sums = torch.zeros(4, dtype=torch.float64)
        self._knows_errors = True

    def add(self, z: Tensor, y: Tensor, sample_weight: Tensor | None = None) -> None:
        """One batch of outputs (n, ...) and targets (n, ...), with weights (n,)."""
        parts: tuple[Tensor, ...] = self.criterion.terms(z, y)
        errors = errors_of(self.criterion, z, y)
        if errors is None:
            self._knows_errors = False
        else:
            parts = (*parts, *errors)
        if sample_weight is not None:
            parts = tuple(sample_weight * part for part in parts)
        self._sums[: len(parts)] += torch.stack([part.sum().double() for part in parts]).cpu()

    def loss(self) -> float:
        """The mean loss; NaN where it is not finite."""
        return _finite(self.criterion.mean(self._sums[0], self._sums[1]))

    def error(self) -> float | None:
        """The mean error; NaN where outputs are not finite."""
        return _finite(self._sums[2] / self._sums[3]) if self._knows_errors else None


def errors_of(criterion: Criterion, z: Tensor, y: Tensor) -> tuple[Tensor, Tensor] | None:
    """Errors (n,) of outputs z and their weights (n,); None if what outputs mean is not known.

    Whether the highest output is not the label's; the share of labels on the wrong side of zero;
    or the mean squared error of real targets. Ignored labels have a weight of 0.
    """
    kind = likelihood_of(criterion.module)
    many = z.ndim > 1 and z.shape[1] > 1
    if kind in ("softmax", "probabilities") or (
        kind is None and many and not y.is_floating_point() and y.ndim == z.ndim - 1
    ):
        if y.is_floating_point():  # probabilities of classes
            y = y.argmax(1)
        errors, counted = _misclassified(criterion.module, z, y)
    elif kind in ("logistic", "squared"):
        y = y.reshape(z.shape).to(z.dtype)
        wrong = (z > 0) != (y > 0.5) if kind == "logistic" else (z - y).square()
        errors, counted = _mean(wrong.to(z.dtype)), torch.ones_like(_mean(z))
    else:
        return None
    return torch.where(_mean(z).isfinite(), errors, torch.nan), counted


def _misclassified(criterion: nn.Module, z: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    counted = (y != getattr(criterion, "ignore_index", -100)).to(z.dtype)
    wrong = (z.argmax(1) != y).to(z.dtype) * counted
    total = _mean(counted)
    return _mean(wrong) / total.clamp_min(torch.finfo(z.dtype).tiny) * (total > 0), total


def _mean(values: Tensor) -> Tensor:
    return values.flatten(1).mean(1) if values.ndim > 1 else values


def _finite(value: Tensor) -> float:
    return float(value) if math.isfinite(value) else math.nan
