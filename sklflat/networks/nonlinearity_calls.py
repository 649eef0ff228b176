"""Count the calls of nonlinearities in a forward pass, and read or replace their outputs."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.overrides import TorchFunctionMode

from sklflat.exceptions import UnsupportedNetworkError
from sklflat.networks.tracing import recurrent
from sklflat.networks.tracing.operations import EVENTS, event_of, works_in_place


class CallCounter(TorchFunctionMode):
    """Knows the nonlinearities of a module by the order of their calls, while it is active.

    As under any such mode, torch does not use its fused transformer layers, which would hide
    theirs.

    Parameters
    ----------
    events : sequence of str
        The calls that one forward pass makes.
    visits : mapping of int to callable
        By the number of a call, a function of its output.
    replaces : bool
        Whether what that function returns replaces the output.

    Attributes
    ----------
    n_ignored : int
        Calls that were made outside of the module.
    """

    def __init__(
        self,
        events: Sequence[str],
        visits: Mapping[int, Callable[[Tensor], Any]],
        replaces: bool = False,
    ) -> None:
        super().__init__()
        self._events = events
        self._visits = visits
        self._replaces = replaces
        self._watched = EVENTS if "linear" in events else EVENTS - {"linear"}
        self._count: int | None = None
        self.n_ignored = 0

    def begin(self) -> None:
        """A forward pass of the module begins."""
        self._count = 0

    def abort(self) -> None:
        """A forward pass ends in an error."""
        self._count = None

    def end(self) -> None:
        """A forward pass is complete."""
        count, self._count = self._count, None
        if count != len(self._events):
            raise _other_structure(
                f"made {count} of the {len(self._events)} calls of nonlinearities that it made"
            )

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        event = event_of(func)
        if event not in self._watched:
            return func(*args, **kwargs)
        visit = self._next(event)
        if visit is None:
            return func(*args, **kwargs)
        call = recurrent.described(event, args)
        if call is not None:
            outs = func(*args, **kwargs)
            state = visit(outs[0])
            return recurrent.replaced(outs, state, call) if self._replaces else outs
        if not (self._replaces and works_in_place(func, kwargs)):
            out = func(*args, **kwargs)
            new = visit(out)
            return new if self._replaces else out
        # what replaces the activation must also be written where that would be
        x, *rest = args
        new = visit(func(x.clone(), *rest, **kwargs))
        return x.copy_(new) if new.shape == x.shape else new

    def _next(self, event: str) -> Callable[[Tensor], Any] | None:
        if self._count is None:
            self.n_ignored += 1
            return None
        expected = self._events[self._count] if self._count < len(self._events) else "nothing more"
        if event != expected:
            raise _other_structure(f"calls {event!r} where it called {expected!r}")
        self._count += 1
        return self._visits.get(self._count - 1)


def _other_structure(what: str) -> UnsupportedNetworkError:
    return UnsupportedNetworkError(
        f"The network {what} when its units were looked for: its structure is another or depends "
        "on the data. Find the units of this network anew, by Units.find."
    )


# --- when a forward pass begins and ends -------------------------------------------------------

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
