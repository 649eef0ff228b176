"""Groups of entries of a parameter vector."""

from collections.abc import Sequence, Set

import torch
from torch import Tensor

from sklflat.networks.functional import ParameterVector
from sklflat.networks.unit_layer import UnitLayer


class Blocks:
    """For each of several units, some entries of a vector of length p.

    Blocks of units of different layers may overlap, those of one layer do not.

    Parameters
    ----------
    entries : Tensor of shape (n_entries,), int64
        The blocks one after another.
    owners : Tensor of shape (n_entries,), int64
        The unit of each of them, in ascending order.
    n_units : int

    Attributes
    ----------
    entries, owners : Tensor
    sizes : Tensor of shape (n_units,), int64
        Number of entries of each unit.

    Examples
    --------
    >>> import torch
    >>> from sklflat.networks.blocks import Blocks
    >>> blocks = Blocks(torch.tensor([0, 2, 3]), torch.tensor([0, 0, 1]), 2)
    >>> blocks.indices(0)
    tensor([0, 2])
    >>> blocks.sum(torch.tensor([1.0, 10.0, 100.0, 1000.0]))
    tensor([ 101., 1000.])
    """

    def __init__(self, entries: Tensor, owners: Tensor, n_units: int) -> None:
        self.entries = entries
        self.owners = owners
        self.sizes = torch.bincount(owners, minlength=n_units)
        self._ends = self.sizes.cumsum(0)

    def __len__(self) -> int:
        return len(self.sizes)

    def indices(self, unit: int) -> Tensor:
        """The entries of one unit, in ascending order."""
        if not 0 <= unit < len(self):
            raise IndexError(f"unit={unit} is not among the {len(self)} units from 0 on.")
        end = int(self._ends[unit])
        return self.entries[end - int(self.sizes[unit]) : end]

    def sum(self, values: Tensor) -> Tensor:
        """Sums (..., n_units) over the blocks, of values (..., p); an empty block's is 0."""
        total = values.new_zeros(*values.shape[:-1], len(self))
        owners, entries = self.owners.to(values.device), self.entries.to(values.device)
        return total.index_add(-1, owners, values[..., entries])


def blocks_of(
    layers: Sequence[UnitLayer], direction: str, vector: ParameterVector, parameters: Set[str]
) -> Blocks:
    """The entries of a parameter vector that feed or read each unit of some layers.

    Parameters
    ----------
    layers : sequence of UnitLayer
    direction : {"incoming", "outgoing"}
    vector : ParameterVector
    parameters : set of str
        Names of all parameters of the network whose layers they are.
    """
    if not parameters & set(vector.names):
        raise ValueError(
            f"vector has parameters named {vector.names[:3]} and so on, none of which is one of "
            "the network whose units these are. Pass ParameterVector.of(module)."
        )
    entries, owners = [torch.empty(0, dtype=torch.int64)], [torch.empty(0, dtype=torch.int64)]
    n_units = 0
    for layer in layers:
        known, start = layer.owners(direction), 0
        for name, size, shape in zip(vector.names, vector.sizes, vector.shapes, strict=True):
            if name is not None and name in known:
                if known[name].shape != shape:
                    raise ValueError(
                        f"Parameter {name!r} of vector has shape {tuple(shape)}, where the network "
                        f"whose units these are has {tuple(known[name].shape)}."
                    )
                units = known[name].flatten()
                owned = (units >= 0).nonzero().flatten()
                entries.append(owned + start)
                owners.append(units[owned].to(torch.int64) + n_units)
            start += size
        n_units += layer.n_units
    owners_in_order, order = torch.cat(owners).sort(stable=True)  # entries of a unit ascend
    ordered = torch.cat(entries)[order]
    return Blocks(ordered.to(vector.device), owners_in_order.to(vector.device), n_units)
