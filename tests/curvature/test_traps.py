"""Twelve ways in which tools return a wrong curvature without a word; benchmarks/traps.py runs
the same on others."""

import copy
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from sklflat import HessianSpectrum, from_module
from sklflat.curvature import GaussNewton, Hessian, MatrixOperator, eigenpairs
from sklflat.networks import Network
from tests.cases import CASES

GENERATOR = torch.Generator().manual_seed(0)
X = torch.randn(100, 6, generator=GENERATOR, dtype=torch.float64)
Y = torch.randint(0, 3, (100,), generator=GENERATOR)


def mlp(seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3)).double()


def dense(module, X=X, y=Y):
    """By two derivatives of plain PyTorch in evaluation mode, row by row."""
    module = copy.deepcopy(module).eval()
    parameters = [p for p in module.parameters() if p.requires_grad]
    loss = F.cross_entropy(module(X), y)
    gradient = torch.autograd.grad(loss, parameters, create_graph=True, allow_unused=True)
    flat = torch.cat(
        [(0 * p if g is None else g).flatten() for g, p in zip(gradient, parameters, strict=True)]
    )
    rows = []
    for f in flat:
        row = torch.autograd.grad(f, parameters, retain_graph=True, allow_unused=True)
        rows.append(
            torch.cat(
                [
                    (torch.zeros_like(p) if h is None else h).flatten()
                    for h, p in zip(row, parameters, strict=True)
                ]
            )
        )
    return torch.stack(rows)


def operator(module, **options):
    return Hessian(Network(module, nn.CrossEntropyLoss()), X, Y, **options)


def relative(A, B):
    return float((A - B).norm() / B.norm())


def test_1_ragged_batch():
    assert relative(operator(mlp(), batch_size=32).dense(), dense(mlp())) < 1e-12


def test_2_second_object_on_the_same_module():
    module = mlp()
    first, second = operator(module), operator(module)
    first.dense()
    assert relative(second.dense(), dense(module)) < 1e-12


def test_3_stale_gradients():
    module = mlp()
    for p in module.parameters():
        p.grad = torch.full_like(p, 7.0)
    assert relative(operator(module).dense(), dense(module)) < 1e-12
    assert all((p.grad == 7).all() for p in module.parameters())


def spectrum_of(values):
    d = torch.as_tensor(values, dtype=torch.float64)
    Q = torch.linalg.qr(torch.randn(len(d), len(d), dtype=torch.float64, generator=GENERATOR))[0]
    return MatrixOperator((Q * d) @ Q.T)


def test_4_no_ghosts():
    values = np.r_[60.0, np.linspace(1, 5, 19), np.random.RandomState(0).rand(980)]
    pairs = eigenpairs(spectrum_of(values), 20, max_matvec=120)
    assert (pairs.values > 50).sum() == 1
    expected = np.sort(values)[::-1][:20]
    assert np.abs(pairs.values - expected)[pairs.converged].max() < 1e-4 * 60


def test_5_clusters_and_repeated_eigenvalues():
    values = np.r_[[10.0] * 5, 7 + 1e-8 * np.arange(4), np.random.RandomState(0).rand(700)]
    pairs = eigenpairs(spectrum_of(values), 9)
    np.testing.assert_allclose(pairs.values, np.sort(values)[::-1][:9], rtol=1e-6)


def test_6_indefinite_spectrum():
    values = np.r_[np.linspace(-20, -10, 5), np.random.RandomState(0).randn(600), 3.5, 9, 12]
    pairs = eigenpairs(spectrum_of(values), 3)
    np.testing.assert_allclose(pairs.values, [12, 9, 3.5], rtol=1e-5)
    both = eigenpairs(spectrum_of(values), 4, "both")
    np.testing.assert_allclose(both.values, [12, 9, -17.5, -20], rtol=1e-5)


def with_batch_norm(drops=False):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = nn.Sequential(
            nn.Linear(6, 8),
            nn.BatchNorm1d(8),
            nn.ReLU(),
            nn.Dropout(0.5 if drops else 0.0),
            nn.Linear(8, 3),
        ).double()
        module(X)
    return module.train()


def state(module):
    return (
        [part.training for part in module.modules()],
        [b.clone() for b in module.buffers()],
        [p.grad is None for p in module.parameters()],
        torch.get_rng_state(),
    )


@pytest.mark.parametrize("drops", [False, True], ids=["7_batch_norm_in_train_mode", "8_dropout"])
def test_state_of_the_module(drops):
    module = with_batch_norm(drops)
    before = state(module)
    H = operator(module)
    assert relative(H.dense(), dense(module)) < 1e-12
    assert torch.equal(H @ torch.ones(H.size), H @ torch.ones(H.size))
    spectrum = HessianSpectrum(from_module(module, classes=[0, 1, 2]), n_components=2, n_units=2)
    spectrum.fit(X.numpy(), Y.numpy())
    after = state(module)
    assert before[0] == after[0]
    assert all(torch.equal(a, b) for a, b in zip(before[1], after[1], strict=True))
    assert before[2] == after[2]
    assert torch.equal(before[3], after[3])


class Awkward(nn.Module):
    """One layer used twice, one frozen, one that never runs."""

    def __init__(self):
        super().__init__()
        self.shared, self.frozen = nn.Linear(6, 6), nn.Linear(6, 6).requires_grad_(False)
        self.unused, self.last = nn.Linear(4, 4), nn.Linear(6, 3)

    def forward(self, X):
        return self.last(self.frozen(self.shared(self.shared(X).tanh()).tanh()))


def test_9_unused_frozen_and_tied_parameters():
    module = Awkward().double()
    H = operator(module)
    assert H.size == 6 * 6 + 6 + 4 * 4 + 4 + 6 * 3 + 3
    assert relative(H.dense(), dense(module)) < 1e-12


def test_10_cancellation_in_single_precision():
    module = mlp()
    with torch.no_grad():
        for p in module.parameters():
            p.mul_(3)
    exact = operator(module)
    single = Hessian(Network(module, nn.CrossEntropyLoss(), dtype=torch.float32), X, Y)
    v = torch.randn(exact.size, dtype=torch.float64, generator=GENERATOR)
    assert relative((single @ v).double(), exact @ v) < 1e-5
    pairs = eigenpairs(single, 3, max_dense=0)
    expected = torch.linalg.eigvalsh(dense(module)).flip(0)[:3]
    np.testing.assert_allclose(pairs.values, expected, rtol=1e-5)
    assert pairs.converged.all()
    # a tolerance below the noise of single precision is not reached, and that is said
    assert not eigenpairs(single, 3, tol=1e-12, max_dense=0, max_matvec=200).converged.all()


def test_11_rank_below_k():
    module = nn.Linear(40, 20).double()
    data = torch.randn(2, 40, dtype=torch.float64, generator=GENERATOR)
    G = GaussNewton(Network(module, nn.MSELoss()), data[:1], data[:1, :20])
    pairs = eigenpairs(G, 30, max_dense=0)  # one sample with 20 outputs: rank 20
    value = 2 / 20 * float(data[0].square().sum() + 1)
    np.testing.assert_allclose(pairs.values, [value] * 20 + [0] * 10, atol=1e-10)
    assert pairs.converged.all()


def test_12_zero_hessian():
    class Flat(nn.Module):
        def forward(self, z, y):
            return 0 * (z - y).square().mean()

    H = Hessian(Network(nn.Linear(6, 1), Flat()), X, X[:, :1])
    pairs = eigenpairs(H, 3, max_dense=0)
    assert (pairs.values == 0).all()
    assert (pairs.residuals == 0).all()
    assert pairs.converged.all()


@pytest.mark.slow
def test_threads_leave_attention_as_it_was():
    case = CASES["transformer"]
    module, rows = case.module(), case.rows(30)

    def product(_):
        H = Hessian(Network(module, nn.CrossEntropyLoss()), rows, torch.arange(30) % 3)
        return H @ torch.ones(H.size)

    enabled = torch.backends.cuda.flash_sdp_enabled()
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(product, range(24)))
    assert all(torch.equal(r, results[0]) for r in results)
    assert torch.backends.cuda.flash_sdp_enabled() == enabled


def test_attention_has_a_second_derivative():
    case = CASES["transformer"]
    module, rows = case.module(), case.rows(30)
    H = Hessian(Network(module, nn.CrossEntropyLoss()), rows, torch.arange(30) % 3)
    fused = torch.backends.cuda.flash_sdp_enabled(), torch.backends.cuda.math_sdp_enabled()
    assert (H @ torch.ones(H.size)).isfinite().all()
    assert fused == (
        torch.backends.cuda.flash_sdp_enabled(),
        torch.backends.cuda.math_sdp_enabled(),
    )
