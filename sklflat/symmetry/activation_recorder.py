"""Activations of all classes of units, at the operations that show them."""

from typing import Any

from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from sklflat.exceptions import UnsupportedNetworkError
from sklflat.networks.state import read_state
from sklflat.symmetry.module_runs import rows_at_once, run, traceable
from sklflat.symmetry.symmetry import FIXED, Symmetry, Tap
from sklflat.symmetry.tracing.operations import tensors_in
from sklflat.symmetry.tracing.tracer import UNCOUNTED

#: positions of a convolution or a sequence that are looked at in each row
_MAX_POSITIONS = 64

#: classes (k,) of some columns, and their values (rows, k)
Columns = list[tuple[Tensor, Tensor]]


class ActivationTaps:
    """Runs a module and hands out what its classes of units do.

    Parameters
    ----------
    module : torch.nn.Module
        The one whose symmetry it is; a copy in float64 is used.
    symmetry : Symmetry

    Examples
    --------
    >>> import torch
    >>> from sklflat.symmetry import find_symmetry
    >>> from sklflat.symmetry.activation_recorder import ActivationTaps
    >>> module = torch.nn.Sequential(torch.nn.Linear(2, 4), torch.nn.ReLU(), torch.nn.Linear(4, 1))
    >>> taps = ActivationTaps(module, find_symmetry(module, torch.randn(3, 2)))
    >>> [(classes.tolist(), tuple(values.shape)) for classes, values in taps(torch.randn(9, 2))]
    [([0, 1, 2, 3], (9, 4))]
    """

    def __init__(self, module: nn.Module, symmetry: Symmetry) -> None:
        self._module = traceable(module)
        self._taps = symmetry.taps
        self._own = read_state(self._module)

    def __call__(self, X: Tensor, state: dict[str, Tensor] | None = None) -> Columns:
        """The columns of each tap for rows X (n, ...), at the parameters and buffers of a state."""
        watch = _Watch(self._taps)
        run(self._module, *_wide(self._own if state is None else state, X), watch)
        if len(watch.columns) < len(self._taps):
            raise UnsupportedNetworkError(
                "The module runs fewer operations on these data than when its symmetry was found."
            )
        return watch.columns

    def rows_at_once(self, X: Tensor) -> int:
        """How many of the rows X (n, ...) can be run together in bounded memory."""
        return rows_at_once(self._module, *_wide(self._own, X[:2])) if len(X) > 1 else 1


def _wide(state: dict[str, Tensor], X: Tensor) -> tuple[dict[str, Tensor], Tensor]:
    """State and rows in float64."""
    x = X.detach().cpu()
    wide = {n: t.double() if t.is_floating_point() else t for n, t in state.items()}
    return wide, x.double() if x.is_floating_point() else x


class _Watch(TorchDispatchMode):
    def __init__(self, taps: tuple[Tap, ...]) -> None:
        super().__init__()
        self._taps: dict[int, list[Tap]] = {}
        for tap in taps:
            self._taps.setdefault(tap.number, []).append(tap)

    def __enter__(self) -> "_Watch":
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
        for tap in self._taps.get(self._number, ()):
            if tap.operation != name.rstrip("_"):
                raise UnsupportedNetworkError(
                    f"The module runs {name!r} on these data where it ran {tap.operation!r} when "
                    "its symmetry was found."
                )
            values = outs[0].detach()
            if tap.averaged:
                values = values.mean(tap.averaged, keepdim=True)
            self.columns.append(_columns(values, tap.labels))
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
