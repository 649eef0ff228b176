"""Any criterion as terms that can be added up over batches."""

import torch
from torch import Tensor, nn

from sklflat.networks.losses import per_sample

_OF_CLASSES = (nn.CrossEntropyLoss, nn.NLLLoss)


class Criterion:
    r"""A criterion taken apart: a loss and a weight for every sample.

    The criterion's own value on outputs z and targets y is :math:`\sum_i \ell_i / \sum_i d_i`
    (or :math:`\sum_i \ell_i`, if it is a sum), so sums over batches give the value on all data.
    Class weights and ignored labels of ``CrossEntropyLoss`` and ``NLLLoss`` are in both sums. A
    criterion without a ``reduction`` is evaluated on each sample alone, and taken as a mean.

    Parameters
    ----------
    module : torch.nn.Module
        Callable on (z, y).

    Examples
    --------
    >>> import torch
    >>> from sklflat.networks import Criterion
    >>> cross_entropy = torch.nn.CrossEntropyLoss(weight=torch.tensor([1.0, 3.0]))
    >>> losses, weights = Criterion(cross_entropy).terms(torch.zeros(2, 2), torch.tensor([0, 1]))
    >>> weights
    tensor([1., 3.])
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.is_sum = getattr(module, "reduction", "mean") == "sum"

    def terms(self, z: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Losses (n,) and the weights (n,) by which their sum is to be divided."""
        if y.numel() == z.numel() and not isinstance(self.module, _OF_CLASSES):
            # (n,) against (n, 1) would silently become (n, n), and integers be no targets
            y = y.reshape(z.shape).to(z.dtype)
        if not hasattr(self.module, "reduction"):
            return self._one_by_one(z, y), torch.ones_like(z[:, 0] if z.ndim > 1 else z)
        losses = per_sample(self.module, lambda: self.module(z, y), len(z))
        return losses, self._weights(losses, y)

    def mean(self, total: Tensor, weight: Tensor) -> Tensor:
        """The criterion's value from sums over all data."""
        return total if self.is_sum else total / weight

    def _weights(self, losses: Tensor, y: Tensor) -> Tensor:
        if not isinstance(self.module, _OF_CLASSES) or y.ndim > 1:
            return torch.ones_like(losses)
        counted = y != self.module.ignore_index
        if self.module.weight is None:
            return counted.to(losses.dtype)
        labels = torch.where(counted, y, torch.zeros_like(y))
        return self.module.weight.to(losses.dtype)[labels] * counted

    def _one_by_one(self, z: Tensor, y: Tensor) -> Tensor:
        rows = [self.module(z[i : i + 1], y[i : i + 1]) for i in range(len(z))]
        return torch.stack([row.reshape(()) for row in rows])
