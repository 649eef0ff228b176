"""Perturbed training in plain torch loops."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from sklflat.curvature import Landscape
from sklflat.networks.functional import ParameterVector
from sklflat.training.engine.passes import Passes
from sklflat.training.engine.step import PerturbedStep
from sklflat.training.perturbations.base import Perturbation, PerturbationState, Position


def trained_parameters(
    optimizer: torch.optim.Optimizer, module: nn.Module | None = None
) -> ParameterVector:
    """The vector of an optimiser's parameters, group by group, under their names."""
    known = {} if module is None else {id(p): name for name, p in module.named_parameters()}
    named: list[tuple[str | None, nn.Parameter]] = []
    for group in optimizer.param_groups:
        names = group.get("param_names") or [known.get(id(p)) for p in group["params"]]
        named.extend(zip(names, group["params"], strict=True))
    return ParameterVector(named)


def velocity(optimizer: torch.optim.Optimizer, vector: ParameterVector) -> Tensor | None:
    """The optimiser's first moment as a vector (p,); None before its first step."""
    moments: list[Tensor | None] = []
    for p in vector.parameters:
        state = optimizer.state.get(p, {})
        moments.append(state.get("momentum_buffer", state.get("exp_avg")))
    return None if all(m is None for m in moments) else vector.join(moments)


def check_velocity(perturbation: Perturbation, optimizer: torch.optim.Optimizer) -> None:
    """Raise if a perturbation along the momentum is used without momentum."""
    if not perturbation.needs_velocity:
        return
    for group in optimizer.param_groups:
        if not group.get("momentum", group.get("betas", (0.0,))[0]):
            raise ValueError(
                f"{type(perturbation).__name__} perturbs along the base optimizer's momentum, "
                f"but {type(optimizer).__name__} has none. Set momentum > 0 (SGD) or use Adam."
            )


def position(
    optimizer: torch.optim.Optimizer, vector: ParameterVector, w: Tensor, needs_velocity: bool
) -> Position:
    """Where an optimiser stands, as perturbations see it."""
    return Position(
        w=w,
        is_weight=vector.is_weight,
        learning_rate=max(float(group["lr"]) for group in optimizer.param_groups),
        velocity=velocity(optimizer, vector) if needs_velocity else None,
        maximizes=maximizes(optimizer),
    )


def maximizes(optimizer: torch.optim.Optimizer) -> bool:
    """Whether an optimiser ascends.

    Raises
    ------
    ValueError
        If some parameter groups do and others do not.
    """
    found = {bool(group.get("maximize", False)) for group in optimizer.param_groups}
    if len(found) > 1:
        raise ValueError(
            "maximize differs between the optimizer's parameter groups, so there is no one loss "
            "whose neighbourhood a perturbation could look at. Set it in all groups or in none."
        )
    return found == {True}


class PerturbedOptimizer(torch.optim.Optimizer):
    """A torch optimiser that takes its gradient at a perturbed point.

    Parameters
    ----------
    base_optimizer : torch.optim.Optimizer
        Applies the direction. Its weight decay stays outside the perturbation. Parameter
        groups are shared with it, so learning-rate schedulers may be given either of the two.
    perturbation : Perturbation
        For example ``SAM(rho=0.05)``.
    module : torch.nn.Module, default=None
        The network. With it, buffers (batch normalisation statistics) see the first pass
        only, and biases are known by name; without it, parameters with fewer than two
        dimensions count as biases.
    max_grad_norm : float, default=None
        Clip the final direction to this norm; the perturbation does not depend on it.

    Attributes
    ----------
    n_gradient_evaluations : int
        Calls of the closure so far.
    n_skipped_steps : int
        Steps left out whole because loss or direction was not finite.

    Notes
    -----
    ``step(closure)`` calls the closure itself, once or twice, each time with cleared
    gradients, and for the second time with the random state of the first, so dropout masks
    agree. The closure computes the loss, calls ``backward`` and returns the loss; for
    gradient accumulation it does so over several micro-batches. Parameters are restored bit
    for bit before the base optimiser's step, also when an exception passes through.

    Examples
    --------
    One step on ``w^2 / 2`` from w = 1 with rho = 0.5: the gradient at 1.5 is 1.5.

    >>> import torch
    >>> from sklflat import PerturbedOptimizer
    >>> from sklflat.training.perturbations import SAM
    >>> w = torch.nn.Parameter(torch.tensor([1.0]))
    >>> optimizer = PerturbedOptimizer(torch.optim.SGD([w], lr=0.1), SAM(rho=0.5))
    >>> def closure():
    ...     loss = (w**2 / 2).sum()
    ...     loss.backward()
    ...     return loss
    >>> optimizer.step(closure).item()
    0.5
    >>> round(w.item(), 6)
    0.85
    """

    def __init__(
        self,
        base_optimizer: torch.optim.Optimizer,
        perturbation: Perturbation,
        *,
        module: nn.Module | None = None,
        max_grad_norm: float | None = None,
    ) -> None:
        if not isinstance(base_optimizer, torch.optim.Optimizer):
            raise TypeError(
                "base_optimizer must be an instance of a torch optimizer, as in "
                f"PerturbedOptimizer(SGD(parameters, lr=0.1), SAM()), got {base_optimizer!r}."
            )
        if not isinstance(perturbation, Perturbation):
            raise TypeError(
                "perturbation must be an instance of a class of sklflat.training.perturbations, "
                f"such as SAM(rho=0.05), got {perturbation!r}."
            )
        if isinstance(base_optimizer, torch.optim.LBFGS):
            raise TypeError("LBFGS evaluates its closure at points of its own: use SGD or Adam.")
        if any(group.get("differentiable") for group in base_optimizer.param_groups):
            raise ValueError(
                "differentiable=True asks for gradients through the step, but a perturbed step is "
                "taken without a graph. Leave it at False."
            )
        perturbation.validate()
        check_velocity(perturbation, base_optimizer)
        self.base_optimizer = base_optimizer
        self.module = module
        self.max_grad_norm = max_grad_norm
        self._step = PerturbedStep(perturbation)
        super().__init__(list(base_optimizer.param_groups), base_optimizer.defaults)
        self._share()
        base_optimizer.register_load_state_dict_post_hook(lambda _: self._share())
        self._vector = trained_parameters(base_optimizer, module)

    def _share(self) -> None:
        self.param_groups = self.base_optimizer.param_groups
        self.state = self.base_optimizer.state

    def __getstate__(self) -> dict[str, Any]:
        own = ("base_optimizer", "module", "max_grad_norm", "_step", "_vector")
        return {**super().__getstate__(), **{name: getattr(self, name) for name in own}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self.base_optimizer.register_load_state_dict_post_hook(lambda _: self._share())

    @property
    def perturbation(self) -> Perturbation:
        """Where gradients are taken; its parameters may be changed between steps."""
        assert self._step.perturbation is not None
        return self._step.perturbation

    @property
    def n_gradient_evaluations(self) -> int:
        """Calls of the closure so far."""
        return self._step.n_gradient_evaluations

    @property
    def n_skipped_steps(self) -> int:
        """Steps left out whole because loss or direction was not finite."""
        return self._step.n_skipped_steps

    @property
    def perturbation_state(self) -> PerturbationState:
        """What the perturbation remembers, for example ``cosine`` of Fisher SAM."""
        return self._step.state or {}

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a parameter group to the base optimiser, with its defaults."""
        if any(param_group is group for group in self.base_optimizer.param_groups):
            self.param_groups.append(param_group)  # called by the base class's __init__
            return
        self.base_optimizer.add_param_group(param_group)
        try:
            check_velocity(self.perturbation, self.base_optimizer)
        except ValueError:
            self.param_groups.pop()
            raise

    def state_dict(self) -> dict[str, Any]:
        """The base optimiser's state dict with the entry ``perturbation`` added."""
        own = {
            "t": self._step.t,
            "state": {k: v.clone() for k, v in self.perturbation_state.items()},
            "n_gradient_evaluations": self.n_gradient_evaluations,
            "n_skipped_steps": self.n_skipped_steps,
        }
        return {**self.base_optimizer.state_dict(), "perturbation": own}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue where ``state_dict`` was taken."""
        if "perturbation" not in state_dict:
            raise ValueError(
                "The state dict has no entry 'perturbation': it is the base optimizer's. "
                "Load it with base_optimizer.load_state_dict."
            )
        own = state_dict["perturbation"]
        base = {k: v for k, v in state_dict.items() if k != "perturbation"}
        self.base_optimizer.load_state_dict(base)
        vector, step = self._vector, self._step
        state = {k: v.to(vector.device, vector.dtype, copy=True) for k, v in own["state"].items()}
        step.state = state or None
        step.t = own["t"]
        step.n_gradient_evaluations = own["n_gradient_evaluations"]
        step.n_skipped_steps = own["n_skipped_steps"]

    def _refresh_vector(self) -> ParameterVector:
        """Follow added groups and parameters whose ``requires_grad`` was changed."""
        old, new = self._vector, trained_parameters(self.base_optimizer, self.module)
        if [id(p) for p in old.parameters] != [id(p) for p in new.parameters]:
            for key, value in self.perturbation_state.items():
                if value.numel() == len(old) and value.ndim:
                    parts = dict(zip(map(id, old.parameters), old.views(value), strict=True))
                    pieces = [parts.get(id(p)) for p in new.parameters]
                    self.perturbation_state[key] = new.join(pieces)
        self._vector = new
        return new

    @torch.no_grad()
    def step(  # type: ignore[override]
        self,
        closure: Callable[[], Tensor],
        *,
        grad_scaler: torch.amp.GradScaler | None = None,
        squared_gradients: Callable[[str], Tensor] | None = None,
        landscape: Landscape | None = None,
    ) -> Tensor:
        """Take one step.

        Parameters
        ----------
        closure : callable
            Computes the loss, calls ``backward`` (on the scaled loss, with a scaler) and
            returns the unscaled loss.
        grad_scaler : torch.amp.GradScaler, default=None
            For mixed precision. Perturbations see unscaled gradients; call
            ``grad_scaler.update()`` after the step as usual.
        squared_gradients : callable, default=None
            For ``FisherSAM(fisher="per_sample" or "model")``: called with ``"data"`` or
            ``"model"`` at the unperturbed point; returns the mean of squared per-sample
            gradients of shape (p,).
        landscape : Landscape, default=None
            For ``FlatNoise``: the loss on a fixed part of the training data. Its parameters must
            be in the order of the optimizer's.

        Returns
        -------
        loss : Tensor
            The closure's first: at the unperturbed point.
        """
        if closure is None:
            raise ValueError("step needs a closure that computes the loss and calls backward.")
        vector = self._refresh_vector()
        scale = 1.0 if grad_scaler is None else float(grad_scaler.get_scale())
        modules = () if self.module is None else (self.module,)
        passes = Passes(vector, closure, modules, scale)
        at = position(self, vector, passes.w, self._step.needs_velocity)
        at.squared_gradients = squared_gradients
        self._step.landscape = landscape
        try:
            loss, direction = self._step.take(at, passes)
        finally:
            passes.restore()
        if direction is None:
            self._skip(passes, grad_scaler)
            return loss
        passes.set_gradients(direction)
        if self.max_grad_norm is not None:
            gradients = [p.grad for p in vector.parameters if p.grad is not None]
            total = nn.utils.get_total_norm(gradients)
            nn.utils.clip_grads_with_norm_(vector.parameters, self.max_grad_norm * scale, total)
        self._base_step(grad_scaler)
        return loss

    def _base_step(self, grad_scaler: torch.amp.GradScaler | None) -> None:
        if grad_scaler is None:
            self.base_optimizer.step()
        else:
            grad_scaler.step(self.base_optimizer)

    def _skip(self, passes: Passes, grad_scaler: torch.amp.GradScaler | None) -> None:
        """Leave the step out whole; a scaler is told by gradients that are not finite."""
        passes.effects.undo()
        if grad_scaler is not None and grad_scaler.is_enabled():
            passes.set_gradients(torch.full_like(passes.w, torch.inf))
            self._base_step(grad_scaler)
        self.base_optimizer.zero_grad()
