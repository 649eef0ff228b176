"""AblationProbe: how much the loss rises when a unit is mean-ablated."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sklflat.probing.nulls import Null, permuted_targets
from sklflat.probing.sample import Sample
from sklflat.probing.unit_probe import UnitProbe

#: rows of one forward pass, several copies of a batch with one unit ablated in each; and bytes of
#: the widest layer of units in it
_MAX_ROWS, _MAX_BYTES = 8192, 2**26

#: with fewer permutations than this a unit's own null mean and deviation would be guesses
_MIN_PERMUTATIONS = 100


class AblationProbe(UnitProbe):
    r"""Units that the loss on unseen data depends on.

    A unit's score is the rise of the loss when its activation is replaced by its mean,

    .. math:: s_u = L(a_u \leftarrow \bar a_u) - L,

    over rows that the network was not trained on. Under the null the targets of these rows are
    shuffled among them, so the p-value asks whether what the unit says has to do with the target.
    A network is too sure of itself for random targets, so there the loss mostly falls when a unit
    is silenced, and null scores lie below 0; a unit with :math:`s_u \le 0` is not selected by
    ``n_units="auto"`` however small its p-value.

    The score does not change when a ReLU unit's incoming weights are multiplied and its
    outgoing ones divided by the same positive number. It does change when a unit is duplicated:
    each of two copies that share the work scores less than the one did. A dead unit scores 0.

    Parameters
    ----------
    estimator : estimator, default=None
        Any classifier or regressor of this package, a skorch net, a ``Pipeline`` or search that
        ends in one, a ``FrozenEstimator`` of one, or what :func:`~sklflat.from_module` returns.
        ``None`` is ``SAMClassifier()``. What is not frozen is cloned and fitted.
    layers : "hidden" or tuple of str, default="hidden"
        All hidden layers, or some by name.
    n_units : "auto", int, float or None, default="auto"
        How many units to select: those that score above 0 and pass a false discovery rate of 5 %
        (with a warning and the best unit, if none does), the so many best, that share of those
        that are alive, or all that are alive.
    n_null : "auto" or int, default="auto"
        Null draws, pooled over units; at least a hundred a unit are made. ``"auto"`` is
        ``max(2000, n_units / 0.05)``.
    holdout : float or None, default=0.25
        Share of the rows on which units are scored and the network is not trained. With
        ``None`` it is trained and scored on all: p-values are then too small, as a network fits
        the noise in its own labels. Not used for a frozen network, which should be given rows
        that it has not seen.
    n_jobs : int or None, default=None
        Not used by this probe, which trains one network.
    random_state : int, RandomState instance or None, default=None
        Of the held-out rows and of the null draws; and of the network, unless that has its own.

    Attributes
    ----------
    estimator_ : estimator
        The fitted network.
    unit_scores_ : ndarray of shape (n_units,)
        Rise of the loss, in its own units (nats for classifiers).
    unit_names_ : ndarray of shape (n_units,)
    p_values_, q_values_ : ndarray of shape (n_units,)
        Against chance; and adjusted for the number of units (Benjamini-Hochberg).
    support_ : ndarray of shape (n_units,), bool
    nulls_ : tuple of Null
        The nulls, with their draws.
    units_ : Units
    dead_ : ndarray of shape (n_units,), bool
        Units that do the same for all rows.
    unit_means_, unit_variances_ : ndarray of shape (n_units,)
        Of the activations.

    References
    ----------
    A. Morcos, D. Barrett, N. Rabinowitz, M. Botvinick: On the importance of single directions
    for generalization. ICLR 2018. https://arxiv.org/abs/1803.06959

    Examples
    --------
    Two ReLU units, of which only the second reaches the output:

    >>> import numpy as np, torch
    >>> from sklflat import AblationProbe, from_module
    >>> module = torch.nn.Sequential(torch.nn.Linear(1, 2), torch.nn.ReLU(), torch.nn.Linear(2, 1))
    >>> with torch.no_grad():
    ...     for p, value in zip(module.parameters(), ([[1.0], [1.0]], [0, 0], [[0, 1.0]], [0])):
    ...         _ = p.copy_(torch.tensor(value))
    >>> X = np.linspace(-1, 1, 101)[:, None]
    >>> probe = AblationProbe(from_module(module), random_state=0).fit(X, np.maximum(X[:, 0], 0))
    >>> probe.support_
    array([False,  True])
    >>> bool(np.isclose(probe.unit_scores_[1], np.maximum(X, 0).var() / 2))
    True
    """

    def __init__(
        self,
        estimator: Any = None,
        *,
        layers: Any = "hidden",
        n_units: Any = "auto",
        n_null: Any = "auto",
        holdout: float | None = 0.25,
        n_jobs: int | None = None,
        random_state: Any = None,
    ) -> None:
        self.estimator = estimator
        self.layers = layers
        self.n_units = n_units
        self.n_null = n_null
        self.holdout = holdout
        self.n_jobs = n_jobs
        self.random_state = random_state

    def _score_units(self, sample: Sample) -> NDArray:
        return ablation_losses(sample, np.arange(sample.n_samples)[None])[0]

    def _draw_nulls(self, sample: Sample, n_draws: int, rng: np.random.RandomState) -> list[Null]:
        n = max(int(np.ceil(n_draws / len(sample.units))), _MIN_PERMUTATIONS)
        return [permuted_targets(lambda p: ablation_losses(sample, p), sample.n_samples, n, rng)]


@torch.no_grad()
def ablation_losses(sample: Sample, permutations: NDArray) -> NDArray:
    """Rise of the loss (m, n_units) by mean-ablation of each unit, for targets in several orders.

    Row r of ``permutations`` (m, n_samples) says which target each sample gets.
    """
    rise = np.zeros((len(permutations), len(sample.units)))
    plain = _mean_losses(sample, permutations, outputs(sample), 1)
    for numbers, passes in ablated_outputs(sample):
        rise[:, numbers] = _mean_losses(sample, permutations, passes, len(numbers)) - plain
    return rise


#: rows of the sample (m,), and the outputs (n_copies * m, ...) there
Passes = Iterator[tuple[Tensor, Tensor]]


def outputs(
    sample: Sample, ablation: "Ablation | None" = None, rows: Tensor | None = None
) -> Passes:
    """Raw outputs of the network, batch by batch, with units ablated in copies of each or not."""
    network = sample.network
    chosen = torch.arange(sample.n_samples) if rows is None else rows
    for rows in chosen.split(network.batch_size):
        x = network.prepare(sample.X[rows])
        if ablation is None:
            yield rows, network.module(x)
            continue
        with sample.units.replaced(ablation):
            z = network.module(x.repeat(len(ablation), *(1,) * (x.ndim - 1)))
        yield rows, z


def ablated_outputs(
    sample: Sample, layers: Iterable[int] | None = None, rows: Tensor | None = None
) -> Iterator[tuple[NDArray, Passes]]:
    """Raw outputs with each living unit mean-ablated, several units at once.

    All layers and all rows, unless some are named.

    Yields
    ------
    numbers : ndarray of int
        Units, one a copy.
    passes : iterator of (rows, outputs)
        See :func:`outputs`.
    """
    network, units = sample.network, sample.units
    means = torch.as_tensor(sample.means).to(network.device, network.dtype)
    n_copies = _copies_at_once(sample)
    for layer in range(len(units.layers)) if layers is None else layers:
        own = np.flatnonzero((units.layer_of == layer) & ~sample.dead)
        for start in range(0, len(own), n_copies):
            numbers = own[start : start + n_copies]
            channels = torch.as_tensor(units.channel_of[numbers])
            ablation = Ablation(layer, channels.to(network.device), means[numbers])
            yield numbers, outputs(sample, ablation, rows)


def _copies_at_once(sample: Sample) -> int:
    """Copies of a batch in one pass, so that no layer's activations take much memory."""
    sizes = [0]

    def measure(layer: int, a: Tensor) -> Tensor:
        sizes.append(a[0].numel() * a.element_size())
        return a

    with sample.units.replaced(measure):
        sample.network.forward(sample.X[:1])
    rows = min(_MAX_ROWS, _MAX_BYTES // max(max(sizes), 1))
    return max(1, rows // min(sample.n_samples, sample.network.batch_size))


class Ablation:
    """Fixes channel ``channels[i]`` of a layer at ``constants[i]`` in copy i of a batch."""

    def __init__(self, layer: int, channels: Tensor, constants: Tensor) -> None:
        self.layer = layer
        self.channels = channels
        self.constants = constants

    def __len__(self) -> int:
        return len(self.channels)

    def __call__(self, layer: int, a: Tensor) -> Tensor:
        """The layer's activations (n_copies * batch, n_channels, ...), changed."""
        if layer != self.layer:
            return a
        copies = a.clone().unflatten(0, (len(self), -1))
        for copy, channel, constant in zip(copies, self.channels, self.constants, strict=True):
            copy[:, channel] = constant
        return copies.flatten(0, 1)


def _mean_losses(sample: Sample, permutations: NDArray, passes: Passes, n_copies: int) -> NDArray:
    """Mean losses (m, n_copies) over the sample."""
    network = sample.network
    total = torch.zeros(2, len(permutations), n_copies, dtype=network.dtype, device=network.device)
    for rows, z in passes:
        for r, permutation in enumerate(permutations):
            total[:, r] += _loss_sums(sample, z, rows, permutation, n_copies)
    return network.criterion.mean(total[0], total[1]).cpu().double().numpy()


def _loss_sums(
    sample: Sample, z: Tensor, rows: Tensor, permutation: NDArray, n_copies: int
) -> Tensor:
    """Sums (2, n_copies) of losses and of their weights over one batch."""
    network = sample.network
    y = network.prepare(sample.target[torch.as_tensor(permutation)[rows]])
    losses, weights = network.criterion.terms(z, y.repeat(n_copies, *(1,) * (y.ndim - 1)))
    terms = torch.stack([losses, weights]).unflatten(1, (n_copies, -1))
    if sample.weight is not None:
        order = torch.as_tensor(permutation)[rows] if sample.weight_is_of_label else rows
        terms = terms * sample.weight[order].to(terms)
    return terms.sum(2)
