import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from sklflat.exceptions import UnsupportedNetworkError
from sklflat.networks import MLP, Network, TaskLoss
from sklflat.networks.batch_statistics import recompute_batch_statistics
from sklflat.networks.state import read_state, write_state
from sklflat.paths.losses import PathEvaluator, path_losses
from sklflat.paths.paths import BezierPath, LinearPath, Plane, PolygonalChain
from tests.cases import CASES

TS = [0.0, 0.2, 0.5, 0.9, 1.0]
KINDS = {
    "linear": lambda s: LinearPath(s[0], s[1]),
    "bezier": lambda s: BezierPath(*s),
    "polychain": lambda s: PolygonalChain(s),
}


def setting(name, kind="linear", batch_size=10):
    """A network, a path of such networks, rows and labels."""
    case = CASES[name]
    network = Network(case.module(), nn.CrossEntropyLoss(), batch_size=batch_size)
    path = KINDS[kind]([read_state(case.module(seed)) for seed in range(3)])
    X = case.rows()
    k = network.outputs(X).shape[1]
    y = torch.randint(k, (len(X),), generator=torch.Generator().manual_seed(2))
    return network, path, X, y


def naive(network, path, ts, X, y, weight=None, before=None):
    """One state written after the other, and the criterion on all rows."""
    module, found = network.module, []
    for t in ts:
        write_state(module, path.at(t))
        if before is not None:
            recompute_batch_statistics(module, before.split(network.batch_size))
        with torch.no_grad():
            z = module(X.clone())
        losses = F.cross_entropy(z, y, reduction="none")
        wrong = (z.argmax(1) != y).double()
        found.append([np.average(v.numpy(), weights=weight) for v in (losses, wrong)])
    return np.array(found).T


@pytest.mark.parametrize(
    ("name", "kind"),
    [*((name, "linear") for name in CASES), ("mlp", "bezier"), ("resnet", "polychain")],
)
def test_losses_and_outputs_are_those_of_one_network_after_the_other(name, kind):
    network, path, X, y = setting(name, kind)
    found = path_losses(network, path, TS, X, y, outputs=True)
    loss, error = naive(network, path, TS, X, y)
    np.testing.assert_allclose(found.loss, loss, rtol=1e-10, atol=1e-12)
    np.testing.assert_array_equal(found.error, error)
    for t, z in zip(TS, found.outputs, strict=True):
        write_state(network.module, path.at(t))
        np.testing.assert_allclose(z, network.outputs(X), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ["mlp", "cnn", "resnet", "transformer"])
def test_the_network_is_left_as_it_was(name):
    network, path, X, y = setting(name)
    before, rows = read_state(network.module), X.clone()
    path_losses(network, path, TS, X, y, batch_statistics=X)
    after = read_state(network.module)
    assert all(torch.equal(before[n], after[n]) for n in before)
    assert torch.equal(X, rows)


def test_sample_weights():
    network, path, X, y = setting("mlp")
    s = torch.rand(len(X), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = path_losses(network, path, TS, X, y, sample_weight=s)
    loss, error = naive(network, path, TS, X, y, weight=s.numpy())
    np.testing.assert_allclose(found.loss, loss, rtol=1e-12)
    np.testing.assert_allclose(found.error, error, rtol=1e-12)


@pytest.mark.parametrize("name", ["dropout_mlp", "cnn", "resnet"])
def test_batch_statistics_computed_anew(name):
    network, path, X, y = setting(name)
    reference = CASES[name].rows(30, seed=5)
    found = path_losses(network, path, TS, X, y, batch_statistics=reference)
    loss, _ = naive(network, path, TS, X, y, before=reference)
    np.testing.assert_allclose(found.loss, loss, rtol=1e-10)
    assert np.abs(found.loss - path_losses(network, path, TS, X, y).loss).max() > 1e-3


class Twice(nn.Module):
    """The first layer is read a second time, by another name."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, X):
        return self.last(F.relu(self.first(F.relu(self.first(X)))))


class ReadByHand(nn.Module):
    """The weight of the first layer decodes, too."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, X):
        return self.last(F.relu(self.first(X)) @ self.first.weight)


class InPlace(nn.Module):
    """Works on the rows it is given."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, X):
        return self.last(torch.relu(self.first(X.mul_(2))))


class LooksAtItsRows(nn.Module):
    """Does something else with a batch in which a row says so."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, X):
        h = torch.tanh(self.first(X)) if bool((X[:, 0] > 1).any()) else X
        return self.last(h)


def weight_normed():
    first = torch.nn.utils.parametrizations.weight_norm(nn.Linear(6, 6))
    return nn.Sequential(first, nn.ReLU(), nn.Linear(6, 3))


def test_outputs_that_depend_on_the_rows_beside_are_refused():
    module = LooksAtItsRows()
    network, state = Network(module, nn.CrossEntropyLoss()), read_state(module)
    with pytest.raises(UnsupportedNetworkError, match="Is each row's output its own"):
        path_losses(
            network, LinearPath(state, state), TS, CASES["mlp"].rows(), torch.arange(24) % 3
        )


@pytest.mark.parametrize("make", [Twice, ReadByHand, InPlace, weight_normed])
def test_modules_written_by_hand(make):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        modules = [make().double().eval() for _ in range(3)]
    network = Network(modules[0], nn.CrossEntropyLoss(), batch_size=7)
    path = LinearPath(*map(read_state, modules[:2]))
    X, y = CASES["mlp"].rows(), torch.arange(24) % 3
    parts = [
        naive(network, path, TS, x, t)[0] * len(x)
        for x, t in zip(X.split(7), y.split(7), strict=True)
    ]
    evaluate = PathEvaluator(network, path, X, y)
    for _ in range(2):
        np.testing.assert_allclose(evaluate(TS).loss, sum(parts) / 24, rtol=1e-10)
        single = [evaluate([t]).loss[0] for t in TS]
        np.testing.assert_allclose(single, sum(parts) / 24, rtol=1e-10)


def test_values_that_are_not_finite_are_kept_where_they_are():
    network, path, X, y = setting("mlp", "polychain")
    path.anchors[1]["output.bias"][0] = torch.nan
    found = path_losses(network, path, [0.0, 0.25, 0.5, 0.75, 1.0], X, y)
    np.testing.assert_array_equal(np.isnan(found.loss), [False, True, True, True, False])
    np.testing.assert_array_equal(np.isnan(found.error), np.isnan(found.loss))
    np.testing.assert_array_equal(found.non_finite, [0.25, 0.5, 0.75])
    np.testing.assert_allclose(found.loss[[0, 4]], naive(network, path, [0, 1], X, y)[0])


def test_a_plane():
    network, path, X, y = setting("mlp", "polychain")
    plane = Plane(*path.anchors)
    found = path_losses(network, plane, plane.positions, X, y)
    loss, _ = naive(network, path, [0, 0.5, 1], X, y)
    np.testing.assert_allclose(found.loss, loss, rtol=1e-10)


@pytest.mark.parametrize(
    ("criterion", "y", "z", "loss", "error"),
    [
        (nn.MSELoss(), [[1.0], [2.0]], [0.0, 3.0], 1.0, 1.0),
        (TaskLoss("squared"), [[1.0], [4.0]], [0.0, 3.0], 0.5, 1.0),
        (nn.BCEWithLogitsLoss(), [1.0, 1.0], [0.0, 2.0], None, 0.5),
        (TaskLoss("logistic"), [[0.0], [1.0]], [-1.0, 2.0], None, 0.0),
        (TaskLoss("poisson"), [[0.0], [1.0]], [0.0, 0.0], 0.5, None),
        (nn.SmoothL1Loss(), [[0.0], [1.0]], [0.0, 1.0], 0.0, None),
    ],
)
def test_what_an_error_is(criterion, y, z, loss, error):
    network = Network(nn.Linear(2, 1, bias=False), criterion)
    state = {"weight": torch.tensor([z])}
    found = path_losses(
        network, LinearPath(state, state), [0.5], torch.eye(2), torch.tensor(y, dtype=torch.float64)
    )
    if loss is not None:
        np.testing.assert_allclose(found.loss, [loss])
    assert (found.error is None) if error is None else (found.error == [error])


def test_ignored_labels_are_no_errors():
    network, path, X, y = setting("mlp")
    network = Network(network.module, nn.CrossEntropyLoss(ignore_index=1))
    found = path_losses(network, path, TS, X, y)
    kept = y != 1
    loss, error = naive(network, path, TS, X[kept], y[kept])
    np.testing.assert_allclose(found.loss, loss, rtol=1e-12)
    np.testing.assert_allclose(found.error, error, rtol=1e-12)


def test_another_architecture_is_refused():
    network, _, X, y = setting("mlp")
    path = LinearPath(*(read_state(MLP(6, 3, (8, 5))) for _ in range(2)))
    with pytest.raises(ValueError, match=r"'hidden.linear_0.weight' is \(7, 6\)"):
        path_losses(network, path, TS, X, y)
    with pytest.raises(ValueError, match="array of points"):
        path_losses(*setting("mlp")[:2], 0.5, X, y)
