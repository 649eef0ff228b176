"""Losses and errors at all points of a path."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sklflat.networks import Network
from sklflat.networks.batch_statistics import recompute_batch_statistics
from sklflat.networks.network import copy_module
from sklflat.networks.state import State, check_same_architecture, write_state
from sklflat.paths.batched_evaluation import Anchors, StackedRuns
from sklflat.paths.first_affine import FirstOutputs
from sklflat.paths.mean_losses import Tally
from sklflat.paths.paths import Path

#: bytes for outputs of the first layers at the anchors; more rows are gone through in parts
_KEPT_BYTES = 2**28
#: rows times parameters that are vectorised together: with more, only arithmetic counts
_VECTORISED = 2**24
#: rows on which shortcuts are compared
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

    Affine layers that read the data themselves are computed at the anchors only
    (:class:`~sklflat.paths.first_affine.FirstAffine`); points of small networks are
    vectorised. Results are in the network's precision.

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
        network.forward(X[:_N_CHECKED])  # settles its precision
        self.network = network
        self.path = path
        self.anchors = Anchors(
            [{n: network.prepare(t) for n, t in a.items()} for a in path.anchors]
        )
        self._reference = batch_statistics
        X = network.prepare(X)
        self._batches = list(network.pairs(X, y, sample_weight))
        module = copy_module(network.module).requires_grad_(False)
        spread = torch.linspace(0, len(X) - 1, min(_N_CHECKED, len(X))).round().long()
        self._runs = StackedRuns(module, self.anchors, X[spread])
        self._kept: list[FirstOutputs | None] = []

    @torch.no_grad()
    def __call__(self, ts: Any, *, outputs: bool = False) -> PathLosses:
        """Losses and errors at points (T,), or (T, 2) of a plane; raw outputs too, if asked for."""
        points = np.asarray(ts, dtype=float)
        if points.ndim != 1 + len(self.path.point_shape) or len(points) == 0:
            raise ValueError(f"ts must be an array of points, got shape {points.shape}.")
        C = self.path.coefficients(points).to(self.network.device, self.network.dtype)
        statistics = self._batch_statistics(C)
        tally = Tally(self.network, len(C))
        rows: list[list[Tensor]] = []
        for batches, kept in self._parts():
            rows += [[] for _ in batches]
            for at in torch.arange(len(C)).split(self._n_together()):
                states = self.anchors.states(C[at])
                states |= {name: values[at] for name, values in statistics.items()}
                for i, ((x, *targets), before) in enumerate(zip(batches, kept, strict=True)):
                    z = self._runs(states, C[at], x, before)
                    tally.add(at, z, *targets)
                    if outputs:
                        rows[i - len(batches)].append(z.double().cpu())
        raw = torch.cat([torch.cat(row) for row in rows], 1).numpy() if outputs else None
        return PathLosses(points, tally.loss(), tally.error(), raw)

    def _parts(self) -> Iterator[tuple[list[tuple[Tensor, ...]], list[FirstOutputs | None]]]:
        """Batches, with what of them is computed once for all points; kept, if there is room."""
        if self._kept:
            yield self._batches, self._kept
            return
        part: list[tuple[Tensor, ...]] = []
        kept: list[FirstOutputs | None] = []
        for batch in self._batches:
            part.append(batch)
            kept.append(self._runs.before(batch[0]))
            if sum(before.nbytes for before in kept if before) > _KEPT_BYTES:
                yield part, kept
                part, kept = [], []
        if len(part) == len(self._batches):
            self._kept = kept
        if part:
            yield part, kept

    def _n_together(self) -> int:
        p = sum(t.numel() for t in self.anchors[0].values())
        return max(1, _VECTORISED // (p * max(len(batch[0]) for batch in self._batches)))

    def _batch_statistics(self, C: Tensor) -> State:
        """Buffers (T, ...) that are not those of the anchors."""
        if self._reference is None:
            return {}
        twin = copy_module(self._runs.module)
        rows: list[State] = []
        for c in C:
            write_state(twin, {n: t[0] for n, t in self.anchors.states(c[None]).items()})
            inputs = map(self.network.prepare, self.network.batches(self._reference))
            if not recompute_batch_statistics(twin, inputs):
                return {}
            rows.append({name: b.clone() for name, b in twin.named_buffers()})
        return {name: torch.stack([row[name] for row in rows]) for name in rows[0]}


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
    """Losses and errors at points of a path: see :class:`PathEvaluator`, which this calls once."""
    evaluate = PathEvaluator(
        network, path, X, y, sample_weight=sample_weight, batch_statistics=batch_statistics
    )
    return evaluate(ts, outputs=outputs)
