"""Outputs of a network with sets of its units silenced at their means."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sklflat.networks.same_outputs import same_outputs
from sklflat.probing.sample import Sample
from sklflat.pruning.output_layer import OutputLayer

#: rows of one forward pass, several copies of a batch with other units silenced in each
_MAX_ROWS = 8192

#: relative difference up to which the closed form gives the network's own outputs
_ACCURACY = 1e-4


class JointAblation:
    """Replaces activations, as ``Units.replaced`` asks: in copy i of a batch those not kept.

    Parameters
    ----------
    layer_of : ndarray of shape (n_units,), int
    kept : ndarray of shape (n_copies, n_units), bool
    means : ndarray of shape (n_units,)
        What the units that are not kept are fixed at.
    """

    def __init__(self, layer_of: NDArray, kept: NDArray, means: NDArray) -> None:
        self.layer_of = layer_of
        self.kept = kept
        self.means = means

    def __call__(self, layer: int, a: Tensor) -> Tensor:
        """Activations (n_copies * batch, n_units of the layer, *positions), changed."""
        own = self.layer_of == layer
        positions = (1,) * (a.ndim - 2)
        kept = torch.as_tensor(self.kept[:, own], device=a.device)
        means = torch.as_tensor(self.means[own]).to(a)
        copies = a.unflatten(0, (len(kept), -1))
        kept, means = kept.view(len(kept), 1, -1, *positions), means.view(1, 1, -1, *positions)
        return torch.where(kept, copies, means).flatten(0, 1)


@torch.no_grad()
def outputs_of_sets(
    sample: Sample, module: nn.Module, kept: NDArray, means: NDArray
) -> Iterator[Tensor]:
    """Outputs (n_samples, ...) of a module for each set (n_sets, n_units) of units that are kept.

    Parameters
    ----------
    sample : Sample
    module : torch.nn.Module
        The sample's, or a twin of it.
    kept : ndarray of shape (n_sets, n_units), bool
    means : ndarray of shape (n_units,)
    """
    network = sample.network
    n_copies = max(1, _MAX_ROWS // min(sample.n_samples, network.batch_size))
    for start in range(0, len(kept), n_copies):
        some = kept[start : start + n_copies]
        parts = []
        for x in network.batches(sample.X):
            x = network.prepare(x)
            with sample.units.replaced(JointAblation(sample.units.layer_of, some, means)):
                z = module(x.repeat(len(some), *(1,) * (x.ndim - 1)))
            parts.append(z.unflatten(0, (len(some), -1)))
        yield from torch.cat(parts, dim=1)


@dataclass(frozen=True)
class LinearReadout:
    r"""Outputs that are affine in the units, so that silencing is a matrix product.

    .. math:: z_S(x) = z(x) - \sum_{u \notin S} (a_u(x) - \bar a_u) w_u

    Parameters
    ----------
    A, C : Tensor of shape (n_samples, n_units)
        Activations, and their distances from what units are silenced at.
    W : Tensor of shape (n_outputs, n_units)
    z : Tensor of shape (n_samples, n_outputs)
        Outputs of the whole network.
    """

    A: Tensor
    C: Tensor
    W: Tensor
    z: Tensor

    @classmethod
    @torch.no_grad()
    def of(
        cls, sample: Sample, output: OutputLayer | None, means: NDArray
    ) -> "LinearReadout | None":
        """The readout of a sample; None if its units are not what the output layer reads."""
        if output is None or len(sample.units.layers) != 1:
            return None
        A, z = output.inputs(sample)
        layer = output.find(sample.network.module)
        if A.shape[1] != len(sample.units) or z.ndim != 2 or z.shape[1] != layer.out_features:
            return None
        bias = 0.0 if layer.bias is None else layer.bias
        own = torch.as_tensor(sample.activations).to(A)
        if _close(A, own) and _close(A @ layer.weight.T + bias, z):
            return cls(A, A - torch.as_tensor(means).to(A), layer.weight.detach(), z)
        return None

    def outputs(self, kept: NDArray) -> Tensor:
        """Outputs (n_samples, n_outputs) with one set (n_units,) of units kept."""
        # rows of zeros are cheaper than columns taken out
        return self.z - self.C @ (self.W * torch.as_tensor(~kept).to(self.W)).T


def _close(found: Tensor, right: Tensor) -> bool:
    return same_outputs(found, right, 1e-9 if right.dtype == torch.float64 else _ACCURACY)
