"""The permutation symmetries of a module: found by running it, and verified."""

import itertools
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from sklflat.networks.checks import LowestPrecision
from sklflat.networks.state import State, read_state, write_state
from sklflat.networks.tracing.tensors import NONE
from sklflat.symmetry.activation_recorder import find_recording_points
from sklflat.symmetry.grouping import Grouping, axis_name, group_classes
from sklflat.symmetry.module_runs import check_rows, run, run_traced, traceable
from sklflat.symmetry.symmetry import Symmetry
from sklflat.symmetry.tracing import SymmetryTracer
from sklflat.symmetry.tracing.labels import varies
from sklflat.symmetry.tracing.tracer import leaves
from sklflat.symmetry.verification import tolerance, verified

#: rows that a module is traced on
_N_ROWS = 3
#: shuffled weights at which a symmetry is verified, and how many are tried for these
_N_SHUFFLED, _N_TRIED = 4, 16


def find_symmetry(module: nn.Module, X: Tensor, *, seed: int = 0) -> Symmetry:
    """Find which axes of which parameters of a module may be permuted together.

    The module is run once on a few rows, and a union-find merges the axis indices that operations
    combine. The permutation group that is found is then *verified*: permutations that move all
    units must leave the outputs as they are, to 1e-9 of their largest value in float64 (to 6e-5 if
    the module works in float32 inside), at the module's own weights and at other ones. Groups that
    fail this are pinned.

    Parameters
    ----------
    module : torch.nn.Module
        Called with X alone, in evaluation mode. A copy in float64 is used.
    X : Tensor of shape (n, ...)
        Some rows of data.
    seed : int, default=0
        Of the other weights and the permutations.

    Returns
    -------
    Symmetry
        ``pinned`` says why hidden units that have others beside them are in no group.

    Raises
    ------
    TypeError
        If the module or X is something else.
    ValueError
        If X has no rows.
    UnsupportedNetworkError
        If the module cannot be run on X in float64, or its outputs are not finite, or are others
        when it is run again.

    Examples
    --------
    >>> import torch
    >>> from sklflat.symmetry import find_symmetry
    >>> module = torch.nn.Sequential(torch.nn.Linear(2, 5), torch.nn.ReLU(), torch.nn.Linear(5, 1))
    >>> symmetry = find_symmetry(module, torch.randn(3, 2))
    >>> [(group.name, len(group)) for group in symmetry.groups], symmetry.verified
    ([('0.weight[0]', 5)], True)
    """
    copy = traceable(module)
    check_rows(X)
    x = X[torch.linspace(0, len(X) - 1, min(_N_ROWS, len(X))).long()]  # of all classes, if sorted
    x = (x.double() if x.is_floating_point() else x).detach().cpu().clone()
    seeds = itertools.count()

    def outputs(state: State) -> list[Tensor]:
        return [t.detach() for t in leaves(run(copy, state, x, seed=next(seeds)))]

    own = read_state(copy)
    generator = torch.Generator().manual_seed(seed)
    near = _perturbed(own, generator)
    near = near if _is_finite(outputs(near)) else own
    write_state(copy, near)
    rows = x.clone()  # a module may work in place
    tracer = SymmetryTracer(copy, rows)
    tracer.finish(run_traced(lambda: copy(rows), rows, tracer))
    grouping = group_classes(tracer.classes, tracer.tensors.parameter_labels)
    symmetry = Symmetry(
        len(grouping.number),
        grouping.groups,
        grouping.labels,
        _pinned_by(tracer, grouping),
        n_hidden=grouping.n_hidden,
        recording_points=find_recording_points(tracer, grouping),
    )
    names = [name for name, _ in copy.named_parameters()]
    far = _shuffled(near, names, outputs, generator)
    lowest = LowestPrecision()
    run(copy, own, x, lowest)
    return verified(symmetry, outputs, [own, near, *far], seed=seed, tol=tolerance(lowest.dtype))


# --- other weights ----------------------------------------------------------------------------


def _perturbed(state: State, generator: torch.Generator) -> State:
    """Weights of about the same size, none equal: what is equal by chance is no symmetry."""

    def perturbed(t: Tensor) -> Tensor:
        if not t.is_floating_point() or not t.numel():
            return t
        noise = torch.rand(t.shape, dtype=t.dtype, generator=generator)
        size = float(t.abs().mean()) or 0.1
        return t * (0.8 + 0.4 * noise) + 0.1 * size * noise  # what was positive stays so

    return {name: perturbed(t) for name, t in state.items()}


def _shuffled(
    state: State,
    names: Sequence[str],
    outputs: Callable[[State], Sequence[Tensor]],
    generator: torch.Generator,
) -> list[State]:
    """The entries of every parameter in random order, so that dead units come alive.

    Every other time they get random signs, too, so that biases may come to be of another sign.
    Preferred are weights at which outputs differ from row to row.
    """

    def shuffled(t: Tensor, with_signs: bool) -> Tensor:
        moved = t.flatten()[torch.randperm(t.numel(), generator=generator)].view_as(t)
        signs = 2 * torch.randint(0, 2, t.shape, generator=generator) - 1
        return moved * signs if with_signs and t.is_floating_point() else moved

    input_dependent: list[State] = []
    constant: list[State] = []
    for i in range(_N_TRIED):
        other = {**state, **{n: shuffled(state[n], with_signs=bool(i % 2)) for n in names}}
        found = outputs(other)
        if _is_finite(found):
            differ = any(t.ndim and varies(t, [0]) for t in found)
            (input_dependent if differ else constant).append(other)
        if len(input_dependent) == _N_SHUFFLED:
            break
    return [*input_dependent, *constant][:_N_SHUFFLED]


def _is_finite(outputs: Sequence[Tensor]) -> bool:
    return all(bool(t.isfinite().all()) for t in outputs)


# --- what was found ---------------------------------------------------------------------------


def _pinned_by(tracer: SymmetryTracer, grouping: Grouping) -> dict[str, tuple[str, ...]]:
    """For each operation that pinned some, the axes of parameters: all, if it is not known."""
    found = dict(grouping.pinned)
    for operation, labels in tracer.unknown.items():
        reached = torch.cat([tracer.classes.find(x).unique() for x in labels])
        axes = [
            axis_name(name, own)
            for name, layers in tracer.tensors.parameter_labels.items()
            for own in layers
            if bool(torch.isin(tracer.classes.find(own), reached[reached != NONE]).any())
        ]
        found[operation] = tuple(axes)
    return found
