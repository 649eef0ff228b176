"""Products with curvature matrices, against matrices made row by row with plain autograd."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from sklflat.curvature import (
    Fisher,
    GaussNewton,
    GaussNewtonFactor,
    GradientCovariance,
    Hessian,
    ScaledOperator,
)
from sklflat.exceptions import UnsupportedNetworkError
from sklflat.networks import Network, ParameterVector, Units
from tests.cases import CASES, BasicBlock, Case

N = 11


class Attention(nn.Module):
    """PyTorch's own attention, and little else."""

    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
        self.head = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 3))

    def forward(self, X):
        return self.head(self.attention(X, X, X, need_weights=False)[0].mean(1))


class NarrowResNet(nn.Module):
    """Convolutions, batch normalisation and a residual stream, of 35 parameters."""

    def __init__(self):
        super().__init__()
        self.stem, self.bn = nn.Conv2d(1, 1, 2), nn.BatchNorm2d(1)
        self.block = BasicBlock(1, 1, 1)
        self.head = nn.Linear(1, 3)

    def forward(self, X):
        x = self.block(F.relu(self.bn(self.stem(X)))).mean((2, 3))
        return self.head(x)


NETWORKS = CASES | {
    "multihead_attention": Case(Attention, (3, 4)),
    "narrow_resnet": Case(NarrowResNet, (1, 4, 4)),
}

#: one network a kind of layer; the others are slow ones
QUICK = {
    "mlp",
    "functional_mlp",
    "sequence_cnn",
    "narrow_resnet",
    "tied_mlp",
    "multihead_attention",
}
#: the same layers again, in minutes
REPEATS = {"transformer_batch_second"}


def marks(name):
    if name in REPEATS:
        return [pytest.mark.slow, pytest.mark.repeats]
    return [] if name in QUICK else [pytest.mark.slow]


each_network = pytest.mark.parametrize("name", [pytest.param(n, marks=marks(n)) for n in NETWORKS])


class Oracle:
    """A network on a few rows, and its matrices by plain autograd, one entry or row at a time.

    torch.func.hessian is no oracle: for nn.MultiheadAttention it is not even symmetric.
    """

    def __init__(self, name, criterion=None):
        case = NETWORKS[name]
        self.module, self.X = case.module(), case.rows(N)
        generator = torch.Generator().manual_seed(2)
        z = self.module(self.X).detach()
        if z.shape[1] == 3:
            self.criterion, self.y = criterion or nn.CrossEntropyLoss(), torch.arange(N) % 3
        else:
            self.criterion = nn.MSELoss()
            self.y = torch.randn(z.shape, generator=generator, dtype=torch.float64)
        self.s = torch.rand(N, generator=generator, dtype=torch.float64)
        self.network = Network(self.module, self.criterion)
        self.parameters = [p for p in self.module.parameters() if p.requires_grad]

    def flat(self, gradients):
        pairs = zip(gradients, self.parameters, strict=True)
        return torch.cat([(torch.zeros_like(p) if g is None else g).flatten() for g, p in pairs])

    def rows(self, outputs):
        """The derivative (k, p) of outputs (k,)."""
        return torch.stack(
            [
                self.flat(
                    torch.autograd.grad(o, self.parameters, retain_graph=True, allow_unused=True)
                )
                if o.requires_grad
                else self.flat([None] * len(self.parameters))
                for o in outputs
            ]
        )

    def loss(self, i, y=None):
        y = self.y if y is None else y
        return self.criterion(self.module(self.X[i : i + 1]), y[i : i + 1])

    def hessian(self):
        with sdpa_kernel(SDPBackend.MATH):
            total = sum(s * self.loss(i) for i, s in enumerate(self.s)) / self.s.sum()
            gradient = torch.autograd.grad(
                total, self.parameters, create_graph=True, allow_unused=True
            )
            return self.rows(self.flat(gradient))

    def gauss_newton(self):
        total = 0
        for i, s in enumerate(self.s):
            z = self.module(self.X[i : i + 1])
            J = self.rows(z[0])
            y = self.y[i : i + 1]
            B = torch.autograd.functional.hessian(lambda z, y=y: self.criterion(z, y), z.detach())
            total = total + s * J.T @ B.reshape(z.numel(), -1) @ J
        return total / self.s.sum()

    def gradients(self, y=None):
        return self.rows(torch.stack([self.loss(i, y) for i in range(N)]))


def close(A, B, accuracy=1e-10):
    return (A - B).norm() <= accuracy * B.norm()


@each_network
def test_products_on_every_architecture(name):
    oracle = Oracle(name)
    data = oracle.network, oracle.X, oracle.y, oracle.s
    H, G = oracle.hessian(), oracle.gauss_newton()
    V = torch.randn(3, len(H), dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    for batch_size, budget in ((N, 2**30), (4, 2**30), (4, 1)):  # the last batch is ragged
        options = {"batch_size": batch_size, "memory_budget": budget}
        operator = Hessian(*data, **options)
        assert operator.n_kept == (0 if budget == 1 else -(-N // batch_size))
        assert close(operator.product(V), V @ H)
        assert close(torch.stack([operator.product(v) for v in V]), V @ H)
        assert close(GaussNewton(*data, **options).product(V), V @ G)
    assert operator.n_matvec == 6


@pytest.mark.parametrize("name", ["functional_mlp", "cnn"])
def test_fisher_matrices(name):
    oracle = Oracle(name)
    data = oracle.network, oracle.X, oracle.y, oracle.s
    weights = oracle.s / oracle.s.sum()
    p = oracle.module(oracle.X).softmax(1).detach()
    exact = 0
    for c in range(3):
        g = oracle.gradients(torch.full((N,), c))
        exact = exact + g.T @ ((weights * p[:, c])[:, None] * g)
    assert close(Fisher(*data, batch_size=4).dense(), exact)
    g = oracle.gradients()
    empirical = g.T @ (weights[:, None] * g)
    assert close(Fisher(*data, kind="empirical", batch_size=4).dense(), empirical)
    covariance = torch.cov(g.T, correction=0, aweights=oracle.s)
    assert close(GradientCovariance(*data, batch_size=4).dense(), covariance)
    drawn = Fisher(*data, kind="monte_carlo", n_draws=500)
    assert close(drawn.dense(), exact, 0.2)
    v = torch.ones(len(exact))
    assert torch.equal(drawn @ v, drawn @ v)


@pytest.mark.parametrize(
    "criterion",
    [
        nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 5.0]).double()),
        nn.CrossEntropyLoss(ignore_index=1),
        nn.CrossEntropyLoss(reduction="sum"),
        nn.CrossEntropyLoss(label_smoothing=0.2),
    ],
    ids=["weights", "ignored", "sum", "smoothing"],
)
def test_criteria_as_pytorch_defines_them(criterion):
    module, X = CASES["functional_mlp"].module(), CASES["functional_mlp"].rows(N)
    y = torch.arange(N) % 3
    parameters = list(module.parameters())
    gradient = torch.autograd.grad(criterion(module(X), y), parameters, create_graph=True)
    flat = torch.cat([g.flatten() for g in gradient])
    H = torch.stack(
        [
            torch.cat([h.flatten() for h in torch.autograd.grad(f, parameters, retain_graph=True)])
            for f in flat
        ]
    )
    operator = Hessian(Network(module, criterion), X, y, batch_size=4)
    assert close(operator.dense(), H)
    assert close(operator.gradient, flat.detach())
    assert operator.loss == pytest.approx(criterion(module(X), y).item())


def test_gauss_newton_of_log_probabilities_is_that_of_logits():
    module, X, y = CASES["mlp"].module(), CASES["mlp"].rows(N), torch.arange(N) % 3
    ended = nn.Sequential(module, nn.LogSoftmax(1))
    expected = GaussNewton(Network(module, nn.CrossEntropyLoss()), X, y).dense()
    assert close(GaussNewton(Network(ended, nn.NLLLoss()), X, y).dense(), expected)


def test_some_parameters_have_a_block_of_the_matrix():
    oracle = Oracle("functional_mlp")
    own = ParameterVector(
        [(n, p) for n, p in oracle.network.module.named_parameters() if "second" in n]
    )
    operator = Hessian(oracle.network, oracle.X, oracle.y, oracle.s, vector=own)
    start = 6 * 7 + 7
    block = oracle.hessian()[start : start + len(own), start : start + len(own)]
    assert close(operator.dense(), block)


def test_scaled_operator():
    oracle = Oracle("mlp")
    operator = Hessian(oracle.network, oracle.X, oracle.y, oracle.s)
    t = torch.linspace(0.5, 2, operator.size, dtype=torch.float64)
    expected = t[:, None] * oracle.hessian() * t
    assert close(ScaledOperator(operator, t).dense(), expected)


@each_network
def test_factor_of_the_gauss_newton_matrix(name):
    oracle = Oracle(name)
    G = oracle.gauss_newton()
    for budget in (2**30, 5000):  # the second cuts layers and parameters into slices
        operator = GaussNewton(oracle.network, oracle.X, oracle.y, oracle.s, memory_budget=budget)
        factor = GaussNewtonFactor(operator)
        rows = factor.pull(torch.eye(factor.n_rows))
        assert close(rows.T @ rows, G)
        assert close(factor.gram(), rows @ rows.T)
        units = Units.find(oracle.network.module, oracle.X)
        d = torch.linspace(-1, 1, operator.size, dtype=torch.float64)
        for blocks in (units.incoming(operator.vector), units.outgoing(operator.vector)):
            D = torch.zeros(len(blocks), operator.size, dtype=torch.float64)
            for u in range(len(blocks)):
                D[u, blocks.indices(u)] = d[blocks.indices(u)]
            assert close(factor.along(blocks, d), rows @ D.T)


class Wave(nn.Module):
    """A loss that is not convex in the outputs."""

    def forward(self, z, y):
        return (z - y).sin().mean()


class Once(torch.autograd.Function):
    """A square that can be differentiated once."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, g):
        return 2 * ctx.saved_tensors[0] * g


class OnceNetwork(nn.Linear):
    def forward(self, X):
        return Once.apply(super().forward(X))


def test_errors():
    oracle = Oracle("functional_mlp")
    network, X, y = oracle.network, oracle.X, oracle.y
    with pytest.raises(ValueError, match=r"V has shape \(3,\), but this operator multiplies"):
        Hessian(network, X, y).product(torch.zeros(3))
    with pytest.raises(ValueError, match="curvature needs finite ones"):
        Hessian(network, X * torch.inf, y)
    with pytest.raises(ValueError, match="no parameter with requires_grad=True"):
        Hessian(Network(nn.Linear(6, 3).requires_grad_(False), nn.CrossEntropyLoss()), X, y)
    with pytest.raises(ValueError, match="weights of all samples are zero"):
        Hessian(network, X, y, torch.zeros(N))
    with pytest.raises(TypeError, match="SmoothL1Loss is not known as the negative log-lik"):
        Fisher(Network(nn.Linear(6, 1), nn.SmoothL1Loss()), X, X[:, :1])
    with pytest.raises(ValueError, match="kind must be 'exact', 'monte_carlo' or 'empirical'"):
        Fisher(network, X, y, kind="exakt")
    with pytest.raises(UnsupportedNetworkError, match="marked once_differentiable"):
        Hessian(Network(OnceNetwork(6, 3), nn.CrossEntropyLoss()), X, y).product(torch.ones(21))
    waves = GaussNewton(Network(nn.Linear(6, 1), Wave()), X, X[:, :1])
    with pytest.raises(UnsupportedNetworkError, match="not convex in the network's outputs"):
        GaussNewtonFactor(waves)
    with pytest.raises(ValueError, match="33 rows of the factor, more than max_rows=10"):
        GaussNewtonFactor(GaussNewton(network, X, y), max_rows=10)


def test_rounding_error_of_single_precision():
    oracle = Oracle("mlp")
    single = Network(oracle.module, oracle.criterion, dtype=torch.float32)
    error = Hessian(single, oracle.X, oracle.y).rounding_error()
    assert 1e-9 < error < 1e-4
    assert Hessian(oracle.network, oracle.X, oracle.y).rounding_error() == 0


@pytest.mark.slow
def test_labels_are_drawn_from_log_probabilities_too():
    module = nn.Sequential(CASES["mlp"].module(), nn.LogSoftmax(1))
    X, y = CASES["mlp"].rows(N), torch.arange(N) % 3
    network = Network(module, nn.NLLLoss())
    exact = Fisher(network, X, y).dense()
    assert close(Fisher(network, X, y, kind="monte_carlo", n_draws=3000).dense(), exact, 0.1)
