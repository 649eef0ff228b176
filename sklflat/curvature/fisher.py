"""The Fisher information matrix, exact, sampled or empirical; and the gradients' covariance."""

from typing import Any, Literal

import torch
from torch import Tensor

from sklflat.curvature.gauss_newton import GaussNewton, Metric
from sklflat.networks.likelihood import drawn_scores, likelihood_of


class Fisher(GaussNewton):
    r"""The Fisher information of the model that a network and its loss describe.

    .. math:: F = \sum_i s_i\, \mathrm E_{y \sim p(y | z_i)}\left[ g_i(y) g_i(y)^\top \right]
        \Big/ \sum_i s_i, \qquad g_i(y) = \nabla_w \ell(z_i, y)

    For cross-entropy, logistic, squared and Poisson losses the expectation is known in closed form,
    and F is the generalised Gauss-Newton matrix. Class weights, ignored labels and label smoothing
    are no part of the model: they weight a sample as its own label says while others are drawn.
    The *empirical* Fisher uses the labels of the data in place of the model's; it is neither, even
    at a minimum (Kunstner et al. 2019 [1]_).

    Parameters
    ----------
    *args, **options
        As of :class:`~sklflat.curvature.network_operator.NetworkOperator`.
    kind : {"exact", "monte_carlo", "empirical"}, default="exact"
    n_draws : int, default=1
        Labels drawn for each sample by ``kind="monte_carlo"``.
    seed : int, default=0
        Of these labels, which are the same in every product.

    References
    ----------
    .. [1] F. Kunstner, P. Hennig, L. Balles, "Limitations of the empirical Fisher approximation for
       natural gradient descent", NeurIPS 2019. https://arxiv.org/abs/1905.12558
    """

    def __init__(
        self,
        *args: Any,
        kind: Literal["exact", "monte_carlo", "empirical"] = "exact",
        n_draws: int = 1,
        seed: int = 0,
        **options: Any,
    ) -> None:
        if kind not in ("exact", "monte_carlo", "empirical"):
            raise ValueError(f"kind must be 'exact', 'monte_carlo' or 'empirical', got {kind!r}.")
        self.kind = kind
        self.n_draws = n_draws
        self.seed = seed
        network = args[0]
        if kind != "empirical" and likelihood_of(network.criterion.module) is None:
            raise TypeError(
                f"{type(network.criterion.module).__name__} is not known as the negative "
                f"log-likelihood of a model, so kind={kind!r} has no meaning. Use "
                "kind='empirical' or the Gauss-Newton matrix."
            )
        super().__init__(*args, **options)

    def _options(self) -> dict[str, Any]:
        return {"kind": self.kind, "n_draws": self.n_draws, "seed": self.seed}

    def _metric(self, z: Tensor, y: Tensor, s: Tensor | None) -> Metric:
        if self.kind == "exact":
            return super()._metric(z, y, s)
        if self.kind == "empirical":
            return _outer_products([output_gradients(self, z, y, s)])
        # one stream a batch, known again by its data, so that every product sees the same labels
        fingerprint = int(abs(float(z.double().sum())) * 1e6) % 2**31
        generator = torch.Generator(z.device).manual_seed(self.seed + fingerprint)
        criterion = self.network.criterion.module
        weight = torch.ones(len(z), dtype=z.dtype, device=z.device) if s is None else s.to(z.dtype)
        by_sample = weight.view(-1, *(1,) * (z.ndim - 1))
        draws = [drawn_scores(criterion, z, y, generator) for _ in range(self.n_draws)]
        return _outer_products([(by_sample * g, weight) for g in draws])


class GradientCovariance(Fisher):
    r"""The covariance of single samples' gradients: the first-order proxy of the Hessian.

    .. math:: C = \sum_i s_i\, (g_i - \bar g)(g_i - \bar g)^\top \Big/ \sum_i s_i

    with :math:`g_i` at the labels of the data. It is sold as a proxy because it needs no second
    derivative; :func:`~sklflat.curvature.subspace_overlap` says how good one it is.

    The parameters are those of :class:`~sklflat.curvature.network_operator.NetworkOperator`.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, kind="empirical", **options)

    def _options(self) -> dict[str, Any]:
        return {}

    def _product(self, v: Tensor) -> Tensor:
        g = self.gradient
        factor = 1 / self._weight if self.network.criterion.is_sum else 1.0
        return super()._product(v) - factor * g * (g @ v)

    def _products(self, V: Tensor) -> Tensor:
        return torch.stack([self._product(v) for v in V])


def output_gradients(
    operator: GaussNewton, z: Tensor, y: Tensor, s: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Derivatives of the weighted losses in the outputs, shaped as z, and the weights (n,)."""
    z = z.detach().requires_grad_()
    losses, weights = operator.network.terms(z, y, s)
    (gradient,) = torch.autograd.grad(losses.sum(), z)
    return gradient, weights.detach()


def _outer_products(draws: list[tuple[Tensor, Tensor]]) -> Metric:
    """The mean over draws of the maps ``t_i -> g_i (g_i . t_i) / s_i``."""
    factors = []
    for gradient, weights in draws:
        g = gradient.flatten(1) if gradient.ndim > 1 else gradient[:, None]
        inverse = torch.where(weights > 0, 1 / weights.clamp_min(torch.finfo(g.dtype).tiny), 0)
        factors.append((g, inverse / len(draws)))

    def metric(t: Tensor) -> Tensor:
        flat = t.reshape(len(t), -1)
        parts = [g * ((g * flat).sum(1) * inverse)[:, None] for g, inverse in factors]
        return torch.stack(parts).sum(0).reshape(t.shape)

    return metric
