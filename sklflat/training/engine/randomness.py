"""Random numbers of torch modules, drawn without touching the process-wide generators."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode

from sklflat.training.engine.narrow_products import in_best_order

# torch layers such as Dropout draw from generators that all threads share, so only one thread may
# put its own state there at a time
_GLOBAL_GENERATORS = threading.RLock()


def global_generators(device: torch.device) -> list[torch.Generator]:
    """The process-wide generators that a module on a device may draw from."""
    generators = [torch.default_generator]
    if device.type == "cuda":
        index = torch.cuda.current_device() if device.index is None else device.index
        generators.append(torch.cuda.default_generators[index])
    return generators


class RandomStream:
    """A private stream of random numbers for one network: of its device and of the CPU.

    Examples
    --------
    >>> import torch
    >>> from sklflat.training.engine.randomness import RandomStream
    >>> before = torch.get_rng_state()
    >>> with RandomStream(0).as_global():
    ...     a = torch.rand(3)
    >>> with RandomStream(0).as_global():
    ...     b = torch.rand(3)
    >>> bool((a == b).all()), bool((before == torch.get_rng_state()).all())
    (True, True)
    """

    def __init__(self, seed: int, device: str | torch.device = "cpu") -> None:
        self.device = torch.device(device)
        self._is_global = False
        self.generators = [
            torch.Generator(g.device).manual_seed(seed) for g in global_generators(self.device)
        ]

    @property
    def generator(self) -> torch.Generator:
        """The generator of the network's own device."""
        return self.generators[-1]

    def get_state(self) -> list[Tensor]:
        """A copy of the stream's position."""
        return [g.get_state() for g in self.generators]

    def set_state(self, state: list[Tensor]) -> None:
        """Go to a position that ``get_state`` returned."""
        for generator, s in zip(self.generators, state, strict=True):
            generator.set_state(s)

    @contextmanager
    def as_global(self) -> Iterator[None]:
        """Let everything that draws from torch's global generators draw from this stream."""
        if self._is_global:  # nested
            yield
            return
        with _GLOBAL_GENERATORS:
            self._is_global = True
            shared = global_generators(self.device)
            saved = [g.get_state() for g in shared]
            for generator, own in zip(shared, self.generators, strict=True):
                generator.set_state(own.get_state())
            try:
                yield
            finally:
                self._is_global = False
                for generator, own, state in zip(shared, self.generators, saved, strict=True):
                    own.set_state(generator.get_state())
                    generator.set_state(state)

    def __getstate__(self) -> dict[str, Any]:
        return {"device": str(self.device), "state": [s.cpu() for s in self.get_state()]}

    def __setstate__(self, pickled: dict[str, Any]) -> None:
        on_gpu = pickled["device"].startswith("cuda") and not torch.cuda.is_available()
        device = "cpu" if on_gpu else pickled["device"]
        self.__init__(0, device)  # type: ignore[misc]
        self.set_state(pickled["state"][: len(self.generators)])


@dataclass(frozen=True)
class DrawPerReplica:
    """A random operation with an own generator for each slice along the first axis.

    Each slice gets the numbers that it would get alone.
    """

    operation: OpOverload

    def __call__(
        self, first: Tensor, *args: Any, generator: Sequence[torch.Generator], **kwargs: Any
    ) -> Tensor:
        """The operation's result; in place, if the operation is."""
        schema = self.operation._schema
        if not any(a.name == "generator" for a in schema.arguments):
            raise NoGeneratorError(f"{self.operation} takes no generator")
        if not isinstance(first, Tensor) or len(first) != len(generator):
            raise NoGeneratorError(f"{self.operation} does not draw for each replica")
        rows = [
            self.operation(row, *args, generator=g, **kwargs)
            for row, g in zip(first, generator, strict=True)
        ]
        return first if schema.is_mutable else torch.stack(rows)


class NoGeneratorError(RuntimeError):
    """An operation draws random numbers, but takes no generator; names it."""


class ReplicaGenerators(TorchDispatchMode):
    """How a stack computes: every replica draws from its own generator.

    Products are taken in the order that suits their shapes.
    """

    def __init__(self, generators: Sequence[torch.Generator]) -> None:
        super().__init__()
        self.generators = generators

    def __torch_dispatch__(
        self,
        func: OpOverload,
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if torch.Tag.nondeterministic_seeded not in func.tags:
            return in_best_order(func, args)(*args, **kwargs)
        if any(a.name == "generator" for a in func._schema.arguments):
            return DrawPerReplica(func)(*args, **{**kwargs, "generator": self.generators})
        # attention carries the tag, but draws only if it has dropout
        shared = global_generators(self.generators[0].device)
        before = [g.get_state() for g in shared]
        out = func(*args, **kwargs)
        if any(
            not torch.equal(g.get_state(), state) for g, state in zip(shared, before, strict=True)
        ):
            for g, state in zip(shared, before, strict=True):
                g.set_state(state)
            raise NoGeneratorError(f"{func} takes no generator")
        return out
