"""Things that were put beside each other along an axis that is not theirs."""

from collections.abc import Sequence

import torch
from torch import Tensor

from sklflat.symmetry.tracing.axis_indices import NONE, Atoms
from sklflat.symmetry.tracing.labels import Labels, tidy, varies, varying_axes


class Joined:
    """Atoms that have to be tied as soon as they are read by one rule.

    A class token and the embeddings of patches have units along one axis and are joined along
    another. If they are taken apart again, their units have nothing to do with each other; what
    reads both at once, such as a linear layer, wants both in the same order.

    Parameters
    ----------
    atoms : Atoms
    """

    def __init__(self, atoms: Atoms) -> None:
        self._atoms = atoms
        self._pairs: dict[int, list[tuple[Tensor, Tensor]]] = {}

    def side_by_side(
        self, given: list[tuple[Tensor, Labels, bool]], axis: int, out: Tensor
    ) -> Labels:
        """Labels of pieces along an axis, which are tensors with their labels and whether of data.

        A constant that is the same all along other axes stays as it is when these are permuted: it
        has the labels of what it lies beside.
        """
        axis %= out.ndim
        taken = [set().union(*map(varying_axes, labels)) for _, labels, _ in given]
        layers: Labels = []
        for i, (_, labels, _) in enumerate(given):
            for x in labels:
                own, parts = varying_axes(x), []
                for j, (t, _, is_data) in enumerate(given):
                    is_like = own and not is_data and not own & (taken[j] | {axis})
                    if j == i or (is_like and not varies(t, sorted(own))):
                        taken[j] |= own
                        parts.append(x.expand(t.shape))
                    else:
                        parts.append(torch.full(t.shape, NONE))
                layers.append(torch.cat(parts, axis))
        self._join(out, [labels for _, labels, _ in given], axis)
        return tidy(layers)

    def _join(self, out: Tensor, pieces: Sequence[Labels], axis: int) -> None:
        """Note what corresponds in the pieces of a tensor, which lie side by side along an axis."""
        found = []
        layers = [
            (i, x)
            for i, labels in enumerate(pieces)
            for x in labels
            if varying_axes(x) and axis not in varying_axes(x)
        ]
        for k, (i, x) in enumerate(layers):
            for j, y in layers[:k]:
                a, b = torch.broadcast_tensors(x.narrow(axis, 0, 1), y.narrow(axis, 0, 1))
                if i != j and not torch.equal(a, b) and self._atoms.relation(a, b) == "same":
                    both = (a != NONE) & (b != NONE)
                    found.append((a[both], b[both]))
        if found:
            self._pairs[id(out)] = found

    def carry(self, given: Tensor, outs: Sequence[Tensor], labels: Sequence[Labels]) -> None:
        """Elements were moved or changed one by one: what still lies side by side is still joined.

        Along a single axis everything has an index of its own, and nothing is side by side.
        """
        for pairs in tuple(self._pairs.get(id(given), ())):
            for out, layers in zip(outs, labels, strict=True):
                wide = [x.unique() for x in layers if len(varying_axes(x)) > 1]
                if any(_meets(x, pairs[0]) and _meets(x, pairs[1]) for x in wide):
                    self._pairs.setdefault(id(out), []).append(pairs)

    def move(self, tensor: Tensor, copy: Tensor) -> None:
        """A tensor is written on, and a copy is what it was."""
        if id(tensor) in self._pairs:
            self._pairs[id(copy)] = self._pairs.pop(id(tensor))

    def tie(self, given: Sequence[Tensor]) -> None:
        """These tensors are read as wholes."""
        for tensor in given:
            for a, b in self._pairs.pop(id(tensor), ()):
                self._atoms.tie(a, b)


def _meets(a: Tensor, b: Tensor) -> bool:
    return bool(torch.isin(a, b).any())
