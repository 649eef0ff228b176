"""Watch one run of a module, and merge the axes of its parameters that move together."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from sklflat.networks.tracing.tensors import tensors_in
from sklflat.symmetry.tracing import aten_names as names
from sklflat.symmetry.tracing.axis_indices import NONE, AxisIndexClasses
from sklflat.symmetry.tracing.labels import Labels, tidy
from sklflat.symmetry.tracing.operations import Operations
from sklflat.symmetry.tracing.unification import Unifier

#: calls that are made or not, depending on what is differentiated
UNCOUNTED = frozenset({"detach", "alias"})

_MISUNDERSTOOD = (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError)


class SymmetryTracer(TorchDispatchMode):
    """Merges classes of axis indices of a module's parameters and buffers while it runs.

    Parameters
    ----------
    module : torch.nn.Module
    X : Tensor
        What it will be run on.

    Attributes
    ----------
    classes : AxisIndexClasses
    parameter_labels : dict of str to list of Tensor
        Labels of the parameters and buffers by name, each broadcast to the shape.
    unknown : dict of str to list of Tensor
        Operations that were not understood, and the labels that reached them.
    labelled_outputs : list of (int, str, bool, Labels)
        Outputs that carry labels: the number of the operation, its name, whether it is a
        nonlinearity, and the labels.
    """

    def __init__(self, module: nn.Module, X: Tensor) -> None:
        super().__init__()
        self.classes = AxisIndexClasses()
        self.operations = Operations(
            Unifier(self.classes), self._labels_of, self._is_data, self._is_input, self._regroup
        )
        self.parameter_labels: dict[str, list[Tensor]] = {}
        self.unknown: dict[str, list[Tensor]] = {}
        self.labelled_outputs: list[tuple[int, str, bool, Labels]] = []
        self._names: dict[int, str] = {}
        self._used: set[str] = set()
        self._labels: dict[int, Labels] = {}
        self._alive: list[Tensor] = []
        self._n_calls = 0
        self._data, self._input = {id(X)}, {id(X)}
        for name, tensor in (*module.named_parameters(), *module.named_buffers()):
            self._names[id(tensor)] = name
            self.parameter_labels[name] = [self._axis(tensor, a) for a in range(tensor.ndim)]
            self.parameter_labels[name] = tidy(self.parameter_labels[name])

    def _axis(self, tensor: Tensor, axis: int) -> Tensor:
        """A new class for every index of an axis; none for an axis of length 1."""
        n = tensor.shape[axis]
        shape = [n if a == axis else 1 for a in range(tensor.ndim)]
        new = self.classes.add(n) if n > 1 else torch.full((n,), NONE)
        return new.view(shape)

    def _regroup(self, weight: Tensor, groups: int, transposed: bool) -> None:
        """Let the channels of each group of a convolution have classes of their own."""
        name = self._names.get(id(weight))
        if name is None or name in self._used or weight.shape[1] == 1:
            return
        n = weight.shape[1]
        new = self.classes.add(groups * n).view(groups, 1, n, *[1] * (weight.ndim - 2))
        per_group = new.expand(groups, len(weight) // groups, n, *[1] * (weight.ndim - 2))
        self.parameter_labels[name][1] = per_group.flatten(0, 1)

    def _labels_of(self, tensor: Tensor) -> Labels:
        name = self._names.get(id(tensor))
        return self._labels.get(id(tensor), []) if name is None else self.parameter_labels[name]

    def _is_data(self, tensor: Tensor) -> bool:
        """Whether a tensor depends on the input, or came from where no operation shows it."""
        came_in = id(tensor) not in self._names and id(tensor) not in self._labels
        return id(tensor) in self._data or came_in

    def _is_input(self, tensor: Tensor) -> bool:
        return id(tensor) in self._input

    def _count(self, tensors: list[Tensor]) -> None:
        """Indices along an axis are used: it has an order."""
        for t in tensors:
            for labels in self.operations.counted_labels.get(id(t), ()):
                self.classes.pin(labels, "indices along them")

    def _record(self, tensor: Tensor, labels: Labels) -> None:
        self._labels[id(tensor)] = labels
        self._alive.append(tensor)  # else its id could come to mean another tensor

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = func.overloadpacket.__name__
        plain = name.rstrip("_")
        in_place = name != plain
        before = args
        if in_place and args:  # values as they were, to see along which axes they differ
            before = (args[0].clone(), *args[1:])
            self._record(before[0], self._labels_of(args[0]))
            self.operations.concatenated.move(args[0], before[0])
        out = func(*args, **kwargs)
        outs = tensors_in(out)
        if not outs:
            return out
        self._n_calls += name not in UNCOUNTED
        found = self._follow(plain, func, before, kwargs, outs)
        given = tensors_in([args, kwargs])
        self._used |= {self._names[id(t)] for t in given if id(t) in self._names}
        self._count(given)
        if plain not in names.CONSTANTS:
            self._input |= {id(t) for t in outs if any(map(self._is_input, given))}
            self._data |= {id(t) for t in outs if any(map(self._is_data, given))}
        for tensor, labels in zip(outs, found, strict=True):
            self._record(tensor, labels)
            if in_place:
                self._update_base(tensor, labels)
        return out

    def _follow(
        self, name: str, func: Any, args: Any, kwargs: Any, outs: list[Tensor]
    ) -> list[Labels]:
        given = [x for t in tensors_in([args, kwargs]) for x in self._labels_of(t)]
        if not given:
            return [[] for _ in outs]
        self.classes.operation = name
        try:
            found = self.operations.follow(name, func, args, kwargs, outs)
        except _MISUNDERSTOOD:
            found = None
        if found is None or len(found) != len(outs):
            for labels in given:
                self.classes.pin(labels)
            self.unknown.setdefault(name, []).extend(given)
            return [[] for _ in outs]
        self._mark(name, func, args, kwargs, given)
        if any(found):
            is_nonlinear = name not in names.ARITHMETIC and names.is_elementwise(name, func)
            self.labelled_outputs.append(
                (self._n_calls, name, is_nonlinear or name == "glu", found[0])
            )
        return found

    def _mark(self, name: str, func: Any, args: Any, kwargs: Any, given: Labels) -> None:
        """Note that an operation was applied to its arguments.

        An elementwise function is the same one wherever it is called; any other depends on its
        other arguments, and on the call.
        """
        if name in names.MOVES:
            return
        alone = len(tensors_in([args, kwargs])) == 1 and names.is_elementwise(name, func)
        rest = str([a for a in (*args, *kwargs.items()) if not isinstance(a, Tensor)])
        self.classes.mark(given, (name, rest) if alone else (name, self._n_calls))

    def _update_base(self, tensor: Tensor, labels: Labels) -> None:
        """What a view was made of has changed with it."""
        base = tensor._base
        if base is None:
            return
        if base.storage_offset() or not base.is_contiguous():
            for x in (*labels, *self._labels_of(base)):
                self.classes.pin(x, "a write into a view of unusual layout")
            return
        layout = tensor.shape, tensor.stride(), tensor.storage_offset()
        whole = [x.expand(base.shape).contiguous().clone() for x in self._labels_of(base)]
        for x in whole:
            x.as_strided(*layout).fill_(NONE)
        for x in labels:
            whole.append(torch.full(base.shape, NONE))
            whole[-1].as_strided(*layout).copy_(x.expand(tensor.shape))
        self._record(base, tidy(whole))

    def finish(self, out: Any) -> None:
        """Pin the labels of what the module returned: outputs have an order."""
        self.classes.operation = ""
        self._count(leaves(out))
        for tensor in leaves(out):
            for labels in self._labels_of(tensor):
                self.classes.pin(labels, "output")
                self.classes.outputs |= set(labels[labels != NONE].unique().tolist())


def leaves(out: Any) -> list[Tensor]:
    """The tensors that a module returns."""
    if hasattr(out, "to_tuple"):
        out = out.to_tuple()
    return tensors_in(out)
