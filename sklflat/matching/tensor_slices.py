"""The slices of a network's tensors that the classes of a group index."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sklflat.matching.assignment import parts_of, positions, ranks
from sklflat.networks.state import State
from sklflat.symmetry.symmetry import FIXED, Group, Symmetry, joint_axes


class TensorSlice:
    """Axes of a tensor that are indexed by the classes of one part of a group.

    The entries of a class, flattened, make up its *row*. Rows of all classes of the part are of one
    length, and entries in one column correspond: they differ in this class alone.

    The part is a number in :func:`parts_of`. Its classes are in one column of the labels (n, k) of
    the indices along axes that are indexed together. ``alone`` says that no other classes move
    entries of this tensor.
    """

    def __init__(
        self,
        symmetry: Symmetry,
        group: Group,
        part: int,
        name: str,
        shape: torch.Size,
        axes: tuple[int, ...],
        labels: Tensor,
        column: int,
    ) -> None:
        self.name, self.part, self.axes, self.shape = name, part, axes, shape
        self._labels = labels.numpy()
        self._rest = np.delete(self._labels, column, axis=1)
        self._others = [
            (own, table.numpy())
            for own, table in joint_axes(symmetry.labels[name], shape)
            if own != axes
        ]
        movable = np.zeros(symmetry.n_classes + 1, dtype=bool)  # the last is that of FIXED
        for each in symmetry.groups:
            movable[np.concatenate(parts_of(each))] = True
        tables = [self._rest, *(table for _, table in self._others)]
        self.alone = not any(movable[table].any() for table in tables)
        self.index = self._index(symmetry.n_classes, group, column)

    def _index(self, n_classes: int, group: Group, column: int) -> NDArray:
        """Indices (n_classes of the part, r) of the entries of every class."""
        classes = parts_of(group)[self.part]
        own = positions(classes, n_classes + 1)[self._labels[:, column]]
        # in another member, the same parts have other classes
        alike = np.arange(n_classes + 1)
        alike[-1] = FIXED
        alike[group.members.numpy()] = n_classes
        start = n_classes + 1
        for inner in group.inner:
            alike[inner.numpy()] = start + np.arange(inner.shape[1])
            start += inner.shape[1]
        keys = [alike[self._rest[:, j]] for j in range(self._rest.shape[1])]
        order = np.lexsort((np.arange(len(own)), *keys, own))
        order = order[own[order] >= 0]
        counts = np.bincount(own[own >= 0], minlength=len(classes))
        if counts.min() != counts.max():
            raise ValueError(
                f"Classes of group {group.name!r} have {counts.min()} to {counts.max()} entries in "
                f"{self.name!r}: they cannot be exchanged."
            )
        return order.reshape(len(classes), -1)

    def rows(self, tensor: Tensor) -> NDArray:
        """The rows (n, length) of all classes."""
        k = len(self.axes)
        front = tensor.movedim(self.axes, tuple(range(k))).flatten(0, k - 1)
        return front[torch.from_numpy(self.index)].flatten(1).numpy()

    def exchangeable(self, unknown: NDArray) -> NDArray:
        """A number for every column, equal for columns that unknown classes may exchange.

        ``unknown`` (n_classes + 1,) is the number of the part a class belongs to, or -1 where it is
        known which class of the other network it gets its content from.
        """
        own = _numbers(self._rest[self.index[0]], unknown)
        shape = [1 if i in self.axes else n for i, n in enumerate(self.shape)]
        number = np.zeros(shape, dtype=np.int64)
        left = set(range(len(shape))) - set(self.axes)
        for axes, table in self._others:
            kept = [n if i in axes else 1 for i, n in enumerate(shape)]
            ids = _numbers(table, unknown).reshape(kept)
            number = number * (ids.max() + 1) + ids
            left -= set(axes)
        for axis in left:
            kept = [n if i == axis else 1 for i, n in enumerate(shape)]
            number = number * shape[axis] + np.arange(shape[axis]).reshape(kept)
        rest = number.ravel()
        return (own[:, None] * (rest.max(initial=0) + 1) + rest).ravel()


def _numbers(labels: NDArray, unknown: NDArray) -> NDArray:
    """Numbers (n,) of indices with labels (n, k), equal for those that may be exchanged."""
    n = len(labels)
    _, same = np.unique(labels, axis=0, return_inverse=True) if labels.size else (0, np.zeros(n))
    same = np.asarray(same, dtype=np.int64).ravel()
    owner = unknown[labels]
    masked = np.where(owner >= 0, -2 - owner, labels)
    return np.unique(np.column_stack([masked, ranks(same)]), axis=0, return_inverse=True)[1].ravel()


def sorted_within(rows: NDArray, numbers: NDArray) -> NDArray:
    """Rows (n, length) with columns of one number next to each other, sorted within each row."""
    order = np.argsort(numbers, kind="stable")
    counts = np.unique(numbers, return_counts=True)[1]
    size = np.repeat(counts, counts)
    rows = rows[:, order]
    for width in np.unique(counts[counts > 1]):
        columns = np.flatnonzero(size == width)
        blocks = rows[:, columns].reshape(len(rows), -1, width)
        rows[:, columns] = np.sort(blocks, axis=2).reshape(len(rows), -1)
    return rows


def slices_of(symmetry: Symmetry, group: Group, tensors: State) -> list[TensorSlice]:
    """All slices of some tensors that a group's classes index."""
    found = []
    parts = [set(classes.tolist()) for classes in parts_of(group)]
    for name in sorted(symmetry.labels.keys() & tensors.keys()):
        shape = tensors[name].shape
        for axes, labels in joint_axes(symmetry.labels[name], shape):
            for column in range(labels.shape[1]):
                present = set(labels[:, column].unique().tolist())
                found += [
                    TensorSlice(symmetry, group, part, name, shape, axes, labels, column)
                    for part, classes in enumerate(parts)
                    if present & classes
                ]
    return found
