"""Unit cards are made when they are asked for, of the unit that was scored."""

import pickle
import re

import numpy as np
import pytest
import torch
from torch import nn

from sklflat import (
    AblationProbe,
    ActivationProbe,
    HessianSpectrum,
    ModeConnectivityProbe,
    SAMClassifier,
    TemperatureProbe,
    from_module,
)
from sklflat.exceptions import UnsupportedNetworkError
from tests._probes import random_arrays, random_data, two_layer

X, Y = random_data(0, n=300)
COMMON = {"n_units": None, "n_null": 20, "random_state": 0}

pytestmark = pytest.mark.filterwarnings("ignore::sklflat.exceptions.ConnectivityWarning")


class Images(nn.Module):
    """A convolution that feeds a function, as in many networks that were written by hand."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.c1, self.norm, self.c2 = nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Conv2d(2, 3, 2)
        self.last = nn.Linear(3, 2)

    def forward(self, x):
        x = torch.relu(self.c2(torch.relu(self.norm(self.c1(x)))))
        return self.last(x.flatten(1))


def test_a_unit_by_the_name_of_what_feeds_it_and_inputs_of_images_by_their_place():
    images = np.random.RandomState(0).normal(size=(60, 1, 4, 4)).astype("float32")
    probe = ActivationProbe(from_module(Images(), classes=[0, 1]), **COMMON)
    probe.fit(images, np.arange(60) % 2)
    for asked, meant in (("c1[0]", "relu[0]"), ("norm[1]", "relu[1]"), ("c2[2]", "relu_1[2]")):
        with pytest.raises(
            ValueError, match=rf"no unit {re.escape(repr(asked))}.*{re.escape(meant)}"
        ):
            probe.unit_card(asked)
    with pytest.raises(TypeError, match=r"called by its name, such as 'relu\[0\]', got 5"):
        probe.unit_card(5)
    inputs = next(c.inputs for c in map(probe.unit_card, probe.unit_names_) if not c.dead)
    assert set(inputs) <= {f"x[0, {i}, {j}]" for i in range(4) for j in range(4)}


def frozen():
    return from_module(two_layer(*random_arrays(0), activation=nn.Tanh), classes=[0, 1, 2])


def gradients_in(call, monkeypatch):
    """How often a gradient is taken in a call."""
    taken, grad = [], torch.autograd.grad
    with monkeypatch.context() as patch:
        patch.setattr(torch.autograd, "grad", lambda *a, **k: taken.append(1) or grad(*a, **k))
        call()
    return len(taken)


def test_fit_takes_no_gradient_and_a_card_takes_one(monkeypatch):
    probe = ActivationProbe(frozen(), **COMMON)
    probe.fit(X, Y)  # what is checked of a network is checked once
    assert gradients_in(lambda: probe.fit(X, Y), monkeypatch) == 0
    assert gradients_in(lambda: probe.unit_card("1[2]"), monkeypatch) == 1


def test_the_gradients_of_tanh_units():
    probe = ActivationProbe(frozen(), **COMMON).fit(X, Y)
    W, b = random_arrays(0)[:2]
    rows = X[np.linspace(0, 299, 100).round().astype(int)]  # those that are kept
    slopes = 1 - np.tanh(rows @ W + b) ** 2
    expected = (np.abs(slopes[:, :, None] * W.T)).mean(0) * rows.std(axis=0)
    for u, name in enumerate(probe.unit_names_):
        inputs = probe.unit_card(name).inputs
        for j, value in enumerate(expected[u]):
            assert inputs[f"x{j}"] == pytest.approx(value, rel=1e-5)  # weights in float32


@pytest.mark.parametrize("n", [5, 300])
def test_few_rows_are_kept(n):
    probe = ActivationProbe(frozen(), **COMMON).fit(X[:n], Y[:n])
    assert probe._cards.rows.shape == (min(n, 100), X.shape[1])
    again = pickle.loads(pickle.dumps(probe))
    assert str(again.unit_card("1[0]")) == str(probe.unit_card("1[0]"))


@pytest.mark.parametrize(
    "make",
    [
        lambda: AblationProbe(SAMClassifier((6,), max_iter=5), **COMMON),
        lambda: HessianSpectrum(SAMClassifier((6,), max_iter=5), n_components=2, **COMMON),
        lambda: ModeConnectivityProbe(SAMClassifier((6,), max_iter=5), n_points=3, **COMMON),
        lambda: TemperatureProbe(SAMClassifier((6,), max_iter=5), n_bootstrap=2, **COMMON),
    ],
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_every_probe_has_cards(make):
    probe = make().fit(X, Y)
    for name in probe.unit_names_:
        card = probe.unit_card(name)
        assert bool(card.inputs) == (not card.dead)


@pytest.mark.parametrize("value", [1.01, float("nan")])
def test_a_network_that_has_changed_is_refused(value):
    estimator = frozen()
    probe = ActivationProbe(estimator, **COMMON).fit(X, Y)
    with torch.no_grad():
        estimator.module[0].weight[2] *= value
    for name in ("1[2]", "1[1]"):  # another unit's change says that it is another network
        with pytest.raises(UnsupportedNetworkError, match="has changed since the probe was fitted"):
            probe.unit_card(name)


def test_a_module_that_was_given_may_go():
    module = two_layer(*random_arrays(0), activation=nn.Tanh)
    probe = ActivationProbe(from_module(module, classes=[0, 1, 2]), **COMMON).fit(X, Y)
    expected = str(probe.unit_card("1[2]"))
    with torch.no_grad():
        module[0].weight.zero_()
    del module
    assert str(probe.unit_card("1[2]")) == expected


def test_tokens_have_no_gradient():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Embedding(9, 4), nn.Flatten(), nn.Linear(12, 5), nn.ReLU())
    module.append(nn.Linear(5, 2))
    tokens = np.random.RandomState(0).randint(9, size=(40, 3))
    probe = ActivationProbe(from_module(module, classes=[0, 1]), **COMMON)
    card = probe.fit(tokens, tokens[:, 0] % 2).unit_card("3[0]")
    assert card.inputs == {}
