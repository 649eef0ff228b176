"""Products are compared with differences: what PyTorch gets wrong is written out or refused."""

import warnings

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from sklflat import HessianSpectrum, from_module
from sklflat.curvature import Fisher, GaussNewton, Hessian, derivative_checks
from sklflat.curvature.derivative_checks import check_products
from sklflat.exceptions import UnsupportedNetworkError
from sklflat.networks import Network

GENERATOR = torch.Generator().manual_seed(0)
X = torch.randn(40, 4, generator=GENERATOR, dtype=torch.float64)
y = torch.randint(0, 3, (40,), generator=GENERATOR)


def old_style(layer):
    with warnings.catch_warnings():  # deprecated, and in many networks
        warnings.simplefilter("ignore", FutureWarning)
        return nn.utils.weight_norm(layer)


class Detaches(torch.autograd.Function):
    @staticmethod
    def forward(ctx, a):
        ctx.save_for_backward(a)
        return a.square()

    @staticmethod
    def backward(ctx, g):
        (a,) = ctx.saved_tensors
        return 2 * a.detach() * g


class WrongSlope(torch.autograd.Function):
    """A first derivative that is another function's, as a surrogate gradient is."""

    @staticmethod
    def forward(ctx, a):
        ctx.save_for_backward(a)
        return a.sign()

    @staticmethod
    def backward(ctx, g):
        (a,) = ctx.saved_tensors
        return g / (1 + a.square())


class Detached(nn.Module):
    """A scale that counts as a constant in the derivative."""

    def forward(self, X):
        return X / X.detach().square().mean(1, keepdim=True).sqrt()


def network(first, *between):
    torch.manual_seed(0)
    module = nn.Sequential(first(nn.Linear(4, 6)), *between, nn.Tanh(), nn.Linear(6, 3))
    return Network(module, nn.CrossEntropyLoss(), dtype=torch.float64)


PARAMETRISED = {
    "weight norm": nn.utils.parametrizations.weight_norm,
    "weight norm of columns": lambda m: nn.utils.parametrizations.weight_norm(m, dim=1),
    "weight norm of all": lambda m: nn.utils.parametrizations.weight_norm(m, dim=None),
    "weight norm, old": old_style,
    "spectral norm": nn.utils.parametrizations.spectral_norm,
    "orthogonal": nn.utils.parametrizations.orthogonal,
}


def difference(net, v, h=1e-6):
    w = net.vector.read()
    ends = [net.loss_and_gradient(w + sign * h * v, X, y)[1] for sign in (1, -1)]
    return (ends[0] - ends[1]) / (2 * h)


@pytest.mark.parametrize("first", PARAMETRISED.values(), ids=PARAMETRISED)
def test_products_of_parametrised_weights_are_right(first):
    net = network(first)
    w = net.vector.read()  # an orthogonal matrix has a kink where it begins
    net.vector.write(w + 0.01 * torch.randn(len(w), generator=GENERATOR, dtype=w.dtype))
    hessian = Hessian(net, X, y)
    v = hessian.random(1, GENERATOR)[0]
    torch.testing.assert_close(hessian @ v, difference(net, v), rtol=1e-5, atol=1e-7)
    A = torch.stack([hessian @ row for row in torch.eye(len(hessian), dtype=torch.float64)])
    torch.testing.assert_close(A, A.T, rtol=1e-9, atol=1e-12)
    G = GaussNewton(net, X, y)  # J' (diag p - p p') J, with J by differences of outputs
    w, parts = net.vector.read(), []
    for sign in (1, -1):
        net.vector.write(w + sign * 1e-6 * v)
        parts.append(net.outputs(X))
    net.vector.write(w)
    Jv, p = (parts[0] - parts[1]) / 2e-6, net.outputs(X).softmax(1)
    quadratic = ((p * Jv * Jv).sum(1) - (p * Jv).sum(1) ** 2).mean()
    assert float(v @ (G @ v)) == pytest.approx(float(quadratic), rel=1e-6)


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: network(lambda m: m, _Calls(Detaches)), "Detaches"),
        (lambda: network(lambda m: m, _Calls(WrongSlope)), "WrongSlope"),
        (lambda: network(lambda m: m, Detached()), "Mean"),
    ],
)
@pytest.mark.parametrize("operator", [Hessian, GaussNewton, Fisher])
def test_wrong_derivatives_are_refused_by_name(make, named, operator):
    if named == "Detaches" and operator is not Hessian:
        return  # its first derivative is right, and no other is needed
    with pytest.raises(UnsupportedNetworkError, match=named):
        operator(make(), X, y)


class _Calls(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, X):
        return self.function.apply(X)


class Kinked(nn.Module):
    """Biases of zero on rows of zeros, so that units are at their kink."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(4, 50), nn.Linear(50, 3)
        nn.init.zeros_(self.first.bias)

    def forward(self, X):
        return self.last(F.relu(self.first(X)))


def test_kinks_are_no_wrong_derivatives():
    torch.manual_seed(0)
    zeros = X.clone()
    zeros[::2] = 0
    for module in (Kinked(), nn.Sequential(nn.Linear(4, 9), nn.ReLU(), nn.Linear(9, 3))):
        net = Network(module, nn.CrossEntropyLoss())
        assert check_products(Hessian(net, zeros, y)).passed
        assert check_products(GaussNewton(net, zeros, y)).passed


def test_rows_that_are_ignored_or_weigh_nothing_are_not_compared():
    ignored = y.clone()
    ignored[:35] = -100
    net = network(lambda m: m)
    assert check_products(Hessian(net, X, ignored)).passed
    s = torch.zeros(40, dtype=torch.float64)
    s[-3:] = 1
    assert check_products(Hessian(net, X, y, s)).passed


@pytest.mark.filterwarnings("ignore::sklflat.exceptions.NothingFoundWarning")  # untrained
def test_a_spectrum_refuses_what_its_operator_refuses():
    module = network(lambda m: m, _Calls(Detaches)).module
    probe = HessianSpectrum(from_module(module, classes=[0, 1, 2]), n_components=2)
    with pytest.raises(UnsupportedNetworkError, match=r"Detaches.*no right derivative"):
        probe.fit(X.numpy(), y.numpy())
    weight_normed = network(nn.utils.parametrizations.weight_norm)
    probe = HessianSpectrum(from_module(weight_normed.module, classes=[0, 1, 2]), n_components=2)
    probe.fit(X.numpy(), y.numpy())
    hessian = Hessian(weight_normed, X, y).dense()
    largest = np.linalg.eigvalsh(hessian.numpy())[-1]
    assert probe.eigenvalues_[0] == pytest.approx(largest, rel=1e-3)


class Domain(nn.Module):
    """A parameter that has to be positive, and one of another size."""

    def __init__(self, function):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Linear(4, 64), nn.Linear(64, 3)
        self.small = nn.Parameter(torch.full((64,), 1e-3))
        self.large = nn.Parameter(torch.tensor(1e5))
        self.function = function

    def forward(self, X):
        return self.last(self.first(X).tanh() * self.function(self.small)) + self.large / 1e5


@pytest.mark.parametrize("function", [torch.sqrt, torch.log, torch.reciprocal])
def test_parameters_of_other_sizes_and_domains(function):
    net = Network(Domain(function), nn.CrossEntropyLoss())
    assert check_products(Hessian(net, X, y)).passed
    assert check_products(GaussNewton(net, X, y)).passed


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("act", [nn.ReLU, nn.ReLU6, nn.Hardtanh, nn.LeakyReLU])
def test_rows_in_single_precision_and_constants_do_not_matter(dtype, act):
    class Position(nn.Module):
        def forward(self, X):
            return X + torch.arange(X.shape[1]).float().sin() * torch.tensor(0.5)

    for seed in range(3):
        torch.manual_seed(seed)
        module = nn.Sequential(
            nn.Linear(4, 64), act(), Position(), nn.Linear(64, 64), act(), nn.Linear(64, 3)
        )
        check = check_products(Hessian(Network(module, nn.CrossEntropyLoss()), X.to(dtype), y))
        assert check.passed
        assert check.limit == 1e-4


@pytest.mark.parametrize("operator", [Hessian, GaussNewton])
def test_rows_that_take_long_are_compared_in_pairs(operator, monkeypatch):
    monkeypatch.setattr(derivative_checks, "_MAX_FLOPS", 1e3)
    check = check_products(operator(network(lambda m: m), X, y))  # 84 flops a row
    assert check.passed
    assert check.compared.endswith("on 11 rows")
    monkeypatch.setattr(derivative_checks, "_MAX_FLOPS", 0)
    assert check_products(operator(network(lambda m: m), X, y)).compared.endswith("on 2 rows")
    with pytest.raises(UnsupportedNetworkError, match="on 2 rows"):
        operator(network(lambda m: m, _Calls(WrongSlope)), X, y)


def test_a_product_after_a_gradient_elsewhere_is_of_the_parameters_there():
    operator, there = Hessian(network(lambda m: m), X, y), Hessian(network(lambda m: m), X, y)
    w, v = operator.vector.read() + 0.1, torch.linspace(-1, 1, len(operator.vector)).double()
    gradient = operator.gradient_at(w)
    there.move_to(w)
    torch.testing.assert_close(gradient, there.gradient, rtol=0, atol=0)
    torch.testing.assert_close(operator.product(v), there.product(v), rtol=1e-12, atol=1e-14)
