"""Friendly-SAM: Li et al., CVPR 2024 (arXiv:2403.12350)."""

from numbers import Real

import torch
from torch import Tensor

from sklflat._compat import Interval
from sklflat.training.perturbations.base import Perturbation, PerturbationState, Position


class FriendlySAM(Perturbation):
    """SAM along the batch's noise only: the running mean gradient is taken out of the ascent.

    ``w~ = w + rho u / |u|`` with ``u = g - sigma m``,  ``d = g~``, and after that
    ``m <- lam m + (1 - lam) g`` with the raw gradient g. The first step has no mean yet:
    u = g, m = g (as in the authors' code).

    Parameters
    ----------
    rho : float, default=0.05
        Length of the perturbation.
    sigma : float, default=1.0
        Share of the mean that is taken out; 0 is SAM.
    lam : float, default=0.9
        Decay of the running mean. The authors' scripts use 0.6 to 0.95.

    References
    ----------
    Li, Zhou, He, Cheng, Huang: Friendly Sharpness-Aware Minimization. CVPR 2024.

    Examples
    --------
    >>> import torch
    >>> from sklflat.training.perturbations import FriendlySAM, Position
    >>> w = torch.zeros(2)
    >>> at = Position(w, is_weight=w.bool(), learning_rate=0.1, t=1)
    >>> friendly = FriendlySAM(rho=0.5, lam=0.75)
    >>> g, m = torch.tensor([4.0, 4.0]), torch.tensor([1.0, 0.0])
    >>> w_tilde, state = friendly.perturb(g, at, {"m": m})
    >>> w_tilde  # u = (3, 4)
    tensor([0.3000, 0.4000])
    >>> state["m"]
    tensor([1.7500, 1.0000])
    """

    _parameter_constraints = {
        **Perturbation._parameter_constraints,
        "sigma": [Interval(Real, 0, None, closed="left")],
        "lam": [Interval(Real, 0, 1, closed="left")],
    }

    def __init__(self, rho: float = 0.05, sigma: float = 1.0, lam: float = 0.9) -> None:
        self.rho = rho
        self.sigma = sigma
        self.lam = lam

    def init(self, w: Tensor) -> PerturbationState:
        """No mean yet."""
        return {"m": torch.zeros_like(w)}

    def perturb(
        self, g: Tensor, at: Position, state: PerturbationState
    ) -> tuple[Tensor, PerturbationState]:
        """``w + rho u / |u|`` with ``u = g - sigma m``."""
        if at.t == 0:
            return at.ahead(g, self.rho), {"m": g}
        u = g - self.sigma * state["m"]
        # where g is its own mean, u is rounding error and has no direction to follow
        noise = 8 * torch.finfo(g.dtype).eps * torch.linalg.vector_norm(g)
        u = u * (torch.linalg.vector_norm(u) >= noise)
        return at.ahead(u, self.rho), {"m": torch.lerp(g, state["m"], self.lam)}
