"""The seven claims, in order."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import ModuleType

from sklflat.claims import (
    flat_directions,
    flat_noise,
    invariant_core,
    rewound_children,
    sharpness_aware,
    softened_outputs,
    surrogate_trees,
)
from sklflat.claims.protocol import Protocol

__all__ = ["CLAIMS", "DATA", "Claim", "protocols"]

#: data sets, the planted one first
DATA = ("planted", "digits", "breast cancer", "wine")


@dataclass(frozen=True)
class Claim:
    """A protocol, and the function that measures it.

    Attributes
    ----------
    protocol : Protocol
    measure : callable
        ``measure(data, seed)`` gives metrics by arm.
    module : module
        Whose source the kept numbers depend on.
    """

    protocol: Protocol
    measure: Callable[[str, int], dict[str, dict[str, float]]]
    module: ModuleType

    @classmethod
    def of(cls, module: ModuleType) -> "Claim":
        """The claim of a module."""
        return cls(module.PROTOCOL, module.measure, module)


#: by number
CLAIMS: dict[int, Claim] = {
    module.PROTOCOL.number: Claim.of(module)
    for module in (
        *(sharpness_aware, invariant_core, rewound_children, flat_directions),
        *(flat_noise, softened_outputs, surrogate_trees),
    )
}


def protocols(numbers: Sequence[int] = tuple(CLAIMS)) -> list[Protocol]:
    """Protocols of some claims, or of all."""
    return [CLAIMS[k].protocol for k in numbers]
