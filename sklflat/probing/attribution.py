"""Unit scores by gradients: integrated gradients, and the inputs that a unit likes best."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sklflat.exceptions import UnsupportedNetworkError
from sklflat.probing.sample import Sample


def integrated_gradients(sample: Sample, *, n_steps: int = 32) -> NDArray:
    r"""How much of each sample's loss a unit's departure from its mean accounts for.

    For one layer at a time, with activations :math:`a_i` of sample i and their mean
    :math:`\bar a`,

    .. math::
        s_u = \frac{1}{n} \sum_i \Big| (a_{iu} - \bar a_u) \int_0^1
              \frac{\partial \ell_i}{\partial a_u}\big(\bar a + t (a_i - \bar a)\big)\, dt \Big|

    [1]_, by Gauss-Legendre quadrature. The attributions of a layer's units add up to the
    difference of the loss between the activations and their mean (completeness). ReLU rescaling
    does not change a score; two copies that share the outgoing weights have half of it each.
    Positions of a channel are added up.

    Parameters
    ----------
    sample : Sample
    n_steps : int, default=32
        Points of the quadrature.

    Returns
    -------
    ndarray of shape (n_units,)
        In units of the loss.

    References
    ----------
    .. [1] M. Sundararajan, A. Taly, Q. Yan, "Axiomatic attribution for deep networks", ICML 2017.
       https://arxiv.org/abs/1703.01365
    """
    attributions = loss_attributions(sample, n_steps=n_steps)
    return np.where(sample.dead, 0.0, sample.weights @ np.abs(attributions))


# Captum has this too; it needs numpy < 2, so it cannot be a dependency, nor the tests' oracle.
def loss_attributions(sample: Sample, *, n_steps: int = 32) -> NDArray:
    """The signed attributions of :func:`integrated_gradients`.

    Parameters
    ----------
    sample : Sample
    n_steps : int, default=32
        Points of the integral.

    Returns
    -------
    attributions : ndarray of shape (n_samples, n_units)
    """
    nodes, quadrature = np.polynomial.legendre.leggauss(n_steps)
    points = [(float(t + 1) / 2, float(q) / 2) for t, q in zip(nodes, quadrature, strict=True)]
    means = torch.as_tensor(sample.means)
    network = sample.network
    parts = [
        torch.cat(
            [_layer_attributions(sample, x, y, layer, means, points) for layer in range(n)], 1
        )
        for n in [len(sample.units.layers)]
        for x, y in zip(
            sample.X.split(network.batch_size), sample.target.split(network.batch_size), strict=True
        )
    ]
    return torch.cat(parts).double().cpu().numpy()


def _layer_attributions(
    sample: Sample, x: Tensor, y: Tensor, layer: int, means: Tensor, points: list
) -> Tensor:
    """Attributions (b, n_channels) of one layer for one batch."""
    network, units = sample.network, sample.units
    own = torch.as_tensor(units.layer_of == layer)
    total: list[Tensor] = []
    seen: dict[str, Tensor] = {}
    for t, weight in points:

        def move(index: int, a: Tensor, t: float = t) -> Tensor:
            if index != layer:
                return a
            mean = means[own].to(a).view(1, -1, *(1,) * (a.ndim - 2))
            seen["departure"] = (a - mean).detach()
            seen["point"] = (mean + t * seen["departure"]).requires_grad_()
            return seen["point"]

        with torch.enable_grad(), units.replaced(move):
            z = network.module(network.prepare(x))
            losses, _ = network.criterion.terms(z, network.prepare(y))
            gradient = torch.autograd.grad(losses.sum(), seen["point"])[0]
        total.append(weight * gradient)
    attribution = sum(total) * seen["departure"]
    return attribution.flatten(2).sum(2) if attribution.ndim > 2 else attribution


class OptimalInputs(NamedTuple):
    """The inputs that units like best, and how active they are on them."""

    inputs: NDArray[np.float64]
    activations: NDArray[np.float64]


def optimal_inputs(
    sample: Sample, *, radius: float | None = None, n_steps: int = 100, rate: float = 0.1
) -> OptimalInputs:
    r"""For each unit the input that activates it most, within the reach of the data.

    Projected gradient ascent in the standardised inputs :math:`x = \bar x + \sigma \odot v`,
    :math:`\|v\| \le` `radius`, from the sample that activates the unit most [1]_.

    Parameters
    ----------
    sample : Sample
        Its network reads floating-point numbers.
    radius : float, default=None
        ``None`` is the root mean square of the samples' own :math:`\|v\|`.
    n_steps : int, default=100
        Steps of ascent; the best point seen counts.
    rate : float, default=0.1
        Length of a step, relative to the radius.

    Returns
    -------
    OptimalInputs
        Named tuple: ``inputs`` of shape (n_units, ...), ``activations`` of shape (n_units,),
        averaged over positions.

    References
    ----------
    .. [1] D. Erhan, Y. Bengio, A. Courville, P. Vincent, "Visualizing higher-layer features of a
       deep network", 2009.
    """
    if not sample.X.is_floating_point():
        raise UnsupportedNetworkError("Token ids have no gradient, so no input can be optimised.")
    network = sample.network
    X = network.prepare(sample.X)
    center, scale = X.mean(0), X.std(0, correction=0)
    V = ((X - center) / torch.where(scale > 0, scale, 1)).flatten(1)
    radius = float(V.square().sum(1).mean().sqrt()) if radius is None else radius

    def project(v: Tensor) -> Tensor:
        return v * (radius / v.norm(dim=1, keepdim=True).clamp_min(radius))

    v = project(V[torch.as_tensor(sample.activations.argmax(0)).to(V.device)])
    best, best_a = v, torch.full((len(v),), -torch.inf, dtype=v.dtype, device=v.device)
    for step in range(n_steps + 1):
        v = v.detach().requires_grad_()
        a = _own_activations(sample, center + scale * v.view(-1, *center.shape))
        better = a.detach() > best_a
        best = torch.where(better[:, None], v.detach(), best)
        best_a = torch.where(better, a.detach(), best_a)
        if step == n_steps:
            break
        g = torch.autograd.grad(a.sum(), v)[0]
        # ever shorter steps, so that the end is not an orbit around the best point
        length = rate * radius * (1 - step / n_steps)
        v = project(v + length * g / g.norm(dim=1, keepdim=True).clamp_min(1e-30))
    x = center + scale * best.view(-1, *center.shape)
    return OptimalInputs(x.double().cpu().numpy(), best_a.double().cpu().numpy())


def _own_activations(sample: Sample, x: Tensor) -> Tensor:
    """Activation (n_units,) of unit u on row u of x, differentiable."""
    with torch.enable_grad():
        A = sample.units.watched(lambda: sample.network.module(x))
    return A.diagonal()


def optimal_activation(sample: Sample) -> NDArray:
    r"""How far a unit can be driven beyond what data do, ``(a(x*) - mean) / std``.

    With :math:`x^*` of :func:`optimal_inputs`. ReLU rescaling and duplication do not change it.

    Parameters
    ----------
    sample : Sample

    Returns
    -------
    ndarray of shape (n_units,)
    """
    best = optimal_inputs(sample).activations
    A, s = sample.activations, sample.weights
    mean = s @ A
    std = np.sqrt(s @ np.square(A - mean))
    return np.where(sample.dead, 0.0, (best - mean) / np.where(sample.dead, 1.0, std))
