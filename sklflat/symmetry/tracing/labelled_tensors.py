"""The labels of all tensors of one run, and which of these depend on data."""

import torch
from torch import Tensor, nn

from sklflat.networks.tracing.tensors import NONE, TensorRegistry
from sklflat.symmetry.tracing.axis_indices import AxisIndexClasses
from sklflat.symmetry.tracing.labels import Labels, merge_labels


class LabelledTensors(TensorRegistry[Labels]):
    """Labels of tensors; at first those of parameters and buffers, an index of every axis.

    Parameters
    ----------
    module : torch.nn.Module
    X : Tensor
        What it will be run on.
    classes : AxisIndexClasses

    Attributes
    ----------
    parameter_labels : dict of str to list of Tensor
        Labels of the parameters and buffers by name, each broadcast to the shape.
    """

    def __init__(self, module: nn.Module, X: Tensor, classes: AxisIndexClasses) -> None:
        super().__init__(module)
        self._classes = classes
        self.names |= {id(b): name for name, b in module.named_buffers()}
        self._used: set[str] = set()
        self._data, self._input = {id(X)}, {id(X)}
        self.parameter_labels: dict[str, Labels] = {}
        for name, tensor in (*module.named_parameters(), *module.named_buffers()):
            self.parameter_labels[name] = merge_labels(
                [self._axis(tensor, a) for a in range(tensor.ndim)]
            )

    def _axis(self, tensor: Tensor, axis: int) -> Tensor:
        """A new class for every index of an axis; none for an axis of length 1."""
        n = tensor.shape[axis]
        shape = [n if a == axis else 1 for a in range(tensor.ndim)]
        new = self._classes.add(n) if n > 1 else torch.full((n,), NONE)
        return new.view(shape)

    def labels(self, tensor: Tensor) -> Labels:
        """The labels of a tensor; none if it has not been seen."""
        name = self.names.get(id(tensor))
        return self.parameter_labels[name] if name is not None else self.get(tensor) or []

    def is_input(self, tensor: Tensor) -> bool:
        """Whether a tensor was computed from the module's input."""
        return id(tensor) in self._input

    def is_data(self, tensor: Tensor) -> bool:
        """Whether a tensor depends on the input, or came from where no operation shows it."""
        came_in = id(tensor) not in self.names and self.get(tensor) is None
        return id(tensor) in self._data or came_in

    def depend(self, outs: list[Tensor], given: list[Tensor]) -> None:
        """Note that an operation computed tensors from others."""
        self._input |= {id(t) for t in outs if any(map(self.is_input, given))}
        self._data |= {id(t) for t in outs if any(map(self.is_data, given))}

    def use(self, given: list[Tensor]) -> None:
        """Note that an operation has read parameters: their labels stay as they are."""
        self._used |= {self.names[id(t)] for t in given if id(t) in self.names}

    def regroup(self, weight: Tensor, groups: int) -> None:
        """Let the channels of each group of a convolution have classes of their own."""
        name = self.names.get(id(weight))
        if name is None or name in self._used or weight.shape[1] == 1:
            return
        n = weight.shape[1]
        new = self._classes.add(groups * n).view(groups, 1, n, *[1] * (weight.ndim - 2))
        per_group = new.expand(groups, len(weight) // groups, n, *[1] * (weight.ndim - 2))
        self.parameter_labels[name][1] = per_group.flatten(0, 1)

    def write_through(self, view: Tensor, labels: Labels) -> None:
        """Give the tensor that a view was made of the labels that were written into the view."""
        base = view._base
        if base is None:
            return
        if base.storage_offset() or not base.is_contiguous():
            for x in (*labels, *self.labels(base)):
                self._classes.pin(x, "a write into a view of unusual layout")
            return
        layout = view.shape, view.stride(), view.storage_offset()
        whole = [x.expand(base.shape).contiguous().clone() for x in self.labels(base)]
        for x in whole:
            x.as_strided(*layout).fill_(NONE)
        for x in labels:
            whole.append(torch.full(base.shape, NONE))
            whole[-1].as_strided(*layout).copy_(x.expand(view.shape))
        self.record(base, merge_labels(whole))
