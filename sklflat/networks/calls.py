"""Count the nonlinearities of a running module, look at what they make or put something else."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor
from torch.overrides import TorchFunctionMode

from sklflat.exceptions import UnsupportedNetworkError
from sklflat.networks.tracing.operations import EVENTS, event_of, works_in_place


class CallCounter(TorchFunctionMode):
    """While it is active in this thread, knows the nonlinearities of a module by their order.

    As under any such mode, torch does not use its fused transformer layers, which would hide
    theirs.

    Parameters
    ----------
    events : sequence of str
        The calls that one forward pass makes.
    visits : mapping of int to callable
        By the number of a call, a function of its output.
    replaces : bool
        Whether what that function returns takes the output's place.

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
        if not (self._replaces and works_in_place(func, kwargs)):
            out = func(*args, **kwargs)
            new = visit(out)
            return new if self._replaces else out
        # what takes the place of the activation must also arrive where that would be written
        x, *rest = args
        return x.copy_(visit(func(x.clone(), *rest, **kwargs)))

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
