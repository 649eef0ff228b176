"""Which networks can be replicas of one stack."""

import os
from collections.abc import Hashable
from typing import Any

from sklflat.training.engine.replays import attributes, why_not_recorded
from sklflat.training.stacking.perturbation import StackedPerturbation

#: parameters above which a step takes so long on a CPU that sharing what comes around it saves
#: less than products of many matrices at once cost (one thread: .5 times the time of one after
#: the other at 5,000, .9 at 25,000, 1.0 at 40,000, 1.1 to 1.6 at 80,000 and 200,000)
_LARGE = 50_000
#: per-replica time no longer falls beyond this many (benchmarks/stacked.py)
_MOST = 64


def stack_key(net: Any) -> Hashable:
    """What two nets have to have in common to be replicas of one stack."""
    modules = (net.module_, net.criterion_)
    parts = [(name, type(part)) for m in modules for name, part in m.named_modules()]
    plain = [item for item in attributes(modules) if item[0] != "temperature"]
    tensors = [
        (name, t.shape, t.dtype, str(t.device), t.requires_grad)
        for named in (net.module_.named_parameters, net.module_.named_buffers)
        for name, t in named(remove_duplicate=False)
    ]
    optimizer = net.optimizer_
    steps = net.steps_
    kind = StackedPerturbation.kind(steps.perturbation)
    return repr((type(net), parts, plain, tensors, type(optimizer), kind))


def why_not_stacked(net: Any) -> str | None:
    """Why a net cannot be a replica of a stack; None if, from all that can be seen, it can."""
    reason = net.why_not_vector()
    if reason is not None:
        return reason
    if len(net.optimizer_.param_groups) > 1:
        return "the optimizer has several parameter groups"
    if net.optimizer_.param_groups[0].get("maximize"):
        return "the optimizer maximizes"
    if net.optimizer_.param_groups[0].get("dampening"):
        return "the first step of dampened momentum is another than the others"
    if net.steps_.needs_samples:
        return f"{type(net.steps_.perturbation).__name__} reads per-sample gradients"
    if net.steps_.needs_landscape:
        return f"{type(net.steps_.perturbation).__name__} looks at the loss around the weights"
    stranger = why_not_recorded((net.module_, net.criterion_), net.user_classes())
    if stranger is not None and ("hooks" in stranger or "get_loss" in stranger):
        return stranger
    return None


def why_not_faster(net: Any) -> str | None:
    """Why a stack of such nets would not be faster than one after the other; None if it would."""
    parameters = list(net.module_.parameters())
    p = sum(q.numel() for q in parameters)
    if p > _LARGE and all(q.device.type == "cpu" for q in parameters):
        return f"networks of more than {_LARGE:,} parameters are not faster in a stack"
    return None


def replicas_at_once(net: Any, batch_size: int) -> int:
    """How many replicas of a net are trained by one step.

    As many as fit into a quarter of the memory that is free, and not more than keep the
    parameters of all of them within what measurements (``benchmarks/stacked.py``) found useful.
    """
    parameters = list(net.module_.parameters())
    p = sum(q.numel() for q in parameters)
    n_units = sum(len(q) for q in parameters if q.ndim > 1)
    item = parameters[0].element_size()
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    by_memory = free // 4 // max(stack_bytes(p, n_units, batch_size, item), 1)
    return max(1, min(by_memory, _MOST))


def stack_bytes(p: int, n_units: int, batch_size: int, itemsize: int) -> int:
    """Bytes that one replica needs at most, at the peak.

    These are twenty vectors of length p (weights, gradients, the optimiser's memory, what comes
    in between) and eighteen numbers for every unit and sample of a batch; the peak is where the
    first steps are recorded.
    """
    return itemsize * (20 * p + 18 * batch_size * n_units)
