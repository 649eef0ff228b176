"""Symmetries of networks that work in single precision inside, and of shared heads."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from sklflat.curvature import Hessian
from sklflat.networks import Network
from sklflat.symmetry import find_symmetry
from sklflat.symmetry.verification import tolerance

GENERATOR = torch.Generator().manual_seed(0)


class NormInSingle(nn.Module):
    """The root mean square norm of language models, in float32 whatever the network is."""

    def __init__(self, norm=None):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Linear(6, 40), nn.Linear(40, 3)
        self.scale = nn.Parameter(torch.rand(40) + 0.5)

    def norm(self, a):
        a = a.float()
        return a * torch.rsqrt(a.square().mean(-1, keepdim=True) + 1e-6)

    def forward(self, X):
        a = F.gelu(self.first(X))
        return self.last(self.norm(a).to(a.dtype) * self.scale)


class LayerNormInSingle(NormInSingle):
    def norm(self, a):
        return F.layer_norm(a.float(), (40,))


class WeightedInSingle(NormInSingle):
    """Not symmetric: the sum is weighted."""

    def norm(self, a):
        a = a.float()
        return a / (a.square() * torch.linspace(0.9, 1.1, 40)).mean(-1, keepdim=True).sqrt()


def groups_of(symmetry):
    return sorted(len(group) for group in symmetry.groups)


@pytest.mark.parametrize("make", [NormInSingle, LayerNormInSingle])
def test_all_channels_of_a_norm_in_single_precision_can_be_exchanged(make):
    symmetry = find_symmetry(make(), torch.randn(5, 6, generator=GENERATOR))
    assert groups_of(symmetry) == [40]
    assert not symmetry.pinned


def test_a_weighted_norm_is_still_no_symmetry():
    symmetry = find_symmetry(WeightedInSingle(), torch.randn(5, 6, generator=GENERATOR))
    assert max(groups_of(symmetry), default=0) < 40


def test_tolerances():
    assert tolerance(torch.float64) == 1e-9
    assert 1e-5 < tolerance(torch.float32) < 1e-4
    assert tolerance(torch.bfloat16) == tolerance(torch.float16) == 1e-3


class Queries(nn.Module):
    """Four heads of queries over two of keys and values."""

    def __init__(self, how):
        super().__init__()
        torch.manual_seed(0)
        self.how = how
        self.q, self.k, self.v = (nn.Linear(8, n) for n in (32, 16, 16))
        self.last = nn.Linear(32, 3)

    def forward(self, X):
        n, t, _ = X.shape
        parts = zip((self.q, self.k, self.v), (4, 2, 2), strict=True)
        q, k, v = (layer(X).view(n, t, heads, 8).transpose(1, 2) for layer, heads in parts)
        if self.how == "grouped":
            z = F.scaled_dot_product_attention(q, k, v, enable_gqa=True)
        else:
            k, v = (a.repeat_interleave(2, 1) for a in (k, v))
            z = torch.softmax(q @ k.mT / 8**0.5, -1) @ v
        return self.last(z.transpose(1, 2).reshape(n, t, 32)).mean(1)


def test_grouped_queries_have_the_symmetry_of_what_they_stand_for():
    X = torch.randn(5, 7, 8, generator=GENERATOR)
    found = [find_symmetry(Queries(how), X) for how in ("grouped", "written out")]
    freedom = [[(len(g), [tuple(p.shape) for p in g.inner]) for g in s.groups] for s in found]
    assert freedom[0] == freedom[1] == [(2, [(2, 8), (2, 8)])]


def test_rounding_inside_is_reported():
    X = torch.randn(40, 6, generator=GENERATOR)
    network = Network(NormInSingle().double(), nn.CrossEntropyLoss())
    y = torch.arange(40) % 3
    assert 1e-8 < Hessian(network, X, y).rounding_error() < 1e-4
    plain = Network(
        nn.Sequential(nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 3)).double(),
        network.criterion.module,
    )
    assert Hessian(plain, X, y).rounding_error() == 0
