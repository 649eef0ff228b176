"""A network without some of its units, as a smaller module."""

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from sklflat.exceptions import UnsupportedNetworkError
from sklflat.networks import Network
from sklflat.networks.hooks import temporary_hooks
from sklflat.networks.same_outputs import same_outputs
from sklflat.networks.units import Units
from sklflat.probing.restricted import RestrictedModule
from sklflat.pruning.output_layer import OutputLayer, Refit, with_output

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)

#: relative difference up to which outputs and constants are equal, in units of the precision
_ROUNDING = 1e4


class ConstantChannel(nn.Module):
    """A convolution that reads one channel more than it is given: ones.

    Zero padding makes a constant channel vary at the border, so no bias can stand for it; a
    channel of ones, times the silenced channels' means, can.

    Parameters
    ----------
    convolution : torch.nn.Module
        Its last channel reads the ones.
    """

    def __init__(self, convolution: nn.Module) -> None:
        super().__init__()
        self.convolution = convolution

    def forward(self, x: Tensor) -> Tensor:
        """The convolution of x (n, n_channels, *positions)."""
        return self.convolution(F.pad(x, (0, 0) * (x.ndim - 2) + (0, 1), value=1.0))


class Cut(NamedTuple):
    """What stays of one module, and the constants that it reads in place of what is gone."""

    rows: NDArray | None = None
    columns: NDArray | None = None
    constants: Tensor | None = None


@torch.no_grad()
def smaller_module(
    network: Network,
    module: nn.Module,
    units: Units,
    kept: NDArray,
    means: NDArray,
    examples: Tensor,
    refit: tuple[OutputLayer, Refit] | None,
) -> nn.Module:
    """Cut a module (which is used up) down to the kept units.

    Parameters
    ----------
    network : Network
        The one that the module is a copy of.
    module : torch.nn.Module
    units : Units
    kept : ndarray of shape (n_units,), bool
    means : ndarray of shape (n_units,)
    examples : Tensor of shape (n, ...)
        Inputs on which outputs are compared.
    refit : tuple or None
        The output layer, and what it becomes.

    Raises
    ------
    UnsupportedNetworkError
        If the module cannot be cut, or says something else afterwards.
    """
    if refit is not None:
        module = with_output(module, *refit)
    restricted = RestrictedModule(module, units, kept, means)
    x = network.prepare(examples)
    read = _inputs_of_layers(restricted, module, x)
    right = restricted(x.clone())
    cuts = _cuts(module, units, kept, read)
    for path, cut in cuts.items():
        _apply(module, path, cut)
    try:
        found = module(x.clone())
    except (RuntimeError, ValueError, IndexError) as error:
        raise _not_cut(module, f"the smaller module does not run: {error}") from error
    eps = torch.finfo(right.dtype).eps
    if not same_outputs(found, right, _ROUNDING * eps):
        raise _not_cut(module, "the smaller module has other outputs")
    return module


def _not_cut(module: nn.Module, why: str) -> UnsupportedNetworkError:
    return UnsupportedNetworkError(
        f"{type(module).__name__} cannot be made smaller: {why}. Layers that are added up, or "
        "whose width the code counts on, cannot be cut; restrict() silences units in place."
    )


def _inputs_of_layers(restricted: nn.Module, module: nn.Module, x: Tensor) -> dict[str, Tensor]:
    """What each affine layer reads, by its path, when units are silenced."""
    read: dict[str, Tensor] = {}

    def keep(path: str) -> Any:
        return lambda part, inputs: read.__setitem__(path, inputs[0].clone())

    layers = [
        (p, m) for p, m in module.named_modules() if isinstance(m, (nn.Linear, *_CONVOLUTIONS))
    ]
    with temporary_hooks(m.register_forward_pre_hook(keep(path)) for path, m in layers):
        restricted(x.clone())
    return read


def _cuts(
    module: nn.Module, units: Units, kept: NDArray, read: dict[str, Tensor]
) -> dict[str, Cut]:
    """What to cut of which module, by its path."""
    cuts: dict[str, Cut] = {}
    for index, layer in enumerate(units.layers):
        stays = torch.as_tensor(kept[units.layer_of == index])
        if bool(stays.all()):
            continue
        for direction, axis in (("incoming", 0), ("outgoing", 1)):
            for name, owners in layer.owners(direction).items():
                path = name.rpartition(".")[0]
                part = module.get_submodule(path)
                mask = _kept_along(module, name, owners, axis, stays)
                if axis == 0:
                    known = isinstance(part, (nn.Linear, *_CONVOLUTIONS, *_NORMS))
                    cut = cuts.get(path, Cut())._replace(rows=mask)
                else:
                    known = isinstance(part, (nn.Linear, *_CONVOLUTIONS))
                    cut = _with_columns(module, path, cuts.get(path, Cut()), mask, read)
                if not known or getattr(part, "groups", 1) > 1:
                    raise _not_cut(module, f"{path!r} ({type(part).__name__}) is not understood")
                cuts[path] = cut
    return cuts


def _kept_along(module: nn.Module, name: str, owners: Tensor, axis: int, stays: Tensor) -> NDArray:
    """Which rows or columns of a parameter stay, given the unit of each of its entries."""
    along = owners.movedim(min(axis, owners.ndim - 1), 0)
    by_index = along.reshape(len(along), -1)
    first = by_index[:, 0]
    if not bool((by_index == first[:, None]).all()):
        raise _not_cut(module, f"units do not own whole rows or columns of {name!r}")
    owned = first >= 0
    mask = torch.ones(len(first), dtype=torch.bool)
    mask[owned] = stays[first[owned].long().cpu()]
    return mask.numpy()


def _with_columns(
    module: nn.Module, path: str, cut: Cut, mask: NDArray, read: dict[str, Tensor]
) -> Cut:
    """Columns that go, and the constants that were read there."""
    if path not in read:
        raise _not_cut(module, f"{path!r} is not run as a layer")
    if cut.columns is not None:
        mask = mask & cut.columns
    x = read[path]
    gone = torch.as_tensor(np.flatnonzero(~mask), device=x.device)
    is_linear = isinstance(module.get_submodule(path), nn.Linear)
    values = x.movedim(-1 if is_linear else 1, 0)[gone].flatten(1)
    constants = values[:, 0]
    scale = float(values.abs().max()) if values.numel() else 0.0
    tol = _ROUNDING * torch.finfo(values.dtype).eps * scale
    if bool(((values - constants[:, None]).abs() > tol).any()):
        raise _not_cut(module, f"what {path!r} reads of silenced units is not constant")
    return cut._replace(columns=mask, constants=constants)


def _apply(module: nn.Module, path: str, cut: Cut) -> None:
    """Cut one module in place, or replace it in its parent."""
    part: Any = module.get_submodule(path)
    extra = None
    if cut.columns is not None and cut.constants is not None:
        extra = _cut_columns(part, cut.columns, cut.constants)
    if cut.rows is not None:
        _cut_rows(part, torch.as_tensor(np.flatnonzero(cut.rows)))
    if extra is not None:
        module.set_submodule(path, ConstantChannel(part))


def _cut_columns(part: Any, columns: NDArray, constants: Tensor) -> bool | None:
    """Cut what a layer reads; its bias, or a channel of ones if True, takes the constants."""
    gone, stay = (
        torch.as_tensor(np.flatnonzero(m), device=part.weight.device) for m in (~columns, columns)
    )
    lost = torch.tensordot(part.weight[:, gone], constants, dims=([1], [0]))
    weight = part.weight[:, stay]
    is_linear = isinstance(part, nn.Linear)
    padded = not is_linear and part.padding_mode == "zeros" and part.padding not in ("valid",)
    padded = padded and (isinstance(part.padding, str) or any(part.padding))
    padded = padded and bool(constants.any())
    if padded:
        weight = torch.cat([weight, lost[:, None]], dim=1)
    else:
        bias = lost.flatten(1).sum(1) if lost.ndim > 1 else lost
        part.bias = nn.Parameter(bias if part.bias is None else part.bias + bias)
    part.weight = nn.Parameter(weight.clone())
    setattr(part, "in_features" if is_linear else "in_channels", weight.shape[1])
    return True if padded else None


def _cut_rows(part: Any, rows: Tensor) -> None:
    """Cut what a layer or a normalisation makes."""
    for name in ("weight", "bias"):
        if getattr(part, name, None) is not None:
            setattr(part, name, nn.Parameter(getattr(part, name)[rows].clone()))
    for name in ("running_mean", "running_var"):
        if getattr(part, name, None) is not None:
            setattr(part, name, getattr(part, name)[rows].clone())
    for name in ("out_features", "out_channels", "num_features"):
        if hasattr(part, name):
            setattr(part, name, len(rows))
