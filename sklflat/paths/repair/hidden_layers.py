"""Layers that run once, and that others come after."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from sklflat.networks.hooks import temporary_hooks


@torch.enable_grad()
def hidden_layers(module: nn.Module, x: Tensor, names: Sequence[str]) -> list[str]:
    """Those of some layers that run once, and whose output reaches the input of another of them.

    What reaches no other is an output layer, however many heads a network has. What is detached
    on the way is not seen to reach anything. A layer whose output is read by batch normalisation
    and nothing else is none of them. They are in the order in which they run; the module runs once,
    on some rows, and its gradients are not touched.

    Examples
    --------
    >>> import torch
    >>> from sklflat.paths.repair.hidden_layers import hidden_layers
    >>> module = torch.nn.Sequential(*(torch.nn.Linear(2, 2) for _ in range(3)))
    >>> hidden_layers(module, torch.ones(1, 2), ["0", "1", "2"])
    ['0', '1']
    """
    inputs: list[Any] = []
    outputs: list[tuple[str, Any]] = []
    norms: set[Any] = set()  # nodes through which batch normalisation reads

    def record(name: str, given: tuple[Any, ...], out: Tensor) -> Tensor:
        inputs.extend(z.grad_fn for z in given if isinstance(z, Tensor))
        out = out + 0  # a node of its own, on which nothing can be written
        outputs.append((name, out.grad_fn))
        return out

    def enter(_: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
        read = tuple(z + 0 if isinstance(z, Tensor) else z for z in given)
        norms.update(z.grad_fn for z in read if isinstance(z, Tensor) and z.requires_grad)
        return read

    handles = [
        module.get_submodule(name).register_forward_hook(
            lambda _, given, out, name=name: record(name, given, out)
        )
        for name in names
    ]
    handles += [
        norm.register_forward_pre_hook(enter)
        for norm in module.modules()
        if isinstance(norm, _BatchNorm)
    ]
    parameters = list(module.parameters())
    non_trainable = [p for p in parameters if not p.requires_grad and p.is_floating_point()]
    for p in non_trainable:
        p.requires_grad_(True)
    try:
        with temporary_hooks(handles):
            module(x.clone())
    finally:
        for p in non_trainable:
            p.requires_grad_(False)
    readers = _readers(inputs)
    calls = Counter(name for name, _ in outputs)
    return [
        name
        for name, node in outputs
        if calls[name] == 1 and node in readers and not readers[node] <= norms
    ]


def _readers(ends: list[Any]) -> dict[Any, set[Any]]:
    """Nodes of a graph of gradients that some ends depend on, each with those that read it.

    An end itself is read by what is beyond it, which is None here.
    """
    left = [node for node in ends if node is not None]
    readers: dict[Any, set[Any]] = {node: {None} for node in left}
    while left:
        node = left.pop()
        for before, _ in node.next_functions:
            if before is not None:
                if before not in readers:
                    readers[before] = set()
                    left.append(before)
                readers[before].add(node)
    return readers
