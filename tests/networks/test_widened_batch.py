"""Ablations that compute what comes before a layer once end as those that compute it for each."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from sklflat import from_module
from sklflat.probing.ablated_outputs import Ablation, OnceBefore, ablation_losses
from sklflat.probing.sample import Sample
from tests.cases import CASES

N = 9
#: the length of the batch is a number in this one
KEEPS_LENGTH = {"time_distributed"}
NAMES = sorted(set(CASES) - {"conv_autoencoder"})


def sampled(name):
    case = CASES[name]
    X, module = case.rows(N), case.module().double().eval()
    k = module(X).shape[1]
    model = from_module(module, classes=np.arange(k)) if k > 1 else from_module(module)
    return Sample.of(model, X.numpy(), np.arange(N) % max(k, 2))


@pytest.mark.parametrize("name", NAMES)
def test_outputs_are_those_of_copies_from_the_start_on(name):
    sample = sampled(name)
    once = OnceBefore(sample)
    x = sample.network.prepare(sample.X)
    for layer in range(len(sample.units.layers)):
        assert once.allows(layer, x) == (name not in KEEPS_LENGTH)
        own = np.flatnonzero(sample.units.layer_of == layer)[:5]
        channels = torch.as_tensor(sample.units.channel_of[own])
        ablation = Ablation(layer, channels, torch.randn(len(own)).double(), once)
        with torch.no_grad():
            found, right = ablation.run(sample, x), ablation.from_input_on(sample, x)
        torch.testing.assert_close(found, right, rtol=0, atol=1e-13)


class Counts(nn.Module):
    """Rows that its first and its last layer have seen."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second, self.last = nn.Linear(4, 5), nn.Linear(5, 12), nn.Linear(12, 3)
        self.seen = [0, 0]

    def forward(self, X):
        self.seen[0] += len(X)
        a = torch.relu(self.second(torch.relu(self.first(X))))
        self.seen[1] += len(a)
        return self.last(a)


def test_what_comes_before_a_layer_is_computed_once():
    """Twelve copies of twenty rows, and two for each of the comparisons."""
    module = Counts().double()
    X = np.random.RandomState(0).normal(size=(20, 4))
    sample = Sample.of(
        from_module(module, classes=[0, 1, 2]), X, np.arange(20) % 3, layers=["relu_1"]
    )
    alive = int((~sample.dead).sum())
    own = sample.network.module
    own.seen[:] = [0, 0]
    ablation_losses(sample, np.arange(20)[None])
    before, after = own.seen
    assert after - before == 20 * (alive - 1) + 20  # and of two copies, from the layer on
    assert before < 20 * 8


class Products(TorchDispatchMode):
    """Rows of the matrix products."""

    def __init__(self):
        super().__init__()
        self.rows = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func in (torch.ops.aten.addmm.default, torch.ops.aten.mm.default):
            self.rows.append(args[-2].shape[0])
        return func(*args, **(kwargs or {}))


class Between(nn.Module):
    """Something between the units and the layer that reads them."""

    def __init__(self, between):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Linear(4, 5), nn.Linear(5, 3)
        self.between = between

    def forward(self, X):
        return self.last(self.between(torch.tanh(self.first(X))))


BETWEEN = {
    "nothing": (lambda a: a, True),
    "a clone": (lambda a: a.clone(), True),
    "another function": (torch.sin, True),
    "a function of several channels": (lambda a: torch.softmax(a, 1), False),
    "in place": (lambda a: a.mul_(2), False),
    "in place, of a view": (lambda a: (a[:, 1:].mul_(2), a)[1], False),
    "other places": (lambda a: a.flip(1), False),
    "rows in other places": (lambda a: a[torch.arange(len(a) - 1, -1, -1)].flip(0), False),
    "added rows": (lambda a: a + a.mean(1, keepdim=True), False),
}


@pytest.mark.parametrize("what", BETWEEN)
def test_a_linear_layer_of_units_is_computed_once_and_no_other(what):
    between, once_only = BETWEEN[what]
    X = np.random.RandomState(0).normal(size=(20, 4))
    module = Between(between).double()
    sample = Sample.of(
        from_module(module, classes=[0, 1, 2]), X, np.arange(20) % 3, layers=["tanh"]
    )
    once = OnceBefore(sample)
    x = sample.network.prepare(sample.X)
    ablation = Ablation(0, torch.arange(5), torch.randn(5).double(), once)
    with torch.no_grad():
        right = ablation.from_input_on(sample, x)
        ablation.run(sample, x)
        with Products() as products:
            found = ablation.run(sample, x)
    torch.testing.assert_close(found, right, rtol=0, atol=1e-13)
    assert products.rows == [20, 20 if once_only else 100]


def test_units_that_nothing_reads_change_nothing_at_all():
    module = Between(lambda a: a)
    with torch.no_grad():
        module.last.weight[:, 2] = 0
    X = np.random.RandomState(0).normal(size=(20, 4))
    sample = Sample.of(from_module(module, classes=[0, 1, 2]), X.astype("f"), np.arange(20) % 3)
    assert ablation_losses(sample, np.arange(20)[None])[0, 2] == 0


class Shuffles(nn.Module):
    """Compares rows with themselves by their numbers, of as many as there were at first."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Linear(4, 5), nn.Linear(5, 3)

    def forward(self, X):
        n = len(X)
        a = torch.relu(self.first(X))
        return self.last(a)[:n].roll(0, 0)


def test_what_ends_otherwise_is_computed_from_the_start():
    sample = Sample.of(
        from_module(Shuffles(), classes=[0, 1, 2]),
        np.ones((6, 4)) * np.arange(6)[:, None],
        np.arange(6) % 3,
    )
    once = OnceBefore(sample)
    assert not once.allows(0, sample.network.prepare(sample.X))
    assert not OnceBefore(sample).allows(0, sample.network.prepare(sample.X[:1]))


class InPlace(nn.Module):
    def __init__(self, style):
        super().__init__()
        torch.manual_seed(0)
        self.style = style
        self.first, self.last = nn.Linear(4, 5), nn.Linear(5, 3)

    def forward(self, X):
        a = self.first(X)
        if self.style == "function":
            a = nn.functional.relu(a, inplace=True)
        elif self.style == "method":
            a = a.relu_()
        else:
            a.relu_()  # what it returns is not used
        return self.last(a)


@pytest.mark.parametrize("style", ["function", "method", "not used"])
def test_activations_in_place(style):
    X = np.random.RandomState(0).normal(size=(8, 4))
    sample = Sample.of(from_module(InPlace(style).double(), classes=[0, 1, 2]), X, np.arange(8) % 3)
    found = ablation_losses(sample, np.arange(8)[None])[0]
    plain = float(sample.network.loss(sample.X, sample.target))
    for u in np.flatnonzero(~sample.dead):

        def silenced(index, a, u=u):
            a = a.clone()
            a[:, u] = sample.means[u]
            return a

        with sample.units.replaced(silenced):
            z = sample.network.module(sample.X)
        right = float(nn.functional.cross_entropy(z, sample.target).detach()) - plain
        assert found[u] == pytest.approx(right, abs=1e-12)


class BoundLate(nn.Module):
    """Works in place on what a function returned as it was, which shows on large rows only."""

    def __init__(self, alias):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Linear(4, 5), nn.Linear(5, 3)
        self.alias = alias

    def forward(self, X):
        h = torch.relu(self.first(X))
        z = self.alias(h)
        z[z > 3] = 3
        return self.last(h + 1)


ALIASES = {
    "dropout": lambda h: nn.functional.dropout(h, 0.5, training=False),
    "cast": lambda h: h.to(h.dtype),
    "detached": torch.Tensor.detach,
    "flat": lambda h: h.flatten(1),
    "view": lambda h: h[:, 1:],
}


@pytest.mark.parametrize("what", ALIASES)
def test_what_is_written_into_an_alias_is_written_into_the_units(what):
    """On rows 100 to 103 alone, which are none of those on which two ways are compared."""
    X = np.random.RandomState(0).normal(size=(150, 4))
    X[100:104] *= 20
    module = BoundLate(ALIASES[what]).double()
    sample = Sample.of(from_module(module, classes=[0, 1, 2]), X, np.arange(150) % 3)
    once = OnceBefore(sample)
    x = sample.network.prepare(sample.X)
    ablation = Ablation(0, torch.arange(5), torch.randn(5).double(), once)
    with torch.no_grad():
        found, right = ablation.run(sample, x), ablation.from_input_on(sample, x)
    torch.testing.assert_close(found, right, rtol=0, atol=1e-13)
