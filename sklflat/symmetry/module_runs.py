"""Deterministic runs of a module at any parameters, with bounded memory."""

from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.utils._python_dispatch import TorchDispatchMode

from sklflat.exceptions import UnsupportedNetworkError
from sklflat.networks.checks import refuse_scripted
from sklflat.networks.network import copy_module
from sklflat.networks.state import State
from sklflat.networks.tracing.tensors import tensors_in

#: bytes that the tensors of one run may take
_MAX_BYTES = 2**28


def check_rows(X: Any, name: str = "X") -> None:
    """Raise an error if data are no tensor of at least one row."""
    if not isinstance(X, Tensor):
        raise TypeError(f"{name} must be a torch.Tensor, got {type(X).__name__}.")
    if X.ndim == 0 or not len(X):
        raise ValueError(f"{name} must have at least one row, got shape {tuple(X.shape)}.")


def traceable(module: nn.Module) -> nn.Module:
    """A copy that always runs the same operations: in float64, evaluation mode, with gradients.

    Without gradients torch uses fused implementations.
    """
    if not isinstance(module, nn.Module):
        raise TypeError(f"module must be a torch.nn.Module, got {type(module).__name__}.")
    refuse_scripted(module, "cannot be aligned")
    if any(is_lazy(p) for p in module.parameters()):
        raise UnsupportedNetworkError(
            "The module has lazy layers without a shape: run it once before it is aligned."
        )
    copy = copy_module(module).cpu().double()
    for p in copy.parameters():
        p.requires_grad_(p.is_floating_point())
    return copy


def run(
    module: nn.Module,
    state: State,
    x: Tensor,
    watch: TorchDispatchMode | None = None,
    *,
    seed: int = 0,
) -> Any:
    """What a module returns for x with the parameters and buffers of a state.

    The operations are those of a run with gradients, but nothing is kept for a backward pass, so
    that memory is given back meanwhile; unless the module differentiates itself.

    Parameters
    ----------
    module : torch.nn.Module
        From :func:`traceable`.
    state : dict of str to Tensor
    x : Tensor
    watch : TorchDispatchMode, default=None
        Sees the operations of the module, and no others. It begins anew whenever it is entered.
    seed : int, default=0
        Of torch's random numbers, should the module draw any.
    """

    def call() -> Callable[[], Any]:
        own = {n: t.detach().clone() for n, t in state.items()}
        for name, p in module.named_parameters():
            own[name].requires_grad_(p.requires_grad)
        return partial(torch.func.functional_call, module, own, x.clone())

    try:
        with torch.autograd.graph.saved_tensors_hooks(lambda _: None, _refuse):
            return run_traced(call(), x, watch, seed=seed)
    except (_Wanted, UnsupportedNetworkError):
        return run_traced(call(), x, watch, seed=seed)


def run_traced(
    f: Callable[[], Any], x: Tensor, watch: TorchDispatchMode | None = None, *, seed: int = 0
) -> Any:
    """Call f, which runs a module on x, under a dispatch mode, with gradients and a fixed seed.

    Raises
    ------
    UnsupportedNetworkError
        If it cannot be called.
    """
    try:
        with torch.random.fork_rng(devices=[]), torch.enable_grad(), watch or nullcontext():
            torch.default_generator.manual_seed(seed)
            return f()
    except UnsupportedNetworkError:
        raise
    except (AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        casts = any(word in str(error) for word in ("dtype", "scalar type", "Float", "Half"))
        raise UnsupportedNetworkError(
            f"The network cannot be run on X of shape {tuple(x.shape)} in float64: {error}. It is "
            "aligned by calling it with a few rows of X and nothing else"
            + (", and must not cast to a fixed precision, as x.float() does" if casts else "")
            + "; align=None needs no symmetry."
        ) from error


class _Wanted(Exception):
    """A tensor that was not kept."""


def _refuse(_: None) -> Tensor:
    raise _Wanted


# --- memory -----------------------------------------------------------------------------------


def rows_at_once(module: nn.Module, state: State, x: Tensor) -> int:
    """How many rows like x can be run together in 256 MiB; at least one.

    Parameters
    ----------
    module : torch.nn.Module
        From :func:`traceable`.
    state : dict of str to Tensor
    x : Tensor of shape (2, ...)
        Two rows: the module is run on one, and on both.
    """
    used = []
    for n in (1, 2):
        watch = _Bytes()
        run(module, state, x[:n], watch)
        used.append(watch.hidden + watch.unfolded)
    a_row = max(1, used[1] - used[0])
    return max(1, (_MAX_BYTES - used[0] + a_row) // a_row)


class _Bytes(TorchDispatchMode):
    """Counts what operations make, as if all of it were kept, and the most one works with."""

    def __enter__(self) -> "_Bytes":
        self.hidden = self.unfolded = 0
        return super().__enter__()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        given = {t.data_ptr() for t in tensors_in([args, kwargs])}
        outs = [t for t in tensors_in(out) if t.data_ptr() not in given]
        self.hidden += sum(t.untyped_storage().nbytes() for t in outs)
        if outs and func.overloadpacket.__name__ == "convolution":  # a matrix of all its windows
            channels = outs[0].shape[1]
            windows = outs[0].numel() // channels * args[1][0].numel() * args[-1]
            self.unfolded = max(self.unfolded, windows * outs[0].element_size())
        return out
