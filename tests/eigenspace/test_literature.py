"""What is published of Hessians, found again with this package's numbers."""

import itertools

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F

from sklflat.curvature import Hessian, ScaledOperator, Subspace, eigenpairs
from sklflat.networks import Network, TaskLoss

DIGITS, LABELS = load_digits(return_X_y=True)
DIGITS = DIGITS / 16


def train(module, X, y, epochs, rho=0.0, lr=0.1, seed=0):
    """SGD with momentum, with SAM's gradient for rho > 0."""
    parameters = list(module.parameters())
    optimizer = torch.optim.SGD(parameters, lr, momentum=0.9)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(epochs):
        for rows in torch.randperm(len(X), generator=generator).split(64):
            g = gradient(F.cross_entropy(module(X[rows]), y[rows]), parameters)
            if rho:
                g = sam_gradient(
                    lambda rows=rows: F.cross_entropy(module(X[rows]), y[rows]), parameters, g, rho
                )
            for p, q in zip(parameters, g, strict=True):
                p.grad = q
            optimizer.step()
    return module


def gradient(loss, parameters):
    return torch.autograd.grad(loss, parameters)


@torch.no_grad()
def move(parameters, directions, length):
    for p, q in zip(parameters, directions, strict=True):
        p.add_(length * q)


def sam_gradient(loss, parameters, g, rho):
    norm = float(torch.cat([q.flatten() for q in g]).norm())
    move(parameters, g, rho / norm)
    g_tilde = gradient(loss(), parameters)
    move(parameters, g, -rho / norm)
    return g_tilde


def mlp(*sizes, activation=nn.ReLU, seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers = [nn.Linear(a, b) for a, b in itertools.pairwise(sizes)]
    steps = [step for layer in layers for step in (layer, activation())][:-1]
    return nn.Sequential(*steps).double()


def digits_of(n_classes, n=600):
    chosen = np.flatnonzero(n_classes > LABELS)[:n]
    return torch.as_tensor(DIGITS[chosen]), torch.as_tensor(LABELS[chosen])


def hessian(module, X, y, criterion=None):
    return Hessian(Network(module, criterion or nn.CrossEntropyLoss()), X, y)


def n_outliers(values):
    """Eigenvalues above the largest gap of their logarithms."""
    return int(np.argmax(-np.diff(np.log(values)))) + 1


@pytest.mark.parametrize(
    "n_classes",
    [pytest.param(2, marks=pytest.mark.slow), 3, pytest.param(10, marks=pytest.mark.slow)],
)
def test_outliers_are_one_less_than_classes_whatever_the_width(n_classes):
    # Sagun et al. 2017: parameters that are added only lengthen the bulk. This is so while the
    # network learns; once the loss nears zero single classes leave the outliers one after another.
    X, y = digits_of(n_classes)
    counts = []
    for width in (16, 64):
        for seed in range(3):
            module = train(mlp(64, width, n_classes, seed=seed), X, y, 12, lr=0.01, seed=seed)
            values = eigenpairs(hessian(module, X, y), n_classes + 5).values
            counts.append(n_outliers(values[values > 0]))
    assert counts == [n_classes - 1] * 6


def test_gradient_lies_in_the_top_subspace():
    # Gur-Ari et al. 2018; a random direction would have a share of K / p
    X, y = digits_of(10)
    operator = hessian(train(mlp(64, 32, 10), X, y, 20, lr=0.1), X, y)
    top = Subspace(eigenpairs(operator, 10).vectors)
    share = float(top.share(operator.gradient))
    assert share > 0.8
    assert share > 100 * 10 / operator.size


def rescaled(module, factor):
    """The same function of ReLU units, with other weights; and the diagonal A of w' = A w."""
    twin = mlp(64, 16, 10)
    twin.load_state_dict(module.state_dict())
    with torch.no_grad():
        twin[0].weight.mul_(factor[:, None])
        twin[0].bias.mul_(factor)
        twin[2].weight.div_(factor)
    parts = [factor[:, None].expand(16, 64), factor, (1 / factor).expand(10, 16), torch.ones(10)]
    return twin, torch.cat([part.reshape(-1) for part in parts])


def test_rescaling_of_dinh_changes_the_spectrum_but_not_the_adaptive_one():
    X, y = digits_of(10, n=200)
    module = train(mlp(64, 16, 10), X, y, 3, lr=0.02)
    factor = torch.linspace(0.1, 20, 16, dtype=torch.float64)
    twin, A = rescaled(module, factor)
    torch.testing.assert_close(twin(X), module(X), rtol=1e-12, atol=1e-12)
    H, H_twin = hessian(module, X, y), hessian(twin, X, y)
    v = torch.randn(H.size, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    expected = (H @ (v / A)) / A  # H' = A^-T H A^-1
    assert (H_twin @ v - expected).norm() < 1e-10 * expected.norm()

    values = [eigenpairs(op, 5, tol=1e-12).values for op in (H, H_twin)]
    assert abs(values[1][0] / values[0][0] - 1) > 0.1
    adaptive = [
        eigenpairs(ScaledOperator(op, op.vector.read().abs()), 5, tol=1e-12).values
        for op in (H, H_twin)
    ]
    np.testing.assert_allclose(adaptive[1], adaptive[0], rtol=1e-10)


@pytest.mark.slow
def test_sam_finds_flatter_minima():
    # Foret et al. 2021, figure 3: lambda_1 and lambda_1 / lambda_5 are lower
    X, y = digits_of(10)
    lower = np.zeros((5, 2), dtype=bool)
    for seed in range(5):
        plain, sharp = (
            eigenpairs(
                hessian(train(mlp(64, 32, 10, seed=seed), X, y, 30, rho, 0.05, seed), X, y), 5
            ).values
            for rho in (0.0, 0.2)
        )
        lower[seed] = sharp[0] < plain[0], sharp[0] / sharp[4] < plain[0] / plain[4]
    assert (lower.sum(axis=0) >= 4).all()


def edge_ratio(eta, rho, n_steps=6000, every=30):
    """Median of lambda_1 over the edge of stability, in the second half of full-batch descent."""
    X = torch.as_tensor(DIGITS[:200])
    Y = F.one_hot(torch.as_tensor(LABELS[:200]), 10).double()
    module = mlp(64, 24, 24, 10, activation=nn.Tanh)
    parameters = list(module.parameters())

    def loss():
        return 0.5 * (module(X) - Y).square().sum(1).mean()

    ratios, v = [], None
    for step in range(n_steps):
        g = gradient(loss(), parameters)
        norm = float(torch.cat([q.flatten() for q in g]).norm())
        if step >= n_steps // 2 and step % every == 0:
            pairs = eigenpairs(
                hessian(module, X, Y, TaskLoss("squared")), 1, tol=1e-3, start=v, audit=False
            )
            v = pairs.vectors[0]
            edge = 2 / eta
            if rho:
                edge = norm / (2 * rho) * (np.sqrt(1 + 8 * rho / (eta * norm)) - 1)
            ratios.append(pairs.values[0] / edge)
        if rho:
            g = sam_gradient(loss, parameters, g, rho)
        move(parameters, g, -eta)
    return np.median(ratios), edge * eta / 2


@pytest.mark.slow
@pytest.mark.parametrize("eta", [0.2, 0.5])
def test_gradient_descent_hovers_at_the_edge_of_stability(eta):
    # Cohen et al. 2021: sharpness rises to 2 / eta and stays
    assert edge_ratio(eta, 0.0)[0] == pytest.approx(1, abs=0.07)


@pytest.mark.slow
def test_sam_hovers_at_its_own_edge_below_that():
    # Long and Bartlett 2023
    ratio, edge = edge_ratio(0.2, 0.05)
    assert ratio == pytest.approx(1, abs=0.05)
    assert edge < 0.9
