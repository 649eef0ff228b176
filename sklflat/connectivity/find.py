"""The permutation symmetries of a module: found by running it, and verified."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.utils._python_dispatch import TorchDispatchMode

from sklflat.connectivity.symmetry import FIXED, Group, Symmetry, Tap
from sklflat.connectivity.tracing import SymmetryTracer
from sklflat.connectivity.tracing.atoms import NONE
from sklflat.connectivity.tracing.grouping import Grouping, group_atoms
from sklflat.connectivity.tracing.labels import compact, varying_axes
from sklflat.connectivity.tracing.tracer import leaves
from sklflat.exceptions import UnsupportedNetworkError
from sklflat.networks.network import copy_module

#: rows that a module is traced on
_N_ROWS = 3
#: largest change of the outputs under a permutation, relative to the largest output
_TOL = 1e-9
#: operations that make or add channels: where activations are seen that meet no nonlinearity
_MAKERS = frozenset(
    {
        *("mm", "addmm", "bmm", "baddbmm", "linear", "convolution", "embedding", "add"),
        *("native_layer_norm", "native_batch_norm", "native_group_norm"),
    }
)


def find_symmetry(module: nn.Module, X: Tensor, *, seed: int = 0) -> Symmetry:
    """Find which axes of which parameters of a module may be permuted together.

    The module is run once on a few rows, and every operation ties the axes that it brings
    together. What was found is then *verified*: random permutations must leave the outputs as they
    are, to 1e-9 of their largest value in float64, at the module's own weights and at other ones.
    Groups that fail this are frozen.

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
        ``frozen`` names operations that were not understood (or ``"verification"``) with the axes
        that they froze.

    Raises
    ------
    UnsupportedNetworkError
        If the module cannot be run on X in float64, or its outputs are not finite.

    Examples
    --------
    >>> import torch
    >>> from sklflat.connectivity import find_symmetry
    >>> module = torch.nn.Sequential(torch.nn.Linear(2, 5), torch.nn.ReLU(), torch.nn.Linear(5, 1))
    >>> symmetry = find_symmetry(module, torch.randn(3, 2))
    >>> [(group.name, len(group)) for group in symmetry.groups], symmetry.verified
    ([('0.weight[0]', 5)], True)
    """
    twin = traceable(module)
    x = X[:_N_ROWS].double() if X.is_floating_point() else X[:_N_ROWS]
    x = x.detach().cpu().clone()
    own = {name: t.detach() for name, t in _tensors(twin)}
    other = _other_weights(own, seed)
    state = other if _is_finite(run(twin, other, x)) else own
    for name, tensor in _tensors(twin):
        tensor.data.copy_(state[name])
    rows = x.clone()  # a module may work in place
    tracer = SymmetryTracer(twin, rows)
    tracer.finish(_call(twin, rows, tracer))
    grouping = group_atoms(tracer.atoms, tracer.places)
    symmetry = Symmetry(
        len(grouping.number),
        grouping.groups,
        grouping.labels,
        _frozen_by(tracer),
        n_hidden=grouping.n_hidden,
        taps=_taps(tracer, grouping),
    )
    return _verified(symmetry, twin, [own, state], x, seed)


def traceable(module: nn.Module) -> nn.Module:
    """A copy that always takes the same way: in float64, evaluation mode, with gradients.

    Fused implementations are used by torch where no gradient is wanted.
    """
    if any(is_lazy(p) for p in module.parameters()):
        raise UnsupportedNetworkError(
            "The module has lazy layers without a shape: run it once before it is aligned."
        )
    twin = copy_module(module).cpu().double()
    for p in twin.parameters():
        p.requires_grad_(p.is_floating_point())
    return twin


def _tensors(module: nn.Module) -> Iterable[tuple[str, Tensor]]:
    yield from module.named_parameters()
    yield from module.named_buffers()


def run(
    module: nn.Module, state: dict[str, Tensor], x: Tensor, watch: TorchDispatchMode | None = None
) -> Any:
    """What a module returns for x with the parameters and buffers of a state.

    Parameters
    ----------
    module : torch.nn.Module
        From :func:`traceable`.
    state : dict of str to Tensor
    x : Tensor
    watch : TorchDispatchMode, default=None
        Sees the operations of the module, and no others.
    """
    own = {n: t.detach().clone() for n, t in state.items()}
    for name, p in module.named_parameters():
        own[name].requires_grad_(p.requires_grad)
    return _call(partial(torch.func.functional_call, module, own), x.clone(), watch)


def _call(f: Callable[..., Any], x: Tensor, watch: TorchDispatchMode | None = None) -> Any:
    try:
        with torch.random.fork_rng(devices=[]), torch.enable_grad(), watch or nullcontext():
            torch.manual_seed(0)
            return f(x)
    except UnsupportedNetworkError:
        raise
    except (AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise UnsupportedNetworkError(
            f"The network cannot be run on X of shape {tuple(x.shape)} in float64: {error}. It is "
            "aligned by calling it with a few rows of X and nothing else; align=None needs no "
            "symmetry."
        ) from error


def _is_finite(out: Any) -> bool:
    return all(bool(t.isfinite().all()) for t in leaves(out))


def _other_weights(state: dict[str, Tensor], seed: int) -> dict[str, Tensor]:
    """Weights of about the same size, none equal: what is equal by chance is no symmetry."""
    generator = torch.Generator().manual_seed(seed)

    def moved(t: Tensor) -> Tensor:
        if not t.is_floating_point() or not t.numel():
            return t
        noise = torch.rand(t.shape, dtype=t.dtype, generator=generator)
        size = float(t.abs().mean()) or 0.1
        return t * (0.8 + 0.4 * noise) + 0.1 * size * noise  # what was positive stays so

    return {name: moved(t) for name, t in state.items()}


# --- what was found ---------------------------------------------------------------------------


def _frozen_by(tracer: SymmetryTracer) -> dict[str, tuple[str, ...]]:
    """For each operation that is not known, the axes of parameters that it froze."""
    found = {}
    for operation, labels in tracer.unknown.items():
        reached = torch.cat([tracer.atoms.roots(x).unique() for x in labels])
        axes = [
            f"{name}[{', '.join(map(str, sorted(varying_axes(own))))}]"
            for name, layers in tracer.places.items()
            for own in layers
            if bool(torch.isin(tracer.atoms.roots(own), reached[reached != NONE]).any())
        ]
        found[operation] = tuple(axes)
    return found


def _taps(tracer: SymmetryTracer, grouping: Grouping) -> tuple[Tap, ...]:
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


# --- verification -----------------------------------------------------------------------------


def _verified(
    symmetry: Symmetry, module: nn.Module, states: Sequence[dict[str, Tensor]], x: Tensor, seed: int
) -> Symmetry:
    """The symmetry without groups under whose permutations the outputs change."""
    generator = torch.Generator().manual_seed(seed)
    plain = [leaves(run(module, state, x)) for state in states]
    if not all(bool(t.isfinite().all()) for t in plain[0]):
        raise UnsupportedNetworkError("The network's outputs are not finite.")

    def holds(groups: Sequence[Group]) -> bool:
        trial = replace(symmetry, groups=tuple(groups))
        perm = trial.random(generator)
        for state, before in zip(states, plain, strict=True):
            try:
                after = leaves(run(module, trial.permute(state, perm), x))
            except ValueError:
                return False
            if not all(map(_are_equal, before, after)):
                return False
        return True

    kept = _held(symmetry.groups, holds)
    lost = [g.name for g in symmetry.groups if not any(g is k for k in kept)]
    frozen = {**symmetry.frozen, **({"verification": tuple(lost)} if lost else {})}
    return replace(symmetry, groups=tuple(kept), frozen=frozen, verified=holds(kept))


def _are_equal(before: Tensor, after: Tensor) -> bool:
    if not before.is_floating_point():
        return torch.equal(before, after)
    before, after = before.detach(), after.detach()
    scale = float(before.abs().max()) if before.numel() else 0.0
    return bool(((before - after).abs() <= _TOL * scale).all())


def _held(groups: Sequence[Group], holds: Callable[[Sequence[Group]], bool]) -> list[Group]:
    """Groups that hold, found by halving; those that do so alone but not together are left out."""
    if not groups or holds(groups):
        return list(groups)
    if len(groups) == 1:
        parts = [Group(groups[0].name, row) for part in groups[0].inner for row in part]
        return _held(parts, holds) if parts else []
    middle = len(groups) // 2
    kept = _held(groups[:middle], holds)
    for group in _held(groups[middle:], holds):
        if holds([*kept, group]):
            kept.append(group)
    return kept
