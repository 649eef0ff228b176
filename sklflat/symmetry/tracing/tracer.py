"""Watch one run of a module, and merge the axes of its parameters that move together."""

from typing import Any

from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from sklflat.networks.tracing.tensors import MISUNDERSTOOD, NONE, tensors_in
from sklflat.symmetry.tracing import aten_names as names
from sklflat.symmetry.tracing.axis_indices import AxisIndexClasses
from sklflat.symmetry.tracing.labelled_tensors import LabelledTensors
from sklflat.symmetry.tracing.labels import Labels
from sklflat.symmetry.tracing.operations import Operations
from sklflat.symmetry.tracing.unification import Unifier

#: calls that are made or not, depending on what is differentiated
UNCOUNTED = frozenset({"detach", "alias"})


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
    tensors : LabelledTensors
    unknown : dict of str to list of Tensor
        Operations that were not understood, and the labels that reached them.
    labelled_outputs : list of (int, str, bool, Labels)
        Outputs that carry labels: the number of the operation, its name, whether it is a
        nonlinearity, and the labels.
    """

    def __init__(self, module: nn.Module, X: Tensor) -> None:
        super().__init__()
        self.classes = AxisIndexClasses()
        self.tensors = LabelledTensors(module, X, self.classes)
        self.operations = Operations(Unifier(self.classes), self.tensors)
        self.unknown: dict[str, list[Tensor]] = {}
        self.labelled_outputs: list[tuple[int, str, bool, Labels]] = []
        self._n_calls = 0

    def _count(self, tensors: list[Tensor]) -> None:
        """Indices along an axis are used: it has an order."""
        for t in tensors:
            for labels in self.operations.counted_labels.get(id(t), ()):
                self.classes.pin(labels, "indices along them")

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = func.overloadpacket.__name__
        plain = name.rstrip("_")
        in_place = name != plain
        before = args
        if in_place and args:  # values as they were, to see along which axes they differ
            before = (args[0].clone(), *args[1:])
            self.tensors.record(before[0], self.tensors.labels(args[0]))
            self.operations.concatenated.move(args[0], before[0])
        out = func(*args, **kwargs)
        outs = tensors_in(out)
        if not outs:
            return out
        self._n_calls += name not in UNCOUNTED
        found = self._follow(plain, func, before, kwargs, outs)
        given = tensors_in([args, kwargs])
        self.tensors.use(given)
        self._count(given)
        if plain not in names.CONSTANTS:
            self.tensors.depend(outs, given)
        for tensor, labels in zip(outs, found, strict=True):
            self.tensors.record(tensor, labels)
            if in_place:
                self.tensors.write_through(tensor, labels)
        return out

    def _follow(
        self, name: str, func: Any, args: Any, kwargs: Any, outs: list[Tensor]
    ) -> list[Labels]:
        given = [x for t in tensors_in([args, kwargs]) for x in self.tensors.labels(t)]
        if not given:
            return [[] for _ in outs]
        self.classes.operation = name
        try:
            found = self.operations.follow(name, func, args, kwargs, outs)
        except MISUNDERSTOOD:
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

    def finish(self, out: Any) -> None:
        """Pin the labels of what the module returned: outputs have an order."""
        self.classes.operation = ""
        self._count(leaves(out))
        for tensor in leaves(out):
            for labels in self.tensors.labels(tensor):
                self.classes.pin(labels, "output")
                self.classes.outputs |= set(labels[labels != NONE].unique().tolist())


def leaves(out: Any) -> list[Tensor]:
    """The tensors that a module returns."""
    if hasattr(out, "to_tuple"):
        out = out.to_tuple()
    return tensors_in(out)
