"""Losses and errors at all points of a path."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sklflat.networks import Network
from sklflat.networks.batch_statistics import recompute_batch_statistics
from sklflat.networks.buffers import check_buffers, write_mixed
from sklflat.networks.criterion import Criterion
from sklflat.networks.likelihood import likelihood_of
from sklflat.networks.network import copy_module
from sklflat.networks.state import check_same_architecture
from sklflat.paths.paths import Path

#: rows on which it is seen whether outputs depend on a buffer
_N_CHECKED = 4


@dataclass(frozen=True)
class PathLosses:
    """Losses and errors at T points.

    Attributes
    ----------
    ts : ndarray of shape (T,), or (T, 2) on a plane
    loss : ndarray of shape (T,)
        NaN where it is not finite.
    error : ndarray of shape (T,) or None
        Share of wrong labels, or the mean squared error of real targets; None if what outputs mean
        is not known. NaN where outputs are not finite.
    outputs : ndarray of shape (T, n_samples, ...) or None
        Raw, if they were asked for.
    """

    ts: NDArray
    loss: NDArray
    error: NDArray | None
    outputs: NDArray | None = None

    def __len__(self) -> int:
        return len(self.ts)

    @property
    def non_finite(self) -> NDArray:
        """The points at which the loss is not finite."""
        return self.ts[np.isnan(self.loss)]


class PathEvaluator:
    """Losses on one data set at points of one path, which can be asked for again and again.

    Each point is a forward pass over all rows, in the network's precision.

    Parameters
    ----------
    network : Network
        The architecture and the criterion; its own parameters have no part in it.
    path : Path
    X : Tensor of shape (n_samples, ...)
    y : Tensor of shape (n_samples, ...)
        Targets as the criterion wants them.
    sample_weight : Tensor of shape (n_samples,), default=None
    batch_statistics : Tensor of shape (n, ...), default=None
        Inputs from which the statistics of batch normalisation are computed anew at every point;
        None mixes those of the anchors.

    Raises
    ------
    ValueError
        If the path is one of other networks.
    UnsupportedNetworkError
        If a buffer differs between anchors of which nothing is known between them.

    Examples
    --------
    A linear network's loss is a parabola along a line:

    >>> import torch
    >>> from sklflat.paths.losses import PathEvaluator
    >>> from sklflat.paths.paths import LinearPath
    >>> from sklflat.networks import Network
    >>> network = Network(torch.nn.Linear(1, 1, bias=False), torch.nn.MSELoss())
    >>> path = LinearPath({"weight": torch.tensor([[1.0]])}, {"weight": torch.tensor([[-1.0]])})
    >>> PathEvaluator(network, path, torch.ones(3, 1), torch.zeros(3, 1))([0, 0.5, 0.75]).loss
    array([1.  , 0.  , 0.25])
    """

    @torch.no_grad()
    def __init__(
        self,
        network: Network,
        path: Path,
        X: Tensor,
        y: Tensor,
        *,
        sample_weight: Tensor | None = None,
        batch_statistics: Tensor | None = None,
    ) -> None:
        check_same_architecture(network.module, path.anchors[0])
        network.forward(X[:1])  # triggers the fallback to the module's own precision
        self.network = network
        self.path = path
        check_buffers(network.module, path.anchors, network.prepare(X[:_N_CHECKED]))
        self._anchors = [{n: network.prepare(t) for n, t in a.items()} for a in path.anchors]
        self._batches = list(network.pairs(network.prepare(X), y, sample_weight))
        self._statistics = (
            []
            if batch_statistics is None
            else [network.prepare(x) for x in network.batches(batch_statistics)]
        )
        self._module = copy_module(network.module)

    @torch.no_grad()
    def __call__(self, ts: Any, *, outputs: bool = False) -> PathLosses:
        """Losses and errors at points (T,), or (T, 2) of a plane; raw outputs too, if asked for."""
        points = points_of(self.path, ts)
        return losses_of(self.network, map(self._at, points), points, self._batches, outputs)

    def _at(self, t: Any) -> nn.Module:
        """The network at a point, always the same module."""
        write_mixed(self._module, self._anchors, self.path.coefficients(t))
        if self._statistics:
            recompute_batch_statistics(self._module, self._statistics)
        return self._module


class MeanLosses:
    """Mean loss and mean error of one network, from batches of its outputs.

    Examples
    --------
    >>> import torch
    >>> from sklflat.networks.criterion import Criterion
    >>> from sklflat.paths.losses import MeanLosses
    >>> mean = MeanLosses(Criterion(torch.nn.MSELoss()))
    >>> mean.add(torch.tensor([[0.0], [2.0]]), torch.ones(2, 1))
    >>> mean.add(torch.tensor([[3.0]]), torch.ones(1, 1))
    >>> mean.loss(), mean.error()
    (2.0, 2.0)
    """

    def __init__(self, criterion: Criterion) -> None:
        self.criterion = criterion
        # sums of losses and of their weights; of errors and of theirs
        self._sums = torch.zeros(4, dtype=torch.float64)
        self._knows_errors = True

    def add(self, z: Tensor, y: Tensor, sample_weight: Tensor | None = None) -> None:
        """One batch of outputs (n, ...) and targets (n, ...), with weights (n,)."""
        parts: tuple[Tensor, ...] = self.criterion.terms(z, y)
        errors = errors_of(self.criterion, z, y)
        if errors is None:
            self._knows_errors = False
        else:
            parts = (*parts, *errors)
        if sample_weight is not None:
            parts = tuple(sample_weight * part for part in parts)
        self._sums[: len(parts)] += torch.stack([part.sum().double() for part in parts]).cpu()

    def loss(self) -> float:
        """The mean loss; NaN where it is not finite."""
        return _finite(self.criterion.mean(self._sums[0], self._sums[1]))

    def error(self) -> float | None:
        """The mean error; NaN where outputs are not finite."""
        return _finite(self._sums[2] / self._sums[3]) if self._knows_errors else None


def errors_of(criterion: Criterion, z: Tensor, y: Tensor) -> tuple[Tensor, Tensor] | None:
    """Terms of the mean error (n,) and of its weight (n,); None if what outputs mean is not known.

    Whether the highest output is not the label's; the share of labels on the wrong side of zero;
    or the mean squared error of real targets. Ignored labels have a weight of 0.
    """
    kind = likelihood_of(criterion.module)
    many = z.ndim > 1 and z.shape[1] > 1
    if kind in ("softmax", "probabilities") or (
        kind is None and many and not y.is_floating_point() and y.ndim == z.ndim - 1
    ):
        if y.is_floating_point():  # probabilities of classes
            y = y.argmax(1)
        errors, counted = _misclassified(criterion.module, z, y)
    elif kind in ("logistic", "squared"):
        y = y.reshape(z.shape).to(z.dtype)
        wrong = (z > 0) != (y > 0.5) if kind == "logistic" else (z - y).square()
        errors, counted = _mean(wrong.to(z.dtype)), torch.ones_like(_mean(z))
    else:
        return None
    return torch.where(_mean(z).isfinite(), errors, torch.nan), counted


def _misclassified(criterion: nn.Module, z: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    counted = (y != getattr(criterion, "ignore_index", -100)).to(z.dtype)
    wrong = (z.argmax(1) != y).to(z.dtype) * counted
    return _mean(wrong), _mean(counted)


def _mean(values: Tensor) -> Tensor:
    return values.flatten(1).mean(1) if values.ndim > 1 else values


def _finite(value: Tensor) -> float:
    return float(value) if math.isfinite(value) else math.nan


def points_of(path: Path, ts: Any) -> NDArray:
    """Points of a path (T,), or (T, 2) of a plane; a ValueError if they are none."""
    points = np.asarray(ts, dtype=float)
    if points.ndim != 1 + len(path.point_shape) or len(points) == 0:
        raise ValueError(f"ts must be an array of points, got shape {points.shape}.")
    return points


@torch.no_grad()
def losses_of(
    network: Network,
    modules: Iterable[nn.Module],
    points: NDArray,
    batches: Sequence[tuple[Tensor, ...]],
    outputs: bool = False,
) -> PathLosses:
    """Losses and errors by a network's criterion of modules, one for each point.

    Batches are from :meth:`Network.pairs`, with inputs in the network's precision.
    """
    means, kept = [], []
    for module in modules:
        mean = MeanLosses(network.criterion)
        rows = []
        for x, *targets in batches:
            z = module(x.clone())  # it may work in place
            mean.add(z, *targets)
            if outputs:
                rows.append(z.double().cpu())
        means.append((mean.loss(), mean.error()))
        kept += [torch.cat(rows)] if outputs else []
    loss, error = zip(*means, strict=True)
    return PathLosses(
        points,
        np.array(loss),
        None if error[0] is None else np.array(error),
        torch.stack(kept).numpy() if outputs else None,
    )


def path_losses(
    network: Network,
    path: Path,
    ts: Any,
    X: Tensor,
    y: Tensor,
    *,
    sample_weight: Tensor | None = None,
    batch_statistics: Tensor | None = None,
    outputs: bool = False,
) -> PathLosses:
    """Losses and errors at points of a path, by one call of a :class:`PathEvaluator`.

    Parameters
    ----------
    network : Network
    path : LinearPath, BezierPath or PolygonalChain
    ts : array-like of shape (n_points,)
        Places on the path, from 0 to 1.
    X : Tensor of shape (n_samples, ...)
    y : Tensor of shape (n_samples, ...)
    sample_weight : Tensor of shape (n_samples,), default=None
    batch_statistics : Tensor of shape (n, ...), default=None
        Rows on which statistics of batch normalisation are computed anew at every point.
    outputs : bool, default=False
        Whether outputs are kept.

    Returns
    -------
    losses : PathLosses
    """
    evaluate = PathEvaluator(
        network, path, X, y, sample_weight=sample_weight, batch_statistics=batch_statistics
    )
    return evaluate(ts, outputs=outputs)
