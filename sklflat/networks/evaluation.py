"""Run a module on data without leaving a trace in it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from sklflat.networks.buffers import BufferSnapshot


@contextmanager
def undisturbed(module: nn.Module, draws: Callable[[], bool]) -> Iterator[None]:
    """Evaluation mode without gradients; afterwards flags, buffers and generators are as before.

    Parameters
    ----------
    module : torch.nn.Module
    draws : callable
        Says afterwards whether the module has drawn random numbers. If it has not, the
        generators are not touched, as other threads may be drawing from them.
    """
    training = [part for part in module.modules() if part.training]
    snapshot = BufferSnapshot(module)
    versions = _versions(module)
    generators = _generators(module)
    states = [generator.get_state() for generator in generators]
    for part in training:
        part.training = False
    try:
        with torch.no_grad():
            yield
    finally:
        # writing even the same values would upset a backward pass that still needs them
        if _versions(module) != versions:
            snapshot.restore()
        for part in training:
            part.training = True
        if draws():
            for generator, state in zip(generators, states, strict=True):
                generator.set_state(state)


def _generators(module: nn.Module) -> list[torch.Generator]:
    """The process-wide generators that a module may draw from."""
    devices = {p.device for p in module.parameters() if p.device.type == "cuda"}
    return [torch.default_generator, *(torch.cuda.default_generators[d.index] for d in devices)]


def _versions(module: nn.Module) -> list[tuple[int, int]]:
    return [(id(b), b._version) for b in module.buffers()]


def prepared(module: nn.Module, X: Tensor) -> Tensor:
    """A copy of X on the device of a module, floating-point numbers in its precision."""
    like = next((p for p in module.parameters() if p.is_floating_point()), None)
    if like is None:
        return X.clone()
    # a copy, as a module may work in place
    return X.to(like.device, like.dtype if X.is_floating_point() else X.dtype, copy=True)
