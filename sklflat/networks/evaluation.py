"""Evaluate a module without side effects: flags, buffers and generators are restored."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class BufferSnapshot:
    """Copies of all buffers of some modules, to be put back in place.

    Every buffer counts, whatever class of normalisation it belongs to. A buffer that the
    module has meanwhile replaced by another tensor is restored too.

    Parameters
    ----------
    *modules : torch.nn.Module
    """

    def __init__(self, *modules: nn.Module) -> None:
        self._saved: list[tuple[nn.Module, str, Tensor]] = [
            (owner, name, buffer.detach().clone())
            for module in modules
            for owner in module.modules()
            for name, buffer in owner._buffers.items()
            if buffer is not None
        ]

    @torch.no_grad()
    def restore(self) -> None:
        """Put the copied values back into the buffers, in place."""
        for owner, name, saved in self._saved:
            current = owner._buffers[name]
            if current is not None and current.shape == saved.shape:
                current.copy_(saved)
            else:
                owner._buffers[name] = saved.clone()


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
    # the process-wide generators that a module may draw from
    devices = {p.device for p in module.parameters() if p.device.type == "cuda"}
    cuda = [torch.cuda.default_generators[d.index] for d in devices]
    generators = [torch.default_generator, *cuda]
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


def _versions(module: nn.Module) -> list[tuple[int, int]]:
    return [(id(b), b._version) for b in module.buffers()]


def prepared(module: nn.Module, X: Tensor) -> Tensor:
    """A copy of X on the device of a module, floating-point numbers in its precision.

    A module without parameters of such numbers, as a quantised one, is taken to be of float32.
    """
    like = next((p for p in module.parameters() if p.is_floating_point()), torch.empty(0))
    # a copy, as a module may work in place
    return X.to(like.device, like.dtype if X.is_floating_point() else X.dtype, copy=True)
