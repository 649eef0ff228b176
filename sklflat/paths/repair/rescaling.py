"""Layers whose output channels are scaled and shifted, by their own weights where that is right."""

from typing import Any

from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized


class Rescaled(nn.Module):
    """A layer whose output channels are scaled and shifted, where its own weights cannot be.

    Parameters
    ----------
    layer : torch.nn.Module
    scale, shift : Tensor of shape (n_channels,)

    Examples
    --------
    >>> import torch
    >>> from sklflat.paths.repair.rescaling import Rescaled
    >>> layer = torch.nn.Linear(1, 2, bias=False)
    >>> _ = torch.nn.init.ones_(layer.weight)
    >>> Rescaled(layer, torch.tensor([2.0, 3.0]), torch.ones(2))(torch.tensor([[5.0]])).tolist()
    [[11.0, 16.0]]
    """

    def __init__(self, layer: nn.Module, scale: Tensor, shift: Tensor) -> None:
        super().__init__()
        self.layer = layer
        self.register_buffer("scale", scale.clone())
        self.register_buffer("shift", shift.clone())

    @property
    def weight(self) -> Any:
        """The layer's own, for who uses it elsewhere."""
        return self.layer.weight

    @property
    def bias(self) -> Any:
        """The layer's own."""
        return self.layer.bias

    def forward(self, X: Tensor) -> Tensor:
        """``scale * layer(X) + shift``, channel by channel."""
        return rescaled(self.layer, self.layer(X), self.scale, self.shift)  # type: ignore[arg-type]


def channel_shape(layer: nn.Module) -> tuple[int, ...]:
    """The shape that puts one number a channel beside a layer's output."""
    if isinstance(layer, nn.Linear):
        return (-1,)
    return (-1, *[1] * (layer.weight.ndim - 2))  # type: ignore[operator]


def rescaled(layer: nn.Module, out: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """``scale * out + shift`` of a layer's output, channel by channel."""
    shape = channel_shape(layer)
    return out * scale.view(shape) + shift.view(shape)


def fuse(module: nn.Module, name: str, scale: Tensor, shift: Tensor) -> None:
    """Make a correction part of a layer's weights; wrap it where they are shared or computed."""
    layer = module.get_submodule(name)
    if bool((scale == 1).all()) and bool((shift == 0).all()):
        return
    own = {id(p) for p in layer.parameters()}
    others = (part for part in module.modules() if part is not layer)
    shared = any(id(p) in own for part in others for p in part.parameters(recurse=False))
    if shared or is_parametrized(layer):
        wrap(module, name, scale, shift)
        return
    weight, bias = layer.weight, layer.bias
    weight *= scale.view(-1, *[1] * (weight.ndim - 1))  # type: ignore[operator]
    if bias is not None:
        bias.mul_(scale).add_(shift)  # type: ignore[operator]
    elif bool(shift.any()):
        layer.bias = nn.Parameter(shift.clone())


def wrap(module: nn.Module, name: str, scale: Tensor, shift: Tensor) -> None:
    """Put a :class:`Rescaled` in a layer's place."""
    parent, _, key = name.rpartition(".")
    layer = module.get_submodule(name)
    setattr(module.get_submodule(parent), key, Rescaled(layer, scale, shift))
