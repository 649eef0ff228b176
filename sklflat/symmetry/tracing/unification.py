"""Which axis indices products, sums and elementwise functions unify, pin or put in blocks."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from sklflat.networks.tracing.tensors import NONE
from sklflat.symmetry.tracing.axis_indices import AxisIndexClasses
from sklflat.symmetry.tracing.labels import Labels, first_along, merge_labels, varies, varying_axes

#: whether a tensor's elements differ along some axes
Differs = Callable[[set[int]], bool]

ORDERED = "something of fixed order"


def as_wide(labels: Tensor, ndim: int) -> Tensor:
    """Labels with further axes of length 1 in front."""
    return labels.view(*[1] * (ndim - labels.ndim), *labels.shape)


def always(axes: set[int]) -> bool:
    """Of a tensor that is taken to differ everywhere."""
    return bool(axes)


def differing(values: Tensor) -> Differs:
    """Of the values of a tensor."""
    return lambda axes: varies(values, sorted(axes))


class Unifier:
    """Merges classes of axis indices as the arithmetic of their elements demands.

    Parameters
    ----------
    classes : AxisIndexClasses
    """

    def __init__(self, classes: AxisIndexClasses) -> None:
        self.classes = classes

    def current(self, labels: Labels) -> Labels:
        """Labels by their present classes, without blocks of what is labelled too."""
        layers = merge_labels([self.classes.find(x) for x in labels])
        if len(layers) < 2:
            return layers
        block_of = dict(self.classes.block_pairs())
        return [y for y in layers if not any(self._implies(x, y, block_of) for x in layers)]

    @staticmethod
    def _implies(x: Tensor, y: Tensor, block_of: dict[int, int]) -> bool:
        """Whether y is just the block of x."""
        if not set(y.unique().tolist()) <= {NONE, *block_of.values()}:
            return False
        x, y = torch.broadcast_tensors(x, y)
        where = y != NONE
        pairs = set(zip(x[where].tolist(), y[where].tolist(), strict=True))
        return all(block_of.get(a, NONE) == b for a, b in pairs)

    # --- element by element -------------------------------------------------------------------

    def elementwise(self, operands: Sequence[tuple[Tensor, Labels]], shape: Any) -> Labels:
        """A function of tensors, element by element; with their labels, broadcast to one shape."""
        values = [t.expand(shape) for t, _ in operands]
        layers = [[as_wide(x, len(shape)) for x in labels] for _, labels in operands]
        for j in range(len(operands)):
            for i in range(j):
                self.unify_elementwise(
                    layers[i], layers[j], differing(values[i]), differing(values[j])
                )
        return self.current([x for own in layers for x in own])

    def unify_elementwise(
        self, a: Labels, b: Labels, a_differs: Differs, b_differs: Differs
    ) -> None:
        """Labels of two tensors that are combined element by element: merge the classes that match.

        A label without a counterpart in the other tensor is pinned where that tensor's values
        differ along it.
        """
        covered_a, covered_b = [x == NONE for x in a], [y == NONE for y in b]
        for i, j, relation in self._relations(a, b):
            x, y = a[i], b[j]
            if relation == "same":
                self.classes.union_where_both(x, y)
            elif relation == "conflict":
                self.classes.pin(torch.cat([x.flatten(), y.flatten()]), "indices that do not fit")
            else:
                x_in_y = relation == "a in b"
                many, one, differs = (x, y, b_differs) if x_in_y else (y, x, a_differs)
                own = varying_axes(many) - varying_axes(one)
                if own and not differs(own):  # free within each block
                    self.classes.put_in_blocks_where_both(many, one)
                else:  # each has its place in the block, and moves with it
                    self.classes.union_where_both(many, one)
            covered_a[i] = covered_a[i] | (y != NONE)
            covered_b[j] = covered_b[j] | (x != NONE)
        for labels, covered, differs in (
            *zip(a, covered_a, [b_differs] * len(a), strict=True),
            *zip(b, covered_b, [a_differs] * len(b), strict=True),
        ):
            if not bool(covered.all()):
                self._pin_if_distinguishable(labels, covered, differs)

    def _pin_if_distinguishable(self, labels: Tensor, covered: Tensor, differs: Differs) -> None:
        """Pin labels that are told apart by the values of a tensor without labels there."""
        own = varying_axes(labels)
        ordered = {a for a in own if differs({a})}
        if not ordered:
            return
        if ordered == own or bool((covered & (labels != NONE)).any()):
            self.classes.pin(labels.expand_as(covered)[~covered], ORDERED)
            return
        # along the other axes they are exchangeable: pin blocks, not what is in them
        blocks = self.block(labels, sorted(own - ordered))
        if blocks is not None:
            self.classes.pin(blocks, ORDERED)

    def _relations(self, a: Labels, b: Labels) -> list[tuple[int, int, str]]:
        """Pairs of labels that occur together; what follows from other pairs is left out."""
        found = [
            (i, j, self.classes.relation(x, y)) for i, x in enumerate(a) for j, y in enumerate(b)
        ]
        same_a = {i for i, _, relation in found if relation == "same"}
        same_b = {j for _, j, relation in found if relation == "same"}
        return [
            (i, j, relation)
            for i, j, relation in found
            if relation == "same"
            or (relation == "a in b" and i not in same_a)
            or (relation == "b in a" and j not in same_b)
            or (relation == "conflict" and i not in same_a and j not in same_b)
        ]

    # --- sums ---------------------------------------------------------------------------------

    def contract(self, a: Labels, b: Labels, a_differs: Differs, b_differs: Differs) -> Labels:
        """Labels (n, i, j) of ``sum_k A[n, i, k] B[n, k, j]``.

        Parameters
        ----------
        a, b : list of Tensor
            Labels of shapes (n, i, k) and (n, k, j), or broadcasting to these.
        a_differs, b_differs : callable
            Of the factors.
        """
        self._union_with_shared(a, [y.mT for y in b])
        self._union_with_shared([y.mT for y in b], a)
        a, b = self.current(a), self.current(b)
        along_a = [x[:, 0] for x in a if 2 in varying_axes(x) and 1 not in varying_axes(x)]
        along_b = [x[:, :, 0] for x in b if 1 in varying_axes(x) and 2 not in varying_axes(x)]
        # every index of the sum has numbers of its own, so there is an order in each block
        self.unify_elementwise(
            along_a,
            along_b,
            lambda axes: bool(axes) and (1 not in axes or a_differs({2})),
            lambda axes: bool(axes) and (1 not in axes or b_differs({1})),
        )
        left = [x for labels in a if (x := self._summed(labels, 2, 1)) is not None]
        right = [x for labels in b if (x := self._summed(labels, 1, 2)) is not None]
        self.unify_elementwise(
            left,
            right,
            lambda axes: bool(axes - {2}) and a_differs(axes - {2}),
            lambda axes: bool(axes - {1}) and b_differs(axes - {1}),
        )
        return self.current(left + right)

    def _union_with_shared(self, many: Labels, one: Labels) -> None:
        """Merge labels (n, rows, k) with those (n, 1, k) that every row of them is summed with."""
        for x in many:
            for y in one:
                is_whole = {1, 2} <= varying_axes(x) and 1 not in varying_axes(y)
                if is_whole and 2 in varying_axes(y) and self.classes.relation(x, y) == "a in b":
                    self.classes.union_where_both(x, y)

    def _summed(self, labels: Tensor, over: int, other: int) -> Tensor | None:
        """Labels (n, i, 1) or (n, 1, j) after a sum over one of three axes."""
        axes = varying_axes(labels)
        if over not in axes:
            return labels.narrow(over, 0, 1)
        if other in axes:
            self.classes.pin(labels, "a sum over some of them")
            return None
        return self.block(labels.narrow(other, 0, 1), [over])

    def reduced(self, labels: Labels, axes: Sequence[int]) -> Labels:
        """Labels after a symmetric function of all elements along some axes, kept as length 1."""
        found = [self.block(x, axes) for x in labels]
        return self.current([x for x in found if x is not None])

    def block(self, labels: Tensor, axes: Sequence[int]) -> Tensor | None:
        """What is left of labels after a symmetric function of all elements along some axes.

        Where labels vary along others, too, each index of these is a block.

        Returns
        -------
        labels : Tensor or None
            With these axes kept as length 1; None if there is one block only.
        """
        own = varying_axes(labels)
        gone, kept = sorted(own & set(axes)), sorted(own - set(axes))
        if not gone:
            return labels
        if not kept:
            return None
        x = first_along(labels, [a for a in range(labels.ndim) if a not in own])
        x = x.permute([sorted(own).index(a) for a in (*kept, *gone)]).flatten(0, len(kept) - 1)
        found = self.classes.blocks(x.flatten(1), "a sum over some of them")
        shape = [n if a in kept else 1 for a, n in enumerate(labels.shape)]
        return found.view(shape)

    def windowed(self, labels: Labels, axes: Sequence[int], reason: str) -> Labels:
        """Labels after a window over some axes, along which places have an order.

        Labels that vary along others, too, as where channels are shuffled into pixels, are blocks:
        each index of the others may move, with all places at once.
        """
        kept = []
        for x in labels:
            own = varying_axes(x)
            places = sorted(own & set(axes))
            channels = sorted(own - set(axes))
            if not places:
                kept.append(x)
            elif not channels:
                self.classes.pin(x, reason)
            else:
                by_place, by_channel = self.block(x, channels), self.block(x, places)
                assert by_place is not None
                assert by_channel is not None
                self.classes.pin(by_place, reason)
                kept.append(by_channel)
        return kept

    def pin_along(self, labels: Labels, axes: Sequence[int], reason: str) -> Labels:
        """Pin the labels that vary along some axes; return the others."""
        kept = []
        for x in labels:
            if varying_axes(x) & set(axes):
                self.classes.pin(x, reason)
            else:
                kept.append(x)
        return kept
