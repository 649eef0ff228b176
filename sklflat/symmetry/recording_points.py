"""Where in a run the activations of units can be seen."""

import torch
from torch import Tensor

from sklflat.symmetry.grouping import Grouping
from sklflat.symmetry.symmetry import FIXED, Tap
from sklflat.symmetry.tracing.labels import compact, varying_axes
from sklflat.symmetry.tracing.tracer import SymmetryTracer

#: operations that make or add channels: where activations are seen that meet no nonlinearity
_MAKERS = frozenset(
    {
        *("mm", "addmm", "bmm", "baddbmm", "linear", "convolution", "embedding", "add"),
        *("native_layer_norm", "native_batch_norm", "native_group_norm"),
    }
)


def taps_of(tracer: SymmetryTracer, grouping: Grouping) -> tuple[Tap, ...]:
    """Calls that show the activations of all groups, after nonlinearities where there are any."""
    taps: list[Tap] = []
    first: list[Tap] = []
    for number, name, is_nonlinear, layers in tracer.seen:
        if not is_nonlinear and name not in _MAKERS:
            continue
        numbered = [_numbers(tracer, grouping, labels) for labels in layers]
        axes = [varying_axes(x) for x in numbered]
        for i, labels in enumerate(numbered):
            others = set().union(*axes[:i], *axes[i + 1 :]) - axes[i]
            # along the first axis labels take turns with rows, whose number is another next time
            if bool((labels != FIXED).any()) and 0 not in axes[i] | others:
                tap = Tap(number, name, compact(labels).clone(), tuple(sorted(others)))
                (taps if is_nonlinear else first).append(tap)
    seen = {c for tap in taps for c in tap.labels.unique().tolist()}
    others_shown = [tap for tap in first if set(tap.labels.unique().tolist()) - seen - {FIXED}]
    return tuple(sorted(taps + others_shown, key=lambda tap: tap.number))


def _numbers(tracer: SymmetryTracer, grouping: Grouping, labels: Tensor) -> Tensor:
    """Classes in place of atoms."""
    roots, inverse = tracer.atoms.roots(labels).unique(return_inverse=True)
    return torch.tensor([grouping.number.get(r, FIXED) for r in roots.tolist()])[inverse]
