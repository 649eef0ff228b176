"""Axes tied by concatenation or stacking."""

from collections.abc import Sequence

import torch
from torch import Tensor

from sklflat.networks.tracing.tensors import NONE
from sklflat.symmetry.tracing.axis_indices import AxisIndexClasses
from sklflat.symmetry.tracing.labels import Labels, merge_labels, varies, varying_axes


class ConcatenatedAxes:
    """Classes that are merged as soon as one operation reads the concatenation as a whole.

    A class token and the embeddings of patches have units along one axis and are concatenated
    along another. If they are split again, their units stay independent; what reads both at once,
    such as a linear layer, needs both in the same order.

    Parameters
    ----------
    classes : AxisIndexClasses
    """

    def __init__(self, classes: AxisIndexClasses) -> None:
        self._classes = classes
        self._pairs: dict[int, list[tuple[Tensor, Tensor]]] = {}

    def concatenate(
        self, given: list[tuple[Tensor, Labels, bool]], axis: int, out: Tensor
    ) -> Labels:
        """Labels of a concatenation, given tensors with their labels and whether they are data.

        A constant that is the same all along other axes stays as it is when these are permuted: it
        takes the labels of what it is concatenated with.
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
        self._note_corresponding(out, [labels for _, labels, _ in given], axis)
        return merge_labels(layers)

    def _note_corresponding(self, out: Tensor, pieces: Sequence[Labels], axis: int) -> None:
        """Note which labels correspond in the pieces of a tensor that was concatenated."""
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
                if i != j and not torch.equal(a, b) and self._classes.relation(a, b) == "same":
                    both = (a != NONE) & (b != NONE)
                    found.append((a[both], b[both]))
        if found:
            self._pairs[id(out)] = found

    def carry(self, given: Tensor, outs: Sequence[Tensor], labels: Sequence[Labels]) -> None:
        """Elements were moved or changed one by one: axes that still correspond are noted again.

        Along a single axis everything has an index of its own, and nothing corresponds.
        """
        for pairs in tuple(self._pairs.get(id(given), ())):
            for out, layers in zip(outs, labels, strict=True):
                wide = [x.unique() for x in layers if len(varying_axes(x)) > 1]
                if any(all(bool(torch.isin(x, own).any()) for own in pairs) for x in wide):
                    self._pairs.setdefault(id(out), []).append(pairs)

    def move(self, tensor: Tensor, copy: Tensor) -> None:
        """A tensor is written on, and a copy is what it was."""
        if id(tensor) in self._pairs:
            self._pairs[id(copy)] = self._pairs.pop(id(tensor))

    def union(self, given: Sequence[Tensor]) -> None:
        """Merge what corresponds in tensors that an operation reads as wholes."""
        for tensor in given:
            for a, b in self._pairs.pop(id(tensor), ()):
                self._classes.union(a, b)
