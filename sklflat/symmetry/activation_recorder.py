"""Where activations of units can be recorded in a run, and recording them."""

from typing import Any

from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from sklflat.exceptions import UnsupportedNetworkError
from sklflat.networks.state import State, read_state
from sklflat.networks.tracing.tensors import tensors_in
from sklflat.symmetry.grouping import Grouping, numbered
from sklflat.symmetry.module_runs import rows_at_once, run, traceable
from sklflat.symmetry.symmetry import FIXED, RecordingPoint, Symmetry
from sklflat.symmetry.tracing.labels import compact, varying_axes
from sklflat.symmetry.tracing.tracer import UNCOUNTED, SymmetryTracer

#: positions of a convolution or a sequence that are recorded of each row
_MAX_POSITIONS = 64

#: operations that make or add channels: where activations are recorded that meet no nonlinearity
_MAKERS = frozenset(
    {
        *("mm", "addmm", "bmm", "baddbmm", "linear", "convolution", "embedding", "add"),
        *("native_layer_norm", "native_batch_norm", "native_group_norm"),
    }
)

#: classes (k,) of some columns, and their values (rows, k)
Columns = list[tuple[Tensor, Tensor]]


def find_recording_points(tracer: SymmetryTracer, grouping: Grouping) -> tuple[RecordingPoint, ...]:
    """Calls that show the activations of all groups, after nonlinearities where there are any."""
    points: list[RecordingPoint] = []
    linear: list[RecordingPoint] = []
    for number, name, is_nonlinear, layers in tracer.labelled_outputs:
        if not is_nonlinear and name not in _MAKERS:
            continue
        classes = [numbered(tracer.classes.find(labels), grouping.number) for labels in layers]
        axes = [varying_axes(x) for x in classes]
        for i, labels in enumerate(classes):
            others = set().union(*axes[:i], *axes[i + 1 :]) - axes[i]
            # along the first axis labels take turns with rows, whose number is another next time
            if bool((labels != FIXED).any()) and 0 not in axes[i] | others:
                point = RecordingPoint(number, name, compact(labels).clone(), tuple(sorted(others)))
                (points if is_nonlinear else linear).append(point)
    recorded = {c for point in points for c in point.labels.unique().tolist()} | {FIXED}
    points += [point for point in linear if set(point.labels.unique().tolist()) - recorded]
    return tuple(sorted(points, key=lambda point: point.number))


class ActivationRecorder:
    """Runs a module and records the activations of its classes of units.

    Parameters
    ----------
    module : torch.nn.Module
        The one whose symmetry it is; a copy in float64 is used.
    symmetry : Symmetry

    Examples
    --------
    >>> import torch
    >>> from sklflat.symmetry import find_symmetry
    >>> from sklflat.symmetry.activation_recorder import ActivationRecorder
    >>> module = torch.nn.Sequential(torch.nn.Linear(2, 4), torch.nn.ReLU(), torch.nn.Linear(4, 1))
    >>> recorder = ActivationRecorder(module, find_symmetry(module, torch.randn(3, 2)))
    >>> [(classes.tolist(), tuple(values.shape)) for classes, values in recorder(torch.randn(9, 2))]
    [([0, 1, 2, 3], (9, 4))]
    """

    def __init__(self, module: nn.Module, symmetry: Symmetry) -> None:
        self._module = traceable(module)
        self._points = symmetry.recording_points
        self._own = read_state(self._module)

    def __call__(self, X: Tensor, state: State | None = None) -> Columns:
        """The columns of each recording point for rows X (n, ...), at a state of the module."""
        recording = _Recording(self._points)
        run(self._module, *_wide(self._own if state is None else state, X), recording)
        if len(recording.columns) < len(self._points):
            raise UnsupportedNetworkError(
                "The module runs fewer operations on these data than when its symmetry was found."
            )
        return recording.columns

    def rows_at_once(self, X: Tensor) -> int:
        """How many of the rows X (n, ...) can be run together in bounded memory."""
        return rows_at_once(self._module, *_wide(self._own, X[:2])) if len(X) > 1 else 1


def _wide(state: State, X: Tensor) -> tuple[State, Tensor]:
    """State and rows in float64."""
    x = X.detach().cpu()
    wide = {n: t.double() if t.is_floating_point() else t for n, t in state.items()}
    return wide, x.double() if x.is_floating_point() else x


class _Recording(TorchDispatchMode):
    def __init__(self, points: tuple[RecordingPoint, ...]) -> None:
        super().__init__()
        self._at: dict[int, list[RecordingPoint]] = {}
        for point in points:
            self._at.setdefault(point.number, []).append(point)

    def __enter__(self) -> "_Recording":
        self._number = 0
        self.columns: Columns = []
        return super().__enter__()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        outs = tensors_in(out)
        name = func.overloadpacket.__name__
        if not outs or name in UNCOUNTED:
            return out
        self._number += 1
        for point in self._at.get(self._number, ()):
            if point.operation != name.rstrip("_"):
                raise UnsupportedNetworkError(
                    f"The module runs {name!r} on these data where it ran {point.operation!r} when "
                    "its symmetry was found."
                )
            values = outs[0].detach()
            if point.averaged:
                values = values.mean(point.averaged, keepdim=True)
            self.columns.append(_columns(values, point.labels))
        return out


def _columns(values: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Classes (k,) and values (rows, k) of a tensor; other axes than the labelled are rows."""
    axes = [a for a in range(labels.ndim) if labels.shape[a] > 1]
    last = tuple(range(values.ndim - len(axes), values.ndim))
    classes = labels.movedim(axes, last).flatten()
    moved = values.movedim(axes, last)
    rows = moved.flatten(moved.ndim - len(axes)) if len(axes) > 1 else moved
    if rows.ndim > 2:  # positions
        n = rows.shape[1:-1].numel()
        rows = rows.flatten(1, -2)[:, :: max(1, n // _MAX_POSITIONS)].flatten(0, 1)
    elif rows.ndim == 1:
        rows = rows[None]
    kept = classes != FIXED
    return classes[kept], rows[:, kept].clone()
