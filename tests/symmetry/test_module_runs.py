"""Runs of a module: what they keep, how much they take at once, and which operations they run."""

import gc
import weakref

import pytest
import torch
from torch import nn

from sklflat.matching import match_by_activations
from sklflat.networks.state import read_state
from sklflat.symmetry import find_symmetry
from sklflat.symmetry.activation_recorder import ActivationRecorder
from sklflat.symmetry.module_runs import rows_at_once, run, traceable


class Noted(nn.Module):
    """A chain of layers that notes its rows, and how many of its activations are alive."""

    def __init__(self, layer, n=6):
        super().__init__()
        self.layers = nn.ModuleList([layer() for _ in range(n)])
        self.last = nn.Linear(5, 2)
        self.n_rows, self.n_alive = [], []

    def forward(self, X):
        alive = weakref.WeakSet()
        x = X
        for layer in self.layers:
            x = torch.tanh(layer(x))
            alive.add(x)
        gc.collect()
        self.n_alive.append(len(alive))
        self.n_rows.append(len(X))
        return self.last(x)


def test_a_run_keeps_no_activations():
    module = traceable(Noted(lambda: nn.Linear(5, 5)))
    run(module, read_state(module), torch.randn(3, 5).double())
    assert module.n_alive == [1]
    assert len(module(torch.randn(3, 5).double())) == 3  # with gradients all are
    assert module.n_alive == [1, 6]


def test_rows_at_once_are_those_that_the_budget_holds():
    """A row of 5 float64 makes 6 times a product and its tanh, and two outputs."""
    module = traceable(Noted(lambda: nn.Linear(5, 5, bias=False)))
    a_row = 8 * (6 * 2 * 5 + 2)
    found = rows_at_once(module, read_state(module), torch.randn(2, 5).double())
    assert found == pytest.approx(2**28 / a_row, rel=0.01)


def test_rows_at_once_of_a_convolution_count_its_windows():
    """Its output of 3 channels, and a matrix of 2 * 9 numbers at each of 8 * 8 places."""
    module = traceable(nn.Conv2d(2, 3, 3, padding=1))
    found = rows_at_once(module, read_state(module), torch.randn(2, 2, 8, 8).double())
    assert found == pytest.approx(2**28 / (8 * 64 * (3 + 2 * 9)), rel=0.01)


@pytest.mark.slow
def test_matching_takes_rows_that_the_budget_holds_and_finds_the_same(monkeypatch):
    monkeypatch.setattr("sklflat.symmetry.module_runs._MAX_BYTES", 40_000)
    seen = []

    class Watched(Noted):
        def forward(self, X):
            seen.append(len(X))
            return super().forward(X)

    torch.manual_seed(0)
    module, X = Watched(lambda: nn.Linear(5, 5)), torch.randn(400, 5)
    symmetry, a = find_symmetry(module, X), read_state(module)
    b = {n: t + 0.3 * torch.randn_like(t) for n, t in a.items()}
    seen.clear()
    found = match_by_activations(symmetry, module, a, b, X)
    assert 20 < max(seen) < 100
    assert sum(seen) == 2 * 400 + 3  # both networks, and the rows that were measured
    whole = match_by_activations(symmetry, module, a, b, X, batch_size=400)
    assert torch.equal(found.perm, whole.perm)
    assert found.objective == pytest.approx(whole.objective, rel=1e-12)


class Differentiating(nn.Module):
    """Puts out the derivative of what it computes, as networks of energies do."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(3, 4), nn.Linear(4, 1)

    def forward(self, X):
        X = X.detach().requires_grad_(True)
        energy = self.last(torch.tanh(self.first(X)))
        return torch.autograd.grad(energy.sum(), X, create_graph=True)[0]


def test_a_module_that_differentiates_itself_can_be_run_and_recorded():
    torch.manual_seed(0)
    module, X = Differentiating().double(), torch.randn(6, 3).double()
    W, b = module.first.weight, module.first.bias
    slope = (1 - torch.tanh(X @ W.T + b) ** 2) * module.last.weight
    copy = traceable(module)
    torch.testing.assert_close(run(copy, read_state(copy), X), slope @ W)
    symmetry = find_symmetry(module, X)
    (columns,) = [
        v for c, v in ActivationRecorder(module, symmetry)(X) if c.tolist() == [0, 1, 2, 3]
    ][:1]
    torch.testing.assert_close(columns, torch.tanh(X @ W.T + b).detach())
