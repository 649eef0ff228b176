"""What both tracers share: a registry of tensors, and labels that operations move themselves.

Units (:mod:`sklflat.networks.tracing`) are found by a function mode, symmetries
(:mod:`sklflat.symmetry.tracing`) by a dispatch mode. Both give every element of every tensor
integers, its *labels*, and both move these through a rearrangement by calling it on the labels.
"""

from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

#: label of an element that nothing labelled reaches
NONE = -1

#: what an operation raises that is called in another way than its rule expects
MISUNDERSTOOD = (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError)

#: of a call that a tracer sees
Arguments = tuple[Any, ...]
Options = dict[str, Any]

Known = TypeVar("Known")


class TensorRegistry(Generic[Known]):
    """What is known about the tensors of one run, by identity.

    Parameters
    ----------
    module : torch.nn.Module

    Attributes
    ----------
    names : dict of int to str
        Of the module's parameters, by ``id``; a tied parameter has its first name.
    """

    def __init__(self, module: nn.Module) -> None:
        self.names = {id(p): name for name, p in module.named_parameters()}
        self._known: dict[int, Known] = {}
        self._alive: list[Tensor] = []

    def get(self, tensor: Tensor) -> Known | None:
        """What was recorded of a tensor."""
        return self._known.get(id(tensor))

    def record(self, tensor: Tensor, known: Known) -> None:
        """Record what is known about a tensor, and keep it."""
        self._known[id(tensor)] = known
        self._alive.append(tensor)  # else its id could come to mean another tensor


def tensors_in(value: Any) -> list[Tensor]:
    """The tensors in nested lists, tuples and dictionaries."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        return [leaf for item in value for leaf in tensors_in(item)]
    return []


def moved(func: Any, args: Any, kwargs: Any, labels: Tensor, number: int = 0) -> list[Tensor]:
    """Labels moved as an operation moves the elements of its first argument.

    Parameters
    ----------
    func : callable
    args, kwargs : tuple and dict
        As it was called; the first argument is a tensor or a list of tensors.
    labels : Tensor
        Of the shape of that tensor.
    number : int, default=0
        Of the labelled tensor in a list; the others have no labels.

    Returns
    -------
    list of Tensor
        Labels of each output.

    Examples
    --------
    >>> import torch
    >>> from sklflat.networks.tracing.tensors import moved
    >>> a, b = torch.zeros(1, 2), torch.zeros(1, 2)
    >>> moved(torch.cat, ([a, b], 0), {}, torch.tensor([[0, 1]]), number=1)
    [tensor([[-1, -1],
            [ 0,  1]])]
    """
    first, *rest = args
    if isinstance(first, Tensor):
        return tensors_in(func(labels, *rest, **kwargs))
    given = [torch.full((), NONE).expand(t.shape) for t in tensors_in(first)]
    given[number] = labels
    return tensors_in(func(given, *rest, **kwargs))


def named(text: str) -> frozenset[str]:
    """Names of operations."""
    return frozenset(text.split())
