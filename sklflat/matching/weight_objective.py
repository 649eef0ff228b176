"""The objective of weight matching, and what it gains where one group is reordered."""

from collections.abc import Collection

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sklflat.matching.assignment import parts_of, positions
from sklflat.matching.tensor_slices import slices_of, sorted_within
from sklflat.networks.state import State, check_state
from sklflat.symmetry.symmetry import Symmetry


class WeightObjective:
    r"""The inner product of the weights of two networks, under permutations of the second.

    .. math:: f(\pi) = \sum_t \langle A_t, \pi(B_t) \rangle

    Those tensors count that are named, or all of floating point.

    Attributes
    ----------
    a, b : dict of str to Tensor
        Tensors that count and that a permutation can move, in float64.
    constant : float
        Inner product of the others.
    upper_bound : float
        :math:`\sum_t \|A_t\| \|B_t\|`, with the constant: what no permutation exceeds.
    slices : list of list of TensorSlice
        Of every group.
    neighbours : list of set of int
        For every group, those that share a tensor with it: itself, if it is in one twice.
    """

    def __init__(
        self, symmetry: Symmetry, a: State, b: State, names: Collection[str] | None = None
    ) -> None:
        self.symmetry = symmetry
        check_state(a, "a")
        if names is None:
            names = [n for n, tensor in a.items() if tensor.is_floating_point()]
        check_state(a, "a", finite=names)
        check_state(b, "b", finite=names)
        wide = {
            name: tuple(state[name].detach().to("cpu", torch.float64) for state in (a, b))
            for name in names
        }
        moved = [name for name in wide if name in symmetry.labels]
        self.a = {name: wide[name][0] for name in moved}
        self.b = {name: wide[name][1] for name in moved}
        self.constant = sum(
            float((x * y).sum()) for name, (x, y) in wide.items() if name not in self.a
        )
        norms = [float(self.a[name].norm() * self.b[name].norm()) for name in moved]
        self.upper_bound = self.constant + sum(norms)
        self.scale = abs(self.constant) + sum(norms)
        self.slices = [slices_of(symmetry, group, self.a) for group in symmetry.groups]
        self.neighbours = [self._neighbours(i) for i in range(len(self.slices))]
        every = [own for slices in self.slices for own in slices]
        self._rows = {own: own.rows(self.a[own.name]) for own in every}
        # where no other group moves a slice, its products are computed once
        self._products = {
            own: self._rows[own] @ own.rows(self.b[own.name]).T for own in every if own.alone
        }

    def _neighbours(self, i: int) -> set[int]:
        names = [own.name for own in self.slices[i]]
        near = {
            j for j, slices in enumerate(self.slices) if any(own.name in names for own in slices)
        }
        return near if len(names) > len(set(names)) else near - {i}

    def value(self, moved: State) -> float:
        """The inner product with the second network's tensors, moved."""
        parts = [float((x * moved[name]).sum()) for name, x in self.a.items()]
        return self.constant + float(np.sum(parts))

    def permuted(self, perm: Tensor, moved: State | None = None, group: int = -1) -> State:
        """The second network's tensors (of one group only, the others taken from `moved`)."""
        if moved is None:
            return self.symmetry.permute(self.b, perm)
        names = {own.name for own in self.slices[group]}
        part = self.symmetry.permute({name: self.b[name] for name in names}, perm)
        return {**moved, **part}

    def gains(
        self, group: int, perm: Tensor, moved: State, unknown: NDArray | None = None
    ) -> list[NDArray]:
        """Gains (n, n), for every part of a group, where one class gets what another class has.

        All else is as the second network, permuted by ``perm`` to ``moved``, is. Where classes are
        not yet assigned (``unknown``, part numbers as :class:`TensorSlice` takes them) a gain is
        the largest that any order of theirs allows, whichever is best for this pair of classes (the
        rearrangement inequality).
        """
        parts = parts_of(self.symmetry.groups[group])
        gains = [np.zeros((len(classes), len(classes))) for classes in parts]
        for own in self.slices[group]:
            classes = parts[own.part]
            if own.alone:
                order = positions(classes, len(perm))[perm.numpy()[classes]]
                gains[own.part] += self._products[own][:, order]
                continue
            x, y = self._rows[own], own.rows(moved[own.name])
            if unknown is not None:
                numbers = own.exchangeable(unknown)
                x, y = sorted_within(x, numbers), sorted_within(y, numbers)
            gains[own.part] += x @ y.T
        return gains

    def determinate(self, group: int, unknown: NDArray) -> float:
        """Share of the squared weights at a group that no unassigned class can move."""
        fixed = total = 0.0
        for own in self.slices[group]:
            energy = np.square(self._rows[own]).sum(axis=0)
            numbers = own.exchangeable(unknown)
            fixed += energy[np.bincount(numbers)[numbers] == 1].sum()
            total += energy.sum()
        return fixed / total if total else 0.0
