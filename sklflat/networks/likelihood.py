"""The model whose negative log-likelihood a criterion is: what it draws, and its information."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sklflat.networks.criterion import label_weights, targets_like
from sklflat.networks.losses import TaskLoss

_KINDS: dict[type[nn.Module], str] = {
    nn.CrossEntropyLoss: "softmax",
    nn.NLLLoss: "probabilities",
    nn.BCEWithLogitsLoss: "logistic",
    nn.MSELoss: "squared",
    nn.PoissonNLLLoss: "poisson",
}


def likelihood_of(criterion: nn.Module) -> str | None:
    """Which model's negative log-likelihood a criterion is, None if that is not known.

    One of "softmax", "probabilities" (of a network that ends in their logarithms), "logistic",
    "squared" (normal) and "poisson".
    """
    if isinstance(criterion, TaskLoss):
        return criterion.loss
    if isinstance(criterion, nn.PoissonNLLLoss) and not criterion.log_input:
        return None  # the outputs are no natural parameters of the model
    return _KINDS.get(type(criterion))


def drawn_scores(
    criterion: nn.Module, z: Tensor, y: Tensor, generator: torch.Generator | None = None
) -> Tensor:
    r"""Gradients in the outputs z, at labels drawn from the model, that have the Hessian as mean.

    .. math:: \mathrm E_{\hat y \sim p(\cdot | z_i)}\left[ g_i(\hat y) g_i(\hat y)^\top \right]
        = \nabla_z^2 \ell(z_i, y_i)

    The model is what the outputs mean: the softmax, Bernoulli, normal or Poisson distribution.
    Class weights, ignored labels and smoothing weight a sample's loss, by the label that it has.
    They are no part of the model, so they stay as the data say while labels are drawn.

    Parameters
    ----------
    criterion : torch.nn.Module
    z : Tensor of shape (n, ...)
        Outputs.
    y : Tensor of shape (n, ...)
        Targets of the data.
    generator : torch.Generator, default=None
        None is PyTorch's global one.

    Returns
    -------
    Tensor of the shape of z

    Raises
    ------
    TypeError
        If the criterion is not known as the likelihood of a model.

    References
    ----------
    .. [1] F. Kunstner, P. Hennig, L. Balles, "Limitations of the empirical Fisher approximation for
       natural gradient descent", NeurIPS 2019. https://arxiv.org/abs/1905.12558

    Examples
    --------
    A logit of 0 draws 0 or 1, and the Hessian is 1/4 for either:

    >>> import torch
    >>> from sklflat.networks.likelihood import drawn_scores
    >>> loss = torch.nn.BCEWithLogitsLoss()
    >>> drawn_scores(loss, torch.zeros(3, 1), torch.ones(3, 1)).abs().flatten()
    tensor([0.5000, 0.5000, 0.5000])
    """
    kind = likelihood_of(criterion)
    if kind is None:
        raise TypeError(
            f"Labels cannot be drawn from a model trained with {type(criterion).__name__}; "
            f"known are {sorted(c.__name__ for c in _KINDS)}. Use fisher='per_sample'."
        )
    z = z.detach()
    y = targets_like(criterion, z, y)
    temperature = criterion.temperature if isinstance(criterion, TaskLoss) else 1.0
    score = _score(kind, z / temperature, generator) / temperature
    weight = _weights(criterion, kind, z, y)
    return score * weight.clamp_min(0).sqrt()


def _score(kind: str, z: Tensor, generator: torch.Generator | None) -> Tensor:
    """The gradient of a negative log-likelihood in z, of one label drawn for each element."""
    if kind in ("softmax", "probabilities"):
        p = (z if z.ndim > 1 else z[:, None]).softmax(1)
        rows = p.movedim(1, -1)
        drawn = torch.multinomial(rows.flatten(0, -2), 1, generator=generator)[:, 0]
        one_hot = F.one_hot(drawn.view(rows.shape[:-1]), rows.shape[-1]).movedim(-1, 1)
        return (p - one_hot.to(p.dtype)).reshape(z.shape)
    if kind == "logistic":
        p = z.sigmoid()
        return p - torch.bernoulli(p, generator=generator)
    if kind == "poisson":
        mean = z.exp()
        return mean - torch.poisson(mean, generator=generator)
    return torch.empty_like(z).normal_(generator=generator)


def _weights(criterion: nn.Module, kind: str, z: Tensor, y: Tensor) -> Tensor:
    """By what the Hessian of the model stands in that of the loss; to be broadcast against z."""
    if isinstance(criterion, TaskLoss):
        return torch.ones((), dtype=z.dtype, device=z.device)
    reduction = criterion.reduction
    if kind in ("softmax", "probabilities"):
        weight = _of_classes(criterion, z, y)[:, None]
        n_elements = weight[0].numel()
    else:
        weight = _of_elements(criterion, z, y)
        n_elements = z[0].numel()
    return weight if reduction in ("sum", "batchmean") else weight / n_elements


def _of_classes(criterion: nn.Module, z: Tensor, y: Tensor) -> Tensor:
    """Of every position (n, ...): the sum over classes of weight times target."""
    own: Any = criterion.weight
    C = z.shape[1]
    w = z.new_ones(C) if own is None else own.to(z.dtype)
    smoothing = float(getattr(criterion, "label_smoothing", 0.0))
    if y.is_floating_point():
        target = (1 - smoothing) * y + smoothing / C
        return torch.einsum("nc...,c->n...", target.to(z.dtype), w)
    weights = label_weights(criterion, y)
    assert weights is not None
    counted = torch.ne(y, criterion.ignore_index).to(z.dtype)  # type: ignore[arg-type]
    return (1 - smoothing) * weights.to(z.dtype) + smoothing * w.mean() * counted


def _of_elements(criterion: nn.Module, z: Tensor, y: Tensor) -> Tensor:
    """Of every element (n, ...)."""
    if isinstance(criterion, nn.MSELoss):
        return torch.full_like(z, 2.0)  # (z - y)^2, where the model has half of it
    weight = torch.ones_like(z)
    if isinstance(criterion, nn.BCEWithLogitsLoss):
        if criterion.pos_weight is not None:
            weight = weight + y * (criterion.pos_weight - 1)
        if criterion.weight is not None:
            weight = weight * criterion.weight
    return weight
