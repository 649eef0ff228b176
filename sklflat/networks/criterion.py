"""Any criterion as terms that can be added up over batches."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from sklflat.exceptions import OutputWidthError, UnsupportedNetworkError
from sklflat.networks.losses import TaskLoss, unreduced

#: criteria of class indices, which divide by the weights of the labels that they count
_OF_CLASSES = (nn.CrossEntropyLoss, nn.NLLLoss)

#: criteria whose targets are not of the outputs' shape, or are no numbers
_KEEPS_TARGETS = (*_OF_CLASSES, nn.MultiMarginLoss, nn.MultiLabelMarginLoss)

#: criteria that compare every output with a target of its own
OF_NUMBERS = (nn.MSELoss, nn.L1Loss, nn.SmoothL1Loss, nn.HuberLoss, nn.PoissonNLLLoss)

#: relative difference up to which two values of a criterion are the same: it may round to float32
_ACCURACY = 1e-5


class Criterion:
    r"""A criterion taken apart: a loss and a weight for every sample.

    The criterion's own value on outputs z and targets y is :math:`\sum_i \ell_i / \sum_i d_i`
    (or :math:`\sum_i \ell_i`, if it is a sum), so sums over batches give the value on all data.
    Class weights and ignored labels of ``CrossEntropyLoss`` and ``NLLLoss`` are in both sums, those
    of every position of a sequence. ``reduction="batchmean"`` divides by samples alone, and
    ``"none"`` counts as the plain mean. A criterion without a ``reduction`` is evaluated on each
    sample alone, and is taken as the mean of these or as their sum, whichever it is.

    The first batch of each kind is compared with the criterion's own value and gradient, and every
    batch if it is not one of PyTorch's.

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
        self._take_apart: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] = (
            self._by_reduction if hasattr(module, "reduction") else self._one_by_one
        )
        self._is_chosen = type(module) is TaskLoss  # the package's own, which is known to be a mean
        self._compared: set[tuple[Any, ...]] = set()

    def terms(self, z: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Losses (n,) and the weights (n,) by which their sum is to be divided.

        Raises
        ------
        UnsupportedNetworkError
            If they do not add up to the criterion's own value, or it cannot be called on (z, y).
        """
        _check_width(self.module, z, y)
        y = targets_like(self.module, z, y)
        # the shape of a sample, as what is right for labels need not be right for probabilities
        kind = (z.ndim, y.ndim, y.is_floating_point())
        if kind not in self._compared:
            self._compare(z, y)
            if len(z) > 1 and is_known(self.module):
                self._compared.add(kind)
        return self._take_apart(z, y)

    def mean(self, total: Tensor, weight: Tensor) -> Tensor:
        """The criterion's value from sums over all data."""
        return total if self.is_sum else total / weight

    def of_logits(self) -> "Criterion":
        """The same losses with normalisation as their part: of ``NLLLoss``, cross-entropy."""
        own = self.module
        if not isinstance(own, nn.NLLLoss):
            return self
        ignored, reduction = own.ignore_index, own.reduction
        return Criterion(nn.CrossEntropyLoss(own.weight, ignore_index=ignored, reduction=reduction))

    # --- ways to take it apart ----------------------------------------------------------------

    def _by_reduction(self, z: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        losses = unreduced(self.module, lambda: self.module(z, y), len(z))
        losses, weights = reduced(self.module, losses, y)
        return losses, torch.ones_like(losses) if weights is None else weights

    def _one_by_one(self, z: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        rows = [self.module(z[i : i + 1], y[i : i + 1]) for i in range(len(z))]
        losses = torch.stack([row.mean() for row in rows])
        return losses, torch.ones_like(losses)

    # --- comparing ----------------------------------------------------------------------------

    @torch.enable_grad()
    def _compare(self, z: Tensor, y: Tensor) -> None:
        """Choose how the criterion is taken apart, or refuse it."""
        _refuse_weights_of_rows(self.module, z)
        z = z.detach().requires_grad_()
        own = self.own_value(z, y)
        ways = [(self._take_apart, self.is_sum)]
        if not self._is_chosen:
            ways += [(self._one_by_one, False), (self._one_by_one, True)]
        found, agreeing = [], []
        for take_apart, is_sum in ways:
            try:
                losses, weights = take_apart(z, y)
            except TypeError:  # it does not honour its reduction
                continue
            value = losses.sum() if is_sum else losses.sum() / weights.sum()
            found.append(value)
            if _same(value, own, z, losses):
                agreeing.append((take_apart, is_sum))
                if is_known(self.module):
                    break  # whether it is a mean or a sum it says, and single rows take long
        if not agreeing:
            raise self._refusal(own, found, len(z))
        self._take_apart, self.is_sum = agreeing[0]
        # where all losses are zero, their mean is their sum
        self._is_chosen = len(z) > 1 and len({is_sum for _, is_sum in agreeing}) == 1

    def own_value(self, z: Tensor, y: Tensor) -> Tensor:
        """What the criterion itself says, a scalar; the plain mean, if it returns several values.

        Raises
        ------
        UnsupportedNetworkError
            If it cannot be called on (z, y), or returns no tensor.
        """
        name = type(self.module).__name__
        try:
            value = self.module(z, targets_like(self.module, z, y))
        except TypeError as error:
            raise UnsupportedNetworkError(
                f"{name} cannot be called as criterion(outputs, targets): {error}."
            ) from error
        if not isinstance(value, Tensor):
            raise UnsupportedNetworkError(
                f"{name} returns {type(value).__name__} and not a tensor, so it is no loss."
            )
        return value.mean()

    def _refusal(self, own: Tensor, found: list[Tensor], n: int) -> UnsupportedNetworkError:
        values = " or ".join(f"{float(value.detach()):.6g}" for value in found)
        name = type(self.module).__name__
        return UnsupportedNetworkError(
            f"{name} cannot be taken apart into losses of single samples: on {n} rows it is "
            f"{float(own.detach()):.6g}, but from losses of single rows one gets {values}, or the "
            "gradients differ. Let it be a mean or a sum over rows, or give it an attribute "
            "'reduction' that it honours: 'none' returns one loss a row, 'mean' their mean, 'sum' "
            "their sum."
        )


def _check_width(criterion: nn.Module, z: Tensor, y: Tensor) -> None:
    """Refuse outputs of other numbers than the targets, which would be broadcast in silence."""
    criterion = getattr(criterion, "own", criterion)  # of an adapter
    of_numbers = isinstance(criterion, OF_NUMBERS) or (
        isinstance(criterion, TaskLoss) and criterion.loss != "softmax"
    )
    if of_numbers and z.numel() != y.numel():
        width, n_targets = z.numel() // max(1, len(z)), y.numel() // max(1, len(y))
        raise OutputWidthError(
            f"The network has {width} outputs for a row, but y has {n_targets} targets. If y holds "
            "labels, say so: from_module(module, classes=[one label an output]). Else give the "
            "network one output for each target."
        )


def _refuse_weights_of_rows(module: nn.Module, z: Tensor) -> None:
    """Raise if a weight of binary cross-entropy belongs to the rows of one batch."""
    weight = getattr(module, "weight", None)
    if not (isinstance(module, (nn.BCELoss, nn.BCEWithLogitsLoss)) and isinstance(weight, Tensor)):
        return
    if weight.ndim == z.ndim and len(weight) > 1:
        raise UnsupportedNetworkError(
            f"{type(module).__name__} has a weight of shape {tuple(weight.shape)}, one for a row "
            "of a single batch. Pass weights of rows as sample_weight."
        )


def is_known(criterion: nn.Module) -> bool:
    """Whether a criterion is one of PyTorch's or this package's, and so does what its name says."""
    return type(criterion) is TaskLoss or type(criterion).__module__ == "torch.nn.modules.loss"


def targets_like(criterion: nn.Module, z: Tensor, y: Tensor) -> Tensor:
    """Targets in shape and precision of outputs z, unless they are classes.

    (n,) against (n, 1) would silently become (n, n), and integers are no targets of a regression.
    """
    if y.numel() != z.numel() or isinstance(criterion, _KEEPS_TARGETS):
        return y
    return y.reshape(z.shape).to(z.dtype)


def label_weights(criterion: nn.Module, y: Tensor) -> Tensor | None:
    """Weights of the shape of y by which a criterion of class indices divides; None for others."""
    criterion = getattr(criterion, "own", criterion)  # of an adapter
    if not isinstance(criterion, _OF_CLASSES) or y.is_floating_point():
        return None
    counted = y != criterion.ignore_index
    if criterion.weight is None:
        return counted.to(torch.get_default_dtype())
    labels = torch.where(counted, y, torch.zeros_like(y))
    return criterion.weight[labels] * counted


def reduced(criterion: nn.Module, losses: Tensor, y: Tensor) -> tuple[Tensor, Tensor | None]:
    """Losses (n,) and weights (n,) of samples from losses (n, ...) of their positions.

    None are weights of 1.
    """
    reduction = criterion.reduction
    weights = label_weights(criterion, y) if reduction in ("mean", "sum") else None
    rows = losses.flatten(1) if losses.ndim > 1 else losses[:, None]
    losses = rows.sum(1) if reduction in ("sum", "batchmean") else rows.mean(1)
    if weights is None:
        return losses, None
    weights = weights.to(losses.dtype)
    return losses, weights.flatten(1).mean(1) if weights.ndim > 1 else weights


def weighted_loss(
    criterion: nn.Module, evaluate: Callable[[], Tensor], y: Tensor, sample_weight: Tensor
) -> Tensor:
    """The criterion's value where a sample of weight 2 counts as two.

    Parameters
    ----------
    criterion : torch.nn.Module
    evaluate : callable
        Calls it.
    y : Tensor of shape (n, ...)
        Targets.
    sample_weight : Tensor of shape (n,)
    """
    losses = unreduced(criterion, evaluate, len(sample_weight))
    losses, weights = reduced(criterion, losses, y)
    s = sample_weight.to(losses.dtype)
    total = torch.dot(losses, s)
    if criterion.reduction == "sum":
        return total
    return total / (s.sum() if weights is None else torch.dot(weights, s))


def _same(value: Tensor, own: Tensor, z: Tensor, losses: Tensor) -> bool:
    """Whether value and gradient are the criterion's own."""
    # a single term larger than the sum says how accurately that is known
    scale = float(losses.detach().nan_to_num().abs().mean()) + abs(float(own.detach().nan_to_num()))
    if not torch.isclose(
        value.detach().double(),
        own.detach().double(),
        rtol=0.0,
        atol=_accuracy(z) * scale,
        equal_nan=True,
    ):
        return False
    if not (value.requires_grad and own.requires_grad):
        return value.requires_grad == own.requires_grad
    ours, theirs = (torch.autograd.grad(v, z, retain_graph=True)[0].double() for v in (value, own))
    largest = float(theirs.nan_to_num().abs().max())
    return torch.allclose(ours, theirs, rtol=0.0, atol=_accuracy(z) * largest, equal_nan=True)


def _accuracy(z: Tensor) -> float:
    return max(_ACCURACY, 10 * float(torch.finfo(z.dtype).eps) if z.is_floating_point() else 0.0)
