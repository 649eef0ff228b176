"""REPAIR: moments are those that the ends suggest, and the midpoint is better for it."""

import copy
import pickle

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

from sklflat import SAMClassifier
from sklflat.exceptions import UnsupportedNetworkError
from sklflat.matching import match_by_activations
from sklflat.networks import Network
from sklflat.networks.batch_statistics import recompute_batch_statistics
from sklflat.networks.state import read_state, write_state
from sklflat.paths.barriers import walk_barriers
from sklflat.paths.losses import path_losses
from sklflat.paths.paths import BezierPath, LinearPath
from sklflat.paths.repair.moment_corrections import Rescaled
from sklflat.paths.repair.repair import Repair, repaired, repaired_losses
from sklflat.probing import resolve
from sklflat.symmetry import find_symmetry
from tests.aligned_cases import ALIGNED
from tests.cases import CASES


def hidden_outputs(module, X):
    """Outputs of all affine layers but the last, rows by channels."""
    seen = []
    layers = [m for m in module.modules() if isinstance(m, (nn.Linear, nn.Conv1d, nn.Conv2d))]
    handles = [m.register_forward_hook(lambda m, i, out: seen.append((m, out))) for m in layers]
    with torch.no_grad():
        module(X.clone())
    for handle in handles:
        handle.remove()
    rows = [
        out.flatten(0, -2) if isinstance(m, nn.Linear) else out.movedim(1, -1).flatten(0, -2)
        for m, out in seen[:-1]
    ]
    return [(r.mean(0).numpy(), r.std(0, correction=0).numpy()) for r in rows]


def at_anchor(network, anchor, X):
    module = copy.deepcopy(network.module)
    write_state(module, anchor)
    return hidden_outputs(module, X)


@pytest.mark.parametrize("t", [0.3, 0.5])
@pytest.mark.parametrize(
    "name", ["mlp", "functional_cnn", "no_bias", "squeeze_excitation", "depthwise_cnn"]
)
def test_moments_are_the_mixed_ones_of_the_ends(name, t):
    case = ALIGNED[name]
    network, X = Network(case.module(), nn.CrossEntropyLoss()), case.rows(50)
    a, b = read_state(case.module(1)), read_state(case.module(2))
    module = repaired(network, LinearPath(a, b), t, X)
    ends = [at_anchor(network, anchor, X) for anchor in (a, b)]
    for (mean, deviation), one, other in zip(hidden_outputs(module, X), *ends, strict=True):
        np.testing.assert_allclose(mean, (1 - t) * one[0] + t * other[0], atol=1e-8)
        np.testing.assert_allclose(deviation, (1 - t) * one[1] + t * other[1], atol=1e-8)


@pytest.mark.parametrize("name", ["mlp", "functional_cnn", "no_bias", "squeeze_excitation"])
def test_batches_change_nothing(name):
    case = ALIGNED[name]
    network, X = Network(case.module(), nn.CrossEntropyLoss()), case.rows(50)
    path = LinearPath(read_state(case.module(1)), read_state(case.module(2)))
    whole, *parts = (repaired(network, path, 0.4, X, batch_size=n) for n in (None, 50, 13, 1))
    for module in parts:
        torch.testing.assert_close(module(X), whole(X), rtol=1e-9, atol=1e-9)


@pytest.mark.filterwarnings("ignore:REPAIR leaves")  # shared and mixed matrices, attention
@pytest.mark.parametrize("name", [n for n in CASES if n not in ("mixer", "time_distributed")])
def test_nothing_happens_at_the_ends(name):
    case = CASES[name]
    network, X = Network(case.module(), nn.CrossEntropyLoss()), case.rows()
    path = LinearPath(read_state(case.module(1)), read_state(case.module(2)))
    for t in (0.0, 1.0):
        module, plain = repaired(network, path, t, X), copy.deepcopy(network.module)
        write_state(plain, path.at(t))
        given = read_state(plain)
        if recompute_batch_statistics(plain, [X]):  # else the network has no batch normalisation
            assert any(not torch.equal(given[n], tensor) for n, tensor in read_state(plain).items())
        torch.testing.assert_close(module(X), plain(X), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("offset", [0.0, 30.0])
def test_what_is_left_where_the_ends_cancel_is_no_signal(dtype, offset):
    torch.manual_seed(1)
    bent = nn.LeakyReLU()
    module = nn.Sequential(nn.Linear(3, 4), bent, nn.Linear(4, 4), bent, nn.Linear(4, 2))
    network, X = Network(module, nn.MSELoss(), dtype=dtype), ROWS.to(dtype) + offset
    a, b = read_state(network.module), read_state(network.module)
    for layer in ("0", "2"):
        for part in ("weight", "bias"):
            b[f"{layer}.{part}"][0] *= -7 / 3  # at t = 0.3 the first unit of each layer is gone
    path = LinearPath(a, b)
    plain, found = path.at(0.3), repaired(network, path, 0.3, X)
    for layer in (0, 2):
        weight = found[layer].weight[0]
        torch.testing.assert_close(weight, plain[f"{layer}.weight"][0], rtol=0, atol=0)
        assert float(weight.detach().abs().max()) < 10 * torch.finfo(dtype).eps
    assert not torch.equal(found[2].weight[1], plain["2.weight"][1])  # unlike its neighbour


class Counting(nn.Sequential):
    """It counts its runs."""

    n_runs = 0

    def forward(self, X):
        Counting.n_runs += 1
        return super().forward(X)


def counted(norm):
    torch.manual_seed(3)
    inner = nn.BatchNorm1d(8) if norm else nn.Identity()
    return Counting(nn.Linear(3, 8), inner, nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2))


@pytest.mark.parametrize("norm", [True, False])
def test_a_point_is_looked_for_once(norm):
    network, path = Network(counted(norm), nn.MSELoss()), counted_path(norm)
    repair = Repair(network, path, ROWS, batch_size=16)
    first = repair(0.5)
    n_runs = Counting.n_runs
    wanted = {name: t.clone() for name, t in first.state_dict().items()}
    for t in first.state_dict().values():
        t.zero_()  # it is the caller's own
    again = repair(torch.tensor(0.5)).state_dict()
    assert Counting.n_runs == n_runs
    assert again.keys() == wanted.keys()
    assert all(torch.equal(again[name], t) for name, t in wanted.items())
    repair(0.4)
    assert Counting.n_runs > n_runs


def counted_path(norm):
    modules = [counted(norm).double() for _ in range(2)]
    for p in modules[1].parameters():
        nn.init.normal_(p, std=0.7)
    return LinearPath(*map(read_state, modules))


@pytest.mark.parametrize("norm", [True, False])
def test_losses_are_those_of_the_networks_one_by_one(norm):
    path = counted_path(norm)
    network = Network(counted(norm).double(), nn.CrossEntropyLoss(), batch_size=7)
    y, s = torch.arange(40) % 2, torch.linspace(0, 1, 40).double()
    repair = Repair(network, path, ROWS)
    found = repair.losses([0.1, 0.5], ROWS, y, s)
    shared = repaired_losses(network, path, [0.1, 0.5], ROWS, ROWS, y, sample_weight=s)
    for i, t in enumerate((0.1, 0.5)):
        with torch.no_grad():
            z = repaired(network, path, t, ROWS)(ROWS)
        losses = nn.functional.cross_entropy(z, y, reduction="none")
        assert found.loss[i] == pytest.approx(float((s * losses).sum() / s.sum()))
        assert found.error[i] == pytest.approx(float((s * (z.argmax(1) != y)).sum() / s.sum()))
    np.testing.assert_array_equal(shared.loss, found.loss)
    with pytest.raises(ValueError, match="array of points"):
        repair.losses(0.5, ROWS, y)


def test_repaired_paths_are_refined():
    network, path = Network(counted(False), nn.CrossEntropyLoss()), counted_path(False)
    y = torch.arange(40) % 2
    repair = Repair(network, path, ROWS)
    found = walk_barriers({"train": lambda ts: repair.losses(ts, ROWS, y)}, n_points=5)
    dense = np.linspace(0, 1, 401)
    curve = repaired_losses(network, path, dense, ROWS, ROWS, y).loss
    (peak,) = (r["t"] for r in found.rows() if (r["definition"], r["measure"]) == ("mean", "loss"))
    assert peak == pytest.approx(dense[curve.argmax()], abs=0.003)
    wanted = curve.max() - (curve[0] + curve[-1]) / 2
    assert found.value("loss", "train") == pytest.approx(wanted, abs=1e-4)


class Shared(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two, self.last = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2)
        self.two.weight = self.one.weight
        self.twice = nn.Linear(4, 4)

    def forward(self, X):
        x = torch.relu(self.two(torch.relu(self.one(X))))
        return self.last(torch.relu(self.twice(torch.relu(self.twice(x)))))


@pytest.mark.filterwarnings("ignore:REPAIR leaves")
def test_shared_weights_are_wrapped_and_used_twice_left_alone():
    torch.manual_seed(0)
    network, X = Network(Shared().double(), nn.CrossEntropyLoss()), torch.randn(40, 4).double()
    ends = [Shared().double() for _ in range(2)]
    a, b = map(read_state, ends)
    module = repaired(network, LinearPath(a, b), 0.5, X)
    assert isinstance(module.one, Rescaled)
    assert isinstance(module.two, Rescaled)
    with torch.no_grad():
        first = [m.one(X) for m in (module, *ends)]
        second = [m.two(torch.relu(h)) for m, h in zip((module, *ends), first, strict=True)]
    for found, one, other in (first, second):
        torch.testing.assert_close(found.mean(0), (one.mean(0) + other.mean(0)) / 2)
        torch.testing.assert_close(found.std(0), (one.std(0) + other.std(0)) / 2)
    twice = (a["twice.weight"] + b["twice.weight"]) / 2
    torch.testing.assert_close(module.twice.weight.detach(), twice)
    again = pickle.loads(pickle.dumps(copy.deepcopy(module)))
    torch.testing.assert_close(again(X), module(X))


class Autoencoder(nn.Module):
    """The decoder reads the encoder's weight."""

    def __init__(self):
        super().__init__()
        self.encoder, self.last = nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, X):
        hidden = torch.relu(self.encoder(X))
        return self.last(nn.functional.linear(hidden, self.encoder.weight.T))


def test_weights_that_are_read_elsewhere_stay():
    torch.manual_seed(0)
    network, X = Network(Autoencoder().double(), nn.CrossEntropyLoss()), torch.randn(40, 4).double()
    ends = [Autoencoder().double() for _ in range(2)]
    a, b = map(read_state, ends)
    module = repaired(network, LinearPath(a, b), 0.5, X)
    assert isinstance(module.encoder, Rescaled)
    middle = (a["encoder.weight"] + b["encoder.weight"]) / 2
    torch.testing.assert_close(module.encoder.weight.detach(), middle)
    out = module.encoder(X).detach()
    one, other = (end.encoder(X).detach() for end in ends)
    torch.testing.assert_close(out.mean(0), (one.mean(0) + other.mean(0)) / 2)
    deviation = (one.std(0) + other.std(0)) / 2
    torch.testing.assert_close(out.std(0), deviation)


class Hidden(Autoencoder):
    """It does not run its layers by their names."""

    def __init__(self):
        super().__init__()
        self.parts = [self.encoder]

    def forward(self, X):
        (encoder,) = self.parts
        return self.last(encoder(X) + nn.functional.linear(X, encoder.weight))


def test_what_cannot_be_corrected_is_an_error():
    torch.manual_seed(0)
    network, X = Network(Hidden(), nn.CrossEntropyLoss()), torch.randn(40, 4)
    path = LinearPath(read_state(Hidden()), read_state(Hidden()))
    with pytest.raises(UnsupportedNetworkError, match="Layers of Hidden cannot be rescaled"):
        repaired(network, path, 0.5, X)
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        repaired(network, path, 0.5, X, batch_size=0)


def test_dead_channels_are_left_alone():
    case = CASES["functional_mlp"]
    network, X = Network(case.module(), nn.CrossEntropyLoss()), case.rows()
    a, b = read_state(case.module(1)), read_state(case.module(2))
    for state in (a, b):
        state["first.weight"][2] = 0
    module = repaired(network, LinearPath(a, b), 0.5, X)
    assert all(bool(p.isfinite().all()) for p in module.parameters())
    assert not module.first.weight[2].any()


@pytest.fixture(scope="module")
def pair():
    X, y = load_digits(return_X_y=True)
    X = (X / 16).astype(np.float32)
    ends = [
        SAMClassifier((64,) * 3, rho=0, max_iter=40, learning_rate_init=0.003, random_state=s)
        for s in (0, 1)
    ]
    first, second = (resolve(end.fit(X, y)) for end in ends)
    a, b = (read_state(t.network.module) for t in (first, second))
    return first.network, a, b, first.to_input(X), first.to_target(y)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_the_midpoint_of_aligned_networks_is_repaired(pair):
    network, a, b, X, y = pair
    symmetry = find_symmetry(network.module, X)
    perm = match_by_activations(symmetry, network.module, a, b, X).perm
    path = LinearPath(a, symmetry.permute(b, perm))
    plain = path_losses(network, path, [0.5], X, y)
    better = repaired_losses(network, path, [0.0, 0.5, 1.0], X, X, y)
    assert better.loss[1] < plain.loss[0] / 2
    assert better.error[1] < plain.error[0]
    ends = path_losses(network, path, [0.0, 1.0], X, y)
    np.testing.assert_allclose(better.loss[[0, 2]], ends.loss, rtol=1e-6)


def test_bends_count_in_the_mix(pair):
    network, a, b, X, _ = pair
    X, network = X.double(), network.like(dtype=torch.float64)
    middle = {n: (a[n] + b[n]) / 2 for n in a}
    module = repaired(network, BezierPath(a, middle, b), 0.5, X)
    wanted = [at_anchor(network, s, X) for s in (a, middle, b)]
    mean, deviation = hidden_outputs(module, X)[0]
    for i, found in enumerate((mean, deviation)):
        mixed = sum(c * w[0][i] for c, w in zip((0.25, 0.5, 0.25), wanted, strict=True))
        np.testing.assert_allclose(found, mixed, atol=1e-8)


class Heads(nn.Module):
    """Two output layers, and a layer that runs if a parameter says so, or the first row."""

    def __init__(self, seed=0, detour=1.0, rows_count=False):
        super().__init__()
        torch.manual_seed(seed)
        self.hidden, self.one, self.two = nn.Linear(3, 8), nn.Linear(8, 2), nn.Linear(8, 1)
        self.more = nn.Linear(8, 8)
        self.detour, self.rows_count = nn.Parameter(torch.tensor(detour)), rows_count
        self.double()

    def forward(self, X):
        h = torch.relu(self.hidden(X))
        if self.detour > 0 or (self.rows_count and float(X[0, 0]) > 0.5):
            h = h + torch.tanh(self.more(h))
        return torch.cat([self.two(h), self.one(h)], 1)


ROWS = torch.randn(40, 3, generator=torch.Generator().manual_seed(0)).double()


def test_no_output_layer_is_touched():
    network, path = Network(Heads(), nn.MSELoss()), heads_path(1.0, 1.0)
    module = repaired(network, path, 0.5, ROWS)
    middle = path.at(0.5)
    for name in ("one", "two"):
        for part in ("weight", "bias"):
            key = f"{name}.{part}"
            torch.testing.assert_close(module.get_parameter(key), middle[key], rtol=0, atol=0)
    assert not torch.equal(module.hidden.weight, middle["hidden.weight"])
    assert not torch.equal(module.more.weight, middle["more.weight"])


def heads_path(first, second):
    return LinearPath(read_state(Heads(1, first)), read_state(Heads(2, second)))


@pytest.mark.filterwarnings("ignore:REPAIR leaves")
@pytest.mark.parametrize(("first", "second"), [(1.0, -1.0), (-1.0, 3.0)])
@pytest.mark.parametrize("t", [0.3, 0.9])
def test_a_layer_that_runs_at_one_end_only_is_left_alone(first, second, t):
    network, path = Network(Heads(), nn.MSELoss()), heads_path(first, second)
    module = repaired(network, path, t, ROWS, batch_size=16)
    torch.testing.assert_close(module.more.weight, path.at(t)["more.weight"], rtol=0, atol=0)
    assert not torch.equal(module.hidden.weight, path.at(t)["hidden.weight"])


def test_layers_that_run_for_some_rows_only_are_an_error():
    X = ROWS.clone()
    X[::8, 0], X[0, 0] = -1.0, 1.0
    network = Network(Heads(rows_count=True), nn.MSELoss())
    with pytest.raises(UnsupportedNetworkError, match="depends on the rows, so that 'more'"):
        repaired(network, heads_path(-1.0, -1.0), 0.5, X, batch_size=8)
