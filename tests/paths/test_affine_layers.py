"""REPAIR takes every affine layer, whatever its class, and says which matrices it leaves."""

import warnings

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from sklflat.exceptions import ConnectivityWarning
from sklflat.networks import Network
from sklflat.networks.state import read_state
from sklflat.paths.paths import LinearPath
from sklflat.paths.repair import Repair
from sklflat.paths.repair.affine_layers import affine_layers

GENERATOR = torch.Generator().manual_seed(0)
X = torch.randn(80, 6, generator=GENERATOR, dtype=torch.float64)


class Subclass(nn.Linear):
    pass


class Transposed(nn.Module):
    """A linear layer that keeps its weight as (inputs, outputs), as GPT-2's Conv1D does."""

    def __init__(self, n_in, n_out):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(n_in, n_out) / n_in**0.5)
        self.bias = nn.Parameter(torch.zeros(n_out))

    def forward(self, X):
        return torch.addmm(self.bias, X, self.weight)


class Einsum(nn.Module):
    def __init__(self, n_in, n_out):
        super().__init__()
        self.matrix = nn.Parameter(torch.randn(n_in, n_out) / n_in**0.5)

    def forward(self, X):
        return torch.einsum("ni,io->no", X, self.matrix)


def normed(n_in, n_out):
    return nn.utils.parametrizations.weight_norm(nn.Linear(n_in, n_out))


def old_normed(n_in, n_out):
    with warnings.catch_warnings():  # deprecated, and in many networks
        warnings.simplefilter("ignore", FutureWarning)
        return nn.utils.weight_norm(nn.Linear(n_in, n_out))


class Squared(nn.Module):
    """Holds a matrix, but is not affine."""

    def __init__(self, n_in, n_out):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(n_out, n_in) / n_in**0.5)

    def forward(self, X):
        return F.linear(X, self.weight).square()


class Rectified(Squared):
    """Is homogeneous, but does not add up."""

    def forward(self, X):
        return F.linear(X, self.weight).relu()


class Grouped(nn.Module):
    """A matrix for each group, which is no convolution."""

    def __init__(self):
        super().__init__()
        self.weight, self.last = nn.Parameter(torch.randn(2, 3, 4)), nn.Linear(8, 3)
        self.inner = nn.Identity()

    def forward(self, X):
        return self.last(torch.einsum("ngi,gio->ngo", X.view(-1, 2, 3), self.weight).flatten(1))


class Bounded(nn.Module):
    """Is affine for inputs of the data's size only."""

    def __init__(self, n_in, n_out):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(n_out, n_in) / n_in**0.5)

    def forward(self, X):
        return F.linear(X, self.weight).clamp(-50, 50)


class TransposedConvolution(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.ConvTranspose1d(2, 3, 2), nn.Linear(12, 2)

    def forward(self, X):
        return self.last(F.relu(self.first(X.view(-1, 2, 3))).flatten(1))


AFFINE = [nn.Linear, Subclass, Transposed, Einsum, normed, old_normed]


def network_of(make, seed):
    torch.manual_seed(seed)
    if make is TransposedConvolution:
        return make().double()
    return nn.Sequential(make(6, 9), nn.Tanh(), nn.Linear(9, 3)).double()


def first_of(module):
    return module.first if isinstance(module, TransposedConvolution) else module[0]


def moments_of(module):
    with torch.no_grad():
        out = first_of(module)(X.view(-1, 2, 3) if hasattr(module, "first") else X)
    rows = out.movedim(1, -1).flatten(0, -2) if out.ndim > 2 else out
    return rows.mean(0).numpy(), rows.std(0, correction=0).numpy()


@pytest.mark.parametrize("make", [*AFFINE, TransposedConvolution])
def test_moments_of_every_kind_of_affine_layer_are_those_of_the_ends(make):
    ends = [network_of(make, seed) for seed in (0, 1)]
    for module in ends:
        module(X)  # the hook of old weight normalisation sets the weight
    network = Network(ends[0], nn.CrossEntropyLoss())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        repair = Repair(network, LinearPath(*map(read_state, ends)), X)
    assert repair.not_repaired == ()
    found = moments_of(repair(0.5))
    for one, a, b in zip(found, *map(moments_of, ends), strict=True):
        np.testing.assert_allclose(one, (a + b) / 2, rtol=1e-8, atol=1e-8)


class Reads(nn.Module):
    """Reads a matrix of its own, beside a layer."""

    def __init__(self):
        super().__init__()
        self.layer, self.last = nn.Linear(6, 5), nn.Linear(5, 3)
        self.mixing = nn.Parameter(torch.eye(5))

    def forward(self, X):
        return self.last((self.layer(X).tanh() @ self.mixing).relu())


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.again, self.last = nn.Linear(6, 5), nn.Linear(5, 5), nn.Linear(5, 3)

    def forward(self, X):
        return self.last(self.again(self.again(self.first(X).tanh()).tanh()).tanh())


class Attends(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention, self.last = nn.MultiheadAttention(2, 1, batch_first=True), nn.Linear(6, 3)

    def forward(self, X):
        X = X.view(-1, 3, 2)
        return self.last(self.attention(X, X, X, need_weights=False)[0].flatten(1))


@pytest.mark.parametrize(
    ("make", "left"),
    [
        (Reads, ["mixing"]),
        (Twice, ["again.weight"]),
        (lambda: nn.Sequential(Squared(6, 5), nn.Linear(5, 3)), ["0.weight"]),
        (lambda: nn.Sequential(Rectified(6, 5), nn.Linear(5, 3)), ["0.weight"]),
        (Grouped, ["weight"]),
        (lambda: nn.Sequential(Bounded(6, 5), nn.Linear(5, 3)), ["0.weight"]),
        (Attends, ["attention.in_proj_weight", "attention.out_proj.weight"]),
    ],
)
def test_what_is_left_is_listed_and_said(make, left):
    torch.manual_seed(0)
    module = make().double()
    _, others = affine_layers(module, X[:4])
    assert others == left
    network = Network(module, nn.CrossEntropyLoss())
    state = read_state(network.module)
    with pytest.warns(ConnectivityWarning, match=f"REPAIR leaves '{left[0]}'"):
        repair = Repair(network, LinearPath(state, state), X)
    assert repair.not_repaired == tuple(left)


def test_tables_and_scales_are_no_matrices():
    module = nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4), nn.LayerNorm(4), nn.Linear(4, 2))
    layers, others = affine_layers(module.double().eval(), X)
    assert (layers, others) == ({"0": 0, "3": 0}, [])
