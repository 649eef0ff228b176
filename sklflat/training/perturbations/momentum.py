"""Momentum-SAM: Becker et al., 2024 (arXiv:2401.12033)."""

from torch import Tensor

from sklflat.training.perturbations.base import Perturbation, PerturbationState, Position


class MomentumSAM(Perturbation):
    """A gradient taken ahead, along the momentum: sharpness-awareness for one gradient a step.

    ``w~ = w - rho v / |v|``,  ``d = g~``, with v the base optimiser's first moment before the
    step (``momentum_buffer`` of SGD, ``exp_avg`` of Adam). As v points along past gradients
    and the optimiser moves against it, the point lies in the direction of descent, opposite
    to SAM's. The first step has v = 0 and is not perturbed. The reported loss is the loss at
    the perturbed point, the only one that is evaluated.

    Parameters
    ----------
    rho : float, default=0.3
        Length of the perturbation. The authors' SGD class has 0.3; their experiments use
        about ten times the radius that SAM uses.

    References
    ----------
    Becker, Altrock, Risse: Momentum-SAM: Sharpness Aware Minimization without Computational
    Overhead. arXiv:2401.12033, 2024.

    Examples
    --------
    >>> import torch
    >>> from sklflat.training.perturbations import MomentumSAM, Position
    >>> w = torch.zeros(2)
    >>> at = Position(w, w.bool(), learning_rate=0.1, t=1, velocity=torch.tensor([3.0, 4.0]))
    >>> w_tilde, _ = MomentumSAM(rho=0.5).perturb(None, at, {})
    >>> w_tilde
    tensor([-0.3000, -0.4000])
    """

    needs_gradient = False
    needs_velocity = True

    def __init__(self, rho: float = 0.3) -> None:
        self.rho = rho

    def perturb(
        self, g: Tensor, at: Position, state: PerturbationState
    ) -> tuple[Tensor, PerturbationState]:
        """``w - rho v / |v|``."""
        if at.velocity is None:
            return at.w, state
        return at.ahead(at.velocity, -self.rho), state
