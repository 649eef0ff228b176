"""The Hessian of the loss."""

from collections.abc import Sequence

import torch
from torch import Tensor

from sklflat.curvature.network_operator import Linear, NetworkOperator, Views, differentiable_again


class Hessian(NetworkOperator):
    r"""The Hessian :math:`\nabla^2 L(w)` of a network's mean loss.

    A product is a derivative of the gradient's graph [1]_,

    .. math:: H v = \nabla_w \left( \nabla_w L(w) \cdot v \right),

    and that graph is kept between products, so each costs about two gradients and not four.

    The parameters are those of :class:`~sklflat.curvature.network_operator.NetworkOperator`.

    References
    ----------
    .. [1] B. A. Pearlmutter, "Fast exact multiplication by the Hessian", Neural Computation 6,
       1994.

    Examples
    --------
    For ``(w_1 x_1 + w_2 x_2 - y)^2`` it is ``2 x x'``:

    >>> import torch
    >>> from sklflat.curvature import Hessian
    >>> from sklflat.networks import Network
    >>> network = Network(torch.nn.Linear(2, 1, bias=False), torch.nn.MSELoss())
    >>> Hessian(network, torch.tensor([[1.0, 3.0]]), torch.zeros(1, 1)).dense()
    tensor([[ 2.,  6.],
            [ 6., 18.]])
    """

    def _linearise(self, x: Tensor, y: Tensor, s: Tensor | None) -> Linear:
        loss, _ = self.network.sums(self._run(self._leaves, x), y, s)
        gradient = torch.autograd.grad(loss, self._leaves, create_graph=True, allow_unused=True)
        live = differentiable_again(gradient)
        outputs = list(live.values())

        def product(views: Views) -> Sequence[Tensor | None]:
            if not live:
                return [None] * len(views)
            v = [views[i].to(g.dtype) for i, g in live.items()]
            return torch.autograd.grad(
                outputs, self._leaves, v, retain_graph=True, allow_unused=True
            )

        return product
