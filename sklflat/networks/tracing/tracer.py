"""Follow all tensors through one run of a module."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from sklflat.networks.mlp import MLP
from sklflat.networks.tracing import (
    affine,
    contraction,
    nonlinear,
    operations,
    recurrent,
    rules,
)
from sklflat.networks.tracing.affine import AffineCall
from sklflat.networks.tracing.flow import (
    Affine,
    Entries,
    Flow,
    Layer,
    Rows,
    arange_along,
    merged,
)
from sklflat.networks.tracing.nonlinear import FoundLayer, Owners
from sklflat.networks.tracing.tensors import MISUNDERSTOOD, NONE, TensorRegistry, tensors_in

_UNSEEN = "an operation that torch does not show"


class Tracer(TorchFunctionMode):
    """Follows the labels of all tensors while it is active in this thread.

    Parameters
    ----------
    module : torch.nn.Module
    X : Tensor
        The rows that it will be run on.

    Attributes
    ----------
    layers : list of FoundLayer
    events : list of str
        The calls of nonlinearities, of bounds that may be one, and of linear operations.
    unknown : set of str
        Operations that were not understood.
    draws : bool
        Whether random numbers may have been drawn.
    """

    def __init__(self, module: nn.Module, X: Tensor) -> None:
        super().__init__()
        self._module = module
        self._tensors: TensorRegistry[Flow] = TensorRegistry(module)
        self._shapes = {name: p.shape for name, p in module.named_parameters()}
        self._constants = {id(b) for b in module.buffers()}
        self._n_rows = len(X)
        self._callers: list[tuple[str, nn.Module]] = []
        self._linear: dict[int, int] = {}
        self._n_affine = 0
        self._is_paused = False
        self._rows = Rows()
        self.layers: list[FoundLayer] = []
        self.events: list[str] = []
        self.unknown: set[str] = set()
        self.draws = False
        self._tensors.record(X, Flow(((self._rows, arange_along(X.shape, 0)),), depends=True))

    # --- which module is running -------------------------------------------------------------

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Know which module calls what, by hooks that are removed again."""
        with ExitStack() as stack:
            for path, part in self._module.named_modules():
                for handle in self._hooks(path, part):
                    stack.callback(handle.remove)
            with self:
                yield

    def _hooks(self, path: str, part: nn.Module) -> Iterator[Any]:
        def enter(part: nn.Module, args: Any) -> None:
            self._callers.append((path, part))

        def leave(part: nn.Module, args: Any, out: Any) -> None:
            if isinstance(part, nn.Identity) and self._is_activation(path):
                self._identity(out)
            self._callers.pop()

        yield part.register_forward_pre_hook(enter)
        yield part.register_forward_hook(leave)

    def _is_activation(self, path: str) -> bool:
        """Whether an identity stands where this package's network has its nonlinearity."""
        owner = self._module.get_submodule(path.rpartition(".")[0].rpartition(".")[0])
        return isinstance(owner, MLP) and path.rpartition(".")[2].startswith("identity_")

    def _identity(self, out: Tensor) -> None:
        event = self._linear.get(id(out))
        if event is not None:
            self._is_paused = True  # this runs in the middle of the module
            self._tensors.record(out, self._nonlinearity("identity", out, self._flow(out), event))
            self._is_paused = False

    # --- what a tensor is --------------------------------------------------------------------

    def _flow(self, tensor: Tensor) -> Flow:
        known = self._tensors.get(tensor)
        if known is None:
            known = self._first_seen(tensor)
            self._tensors.record(tensor, known)
        return known

    def _first_seen(self, tensor: Tensor) -> Flow:
        """What is known about a parameter, a buffer, or a tensor that came from nowhere."""
        name = self._tensors.names.get(id(tensor))
        if name is not None:
            entries = torch.arange(tensor.numel()).view(tensor.shape)
            return Flow(((Entries(name), entries),))
        if id(tensor) in self._constants or self._n_rows not in tensor.shape:
            return Flow()
        layers = frozenset(range(len(self.layers)))
        lost = frozenset((_UNSEEN, of) for of in (None, *layers))
        return Flow(self._rows_of(tensor), True, layers, layers, lost)

    def _rows_of(self, tensor: Tensor) -> tuple[tuple[Rows, Tensor], ...]:
        """Rows along the first axis that has their number."""
        axes = [axis for axis, n in enumerate(tensor.shape) if n == self._n_rows]
        return tuple((self._rows, arange_along(tensor.shape, axis)) for axis in axes[:1])

    # --- what an operation does --------------------------------------------------------------

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if self._is_paused:
            return func(*args, **kwargs)
        name = operations.name_of(func)
        self.draws |= operations.draws(name, kwargs)
        if name == "setitem":
            self._assign(*args)
        out = func(*args, **kwargs)
        outs = tensors_in(out)
        if outs:
            flows = self._follow(name, func, args, kwargs, out)
            before = [id(t) for t in tensors_in([args, kwargs])]
            for tensor, flow in zip(outs, flows, strict=True):
                self._tensors.record(tensor, flow)
                if id(tensor) in before and name not in operations.CASTS:
                    self._forget_base(tensor, name)
        return out

    def _forget_base(self, tensor: Tensor, name: str) -> None:
        """What a view was made of has changed with it."""
        base = tensor._base
        if base is not None and self._tensors.get(base) is not None:
            flow = self._flow(base).losing(f"{name} in place on a view")
            self._tensors.record(base, replace(flow, pairs=self._rows_of(base)))

    def _assign(self, x: Tensor, index: Any, value: Any) -> None:
        flows = [self._flow(t) for t in tensors_in([x, value])]
        if any(f.depends or f.pairs for f in flows):
            try:
                flow = rules.assigned(x, index, value, self._flow)
            except MISUNDERSTOOD:
                flow = self._unknown("setitem", flows, x)
            self._tensors.record(x, flow)

    def _follow(self, name: str, func: Any, args: Any, kwargs: Any, out: Any) -> list[Flow]:
        """What is known about each of the outputs."""
        event = len(self.events)
        if operations.event_of(func) is not None:
            self.events.append(name)
        outs = tensors_in(out)
        if name in operations.IMPORTS:
            return [self._first_seen(t) for t in outs]
        flows = [self._flow(t) for t in tensors_in([args, kwargs])]
        if not any(f.depends or f.pairs or f.lost for f in flows):
            return [Flow()] * len(outs)
        try:
            known = self._understand(name, func, args, kwargs, out, event)
        except MISUNDERSTOOD:
            known = None
        if known is not None and len(known) == len(outs):
            return known
        return [self._unknown(name, flows, t) for t in outs]

    def _understand(
        self, name: str, func: Any, args: Any, kwargs: Any, out: Any, event: int
    ) -> list[Flow] | None:
        recurrence = recurrent.described(name, args)
        if recurrence is not None:
            return self._recurrent(recurrence, name, args[0], out, event)
        operation, inputs = self._nonlinear_inputs(name, args, kwargs)
        if operation is not None:
            flow = self._broadcast(operation, inputs, args, kwargs, out)
            return [self._nonlinearity(operation, out, flow, event)]
        call = affine.described(name, args, kwargs, out, self._flow)
        if call is not None and any(self._flow(r.x).depends for r in call.readings):
            first, *rest = tensors_in(out)
            if name == "linear":
                self._linear[id(first)] = event
            flows = [self._affine(call)]
            return flows + [self._unknown(name, flows, t) for t in rest]
        if name in operations.PRODUCTS:
            known = contraction.read(name, args, kwargs)
            return None if known is None else [rules.product(known, out, self._flow)]
        return rules.followed(name, func, args, kwargs, out, self._flow)

    def _unknown(self, name: str, flows: list[Flow], out: Tensor) -> Flow:
        """Only that certain layers are upstream, and that what they feed is out of sight."""
        depends = any(f.depends for f in flows)
        # one number made of parameters is shared by all that it multiplies
        is_nobodys = out.numel() == 1 and not depends
        flow = Flow() if is_nobodys else merged([f.losing(name) for f in flows], ())
        if depends:
            self.unknown.add(name)
            if any(f.of(Entries) for f in flows):  # a recurrent layer, say
                self._note_readers(flow)
        return replace(flow, pairs=self._rows_of(out) if depends else ())

    # --- nonlinearities ----------------------------------------------------------------------

    def _nonlinear_inputs(self, name: str, args: Any, kwargs: Any) -> tuple[str | None, Tensor]:
        """Which nonlinearity is called on what, if one is and its input depends on X."""
        x = args[0] if args else kwargs.get("input")
        if name in operations.NONLINEARITIES:
            return (name if self._flow(x).depends else None), x
        if name in ("max", "maximum"):
            both = [a for a in (*args[:2], kwargs.get("other")) if isinstance(a, Tensor)]
            free = [t for t in both if not self._flow(t).depends]
            if len(both) == 2 and len(free) == 1 and operations.is_zero(free[0]):
                return "relu", both[0] if both[1] is free[0] else both[1]
        elif name in operations.BOUNDS and self._flow(x).depends:
            low = kwargs.get("min", args[1] if len(args) > 1 else None)
            high = kwargs.get("max", args[2] if len(args) > 2 else None)
            if operations.is_zero(low):
                return ("relu" if high is None else "hardtanh"), x
        return None, x

    def _broadcast(self, operation: str, x: Tensor, args: Any, kwargs: Any, out: Tensor) -> Flow:
        """What is known about a nonlinearity's input, in the shape of its output."""
        flow = self._flow(x)
        if operation == "glu":
            dim = kwargs.get("dim", args[1] if len(args) > 1 else -1)
            return rules.halves(flow, dim)
        if operation == "prelu":
            shape = [1, -1, *(1 for _ in out.shape[2:])]
            slope = self._flow(args[1]).relabeled(lambda labels: labels.view(shape))
            return rules.elementwise([flow, slope], out)
        return rules.elementwise([flow], out)

    def _nonlinearity(self, operation: str, out: Tensor, flow: Flow, event: int) -> Flow:
        source = Layer(len(self.layers))
        units, layout = nonlinear.units_and_layout(flow, out.shape, self._n_rows)
        path, caller = self._callers[-1]
        is_module = bool(path) and any(
            c.__module__ == "torch.nn.modules.activation" for c in type(caller).__mro__
        )
        layer = FoundLayer(
            source,
            units,
            layout,
            event,
            path,
            operation,
            is_module or operation == "identity",
            Owners(self._shapes),
            Owners(self._shapes),
        )
        nonlinear.feed(layer, flow, self.layers)
        self.layers.append(layer)
        own = frozenset([source.order])
        return Flow((*flow.of(Rows), (source, units)), True, flow.upstream | own, own)

    def _recurrent(
        self, call: recurrent.RecurrentCall, name: str, x: Tensor, out: Any, event: int
    ) -> list[Flow] | None:
        """A recurrent layer, whose hidden state over time has the units."""
        if not self._flow(x).depends:
            return None
        self._note_readers(self._flow(x).losing(name))
        output, *states = out
        rows = (self._rows, arange_along(output.shape, call.rows_axis))
        flow = self._nonlinearity(name, output, Flow((rows,)), event)
        layer = self.layers[-1]
        layer.is_module = True
        n_units = output.shape[-1]
        for weight, direction in call.weights:
            units = recurrent.units_of_rows(weight, direction, n_units, call.n_directions)
            for entries, labels in self._flow(weight).of(Entries):
                layer.incoming.add(entries.name, labels, units)  # type: ignore[attr-defined]
                layer.feeders.append(entries.name)  # type: ignore[attr-defined]
        flow = replace(flow, upstream=flow.upstream | self._flow(x).upstream)
        known = recurrent.last_states(layer.units, torch.full(states[0].shape, NONE), call)
        by_row = (self._rows, arange_along(states[0].shape, 1))
        hidden = replace(flow, pairs=(by_row, (layer.source, known)))
        return [flow, hidden, *(self._unknown(name, [flow], s) for s in states[1:])]

    # --- affine operations -------------------------------------------------------------------

    def _affine(self, call: AffineCall) -> Flow:
        source = Affine(self._n_affine, int(call.channels.max()) + 1)
        self._n_affine += 1
        for tensor, makes in call.made_by:
            flow = self._flow(tensor)
            source.lost |= {operation for operation, _ in flow.lost}
            for entries, labels in flow.of(Entries):
                source.rows.append((entries.name, labels, makes))  # type: ignore[attr-defined]
        rows = []
        for reading in call.readings:
            flow = self._flow(reading.x)
            rows += [(s, reading.through(labels)) for s, labels in flow.of(Rows)]
            self._note_columns(reading, flow)
        inputs = [
            replace(self._flow(r.x), direct=frozenset(), lost=frozenset()) for r in call.readings
        ]
        pairs = [*rows, (source, call.channels)]
        if call.added is not None:
            added = self._flow(call.added)
            inputs.append(added)
            pairs += [(s, t.broadcast_to(call.channels.shape)) for s, t in added.pairs]
        return merged(inputs, pairs)

    def _note_columns(self, reading: affine.Reading, flow: Flow) -> None:
        """Which entries of the weight read which unit."""
        if reading.weight is not None:
            weight = self._flow(reading.weight)
            for source, labels in flow.of(Layer):
                layer = self.layers[source.order]  # type: ignore[attr-defined]
                units = reading.columns(labels)
                for entries, numbers in weight.of(Entries):
                    layer.outgoing.add(entries.name, numbers, units)  # type: ignore[attr-defined]
                layer.lost_outgoing |= {operation for operation, _ in weight.lost}
        self._note_readers(flow)

    def _note_readers(self, flow: Flow) -> None:
        for index in flow.upstream:
            self.layers[index].is_upstream = True
        for index in flow.direct:
            self.layers[index].is_read = True
        for operation, of in flow.lost:
            if of is not None:
                self.layers[of].lost_outgoing.add(operation)
