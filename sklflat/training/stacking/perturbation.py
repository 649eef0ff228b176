"""A perturbation for the replicas of a stack, each with its own parameters."""

import copy
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import torch
from torch import Tensor

from sklflat.training.engine.replays import Replays, is_known
from sklflat.training.perturbations.base import Perturbation, PerturbationState, Position

Pick = Callable[[Tensor], Tensor]


def phase(perturbation: Perturbation | None, t: int) -> Hashable:
    """Steps of one phase do the same, whatever their number.

    A user's own perturbation may read t in any way, so every t is a phase of its own.
    """
    if perturbation is None:
        return None
    if not is_known(type(perturbation)):
        return t
    return t == 0, perturbation.ascends(t)


class StackedPerturbation:
    """The perturbation ``template`` for E networks, with own parameters where these are real."""

    def __init__(self, template: Perturbation | None) -> None:
        self.template = template
        known = self.template is None or is_known(type(self.template))
        self.replays = Replays((), None if known else "the perturbation is a user's own", True)
        self.values: dict[str, Tensor] = {}
        self.keys: dict[Hashable, list[str]] = {}

    def read(self, perturbations: Sequence[Perturbation | None], w: Tensor) -> None:
        """Read the real parameters of replicas of one ``kind``; w says dtype and device."""
        for name in _varying(self.template):
            column = [float(getattr(p, name)) for p in perturbations]
            self.values[name] = torch.tensor(column, dtype=w.dtype, device=w.device)

    @staticmethod
    def kind(perturbation: Perturbation | None) -> Hashable:
        """What the perturbations of one stack have in common."""
        if perturbation is None:
            return None
        parameters = perturbation.get_params(deep=False)
        fixed = {k: v for k, v in parameters.items() if k not in _varying(perturbation)}
        return type(perturbation), repr(sorted(fixed.items())), perturbation.rho == 0

    def of(self, pick: Pick) -> "ReplicaPerturbation | None":
        """The perturbation of the replicas that ``pick`` takes."""
        if self.template is None:
            return None
        values = {name: pick(v) for name, v in self.values.items()}
        return ReplicaPerturbation(self, self.template, values)


def _varying(perturbation: Perturbation | None) -> list[str]:
    """Names of the parameters that may differ between replicas; a radius of zero does not."""
    if perturbation is None:
        return []
    parameters = perturbation.get_params(deep=False)
    names = [name for name, v in parameters.items() if isinstance(v, float) or name == "rho"]
    return [name for name in names if name != "rho" or perturbation.rho != 0]


def _distinct(tensors: list[Tensor]) -> list[Tensor]:
    """The tensors, with copies of those that are the same memory as one before."""
    seen: set[int] = set()
    return [
        t.clone() if t.data_ptr() in seen else seen.add(t.data_ptr()) or t  # type: ignore
        for t in tensors
    ]


class ReplicaPerturbation:
    """Evaluates a perturbation on replicas: what its methods get and return is (R, ...).

    The template brings the parameters that all replicas share, and ``values`` the others, (R,).
    """

    def __init__(
        self, stacked: StackedPerturbation, template: Perturbation, values: dict[str, Tensor]
    ) -> None:
        self.stacked = stacked
        self.template = template
        self.values = values
        self.rho = values.get("rho", template.rho)
        self.needs_gradient = self.template.needs_gradient
        self.ascends = self.template.ascends

    def perturb(
        self, g: Tensor | None, at: Position, state: PerturbationState
    ) -> tuple[Tensor, PerturbationState]:
        """Perturbed points (R, p) and the next state."""
        given = {"w": at.w, "rate": at.learning_rate, "g": g, "velocity": at.velocity}

        def method(p: Any, own: dict[str, Any], state: PerturbationState) -> Any:
            here = Position(own["w"], at.is_weight, own["rate"], at.t, own.get("velocity"))
            return p.perturb(own.get("g"), here, state)

        return self._call(("perturb", phase(self.template, at.t)), method, given, state)

    def combine(
        self, g: Tensor | None, g_tilde: Tensor, state: PerturbationState
    ) -> tuple[Tensor, PerturbationState]:
        """Directions (R, p) and the next state."""
        given = {"g": g, "g_tilde": g_tilde}
        return self._call(
            "combine", lambda p, own, s: p.combine(own.get("g"), own["g_tilde"], s), given, state
        )

    def reuse(self, g: Tensor, state: PerturbationState) -> Tensor:
        """Directions (R, p) of a step that does not ascend."""
        return self._call("reuse", lambda p, own, s: (p.reuse(own["g"], s), {}), {"g": g}, state)[0]

    def _call(
        self,
        name: Hashable,
        method: Callable[..., Any],
        given: dict[str, Any],
        state: PerturbationState,
    ) -> tuple[Tensor, PerturbationState]:
        given = {key: value for key, value in given.items() if value is not None}
        groups = (list(given), list(state), list(self.values))
        inputs = _distinct([*given.values(), *state.values(), *self.values.values()])
        kind = (name, *map(tuple, groups), len(inputs[0]))
        known = self.stacked.keys

        def one(*tensors: Tensor) -> tuple[Tensor, ...]:
            rest = iter(tensors)
            own, before, values = (dict(zip(group, rest, strict=False)) for group in groups)
            p = copy.copy(self.template)
            p.__dict__.update(values)
            result, after = method(p, own, before)
            known[kind] = list(after)
            return result, *after.values()

        def vectorised(_: Any = None) -> tuple[Tensor, ...]:
            return torch.func.vmap(one, randomness="error")(*inputs)

        replays = self.stacked.replays
        replay = replays.get(kind)
        if replay is not None:
            outputs = replay(*inputs)
        elif replays.why_not is None:
            outputs = replays.record(kind, inputs, vectorised)
        else:
            outputs = vectorised()
        return outputs[0], dict(zip(known[kind], outputs[1:], strict=True))
