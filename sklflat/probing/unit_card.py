"""What there is to know about one unit."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sklflat.exceptions import UnsupportedNetworkError
from sklflat.networks import Network, OfParts, Parts
from sklflat.networks.units import Units
from sklflat.probing.sample import Sample
from sklflat.training.estimators.loss_landscape import evenly_spread
from sklflat.training.estimators.trained_network import TrainedNetwork

#: samples that a card lists, and rows over which input gradients are averaged
_N_TOP, _N_ROWS = 10, 100

#: a unit whose activations change by more than this share of their largest has changed
_SAME = 1e-4


@dataclass(frozen=True)
class UnitCard:
    """One unit, for people to read: ``print`` it.

    Attributes
    ----------
    name : str
    score, p_value, q_value : float
        The latter NaN where units are not tested one by one.
    selected, dead : bool
    top_samples : ndarray of int
        The rows on which the unit is most active, most active first: numbers of rows of the X
        that the probe was fitted to, among those that were scored.
    top_activations : ndarray
        The unit's activation on these.
    class_means : dict of label to float, or None
        Mean activation over each class; None for real targets.
    inputs : dict of name to float
        The inputs that move the unit most: the mean over samples of ``|da/dx_j|``, times the
        standard deviation of x_j, as the network sees them. Those of images are called by their
        place, ``x[channel, row, column]``.
    finding : str
        What is shown of the unit, in words; empty for most probes.
    null_hypothesis : str
        What a small p rejects, in a sentence; empty where units are not tested one by one.
    doubt : str
        What is not shown of the unit, though it may be selected (as the best one, or by number).
    """

    name: str
    score: float
    p_value: float
    q_value: float
    selected: bool
    dead: bool
    top_samples: NDArray
    top_activations: NDArray
    class_means: dict[Any, float] | None
    inputs: dict[str, float]
    finding: str = ""
    null_hypothesis: str = ""
    doubt: str = ""

    def __str__(self) -> str:
        state = "dead" if self.dead else "selected" if self.selected else "not selected"
        state += f", {self.doubt}" if self.selected and self.doubt else ""
        tested = f", p {self.p_value:.2g}, q {self.q_value:.2g}"
        lines = [
            f"{self.name} ({state}): score {self.score:.4g}"
            + tested * int(np.isfinite(self.p_value)),
            *(f"  {said}" for said in (self.finding, self.null_hypothesis) if said),
            "  most active on rows (counted from 0) " + ", ".join(str(i) for i in self.top_samples),
        ]
        if self.class_means is not None:
            means = sorted(self.class_means.items(), key=lambda pair: -pair[1])
            lines.append("  mean by class: " + ", ".join(f"{c}: {m:.3g}" for c, m in means))
        if self.inputs:
            reads = ", ".join(f"{name}: {value:.3g}" for name, value in self.inputs.items())
            lines.append("  moved most, for one standard deviation of the input, by: " + reads)
        return "\n".join(lines)


@dataclass(frozen=True)
class CardData:
    """What cards are made of: little enough to be kept in a fitted probe.

    Gradients are taken when a card is asked for. For that at most 100 rows of the network's input
    are kept (`rows`), which a pickled probe holds, and the units' activations there
    (`activations`), by which a network that has changed since is noticed.
    """

    names: list[str]
    dead: NDArray
    top_samples: NDArray
    top_activations: NDArray
    class_means: NDArray | None
    classes: NDArray | None
    rows: NDArray
    activations: NDArray
    parts: Parts | None

    @classmethod
    def of(cls, sample: Sample) -> "CardData":
        """Collect from the sample that units are scored on."""
        classes = sample.trained.classes
        kept = card_rows(sample)
        n_units, by_class = len(sample.units), classes is not None and sample.y.ndim == 1
        sums, total = np.zeros((1, n_units)), np.zeros((1, 1))
        top, highest = np.zeros((0, n_units), dtype=int), np.zeros((0, n_units))
        there = []
        for start, A in sample.batches():
            s = sample.weights[start : start + len(A)]
            own = np.flatnonzero(s > 0)
            own = own[np.argsort(-A[own], axis=0, kind="stable")[:_N_TOP]]
            top = np.concatenate([top, start + own])
            highest = np.concatenate([highest, np.take_along_axis(A, own, axis=0)])
            best = np.argsort(-highest, axis=0, kind="stable")[:_N_TOP]
            top, highest = (np.take_along_axis(v, best, axis=0) for v in (top, highest))
            there.append(A[kept[(kept >= start) & (kept < start + len(A))] - start])
            if by_class:
                member = (sample.y[start : start + len(A), None] == classes) * s[:, None]
                sums, total = sums + member.T @ A, total + member.sum(axis=0)[:, None]
        means = np.divide(sums, total, out=np.full(sums.shape, np.nan), where=total > 0)
        rows = sample.X[kept]
        rows = rows.float() if rows.dtype == torch.bfloat16 else rows  # unknown to NumPy
        return cls(
            list(sample.units.names),
            sample.dead,
            (top if sample.numbers is None else sample.numbers[top]).T,
            highest.T,
            means if by_class else None,
            classes,
            rows.cpu().numpy(),
            np.concatenate(there),
            next(
                (m.parts for m in sample.network.module.modules() if isinstance(m, OfParts)), None
            ),
        )

    def opened(self, trained: TrainedNetwork) -> Network:
        """A fitted estimator's network, as it reads the rows that are kept."""
        if self.parts is not None:  # it takes several inputs joined once it has seen some
            rows = self.parts.split(torch.as_tensor(self.rows))
            trained.to_input({name: part.numpy() for name, part in rows.items()})
        return trained.network

    def card(
        self, u: int, network: Network, units: Units, result: dict[str, Any], features: Any
    ) -> UnitCard:
        """The card of unit u of a network.

        ``result`` has ``score``, ``p_value``, ``q_value`` and ``selected``; ``features`` (array of
        str or None) are the names of the inputs.

        Raises
        ------
        UnsupportedNetworkError
            If the units do not do what they did when they were scored.
        """
        s = self._sensitivity(u, network, units)
        means = None
        if self.class_means is not None and self.classes is not None:
            means = dict(zip(self.classes.tolist(), self.class_means[:, u].tolist(), strict=True))
        if features is None or len(features) != len(s):
            features = _input_names(self.rows.shape[1:], len(s))
        best = [j for j in np.argsort(-s, kind="stable")[:_N_TOP] if s[j] > 0]
        return UnitCard(
            name=self.names[u],
            dead=bool(self.dead[u]),
            top_samples=self.top_samples[u],
            top_activations=self.top_activations[u],
            class_means=means,
            inputs={str(features[j]): float(s[j]) for j in best},
            **result,
        )

    def _sensitivity(self, u: int, network: Network, units: Units) -> NDArray:
        """How much each input moves unit u, if the network is the one whose units were scored."""
        X = torch.as_tensor(self.rows)
        now = units.activations(network.module, X, network.batch_size).double().numpy()
        then, largest = self.activations, np.abs(self.activations).max(axis=0, initial=0)
        allowed = _SAME * largest + 1e-9 * largest.max(initial=0)
        if not (np.abs(now - then) <= allowed).all():  # a NaN is no agreement
            raise UnsupportedNetworkError(
                "The network has changed since the probe was fitted: its units do not do what they "
                "did on the rows that the probe keeps. Fit the probe again."
            )
        return input_sensitivity(network, units, X, [u])[0]


def card_rows(sample: Sample) -> NDArray:
    """Some of the rows of positive weight, evenly spread, as data may be sorted."""
    counted = np.flatnonzero(sample.weights > 0)
    return counted[evenly_spread(len(counted), _N_ROWS)]


def _input_names(shape: tuple[int, ...], n: int) -> list[str]:
    """Names of n inputs of rows of a shape: ``x3``, or ``x[0, 2, 5]`` where there are axes."""
    if len(shape) < 2:
        return [f"x{j}" for j in range(n)]
    return [f"x[{', '.join(map(str, place))}]" for place in np.ndindex(shape)]


def input_sensitivity(
    network: Network, units: Units, X: torch.Tensor, numbers: Sequence[int] | None = None
) -> NDArray:
    r"""How much inputs move units, ``mean_i |d a_u(x_i) / d x_ij| std(x_j)``.

    Parameters
    ----------
    network : Network
    units : Units
    X : Tensor of shape (n_samples, ...)
    numbers : sequence of int, default=None
        Some units, each at one backward pass; None is all.

    Returns
    -------
    sensitivity : ndarray of shape (n_units, n_inputs)
        Inputs of several dimensions are flattened; of width 0 for token ids, which have no
        gradient.
    """
    chosen = range(len(units)) if numbers is None else numbers
    if not X.is_floating_point() or not len(chosen):
        return np.zeros((len(chosen), 0))
    x = network.prepare(X).requires_grad_()
    scale = x.detach().flatten(1).std(0, correction=0)
    with torch.enable_grad():
        A = units.watched(lambda: network.module(x))
    rows = []
    for total in A.sum(0)[list(chosen)]:
        gradient = torch.autograd.grad(total, x, retain_graph=True, allow_unused=True)[0]
        gradient = torch.zeros_like(x) if gradient is None else gradient
        rows.append(gradient.flatten(1).abs().mean(0) * scale)
    return torch.stack(rows).double().cpu().numpy()
