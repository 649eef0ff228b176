"""The longest noise that a network bears, against closed forms and a brute-force grid."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

from sklflat import SAMClassifier, from_module
from sklflat.curvature import Landscape, normal
from sklflat.exceptions import NoiseWarning
from sklflat.probing import largest_noise, noise_profile, resolve, sample_basin
from sklflat.training.perturbations import FlatNoise
from tests._slow import slow_after

X, Y = load_digits(return_X_y=True)
X, Y = X[:500] / 16, Y[:500]
LABELS = np.array([f"digit {i}" for i in range(10)])[Y]


@pytest.fixture(scope="module")
def clf():
    return SAMClassifier(
        (16,), rho=0, max_iter=80, learning_rate_init=0.01, tol=1e-3, random_state=0
    ).fit(X, LABELS)


def accuracies(clf, subspace, lengths, n_draws, seed):
    """Mean accuracy by length, from the module's own forward pass."""
    trained = resolve(clf)
    landscape = Landscape(trained.network, trained.to_input(X), trained.to_target(LABELS))
    w = landscape.vector.read()
    noise = FlatNoise(1.0, subspace, "norm", 10).at(landscape, w, seed)
    xi = noise(torch.stack([normal((seed, i), w) for i in range(n_draws)]))
    xi = xi * (w.norm() / noise.length())
    module, x = trained.network.module, trained.to_input(X).double()
    means = []
    for length in lengths:
        right = []
        for end in (*xi, *-xi):
            torch.nn.utils.vector_to_parameters(w + length * end, module.parameters())
            with torch.no_grad():
                right.append(np.mean(clf.classes_[module(x).argmax(1).numpy()] == LABELS))
        means.append(np.mean(right))
    return np.array(means)


@pytest.mark.parametrize("subspace", ["flat", "isotropic", "sharp"])
@pytest.mark.parametrize("budget", slow_after(1, [0.1, 0.01]))
def test_against_a_grid(clf, subspace, budget):
    found = largest_noise(
        clf, X, LABELS, subspaces=[subspace], accuracy_budget=budget, n_draws=3, seed=1
    )[subspace]
    grid = np.geomspace(0.01, 2, 150)
    means = accuracies(clf, subspace, [*grid, found.length], 3, 1)
    allowed = means[:-1] >= clf.score(X, LABELS) - budget - 1e-12
    assert allowed[0]
    assert not allowed[-1]
    assert means[-1] == pytest.approx(found.score)
    assert found.score >= clf.score(X, LABELS) - budget - 1e-12
    # between the first length that is too long and the last that is not, to the search's 5 %
    first, last = grid[~allowed].min(), grid[allowed].max()
    assert min(first, last) / 1.08 < found.length < max(first, last) * 1.08
    assert not found.is_capped


def test_flat_noise_may_be_longer(clf):
    found = largest_noise(clf, X, LABELS)
    assert list(found) == ["flat", "isotropic", "random", "sharp"]
    assert found["flat"].length > 1.2 * found["random"].length
    assert found["random"].length > 1.2 * found["sharp"].length


def test_a_linear_regression_in_closed_form():
    layer = nn.Linear(1, 1, bias=False).double()
    nn.init.constant_(layer.weight, 3.0)
    x = np.array([-2.0, -1.0, 1.0, 2.0])
    reg = from_module(layer, nn.MSELoss())
    # R^2 of 3 (1 + c z) x for a target 3 x is 1 - c^2 z^2
    z = [float(normal((7, i), torch.ones(1).double())) for i in range(5)]
    for budget in (0.01, 0.25):
        exact = (budget / np.mean(np.square(z))) ** 0.5
        options = {"subspaces": "isotropic", "accuracy_budget": budget, "n_draws": 5, "seed": 7}
        found = largest_noise(reg, x[:, None], 3 * x, **options)["isotropic"]
        assert exact / 1.05 < found.length <= exact
        assert found.score == pytest.approx(1 - found.length**2 * np.mean(np.square(z)))


def test_null_noise_is_capped_and_none_is_longer():
    torch.manual_seed(0)
    layer = nn.Linear(4, 2)
    data = np.random.RandomState(0).normal(size=(30, 2)) @ np.ones((2, 4))
    y = layer(torch.as_tensor(data).float()).argmax(1).numpy()
    clf = from_module(layer, nn.CrossEntropyLoss(), classes=[0, 1])
    found = largest_noise(clf, data, y, subspaces=["null"], accuracy_budget=0.0, longest=5.0)
    assert found["null"].is_capped
    assert found["null"].length == pytest.approx(5.0)
    assert found["null"].score == 1


def test_a_subspace_that_holds_nothing_is_told():
    layer = nn.Linear(3, 1)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    reg = from_module(layer, nn.MSELoss())
    with pytest.warns(NoiseWarning, match="'isotropic' holds nothing"):
        found = largest_noise(reg, np.eye(3), np.arange(3.0), subspaces=["isotropic"])
    assert found["isotropic"].length == 0


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"subspaces": ["wide"]}, "subspaces.*wide"),
        ({"accuracy_budget": -0.1}, "accuracy_budget"),
        ({"longest": 0}, "longest"),
        ({"n_draws": 0}, "n_draws"),
        ({"n_directions": 10**6}, "n_directions=1000000 leaves no direction"),
        ({"seed": -1}, "seed"),
    ],
)
def test_bad_parameters(clf, bad, message):
    with pytest.raises(ValueError, match=message):
        largest_noise(clf, X, LABELS, **bad)
    with pytest.raises(ValueError, match="labels"):
        largest_noise(clf, X, np.full(len(X), "unknown"))


@pytest.mark.parametrize("measure", [largest_noise, noise_profile, sample_basin])
def test_data_of_different_lengths(clf, measure):
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        measure(clf, X, LABELS[:20])
