"""Sharpness-aware minimisation: Foret et al., ICLR 2021 (arXiv:2010.01412)."""

from torch import Tensor

from sklflat.training.perturbations.base import Perturbation, PerturbationState, Position


class SAM(Perturbation):
    """Gradient at the worst point of a ball around w, to first order.

    ``w~ = w + rho g / |g|``,  ``d = g~``  (equation 2 of the paper, p = 2).

    Parameters
    ----------
    rho : float, default=0.05
        Radius of the ball, in units of the parameters' Euclidean norm. The paper searched
        {0.01, ..., 0.5} and calls 0.05 a solid default.

    References
    ----------
    Foret, Kleiner, Mobahi, Neyshabur: Sharpness-Aware Minimization for Efficiently Improving
    Generalization. ICLR 2021.

    Examples
    --------
    >>> import torch
    >>> from sklflat.training.perturbations import SAM, Position
    >>> w = torch.tensor([1.0, 1.0])
    >>> at = Position(w, is_weight=w.bool(), learning_rate=0.1, t=0)
    >>> w_tilde, _ = SAM(rho=0.5).perturb(torch.tensor([3.0, 4.0]), at, {})
    >>> w_tilde
    tensor([1.3000, 1.4000])
    """

    def __init__(self, rho: float = 0.05) -> None:
        self.rho = rho

    def perturb(
        self, g: Tensor, at: Position, state: PerturbationState
    ) -> tuple[Tensor, PerturbationState]:
        """``w + rho g / |g|``."""
        return at.ahead(g, self.rho), state
