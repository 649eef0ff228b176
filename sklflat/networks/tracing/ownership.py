"""Whose the entries of parameters are."""

from collections.abc import Mapping

import torch
from torch import Size, Tensor

from sklflat.networks.tracing.flow import NONE, SHARED, collected


class Owners:
    """For each entry of some parameters, the one unit that it belongs to.

    An entry that belongs to two units belongs to none.

    Parameters
    ----------
    shapes : mapping of str to torch.Size
        Of the parameters.
    """

    def __init__(self, shapes: Mapping[str, Size]) -> None:
        self._shapes = shapes
        self._units: dict[str, Tensor] = {}

    def add(self, name: str, entries: Tensor, units: Tensor) -> None:
        """Say whose some entries of a parameter are; NONE says nothing."""
        new = collected(self._shapes[name].numel(), entries, units)
        old = self._units.setdefault(name, new)
        both = torch.where(old == new, old, SHARED)
        self._units[name] = torch.where(old == NONE, new, torch.where(new == NONE, old, both))

    def items(self) -> list[tuple[str, Tensor, Tensor]]:
        """All that was added, as arguments of :meth:`add`."""
        return [(name, torch.arange(len(u)), u) for name, u in self._units.items()]

    def finished(self) -> dict[str, Tensor]:
        """Tensors of the parameters' shapes with the units of the entries, -1 for none."""
        return {
            name: units.where(units >= 0, NONE).to(torch.int32).view(self._shapes[name])
            for name, units in self._units.items()
            if bool((units >= 0).any())
        }
