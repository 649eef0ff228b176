"""Layers that are affine in their input, whatever their class, and matrices in none of them."""

from collections import Counter
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd
from torch.nn.utils.parametrize import ParametrizationList

from sklflat.networks.hooks import temporary_hooks

#: layers of exactly these classes are affine, and a correction can become part of their weights
AFFINE = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)

#: layers whose matrices are tables, or scales of what is normalised
_NO_MATRIX = (nn.Embedding, nn.EmbeddingBag, nn.LayerNorm, nn.GroupNorm, _NormBase)

#: difference from additivity, relative to the outputs, that counts as rounding
_ROUNDING = 1e-4


@torch.no_grad()
def affine_layers(module: nn.Module, x: Tensor) -> tuple[dict[str, int], list[str]]:
    """Layers that are affine and run once, found by running the module on some rows.

    A layer counts if it holds a matrix, has no layers inside, and adds up:
    ``f(a + b) + f(0) = f(a) + f(b)`` for its inputs a and b. So do subclasses, transposed
    convolutions, parametrised weights and a user's own layers.

    Parameters
    ----------
    module : torch.nn.Module
    x : Tensor of shape (n, ...)

    Returns
    -------
    layers : dict of str to int
        How many axes of a layer's output come after its channels.
    others : list of str
        Parameters with two or more axes that are in none of these layers: a recurrent or attention
        layer's, those that a module reads itself, and those of a layer that runs several times.

    Examples
    --------
    >>> import torch
    >>> from sklflat.paths.repair.affine_layers import affine_layers
    >>> module = torch.nn.Sequential(torch.nn.Conv1d(2, 2, 1), torch.nn.LSTM(4, 3))
    >>> layers, others = affine_layers(module, torch.ones(1, 2, 4))
    >>> layers, others
    ({'0': 1}, ['1.weight_ih_l0', '1.weight_hh_l0'])
    """
    candidates = {name: part for name, part in module.named_modules() if _is_candidate(part)}
    found: dict[str, int] = {}
    calls = Counter[str]()

    def see(name: str, part: nn.Module, given: tuple[Any, ...], out: Any) -> None:
        calls[name] += 1
        if len(given) == 1 and _is_affine(part, given[0], out):
            found[name] = _n_positions(part)

    handles = [
        part.register_forward_hook(lambda part, given, out, name=name: see(name, part, given, out))
        for name, part in candidates.items()
    ]
    with temporary_hooks(handles):
        module(x.clone())
    once = [name for name in candidates if name in found and calls[name] == 1]
    held = {id(p) for name in once for p in module.get_submodule(name).parameters()}
    held |= {
        id(p)
        for part in module.modules()
        if isinstance(part, _NO_MATRIX)
        for p in part.parameters()
    }
    others = [n for n, p in module.named_parameters() if p.ndim > 1 and id(p) not in held]
    return {name: found[name] for name in once}, others


def _is_candidate(part: nn.Module) -> bool:
    if isinstance(part, (*_NO_MATRIX, nn.RNNBase, ParametrizationList)):
        return False
    children = dict(part.named_children())
    parametrized = children.pop("parametrizations", nn.Module())
    own = [*part.parameters(recurse=False), *parametrized.parameters()]
    return not children and any(p.ndim > 1 for p in own)


def _is_affine(part: nn.Module, given: Any, out: Any) -> bool:
    if not (isinstance(given, Tensor) and isinstance(out, Tensor) and given.is_floating_point()):
        return False
    if type(part) in AFFINE:
        return True
    if max(p.ndim for p in part.parameters()) > 2 and not isinstance(part, _ConvNd):
        return False  # it is not known which axis has the channels
    f = part.forward  # not a call, which would run hooks
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(2, *given.shape, generator=generator, dtype=torch.float64).to(given)
    try:
        zero = f(torch.zeros_like(given))
        for size in (1.0, 1e3):
            a, b = size * noise
            together, apart = f(a + b) + zero, f(a) + f(b)
            if not float((together - apart).abs().max()) <= _ROUNDING * float(apart.abs().max()):
                return False
    except RuntimeError:
        return False
    return True


def _n_positions(part: nn.Module) -> int:
    """How many axes of a layer's output come after its channels."""
    return max(p.ndim for p in part.parameters()) - 2 if isinstance(part, _ConvNd) else 0
