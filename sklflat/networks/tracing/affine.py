"""Affine operations: which entries of which parameters read what, and make what."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from sklflat.networks.tracing import contraction, operations
from sklflat.networks.tracing.flow import Entries, Flow, arange_along, shared_over
from sklflat.networks.tracing.tensors import NONE, Arguments, Options

FlowOf = Callable[[Tensor], Flow]
Relabel = Callable[[Tensor], Tensor]


@dataclass
class Reading:
    """An input of an affine operation.

    Attributes
    ----------
    x : Tensor
    weight : Tensor or None
    columns : callable
        From labels of `x` to labels of `weight`: what its elements read.
    through : callable
        From the rows of `x` to those of the output.
    """

    x: Tensor
    weight: Tensor | None
    columns: Relabel
    through: Relabel


@dataclass
class AffineCall:
    """What an affine operation does.

    Attributes
    ----------
    readings : list of Reading
    made_by : list of (Tensor, Tensor)
        A weight or bias, and the channel of the output that each of its elements makes.
    channels : Tensor
        The channel of each element of the output.
    added : Tensor or None
        Something added to the output element by element.
    """

    readings: list[Reading]
    made_by: list[tuple[Tensor, Tensor]]
    channels: Tensor
    added: Tensor | None = field(default=None)


def described(
    name: str, args: Arguments, kwargs: Options, out: Any, flow_of: FlowOf
) -> AffineCall | None:
    """What an operation does if it is affine with a parameter as its factor, else None."""
    if name in operations.PRODUCTS:
        return _product(name, args, kwargs, out, flow_of)
    if name in operations.CONVOLUTIONS:
        weight = _argument(args, kwargs, 1, "weight")
        if flow_of(weight).depends:
            return None
        return _convolution("transpose" in name, args, kwargs, out)
    if name in ("embedding", "embedding_bag"):
        return _embedding(args, kwargs, out)
    if name == "multi_head_attention_forward":
        return _attention(args, kwargs, out[0])
    looked_up = _looked_up(name, args)
    if looked_up is not None and _is_by_hand(*looked_up, out, flow_of):
        return _embedding(looked_up, {}, out)
    return None


def _looked_up(name: str, args: Arguments) -> tuple[Any, Tensor] | None:
    """Ids, and what they name rows of, if an operation does that."""
    if name == "getitem":
        return args[1], args[0]
    return (args[2], args[0]) if name == "index_select" and args[1:2] == (0,) else None


def _is_by_hand(ids: Any, table: Tensor, out: Tensor, flow_of: FlowOf) -> bool:
    """Whether rows of a parameter are looked up by data: an embedding."""
    if not isinstance(ids, Tensor) or ids.dtype == torch.bool or table.ndim != 2:
        return False
    own = flow_of(table)
    is_parameter = not own.depends and bool(own.of(Entries))
    return is_parameter and flow_of(ids).depends and out.ndim == ids.ndim + 1


def _argument(args: Arguments, kwargs: Options, place: int, name: str) -> Any:
    return args[place] if len(args) > place else kwargs.get(name)


def _product(
    name: str, args: Arguments, kwargs: Options, out: Tensor, flow_of: FlowOf
) -> AffineCall | None:
    known = contraction.read(name, args, kwargs)
    if known is None:
        return None
    factors, letters, target = known
    flows = [flow_of(t) for t in factors]
    places = [i for i, flow in enumerate(flows) if not flow.depends]
    if len(places) != 1 or len(flows) == 1:
        return None
    at = places[0]
    weight, own = factors[at], letters[at]
    is_parameter = bool(flows[at].of(Entries) or flows[at].lost)
    if not is_parameter and name not in ("linear", "bilinear"):
        return None
    made = [i for i, letter in enumerate(own) if letter in target]
    rows = arange_along(weight.shape, *made)
    channels = contraction.project(rows, own, target, out.shape)
    readings = [
        Reading(
            x,
            weight,
            lambda labels, its=its: contraction.project(labels, its, own, weight.shape),  # type: ignore[misc]
            lambda labels, its=its: contraction.project(labels, its, target, out.shape),  # type: ignore[misc]
        )
        for i, (x, its) in enumerate(zip(factors, letters, strict=True))
        if i != at
    ]
    call = AffineCall(readings, [(weight, rows)], channels)
    if name.startswith(("add", "badd")):
        call.added = args[0]
    bias = _argument(args, kwargs, 3 if name == "bilinear" else 2, "bias")
    if name in ("linear", "bilinear") and bias is not None:
        call.made_by.append((bias, torch.arange(bias.numel()).view(bias.shape)))
    return call


def _convolution(transposed: bool, args: Arguments, kwargs: Options, out: Tensor) -> AffineCall:
    x, weight = args[0], _argument(args, kwargs, 1, "weight")
    bias = _argument(args, kwargs, 2, "bias")
    groups = _argument(args, kwargs, 6, "groups") or 1
    n_positions = weight.ndim - 2
    axis = x.ndim - n_positions - 1
    # along the second axis of the weight, each group of the first sees its own channels
    n_first, n_second = weight.shape[:2]
    group = arange_along(weight.shape, 0) // (n_first // groups)
    second = group * n_second + arange_along(weight.shape, 1)
    first = arange_along(weight.shape, 0)
    makes, reads = (second, first) if transposed else (first, second)

    def columns(labels: Tensor) -> Tensor:
        others = [a for a in range(labels.ndim) if a != axis]
        return shared_over(labels, others).flatten()[reads]

    def through(labels: Tensor) -> Tensor:
        return shared_over(labels, range(axis, x.ndim)).expand(out.shape)

    call = AffineCall(
        [Reading(x, weight, columns, through)], [(weight, makes)], arange_along(out.shape, axis)
    )
    if bias is not None:
        call.made_by.append((bias, torch.arange(len(bias))))
    return call


def _embedding(args: Arguments, kwargs: Options, out: Tensor) -> AffineCall:
    ids, weight = args[0], _argument(args, kwargs, 1, "weight")

    def through(labels: Tensor) -> Tensor:
        if ids.ndim == out.ndim:  # a bag: ids of one row make one embedding
            return shared_over(labels, [-1]).expand(out.shape)
        return labels.unsqueeze(-1).expand(out.shape)

    reading = Reading(ids, None, lambda labels: labels, through)
    return AffineCall(
        [reading], [(weight, arange_along(weight.shape, 1))], arange_along(out.shape, -1)
    )


def _attention(args: Arguments, kwargs: Options, out: Tensor) -> AffineCall:
    """Multi-head attention: the inner products of what it projects are no business of units."""
    bound = inspect.signature(functional.multi_head_attention_forward).bind(*args, **kwargs)
    given = bound.arguments
    inputs = [given[key] for key in ("query", "key", "value")]
    joint = None if given.get("use_separate_proj_weight") else given["in_proj_weight"]
    own = [given.get(f"{key}_proj_weight") for key in "qkv"]
    readings = []
    for i, x in enumerate(inputs):
        weight: Any = own[i] if joint is None else joint
        part = slice(None) if joint is None else slice(i * x.shape[-1], (i + 1) * x.shape[-1])

        def columns(labels: Tensor, shape: Any = weight.shape, part: slice = part) -> Tensor:
            filled = torch.full(shape, NONE)
            filled[part] = shared_over(labels, range(labels.ndim - 1)).flatten()
            return filled

        def through(labels: Tensor, same: bool = i == 0) -> Tensor:
            labels = shared_over(labels, [-1])
            return labels.expand(out.shape) if same else torch.full((), NONE).expand(out.shape)

        readings.append(Reading(x, weight, columns, through))
    weight, bias = given["out_proj_weight"], given["out_proj_bias"]
    call = AffineCall(
        readings, [(weight, arange_along(weight.shape, 0))], arange_along(out.shape, -1)
    )
    if bias is not None:
        call.made_by.append((bias, torch.arange(len(bias))))
    return call
