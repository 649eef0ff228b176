"""Surrogate-gap guided SAM: Zhuang et al., ICLR 2022 (arXiv:2203.08065)."""

from numbers import Real

import torch
from torch import Tensor

from sklflat._compat import Interval
from sklflat.training.perturbations.base import Perturbation, PerturbationState, Position, reject


class GSAM(Perturbation):
    """SAM that also lowers the gap between the perturbed and the clean loss.

    ``w~ = w + rho_t g / |g|``,  ``d = g~ - alpha g_orth``, with g_orth the component of the
    clean gradient g orthogonal to g~ (algorithm 1 of the paper). The radius follows the
    learning rate between rho_min and rho:
    ``rho_t = rho_min + (rho - rho_min) (lr - lr_min) / (lr_max - lr_min)``, where lr_max is
    the largest learning rate so far; so it is rho where the learning rate is constant.

    Parameters
    ----------
    rho : float, default=0.05
        Radius at the largest learning rate (the paper's rho_max).
    alpha : float, default=0.2
        Weight of the orthogonal component; 0 is SAM. The authors' CIFAR example uses 0.2.
    rho_min : float, default=0.0
        Radius at the smallest learning rate.
    lr_min : float, default=0.0
        The smallest learning rate of the schedule.

    References
    ----------
    Zhuang et al.: Surrogate Gap Minimization Improves Sharpness-Aware Training. ICLR 2022.

    Examples
    --------
    >>> import torch
    >>> from sklflat.training.perturbations import GSAM
    >>> d, _ = GSAM(alpha=0.5).combine(torch.tensor([1.0, 4.0]), torch.tensor([2.0, 0.0]), {})
    >>> d  # the component of g orthogonal to g~ is (0, 4)
    tensor([ 2., -2.])
    """

    _parameter_constraints = {
        **Perturbation._parameter_constraints,
        "alpha": [Interval(Real, 0, None, closed="left")],
        "rho_min": [Interval(Real, 0, None, closed="left")],
        "lr_min": [Interval(Real, 0, None, closed="left")],
    }

    def __init__(
        self,
        rho: float = 0.05,
        alpha: float = 0.2,
        rho_min: float = 0.0,
        lr_min: float = 0.0,
    ) -> None:
        self.rho = rho
        self.alpha = alpha
        self.rho_min = rho_min
        self.lr_min = lr_min

    def init(self, w: Tensor) -> PerturbationState:
        """No learning rate seen yet."""
        return {"lr_max": w.new_zeros(())}

    def perturb(
        self, g: Tensor, at: Position, state: PerturbationState
    ) -> tuple[Tensor, PerturbationState]:
        """``w + rho_t g / |g|``."""
        lr_max = state["lr_max"].clamp(min=at.learning_rate)
        span = lr_max - self.lr_min
        share = torch.where(span > 0, (at.learning_rate - self.lr_min) / span, 1.0)
        rho_t = self.rho_min + (self.rho - self.rho_min) * share.clamp(0.0, 1.0)
        return at.ahead(g, rho_t), {"lr_max": lr_max}

    def combine(
        self, g: Tensor, g_tilde: Tensor, state: PerturbationState
    ) -> tuple[Tensor, PerturbationState]:
        """``g~ - alpha g_orth``."""
        return g_tilde - self.alpha * reject(g, g_tilde), state
