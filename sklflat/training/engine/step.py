"""One training step whose gradient is taken at a perturbed point."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from sklflat.curvature import Landscape
from sklflat.training.perturbations.base import Perturbation, PerturbationState, Position

#: ``gradient_at(w_tilde)`` returns loss and gradient (p,) there, or at w for None
GradientAt = Callable[[Tensor | None], tuple[Tensor, Tensor]]


class PerturbedStep:
    """Gradient, perturbation, second gradient: the step that all training loops share.

    Parameters
    ----------
    perturbation : Perturbation or None
        None is the plain gradient.
    l2 : float, default=0.0
        As in :class:`~sklflat.training.engine.net.PerturbedNetMixin`.
    mask : Tensor of shape (p,), bool, default=None
        False where parameters are fixed: their gradient counts as zero in every pass, so that
        neither the perturbation nor the optimiser moves them.
    seed : int, default=0
        Of a perturbation's random numbers.

    Attributes
    ----------
    t : int
        Steps taken.
    state : dict of str to Tensor, or None
        What the perturbation remembers; None before the first step.
    n_gradient_evaluations, n_skipped_steps : int
    landscape : Landscape or None
        The loss on a part of the data, for a perturbation that ``needs_landscape``.
    n_begun : int
        Batches trained on, skipped steps included.
    """

    def __init__(
        self,
        perturbation: Perturbation | None,
        l2: float = 0.0,
        mask: Tensor | None = None,
        seed: int = 0,
    ) -> None:
        self.perturbation = perturbation
        self.l2 = l2
        self.mask = mask
        #: the mask as numbers, and of which mask and type
        self._numbers: tuple[Any, Tensor | None] = None, None
        self.seed = seed
        self.landscape: Landscape | None = None
        self.t = 0
        self.state: PerturbationState | None = None
        self.n_begun = 0
        self.n_gradient_evaluations = 0
        self.n_skipped_steps = 0

    def __getstate__(self) -> dict[str, Any]:
        state = self.state and {key: value.cpu() for key, value in self.state.items()}
        return {**vars(self), "state": state, "landscape": None, "_numbers": (None, None)}

    @property
    def needs_velocity(self) -> bool:
        """Whether ``Position.velocity`` is read."""
        return self.perturbation is not None and self.perturbation.needs_velocity

    @property
    def needs_landscape(self) -> bool:
        """Whether ``Position.landscape`` is read."""
        return self.perturbation is not None and self.perturbation.needs_landscape

    @property
    def needs_samples(self) -> bool:
        """Whether ``Position.squared_gradients`` is called."""
        return self.perturbation is not None and self.perturbation.needs_samples

    def take(
        self, at: Position, gradient_at: GradientAt, n_samples: float = 1.0
    ) -> tuple[Tensor, Tensor | None]:
        """The clean loss, and the direction (p,) for the base optimiser.

        The direction is None, and nothing is remembered of the step but its count, if loss or
        direction is not finite.
        """

        def counted(w_tilde: Tensor | None) -> tuple[Tensor, Tensor]:
            self.n_gradient_evaluations += 1
            return gradient_at(w_tilde)

        at.t, at.mask, at.landscape = self.t, self.mask, self.landscape
        at.seeds = (self.seed, self.t + self.n_skipped_steps)
        state = self.state
        if state is None and self.perturbation is not None and ascends_at_all(self.perturbation):
            state = self.perturbation.init(at.w)
        if state and any(v.device != at.w.device for v in state.values()):  # loaded elsewhere
            state = {key: value.to(at.w.device) for key, value in state.items()}
        mask = self._mask_like(at.w)
        masked = counted if mask is None else masked_gradients(counted, mask)
        signed = negative_gradients(masked) if at.maximizes else masked
        loss, direction, state = perturbed_direction(self.perturbation, at, state, signed)
        if self.l2:
            loss, direction = with_l2(loss, direction, at, self.l2 / n_samples)
        if at.maximizes:  # the base optimiser turns the direction round again
            loss, direction = -loss, -direction
        # a sum is finite only if its terms are (or, beyond the largest float, far too large)
        if not math.isfinite(float(direction.sum()) + float(loss)):
            self.n_skipped_steps += 1
            return loss, None
        self.state = state
        self.t += 1
        return loss, direction

    def _mask_like(self, w: Tensor) -> Tensor | None:
        """The mask as numbers of w's type, made once: a product with booleans takes far longer."""
        if self.mask is None:
            return None
        known, kind = self._numbers[0], (id(self.mask), self.mask._version, w.dtype, w.device)
        if kind != known:
            self._numbers = kind, self.mask.to(w)
        return self._numbers[1]


def perturbed_direction(
    perturbation: Any, at: Position, state: PerturbationState | None, gradient_at: GradientAt
) -> tuple[Tensor, Tensor, PerturbationState | None]:
    """Loss, direction and next state of one step, from one or two gradients.

    ``perturbation`` is None, a Perturbation, or one that works on the replicas of a stack.
    """
    p = perturbation
    if p is None or not ascends_at_all(p):
        return *gradient_at(None), state
    assert state is not None
    loss: Any = None
    g: Any = None
    if p.needs_gradient:
        loss, g = gradient_at(None)
        if not p.ascends(at.t):
            return loss, p.reuse(g, state), state
    w_tilde, state = p.perturb(g, at, state)
    loss_tilde, g_tilde = gradient_at(w_tilde)
    direction, state = p.combine(g, g_tilde, state)
    return (loss_tilde if loss is None else loss), direction, state


def ascends_at_all(perturbation: Any) -> bool:
    """Whether there is a radius; one that is a tensor is that of a stack, and positive."""
    return isinstance(perturbation.rho, Tensor) or perturbation.rho != 0


def masked_gradients(gradient_at: GradientAt, mask: Tensor) -> GradientAt:
    """The same function with a gradient of zero where the mask, of numbers, is zero."""

    def gradient(w_tilde: Tensor | None) -> tuple[Tensor, Tensor]:
        loss, g = gradient_at(w_tilde)
        return loss, g.mul_(mask)  # which nobody else has

    return gradient


def negative_gradients(gradient_at: GradientAt) -> GradientAt:
    """Loss and gradient with the other sign: who maximizes f minimizes -f."""

    def gradient(w_tilde: Tensor | None) -> tuple[Tensor, Tensor]:
        loss, g = gradient_at(w_tilde)
        return -loss, -g

    return gradient


def with_l2(
    loss: Tensor, direction: Tensor, at: Position, strength: float | Tensor
) -> tuple[Tensor, Tensor]:
    """Loss and direction with ``strength |weights|^2 / 2`` added to the loss; also of replicas."""
    if isinstance(strength, Tensor):
        strength = strength[..., None]
    pull = at.w * (at.is_weight.to(at.w.dtype) * strength)
    return loss + 0.5 * torch.linalg.vecdot(pull, at.w), direction + pull
