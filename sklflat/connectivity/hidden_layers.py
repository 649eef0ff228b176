"""Layers that run once, and that others come after."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn


@torch.enable_grad()
def hidden_layers(module: nn.Module, x: Tensor, names: Sequence[str]) -> list[str]:
    """Those of some layers that run once, and whose output reaches the input of another of them.

    What reaches no other is an output layer, however many heads a network has. What is detached
    on the way is not seen to reach anything.

    Parameters
    ----------
    module : torch.nn.Module
        Is run once; its gradients are not touched.
    x : Tensor of shape (n, ...)
        Some rows.
    names : sequence of str
        Paths of layers.

    Returns
    -------
    list of str
        In the order in which they run.

    Examples
    --------
    >>> import torch
    >>> from sklflat.connectivity.hidden_layers import hidden_layers
    >>> module = torch.nn.Sequential(*(torch.nn.Linear(2, 2) for _ in range(3)))
    >>> hidden_layers(module, torch.ones(1, 2), ["0", "1", "2"])
    ['0', '1']
    """
    inputs: list[Any] = []
    outputs: list[tuple[str, Any]] = []

    def see(name: str, given: tuple[Any, ...], out: Tensor) -> Tensor:
        inputs.extend(z.grad_fn for z in given if isinstance(z, Tensor))
        out = out + 0  # a node of its own, on which nothing can be written
        outputs.append((name, out.grad_fn))
        return out

    handles = [
        module.get_submodule(name).register_forward_hook(
            lambda _, given, out, name=name: see(name, given, out)
        )
        for name in names
    ]
    frozen = [p for p in module.parameters() if not p.requires_grad and p.is_floating_point()]
    for p in frozen:
        p.requires_grad_(True)
    try:
        module(x.clone())
    finally:
        for handle in handles:
            handle.remove()
        for p in frozen:
            p.requires_grad_(False)
    before = _with_all_before(inputs)
    calls = Counter(name for name, _ in outputs)
    return [name for name, node in outputs if calls[name] == 1 and node in before]


def _with_all_before(nodes: list[Any]) -> set[Any]:
    """Nodes of a graph of gradients, and all that they depend on."""
    seen: set[Any] = set()
    left = [node for node in nodes if node is not None]
    while left:
        node = left.pop()
        if node not in seen:
            seen.add(node)
            left.extend(before for before, _ in node.next_functions if before is not None)
    return seen
