"""Networks that are random, keep state, or mix the rows of a batch are refused."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from sklflat import AblationProbe, ActivationProbe, HessianSpectrum, from_module
from sklflat.curvature import GaussNewton, Hessian
from sklflat.exceptions import UnsupportedNetworkError
from sklflat.networks import Network
from sklflat.networks.checks import relative_difference

GENERATOR = torch.Generator().manual_seed(0)
X = torch.randn(60, 5, generator=GENERATOR, dtype=torch.float64)
y = torch.randint(0, 3, (60,), generator=GENERATOR)


class Body(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Linear(5, 16), nn.Linear(16, 3)
        self.norm = nn.BatchNorm1d(16, track_running_stats=False)
        self.calls = 0

    def between(self, a):
        raise NotImplementedError

    def forward(self, X):
        return self.last(self.between(self.first(X).tanh()))


class FunctionalDropout(Body):
    def between(self, a):
        return F.dropout(a)


class Noise(Body):
    def between(self, a):
        return a + 1e-3 * torch.randn_like(a)


class RandomRows(Body):
    def between(self, a):
        return a * torch.bernoulli(torch.full((len(a), 1), 0.5, dtype=a.dtype))


class Counts(Body):
    def between(self, a):
        self.calls += 1
        return a / self.calls


class BatchStatistics(Body):
    def between(self, a):
        return self.norm(a)


class Centred(Body):
    def between(self, a):
        return a - a.mean(0)


class OverRows(Body):
    """Attention between the rows of a batch."""

    def between(self, a):
        return torch.softmax(a @ a.T, 1) @ a


RANDOM = [FunctionalDropout, Noise, RandomRows, Counts]
MIXED = [BatchStatistics, Centred, OverRows]
CASES = [*((make, "deterministic") for make in RANDOM), *((make, "its own") for make in MIXED)]


@pytest.mark.parametrize(("make", "message"), CASES)
def test_every_technique_refuses_them(make, message):
    def network():
        return Network(make(), nn.CrossEntropyLoss())

    for ask in (
        lambda: network().loss(X, y),
        lambda: network().losses(X, y),
        lambda: network().loss_and_gradient(network().vector.read(), X, y),
        lambda: Hessian(network(), X, y),
        lambda: GaussNewton(network(), X, y),
        *(
            lambda probe=probe: probe(from_module(make(), classes=[0, 1, 2])).fit(
                X.numpy(), y.numpy()
            )
            for probe in (ActivationProbe, AblationProbe, HessianSpectrum)
        ),
    ):
        with pytest.raises(UnsupportedNetworkError, match=message):
            ask()


def test_what_is_off_in_evaluation_is_fine():
    module = nn.Sequential(
        nn.Linear(5, 8), nn.Dropout(0.5), nn.BatchNorm1d(8), nn.LayerNorm(8), nn.Linear(8, 3)
    )
    module = module.double()
    network = Network(module, nn.CrossEntropyLoss(), batch_size=7)
    before = torch.get_rng_state()
    whole = Network(module, nn.CrossEntropyLoss()).loss(X, y)
    torch.testing.assert_close(network.loss(X, y), whole, rtol=1e-12, atol=0)
    assert torch.equal(before, torch.get_rng_state())


def test_rounding_inside_is_no_dependence():
    class Single(Body):
        """Rounds to single precision inside, as normalisations of language models do."""

        def between(self, a):
            return (a.float() / a.float().square().mean(1, keepdim=True).sqrt()).to(a.dtype)

    assert torch.isfinite(Network(Single(), nn.CrossEntropyLoss()).loss(X, y))


def test_one_row_and_outputs_that_are_not_finite():
    class Infinite(Body):
        def between(self, a):
            return a / torch.zeros_like(a)

    Network(Infinite(), nn.CrossEntropyLoss()).loss(X, y)
    Network(Infinite(), nn.CrossEntropyLoss()).loss(X[:1], y[:1])


class Squeezes(Body):
    """Takes a batch of one row for no batch."""

    def forward(self, X):
        return self.last(self.first(X).tanh()).squeeze()


def test_two_and_three_rows():
    for n in (2, 3, 4, 5):
        assert torch.isfinite(Network(Squeezes(), nn.CrossEntropyLoss()).loss(X[:n], y[:n]))
        for make in (Centred, OverRows, BatchStatistics):
            with pytest.raises(UnsupportedNetworkError, match="its own"):
                Network(make(), nn.CrossEntropyLoss()).loss(X[:n], y[:n])


def test_one_row_settles_nothing():
    network = Network(Centred(), nn.CrossEntropyLoss())
    network.loss(X[:1], y[:1])
    with pytest.raises(UnsupportedNetworkError, match="its own"):
        network.loss(X, y)


def test_relative_differences():
    nan, inf = float("nan"), float("inf")
    a = torch.tensor([1.0, nan, inf])
    assert relative_difference(a, a) == 0
    assert relative_difference(a, torch.tensor([1.0, nan, -inf])) == np.inf
    assert relative_difference(torch.tensor([nan]), torch.tensor([1.0])) == np.inf
    assert relative_difference(torch.zeros(2), torch.zeros(3)) == np.inf
    assert relative_difference(torch.tensor([1, 2]), torch.tensor([1, 4])) == 0.5
