"""Layers whose output channels are scaled and shifted, and by how much."""

from typing import Any

import torch
from torch import Tensor, nn

from sklflat.paths.repair.affine_layers import AFFINE

#: mean and standard deviation of every channel
Moments = tuple[Tensor, Tensor]

#: units of rounding up to which a standard deviation is nothing but rounding
_ROUNDING = 1e3


def mixed(parts: list[tuple[float, Moments]]) -> Moments:
    """Moments mixed by coefficients, deviations by their absolute values."""
    return (
        torch.stack([c * mean for c, (mean, _) in parts]).sum(0),
        torch.stack([abs(c) * deviation for c, (_, deviation) in parts]).sum(0),
    )


def correction(found: Moments, wanted: Moments) -> tuple[Tensor, Tensor]:
    """Scale and shift from moments to others; 1 and 0 for a channel that is constant.

    Where the ends of a path cancel, what is left is their rounding, whose deviation is no more than
    some units of it. Scaled up to what is wanted it would be noise that looks like a unit.

    Examples
    --------
    >>> import torch
    >>> from sklflat.paths.repair.moment_corrections import correction
    >>> found = torch.tensor([1.0, 0.0]), torch.tensor([2.0, 1e-7])
    >>> correction(found, (torch.tensor([0.0, 0.0]), torch.tensor([3.0, 3.0])))
    (tensor([1.5000, 1.0000]), tensor([-1.5000,  0.0000]))
    """
    mean, deviation = found
    unit = torch.finfo(deviation.dtype).eps * (mean.abs() + wanted[1])
    varies = deviation > _ROUNDING * unit
    scale = torch.where(varies, wanted[1] / deviation, 1.0)
    return scale, torch.where(varies, wanted[0] - scale * mean, 0.0)


class Rescaled(nn.Module):
    """A layer whose output channels are scaled and shifted, where its own weights cannot be.

    Parameters
    ----------
    layer : torch.nn.Module
    scale, shift : Tensor of shape (n_channels,)

    Examples
    --------
    >>> import torch
    >>> from sklflat.paths.repair.moment_corrections import Rescaled
    >>> layer = torch.nn.Linear(1, 2, bias=False)
    >>> _ = torch.nn.init.ones_(layer.weight)
    >>> Rescaled(layer, torch.tensor([2.0, 3.0]), torch.ones(2))(torch.tensor([[5.0]])).tolist()
    [[11.0, 16.0]]
    """

    def __init__(
        self, layer: nn.Module, scale: Tensor, shift: Tensor, n_positions: int = 0
    ) -> None:
        super().__init__()
        self.layer = layer
        self.n_positions = n_positions
        self.register_buffer("scale", scale.clone())
        self.register_buffer("shift", shift.clone())

    @property
    def weight(self) -> Any:
        """The layer's own, as other code may read it."""
        return self.layer.weight

    @property
    def bias(self) -> Any:
        """The layer's own."""
        return self.layer.bias

    def forward(self, X: Tensor) -> Tensor:
        """``scale * layer(X) + shift``, channel by channel."""
        return rescaled(self.layer(X), self.scale, self.shift, self.n_positions)  # type: ignore[arg-type]


def channels(out: Tensor, n_positions: int) -> Tensor:
    """A layer's output as rows (n * positions, n_channels)."""
    return out.movedim(-1 - n_positions, -1).flatten(0, -2)


def rescaled(out: Tensor, scale: Tensor, shift: Tensor, n_positions: int) -> Tensor:
    """``scale * out + shift`` of a layer's output, channel by channel."""
    shape = (-1, *[1] * n_positions)
    return out * scale.view(shape) + shift.view(shape)


def fuse(module: nn.Module, name: str, scale: Tensor, shift: Tensor, n_positions: int) -> None:
    """Multiply a correction into a layer's weights; wrap it where they are shared or computed."""
    layer = module.get_submodule(name)
    if bool((scale == 1).all()) and bool((shift == 0).all()):
        return
    own = {id(p) for p in layer.parameters()}
    others = (part for part in module.modules() if part is not layer)
    shared = any(id(p) in own for part in others for p in part.parameters(recurse=False))
    if shared or type(layer) not in AFFINE or layer._forward_pre_hooks:
        wrap(module, name, scale, shift, n_positions)
        return
    weight, bias = layer.weight, layer.bias
    weight *= scale.view(-1, *[1] * (weight.ndim - 1))  # type: ignore[operator]
    if bias is not None:
        bias.mul_(scale).add_(shift)  # type: ignore[operator]
    elif bool(shift.any()):
        layer.bias = nn.Parameter(shift.clone())


def wrap(module: nn.Module, name: str, scale: Tensor, shift: Tensor, n_positions: int) -> None:
    """Put a :class:`Rescaled` in a layer's place."""
    parent, _, key = name.rpartition(".")
    layer = module.get_submodule(name)
    setattr(module.get_submodule(parent), key, Rescaled(layer, scale, shift, n_positions))
