"""LookSAM: Liu et al., CVPR 2022 (arXiv:2203.02714)."""

from numbers import Integral, Real

import torch
from torch import Tensor

from sklflat._compat import Interval
from sklflat.training.perturbations.base import (
    Perturbation,
    PerturbationState,
    Position,
    norm,
    reject,
)


class LookSAM(Perturbation):
    """SAM every k-th step; the direction found there is reused in between.

    Steps with ``t % k == 0`` are SAM's and keep the direction of ``g_v``, the component of g~
    orthogonal to g. The k - 1 steps that follow need one gradient each:
    ``d = g + alpha (|g| / |g_v|) g_v``. Over S steps this takes ``S + ceil(S / k)``
    gradients. The decomposition is over all parameters at once (algorithm 1 of the paper).

    Parameters
    ----------
    rho : float, default=0.05
        As in SAM.
    k : int, default=5
        Steps per SAM step; 1 is SAM.
    alpha : float, default=0.7
        Weight of the reused direction.

    References
    ----------
    Liu, Mai, Chen, Hsieh, You: Towards Efficient and Scalable Sharpness-Aware Minimization.
    CVPR 2022.

    Examples
    --------
    >>> import torch
    >>> from sklflat.training.perturbations import LookSAM
    >>> look = LookSAM(k=5, alpha=0.5)
    >>> [look.ascends(t) for t in range(6)]
    [True, False, False, False, False, True]
    >>> g = torch.tensor([2.0, 0.0])
    >>> d, state = look.combine(g, torch.tensor([5.0, 3.0]), {})
    >>> look.reuse(g, state)  # g_v = (0, 3)
    tensor([2., 1.])
    """

    _parameter_constraints = {
        **Perturbation._parameter_constraints,
        "k": [Interval(Integral, 1, None, closed="left")],
        "alpha": [Interval(Real, 0, None, closed="left")],
    }

    def __init__(self, rho: float = 0.05, k: int = 5, alpha: float = 0.7) -> None:
        self.rho = rho
        self.k = k
        self.alpha = alpha

    def init(self, w: Tensor) -> PerturbationState:
        """No direction to reuse yet."""
        return {"u": torch.zeros_like(w)}

    def ascends(self, t: int) -> bool:
        """True every k-th step."""
        return t % self.k == 0

    def perturb(
        self, g: Tensor, at: Position, state: PerturbationState
    ) -> tuple[Tensor, PerturbationState]:
        """``w + rho g / |g|``."""
        return at.ahead(g, self.rho), state

    def combine(
        self, g: Tensor, g_tilde: Tensor, state: PerturbationState
    ) -> tuple[Tensor, PerturbationState]:
        """The direction g~; keeps ``u = g_v / |g_v|``."""
        g_v = reject(g_tilde, g)
        # where g~ is along g, the rest is rounding error and has no direction to reuse
        length = norm(g_v)
        is_noise = length < 8 * torch.finfo(g.dtype).eps * torch.linalg.vector_norm(g_tilde)
        return g_tilde, {"u": g_v.div_(length.masked_fill_(is_noise, torch.inf))}

    def reuse(self, g: Tensor, state: PerturbationState) -> Tensor:
        """``g + alpha (|g| / |g_v|) g_v``, which is g where g_v vanishes."""
        return torch.addcmul(g, state["u"], norm(g).mul_(self.alpha))
