"""Eigenpairs, traces and densities of matrices whose spectra are known."""

import numpy as np
import pytest
import torch
from scipy.special import ndtr
from scipy.stats import wasserstein_distance
from torch import nn

from sklflat.curvature import (
    Hessian,
    MatrixOperator,
    Subspace,
    eigenpairs,
    hutch_plus_plus,
    hutchinson,
    lanczos_quadrature,
    power_iteration,
    principal_angles,
    spectral_density,
    stochastic_power_iteration,
    subspace_overlap,
    xtrace,
)
from sklflat.networks import Network
from tests._slow import slow_after
from tests.cases import CASES

BULK = np.random.RandomState(0).rand(560)
SPECTRA = {
    "outliers": np.r_[np.linspace(5, 60, 15), BULK],
    "power law": 1 / np.arange(1, 601) ** 1.5,
    "repeated": np.r_[[10] * 6, [5] * 4, BULK],
    "indefinite": np.linspace(-8, 9, 600),
    "rank 3": np.r_[[3, 2, 1], np.zeros(580)],
    "zero": np.zeros(590),
    "multiple of the identity": 2 * np.ones(550),
    "cluster": np.r_[10 + 1e-9 * np.arange(12), BULK],
}


def matrix(name, dtype=torch.float64):
    d = torch.as_tensor(SPECTRA[name])
    generator = torch.Generator().manual_seed(0)
    Q = torch.linalg.qr(torch.randn(len(d), len(d), dtype=torch.float64, generator=generator))[0]
    return MatrixOperator(((Q * d) @ Q.T).to(dtype)), np.sort(d.numpy())[::-1]


def ends(values, k, which):
    """Of descending values."""
    top = {"largest": k, "smallest": 0, "both": k - k // 2}[which]
    return np.r_[values[:top], values[len(values) - (k - top) :]]


@pytest.mark.parametrize("capacity", [None, 24])
@pytest.mark.parametrize(
    ("k", "which"), slow_after(1, [(6, "both"), (12, "largest"), (5, "smallest")])
)
@pytest.mark.parametrize("name", SPECTRA)
def test_eigenpairs(name, k, which, capacity):
    A, values = matrix(name)
    pairs = eigenpairs(A, k, which, capacity=capacity, max_matvec=4000)
    scale = max(abs(values).max(), 1e-300)
    assert pairs.converged.all()
    # in a bulk that is denser than the accepted residual, neighbours are not told apart
    np.testing.assert_allclose(pairs.values, ends(values, k, which), atol=2e-4 * scale)
    true = A.A @ pairs.vectors.T - pairs.vectors.T * torch.as_tensor(pairs.values)
    np.testing.assert_allclose(pairs.residuals, true.norm(dim=0), atol=1e-12 * scale)
    assert pairs.residuals.max() <= 1e-4 * scale
    eye = torch.eye(k, dtype=torch.float64)
    assert (pairs.vectors @ pairs.vectors.T - eye).abs().max() < 1e-10


@pytest.mark.parametrize("name", ["outliers", "repeated", "cluster", "power law"])
def test_tight_tolerance_gives_eigenvalues_to_rounding(name):
    A, values = matrix(name)
    pairs = eigenpairs(A, 10, tol=1e-10)
    np.testing.assert_allclose(pairs.values, values[:10], rtol=1e-12)


@pytest.mark.parametrize("name", slow_after(1, ["functional_mlp", "resnet", "transformer"]))
def test_eigenpairs_of_networks(name):
    case = CASES[name]
    X, y = case.rows(30), torch.arange(30) % 3
    operator = Hessian(Network(case.module(), nn.CrossEntropyLoss()), X, y)
    values, vectors = torch.linalg.eigh(operator.dense())
    pairs = eigenpairs(operator, 6, tol=1e-8, max_dense=0)
    np.testing.assert_allclose(pairs.values, values.flip(0)[:6], rtol=1e-6)
    assert principal_angles(pairs.vectors, vectors.T[-6:]).max() < 1e-6
    distances = wasserstein_distance(
        values, *_atoms(spectral_density(operator, known=(pairs.values, pairs.vectors)))
    )
    assert distances < 0.01 * float(values.max())


def _atoms(density):
    return density.nodes, None, density.weights


def test_too_few_products_are_said():
    A, values = matrix("indefinite")
    pairs = eigenpairs(A, 8, max_matvec=20, audit=False)
    assert not pairs.converged.all()
    true = A.A @ pairs.vectors.T - pairs.vectors.T * torch.as_tensor(pairs.values)
    np.testing.assert_allclose(pairs.residuals, true.norm(dim=0), rtol=1e-9)
    # whatever converged or not, an eigenvalue lies within the residual
    for value, residual in zip(pairs.values, pairs.residuals, strict=True):
        assert np.abs(values - value).min() <= residual + 1e-12


def test_audit_finds_an_eigenvector_that_the_start_is_orthogonal_to():
    d = torch.cat([torch.tensor([10.0, 9.0]), torch.linspace(0, 1, 598)]).double()
    A = MatrixOperator(torch.diag(d))
    start = torch.ones(600, dtype=torch.float64)
    start[0] = 0
    blind = eigenpairs(A, 2, start=start, audit=False, tol=1e-6)
    assert blind.values[0] == pytest.approx(9)
    np.testing.assert_allclose(eigenpairs(A, 2, start=start, tol=1e-6).values, [10, 9], rtol=1e-8)


def test_few_products_where_the_spectrum_allows_it():
    A, _ = matrix("outliers")
    assert eigenpairs(A, 10).n_matvec <= 45  # of these 10 certify and 8 audit


def test_seed_and_global_generator():
    A, _ = matrix("power law")
    state = torch.get_rng_state()
    one, other = (eigenpairs(A, 4, seed=5) for _ in range(2))
    assert torch.equal(one.vectors, other.vectors)
    assert torch.equal(torch.get_rng_state(), state)


def test_warm_start_takes_fewer_products():
    A, _ = matrix("outliers")
    cold = eigenpairs(A, 5, audit=False)
    warm = eigenpairs(A, 5, audit=False, start=cold.vectors.sum(0))
    assert warm.n_matvec < cold.n_matvec


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 0}, "k=0 pairs are asked for, but the matrix has 600 rows"),
        ({"k": 601}, "k=601 pairs are asked for"),
        ({"which": "LA"}, "which must be one of .*'both'.*, got 'LA'"),
        ({"k": 10, "capacity": 11}, "capacity=11 Lanczos vectors are not enough for k=10"),
    ],
)
def test_bad_parameters(options, message):
    with pytest.raises(ValueError, match=message):
        eigenpairs(matrix("power law")[0], **options)


def test_power_iteration_is_a_reference():
    A, values = matrix("power law")
    pairs = power_iteration(A, 2, tol=1e-5)
    np.testing.assert_allclose(pairs.values, values[:2], rtol=1e-4)
    assert pairs.converged.all()
    assert pairs.n_matvec > eigenpairs(A, 2, tol=1e-5).n_matvec


def test_stochastic_power_iteration_comes_near_only():
    A, values = matrix("outliers")
    noise = torch.randn(3, *A.A.shape, dtype=torch.float64, generator=torch.Generator())
    noise = 0.3 * (noise + noise.mT)
    batches = [MatrixOperator(A.A + N - noise.mean(0)) for N in noise]
    pairs = stochastic_power_iteration(batches, 1, A, max_iter=300)
    assert pairs.values[0] == pytest.approx(values[0], rel=0.1)
    assert not pairs.converged.any()


# --- traces -----------------------------------------------------------------------------------


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("method", [hutchinson, hutch_plus_plus, xtrace])
@pytest.mark.parametrize("name", slow_after(2, ["outliers", "indefinite", "power law", "zero"]))
def test_trace_lies_within_three_standard_errors(name, method, known):
    A, values = matrix(name)
    top = None
    if known:
        pairs = eigenpairs(A, 8, tol=1e-8)
        top = pairs.values, pairs.vectors
    estimates = [method(A, 40, known=top, seed=seed) for seed in range(60)]
    within = [abs(e.value - values.sum()) <= 3 * e.std_error + 1e-9 for e in estimates]
    assert np.mean(within) >= 0.95
    assert all(e.n_matvec <= 40 for e in estimates)
    mean, error = np.mean([e.value for e in estimates]), np.std([e.value for e in estimates])
    assert abs(mean - values.sum()) <= 4 * error / 60**0.5 + 1e-9


@pytest.mark.parametrize("method", [hutch_plus_plus, xtrace])
def test_trace_of_a_matrix_of_low_rank_is_exact(method):
    A, values = matrix("rank 3")
    assert method(A, 12).value == pytest.approx(values.sum(), rel=1e-10)


def test_xtrace_beats_hutchinson_where_the_spectrum_decays():
    A, _ = matrix("power law")
    spread = [
        np.std([method(A, 40, seed=seed).value for seed in range(30)])
        for method in (xtrace, hutch_plus_plus, hutchinson)
    ]
    assert spread[0] < spread[1] < spread[2]


def test_traces_say_how_many_products_are_too_few():
    A, _ = matrix("zero")
    for method, least in ((hutchinson, 1), (hutch_plus_plus, 3), (xtrace, 4)):
        with pytest.raises(ValueError, match=f"too few: at least {least}"):
            method(A, least - 1)


# --- densities --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["outliers", "power law", "rank 3", "zero"])
def test_density_is_near_in_wasserstein_distance(name):
    A, values = matrix(name)
    pairs = eigenpairs(A, 8)
    density = spectral_density(A, known=(pairs.values, pairs.vectors))
    assert density.weights.sum() == pytest.approx(1)
    assert wasserstein_distance(values, *_atoms(density)) <= 0.01 * values.max()


@pytest.mark.slow
def test_error_bars_of_the_smoothed_density_cover():
    A, values = matrix("outliers")
    pairs = eigenpairs(A, 15)
    known = pairs.values, pairs.vectors
    edges = np.array([-0.5, 0.25, 0.75, 1.5])
    expected = np.diff(ndtr((edges - values[:, None]) / 0.2), axis=1).sum(0)
    covered = []
    for seed in range(40):
        count, error = spectral_density(A, 10, 20, known=known, seed=seed).histogram(edges, 0.2)
        covered.extend(abs(count - expected) <= 2.5 * error)
    assert np.mean(covered) >= 0.9


def test_histogram_and_density_add_up():
    A, values = matrix("outliers")
    pairs = eigenpairs(A, 15)
    density = spectral_density(A, known=(pairs.values, pairs.vectors))
    count, error = density.histogram(np.linspace(-1, 61, 30), width=0.1)
    assert count.sum() == pytest.approx(len(values))
    assert (error >= 0).all()
    share, _ = density.cdf([-1, 4, 61])
    np.testing.assert_allclose(share, [0, 1 - 15 / len(values), 1], atol=1e-12)
    x = np.linspace(-10, 70, 4001)
    assert np.trapezoid(density.pdf(x, 0.5)[0], x) == pytest.approx(1, abs=1e-6)
    assert density.mean * len(values) == pytest.approx(values.sum(), rel=0.02)


def test_quadrature_integrates_polynomials_exactly():
    A, _ = matrix("power law")
    u = torch.randn(600, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    nodes, weights = lanczos_quadrature(A, u, 4, torch.Generator())
    v = u = u / u.norm()
    for power in range(8):  # up to degree 2 m - 1
        assert weights @ nodes**power == pytest.approx(float(u @ v), rel=1e-8)
        v = A @ v


# --- subspaces --------------------------------------------------------------------------------


def test_subspaces():
    eye = torch.eye(6, dtype=torch.float64)
    top = Subspace(eye[:2])
    v = torch.arange(6.0).double()
    torch.testing.assert_close(top.project(v) + top.complement(v), v)
    R = top.random(5, torch.Generator().manual_seed(0))
    assert (R[:, :2] == 0).all()
    assert subspace_overlap(eye[:2], eye[:4]) == 1
    tilted = torch.stack([eye[0] * np.cos(1e-9) + eye[4] * np.sin(1e-9), eye[1]])
    np.testing.assert_allclose(principal_angles(tilted, eye[:2]), [0, 1e-9], rtol=1e-6)
    with pytest.raises(ValueError, match="must be orthonormal rows"):
        Subspace(torch.ones(2, 6))


class Restless(MatrixOperator):
    """Never the same matrix twice, as a network with active dropout."""

    def _product(self, v):
        self.A = self.A + 0.01 * torch.diag(torch.randn(len(v), generator=self.noise).double())
        return super()._product(v)


def test_products_that_change_are_never_certified():
    A = Restless(matrix("outliers")[0].A.clone())
    A.noise = torch.Generator().manual_seed(0)
    assert not eigenpairs(A, 5, max_matvec=100).converged.any()


def test_operators_follow_scipys_conventions():
    A, _ = matrix("indefinite")
    V = torch.randn(600, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert A.shape == (600, 600)
    torch.testing.assert_close(A @ V, A.A @ V)
    torch.testing.assert_close(A @ V[:, 0], A.A @ V[:, 0])
    torch.testing.assert_close(A.product(V.T).T, A.A @ V)
    assert A.n_matvec == 7
    for wrong in (V.T, V[:5], V[:, :, None], torch.tensor(1.0)):
        with pytest.raises(ValueError, match=r"of shape \(600, 600\) multiplies vectors"):
            A @ wrong
