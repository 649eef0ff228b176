"""REPAIR: networks between two others get back the variance that their units have lost."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sklflat.exceptions import ConnectivityWarning, UnsupportedNetworkError, warn
from sklflat.networks import Network
from sklflat.networks.batch_statistics import recompute_batch_statistics, tracking_layers
from sklflat.networks.buffers import check_buffers, write_mixed
from sklflat.networks.hooks import temporary_hooks
from sklflat.networks.moments import RunningMoments
from sklflat.networks.network import copy_module
from sklflat.networks.same_outputs import same_outputs
from sklflat.networks.state import State, read_state, write_state
from sklflat.paths.losses import PathLosses, losses_of, points_of
from sklflat.paths.paths import Path
from sklflat.paths.repair.affine_layers import affine_layers
from sklflat.paths.repair.hidden_layers import hidden_layers
from sklflat.paths.repair.moment_corrections import (
    Moments,
    channels,
    correction,
    fuse,
    mixed,
    rescaled,
    wrap,
)

#: scale and shift of a layer's channels, and how many axes come after these
Correction = tuple[Tensor, Tensor, int]

#: rows on which a repaired network is compared with what it should do
_N_CHECKED = 4


def repaired(
    network: Network, path: Path, t: Any, X: Tensor, *, batch_size: int | None = None
) -> nn.Module:
    r"""The network at a point of a path, its hidden channels rescaled.

    Halfway between two aligned networks activations have less variance than at either: where
    units agree in part, what they do not agree in averages out. REPAIR [1]_ gives each channel of
    every hidden affine layer the mean and the standard deviation that the ends suggest,

    .. math:: \mu = \sum_k c_k(t) \mu_k, \qquad \sigma = \sum_k c_k(t) \sigma_k

    with those :math:`\mu_k, \sigma_k` of the path's anchors, layer after layer, so that each is
    corrected for what its predecessors now do. The correction becomes part of weights and biases;
    where these are shared, computed or read elsewhere, layers are wrapped. Output layers are left
    as they are, and so are layers that do not run exactly once at each anchor and at the point, and
    a channel that is constant.

    Batch normalisation sets means and deviations itself. So layers whose output is read by it and
    nothing else are left as they are, too; its running statistics are computed anew on X, with the
    layers before it corrected.

    Parameters
    ----------
    network : Network
        The architecture.
    path : Path
    t : float
        The point.
    X : Tensor of shape (n_samples, ...)
        Data on which moments are taken: some thousand rows are enough.
    batch_size : int, default=None
        Rows that are in flight at once, at most; None is all of them. The result is the same for
        every size.

    Returns
    -------
    torch.nn.Module
        A new one, in evaluation mode.

    Raises
    ------
    UnsupportedNetworkError
        If the network does not do what its corrected layers say, as where a fused operation reads
        their weights, or if it depends on the rows which layers run.

    References
    ----------
    .. [1] K. Jordan et al., "REPAIR: REnormalizing Permuted Activations for Interpolation Repair",
       ICLR 2023. https://arxiv.org/abs/2211.08403

    Examples
    --------
    Two opposite units cancel halfway; nothing can be scaled there, and nothing is:

    >>> import torch
    >>> from sklflat.paths.paths import LinearPath
    >>> from sklflat.paths.repair.repair import repaired
    >>> from sklflat.networks.state import read_state
    >>> from sklflat.networks import MLP, Network
    >>> network = Network(MLP(1, 1, hidden_layer_sizes=(1,)), torch.nn.MSELoss())
    >>> a = read_state(network.module)
    >>> b = {name: -tensor for name, tensor in a.items()}
    >>> module = repaired(network, LinearPath(a, b), 0.5, torch.randn(9, 1))
    >>> module.hidden.linear_0.weight.item()
    0.0
    """
    return Repair(network, path, X, batch_size=batch_size)(t)


def repaired_losses(
    network: Network,
    path: Path,
    ts: Any,
    X_moments: Tensor,
    X: Tensor,
    y: Tensor,
    *,
    sample_weight: Tensor | None = None,
    batch_size: int | None = None,
) -> PathLosses:
    """Losses and errors of :func:`repaired` networks at points of a path.

    Parameters
    ----------
    network : Network
    path : Path
    ts : array-like of shape (T,)
    X_moments : Tensor of shape (n, ...)
        Data on which moments are taken.
    X, y : Tensor of shape (n_samples, ...)
    sample_weight : Tensor of shape (n_samples,), default=None
    batch_size : int, default=None
        As in :func:`repaired`.

    Returns
    -------
    PathLosses
    """
    repair = Repair(network, path, X_moments, batch_size=batch_size)
    return repair.losses(ts, X, y, sample_weight)


class Repair:
    """Networks at points of one path, repaired: see :func:`repaired`.

    Moments at the anchors are taken once, and what was found at a point is remembered as the scales
    and shifts of its layers (and the statistics of batch normalisation), so that a point costs
    passes over X only when it is asked for the first time.

    Parameters
    ----------
    network : Network
    path : Path
    X : Tensor of shape (n_samples, ...)
    batch_size : int, default=None

    Attributes
    ----------
    not_repaired : tuple of str
        Names of parameters with two or more axes whose outputs are not rescaled: see
        :func:`~sklflat.paths.repair.affine_layers.affine_layers`.

    Warns
    -----
    ConnectivityWarning
        If there are some.

    Examples
    --------
    Halfway between weights 1 and -3 on data 0, 1, 2 a unit has the deviation of weight 1, but its
    ends suggest that of weight 2:

    >>> import torch
    >>> from sklflat.paths.paths import LinearPath
    >>> from sklflat.paths.repair.repair import Repair
    >>> from sklflat.networks import Network
    >>> module = torch.nn.Sequential(*(torch.nn.Linear(1, 1, bias=False) for _ in range(2)))
    >>> a, b = ({"0.weight": w, "1.weight": w} for w in torch.tensor([[[1.0]], [[-3.0]]]))
    >>> X = torch.arange(3.0)[:, None]
    >>> repair = Repair(Network(module, torch.nn.MSELoss()), LinearPath(a, b), X)
    >>> [p.item() for p in repair(0.5)[0].parameters()]
    [-2.0, 1.0]
    """

    def __init__(
        self, network: Network, path: Path, X: Tensor, *, batch_size: int | None = None
    ) -> None:
        if batch_size is not None and batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}.")
        self.network = network
        self.path = path
        self._batches = network.prepare(X).split(batch_size or len(X))
        check_buffers(network.module, path.anchors, self._batches[0][:_N_CHECKED])
        self._scratch = copy_module(network.module)
        first = self._plain(path.anchors[0])
        self._axes, others = affine_layers(first, self._batches[0][:_N_CHECKED])
        self.not_repaired = tuple(others)
        if others:
            warn(
                f"REPAIR leaves {_listed(others)} as they are: these matrices are in no affine "
                "layer that runs once, so units behind them keep the moments that mixed weights "
                "give them.",
                ConnectivityWarning,
            )
        self._at_anchors: dict[int, dict[str, Moments]] = {}
        self._repairs: dict[tuple[float, ...], _PointRepair] = {}

    @torch.no_grad()
    def __call__(self, t: Any) -> nn.Module:
        """The network at t, a new one."""
        key = tuple(np.ravel(np.asarray(t, dtype=float)).tolist())
        state = self._state(t)
        if key in self._repairs:
            return self._repairs[key].apply_to(self._new(state))
        self._repairs[key], module = self._repair(t, state)
        return module

    def _state(self, t: Any) -> State:
        """The state at a point, with what follows from its weights."""
        write_mixed(self._scratch, self.path.anchors, self.path.coefficients(t))
        return read_state(self._scratch)

    @torch.no_grad()
    def losses(
        self, ts: Any, X: Tensor, y: Tensor, sample_weight: Tensor | None = None
    ) -> PathLosses:
        """Losses and errors at points (T,), as those of :class:`PathEvaluator`."""
        points = points_of(self.path, ts)
        batches = list(self.network.pairs(self.network.prepare(X), y, sample_weight))
        return losses_of(self.network, map(self, points), points, batches)

    def _repair(self, t: Any, state: State) -> tuple["_PointRepair", nn.Module]:
        """The corrections at t, and the network repaired by them, a new one."""
        anchors = self._anchors(t)
        module = self._plain(state)
        names = [n for n in self._layers(module) if all(n in f for _, f in anchors)]
        wanted = {name: mixed([(c, found[name]) for c, found in anchors]) for name in names}
        corrections = self._corrections(module, wanted)
        x, module = self._batches[0][:_N_CHECKED], self._plain(state)
        with _forward_hooks(module, corrections, lambda n, z: rescaled(z, *corrections[n])):
            right = module(x.clone())
        for apply in (fuse, wrap):
            module = _PointRepair(apply, corrections, {}).apply_to(self._new(state))
            if same_outputs(module(x.clone()), right):
                recompute_batch_statistics(module, self._batches)
                return _PointRepair(apply, corrections, _statistics(module)), module
        raise UnsupportedNetworkError(
            f"Layers of {type(module).__name__} cannot be rescaled: the network does not run them, "
            "but reads their weights. Use repair=False."
        )

    def _plain(self, state: Mapping[str, Tensor]) -> nn.Module:
        """The network of a state, always the same module."""
        write_state(self._scratch, state)
        return self._scratch

    def _new(self, state: Mapping[str, Tensor]) -> nn.Module:
        module = copy_module(self.network.module)
        write_state(module, state)
        return module

    def _anchors(self, t: Any) -> list[tuple[float, dict[str, Moments]]]:
        """Coefficients of the anchors that a point is made of, and their moments."""
        shares = {k: float(c) for k, c in enumerate(self.path.coefficients(t)) if float(c)}
        for k in shares.keys() - self._at_anchors.keys():
            self._at_anchors[k] = self._moments(self._plain(self.path.anchors[k]))
        return [(c, self._at_anchors[k]) for k, c in shares.items()]

    def _layers(self, module: nn.Module) -> list[str]:
        """Hidden affine layers that run once, in the order in which they run."""
        return hidden_layers(module, self._batches[0][:_N_CHECKED], list(self._axes))

    def _moments(self, module: nn.Module) -> dict[str, Moments]:
        """Moments of these layers."""
        names = self._layers(module)
        running = {name: RunningMoments() for name in names}

        def hook(name: str, out: Tensor) -> None:
            running[name].add(channels(out, self._axes[name]))

        recompute_batch_statistics(module, self._batches, unbiased=False)
        with _forward_hooks(module, names, hook):
            for x in self._batches:
                module(x.clone())
        return {name: _moments_of(own) for name, own in running.items()}

    def _corrections(
        self, module: nn.Module, wanted: Mapping[str, Moments]
    ) -> dict[str, Correction]:
        """Scales and shifts, layer after layer, each with its predecessors corrected."""
        done: dict[str, Correction] = {}
        running = {name: RunningMoments() for name in wanted}
        n_batches = Counter[str]()

        def hook(name: str, out: Tensor) -> Tensor:
            if name not in done:
                running[name].add(channels(out, self._axes[name]))
                n_batches[name] += 1
                if n_batches[name] == len(self._batches):
                    found = correction(_moments_of(running[name]), wanted[name])
                    done[name] = (*found, self._axes[name])
                if stops:  # the next layer has to see this one corrected on all rows
                    raise _StopForward
            return rescaled(out, *done[name])

        has_norms = bool(tracking_layers(module))
        stops = has_norms or len(self._batches) > 1
        for _ in wanted:
            if has_norms:
                self._normalise(module, done)
            with _forward_hooks(module, wanted, hook):
                for x in self._batches if len(done) < len(wanted) else ():
                    with suppress(_StopForward):
                        module(x.clone())
        if len(done) < len(wanted):
            raise UnsupportedNetworkError(
                f"Which layers of {type(module).__name__} run depends on the rows, so that "
                f"{sorted(wanted.keys() - done.keys())[0]!r} cannot be rescaled. Use repair=False."
            )
        return done

    def _normalise(self, module: nn.Module, done: Mapping[str, Correction]) -> None:
        """Let batch normalisation do as in training on all rows, with layers that are corrected."""
        with _forward_hooks(module, done, lambda n, z: rescaled(z, *done[n])):
            recompute_batch_statistics(module, self._batches, unbiased=False)


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(map(repr, names[:5]))
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5} more"


class _StopForward(Exception):
    """What is needed of this forward pass has been computed."""


@dataclass(frozen=True)
class _PointRepair:
    """Corrections and statistics that repair the network at one point."""

    apply: Callable[[nn.Module, str, Tensor, Tensor, int], None]
    #: of each layer
    corrections: dict[str, Correction]
    #: buffers of batch normalisation
    statistics: dict[str, Tensor]

    def apply_to(self, module: nn.Module) -> nn.Module:
        """Change a network in place."""
        for name, found in self.corrections.items():
            self.apply(module, name, *found)
        for name, value in self.statistics.items():
            module.get_buffer(name).copy_(value)
        return module


def _statistics(module: nn.Module) -> dict[str, Tensor]:
    return {
        f"{path}.{name}" if path else name: buffer.clone()
        for path, norm in tracking_layers(module).items()
        for name, buffer in norm.named_buffers()
    }


def _moments_of(running: RunningMoments) -> Moments:
    return running.mean, (running.squares / running.n).sqrt()


@contextmanager
def _forward_hooks(
    module: nn.Module,
    names: Iterable[str],
    hook: Callable[[str, Tensor], Tensor | None],
) -> Iterator[None]:
    """Call ``hook(name, output)`` after each of some layers; what it returns replaces it."""
    handles = [
        module.get_submodule(name).register_forward_hook(
            lambda layer, _, out, name=name: hook(name, out)
        )
        for name in names
    ]
    with temporary_hooks(handles):
        yield
