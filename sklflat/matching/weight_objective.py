"""Two networks whose weights are to be aligned, and what reordering one group would gain."""

from collections.abc import Collection, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sklflat.matching.assignment import parts_of
from sklflat.matching.tensor_slices import Slot, slots_of, sorted_within
from sklflat.networks.state import check_state
from sklflat.symmetry.symmetry import Symmetry

State = Mapping[str, Tensor]


class Weights:
    r"""Weights of two networks, and their inner product under permutations of the second.

    .. math:: f(\pi) = \sum_t \langle A_t, \pi(B_t) \rangle

    Parameters
    ----------
    symmetry : Symmetry
    a, b : mapping of str to Tensor
        States of the two.
    names : collection of str, default=None
        Tensors that count. None: all of floating point.

    Attributes
    ----------
    a, b : dict of str to Tensor
        Tensors that count and that a permutation can move, in float64.
    constant : float
        Inner product of the others.
    upper_bound : float
        :math:`\sum_t \|A_t\| \|B_t\|`, with the constant: what no permutation exceeds.
    slots : list of list of Slot
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
        wide = {name: (_wide(a[name]), _wide(b[name])) for name in names}
        moved = [name for name in wide if name in symmetry.labels]
        self.a = {name: wide[name][0] for name in moved}
        self.b = {name: wide[name][1] for name in moved}
        self.constant = sum(
            float((x * y).sum()) for name, (x, y) in wide.items() if name not in self.a
        )
        norms = [float(self.a[name].norm() * self.b[name].norm()) for name in moved]
        self.upper_bound = self.constant + sum(norms)
        self.scale = abs(self.constant) + sum(norms)
        self.slots = [slots_of(symmetry, group, self.a) for group in symmetry.groups]
        self.neighbours = [self._neighbours(i) for i in range(len(self.slots))]
        self._rows: dict[int, NDArray] = {}
        self._products: dict[int, NDArray] = {}

    def _neighbours(self, i: int) -> set[int]:
        names = [slot.name for slot in self.slots[i]]
        near = {
            j for j, slots in enumerate(self.slots) if any(slot.name in names for slot in slots)
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
        names = {slot.name for slot in self.slots[group]}
        part = self.symmetry.permute({name: self.b[name] for name in names}, perm)
        return {**moved, **part}

    def gains(
        self, group: int, perm: Tensor, moved: State, unknown: NDArray | None = None
    ) -> list[NDArray]:
        """What is gained where one class gets what another class has, all else as it is.

        Parameters
        ----------
        group : int
        perm : Tensor of shape (n_classes,), int
            How the second network is permuted.
        moved : mapping of str to Tensor
            Its tensors, so permuted.
        unknown : ndarray of shape (n_classes + 1,), int, default=None
            Part numbers of classes that are still to be placed, as :class:`Slot` takes them: the
            gain is then the largest that any order of theirs allows, whichever is best for this
            pair of classes (the rearrangement inequality).

        Returns
        -------
        list of ndarray of shape (n, n)
            For every part of the group.
        """
        parts = parts_of(self.symmetry.groups[group])
        gains = [np.zeros((len(classes), len(classes))) for classes in parts]
        for slot in self.slots[group]:
            gains[slot.part] += self._gain(slot, parts[slot.part], perm, moved, unknown)
        return gains

    def _gain(
        self,
        slot: Slot,
        classes: NDArray,
        perm: Tensor,
        moved: State,
        unknown: NDArray | None,
    ) -> NDArray:
        if slot.alone:  # no other group changes it: a product is computed once
            if id(slot) not in self._products:
                own = self._own_rows(slot)
                self._products[id(slot)] = own @ slot.rows(self.b[slot.name]).T
            place = np.empty(len(perm), dtype=np.int64)
            place[classes] = np.arange(len(classes))
            return self._products[id(slot)][:, place[perm.numpy()[classes]]]
        own, other = self._own_rows(slot), slot.rows(moved[slot.name])
        if unknown is not None:
            numbers = slot.exchangeable(unknown)
            own, other = sorted_within(own, numbers), sorted_within(other, numbers)
        return own @ other.T

    def _own_rows(self, slot: Slot) -> NDArray:
        if id(slot) not in self._rows:
            self._rows[id(slot)] = slot.rows(self.a[slot.name])
        return self._rows[id(slot)]

    def determinate(self, group: int, unknown: NDArray) -> float:
        """Share of the squared weights at a group that no class still to be placed can move."""
        fixed = total = 0.0
        for slot in self.slots[group]:
            energy = np.square(self._own_rows(slot)).sum(axis=0)
            numbers = slot.exchangeable(unknown)
            fixed += energy[np.bincount(numbers)[numbers] == 1].sum()
            total += energy.sum()
        return fixed / total if total else 0.0


def _wide(tensor: Tensor) -> Tensor:
    return tensor.detach().to("cpu", torch.float64)
