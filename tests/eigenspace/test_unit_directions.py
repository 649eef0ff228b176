"""Units in the eigenspace, against dense matrices, plain sampling and exact invariances."""

import numpy as np
import pytest
import torch
from scipy.stats import ks_2samp
from torch import nn

from sklflat.curvature import (
    GaussNewton,
    GaussNewtonFactor,
    Hessian,
    ScaledOperator,
    Subspace,
    block_measures,
    eigenpairs,
)
from sklflat.eigenspace.unit_directions import (
    UnitDirections,
    flat_alignment,
    flat_alignment_null,
    unit_curvature,
    unit_curvature_null,
    unit_response,
)
from sklflat.networks import Network, Units
from tests._probes import random_arrays, random_data, two_layer
from tests.cases import CASES

GENERATOR = torch.Generator().manual_seed(0)


class Setting:
    """A network with a smooth nonlinearity, its units and the top of its Hessian."""

    def __init__(self, module=None, metric="plain", outgoing=False, k=3):
        self.module = module or two_layer(*random_arrays(0), activation=nn.Tanh)
        X, y = random_data(0)
        self.X, self.y = torch.as_tensor(X), torch.as_tensor(y)
        self.network = Network(self.module, nn.CrossEntropyLoss())
        operator = Hessian(self.network, self.X, self.y)
        self.units = Units.find(self.network.module, self.X)
        self.directions = UnitDirections.of(
            self.units, operator.vector, metric, outgoing, torch.float64
        )
        scale = self.directions.scale
        self.operator = operator if scale is None else ScaledOperator(operator, scale)
        self.H = self.operator.dense()
        self.top = Subspace(eigenpairs(self.operator, k, tol=1e-10).vectors)

    def dense_directions(self):
        """The units' unit vectors (U, p), entry by entry."""
        w = self.network.vector.read()
        rows = []
        for u in range(len(self.units)):
            row = torch.zeros_like(w)
            for e in self.directions.blocks.indices(u).tolist():
                row[e] = w[e] if self.directions.scale is None else w[e].sign()
            rows.append(row / row.norm())
        return torch.stack(rows)


@pytest.mark.parametrize("outgoing", [False, True])
@pytest.mark.parametrize("metric", ["plain", "adaptive"])
def test_alignment_and_curvature_are_those_of_the_dense_matrix(metric, outgoing):
    s = Setting(metric=metric, outgoing=outgoing)
    D = s.dense_directions()
    V = torch.linalg.eigh(s.H)[1][:, -3:]
    inside = (D @ V).square().sum(1)
    np.testing.assert_allclose(flat_alignment(s.directions, s.top), 1 - inside, atol=1e-8)
    expected = torch.einsum("ui,ij,uj->u", D, s.H, D)
    np.testing.assert_allclose(unit_curvature(s.directions, s.operator), expected, atol=1e-10)


def test_outgoing_adds_the_weights_that_read_a_unit():
    inner, outer = Setting(), Setting(outgoing=True)
    # 4 inputs and a bias; then 3 outputs too
    assert inner.directions.blocks.sizes.tolist() == [5] * 6
    assert outer.directions.blocks.sizes.tolist() == [8] * 6


def test_null_of_alignment_is_the_law_of_uniform_directions_in_the_block():
    s = Setting(k=7)  # more than the 5 entries of a block
    null = flat_alignment_null(s.directions, s.top, 4000, np.random.RandomState(0))
    assert not null.pooled
    for u in (0, 4):
        entries = s.directions.blocks.indices(u)
        Z = torch.randn(4000, len(entries), dtype=torch.float64, generator=GENERATOR)
        D = torch.zeros(4000, s.operator.size, dtype=torch.float64)
        D[:, entries] = Z / Z.norm(dim=1, keepdim=True)
        assert ks_2samp(null.draws[:, u], 1 - s.top.share(D).numpy()).pvalue > 1e-3


def test_p_values_of_alignment_are_uniform_for_random_weights():
    # weights that are uniform in their blocks, whatever the curvature
    p = []
    for seed in range(40):
        s = Setting()
        w = torch.randn(s.operator.size, dtype=torch.float64, generator=GENERATOR)
        directions = UnitDirections(s.directions.blocks, w, None)
        null = flat_alignment_null(directions, s.top, 500, np.random.RandomState(seed))
        p.extend(null.p_values(flat_alignment(directions, s.top)))
    assert 0.01 < np.mean(np.array(p) <= 0.05) < 0.1


def test_null_of_curvature_matches_single_products():
    s = Setting()
    null = unit_curvature_null(s.directions, s.operator, 3000, np.random.RandomState(0))
    entries = s.directions.blocks.indices(2)
    Z = torch.randn(3000, len(entries), dtype=torch.float64, generator=GENERATOR)
    Z = Z / Z.norm(dim=1, keepdim=True)
    block = s.H[entries][:, entries]
    assert (
        ks_2samp(null.draws[:, 2], torch.einsum("ni,ij,nj->n", Z, block, Z).numpy()).pvalue > 1e-3
    )


def test_adaptive_scores_do_not_change_when_relu_units_are_rescaled():
    W1, b1, W2, b2 = random_arrays(1)
    factor = np.linspace(0.3, 4, 6)
    one = Setting(two_layer(W1, b1, W2, b2), "adaptive")
    other = Setting(two_layer(W1 * factor, b1 * factor, W2 / factor[:, None], b2), "adaptive")
    for score in (
        lambda s: flat_alignment(s.directions, s.top),
        lambda s: unit_curvature(s.directions, s.operator),
    ):
        np.testing.assert_allclose(score(one), score(other), rtol=1e-7, atol=1e-10)


def test_permuted_units_have_permuted_scores():
    W1, b1, W2, b2 = random_arrays(2)
    order = np.array([3, 0, 5, 1, 4, 2])
    one = Setting(two_layer(W1, b1, W2, b2, nn.Tanh))
    other = Setting(two_layer(W1[:, order], b1[order], W2[order], b2, nn.Tanh))
    np.testing.assert_allclose(
        flat_alignment(other.directions, other.top),
        flat_alignment(one.directions, one.top)[order],
        atol=1e-8,
    )


def response(s):
    weights = np.full(len(s.X), 1 / len(s.X))
    return unit_response(
        s.network, s.units, s.X, weights, s.directions, s.top, s.operator, GENERATOR
    )


def test_response_is_the_finite_difference_of_activations():
    s = Setting()
    w, h = s.network.vector.read(), 1e-6
    moved = []
    for sign in (1, -1):
        s.network.vector.write(w + sign * h * s.top.vectors[0])
        moved.append(s.units.activations(s.network.module, s.X))
    s.network.vector.write(w)
    expected = ((moved[0] - moved[1]) / (2 * h)).square().mean(0)
    r = response(s)
    np.testing.assert_allclose(r.top[0], expected, rtol=1e-6)
    values = torch.linalg.eigvalsh(s.H).flip(0)
    np.testing.assert_allclose(r.curvature_top, values[:3], rtol=1e-6)
    # a step of length t along v raises the loss by t^2 v'Hv / 2
    per_rise = (2 * r.top / r.curvature_top[:, None]).mean(0)
    np.testing.assert_allclose(r.at_equal_rise()[0], per_rise)


@pytest.mark.parametrize("name", ["cnn", "transformer", "resnet"])
def test_response_works_for_other_architectures(name):
    case = CASES[name]
    s = Setting.__new__(Setting)
    s.X, s.module = case.rows(12), case.module()
    s.network = Network(s.module, nn.CrossEntropyLoss())
    s.operator = Hessian(s.network, s.X, torch.arange(12) % 3)
    s.units = Units.find(s.network.module, s.X)
    s.directions = UnitDirections.of(s.units, s.operator.vector, "plain", False, torch.float64)
    s.top = Subspace(eigenpairs(s.operator, 2).vectors)
    scores = response(s).scores()
    assert scores.shape == (len(s.units),)
    assert ((scores >= 0) & (scores <= 1)).all()


@pytest.mark.parametrize("name", ["mlp", "cnn", "transformer", "mixer", "tied_mlp"])
def test_spectral_measures_are_those_of_the_dense_gauss_newton_matrix(name):
    case = CASES[name]
    X, module = case.rows(12), case.module()
    network = Network(module, nn.CrossEntropyLoss())
    operator = GaussNewton(network, X, torch.arange(12) % 3)
    units = Units.find(network.module, X)
    directions = UnitDirections.of(units, operator.vector, "plain", False, torch.float64)
    measures = block_measures(GaussNewtonFactor(operator), directions.blocks, directions.d)
    values, V = torch.linalg.eigh(operator.dense())
    D = directions.rows(torch.arange(len(units)))
    shares = (D @ V).square().numpy()
    np.testing.assert_allclose(measures.weights.sum(1), directions.are_defined, atol=1e-9)
    np.testing.assert_allclose(measures.mean, shares @ values.numpy(), atol=1e-12)
    # moments of second and third order, and the distribution function between eigenvalues
    for power in (2, 3):
        np.testing.assert_allclose(
            measures.weights @ measures.nodes**power, shares @ values.numpy() ** power, atol=1e-12
        )
    gap = float(values[-5] + values[-4]) / 2
    below = shares[:, values.numpy() < gap].sum(1)
    np.testing.assert_allclose(measures.share_below(gap), below, atol=1e-7)
