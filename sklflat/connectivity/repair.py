"""REPAIR: networks between two others get back the variance that their units have lost."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.parametrize import is_parametrized

from sklflat.connectivity.first_affine import AFFINE
from sklflat.connectivity.path_losses import PathLosses
from sklflat.connectivity.paths import Path
from sklflat.connectivity.state import write_state
from sklflat.connectivity.tally import Tally
from sklflat.networks import Network
from sklflat.networks.batch_statistics import recompute_batch_statistics
from sklflat.networks.network import copy_module

#: standard deviation, relative to the root mean square, below which a channel is constant
_ROUNDING = 1e-10

#: mean and standard deviation of every channel
Moments = tuple[Tensor, Tensor]


class Rescaled(nn.Module):
    """A layer whose output channels are scaled and shifted, where its own weights cannot be.

    Parameters
    ----------
    layer : torch.nn.Module
    scale, shift : Tensor of shape (n_channels,)
    """

    def __init__(self, layer: nn.Module, scale: Tensor, shift: Tensor) -> None:
        super().__init__()
        self.layer = layer
        self.register_buffer("scale", scale)
        self.register_buffer("shift", shift)

    def forward(self, X: Tensor) -> Tensor:
        """``scale * layer(X) + shift``, channel by channel."""
        out = self.layer(X)
        shape = _channel_shape(self.layer, out)
        return out * self.scale.view(shape) + self.shift.view(shape)  # type: ignore[operator]


@torch.no_grad()
def repaired(network: Network, path: Path, t: Any, X: Tensor) -> nn.Module:
    r"""The network at a point of a path, its hidden channels rescaled.

    Halfway between two aligned networks activations have less variance than at either: where
    units agree in part, what they do not agree in averages out. REPAIR [1]_ gives each channel of
    every hidden affine layer the mean and the standard deviation that the ends suggest,

    .. math:: \mu = \sum_k c_k(t) \mu_k, \qquad \sigma = \sum_k c_k(t) \sigma_k

    with those :math:`\mu_k, \sigma_k` of the path's anchors, layer after layer, so that each is
    corrected for what its predecessors now do. The correction becomes part of weights and biases;
    layers of shared or computed weights are wrapped. Layers that run more than once, and the last
    one, are left as they are, and so is a channel that is constant.

    A network with batch normalisation already has what sets means and deviations, so its statistics
    are computed anew on X, and nothing else is done.

    Parameters
    ----------
    network : Network
        The architecture.
    path : Path
    t : float
        The point.
    X : Tensor of shape (n_samples, ...)
        Data on which moments are taken, all at once: some thousand rows are enough.

    Returns
    -------
    torch.nn.Module
        A new one, in evaluation mode.

    References
    ----------
    .. [1] K. Jordan et al., "REPAIR: REnormalizing Permuted Activations for Interpolation Repair",
       ICLR 2023. https://arxiv.org/abs/2211.08403

    Examples
    --------
    Two opposite units cancel halfway; nothing can be scaled there, and nothing is:

    >>> import torch
    >>> from sklflat.connectivity.paths import LinearPath
    >>> from sklflat.connectivity.repair import repaired
    >>> from sklflat.connectivity.state import read_state
    >>> from sklflat.networks import MLP, Network
    >>> network = Network(MLP(1, 1, hidden_layer_sizes=(1,)), torch.nn.MSELoss())
    >>> a = read_state(network.module)
    >>> b = {name: -tensor for name, tensor in a.items()}
    >>> module = repaired(network, LinearPath(a, b), 0.5, torch.randn(9, 1))
    >>> module.hidden.linear_0.weight.item()
    0.0
    """
    module = copy_module(network.module)
    write_state(module, path.at(t))
    x = network.prepare(X)
    if any(isinstance(m, _BatchNorm) and m.running_mean is not None for m in module.modules()):
        recompute_batch_statistics(module, [x])
        return module
    coefficients = path.coefficients(t)
    anchors = [
        (float(c), _moments(network.module, anchor, x))
        for c, anchor in zip(coefficients, path.anchors, strict=True)
        if float(c)
    ]
    wanted = {name: _mixed([(c, found[name]) for c, found in anchors]) for name in anchors[0][1]}
    corrections: dict[str, Moments] = {}

    def correct(name: str, layer: nn.Module, out: Tensor) -> Tensor:
        mean, deviation = _moments_of(layer, out)
        lives = deviation > _ROUNDING * (out.square().mean() ** 0.5)
        scale = torch.where(lives, wanted[name][1] / deviation, 1.0)
        shift = torch.where(lives, wanted[name][0] - scale * mean, 0.0)
        corrections[name] = scale, shift
        shape = _channel_shape(layer, out)
        return out * scale.view(shape) + shift.view(shape)

    with _watched(module, list(wanted), correct):
        module(x.clone())
    for name, (scale, shift) in corrections.items():
        _fuse(module, name, scale, shift)
    return module


@torch.no_grad()
def repaired_losses(
    network: Network, path: Path, ts: Any, X_moments: Tensor, X: Tensor, y: Tensor
) -> PathLosses:
    """Losses and errors of :func:`repaired` networks at points of a path.

    Parameters
    ----------
    network : Network
    path : Path
    ts : array-like of shape (T,)
    X_moments : Tensor of shape (n, ...)
        Data on which moments are taken.
    X, y : Tensor of shape (n_samples, ...)

    Returns
    -------
    PathLosses
    """
    points = np.asarray(ts, dtype=float)
    tally = Tally(network, len(points))
    for i, t in enumerate(points):
        module = repaired(network, path, t, X_moments)
        for x, target in network.pairs(X, y):
            tally.add(torch.tensor([i]), module(network.prepare(x))[None], target)
    return PathLosses(points, tally.loss(), tally.error())


# --- moments ----------------------------------------------------------------------------------


def _channel_shape(layer: nn.Module, out: Tensor) -> tuple[int, ...]:
    """The shape that puts one number a channel beside a layer's output."""
    if isinstance(layer, nn.Linear):
        return (-1,)
    return (-1, *[1] * (layer.weight.ndim - 2))  # type: ignore[operator]


def _moments_of(layer: nn.Module, out: Tensor) -> Moments:
    """Mean and standard deviation of every channel over rows and positions."""
    axis = out.ndim - len(_channel_shape(layer, out))
    rows = out.movedim(axis, -1).flatten(0, -2)
    return rows.mean(0), rows.std(0, correction=0)


def _mixed(parts: list[tuple[float, Moments]]) -> Moments:
    return (
        torch.stack([c * mean for c, (mean, _) in parts]).sum(0),
        torch.stack([abs(c) * deviation for c, (_, deviation) in parts]).sum(0),
    )


def _moments(like: nn.Module, state: Mapping[str, Tensor], x: Tensor) -> dict[str, Moments]:
    """Moments of all hidden affine layers that run once, in the order in which they run."""
    module = copy_module(like)
    write_state(module, state)
    names = [name for name, layer in module.named_modules() if type(layer) in AFFINE]
    calls: list[str] = []
    found: dict[str, Moments] = {}

    def see(name: str, layer: nn.Module, out: Tensor) -> None:
        calls.append(name)
        found[name] = _moments_of(layer, out)

    with _watched(module, names, see):
        module(x.clone())
    return {name: found[name] for name in calls if calls.count(name) == 1 and name != calls[-1]}


@contextmanager
def _watched(
    module: nn.Module, names: list[str], see: Callable[[str, nn.Module, Tensor], Tensor | None]
) -> Iterator[None]:
    """Call ``see(name, layer, output)`` after each of some layers; what it returns is put there."""
    handles = [
        module.get_submodule(name).register_forward_hook(
            lambda layer, _, out, name=name: see(name, layer, out)
        )
        for name in names
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _fuse(module: nn.Module, name: str, scale: Tensor, shift: Tensor) -> None:
    """Make a correction part of a layer's weights, or wrap the layer."""
    layer = module.get_submodule(name)
    if bool((scale == 1).all()) and bool((shift == 0).all()):
        return
    own = {id(p) for p in layer.parameters()}
    uses = [
        p
        for part in module.modules()
        for p in part.parameters(recurse=False)
        if id(p) in own and part is not layer
    ]
    if uses or is_parametrized(layer):
        parent, _, key = name.rpartition(".")
        setattr(module.get_submodule(parent), key, Rescaled(layer, scale, shift))
        return
    weight, bias = layer.weight, layer.bias
    weight *= scale.view(-1, *[1] * (weight.ndim - 1))  # type: ignore[operator]
    if bias is not None:
        bias.mul_(scale).add_(shift)  # type: ignore[operator]
    elif bool(shift.any()):
        layer.bias = nn.Parameter(shift.clone())
