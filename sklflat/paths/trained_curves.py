"""Paths that are trained to be low."""

from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from sklearn.utils import check_random_state
from torch import Tensor
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm

from sklflat._compat import Interval, StrOptions, validate_parameter_constraints
from sklflat.exceptions import DivergenceError
from sklflat.networks import Network
from sklflat.networks.buffers import check_buffers, follow_weights
from sklflat.networks.state import State, check_same_architecture
from sklflat.paths.paths import BezierPath, LinearPath, PolygonalChain

_CONSTRAINTS: dict[str, Any] = {
    "kind": [StrOptions({"bezier", "polychain"})],
    "n_bends": [Interval(Integral, 1, None, closed="left")],
    "max_iter": [Interval(Integral, 1, None, closed="left")],
    "learning_rate": [Interval(Real, 0, None, closed="neither")],
    "batch_size": [Interval(Integral, 1, None, closed="left")],
    "tol": [Interval(Real, 0, None, closed="left")],
    "n_iter_no_change": [Interval(Integral, 1, None, closed="left")],
    "random_state": ["random_state"],
}


def fit_bend(
    network: Network,
    a: Mapping[str, Tensor],
    b: Mapping[str, Tensor],
    X: Tensor,
    y: Tensor,
    *,
    kind: str = "bezier",
    n_bends: int = 1,
    max_iter: int = 100,
    learning_rate: float = 0.003,
    batch_size: int = 128,
    tol: float = 1e-4,
    n_iter_no_change: int = 10,
    random_state: Any = None,
) -> BezierPath | PolygonalChain:
    r"""A curve between two networks along which the loss is low (Garipov et al., 2018).

    Bends :math:`\theta_k` are trained by Adam on

    .. math:: \mathbb{E}_{t \sim U(0, 1)}\, L(\theta(t))

    starting on the straight line, with a new t for every batch. The ends stay as they are. The t
    of an epoch are drawn one from each of as many equal intervals as it has batches, in random
    order, so that its mean loss is a mean along the whole path.

    Parameters that do not require a gradient stay on the straight line.

    Batch normalisation uses the statistics of the batch while the curve is trained. Those of the
    bends are mixed from the ends, so give ``batch_statistics=`` when the path is evaluated.

    Parameters
    ----------
    network : Network
        The architecture and the criterion; left as it is.
    a, b : state
        The ends.
    X : Tensor of shape (n_samples, ...)
    y : Tensor of shape (n_samples, ...)
    kind : {"bezier", "polychain"}, default="bezier"
    n_bends : int, default=1
        Of a polygonal chain; a Bezier curve has one.
    max_iter : int, default=100
        Epochs.
    learning_rate : float, default=0.003
        Of Adam; it falls linearly to a hundredth of that over `max_iter` epochs.
    batch_size : int, default=128
    tol : float, default=1e-4
    n_iter_no_change : int, default=10
        Training ends when the mean loss of an epoch was not lower than the lowest one by `tol` for
        so many epochs.
    random_state : int, RandomState instance or None, default=None

    Returns
    -------
    BezierPath or PolygonalChain
        With ``losses_``, an ndarray of the mean loss of every epoch.

    Raises
    ------
    ValueError
        If no parameter requires a gradient.
    DivergenceError
        If the loss is no longer finite.

    References
    ----------
    .. [1] T. Garipov et al., "Loss surfaces, mode connectivity, and fast ensembling of DNNs",
       NeurIPS 2018, arXiv:1802.10026.

    Examples
    --------
    The output ``v w x`` of two weights is the same at (1, 1) and (-1, -1). Between them the
    straight line leads through 0, where the loss is 1; a curve need not:

    >>> import torch
    >>> from torch import nn
    >>> from sklflat.paths.losses import path_losses
    >>> from sklflat.paths.trained_curves import fit_bend
    >>> from sklflat.networks import Network
    >>> module = nn.Sequential(nn.Linear(1, 2, bias=False), nn.Linear(2, 1, bias=False))
    >>> one, X = torch.ones(1, 2), torch.ones(8, 1)
    >>> a = {"0.weight": one.mT, "1.weight": one / 2}
    >>> b = {"0.weight": -one.mT, "1.weight": -one / 2}
    >>> network = Network(module, nn.MSELoss())
    >>> path = fit_bend(network, a, b, X, X, learning_rate=0.1, random_state=0)
    >>> bool(path_losses(network, path, [0.5], X, X).loss[0] < 1)
    True
    """
    validate_parameter_constraints(_CONSTRAINTS, locals(), "fit_bend")
    if kind == "bezier" and n_bends != 1:
        raise ValueError(f"n_bends={n_bends}: a quadratic Bezier curve has one. Use 'polychain'.")
    line = LinearPath(a, b)
    check_same_architecture(network.module, a)
    check_buffers(network.module, [a, b], network.prepare(X[:4]))
    anchors = [
        {n: torch.where(a[n] == b[n], a[n], between) for n, between in line.at(t).items()}
        for t in np.linspace(0, 1, n_bends + 2)
    ]
    path = BezierPath(*anchors) if kind == "bezier" else PolygonalChain(anchors)
    training = _Training(network, path, X, y, batch_size, check_random_state(random_state))
    training.run(max_iter, learning_rate, tol, n_iter_no_change)
    return training.trained()


class _Training:
    """The bends of a path as one matrix that is trained."""

    def __init__(
        self,
        network: Network,
        path: BezierPath | PolygonalChain,
        X: Tensor,
        y: Tensor,
        batch_size: int,
        rng: np.random.RandomState,
    ) -> None:
        self.path = path
        self.rng = rng
        # in the module's own precision, as its gradients are noisy anyway
        self.network = network.like()
        module = self.network.module
        for layer in module.modules():
            if isinstance(layer, _BatchNorm):
                layer.train()
        follow_weights(module)
        named = {n: p for n, p in module.named_parameters() if p.requires_grad}
        if not named:
            raise ValueError(
                f"No parameter of {type(module).__name__} requires a gradient, so there is no bend "
                "to train. Call requires_grad_(True) on those that may move."
            )
        self.names = list(named)
        self.non_trainable = {
            n: torch.stack([self.network.prepare(anchor[n]) for anchor in path.anchors])
            for n, p in module.named_parameters()
            if not p.requires_grad
        }
        self.shapes = [p.shape for p in named.values()]
        self.ends = torch.stack([self._vector(path.anchors[k]) for k in (0, -1)])
        bends = [self._vector(anchor) for anchor in path.anchors[1:-1]]
        self.bends = torch.stack(bends).requires_grad_(True)
        self.X, self.y = self.network.prepare(X), self.network.prepare(y)
        self.n_batches = max(1, round(len(X) / batch_size))
        self.losses: list[float] = []

    def _vector(self, state: Mapping[str, Tensor]) -> Tensor:
        return torch.cat([self.network.prepare(state[name]).flatten() for name in self.names])

    def _state(self, w: Tensor) -> State:
        """The trained parameters, by name."""
        parts = w.split([shape.numel() for shape in self.shapes])
        return {n: p.view(s) for n, p, s in zip(self.names, parts, self.shapes, strict=True)}

    def run(self, max_iter: int, learning_rate: float, tol: float, n_iter_no_change: int) -> None:
        """Train, until there is no more progress."""
        optimizer = torch.optim.Adam([self.bends], learning_rate)
        lowest, n_stuck = np.inf, 0
        for epoch in range(max_iter):
            optimizer.param_groups[0]["lr"] = learning_rate * max(0.01, 1 - epoch / max_iter)
            self.losses.append(self._epoch(optimizer))
            if not np.isfinite(self.losses[-1]):
                raise DivergenceError(
                    f"The loss along the path is {self.losses[-1]} in epoch {epoch + 1}. Lower "
                    f"learning_rate={learning_rate}, or see whether an end has values that are "
                    "not finite."
                )
            n_stuck = n_stuck + 1 if self.losses[-1] > lowest - tol else 0
            lowest = min(lowest, self.losses[-1])
            if n_stuck == n_iter_no_change:
                break

    def _epoch(self, optimizer: torch.optim.Optimizer) -> float:
        order = torch.as_tensor(self.rng.permutation(len(self.X)))
        n = self.n_batches
        ts = (self.rng.permutation(n) + self.rng.uniform(size=n)) / n
        C = self.path.coefficients(ts).to(self.ends)
        total = 0.0
        for c, rows in zip(C, order.tensor_split(n), strict=True):
            optimizer.zero_grad()
            loss = self._loss(c, rows.to(self.X.device))
            loss.backward()
            optimizer.step()
            total += float(loss.detach())
        return total / n

    def _loss(self, c: Tensor, rows: Tensor) -> Tensor:
        w = c[0] * self.ends[0] + c[-1] * self.ends[1] + c[1:-1] @ self.bends
        state = self._state(w) | {
            n: torch.tensordot(c, t, 1) for n, t in self.non_trainable.items()
        }
        z = functional_call(self.network.module, state, (self.X[rows],))
        return self.network.criterion.mean(*self.network.sums(z, self.y[rows]))

    def trained(self) -> BezierPath | PolygonalChain:
        """The path with its bends as they are now."""
        anchors = [dict(anchor) for anchor in self.path.anchors]
        for anchor, w in zip(anchors[1:-1], self.bends.detach(), strict=True):
            anchor |= {n: t.to(anchor[n], copy=True) for n, t in self._state(w).items()}
        path = (
            BezierPath(*anchors) if isinstance(self.path, BezierPath) else PolygonalChain(anchors)
        )
        path.losses_ = np.array(self.losses)
        return path
