"""Perturbation, the base class: where a training step takes its gradient."""

from collections.abc import Callable
from dataclasses import dataclass
from numbers import Real
from typing import Any, ClassVar

import torch
from sklearn.base import BaseEstimator
from torch import Tensor

from sklflat._compat import EstimatorMixin, Interval, validate_parameter_constraints
from sklflat.curvature import Landscape

#: what a perturbation remembers between steps, by name
PerturbationState = dict[str, Tensor]


@dataclass
class Position:
    """What a perturbation may know about the place where a step starts.

    Attributes
    ----------
    w : Tensor of shape (p,)
        Parameters.
    is_weight : Tensor of shape (p,), bool
        False at the entries of additive biases.
    learning_rate : float
        Of the base optimiser in this step.
    t : int, default=0
        Steps taken before this one.
    velocity : Tensor of shape (p,) or None
        The base optimiser's first moment, None before its first step.
    squared_gradients : callable or None
        ``squared_gradients(labels)`` returns the mean over the batch of squared per-sample
        gradients, of shape (p,); ``labels`` is ``"data"`` or ``"model"``.
    scratch : Tensor of shape (p,) or None
        Memory for the perturbed point.
    seeds : tuple of int, default=(0, 0)
        Of random numbers: the training's own, and the number of the step, left out ones counted.
    mask : Tensor of shape (p,), bool, or None
        False where parameters are held.
    landscape : Landscape or None
        The loss on a fixed part of the training data, at any parameters.
    maximizes : bool, default=False
        Whether the base optimiser ascends. Perturbations see the negative loss and its gradients.
    """

    w: Tensor
    is_weight: Tensor
    learning_rate: float | Tensor
    t: int = 0
    velocity: Tensor | None = None
    squared_gradients: Callable[[str], Tensor] | None = None
    scratch: Tensor | None = None
    seeds: tuple[int, int] = (0, 0)
    mask: Tensor | None = None
    landscape: Landscape | None = None
    maximizes: bool = False

    def ahead(self, v: Tensor, length: float | Tensor) -> Tensor:
        """The point ``w + length v / |v|``, not further for vanishing v; w where v is zero."""
        if isinstance(length, Tensor):
            return self.w + length * unit(v)
        return torch.addcdiv(self.w, v, norm(v), value=length, out=self.scratch)


# Below this length squares underflow and a computed norm is too small, so that v / |v| could be
# of any length: 1e-19 in single precision, which a network that fits its data perfectly reaches.
_SHORTEST = {dtype: torch.finfo(dtype).tiny ** 0.5 for dtype in (torch.float32, torch.float64)}


def norm(v: Tensor) -> Tensor:
    """Euclidean norm over all parameters, never below the shortest that can be computed."""
    return torch.linalg.vector_norm(v).clamp(min=_SHORTEST[v.dtype])


def unit(v: Tensor) -> Tensor:
    """``v / |v|``; shorter for v too short for its norm to be computed, zero for zero."""
    return v / norm(v)


def reject(g: Tensor, v: Tensor) -> Tensor:
    """The component of g orthogonal to v: g - (g.v / |v|^2) v."""
    length = norm(v)  # divided by twice, as its square may underflow
    return torch.addcmul(g, v, torch.dot(g, v).div_(length).div_(length).neg_())


class Perturbation(EstimatorMixin, BaseEstimator):
    """A gradient taken at ``w~ = w + eps`` instead of at ``w``.

    With g the gradient at w and g~ the gradient at w~, a step is ::

        w~ = perturb(g)         at steps for which ascends(t) is true
        d  = combine(g, g~)     goes to the base optimiser
        d  = reuse(g)           at all other steps

    All three are pure functions of vectors of shape (p,) over all parameters, so norms and
    inner products are global and one definition serves every training loop. With
    ``rho = 0`` none of them is called and the base optimiser gets g.

    Parameters
    ----------
    rho : float
        Length of the perturbation, >= 0.
    """

    #: whether ``perturb`` reads the gradient at w; if not, a step costs one gradient
    needs_gradient: ClassVar[bool] = True
    #: whether ``perturb`` reads the base optimiser's momentum
    needs_velocity: ClassVar[bool] = False
    #: whether ``perturb`` looks at the loss around w
    needs_landscape: ClassVar[bool] = False
    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "rho": [Interval(Real, 0, None, closed="left")]
    }

    rho: float

    def validate(self) -> "Perturbation":
        """Check all parameters; an error names parameter, range and value."""
        validate_parameter_constraints(
            self._parameter_constraints, self.get_params(deep=False), type(self).__name__
        )
        return self

    @property
    def needs_samples(self) -> bool:
        """Whether ``perturb`` reads per-sample gradients."""
        return False

    def init(self, w: Tensor) -> PerturbationState:
        """The state before the first step."""
        return {}

    def ascends(self, t: int) -> bool:
        """Whether step t (from 0) takes its gradient at a perturbed point."""
        return True

    def perturb(
        self, g: Tensor, at: Position, state: PerturbationState
    ) -> tuple[Tensor, PerturbationState]:
        """The perturbed point w~ of shape (p,), and the next state."""
        raise TypeError(f"{type(self).__name__} must define perturb(g, at, state).")

    def combine(
        self, g: Tensor, g_tilde: Tensor, state: PerturbationState
    ) -> tuple[Tensor, PerturbationState]:
        """The direction of shape (p,) that the base optimiser gets, and the next state."""
        return g_tilde, state

    def reuse(self, g: Tensor, state: PerturbationState) -> Tensor:
        """The direction in a step that does not ascend."""
        return g
