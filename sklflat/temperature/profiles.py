"""How much each unit matters to the softened output, at each temperature."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sklflat.probing.ablated_outputs import ablated_outputs, outputs
from sklflat.probing.sample import Sample
from sklflat.temperature.memory import n_at_once
from sklflat.training.estimators.loss_landscape import evenly_spread

__all__ = ["affine_above", "class_logits", "normalised", "unit_profiles"]

#: relative difference up to which sums of changes count as the change of the sum
_ROUNDING = 1e-4


def class_logits(z: Tensor) -> Tensor:
    """One logit a class, float64, of a network's raw outputs; the one of two becomes -f/2, f/2."""
    z = z.double()
    if z.ndim == 1:
        z = z[:, None]
    return torch.cat([-z / 2, z / 2], dim=1) if z.shape[1] == 1 else z


def unit_profiles(
    sample: Sample,
    temperatures: NDArray,
    importance: str,
    rows: NDArray,
    affine: Sequence[bool] | None = None,
) -> NDArray:
    r"""Importance of each unit for the softened output.

    .. math:: I_u(T) = \sum_i w_i \frac12 \sum_k
        \left| p_k(x_i; T) - p_k^{-u}(x_i; T) \right|

    where :math:`p^{-u}` is the output with the unit at its mean. At a low temperature this is the
    share of the rows whose prediction changes; at a high one :math:`2 K T I_u(T)` tends to the mean
    absolute change of the centred logits, summed over classes. All temperatures are served by one
    pass over the ablated networks, so memory does not grow with their number.

    Parameters
    ----------
    sample : Sample
    temperatures : ndarray of shape (n_temperatures,)
    importance : {"ablation", "gradient"}
        The change itself, or to first order in the unit's activation.
    rows : ndarray of int
        Rows over which the sum is taken.
    affine : sequence of bool, default=None
        Layers whose ablations are taken by derivatives; None is what :func:`affine_above` finds.

    Returns
    -------
    profiles : ndarray of shape (n_temperatures, n_units)
        In [0, 1] by ablation; 0 for dead units.
    """
    total = torch.zeros(len(temperatures), len(sample.units), dtype=torch.float64)
    weight = torch.as_tensor(sample.weights / sample.weights[rows].sum())
    difference = _first_order if importance == "gradient" else _exact
    if importance == "gradient":
        affine = [True] * len(sample.units.layers)
    elif affine is None:
        affine = affine_above(sample)
    for numbers, here, z, change in _logit_changes(sample, torch.as_tensor(rows), affine):
        w = weight[here]
        for k, T in enumerate(temperatures):
            moved = difference(z, change, float(T))
            total[k, torch.as_tensor(numbers)] += torch.einsum("i,iuk->u", w, moved.abs_()) / 2
    return total.numpy()


def normalised(profiles: NDArray) -> NDArray:
    """Shares of the units at each temperature; equal ones where no unit matters."""
    total = profiles.sum(axis=1, keepdims=True)
    even = np.full_like(profiles, 1 / profiles.shape[1])
    return np.divide(profiles, total, out=even, where=total > 0)


def _exact(z: Tensor, change: Tensor, T: float) -> Tensor:
    after = torch.softmax((z[:, None] + change).div_(T), 2)
    return after.sub_(torch.softmax(z / T, 1)[:, None])


def _first_order(z: Tensor, change: Tensor, T: float) -> Tensor:
    p = torch.softmax(z / T, 1)[:, None]
    return p * (change - (p * change).sum(2, keepdim=True)) / T


def _logit_changes(
    sample: Sample, rows: Tensor, affine: Sequence[bool]
) -> Iterator[tuple[NDArray, Tensor, Tensor, Tensor]]:
    """Units (m,), rows (r,), logits (r, K) there, and their changes (r, m, K) by ablation."""
    for layer in np.flatnonzero(affine):
        yield from _by_gradient(sample, rows, int(layer))
    by_ablation = np.flatnonzero(np.logical_not(affine)).tolist()
    if by_ablation:
        yield from _by_ablation(sample, rows, by_ablation)


def _by_ablation(
    sample: Sample, chosen: Tensor, layers: list[int]
) -> Iterator[tuple[NDArray, Tensor, Tensor, Tensor]]:
    with torch.no_grad():
        plain = [class_logits(z).cpu() for _, z in outputs(sample, rows=chosen)]
        for numbers, passes in ablated_outputs(sample, layers, chosen):
            for before, (rows, z) in zip(plain, passes, strict=True):
                after = class_logits(z).cpu().unflatten(0, (len(numbers), -1)).transpose(0, 1)
                yield numbers, rows, before, after - before[:, None]


def _by_gradient(
    sample: Sample, chosen: Tensor, layer: int
) -> Iterator[tuple[NDArray, Tensor, Tensor, Tensor]]:
    """As above, by the derivative times the distance to the mean."""
    units = sample.units
    own = np.flatnonzero((units.layer_of == layer) & ~sample.dead)
    if not len(own):
        return
    means = torch.as_tensor(sample.means)[own]
    channels = torch.as_tensor(units.channel_of[own])
    assert sample.trained.classes is not None
    n_rows = n_at_once(len(own) * len(sample.trained.classes))
    for rows in chosen.split(min(n_rows, sample.network.batch_size)):
        z, a, gradients = _gradients(sample, layer, rows)
        a, gradients = a[:, channels], gradients[:, :, channels]
        distance = means.reshape(1, -1, *(1,) * (a.ndim - 2)) - a
        change = (gradients * distance).flatten(3).sum(3) if a.ndim > 2 else gradients * distance
        yield own, rows, z, change.permute(1, 2, 0)


def _gradients(sample: Sample, layer: int, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Logits (r, K), activations (r, units, ...) and derivatives (K, r, units, ...), float64."""
    kept: list[Tensor] = []

    def keep(number: int, a: Tensor) -> Tensor:
        if number != layer:
            return a
        kept.append(a.detach().requires_grad_())
        return kept[-1]

    network = sample.network
    with torch.enable_grad(), sample.units.replaced(keep):
        z = class_logits(network.module(network.prepare(sample.X[rows])))
        (a,) = kept
        gradients = [
            torch.autograd.grad(column.sum(), a, retain_graph=True)[0] for column in z.unbind(1)
        ]
    return (
        z.detach().cpu(),
        a.detach().double().cpu(),
        torch.stack(gradients).double().cpu(),
    )


def affine_above(sample: Sample) -> tuple[bool, ...]:
    """Layers whose units are worth ablating by derivatives: a pass a class, in place of one a unit.

    There logits have to be affine in the activations, so that the derivative says all.
    """
    assert sample.trained.classes is not None
    sizes = np.bincount(sample.units.layer_of, minlength=len(sample.units.layers))
    many = sizes >= len(sample.trained.classes)
    return tuple(bool(m) and _is_affine_above(sample, k) for k, m in enumerate(many))


def _is_affine_above(sample: Sample, layer: int) -> bool:
    """Whether logits are affine in a layer's activations, so that the derivative says all.

    On a few rows, the change when a random half of the units is brought to its mean has to be the
    sum of the units' own changes, as the derivative gives them.
    """
    few = torch.as_tensor(evenly_spread(sample.n_samples, 64))
    z, a, gradients = _gradients(sample, layer, few)
    units = sample.units
    means = torch.as_tensor(sample.means[units.layer_of == layer])  # in the order of channels
    shape = (1, -1, *(1,) * (a.ndim - 2))
    distance = means.reshape(shape) - a
    stream = torch.Generator().manual_seed(0)
    for _ in range(4):
        chosen = (torch.rand(a.shape[1], generator=stream) < 0.5).reshape(shape)
        moved = a + distance * chosen

        def put(number: int, value: Tensor, moved: Tensor = moved) -> Tensor:
            return moved.to(value) if number == layer else value

        with torch.no_grad(), units.replaced(put):
            network = sample.network
            after = class_logits(network.module(network.prepare(sample.X[few]))).cpu()
        expected = (gradients * (distance * chosen)).flatten(2).sum(2).T
        scale = float((after - z).abs().max() + expected.abs().max())
        if float((after - z - expected).abs().max()) > _ROUNDING * max(scale, 1e-300):
            return False
    return True
