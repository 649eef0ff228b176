"""REPAIR of networks with batch normalisation."""

import copy

import pytest
import torch
from torch import nn

from sklflat.networks import Network
from sklflat.networks.batch_statistics import recompute_batch_statistics
from sklflat.networks.state import read_state, write_state
from sklflat.paths.paths import LinearPath
from sklflat.paths.repair.hidden_layers import hidden_layers
from sklflat.paths.repair.repair import Repair, repaired

X = 3 + 2 * torch.randn(60, 5, generator=torch.Generator().manual_seed(0)).double()


def plain_after_a_norm():
    layers = (nn.Linear(5, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 2))
    return nn.Sequential(nn.BatchNorm1d(5), *layers)


def norm_inside():
    first = (nn.Linear(5, 16), nn.BatchNorm1d(16), nn.ReLU())
    return nn.Sequential(*first, nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 2))


def pure():
    first = (nn.Linear(5, 16), nn.BatchNorm1d(16), nn.ReLU())
    return nn.Sequential(*first, nn.Linear(16, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 2))


class Preactivated(nn.Module):
    """The first layer is read by a norm and by a sum."""

    def __init__(self):
        super().__init__()
        self.stem, self.norm, self.inner = nn.Linear(5, 8), nn.BatchNorm1d(8), nn.Linear(8, 8)
        self.last = nn.Linear(8, 2)

    def forward(self, X):
        h = self.stem(X)
        return self.last(torch.relu(h + self.inner(torch.relu(self.norm(h)))))


def made(make, seed):
    """In float64, with statistics and affine parameters of its own."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = make().double()
        for norm in module.modules():
            if isinstance(norm, nn.BatchNorm1d):
                nn.init.uniform_(norm.weight, 0.5, 2)
                nn.init.normal_(norm.bias)
        module(X + seed)
    return module.eval()


def setting(make):
    network = Network(made(make, 0), nn.MSELoss())
    return network, LinearPath(*(read_state(made(make, seed)) for seed in (1, 2)))


def moments(module, name):
    """Of a layer's outputs, where norms use the statistics of all rows."""
    module, seen = copy.deepcopy(module), []
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm1d):
            norm.train()
    layer = module.get_submodule(name)
    layer.register_forward_hook(lambda _, given, out: seen.append(out))
    with torch.no_grad():
        module(X)
    (out,) = seen
    return out.mean(0), out.std(0, correction=0)


def at(network, path, t):
    module = copy.deepcopy(network.module)
    write_state(module, path.at(t))
    return module


@pytest.mark.parametrize(
    ("make", "rescaled", "kept"),
    [
        (plain_after_a_norm, ["1", "3"], ["5"]),
        (norm_inside, ["3"], ["0", "5"]),
        (Preactivated, ["stem", "inner"], ["last"]),
    ],
)
def test_layers_that_no_norm_follows_are_rescaled(make, rescaled, kept):
    network, path = setting(make)
    module = repaired(network, path, 0.3, X)
    for name in rescaled:
        one, other = (moments(at(network, path, t), name) for t in (0, 1))
        for found, a, b in zip(moments(module, name), one, other, strict=True):
            torch.testing.assert_close(found, 0.7 * a + 0.3 * b, rtol=1e-9, atol=1e-9)
    for name in kept:
        weight = path.at(0.3)[f"{name}.weight"]
        torch.testing.assert_close(module.get_submodule(name).weight, weight, rtol=0, atol=0)
    assert not any(part.training for part in module.modules())


@pytest.mark.parametrize("make", [plain_after_a_norm, norm_inside, pure, Preactivated])
def test_statistics_are_those_of_the_repaired_network(make):
    network, path = setting(make)
    module = repaired(network, path, 0.5, X)
    again = copy.deepcopy(module)
    recompute_batch_statistics(again, [X])
    for name, buffer in module.named_buffers():
        torch.testing.assert_close(buffer, again.get_buffer(name), rtol=1e-12, atol=1e-12)
    norms = [m for m in module.modules() if isinstance(m, nn.BatchNorm1d)]
    assert all(m.track_running_stats and m.momentum == 0.1 for m in norms)


@pytest.mark.parametrize("batch_size", [None, 20])
def test_where_every_layer_is_normalised_only_statistics_change(batch_size):
    network, path = setting(pure)
    found = repaired(network, path, 0.5, X, batch_size=batch_size).state_dict()
    wanted = at(network, path, 0.5)
    recompute_batch_statistics(wanted, X.split(batch_size or 60))
    for name, tensor in wanted.state_dict().items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-12, atol=1e-12)


def test_a_norm_at_the_input_does_not_keep_others_from_being_repaired():
    network, path = setting(plain_after_a_norm)
    deviations = {
        t: float(moments(repaired(network, path, t, X), "3")[1].mean()) for t in (0, 0.5, 1)
    }
    assert deviations[0.5] == pytest.approx((deviations[0] + deviations[1]) / 2)
    collapsed = float(moments(at(network, path, 0.5), "3")[1].mean())
    assert collapsed < 0.8 * deviations[0.5]


def test_one_row_has_no_variance_but_a_batch_of_one_row_is_like_any_other():
    network, path = setting(pure)
    with pytest.raises(ValueError, match="at least two values of a channel for a variance, got 1"):
        Repair(network, path, X[:1])(0.5)
    for make in (pure, plain_after_a_norm, norm_inside, Preactivated):
        network, path = setting(make)
        wanted = Repair(network, path, X[:41])(0.5)
        for size in (1, 20):
            found = Repair(network, path, X[:41], batch_size=size)(0.5)
            torch.testing.assert_close(found(X), wanted(X), rtol=1e-9, atol=1e-9)


def test_which_layers_are_hidden():
    names = ["0", "3", "6"]
    x = X[:4]
    assert hidden_layers(made(pure, 0), x, names) == []
    assert hidden_layers(made(norm_inside, 0), x, ["0", "3", "5"]) == ["3"]
    assert hidden_layers(made(plain_after_a_norm, 0), x, ["1", "3", "5"]) == ["1", "3"]
    parts = ["stem", "inner", "last"]
    assert hidden_layers(made(Preactivated, 0), x, parts) == ["stem", "inner"]
