"""The generalised Gauss-Newton matrix."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from sklflat.curvature.network_operator import (
    Linear,
    NetworkOperator,
    Views,
    differentiable_again,
    exact_arithmetic,
)
from sklflat.networks import Criterion

Metric = Callable[[Tensor], Tensor]
Push = Callable[[Views], Tensor]
Pull = Callable[[Tensor], Sequence[Tensor | None]]


class GaussNewton(NetworkOperator):
    r"""The generalised Gauss-Newton matrix of a network's mean loss.

    .. math:: G = \sum_i s_i\, J_i^\top\, \nabla_z^2 \ell(z_i, y_i)\, J_i \Big/ \sum_i s_i,
        \qquad J_i = \partial z_i / \partial w

    with the network's outputs z. It is the Hessian without the curvature of the network itself, and
    positive semidefinite if the loss is convex in the outputs [1]_.

    Of a network that ends in log-probabilities (``NLLLoss``), normalisation counts as a part of the
    loss: with the outputs as they are, the loss would be linear in them and G zero.

    The parameters are those of :class:`~sklflat.curvature.network_operator.NetworkOperator`.

    References
    ----------
    .. [1] N. N. Schraudolph, "Fast curvature matrix-vector products for second-order gradient
       descent", Neural Computation 14, 2002.

    Examples
    --------
    >>> import torch
    >>> from sklflat.curvature import GaussNewton
    >>> from sklflat.networks import Network
    >>> network = Network(torch.nn.Linear(2, 1, bias=False), torch.nn.MSELoss())
    >>> GaussNewton(network, torch.tensor([[1.0, 3.0]]), torch.zeros(1, 1)).dense()
    tensor([[ 2.,  6.],
            [ 6., 18.]])
    """

    def _linearise(self, x: Tensor, y: Tensor, s: Tensor | None) -> Linear:
        z, push, pull = self.jacobian(x)
        metric = self._metric(z, y, s)
        return lambda views: pull(metric(push(views)))

    def jacobian(self, x: Tensor) -> tuple[Tensor, Push, Pull]:
        """The outputs z (n, ...) of one batch, and products with J and its transpose.

        J v is of the shape of z, for tensors v of the parameters' shapes; J'u the other way round.
        """
        with exact_arithmetic:
            z = self._run(self._leaves, x)
            # J v as the derivative of J'u with respect to u, which it is linear in
            u = torch.zeros_like(z, requires_grad=True)
            back = torch.autograd.grad(z, self._leaves, u, create_graph=True, allow_unused=True)
        live = differentiable_again(back)

        def push(views: Views) -> Tensor:
            v = [views[i].to(b.dtype) for i, b in live.items()]
            return torch.autograd.grad(list(live.values()), u, v, retain_graph=True)[0]

        def pull(t: Tensor) -> Sequence[Tensor | None]:
            return torch.autograd.grad(z, self._leaves, t, retain_graph=True, allow_unused=True)

        return z.detach(), push, pull

    derivative = "derivatives of the outputs"

    def derivative_along(self, v: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """The derivative J v of the outputs, flat, and the outputs as a function of w (p,)."""
        X = self.data[0]
        _, push, _ = self.jacobian(self.network.prepare(X))

        def outputs(w: Tensor) -> Tensor:
            self._place_at(w)
            with torch.no_grad():
                return self.outputs_at(X).flatten()

        return push(self.vector.views(v)).detach().flatten(), outputs

    def _metric(self, z: Tensor, y: Tensor, s: Tensor | None) -> Metric:
        """The map on tangents of the outputs, of the shape of z, that stands between J and J'."""
        return loss_curvature(self.network.criterion, z, y, s)


def loss_curvature(criterion: Criterion, z: Tensor, y: Tensor, s: Tensor | None) -> Metric:
    """Products with the Hessian of the summed losses in the outputs z."""
    z = z.detach().requires_grad_()
    losses, _ = criterion.of_logits().terms(z, y)
    total = (losses if s is None else s.to(losses.dtype) * losses).sum()
    (gradient,) = torch.autograd.grad(total, z, create_graph=True)

    def metric(t: Tensor) -> Tensor:
        if not gradient.requires_grad:
            return torch.zeros_like(t)
        return torch.autograd.grad(gradient, z, t, retain_graph=True)[0]

    return metric
