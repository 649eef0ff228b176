"""What single operations of torch do to the labels of their arguments."""

import re
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from sklflat.networks.tracing.tensors import NONE, moved, tensors_in
from sklflat.symmetry.tracing import aten_names as names
from sklflat.symmetry.tracing.concatenation import ConcatenatedAxes
from sklflat.symmetry.tracing.labelled_tensors import LabelledTensors
from sklflat.symmetry.tracing.labels import (
    Labels,
    along,
    first_along,
    merge_labels,
    varying_axes,
)
from sklflat.symmetry.tracing.unification import Unifier, always, as_wide, differing


class Operations:
    """The rules for all operations that are understood.

    Parameters
    ----------
    unifier : Unifier
    tensors : LabelledTensors

    Attributes
    ----------
    counted_labels : dict of int to Labels
        For tensors of indices, by id, the labels along the axis that they count: these have an
        order as soon as the indices are used.
    """

    def __init__(self, unifier: Unifier, tensors: LabelledTensors) -> None:
        self.unifier, self.tensors = unifier, tensors
        self.classes = unifier.classes
        self.counted_labels: dict[int, Labels] = {}
        self.concatenated = ConcatenatedAxes(self.classes)

    def labels(self, t: Tensor) -> Labels:
        """The labels of a tensor, by their classes."""
        return self.unifier.current(self.tensors.labels(t))

    def follow(
        self, name: str, func: Any, args: Any, kwargs: Any, outs: list[Tensor]
    ) -> list[Labels] | None:
        """The labels of each output; None if the operation is not known."""
        given = tensors_in([args, kwargs])
        is_moved = name in names.MOVES - {"cat", "stack"} or names.is_elementwise(name, func)
        if len(given) > 1 or not is_moved:
            self.concatenated.union(given)
        found = self._follow(name, func, args, kwargs, outs)
        if found is not None and len(given) == 1:
            self.concatenated.carry(given[0], outs, found)
        return found

    def _follow(
        self, name: str, func: Any, args: Any, kwargs: Any, outs: list[Tensor]
    ) -> list[Labels] | None:
        own = getattr(self, f"_do_{name.strip('_')}", None)
        if own is not None:
            return own(args, kwargs, outs)
        if name in names.COPIES:
            return [self.labels(args[0]) for _ in outs]
        if name in names.REARRANGEMENTS:
            return self._rearrange(func, args, kwargs, len(outs))
        if name in names.CONSTANTS:
            return [[] for _ in outs]
        if name in names.REDUCTIONS:
            return self._reduce(args, kwargs, outs)
        if name in names.NORMALISATIONS:
            return [self._normalise(args[0], [args[1]])]
        if name in names.WINDOWS:
            x, n_axes = args[0], int(re.findall(r"(\d)d", name)[0])
            axes = range(x.ndim - n_axes, x.ndim)
            kept = self.unifier.windowed(self.labels(x), list(axes), "a window over them")
            return [kept for _ in outs]
        if names.is_elementwise(name, func):
            given = tensors_in([args, kwargs])
            shape = torch.broadcast_shapes(*(t.shape for t in given), outs[0].shape)
            labels = self.unifier.elementwise([(t, self.labels(t)) for t in given], shape)
            return [labels for _ in outs]
        return None

    # --- moved elements -----------------------------------------------------------------------

    def _rearrange(self, func: Any, args: Any, kwargs: Any, n_outs: int) -> list[Labels] | None:
        """The same operation on labels.

        Where elements go must not depend on the data, which are other ones the next time.
        """
        if any(
            self.tensors.labels(t) or self.tensors.is_input(t)
            for t in tensors_in([args[1:], kwargs])
        ):
            return None
        found: list[Labels] = [[] for _ in range(n_outs)]
        for labels in self.labels(args[0]):
            full = labels.expand(args[0].shape).contiguous()
            for out, each in zip(found, moved(func, args, kwargs, full), strict=True):
                out.append(each)
        return [merge_labels(out) for out in found]

    def _do_cat(self, args: Any, kwargs: Any, outs: list[Tensor]) -> list[Labels]:
        tensors = [t for t in args[0] if t.ndim == outs[0].ndim]  # (0,) counts as nothing
        given = [(t, self.labels(t), self.tensors.is_data(t)) for t in tensors]
        return [self.concatenated.concatenate(given, _dim(args, kwargs), outs[0])]

    def _do_stack(self, args: Any, kwargs: Any, outs: list[Tensor]) -> list[Labels]:
        axis = _dim(args, kwargs) % outs[0].ndim
        layers = [[x.unsqueeze(axis) for x in self.labels(t)] for t in args[0]]
        wide = [t.unsqueeze(axis) for t in args[0]]
        given = list(zip(wide, layers, map(self.tensors.is_data, args[0]), strict=True))
        return [self.concatenated.concatenate(given, axis, outs[0])]

    def _do_constant_pad_nd(self, args: Any, kwargs: Any, outs: list[Tensor]) -> list[Labels]:
        pad = torch.ops.aten.constant_pad_nd.default
        wide = {args[0].ndim - 1 - i // 2 for i, n in enumerate(args[1]) if n}

        def padded(x: Tensor) -> Tensor:
            return pad(x.expand(args[0].shape).contiguous(), args[1], NONE)

        # along other axes the padding is the same everywhere
        labels = self.labels(args[0])
        return [merge_labels([padded(x) if varying_axes(x) & wide else x for x in labels])]

    def _do_index(self, args: Any, kwargs: Any, outs: list[Tensor]) -> list[Labels] | None:
        """Rows that the data choose, as a router does: what varies along other axes only stays."""
        x, chosen = args[:2]
        axes = [a for a, t in enumerate(chosen) if t is not None]
        given = [chosen[a] for a in axes]
        is_of_data = any(self.tensors.labels(t) or self.tensors.is_input(t) for t in given)
        if not is_of_data:
            return self._rearrange(torch.ops.aten.index.Tensor, args, kwargs, len(outs))
        if len(axes) > 1 or given[0].ndim > 1 or any(self.tensors.labels(t) for t in given):
            return None
        return [self.unifier.pin_along(self.labels(x), axes, "rows that the data choose")]

    def _do_index_add(self, args: Any, kwargs: Any, outs: list[Tensor]) -> list[Labels] | None:
        x, axis, chosen, source = args[:4]
        if self.tensors.labels(chosen):
            return None
        a, b = (
            self.unifier.pin_along(self.labels(t), [axis % t.ndim], "rows that the data choose")
            for t in (x, source)
        )
        self.unifier.unify_elementwise(a, b, differing(x), differing(source))
        return [self.unifier.current(a + b)]

    def _do_triu(self, args: Any, kwargs: Any, outs: list[Tensor]) -> list[Labels]:
        return [self._triangle(args[0], torch.ones_like(args[0]).triu(*args[1:], **kwargs))]

    def _do_tril(self, args: Any, kwargs: Any, outs: list[Tensor]) -> list[Labels]:
        return [self._triangle(args[0], torch.ones_like(args[0]).tril(*args[1:], **kwargs))]

    def _triangle(self, x: Tensor, mask: Tensor) -> Labels:
        return self.unifier.elementwise([(x, self.labels(x)), (mask, [])], x.shape)

    def _do_glu(self, args: Any, kwargs: Any, outs: list[Tensor]) -> list[Labels]:
        x, dim = args[0], args[1] if len(args) > 1 else -1
        full = [along(y, dim, of=x.shape) for y in self.labels(x)]
        halves = list(zip(*(y.chunk(2, dim) for y in full), strict=True))
        values = x.chunk(2, dim)
        parts = [merge_labels(list(half)) for half in halves] or [[], []]
        return [self.unifier.elementwise(list(zip(values, parts, strict=True)), outs[0].shape)]

    def _do_copy(self, args: Any, kwargs: Any, outs: list[Tensor]) -> list[Labels]:
        return [[as_wide(x, outs[0].ndim) for x in self.labels(args[1])]]

    # --- sums ---------------------------------------------------------------------------------

    def _reduce(self, args: Any, kwargs: Any, outs: list[Tensor]) -> list[Labels] | None:
        x = args[0]
        given = [a for a in args[1:] if isinstance(a, (int, list)) and not isinstance(a, bool)]
        axes = kwargs.get("dim", given[0] if given else None)
        axes = [axes] if isinstance(axes, int) else axes
        axes = [a % x.ndim for a in axes] if axes else list(range(x.ndim))
        if len(outs) > 1 and not outs[1].is_floating_point():  # places along the axis
            self.counted_labels[id(outs[1])] = [
                y for y in self.labels(x) if varying_axes(y) & set(axes)
            ]
        kept = self.unifier.reduced(self.labels(x), axes)
        if outs[0].ndim < x.ndim:
            kept = [first_along(y, axes) for y in kept]
        return [kept for _ in outs]

    def _normalise(self, x: Tensor, axes: list[int]) -> Labels:
        labels = self.labels(x)
        for y in labels:
            self.unifier.block(y, [a % x.ndim for a in axes])
        return self.unifier.current(labels)

    # --- products -----------------------------------------------------------------------------

    def _do_bmm(self, args: Any, kwargs: Any, outs: list[Tensor]) -> list[Labels]:
        a, b = args[:2]
        found = self._product(a, self.labels(a), b, self.labels(b))
        self._note_made(a, b, found)
        return [found]

    def _product(self, a: Tensor, la: Labels, b: Tensor, lb: Labels) -> Labels:
        return self.unifier.contract(la, lb, differing(a), differing(b))

    def _note_made(self, a: Tensor, b: Tensor, found: Labels) -> None:
        """Labels of a product of data that come from the other factor are those of units."""
        if self.tensors.is_data(a) == self.tensors.is_data(b):
            return
        weight = b if self.tensors.is_data(a) else a
        mine = [x.unique() for x in self.labels(weight)]
        if mine:
            for labels in found:
                made = labels[torch.isin(labels, torch.cat(mine)) & (labels != NONE)]
                self.classes.hidden |= set(made.unique().tolist())

    def _do_mm(self, args: Any, kwargs: Any, outs: list[Tensor]) -> list[Labels]:
        a, b = args[:2]
        la, lb = ([x[None] for x in self.labels(t)] for t in (a, b))
        found = [x[0] for x in self._product(a[None], la, b[None], lb)]
        self._note_made(a, b, found)
        return [found]

    def _do_mv(self, args: Any, kwargs: Any, outs: list[Tensor]) -> list[Labels]:
        a, b = args[:2]
        la, lb = [x[None] for x in self.labels(a)], [x[None, :, None] for x in self.labels(b)]
        found = self._product(a[None], la, b[None, :, None], lb)
        found = [x[0, :, 0] for x in found]
        self._note_made(a, b, found)
        return [found]

    def _do_addmm(self, args: Any, kwargs: Any, outs: list[Tensor]) -> list[Labels]:
        (product,) = self._do_mm(args[1:], kwargs, outs)
        return [self._added(args[0], product, outs[0])]

    def _do_baddbmm(self, args: Any, kwargs: Any, outs: list[Tensor]) -> list[Labels]:
        (product,) = self._do_bmm(args[1:], kwargs, outs)
        return [self._added(args[0], product, outs[0])]

    def _added(self, bias: Tensor, product: Labels, out: Tensor) -> Labels:
        return self.unifier.elementwise([(bias, self.labels(bias)), (out, product)], out.shape)

    def _do_dot(self, args: Any, kwargs: Any, outs: list[Tensor]) -> list[Labels]:
        operands = [(t, self.labels(t)) for t in args[:2]]
        self.unifier.elementwise(operands, args[0].shape)
        return [[]]

    _do_vdot = _do_dot

    def _do_linear(self, args: Any, kwargs: Any, outs: list[Tensor]) -> list[Labels]:
        x, weight = args[:2]
        rows = list(range(x.ndim - 1))
        shape = (1, x.shape[:-1].numel(), x.shape[-1])
        la = [along(y, *rows, of=x.shape).reshape(1, shape[1], -1) for y in self.labels(x)]
        lb = [y.T[None] for y in self.labels(weight)]
        found = self._product(x.reshape(shape), la, weight.T[None], lb)
        full = [along(y, 1, of=torch.Size((1, shape[1], 1))) for y in found]
        labels = merge_labels([y.reshape(*x.shape[:-1], -1) for y in full])
        self._note_made(x, weight, labels)
        bias = args[2] if len(args) > 2 else None
        return [labels if bias is None else self._added(bias, labels, outs[0])]

    def _do_embedding(self, args: Any, kwargs: Any, outs: list[Tensor]) -> list[Labels]:
        kept = self.unifier.pin_along(self.labels(args[0]), [0], "fixed tokens")
        found = [as_wide(x[0], outs[0].ndim) for x in kept]
        self._note_made(args[1], args[0], found)
        return [found]

    def _do_embedding_bag(self, args: Any, kwargs: Any, outs: list[Tensor]) -> list[Labels]:
        kept = self.unifier.pin_along(self.labels(args[0]), [0], "fixed tokens")
        self._note_made(args[1], args[0], kept)
        return [kept, *[[] for _ in outs[1:]]]

    def _do_scaled_dot_product_flash_attention_for_cpu(
        self, args: Any, kwargs: Any, outs: list[Tensor]
    ) -> list[Labels]:
        q, k, v = args[:3]
        n_queries = q.shape[1] // k.shape[1]  # that share a head of keys and values
        lq, lk, lv = (
            [along(x, 0, 1, of=t.shape).repeat_interleave(n, 1).flatten(0, 1) for x in own]
            for t, own, n in (
                (q, self.labels(q), 1),
                (k, self.labels(k), n_queries),
                (v, self.labels(v), n_queries),
            )
        )
        scores = self.unifier.contract(lq, [x.mT for x in lk], always, always)
        mask = kwargs.get("attn_mask")
        if mask is not None:
            full = torch.Size((*q.shape[:2], q.shape[2], k.shape[2]))
            wide = [along(as_wide(x, 4), 0, 1, of=full) for x in self.labels(mask)]
            own = [x.flatten(0, 1) for x in wide]
            values = mask.expand(full).flatten(0, 1)
            self.unifier.unify_elementwise(scores, own, always, differing(values))
            scores = self.unifier.current(scores + own)
        for x in scores:
            self.unifier.block(x, [2])
        found = self.unifier.contract(scores, lv, always, always)
        heads = torch.Size((q.shape[0] * q.shape[1], 1, 1))
        labels = merge_labels([along(x, 0, of=heads).unflatten(0, q.shape[:2]) for x in found])
        return [labels, [], *[[] for _ in outs[2:]]]

    # --- convolutions -------------------------------------------------------------------------

    def _do_convolution(self, args: Any, kwargs: Any, outs: list[Tensor]) -> list[Labels]:
        x, weight, bias, *_, transposed, _padding, groups = args
        out = outs[0]
        space = list(range(2, x.ndim))
        if groups > 1:
            self.tensors.regroup(weight, groups)
        lx = self.unifier.windowed(self.labels(x), space, "a window over them")
        lw = self.unifier.pin_along(self.labels(weight), space, "a window over them")
        lx = [first_along(along(y, 1, of=x.shape), space) for y in lx]
        lw = [first_along(along(y, 0, 1, of=weight.shape), space) for y in lw]
        # (groups, rows, channels) times (groups, channels, filters)
        la = [y.unflatten(1, (groups, -1)).movedim(1, 0) for y in lx]
        if transposed:
            lb = [y.unflatten(0, (groups, -1)) for y in lw]
            n_out = weight.shape[1]
        else:
            lb = [y.unflatten(0, (groups, -1)).mT for y in lw]
            n_out = weight.shape[0] // groups
        found = self.unifier.contract(la, lb, always, always)
        self._note_made(x, weight, found)
        full = torch.Size((groups, len(x), n_out))
        labels = [along(y, 0, 2, of=full).movedim(0, 1).flatten(1, 2) for y in found]
        labels = merge_labels([y.view(*y.shape, *[1] * len(space)) for y in labels])
        if bias is None:
            return [labels]
        shape = (1, -1, *[1] * len(space))
        own = [y.view(shape) for y in self.labels(bias)]
        return [self.unifier.elementwise([(bias.view(shape), own), (out, labels)], out.shape)]

    # --- normalisation ------------------------------------------------------------------------

    def _scaled(self, x: Tensor, labels: Labels, others: Sequence[Any], shape: Any) -> Labels:
        """Multiplied with and shifted by what is laid out in some shape."""
        operands = [(x, labels)]
        for t in others:
            if t is not None:
                own = [y if y.ndim == len(shape) else y.view(shape) for y in self.labels(t)]
                operands.append((t.view(shape), own))
        return self.unifier.elementwise(operands, x.shape)

    def _do_weight_norm_interface(self, args: Any, kwargs: Any, outs: list[Tensor]) -> list[Labels]:
        v, g = args[:2]
        dim = args[2] if len(args) > 2 else 0
        labels = self._normalise(v, [a for a in range(v.ndim) if a != dim])
        return [self.unifier.elementwise([(v, labels), (g, self.labels(g))], v.shape), []]

    def _do_native_batch_norm(self, args: Any, kwargs: Any, outs: list[Tensor]) -> list[Labels]:
        x = args[0]
        shape = (1, -1, *[1] * (x.ndim - 2))
        given = [t for t in args[1:5] if isinstance(t, Tensor)]
        of_batch = any(flag is True for flag in args[3:6])  # with statistics of these data
        axes = [a for a in range(x.ndim) if a != 1] if of_batch else []
        labels = self._scaled(x, self._normalise(x, axes), given, shape)
        return [labels, *[[] for _ in outs[1:]]]

    _do_native_batch_norm_legit_no_training = _do_native_batch_norm
    _do_native_batch_norm_legit = _do_native_batch_norm

    def _do_native_layer_norm(self, args: Any, kwargs: Any, outs: list[Tensor]) -> list[Labels]:
        x, normalised = args[:2]
        axes = list(range(x.ndim - len(normalised), x.ndim))
        given = [t for t in args[2:4] if isinstance(t, Tensor)]
        labels = self._scaled(x, self._normalise(x, axes), given, tuple(normalised))
        return [labels, *[[] for _ in outs[1:]]]

    _do_fused_rms_norm = _do_native_layer_norm

    def _do_native_group_norm(self, args: Any, kwargs: Any, outs: list[Tensor]) -> list[Labels]:
        x, weight, bias, *_, groups, _eps = args
        labels = self.labels(x)
        for y in labels:
            # channels of a group with all their positions
            full = along(y, 1, of=x.shape).unflatten(1, (groups, -1))
            self.unifier.block(full, list(range(2, x.ndim + 1)))
        shape = (1, -1, *[1] * (x.ndim - 2))
        labels = self._scaled(x, self.unifier.current(labels), [weight, bias], shape)
        return [labels, *[[] for _ in outs[1:]]]


def _dim(args: Any, kwargs: Any) -> int:
    return args[1] if len(args) > 1 else kwargs.get("dim", 0)
