"""Functions of tensors that are recorded in their first calls and replayed from then on."""

import random
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sklflat.training.engine.tape import NotReplayableError, Recorder, Tape

Replay = Callable[..., tuple[Tensor, ...]]


class Replays:
    """Recordings of computations over some modules, one for every kind of call.

    The first two calls of a kind are recorded while they run. If both recordings are the same,
    ``get`` returns the replay; otherwise nothing is replayed any more, and ``why_not`` says why.
    The modules' Python state must not change in a call. ``stacked`` and ``lasting`` are those of
    :class:`~sklflat.training.engine.tape.Tape`.
    """

    def __init__(
        self,
        modules: Sequence[nn.Module],
        why_not: str | None = None,
        stacked: bool = False,
        lasting: int = 0,
    ) -> None:
        self.modules = modules
        self.why_not = why_not
        self.stacked = stacked
        self.lasting = lasting
        self._is_random = False
        self._tapes: dict[Hashable, Tape] = {}
        self._replays: dict[Hashable, Replay] = {}

    @property
    def may_draw(self) -> bool:
        """Whether random numbers are drawn; not known before something was recorded."""
        return self._is_random or not self._tapes

    def get(self, kind: Hashable) -> Replay | None:
        """The function ``replay(*inputs, generator)`` for this kind of call, once there is one."""
        return self._replays.get(kind)

    def record(
        self,
        kind: Hashable,
        inputs: Sequence[Tensor],
        compute: Callable[[Recorder], tuple[Tensor, ...]],
        generators: Sequence[torch.Generator] | None = None,
    ) -> tuple[Tensor, ...]:
        """The outputs of ``compute(recorder)``, recorded on the way.

        Calls of one kind do the same to inputs of the same shapes, which a replay gets anew.
        """
        before = python_state(self.modules)
        with Recorder(generators) as recorder:
            outputs = compute(recorder)
        self._is_random |= recorder.is_random
        try:
            if python_state(self.modules) != before:
                raise NotReplayableError("the forward pass changes Python state")
            tape = Tape(recorder, inputs, outputs, self.stacked, self.lasting)
            known = self._tapes.setdefault(kind, tape)
            if not known.same_as(tape):
                raise NotReplayableError("two batches were computed differently")
            if known is not tape:
                self._replays[kind] = tape.compile()
        except NotReplayableError as refusal:
            self.why_not = str(refusal)
        return outputs


def is_known(cls: type) -> bool:
    """Whether a class is torch's or this package's own."""
    return cls.__module__.split(".")[0] in ("torch", "sklflat")


def why_not_recorded(modules: Sequence[nn.Module], net_classes: Sequence[type]) -> str | None:
    """Why modules may run Python code that a recording does not contain; None if they do not.

    Counters in a dictionary, values read by NumPy or Python's random numbers would stay as
    they were, unnoticed. Only torch's and this package's own classes are known to do none of it.
    """
    for method in ("get_loss", "infer"):
        for cls in net_classes:
            if method in vars(cls):
                return f"{cls.__name__}.{method} is not torch's or this package's"
    for part in (p for module in modules for p in module.modules()):
        if not is_known(type(part)):
            return f"{type(part).__name__}.forward is not torch's or this package's"
        hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
        if "forward" in vars(part) or any(getattr(part, kind) for kind in hooks):
            return "hooks want to be called"
    return None


def attributes(modules: Sequence[nn.Module]) -> list[tuple[str, Any]]:
    """Names and values of all plain attributes of modules and their parts."""
    plain = (int, float, bool, str, type(None), tuple)
    return [
        (key, value)
        for module in modules
        for part in module.modules()
        for key, value in vars(part).items()
        if type(value) in plain
    ]


def python_state(modules: Sequence[nn.Module]) -> list[Any]:
    """What a module might change, outside of tensors, when it is run.

    A computation that changes any of it cannot be replayed: counters and other plain
    attributes, the random state of Python and NumPy.
    """
    numpy_state: Any = np.random.get_state(legacy=False)  # noqa: NPY002 (it is read, not used)
    numpy_state = numpy_state["state"]
    return [
        attributes(modules),
        random.getstate(),
        numpy_state["pos"],
        numpy_state["key"].tobytes(),
    ]


@contextmanager
def tensors_kept_apart(module: nn.Module) -> Iterator[None]:
    """Within, a module may keep tensors of its passes; afterwards it has those that it had before.

    What it keeps of a vectorised pass is no tensor that could be used or copied.
    """
    before = {id(part): _plain_tensors(part) for part in module.modules()}
    try:
        yield
    finally:
        for part in module.modules():
            for name in _plain_tensors(part):
                delattr(part, name)
            vars(part).update(before.get(id(part), {}))


def _plain_tensors(part: nn.Module) -> dict[str, Tensor]:
    return {name: value for name, value in vars(part).items() if isinstance(value, Tensor)}
