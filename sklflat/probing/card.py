"""What there is to know about one unit."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sklflat.networks import Network
from sklflat.networks.units import Units
from sklflat.probing.sample import Sample

#: samples that a card lists, and rows over which input gradients are averaged
_N_TOP, _N_ROWS = 10, 100


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
        standard deviation of x_j, as the network sees them.
    finding : str
        What is shown of the unit, in words; empty for most probes.
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

    def __str__(self) -> str:
        state = "dead" if self.dead else "selected" if self.selected else "not selected"
        tested = f", p {self.p_value:.2g}, q {self.q_value:.2g}"
        lines = [
            f"{self.name} ({state}): score {self.score:.4g}"
            + tested * int(np.isfinite(self.p_value)),
            *([f"  {self.finding}"] if self.finding else []),
            "  most active on rows " + ", ".join(str(i) for i in self.top_samples),
        ]
        if self.class_means is not None:
            means = sorted(self.class_means.items(), key=lambda pair: -pair[1])
            lines.append("  mean by class: " + ", ".join(f"{c}: {m:.3g}" for c, m in means))
        if self.inputs:
            reads = ", ".join(f"{name}: {value:.3g}" for name, value in self.inputs.items())
            lines.append("  moved most by: " + reads)
        return "\n".join(lines)


@dataclass(frozen=True)
class CardData:
    """What cards are made of: little enough to be kept in a fitted probe."""

    names: list[str]
    dead: NDArray
    top_samples: NDArray
    top_activations: NDArray
    class_means: NDArray | None
    classes: NDArray | None
    sensitivity: NDArray

    @classmethod
    def of(cls, sample: Sample) -> "CardData":
        """Collect from the sample that units are scored on."""
        A = sample.activations
        counted = np.flatnonzero(sample.weights > 0)
        top = counted[np.argsort(-A[counted], axis=0, kind="stable")[:_N_TOP]]
        classes = sample.trained.classes
        means = None
        if classes is not None and sample.y.ndim == 1:
            member = (sample.y[:, None] == classes) * sample.weights[:, None]
            total = member.sum(axis=0)[:, None]
            means = np.divide(
                member.T @ A,
                total,
                out=np.full((len(classes), A.shape[1]), np.nan),
                where=total > 0,
            )
        return cls(
            list(sample.units.names),
            sample.dead,
            (top if sample.numbers is None else sample.numbers[top]).T,
            np.take_along_axis(A, top, axis=0).T,
            means,
            classes,
            input_sensitivity(sample.network, sample.units, sample.X[evenly_spread(counted)]),
        )

    def card(self, name: str, u: int, result: dict[str, Any], features: Any) -> UnitCard:
        """The card of unit u.

        ``result`` has ``score``, ``p_value``, ``q_value`` and ``selected``; ``features`` (array of
        str or None) are the names of the inputs.
        """
        means = None
        if self.class_means is not None and self.classes is not None:
            means = dict(zip(self.classes.tolist(), self.class_means[:, u].tolist(), strict=True))
        s = self.sensitivity[u]
        if features is None or len(features) != len(s):
            features = [f"x{j}" for j in range(len(s))]
        best = [j for j in np.argsort(-s, kind="stable")[:_N_TOP] if s[j] > 0]
        return UnitCard(
            name=name,
            dead=bool(self.dead[u]),
            top_samples=self.top_samples[u],
            top_activations=self.top_activations[u],
            class_means=means,
            inputs={str(features[j]): float(s[j]) for j in best},
            **result,
        )


def evenly_spread(rows: NDArray) -> NDArray:
    """Some of the rows, evenly spread, as data may be sorted."""
    n = min(len(rows), _N_ROWS)
    return rows[np.linspace(0, len(rows) - 1, n).round().astype(int)]


def input_sensitivity(network: Network, units: Units, X: torch.Tensor) -> NDArray:
    r"""How much inputs move units, ``mean_i |d a_u(x_i) / d x_ij| std(x_j)``.

    Parameters
    ----------
    network : Network
    units : Units
    X : Tensor of shape (n_samples, ...)

    Returns
    -------
    sensitivity : ndarray of shape (n_units, n_inputs)
        Inputs of several dimensions are flattened; of width 0 for token ids, which have no
        gradient.
    """
    if not X.is_floating_point() or not len(units):
        return np.zeros((len(units), 0))
    x = network.prepare(X).requires_grad_()
    scale = x.detach().flatten(1).std(0, correction=0)
    with torch.enable_grad():
        A = units.watched(lambda: network.module(x))
    rows = []
    for total in A.sum(0):
        gradient = torch.autograd.grad(total, x, retain_graph=True, allow_unused=True)[0]
        gradient = torch.zeros_like(x) if gradient is None else gradient
        rows.append(gradient.flatten(1).abs().mean(0) * scale)
    return torch.stack(rows).double().cpu().numpy()
