"""The base optimiser's step on one vector per parameter group.

The arithmetic is torch's own functional form of SGD and Adam; what is saved is its loop
over many small tensors. State comes from and goes back to the torch optimiser, so the two
can take turns.
"""

from typing import Any

import torch
from torch import Tensor
from torch.optim.adam import adam
from torch.optim.sgd import sgd

from sklflat.networks.functional import ParameterVector
from sklflat.training.engine.scikit_learn_adam import ScikitLearnAdam, eps_of_step

_UNSUPPORTED = ("foreach", "fused", "capturable", "differentiable", "amsgrad")
MOMENTS = {
    torch.optim.SGD: ("momentum_buffer",),
    torch.optim.Adam: ("exp_avg", "exp_avg_sq"),
    torch.optim.AdamW: ("exp_avg", "exp_avg_sq"),
    ScikitLearnAdam: ("exp_avg", "exp_avg_sq"),
}


class _Group:
    """One parameter group: a slice of the vector and the optimiser's moments of it."""

    def __init__(self, optimizer: torch.optim.Optimizer, options: dict[str, Any]) -> None:
        self.optimizer = optimizer
        self.options = options
        self.vector = ParameterVector([(None, p) for p in options["params"]])
        self.moments: dict[str, list[Any]] = {
            key: [self._pull(key)] for key in MOMENTS[type(optimizer)]
        }
        step = self._state(self.vector.parameters[0]).get("step")
        self.step_count = [torch.tensor(0.0) if step is None else step.detach().cpu().clone()]

    def _state(self, p: Tensor) -> dict[str, Any]:
        return self.optimizer.state.get(p, {})

    def _pull(self, key: str) -> Tensor | None:
        moments = [self._state(p).get(key) for p in self.vector.parameters]
        return None if moments[0] is None else self.vector.join(moments)

    def push(self) -> None:
        """Hand the state to the torch optimiser."""
        for key, (moment,) in self.moments.items():
            if moment is None:
                continue
            views = self.vector.views(moment)
            for p, view in zip(self.vector.parameters, views, strict=True):
                self.optimizer.state[p][key] = view.to(p.dtype, copy=True)
                if "exp_avg" in self.moments:
                    self.optimizer.state[p]["step"] = self.step_count[0].clone()

    def step(self, w: Tensor, d: Tensor) -> None:
        """Apply the direction d to the slice w, in place."""
        kind = type(self.optimizer)
        apply_step(kind, self.options, w, d, self.moments, self.step_count[0])


def apply_step(
    kind: type[torch.optim.Optimizer],
    options: dict[str, Any],
    w: Tensor,
    d: Tensor,
    moments: dict[str, list[Any]],
    count: Tensor,
) -> None:
    """One step along d, in place, on tensors of any one shape.

    Options are those of a parameter group, ``moments`` what the optimiser remembers (None before
    the first step), and ``count`` Adam's steps so far, counted up here.
    """
    o = options
    shared = {"foreach": False, "maximize": o["maximize"], "weight_decay": o["weight_decay"]}
    if kind is torch.optim.SGD:
        momentum = {key: o[key] for key in ("momentum", "dampening", "nesterov")}
        sgd([w], [d], moments["momentum_buffer"], lr=o["lr"], **momentum, **shared)
        return
    both = moments["exp_avg"], moments["exp_avg_sq"]
    for moment in both:
        moment[0] = torch.zeros_like(w) if moment[0] is None else moment[0]
    beta1, beta2 = o["betas"]
    decoupled = o.get("decoupled_weight_decay", False)
    eps = o["eps"]
    if kind is ScikitLearnAdam:
        eps = eps_of_step(eps, beta2, float(count) + 1)
    rates = {"lr": o["lr"], "beta1": beta1, "beta2": beta2, "eps": eps}
    rest = {"amsgrad": False, "decoupled_weight_decay": decoupled, **rates, **shared}
    adam([w], [d], *both, [], [count], **rest)


class VectorUpdate:
    """Steps of ``torch.optim.SGD``, ``Adam`` or ``AdamW``, or of scikit-learn's Adam, on a vector.

    Optimisers of classes derived from these are not supported: their steps may be others.
    """

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        trained = [g for g in optimizer.param_groups if any(p.requires_grad for p in g["params"])]
        self.groups = [_Group(optimizer, group) for group in trained]
        self.sizes = [len(group.vector) for group in self.groups]

    @staticmethod
    def supports(optimizer: torch.optim.Optimizer) -> bool:
        """Whether this optimiser's steps can be taken here."""
        return type(optimizer) in MOMENTS and not any(
            group.get(flag) for group in optimizer.param_groups for flag in _UNSUPPORTED
        )

    @staticmethod
    def has_one_history(optimizer: torch.optim.Optimizer) -> bool:
        """Whether all trained parameters of a group have taken part in the same steps."""

        def history(p: Tensor) -> tuple[bool, float]:
            state = optimizer.state.get(p, {})
            return state.get("momentum_buffer") is None, float(state.get("step", 0))

        groups = ([p for p in g["params"] if p.requires_grad] for g in optimizer.param_groups)
        return all(len({history(p) for p in group}) <= 1 for group in groups)

    @property
    def velocity(self) -> Tensor | None:
        """The first moment (p,); None before the first step."""
        first = [next(iter(group.moments.values()))[0] for group in self.groups]
        return first[0] if len(first) == 1 or first[0] is None else torch.cat(first)

    @property
    def learning_rate(self) -> float:
        """The largest of the groups' learning rates."""
        return max(float(group.options["lr"]) for group in self.groups)

    def step(self, w: Tensor, direction: Tensor) -> None:
        """Apply the direction (p,) to w (p,), in place."""
        if len(self.groups) == 1:
            self.groups[0].step(w, direction)
            return
        slices = zip(w.split(self.sizes), direction.split(self.sizes), strict=True)
        for group, (w_slice, d_slice) in zip(self.groups, slices, strict=True):
            group.step(w_slice, d_slice)

    def push(self) -> None:
        """Hand all state to the torch optimiser."""
        for group in self.groups:
            group.push()
            group.optimizer._opt_called = True  # type: ignore[attr-defined]  # schedulers ask
