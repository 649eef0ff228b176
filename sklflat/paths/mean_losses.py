"""Losses and errors of several networks, added up over batches."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sklflat.networks import Network
from sklflat.networks.criterion import Criterion
from sklflat.networks.losses import likelihood_of


class Tally:
    """Mean loss and error of T networks of one architecture, from batches of their outputs.

    Parameters
    ----------
    network : Network
        For its criterion.
    n_points : int
        T.

    Examples
    --------
    >>> import torch
    >>> from sklflat.paths.mean_losses import Tally
    >>> from sklflat.networks import Network
    >>> tally = Tally(Network(torch.nn.Linear(1, 1), torch.nn.MSELoss()), 2)
    >>> z = torch.tensor([[[0.0], [2.0]], [[1.0], [float("nan")]]])
    >>> tally.add(torch.arange(2), z, torch.ones(2, 1))
    >>> tally.loss()
    array([ 1., nan])
    """

    def __init__(self, network: Network, n_points: int) -> None:
        self.network = network
        # sums of losses and of their weights; of errors and of theirs
        self._sums = torch.zeros(4, n_points, dtype=torch.float64)
        self._knows_errors = True

    def add(self, at: Tensor, z: Tensor, y: Tensor, sample_weight: Tensor | None = None) -> None:
        """One batch.

        Parameters
        ----------
        at : Tensor of shape (t,), int
            Which of the networks.
        z : Tensor of shape (t, n, ...)
            Their outputs.
        y : Tensor of shape (n, ...)
        sample_weight : Tensor of shape (n,), default=None
        """
        t, n = z.shape[:2]
        rows, targets = z.flatten(0, 1), y.repeat(t, *[1] * (y.ndim - 1))
        s = None if sample_weight is None else sample_weight.repeat(t)
        losses, weights = self.network.terms(rows, targets, s)
        parts = [losses, weights]
        errors = errors_of(self.network.criterion, rows, targets)
        if errors is None:
            self._knows_errors = False
        else:
            wrong, counted = (e.to(losses.dtype) for e in errors)
            parts += [wrong, counted] if s is None else [s * wrong, s * counted]
        sums = torch.stack([part.view(t, n).sum(1) for part in parts])
        self._sums[: len(parts), at] += sums.double().cpu()

    def loss(self) -> NDArray:
        """Mean losses (T,); NaN where they are not finite."""
        total, weight, _, _ = self._sums
        return _finite(self.network.criterion.mean(total, weight))

    def error(self) -> NDArray | None:
        """Mean errors (T,); NaN where outputs are not finite."""
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


def _finite(values: Tensor) -> NDArray:
    array = values.numpy()
    return np.where(np.isfinite(array), array, np.nan)
