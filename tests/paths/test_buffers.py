"""What buffers are between two networks: recomputed, constant, or refused."""

import copy
import warnings

import pytest
import torch
from torch import nn

from sklflat.exceptions import UnsupportedNetworkError
from sklflat.networks import Network
from sklflat.networks.buffers import check_buffers, write_mixed
from sklflat.networks.network import copy_module
from sklflat.networks.state import read_state
from sklflat.paths.losses import path_losses
from sklflat.paths.paths import LinearPath
from sklflat.paths.repair import Repair
from sklflat.paths.trained_curves import fit_bend

GENERATOR = torch.Generator().manual_seed(0)
X = torch.randn(60, 5, generator=GENERATOR, dtype=torch.float64)
y = torch.randint(0, 3, (60,), generator=GENERATOR)


def old(layer):
    with warnings.catch_warnings():  # deprecated, and in many networks
        warnings.simplefilter("ignore", FutureWarning)
        return nn.utils.spectral_norm(layer)


def spectral(norm, seed):
    torch.manual_seed(seed)
    module = nn.Sequential(norm(nn.Linear(5, 7)), nn.Tanh(), norm(nn.Linear(7, 3))).double()
    module.train()
    for _ in range(200):  # its singular vectors converge
        module(X)
    return module.eval()


def loss_of(module):
    with torch.no_grad():
        return float(nn.functional.cross_entropy(module(X), y))


NORMS = {"parametrized": nn.utils.parametrizations.spectral_norm, "hook": old}


@pytest.mark.parametrize("norm", NORMS.values(), ids=NORMS)
def test_weights_between_have_spectral_norm_one(norm):
    states = [read_state(spectral(norm, seed)) for seed in (0, 1)]
    module = spectral(norm, 2)
    write_mixed(module, states, [0.3, 0.7])
    kept = "parametrizations.weight.original" if norm is not old else "weight_orig"
    for layer in (0, 2):
        mixed = 0.3 * states[0][f"{layer}.{kept}"] + 0.7 * states[1][f"{layer}.{kept}"]
        module(X)  # the hook sets the weight
        right = mixed / torch.linalg.matrix_norm(mixed, 2)
        torch.testing.assert_close(module[layer].weight.detach(), right, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("norm", NORMS.values(), ids=NORMS)
def test_losses_along_a_path_use_them(norm):
    network = Network(spectral(norm, 0), nn.CrossEntropyLoss())
    states = [read_state(spectral(norm, seed)) for seed in (0, 1)]
    path = LinearPath(*states)
    found = path_losses(network, path, [0.0, 0.5, 1.0], X, y)
    module = spectral(norm, 3)
    expected = []
    for c in ([1, 0], [0.5, 0.5], [0, 1]):
        write_mixed(module, states, c)
        expected.append(loss_of(module))
    assert found.loss == pytest.approx(expected, rel=1e-9)
    naive = copy_module(module)
    naive.load_state_dict({n: (states[0][n] + states[1][n]) / 2 for n in states[0]})
    assert abs(loss_of(naive) - expected[1]) > 1e-3
    repaired = Repair(network, path, X)
    assert torch.isfinite(repaired(0.5)(X)).all()
    curve = fit_bend(network, *states, X, y, max_iter=30, random_state=0)
    assert path_losses(network, curve, [0.5], X, y).loss[0] <= found.loss[1] + 1e-3


class Codebook(nn.Module):
    """Centres that are moving averages of what was seen."""

    def __init__(self, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.layer, self.last = nn.Linear(5, 4), nn.Linear(4, 3)
        self.register_buffer("centres", torch.randn(6, 4))
        self.register_buffer("constant", torch.arange(4.0))

    def forward(self, X):
        a = self.layer(X) + self.constant
        return self.last(self.centres[torch.cdist(a, self.centres).argmin(1)])


class MovingAverage(nn.Module):
    def __init__(self, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.last = nn.Linear(5, 3)
        self.register_buffer("average", torch.randn(5), persistent=False)

    def forward(self, X):
        return self.last(X - self.average)


class Counter(MovingAverage):
    def __init__(self, seed=0):
        super().__init__(seed)
        self.average.zero_()
        self.register_buffer("scale", torch.tensor(seed + 1))

    def forward(self, X):
        return super().forward(X) * self.scale


@pytest.mark.parametrize(
    ("make", "name"), [(Codebook, "centres"), (MovingAverage, "average"), (Counter, "scale")]
)
def test_a_buffer_without_a_rule_is_refused_by_name(make, name):
    network = Network(make(0), nn.CrossEntropyLoss())
    a, b = (read_state(make(seed).double()) for seed in (0, 1))
    path = LinearPath(a, b)
    for ask in (
        lambda: path_losses(network, path, [0.5], X, y),
        lambda: Repair(network, path, X),
        lambda: fit_bend(network, a, b, X, y, max_iter=1),
    ):
        with pytest.raises(UnsupportedNetworkError, match=f"buffer '{name}'"):
            ask()
    same = LinearPath(a, b | {name: a[name]})
    assert torch.isfinite(torch.as_tensor(path_losses(network, same, [0.5], X, y).loss)).all()


def test_counters_of_normalisation_may_differ():
    module = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4)).double().eval()
    other = copy.deepcopy(module)
    other[1].num_batches_tracked += 7
    other[1].running_mean += 1
    check_buffers(module, [read_state(module), read_state(other)], X[:4])


def test_what_outputs_do_not_depend_on_may_differ_and_nan_is_equal_to_itself():
    module = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4)).double().eval()
    module.register_buffer("n_steps", torch.tensor(3))
    module.register_buffer("average", torch.randn(7))
    module.register_buffer("unset", torch.full((2,), torch.nan))
    other = copy.deepcopy(module)
    other.n_steps += 4
    other.average += 1
    check_buffers(module, [read_state(module), read_state(other)], X[:4])


def test_more_buffers_of_a_normalisation_are_no_statistics():
    class Norm(nn.BatchNorm1d):
        def __init__(self, n):
            super().__init__(n)
            self.register_buffer("codebook", torch.ones(n))

        def forward(self, X):
            return super().forward(X) * self.codebook

    module = nn.Sequential(nn.Linear(5, 4), Norm(4)).double().eval()
    other = copy.deepcopy(module)
    other[1].codebook += 1
    with pytest.raises(UnsupportedNetworkError, match=r"buffer '1.codebook'"):
        check_buffers(module, [read_state(module), read_state(other)], X[:4])
