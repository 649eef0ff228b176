"""`to_module` is smaller and says what the network says whose other units are silenced."""

import numpy as np
import pytest
import torch
from torch import nn

from sklflat import PruningPath, from_module
from sklflat.exceptions import UnsupportedNetworkError
from sklflat.probing.restricted import RestrictedModule
from sklflat.probing.split import Rows, split_rows


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(6, 6), nn.Linear(6, 6)
        self.output = nn.Linear(6, 3)

    def forward(self, X):
        return self.output(torch.relu(X + self.second(torch.relu(self.first(X)))))


class Wide(nn.Module):
    """Counts on its width."""

    def __init__(self):
        super().__init__()
        self.hidden, self.output = nn.Linear(6, 8), nn.Linear(4, 3)

    def forward(self, X):
        return self.output(torch.relu(self.hidden(X)).view(-1, 2, 4).sum(1))


def images(*parts):
    return nn.Sequential(nn.Unflatten(1, (1, 4, 4)), *parts)


MODULES = {
    "one layer": (lambda: nn.Sequential(nn.Linear(16, 8), nn.Tanh(), nn.Linear(8, 3)), "hidden"),
    "no bias": (
        lambda: nn.Sequential(nn.Linear(16, 8), nn.Sigmoid(), nn.Linear(8, 3, bias=False)),
        "hidden",
    ),
    "two layers": (
        lambda: nn.Sequential(
            nn.Linear(16, 6), nn.Sigmoid(), nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3)
        ),
        "hidden",
    ),
    "batch normalisation": (
        lambda: nn.Sequential(
            nn.Linear(16, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(), nn.Linear(8, 3)
        ),
        "hidden",
    ),
    "convolution read flat": (
        lambda: images(nn.Conv2d(1, 6, 3), nn.Sigmoid(), nn.Flatten(), nn.Linear(24, 3)),
        "hidden",
    ),
    "padded convolutions": (
        lambda: images(
            nn.Conv2d(1, 6, 3, padding=1),
            nn.BatchNorm2d(6),
            nn.Sigmoid(),
            nn.Conv2d(6, 5, 3, padding=1),
            nn.Sigmoid(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(5, 3),
        ),
        "hidden",
    ),
    "plain convolutions": (
        lambda: images(
            nn.Conv2d(1, 6, 2),
            nn.Sigmoid(),
            nn.MaxPool2d(2, 1),
            nn.Conv2d(6, 5, 2),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(5, 3),
        ),
        "hidden",
    ),
    "circular padding": (
        lambda: images(
            nn.Conv2d(1, 6, 3),
            nn.Sigmoid(),
            nn.Conv2d(6, 4, 3, padding=1, padding_mode="circular"),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(16, 3),
        ),
        ("2",),
    ),
}


def fitted(module, layers="hidden", width=16, **settings):
    torch.manual_seed(0)
    module = module()
    X = np.random.RandomState(0).normal(size=(60, width))
    y = np.arange(60) % 3
    with torch.no_grad():  # statistics of batch normalisation that are not 0 and 1
        module.train()(torch.as_tensor(X, dtype=torch.float32))
    network = from_module(module, classes=[0, 1, 2])
    path = PruningPath(network, layers=layers, n_random=2, random_state=0, **settings)
    return path.fit(X, y), torch.as_tensor(np.random.RandomState(1).normal(size=(40, width)))


@pytest.mark.parametrize(("module", "layers"), MODULES.values(), ids=MODULES)
def test_the_smaller_module_says_the_same(module, layers):
    path, X = fitted(module, layers, refit=False, n_units=4)
    whole = path.estimator_.trained_network().network.module
    silenced = RestrictedModule(whole, path.units_, path.support_, path.unit_means_)
    small = path.to_module()
    with torch.no_grad():
        found, right = small(X.float()), silenced(X.float())
    assert float((found - right).abs().max()) < 2e-5 * float(right.abs().max())
    n_weights = [sum(p.numel() for p in m.parameters()) for m in (small, whole)]
    assert n_weights[0] < n_weights[1]


@pytest.mark.parametrize("name", ["one layer", "two layers", "padded convolutions"])
def test_a_refitted_output_layer_is_the_least_squares_one(name):
    """By NumPy's least squares of what the whole network says on what the smaller one reads."""
    path, _ = fitted(*MODULES[name], refit=True, n_units=4)
    small, whole = (
        m.double() for m in (path.to_module(), path.estimator_.trained_network().network.module)
    )
    X = np.random.RandomState(0).normal(size=(60, 16))
    judged = _judged_rows(path, X)
    X = torch.as_tensor(np.delete(X, judged, axis=0))
    read = small[:-1](X).detach().numpy()
    design = np.c_[read, np.ones(len(read))]
    right = design @ np.linalg.lstsq(design, whole(X).detach().numpy(), rcond=None)[0]
    scale = np.abs(right).max()
    np.testing.assert_allclose(small(X).detach().numpy(), right, atol=1e-4 * scale)


def _judged_rows(path, X):
    rows = Rows(X, np.arange(60) % 3, {})
    return split_rows(rows, path.holdout, True, np.random.RandomState(0))[1].numbers


@pytest.mark.parametrize("module", [Residual, Wide])
def test_what_cannot_be_cut_is_refused_by_name(module):
    path, _ = fitted(module, width=6, refit=False, n_units=4)
    with pytest.raises(UnsupportedNetworkError, match=f"{module.__name__} cannot be made smaller"):
        path.to_module()
