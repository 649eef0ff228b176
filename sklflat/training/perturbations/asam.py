"""Adaptive sharpness-aware minimisation: Kwon et al., ICML 2021 (arXiv:2102.11600)."""

from numbers import Real

import torch
from torch import Tensor

from sklflat._compat import Interval
from sklflat.training.perturbations.base import Perturbation, PerturbationState, Position, unit


class ASAM(Perturbation):
    """SAM in a ball that scales with the weights, so rescaling a layer changes nothing.

    ``w~ = w + rho T^2 g / |T g|``,  ``d = g~``, with the diagonal ``T = |w| + eta`` for weights
    and ``T = 1`` for biases (equation 9 of the paper; the bias rule is its appendix B).

    Parameters
    ----------
    rho : float, default=0.5
        Radius relative to the weights. The paper uses 0.5 for CIFAR-10, 1.0 for CIFAR-100
        and ImageNet.
    eta : float, default=0.01
        Stabiliser; without it a weight that starts at zero is never perturbed.

    References
    ----------
    Kwon, Kim, Park, Choi: ASAM: Adaptive Sharpness-Aware Minimization for Scale-Invariant
    Learning of Deep Neural Networks. ICML 2021.

    Examples
    --------
    >>> import torch
    >>> from sklflat.training.perturbations import ASAM, Position
    >>> w = torch.tensor([2.0, 7.0])
    >>> at = Position(w, is_weight=torch.tensor([True, False]), learning_rate=0.1, t=0)
    >>> w_tilde, _ = ASAM(rho=1.0, eta=0.0).perturb(torch.tensor([3.0, 8.0]), at, {})
    >>> w_tilde - w  # T = (2, 1), T g = (6, 8) of length 10
    tensor([1.2000, 0.8000])
    """

    _parameter_constraints = {
        **Perturbation._parameter_constraints,
        "eta": [Interval(Real, 0, None, closed="left")],
    }

    def __init__(self, rho: float = 0.5, eta: float = 0.01) -> None:
        self.rho = rho
        self.eta = eta

    def perturb(
        self, g: Tensor, at: Position, state: PerturbationState
    ) -> tuple[Tensor, PerturbationState]:
        """``w + rho T^2 g / |T g|``."""
        T = torch.where(at.is_weight, at.w.abs() + self.eta, 1.0)
        Tg = T * g
        return torch.addcmul(at.w, T, self.rho * unit(Tg)), state
