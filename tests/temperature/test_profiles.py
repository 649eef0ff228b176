"""Importance of units over temperatures: by hand, at both limits, and what must not change it."""

import numpy as np
import pytest
import torch
from torch import nn

from sklflat import SAMClassifier, from_module
from sklflat.probing.sample import Sample
from sklflat.temperature import logits_of, profiles, softened
from sklflat.temperature.profiles import normalised, unit_profiles
from sklflat.temperature.temperature_sample import TemperatureSample
from tests._stacks import DIGITS, LABELS

X, Y = DIGITS[:200], LABELS[:200]
GRID = np.array([0.3, 1.0, 4.0])
ROWS = np.arange(len(X))


def shallow():
    return SAMClassifier((7,), max_iter=20, random_state=0).fit(X, Y)


def wide():
    """More units than classes: by derivatives, as are all whose importance is "gradient"."""
    return SAMClassifier((12,), max_iter=20, random_state=0).fit(X, Y)


def deep():
    return SAMClassifier((7, 6), "tanh", max_iter=20, random_state=0).fit(X, Y)


def binary():
    return SAMClassifier((5,), max_iter=20, random_state=0).fit(X, Y % 2)


def convolution():
    torch.manual_seed(0)
    return from_module(
        nn.Sequential(
            nn.Unflatten(1, (1, 8, 8)),
            nn.Conv2d(1, 11, 3),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(396, 10),
        ),
        classes=range(10),
    )


def by_hand(clf, sample, T):
    """Total variation between outputs with and without a unit, one forward pass a unit."""
    module, units = sample.network.module, sample.units
    means = torch.as_tensor(sample.activations.mean(axis=0))
    base = softened(logits_of(clf, X), T)
    found = []
    for u in range(len(units)):

        def fixed(layer, a, u=u):
            if layer != units.layer_of[u]:
                return a
            a = a.clone()
            a[:, units.channel_of[u]] = means[u].to(a)
            return a

        with torch.no_grad(), units.replaced(fixed):
            z = module(sample.network.prepare(sample.X)).double().numpy()
        z = np.hstack([-z / 2, z / 2]) if z.shape[1] == 1 else z
        found.append(np.abs(softened(z, T) - base).sum(axis=1).mean() / 2)
    return np.array(found)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("make", [shallow, wide, deep, binary, convolution])
def test_profiles_are_those_by_hand(make):
    clf = make()
    y = Y % 2 if make is binary else Y
    sample = Sample.of(clf, X, y)
    found = unit_profiles(sample, GRID, "ablation", ROWS)
    for row, T in zip(found, GRID, strict=True):
        np.testing.assert_allclose(row, by_hand(clf, sample, T), atol=1e-6)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_the_gradient_is_the_ablation_where_changes_are_small():
    """At a high temperature the softmax is linear, and logits are linear in the last layer."""
    sample = Sample.of(shallow(), X, Y)
    T = np.array([1e5])
    np.testing.assert_allclose(
        T * unit_profiles(sample, T, "gradient", ROWS),
        T * unit_profiles(sample, T, "ablation", ROWS),
        rtol=1e-3,
    )
    deep_sample = Sample.of(deep(), X, Y)
    exact, linear = (unit_profiles(deep_sample, GRID, k, ROWS) for k in ("ablation", "gradient"))
    assert not np.allclose(exact, linear, rtol=0.01)  # tanh is no straight line
    assert np.corrcoef(exact[2], linear[2])[0, 1] > 0.9


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_low_temperature_counts_changed_predictions():
    clf = shallow()
    sample = Sample.of(clf, X, Y)
    found = unit_profiles(sample, np.array([1e-6]), "ablation", ROWS)[0]
    np.testing.assert_allclose(found * len(X), np.round(found * len(X)), atol=1e-6)
    assert found.max() > 0


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_high_temperature_measures_centred_logits():
    clf = shallow()
    sample = Sample.of(clf, X, Y)
    T = 1e6
    W = sample.network.module.state_dict()["output.weight"].double().numpy()  # (K, units)
    centred = np.abs(W - W.mean(axis=0)).sum(axis=0)
    spread = np.abs(sample.activations - sample.activations.mean(axis=0)).mean(axis=0)
    found = unit_profiles(sample, np.array([T]), "ablation", ROWS)[0]
    np.testing.assert_allclose(2 * 10 * T * found, centred * spread, rtol=1e-3, atol=1e-9)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_weights_and_rows_are_repeated_rows():
    clf = shallow()
    count = np.random.RandomState(0).randint(1, 4, size=len(X))
    rows = np.repeat(ROWS, count)
    weighted = Sample.of(clf, X, Y, weight=torch.as_tensor(count, dtype=torch.float64))
    repeated = Sample.of(clf, X[rows], Y[rows])
    np.testing.assert_allclose(
        unit_profiles(weighted, GRID, "ablation", ROWS),
        unit_profiles(repeated, GRID, "ablation", np.arange(len(rows))),
        atol=1e-6,
    )


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("make", [wide, deep])
def test_the_null_is_of_the_same_statistic(make, monkeypatch):
    """Whether derivatives serve is seen on the network itself, not on each of its twins anew."""
    seen, original = [], profiles._is_affine_above
    monkeypatch.setattr(profiles, "_is_affine_above", lambda s, k: seen.append(k) or original(s, k))
    sample = TemperatureSample.measured(Sample.of(make(), X, Y), GRID, "ablation")
    assert len(sample.profiles) == 3
    n = len(seen)
    sample.draw_nulls(40, np.random.RandomState(0))
    assert len(sample.drawn["untrained twins"]) > 1
    assert len(seen) == n


def test_shares():
    np.testing.assert_allclose(
        normalised(np.array([[1.0, 3.0], [0, 0]])), [[0.25, 0.75], [0.5, 0.5]]
    )
