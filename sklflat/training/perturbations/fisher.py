"""Fisher SAM: Kim et al., ICML 2022 (arXiv:2206.04920)."""

from numbers import Real

import torch
from torch import Tensor

from sklflat._compat import Interval, StrOptions
from sklflat.training.perturbations.base import Perturbation, PerturbationState, Position, unit


class FisherSAM(Perturbation):
    """SAM in an ellipsoid given by the diagonal Fisher information f.

    ``w~ = w + eps`` with ``eps = rho F g / sqrt(g . F g)``,  ``d = g~``, and the diagonal
    ``F = 1 / (1 + eta f)``. f is

    - ``"batch"``: the squared gradient of the batch. This is what the paper's practical form
      and every port known to us use. It *degenerates to SAM*: gradients of a batch are small,
      so eta f is nearly zero and F nearly the identity;
    - ``"per_sample"``: the mean of squared per-sample gradients (the empirical Fisher);
    - ``"model"``: the same with labels drawn from the model's own predictions (the Fisher).

    How far the perturbation departs from SAM's is reported as ``cosine``, the cosine between
    eps and g in the last perturbed step.

    Parameters
    ----------
    rho : float, default=0.1
        Size of the ellipsoid (the paper's gamma): ``eps . (1 + eta f) eps = rho^2``.
    eta : float, default=1.0
        Weight of the Fisher information; 0 is SAM. Public ports use 0.1 to 1.
    fisher : {"batch", "per_sample", "model"}, default="batch"
        Which f. The last two compute one gradient per sample in addition, and need a module
        that :func:`torch.func.vmap` can vectorise (no batch normalisation).

    References
    ----------
    Kim, Li, Hu, Hospedales: Fisher SAM: Information Geometry and Sharpness Aware
    Minimisation. ICML 2022.

    Examples
    --------
    >>> import torch
    >>> from sklflat.training.perturbations import FisherSAM, Position
    >>> w = torch.zeros(2)
    >>> at = Position(w, is_weight=w.bool(), learning_rate=0.1, t=0)
    >>> g = torch.tensor([1.0, 2.0])
    >>> w_tilde, state = FisherSAM(rho=1.0, eta=1.0).perturb(g, at, {})
    >>> w_tilde  # f = (1, 4), F g = (1/2, 2/5), g . F g = 1.3
    tensor([0.4385, 0.3508])
    >>> bool(state["cosine"] < 1)
    True
    """

    _parameter_constraints = {
        **Perturbation._parameter_constraints,
        "eta": [Interval(Real, 0, None, closed="left")],
        "fisher": [StrOptions({"batch", "per_sample", "model"})],
    }

    def __init__(self, rho: float = 0.1, eta: float = 1.0, fisher: str = "batch") -> None:
        self.rho = rho
        self.eta = eta
        self.fisher = fisher

    @property
    def needs_samples(self) -> bool:
        """Whether per-sample gradients are read."""
        return self.fisher != "batch"

    def init(self, w: Tensor) -> PerturbationState:
        """No step taken yet."""
        return {"cosine": w.new_full((), torch.nan)}

    def _information(self, g: Tensor, at: Position) -> Tensor:
        if self.fisher == "batch":
            return g.square()
        labels = {"per_sample": "data", "model": "model"}[self.fisher]
        if at.squared_gradients is None:
            raise ValueError(
                f"FisherSAM(fisher={self.fisher!r}) needs per-sample gradients, which are not "
                "at hand here. Pass squared_gradients= to PerturbedOptimizer.step, or use "
                "fisher='batch'."
            )
        return at.squared_gradients(labels)

    def perturb(
        self, g: Tensor, at: Position, state: PerturbationState
    ) -> tuple[Tensor, PerturbationState]:
        """``w + rho F g / sqrt(g . F g)``."""
        u = unit(g)  # the formula does not depend on |g| beyond f, and g . F g may underflow
        Fu = u / (1 + self.eta * self._information(g, at))
        eps = Fu * (self.rho / torch.dot(u, Fu).clamp(min=torch.finfo(g.dtype).tiny).sqrt())
        return at.w + eps, {"cosine": torch.dot(unit(eps), u)}
