"""How labels pass through operations that make no new channels."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from sklflat.networks.tracing import operations
from sklflat.networks.tracing.contraction import Contraction, project
from sklflat.networks.tracing.flow import Entries, Flow, Pair, merged, shared_over
from sklflat.networks.tracing.tensors import NONE, Arguments, Options, moved, tensors_in

FlowOf = Callable[[Tensor], Flow]


def followed(
    name: str, func: Any, args: Arguments, kwargs: Options, out: Any, flow_of: FlowOf
) -> list[Flow] | None:
    """What is known about each output of an operation; None if the operation is not known."""
    outs = tensors_in(out)
    if name in operations.RESHAPES:
        return [flow_of(args[0]).relabeled(lambda labels: labels.reshape(outs[0].shape))]
    if name in operations.REARRANGEMENTS:
        return _rearranged(func, args, kwargs, outs, flow_of)
    if name == "pad":
        return [flow_of(args[0]).relabeled(lambda labels: _padded(labels, args, kwargs))]
    if name in operations.CONSTANTS:
        return [Flow() for _ in outs]
    if name in operations.CASTS:
        return [flow_of(args[0])]
    two = len(tensors_in(args)) > 1
    if name in operations.ELEMENTWISE or (name in ("max", "min") and two):
        return [elementwise([flow_of(t) for t in tensors_in([args, kwargs])], outs[0])]
    if name in operations.NORMS:
        return [_normalised(name, args, kwargs, outs[0], flow_of)]
    if name in operations.REDUCTIONS or name in operations.MIXTURES:
        flow = along_axes(flow_of(args[0]), args, kwargs, outs[0].ndim)
        return [flow.relabeled(lambda labels: labels.expand(outs[0].shape)) for _ in outs]
    if name in operations.POOLINGS:
        return [_pooled(flow_of(args[0]), name, outs[0]) for _ in outs]
    return None


def elementwise(flows: list[Flow], out: Tensor) -> Flow:
    """Several tensors broadcast to one."""
    pairs = [(s, labels.broadcast_to(out.shape)) for flow in flows for s, labels in flow.pairs]
    return merged(flows, pairs)


def _rearranged(
    func: Any, args: Arguments, kwargs: Options, outs: list[Tensor], flow_of: FlowOf
) -> list[Flow]:
    """The same operation on labels, one tensor's at a time."""
    flows = [flow_of(t) for t in tensors_in(args[0])]
    given = args[0], *map(_on_cpu, args[1:])
    options = {key: _on_cpu(value) for key, value in kwargs.items()}
    pairs: list[list[Pair]] = [[] for _ in outs]
    for i, flow in enumerate(flows):
        for source, labels in flow.pairs:
            for kept, each in zip(pairs, moved(func, given, options, labels, i), strict=True):
                kept.append((source, each))
    return [merged(flows, kept) for kept in pairs]


def _padded(labels: Tensor, args: Arguments, kwargs: Options) -> Tensor:
    """Nothing around, or what the mode puts there; only numbers with fractions have all modes."""
    mode = str(kwargs.get("mode", args[2] if len(args) > 2 else "constant"))
    value = NONE if mode == "constant" else None
    return functional.pad(labels.double(), args[1], mode, value).to(labels.dtype)


def _on_cpu(value: Any) -> Any:
    """Indices where the labels are."""
    if isinstance(value, Tensor):
        return value.cpu()
    if isinstance(value, (list, tuple)):
        return type(value)(map(_on_cpu, value)) if type(value) in (list, tuple) else value
    return value


def assigned(x: Tensor, index: Any, value: Any, flow_of: FlowOf) -> Flow:
    """What is known about x after ``x[index] = value``."""
    index = _on_cpu(index)
    before = flow_of(x)
    pairs: list[Pair] = []
    for source, labels in before.pairs:
        labels = labels.clone()
        labels[index] = NONE
        pairs.append((source, labels))
    flows = [before, *(flow_of(t) for t in tensors_in(value))]
    for source, labels in flows[-1].pairs if len(flows) > 1 else ():
        filled = torch.full(x.shape, NONE)
        filled[index] = labels
        pairs.append((source, filled))
    return merged(flows, pairs)


def _axes(args: Arguments, kwargs: Options, ndim: int) -> list[int]:
    """The axes that an operation works along; all, if it does not say."""
    axes = kwargs.get("dim", kwargs.get("axis", args[1] if len(args) > 1 else None))
    if axes is None or isinstance(axes, bool) or axes == ():
        return list(range(ndim))
    return [a % ndim for a in ([axes] if isinstance(axes, int) else list(axes))]


def along_axes(flow: Flow, args: Arguments, kwargs: Options, ndim: int) -> Flow:
    """All elements along some axes together, the axes kept as length 1 or dropped."""
    axes = _axes(args, kwargs, args[0].ndim)
    drops = ndim < args[0].ndim

    def together(labels: Tensor) -> Tensor:
        labels = shared_over(labels, axes)
        return labels.squeeze(axes) if drops else labels

    return _without_ambiguous_entries(flow.relabeled(together), "a mean of parameters", ndim == 0)


def _without_ambiguous_entries(flow: Flow, operation: str, is_number: bool) -> Flow:
    """Without parameters of which several entries meet in one element.

    It cannot be said any more whose they are, except where all meet in one number, which
    then is nobody's.
    """
    ambiguous = [s for s, labels in flow.of(Entries) if not bool((labels >= 0).any())]
    if not ambiguous:
        return flow
    kept = tuple(pair for pair in flow.pairs if pair[0] not in ambiguous)
    return replace(flow, pairs=kept, lost=flow.lost | (set() if is_number else {(operation, None)}))


def _normalised(name: str, args: Arguments, kwargs: Options, out: Tensor, flow_of: FlowOf) -> Flow:
    """Channels keep their places; statistics over them are taken as constants."""
    by_channel = name in ("batch_norm", "instance_norm", "group_norm")
    shape = [1, -1, *(1 for _ in out.shape[2:])]
    flows = [flow_of(args[0])]
    for tensor in tensors_in([args[1:], kwargs]):
        flow = flow_of(tensor)
        if flow.pairs or flow.lost:
            flows.append(flow.relabeled(lambda t: t.view(shape)) if by_channel else flow)
    return elementwise(flows, out)


def _pooled(flow: Flow, name: str, out: Tensor) -> Flow:
    """Neighbouring positions of one channel."""
    n_axes = int(name[-2]) if name[-2:] in ("1d", "2d", "3d") else out.ndim - 2
    positions = range(-n_axes, 0)
    return flow.relabeled(lambda labels: shared_over(labels, positions).expand(out.shape))


def product(contraction: Contraction, out: Tensor, flow_of: FlowOf) -> Flow:
    """A sum of products, none of whose factors are parameters."""
    factors, letters, target = contraction
    flows = [flow_of(t) for t in factors]
    pairs = [
        (source, project(labels, own, target, out.shape))
        for flow, own in zip(flows, letters, strict=True)
        for source, labels in flow.pairs
    ]
    return _without_ambiguous_entries(
        merged(flows, pairs), "a product of parameters", out.ndim == 0
    )


def halves(flow: Flow, dim: int) -> Flow:
    """Both halves of a tensor, combined element by element, as ``glu`` does."""
    parts = [flow.relabeled(lambda labels, i=i: labels.chunk(2, dim)[i]) for i in (0, 1)]  # type: ignore[misc]
    return merged(parts, [pair for part in parts for pair in part.pairs])
