"""Runs of a module that always take the same way, at any parameters."""

from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.utils._python_dispatch import TorchDispatchMode

from sklflat.exceptions import UnsupportedNetworkError
from sklflat.networks.network import copy_module


def traceable(module: nn.Module) -> nn.Module:
    """A copy that always takes the same way: in float64, evaluation mode, with gradients.

    Fused implementations are used by torch where no gradient is wanted.
    """
    if any(is_lazy(p) for p in module.parameters()):
        raise UnsupportedNetworkError(
            "The module has lazy layers without a shape: run it once before it is aligned."
        )
    twin = copy_module(module).cpu().double()
    for p in twin.parameters():
        p.requires_grad_(p.is_floating_point())
    return twin


def run(
    module: nn.Module,
    state: dict[str, Tensor],
    x: Tensor,
    watch: TorchDispatchMode | None = None,
    *,
    seed: int = 0,
) -> Any:
    """What a module returns for x with the parameters and buffers of a state.

    Parameters
    ----------
    module : torch.nn.Module
        From :func:`traceable`.
    state : dict of str to Tensor
    x : Tensor
    watch : TorchDispatchMode, default=None
        Sees the operations of the module, and no others.
    seed : int, default=0
        Of torch's random numbers, should the module draw any.
    """
    own = {n: t.detach().clone() for n, t in state.items()}
    for name, p in module.named_parameters():
        own[name].requires_grad_(p.requires_grad)
    return called(partial(torch.func.functional_call, module, own), x.clone(), watch, seed=seed)


def called(
    f: Callable[[Tensor], Any],
    x: Tensor,
    watch: TorchDispatchMode | None = None,
    *,
    seed: int = 0,
) -> Any:
    """``f(x)`` with gradients, in front of a watch: see :func:`run`.

    Raises
    ------
    UnsupportedNetworkError
        If it cannot be called.
    """
    try:
        with torch.random.fork_rng(devices=[]), torch.enable_grad(), watch or nullcontext():
            torch.default_generator.manual_seed(seed)
            return f(x)
    except UnsupportedNetworkError:
        raise
    except (AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise UnsupportedNetworkError(
            f"The network cannot be run on X of shape {tuple(x.shape)} in float64: {error}. It is "
            "aligned by calling it with a few rows of X and nothing else; align=None needs no "
            "symmetry."
        ) from error
