"""Record the tensor operations of one computation and replay them without autograd.

For small networks the time of a training step is the dispatch of autograd, not arithmetic.
A recording is the flat list of tensor operations that forward and backward pass came down
to; replaying it as straight-line code gives the same bits at two thirds of the time.
Recording costs one ordinary pass (a few milliseconds), so no threshold and no cache across
fits is needed, and it is confined to the recording thread.
"""

import operator
import re
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from sklflat.training.engine.direct_calls import direct_call
from sklflat.training.engine.known_calls import Key, leaves, view_key, without_known, written
from sklflat.training.engine.narrow_products import in_best_order
from sklflat.training.engine.randomness import DrawPerReplica, global_generators

_STRIDED = ("as_strided", "as_strided_", "as_strided_copy", "as_strided_scatter")
_BAKED_IN = (torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape)
_MAX_BYTES = 2**29
_LEAVING = {Tensor.numpy, Tensor.tolist, Tensor.__array__, Tensor.data_ptr}

Args = tuple[Any, ...]
Kwargs = dict[str, Any]


class NotReplayableError(Exception):
    """A computation cannot be replayed from a recording; says why."""


class Recorder(TorchDispatchMode):
    """Notes every operation on plain tensors while it is active in this thread.

    Random numbers are drawn from ``generators``; None for the global ones.

    Attributes
    ----------
    calls : list of (operator, args, kwargs, output, whether it draws random numbers)
    is_random : bool
        Whether random numbers were drawn.
    reason : str or None
        Why the computation cannot be replayed, as far as is known.
    """

    def __init__(self, generators: Sequence[torch.Generator] | None = None) -> None:
        super().__init__()
        if generators is None:
            generators = global_generators(
                torch.device("cuda" if torch.cuda.is_available() else "cpu")
            )
        self.generators = generators
        self.calls: list[tuple[OpOverload, Args, Kwargs, Any, bool]] = []
        self.is_random = False
        self.reason: str | None = None
        self._bytes = 0
        self._backward = False

    def __torch_dispatch__(
        self, func: OpOverload, types: object, args: Args = (), kwargs: Kwargs | None = None
    ) -> Any:
        kwargs = kwargs or {}
        may_draw = torch.Tag.nondeterministic_seeded in func.tags
        before = self._random_states() if may_draw else None
        out = func(*args, **kwargs)
        draws = may_draw and before != self._random_states()  # attention without dropout does not
        if draws:
            self.is_random = True
            if self._backward:
                self.reason = "random numbers are drawn in the backward pass"
        if any(tag in func.tags for tag in _BAKED_IN):
            self.reason = f"{func} makes the computation depend on values"
        if func._schema.name.removeprefix("aten::") in _STRIDED:
            self.reason = f"{func} addresses memory by absolute offsets"
        if self.reason is None:
            self.calls.append((func, args, kwargs, out, draws))
            tensors = [o for o in leaves(out) if isinstance(o, Tensor)]
            if any(o.layout is not torch.strided for o in tensors):
                self.reason = "it has sparse gradients"
                tensors = []
            self._bytes += sum(o.untyped_storage().nbytes() for o in tensors)
            if self._bytes > _MAX_BYTES:
                self.reason = "it needs too much memory to be recorded"
        if self.reason is not None:
            self.calls.clear()
        return out

    def __enter__(self) -> "Recorder":
        self._watch = _ReadsValues(self)
        self._watch.__enter__()
        return super().__enter__()

    def __exit__(self, *exception: Any) -> None:
        super().__exit__(*exception)
        self._watch.__exit__(*exception)

    def _random_states(self) -> list[bytes]:
        return [g.get_state().numpy().tobytes() for g in self.generators]

    def mark_backward(self) -> None:
        """Say that the backward pass begins."""
        self._backward = True


class _ReadsValues(TorchFunctionMode):
    """Notices reads of values by Python or NumPy, which the dispatcher does not see."""

    def __init__(self, recorder: Recorder) -> None:
        super().__init__()
        self.recorder = recorder

    def __torch_function__(
        self, func: Callable[..., Any], types: object, args: Args = (), kwargs: Kwargs | None = None
    ) -> Any:
        if func in _LEAVING:
            self.recorder.reason = f"Tensor.{func.__name__} makes the computation depend on values"
        return func(*args, **(kwargs or {}))


class Tape:
    """Straight-line code made from a recording.

    Parameters
    ----------
    recorder : Recorder
    inputs : sequence of Tensor
        What the replay gets anew each time; all other tensors are taken as they are.
    outputs : sequence of Tensor
        What the replay returns.
    stacked : bool, default=False
        Whether ``generator`` is one generator for each slice along the first axis.
    lasting : int, default=0
        How many of the first inputs tend to be the same tensors in every replay; their views are
        made once.

    Raises
    ------
    NotReplayableError
        If the computation depends on values, or on tensors that cannot be traced back.
    """

    def __init__(
        self,
        recorder: Recorder,
        inputs: Sequence[Tensor],
        outputs: Sequence[Tensor],
        stacked: bool = False,
        lasting: int = 0,
    ) -> None:
        if recorder.reason is not None:
            raise NotReplayableError(recorder.reason)
        self.stacked = stacked
        self._lasting = {f"i{i}": i for i in range(min(lasting, len(inputs)))}
        self._views: dict[int, list[str]] = {i: [] for i in self._lasting.values()}
        self.constants: list[Any] = []
        #: functions that do what a constant does, with less way to it
        self._direct: dict[str, Callable[..., Any]] = {}
        self._names: dict[Key, str] = {}
        self._storages: set[int] = set()
        self._n_names = 0
        for i, tensor in enumerate(inputs):
            if view_key(tensor) in self._names:
                raise NotReplayableError("two inputs are the same memory")
            self._define(tensor, f"i{i}")
        given = {t.untyped_storage()._cdata for t in inputs}
        for func, args, kwargs, *_ in recorder.calls:
            if any(t.untyped_storage()._cdata in given for t in written(func, args, kwargs)):
                raise NotReplayableError(f"{func} changes an input in place")
        calls, self._known = without_known(recorder.calls, inputs, outputs)
        self.lines = [line for call in calls for line in self._line(*call)]
        names = [*(f"i{i}" for i in range(len(inputs))), "generator=None"]
        returned = ", ".join(self._name(t) for t in outputs)
        body = "\n    ".join(_delete_after_last_use([*self.lines, f"return ({returned},)"]))
        self.source = f"def replay({', '.join(names)}):\n    {body}\n"
        self._function: Callable[..., tuple[Tensor, ...]] | None = None

    def _define(self, tensor: Tensor, name: str) -> str:
        self._names[view_key(tensor)] = name
        self._storages.add(tensor.untyped_storage()._cdata)
        return name

    def _constant(self, value: Any) -> str:
        self.constants.append(value)
        return f"k{len(self.constants) - 1}"

    def _name(self, value: Any) -> str:
        """The expression that stands for a value."""
        if isinstance(value, Tensor):
            name = self._names.get(view_key(value))
            if name is None:
                if value.untyped_storage()._cdata in self._storages:
                    raise NotReplayableError("a view was made that the recorder did not see")
                name = self._names[view_key(value)] = self._constant(value)
            return name
        if isinstance(value, (list, tuple)):
            return "[" + ", ".join(self._name(v) for v in value) + "]"
        if value is None or type(value) in (int, bool):
            return repr(value)
        return self._constant(value)

    def _line(
        self, func: OpOverload, args: Args, kwargs: Kwargs, out: Any, draws: bool
    ) -> list[str]:
        tensors = [o for o in leaves(out) if isinstance(o, Tensor)]
        if not func._schema.is_mutable and all(view_key(o) in self._names for o in tensors):
            return []  # another name for memory that already has one
        arguments = [self._name(a) for a in args]
        if draws:
            kwargs = self._with_generator(func, kwargs)
        arguments += [
            f"{k}={'generator' if v is _GENERATOR else self._name(v)}" for k, v in kwargs.items()
        ]
        called: Any = func
        if self.stacked:
            called = DrawPerReplica(func) if draws else in_best_order(func, args)
        called_name = self._constant(called)
        direct = direct_call(func, args, kwargs, out) if called is func and not draws else None
        if direct is not None:
            self._direct[called_name] = direct
        call = f"{called_name}({', '.join(arguments)})"
        line = f"{self._targets(out)} = {call}"
        root = self._lasting.get(self._name(args[0])) if is_view(func) else None
        if root is not None:
            self._views[root].append(line)
            self._lasting.update({self._name(o): root for o in tensors})
            return []
        return [line]

    def _with_generator(self, func: OpOverload, kwargs: Kwargs) -> Kwargs:
        takes = any(a.name == "generator" and a.kwarg_only for a in func._schema.arguments)
        if not (takes or self.stacked) or kwargs.get("generator") is not None:
            raise NotReplayableError(f"{func} draws from a generator that cannot be exchanged")
        return {**kwargs, "generator": _GENERATOR}

    def _targets(self, out: Any) -> str:
        if isinstance(out, (list, tuple)):
            return ", ".join(self._targets(o) for o in out) + ","
        self._n_names += 1
        name = f"v{self._n_names}"
        if isinstance(out, Tensor) and view_key(out) not in self._names:
            self._define(out, name)
        return name

    def same_as(self, other: "Tape") -> bool:
        """Whether another recording did the same with the same constants."""
        same = self.source == other.source and self._views == other._views
        pairs = zip(self.constants, other.constants, strict=False)
        return same and all(a is b or self._are_known(other, a, b) or _same(a, b) for a, b in pairs)

    def _are_known(self, other: "Tape", a: Any, b: Any) -> bool:
        """Whether two constants are results of calls that are not made again, and equal."""
        if not (isinstance(a, Tensor) and isinstance(b, Tensor)):
            return False
        both = zip((self, other), (a, b), strict=True)
        known = all(t.untyped_storage()._cdata in tape._known for tape, t in both)
        return known and a.dtype == b.dtype and torch.equal(a, b)

    def compile(self) -> Callable[..., tuple[Tensor, ...]]:
        """The function ``replay(*inputs, generator)``; run it without autograd."""
        if self._function is None:
            # the overload's own callable spares a level of Python per operation
            scope = {f"k{i}": getattr(c, "_op", c) for i, c in enumerate(self.constants)}
            scope |= self._direct
            source = self.source
            for i, lines in self._views.items():
                source = self._with_views_remembered(i, lines, source, scope)
            exec(compile(source, "<tape>", "exec"), scope)
            self._function = scope["replay"]
        return self._function

    def _with_views_remembered(
        self, i: int, lines: list[str], source: str, scope: dict[str, Any]
    ) -> str:
        """The source with the views of input i taken from a memory."""
        made = _VARIABLE.findall("\n".join(line.partition("=")[0] for line in lines))
        used = set(_VARIABLE.findall(source))
        names = [name for name in made if name in used]
        if not names:
            return source
        listed = ", ".join(names) + ","
        body = "\n    ".join([*lines, f"return ({listed})"])
        exec(compile(f"def views(i{i}):\n    {body}\n", "<views>", "exec"), scope)
        scope[f"views{i}"] = _Remembering(scope.pop("views"))
        head, _, rest = source.partition("\n")
        return f"{head}\n    {listed} = views{i}(i{i})\n{rest}"


class _Remembering:
    """A function of one tensor that remembers its values at tensors, as long as these live."""

    def __init__(self, function: Callable[[Tensor], tuple[Tensor, ...]]) -> None:
        self.function = function
        self.known: dict[int, tuple[weakref.ref[Tensor], tuple[Tensor, ...]]] = {}

    def __call__(self, tensor: Tensor) -> tuple[Tensor, ...]:
        key = id(tensor)
        known = self.known.get(key)
        if known is not None and known[0]() is tensor:
            return known[1]
        values = self.function(tensor.data)  # a view of it would keep it alive
        self.known[key] = weakref.ref(tensor, lambda _: self.known.pop(key, None)), values
        return values


def is_view(func: OpOverload) -> bool:
    """Whether an operation returns another view of its first argument."""
    return bool(func.is_view) and not func._schema.is_mutable


_GENERATOR = object()
_VARIABLE = re.compile(r"\bv\d+\b")


def _delete_after_last_use(lines: list[str]) -> list[str]:
    """The lines with each variable deleted after its last use, so that memory is used again."""
    last = {name: i for i, line in enumerate(lines) for name in _VARIABLE.findall(line)}
    dead: dict[int, list[str]] = {}
    for name, i in last.items():
        dead.setdefault(i, []).append(name)
    return [
        line if i not in dead or i == len(lines) - 1 else f"{line}; del {', '.join(dead[i])}"
        for i, line in enumerate(lines)
    ]


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor) or isinstance(b, Tensor):
        return isinstance(a, Tensor) and isinstance(b, Tensor) and view_key(a) == view_key(b)
    return a is b or (type(a) is type(b) and bool(operator.eq(a, b)))


def copies(value: Any) -> Any:
    """Nested lists, tuples and dictionaries with their tensors cloned."""
    if isinstance(value, (list, tuple)):
        return [copies(item) for item in value]
    if isinstance(value, dict):
        return {key: copies(item) for key, item in value.items()}
    return value.clone() if isinstance(value, Tensor) else value
