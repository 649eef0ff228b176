"""Ctrl-C: what is under way ends where it can go on."""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

#: seconds after the start of an epoch from which an interrupt does not wait for its end
_PATIENCE = 1.0


@dataclass
class Interrupt:
    """Whether the user has pressed Ctrl-C, and whether an interrupt has to wait for callbacks."""

    is_pending: bool = False
    waits: bool = False
    is_due: bool = False


#: that of the block of :func:`deferred_interrupt` that the main thread is in
_current: list[Interrupt] = []


@contextmanager
def deferred_interrupt() -> Iterator[Interrupt]:
    """Put off a ``KeyboardInterrupt`` to the end of an epoch, where its state is whole.

    The second one, and any that comes later than a second after the start, is raised at once.
    Does nothing outside of the main thread, or where SIGINT is handled by somebody else.
    """
    interrupt = Interrupt()
    before = _default_handler()
    if before is None:
        yield interrupt
        return
    start = time.monotonic()

    def handle(number: int, frame: FrameType | None) -> None:
        if interrupt.is_pending or time.monotonic() - start > _PATIENCE:
            if interrupt.is_due or not interrupt.waits:
                raise KeyboardInterrupt
            interrupt.is_due = True
        interrupt.is_pending = True

    signal.signal(signal.SIGINT, handle)
    _current.append(interrupt)
    try:
        yield interrupt
    finally:
        _current.pop()
        signal.signal(signal.SIGINT, before)


@contextmanager
def interrupt_afterwards() -> Iterator[None]:
    """Hand an interrupt to whoever handles it after the block; the second one at once.

    Callbacks stop training by raising ``KeyboardInterrupt``. While they run, the user's Ctrl-C must
    not be taken for that: the training would be kept as one that has ended. Does nothing outside of
    the main thread, or where SIGINT has no handler in Python.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    if _current:  # its handler is asked to wait, as to change handlers takes longer
        (*_, interrupt) = _current
        interrupt.waits = True
        try:
            yield
        finally:
            interrupt.waits = False
            due, interrupt.is_due = interrupt.is_due, False
            if due:
                raise KeyboardInterrupt
        return
    before = signal.getsignal(signal.SIGINT)
    if not callable(before):
        yield
        return
    pending: list[FrameType | None] = []

    def handle(number: int, frame: FrameType | None) -> None:
        pending.append(frame)
        if len(pending) > 1:
            before(number, frame)

    signal.signal(signal.SIGINT, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if len(pending) == 1:
            before(signal.SIGINT, pending[0])


def _default_handler() -> signal.Handlers | None:
    """The handler of SIGINT, if it is Python's own and may be changed here."""
    if threading.current_thread() is not threading.main_thread():
        return None
    handler = signal.getsignal(signal.SIGINT)
    return handler if handler is signal.default_int_handler else None  # type: ignore[return-value]
