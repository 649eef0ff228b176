"""Greedy orders, against orders found by trying every candidate with NumPy."""

import numpy as np
import pytest
import torch
from torch import nn

from sklflat import from_module
from sklflat.probing.sample import Sample
from sklflat.pruning.sample import with_judged

N, D, U, K = 50, 4, 7, 3
RNG = np.random.RandomState(0)
X, Y = RNG.normal(size=(N, D)), RNG.randint(0, K, N)
WEIGHT = torch.as_tensor(RNG.uniform(0.5, 2, N))


def network():
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(D, U), nn.Tanh(), nn.Linear(U, K)).double()


def sample(module, weight=None, layers="hidden", **settings):
    made = Sample.of(from_module(module, classes=range(K)), X, Y, weight=weight, layers=layers)
    return with_judged(made, made, **settings)


def oracle(module, weight, refit):
    """Loss (or squared error) of a set of units, written out."""
    A = np.tanh(X @ module[0].weight.detach().numpy().T + module[0].bias.detach().numpy())
    W, b = (p.detach().numpy() for p in module[2].parameters())
    s = np.ones(N) if weight is None else weight.numpy()
    s = s / s.sum()
    z = A @ W.T + b

    def loss(kept):
        kept = list(kept)
        if refit:
            design = np.c_[A[:, kept], np.ones(N)] * np.sqrt(s)[:, None]
            said = z * np.sqrt(s)[:, None]
            return np.square(said - design @ np.linalg.lstsq(design, said, rcond=None)[0]).sum()
        silenced = A.copy()
        gone = np.setdiff1d(np.arange(U), kept)
        silenced[:, gone] = (s @ A)[gone]
        out = silenced @ W.T + b
        return s @ (np.log(np.exp(out).sum(axis=1)) - out[np.arange(N), Y])

    return loss


def backward(loss):
    kept, gone = list(range(U)), []
    while kept:
        worst = min(kept, key=lambda u: loss([v for v in kept if v != u]))
        kept.remove(worst)
        gone.append(worst)
    return gone[::-1]


def forward(loss):
    left, kept = list(range(U)), []
    while left:
        kept.append(min(left, key=lambda u: loss([*kept, u])))
        left.remove(kept[-1])
    return kept


@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["", "weighted"])
@pytest.mark.parametrize("refit", [False, True])
@pytest.mark.parametrize("right", [backward, forward])
def test_the_order_is_that_of_trying_every_candidate(weight, refit, right):
    module = network()
    found = sample(module, weight, forward=right is forward, refit=refit)
    assert found.readout is not None
    assert found.order().tolist() == right(oracle(module, weight, refit))


@pytest.mark.parametrize("forward", [False, True])
def test_passes_through_the_network_give_the_order_of_the_closed_form(forward, monkeypatch):
    """Fewer than 16 units are left, so a step moves one in both."""
    plain = sample(network(), forward=forward, refit=False)
    run = sample(network(), forward=forward, refit=False)
    run.__dict__["readout"] = None
    assert run.order().tolist() == plain.order().tolist()
    sets = np.random.RandomState(0).uniform(size=(4, U)) > 0.5
    np.testing.assert_array_equal(run.judge.errors(sets), plain.judge.errors(sets))


def test_dead_units_come_last_and_copies_of_kept_units_go_first():
    module = network()
    with torch.no_grad():
        module[0].weight[2] = 0.0  # dead
        module[0].weight[5], module[0].bias[5] = module[0].weight[1], module[0].bias[1]
    for forward in (False, True):
        order = sample(module, forward=forward, refit=True).order().tolist()
        assert order[-1] == 2
        assert order[-2] in (1, 5)
