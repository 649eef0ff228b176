"""Outputs and losses of a network with units mean-ablated, several units at once."""

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sklflat.exceptions import UnsupportedNetworkError
from sklflat.networks.one_channel import OneChannel
from sklflat.networks.same_outputs import same_outputs
from sklflat.networks.tracing.layout import stored_like
from sklflat.networks.widened_batch import Widening
from sklflat.probing.sample import Sample
from sklflat.training.estimators.loss_landscape import evenly_spread

#: rows of one forward pass, several copies of a batch with one unit ablated in each; and bytes of
#: the widest layer of units in it
_MAX_ROWS, _MAX_BYTES = 8192, 2**26
#: rows on which the ways to compute ablations are compared
_N_COMPARED = 32
#: outputs whose targets are looked through for equal ones
_MAX_TARGETS = 16

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
    for some, x in _batches(sample, rows):
        yield some, sample.network.module(x) if ablation is None else ablation.run(sample, x)


def _batches(sample: Sample, rows: Tensor | None) -> Iterator[tuple[Tensor, Tensor]]:
    """Numbers of rows, all or some, and the inputs there."""
    network = sample.network
    chosen = torch.arange(sample.n_samples) if rows is None else rows
    for some in chosen.split(network.batch_size):
        yield some, network.prepare(sample.X[some])


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
    first = next(_batches(sample, rows))[1]
    for layer in range(len(units.layers)) if layers is None else layers:
        own = np.flatnonzero((units.layer_of == layer) & (~sample.dead if among is None else among))
        n_copies = once.copies_of(layer, first) if len(own) else 1
        for start in range(0, len(own), n_copies):
            numbers = own[start : start + n_copies]
            channels = torch.as_tensor(units.channel_of[numbers])
            ablation = Ablation(layer, channels.to(network.device), means[numbers], once)
            yield numbers, outputs(sample, ablation, rows)


def _bytes_of_a_row(sample: Sample) -> int:
    """Of the widest layer of units, for one row."""
    sizes = [1]

    def measure(layer: int, a: Tensor) -> Tensor:
        sizes.append(a[0].numel() * a.element_size())
        return a

    with sample.units.replaced(measure):
        sample.network.forward(sample.X[:1])
    return max(sizes)


class OnceBefore:
    """Where what comes before a layer may be computed once for all copies of a batch.

    That is found out by comparing outputs on a few rows, for every layer.
    """

    def __init__(self, sample: Sample) -> None:
        self.sample = sample
        #: bytes of a row by layer; 0 where all is computed for every copy
        self._n_bytes: dict[int, float] = {}

    def copies_of(self, layer: int, x: Tensor) -> int:
        """Copies of a batch in one pass, so that none of its tensors takes much memory."""
        n_bytes = self._n_bytes[layer] if self.allows(layer, x) else _bytes_of_a_row(self.sample)
        return max(1, min(_MAX_ROWS, int(_MAX_BYTES / n_bytes)) // len(x))

    @torch.no_grad()
    def allows(self, layer: int, x: Tensor) -> bool:
        """Whether two copies of x that part at a layer end as those that are apart from x on."""
        if len(x) < 2:
            return False  # one row meets any number of them without an error
        if layer not in self._n_bytes:
            last = self.sample.units.layers[layer].n_units - 1
            channels = torch.tensor([0, last], device=x.device)
            constants = torch.arange(2.0).to(x.device, self.sample.network.dtype)
            two = Ablation(layer, channels, constants, self)
            few = torch.as_tensor(evenly_spread(len(x), _N_COMPARED), device=x.device)
            self._n_bytes[layer] = self._bytes_if_same(two, x[few])
        return self._n_bytes[layer] > 0

    def _bytes_if_same(self, ablation: "Ablation", x: Tensor) -> float:
        try:
            found, n_bytes = ablation.from_layer_on(self.sample, x)
        except (RuntimeError, IndexError, TypeError, ValueError, UnsupportedNetworkError):
            return 0.0  # it keeps the length of the batch, or has its rows elsewhere
        is_same = same_outputs(found, ablation.from_input_on(self.sample, x))
        return max(n_bytes, 1) / len(x) if is_same else 0.0


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
            return self.from_layer_on(sample, x)[0]
        return self.from_input_on(sample, x)

    def from_input_on(self, sample: Sample, x: Tensor) -> Tensor:
        """The same, all of the network computed for every copy."""
        with sample.units.replaced(self, [self.layer]):
            return sample.network.module(x.repeat(len(self), *(1,) * (x.ndim - 1)))

    def from_layer_on(self, sample: Sample, x: Tensor) -> tuple[Tensor, int]:
        """The same, what comes before the layer computed once; and the bytes of one copy."""
        layout = sample.units.layers[self.layer].layout
        with Widening(x, len(self)) as widening:

            def rewrite(layer: int, out: Tensor) -> Tensor:
                axis = layout.channel_axis
                if axis is not None and out.is_floating_point():
                    return widening.stand_in(self._of_one_channel(out, axis))
                copies = layout.copies(out, len(self))
                a = self(layer, layout.split(copies))
                copies = stored_like(copies, layout.join(a, copies))
                widening.begin(copies)
                return copies

            with sample.units.rewritten(rewrite, [self.layer]):
                out = sample.network.module(x)
            return widening.joined(out), widening.n_bytes

    def _of_one_channel(self, out: Tensor, axis: int) -> OneChannel:
        """Copies of a layer's output (n, ..., n_channels, ...)."""
        shape = list(out.shape)
        shape[axis] = len(self)
        constants = self.constants.to(out.dtype).view(-1, *(1,) * (out.ndim - 1 - axis))
        return OneChannel(out, constants.expand(shape), self.channels, axis)

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
    values, value_of = _values(sample.target, len(permutations))
    for rows, z in passes:
        # where the target has few values, a row's losses are computed once for each of them
        table = _table(sample, z, values, len(rows), n_copies)
        for r, permutation in enumerate(permutations):
            order = torch.as_tensor(permutation)[rows]
            if len(values):
                terms = table[value_of[order], torch.arange(len(rows))]
            else:
                terms = _terms(sample, z, sample.target[order], n_copies)
            if sample.weight is not None:
                weight = sample.weight[order if sample.weight_is_of_label else rows]
                terms = terms * weight.to(terms)[:, None, None]
            total[:, r] += terms.sum(0, dtype=torch.float64)
    return network.criterion.mean(total[0], total[1]).cpu().double().numpy()


def _table(sample: Sample, z: Tensor, values: Tensor, n_rows: int, n_copies: int) -> Tensor:
    """Terms (n_values, n_rows, 2, n_copies) of a batch, for every value of the target."""
    terms = [_terms(sample, z, y.expand(n_rows, *y.shape), n_copies) for y in values]
    return torch.stack(terms) if terms else torch.empty(0)


def _values(target: Tensor, fewer_than: int) -> tuple[Tensor, Tensor]:
    """Different targets (n_values, ...), and which each row has; none, if they are not fewer."""
    if target[0].numel() <= _MAX_TARGETS:
        values, value_of = torch.unique(target, dim=0, return_inverse=True)
        if len(values) < fewer_than:
            return values, value_of
    return target[:0], target.new_zeros(len(target), dtype=torch.long)


def _terms(sample: Sample, z: Tensor, y: Tensor, n_copies: int) -> Tensor:
    """Losses and their weights (m, 2, n_copies) of outputs (n_copies * m, ...)."""
    y = sample.network.prepare(y)
    terms = sample.network.criterion.terms(z, y.repeat(n_copies, *(1,) * (y.ndim - 1)))
    return torch.stack(terms).unflatten(1, (n_copies, -1)).movedim(2, 0)
