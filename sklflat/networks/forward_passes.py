"""Know when the forward pass of a module begins and ends, whoever calls it."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook

from sklflat.networks.calls import CallCounter

Structure = tuple[tuple[str, str], ...]


def structure_of(module: nn.Module) -> Structure:
    """Paths and classes of all parts of a module; those of its copies are the same."""
    return tuple(
        (path, f"{type(part).__module__}.{type(part).__qualname__}")
        for path, part in module.named_modules()
    )


class ForwardPasses:
    """Starts and stops a counter with each forward pass of a module of some structure.

    Only passes in the thread that made this object are seen.

    Parameters
    ----------
    counter : CallCounter
    structure : sequence of (str, str)

    Attributes
    ----------
    n_complete : int
        Forward passes that came to their ends.
    """

    def __init__(self, counter: CallCounter, structure: Sequence[tuple[str, str]]) -> None:
        self._counter = counter
        self._structure = tuple(structure)
        self._thread = threading.get_ident()
        self._known: dict[int, tuple[nn.Module, bool]] = {}
        self._running: nn.Module | None = None
        self.n_complete = 0

    @contextmanager
    def watched(self) -> Iterator["ForwardPasses"]:
        """See forward passes while this is entered."""
        # a module's own hooks would have to be put on all of its twins, known or not
        enter = register_module_forward_pre_hook(self._enter)
        leave: Any = register_module_forward_hook(self._leave, always_call=True)
        try:
            yield self
        finally:
            enter.remove()
            leave.remove()

    def _enter(self, module: nn.Module, args: Any) -> None:
        if self._running is None and self._is_here() and self._is_twin(module):
            self._running = module
            self._counter.begin()

    def _leave(self, module: nn.Module, args: Any, out: Any) -> None:
        if self._running is not module or not self._is_here():
            return
        self._running = None
        if out is None:  # an error is on its way
            self._counter.abort()
        else:
            self._counter.end()
            self.n_complete += 1

    def _is_here(self) -> bool:
        return threading.get_ident() == self._thread

    def _is_twin(self, module: nn.Module) -> bool:
        known = self._known.get(id(module))
        if known is None:
            known = self._known[id(module)] = module, structure_of(module) == self._structure
        return known[1]
