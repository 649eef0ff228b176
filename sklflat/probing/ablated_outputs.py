"""Outputs and losses of a network with units mean-ablated, several units at once."""

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sklflat.exceptions import UnsupportedNetworkError
from sklflat.networks.same_outputs import same_outputs
from sklflat.networks.widening import Widening
from sklflat.probing.sample import Sample

#: rows of one forward pass, several copies of a batch with one unit ablated in each; and bytes of
#: the widest layer of units in it
_MAX_ROWS, _MAX_BYTES = 8192, 2**26

#: rows of the sample (m,), and the outputs (n_copies * m, ...) there
Passes = Iterable[tuple[Tensor, Tensor]]
#: units (n_copies,), and the outputs with one of them ablated in each copy
Ablated = Iterable[tuple[NDArray, Passes]]


@torch.no_grad()
def ablation_losses(
    sample: Sample,
    permutations: NDArray,
    among: NDArray | None = None,
    ablated: Ablated | None = None,
) -> NDArray:
    """Rise of the loss (m, n_units) by mean-ablation of each unit, for targets in several orders.

    Row r of ``permutations`` (m, n_samples) says which target each sample gets. Units that are
    not ``among`` those of a mask (n_units,) are left out: 0. The outputs are ``ablated``, if they
    are there already.
    """
    rise = np.zeros((len(permutations), len(sample.units)))
    plain = _mean_losses(sample, permutations, outputs(sample), 1)
    for numbers, passes in ablated_outputs(sample, among=among) if ablated is None else ablated:
        if among is not None and not among[numbers].any():
            continue
        rise[:, numbers] = _mean_losses(sample, permutations, passes, len(numbers)) - plain
    return rise if among is None else np.where(among, rise, 0.0)


def outputs(
    sample: Sample, ablation: "Ablation | None" = None, rows: Tensor | None = None
) -> Iterator[tuple[Tensor, Tensor]]:
    """Raw outputs of the network, batch by batch, with units ablated in copies of each or not."""
    network = sample.network
    chosen = torch.arange(sample.n_samples) if rows is None else rows
    for rows in chosen.split(network.batch_size):
        x = network.prepare(sample.X[rows])
        yield rows, network.module(x) if ablation is None else ablation.run(sample, x)


def ablated_outputs(
    sample: Sample,
    layers: Iterable[int] | None = None,
    rows: Tensor | None = None,
    among: NDArray | None = None,
) -> Iterator[tuple[NDArray, Passes]]:
    """Raw outputs with each living unit mean-ablated, several units at once.

    All layers, rows and living units, unless some are named.

    Yields
    ------
    numbers : ndarray of int
        Units, one a copy.
    passes : iterator of (rows, outputs)
        See :func:`outputs`.
    """
    network, units = sample.network, sample.units
    once = OnceBefore(sample)
    means = torch.as_tensor(sample.means).to(network.device, network.dtype)
    n_copies = _copies_at_once(sample)
    for layer in range(len(units.layers)) if layers is None else layers:
        own = np.flatnonzero((units.layer_of == layer) & (~sample.dead if among is None else among))
        for start in range(0, len(own), n_copies):
            numbers = own[start : start + n_copies]
            channels = torch.as_tensor(units.channel_of[numbers])
            ablation = Ablation(layer, channels.to(network.device), means[numbers], once)
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


class OnceBefore:
    """Where what comes before a layer may be computed once for all copies of a batch.

    That is found out by comparing outputs, for every layer and length of a batch.
    """

    def __init__(self, sample: Sample) -> None:
        self.sample = sample
        self._known: dict[tuple[int, int], bool] = {}

    @torch.no_grad()
    def allows(self, layer: int, x: Tensor) -> bool:
        """Whether two copies of x that part at a layer end as those that are apart from x on."""
        if len(x) < 2:
            return False  # one row meets any number of them without an error
        if (layer, len(x)) not in self._known:
            channels = torch.zeros(2, dtype=torch.long, device=x.device)
            constants = torch.arange(2.0).to(x.device, self.sample.network.dtype)
            two = Ablation(layer, channels, constants, self)
            self._known[layer, len(x)] = self._is_same(two, x)
        return self._known[layer, len(x)]

    def _is_same(self, ablation: "Ablation", x: Tensor) -> bool:
        try:
            found = ablation.from_layer_on(self.sample, x)
        except (RuntimeError, IndexError, ValueError, UnsupportedNetworkError):
            return False  # it keeps the length of the batch, or has its rows elsewhere
        return same_outputs(found, ablation.from_input_on(self.sample, x))


class Ablation:
    """Fixes channel ``channels[i]`` of a layer at ``constants[i]`` in copy i of a batch."""

    def __init__(self, layer: int, channels: Tensor, constants: Tensor, once: "OnceBefore") -> None:
        self.layer = layer
        self.channels = channels
        self.constants = constants
        self.once = once

    def __len__(self) -> int:
        return len(self.channels)

    def run(self, sample: Sample, x: Tensor) -> Tensor:
        """Outputs (n_copies * n, ...) of a batch x (n, ...)."""
        if self.once.allows(self.layer, x):
            return self.from_layer_on(sample, x)
        return self.from_input_on(sample, x)

    def from_input_on(self, sample: Sample, x: Tensor) -> Tensor:
        """The same, all of the network computed for every copy."""
        with sample.units.replaced(self, [self.layer]):
            return sample.network.module(x.repeat(len(self), *(1,) * (x.ndim - 1)))

    def from_layer_on(self, sample: Sample, x: Tensor) -> Tensor:
        """The same, what comes before the layer computed once."""
        with Widening(x, len(self)) as widening:

            def replace(layer: int, a: Tensor) -> Tensor:
                copies = self(layer, a)
                widening.begin(copies, a[: len(a) // len(self)], self.channels)
                return copies

            with sample.units.replaced(replace, [self.layer], n_copies=len(self)):
                return sample.network.module(x)

    def __call__(self, layer: int, a: Tensor) -> Tensor:
        """The layer's activations (n_copies * batch, n_channels, ...), changed."""
        copies = a.clone().unflatten(0, (len(self), -1))
        each = torch.arange(len(self), device=a.device)
        constants = self.constants.to(a.dtype).view(-1, *(1,) * (a.ndim - 1))
        copies[each, :, self.channels] = constants
        return copies.flatten(0, 1)


def _mean_losses(sample: Sample, permutations: NDArray, passes: Passes, n_copies: int) -> NDArray:
    """Mean losses (m, n_copies) over the sample."""
    network = sample.network
    total = torch.zeros(2, len(permutations), n_copies, dtype=torch.float64, device=network.device)
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
    return terms.sum(2, dtype=torch.float64)
