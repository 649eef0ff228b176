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
from sklflat.exceptions import CommandError

__all__ = ["CLAIMS", "DATA", "Claim", "claim_number", "claims_named", "protocols"]

#: data sets, the planted one first
DATA = ("planted", "digits", "breast cancer", "wine")


@dataclass(frozen=True)
class Claim:
    """A protocol, and the function that measures it.

    Attributes
    ----------
    protocol : Protocol
    measure : callable
        Metrics of all arms by ``measure(data, seed)``: of a data set by its name, one of the
        protocol's, and for one seed; a dict of str to dict of str to float, by arm and metric.
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


def claims_named() -> str:
    """Numbers and titles of all claims, in one line."""
    return ", ".join(f"{number} {claim.protocol.title}" for number, claim in CLAIMS.items())


def claim_number(word: str) -> int:
    """The number of a claim that is meant by its number, or by a part of its title.

    Parameters
    ----------
    word : str

    Returns
    -------
    number : int

    Raises
    ------
    CommandError
        If it means none or several; names all.

    Examples
    --------
    >>> from sklflat.claims.registry import claim_number
    >>> claim_number("4"), claim_number("rewinding"), claim_number("flat directions")
    (4, 3, 4)
    """
    titles = {number: claim.protocol.title.lower() for number, claim in CLAIMS.items()}
    asked = word.strip().lower()
    found = [n for n, title in titles.items() if asked in (str(n), title)]
    found = found or [n for n, title in titles.items() if asked and asked in title]
    if len(found) == 1:
        return found[0]
    said = f"this is in the titles of claims {' and '.join(map(str, found))}; " if found else ""
    raise CommandError(
        f"--only {word}: {said}claims are numbered {min(CLAIMS)} to {max(CLAIMS)}: "
        f"{claims_named()}."
    )
