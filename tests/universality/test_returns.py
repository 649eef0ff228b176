"""Returns, chance and shares of variance against NumPy, scikit-learn and closed forms."""

import tracemalloc
import weakref

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from sklflat.metrics.streamed_correlation import StreamedCorrelation
from sklflat.probing.nulls import untrained_twins
from sklflat.universality.chance import (
    WithUntrained,
    chance_by_network,
    excess_by_chance,
    rotated_returns,
)
from sklflat.universality.networks import UnitsOf
from sklflat.universality.reliability import Reliability, split_half, within_layers
from sklflat.universality.returns import Held, Matching, Pair, largest_with_pool, pairs_with
from tests._probes import random_arrays, two_layer

RNG = np.random.RandomState(0)
X = torch.as_tensor(RNG.normal(size=(70, 4)))
FOLDS = np.arange(70) % 5


def network(seed, h=6, activation=nn.ReLU):
    return UnitsOf.find(two_layer(*random_arrays(seed, h=h), activation), X, "hidden")


def rows(batch_size=1000, weights=None):
    return Held(X, np.ones(len(X)) if weights is None else weights, batch_size)


def activations(own):
    return own.units.activations(own.module, X).numpy()


def of_arrays(A, B, layer_of=None, other_layer_of=None):
    """A pair of activations in one part."""
    cross = StreamedCorrelation(A.shape[1], B.shape[1])
    within = StreamedCorrelation(B.shape[1], B.shape[1])
    cross.update(A, B)
    within.update(B, B)
    layers = [np.zeros(C.shape[1], dtype=int) for C in (A, B)]
    return Pair(
        [cross],
        [within],
        layers[0] if layer_of is None else layer_of,
        layers[1] if other_layer_of is None else other_layer_of,
    )


@pytest.mark.parametrize("batch_size", [1, 13, 1000])
def test_returns_are_gurnees_largest_correlations(batch_size):
    """The definition, unit by unit by NumPy: the mean of the maximum over the other's units."""
    first, others = network(0), [network(1), network(2, h=3)]
    pairs = pairs_with(first, others, rows(batch_size), FOLDS)
    for pair, other in zip(pairs, others, strict=True):
        A, B = activations(first), activations(other)
        expected = [max(np.corrcoef(a, b)[0, 1] for b in B.T) for a in A.T]
        found = Matching().largest(
            pair.together[0].correlations, pair.layer_of, pair.other_layer_of
        )[0]
        np.testing.assert_allclose(found, expected, atol=1e-9)


def test_the_pool_gives_the_same_as_pairs_do():
    references, pool = [network(0), network(1)], [network(k) for k in range(2, 7)]
    for matching in (Matching(), Matching(one_to_one=True), Matching(signed=False)):
        found = largest_with_pool(references, pool, rows(17), matching)
        for i, own in enumerate(references):
            for k, pair in enumerate(pairs_with(own, pool, rows(), FOLDS)):
                C = pair.together[0].correlations
                expected = matching.largest(C, pair.layer_of, pair.other_layer_of)[0]
                np.testing.assert_allclose(found[i, k], expected, atol=1e-9)


def test_a_pool_is_read_in_parts_that_change_nothing(monkeypatch):
    references, pool = [network(0)], [network(k, h=3 + k % 2) for k in range(1, 8)]
    whole = largest_with_pool(references, pool, rows(), Matching())
    monkeypatch.setattr("sklflat.universality.returns._MAX_PRODUCTS", 60)
    parts = largest_with_pool(references, pool, rows(), Matching())
    np.testing.assert_allclose(parts, whole, atol=1e-12)


def test_numbers_that_are_kept_change_nothing(monkeypatch):
    references, pool = [network(0), network(1)], [network(k) for k in range(2, 6)]
    weights = 1.0 + np.arange(70) % 3
    weights[::7] = 0
    kept = largest_with_pool(references, pool, rows(13, weights), Matching())
    monkeypatch.setattr("sklflat.universality.returns._MAX_KEPT", 0)
    anew = largest_with_pool(references, pool, rows(13, weights), Matching())
    np.testing.assert_allclose(kept, anew, atol=1e-12)


def test_untrained_networks_are_made_one_after_the_other():
    """The same as those that are made at once, however often they are asked for."""
    given, templates = [network(7)], [network(0), network(1, h=3)]
    several = WithUntrained(given, templates, 3, lambda: np.random.RandomState(5))
    rng = np.random.RandomState(5)
    expected = [m for t in templates for m in untrained_twins(t.module, 3, rng)]
    assert len(several) == 1 + 2 * 3
    for _ in range(2):
        first, *made = several
        assert first is given[0]
        for own, module in zip(made, expected, strict=True):
            torch.testing.assert_close(own.module.state_dict(), module.state_dict())
    units = [len(own.units) for own in several]
    assert units == [6, 6, 6, 6, 3, 3, 3]
    alive = weakref.WeakSet()
    for own in several:
        alive.add(own.module)
        del own
        assert len(alive) <= 3  # the one before may be there still


def test_memory_does_not_grow_with_rows(monkeypatch):
    """Of eight times as many rows no more is kept, but for what the rows themselves take."""
    monkeypatch.setattr("sklflat.universality.returns._MAX_KEPT", 60 * 1000)  # the fewer rows
    peaks = []
    networks = [network(k, h=60) for k in range(3)]
    for n in (1000, 8000):
        more = Held(X[np.arange(n) % 70], np.ones(n), 250)
        fold_of = np.arange(n) % 5
        tracemalloc.start()
        pairs_with(networks[0], networks[1:], more, fold_of)
        largest_with_pool(networks[:1], networks[1:], more, Matching())
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0]


def test_layers_can_be_left():
    A = RNG.normal(size=(50, 2))
    pair = of_arrays(A, A[:, ::-1], np.array([0, 1]), np.array([0, 1]))
    C = pair.together[0].correlations
    layers = pair.layer_of, pair.other_layer_of
    assert (Matching().largest(C, *layers)[0] < 0.9).all()
    free = Matching(within_layers=False).largest(C, *layers)[0]
    np.testing.assert_allclose(free, 1)


def test_rotated_layers_are_those_of_rotated_activations():
    """From moments, what NumPy says of the rotated activations themselves, layer by layer."""
    A, B = RNG.normal(size=(60, 3)), RNG.normal(size=(60, 5)) * [1, 5, 0.1, 2, 3]
    B[:, 0] += A[:, 0]
    layers = np.array([0, 0, 1]), np.array([0, 0, 0, 1, 1])
    found = rotated_returns(of_arrays(A, B, *layers), Matching(), 4, np.random.RandomState(3))
    from sklflat.probing.nulls import random_rotations

    rng = np.random.RandomState(3)
    each = [random_rotations(np.eye(k), 4, rng) for k in (3, 2)]
    for draw, (Q, R) in zip(found, zip(*each, strict=True), strict=True):
        parts = [B[:, :3] @ Q, B[:, 3:] @ R]
        expected = [
            max(np.corrcoef(A[:, u], b)[0, 1] for b in parts[layers[0][u]].T) for u in range(3)
        ]
        np.testing.assert_allclose(draw, expected, atol=1e-9)


def test_the_explained_share_is_that_of_ridge_regression():
    first, other = network(0), network(1)
    (pair,) = pairs_with(first, [other], rows(11), FOLDS)
    A, B = activations(first), activations(other)
    expected = []
    for a in A.T:
        left = total = 0.0
        for k in range(5):
            fit, judged = k != FOLDS, k == FOLDS
            model = make_pipeline(StandardScaler(), Ridge(alpha=1.0)).fit(B[fit], a[fit])
            left += np.square(a[judged] - model.predict(B[judged])).sum()
            total += np.square(a[judged] - a[fit].mean()).sum()
        expected.append(1 - left / total)
    np.testing.assert_allclose(pair.explained(), expected, atol=1e-9)


def test_a_rotated_layer_explains_all_where_units_do_not_return():
    rng = np.random.RandomState(0)
    A = rng.normal(size=(400, 6))
    B = A @ np.linalg.qr(rng.normal(size=(6, 6)))[0]
    fold_of = np.arange(400) % 5
    cross = [StreamedCorrelation(6, 6) for _ in range(5)]
    within = [StreamedCorrelation(6, 6) for _ in range(5)]
    for k in range(5):
        cross[k].update(A[fold_of == k], B[fold_of == k])
        within[k].update(B[fold_of == k], B[fold_of == k])
    layer = np.zeros(6, dtype=int)
    pair = Pair(cross, within, layer, layer)
    assert pair.explained().min() > 0.99
    assert Matching().largest(pair.together[0].correlations, layer, layer)[0].max() < 0.95


def test_weights_are_repetitions():
    weights = 1.0 + np.arange(70) % 2
    first, other = network(0), network(1)
    (pair,) = pairs_with(first, [other], rows(9, weights), FOLDS)
    twice = np.repeat(np.arange(70), weights.astype(int))
    A, B = activations(first)[twice], activations(other)[twice]
    expected = np.corrcoef(A.T, B.T)[:6, 6:]
    np.testing.assert_allclose(pair.together[0].correlations, expected, atol=1e-9)


def test_chance_is_the_mean_over_each_networks_part_of_the_pool():
    largest = np.arange(12.0).reshape(6, 2)
    np.testing.assert_allclose(chance_by_network(largest, 2), [[2, 3], [8, 9]])


def test_draws_are_scored_as_the_first_is_and_leave_themselves_out():
    largest = np.arange(24.0).reshape(2, 6, 2)  # two references, a pool of six
    returns = np.array([[[20.0, 20.0], [40.0, 40.0]]] * 2)
    found = excess_by_chance(returns, largest, [None, 4])
    np.testing.assert_allclose(found[0], 30 - largest[0].mean(axis=0))
    # the second is the fifth of the pool, and so the second of the second group of three
    chance = (largest[1, :3].mean(axis=0) + largest[1, [3, 5]].mean(axis=0)) / 2
    np.testing.assert_allclose(found[1], 30 - chance)


def test_reliability_is_that_of_the_classical_model():
    """True scores of variance 1, noise of variance 4 a network: 8 networks have 8 / (8 + 4)."""
    rng = np.random.RandomState(0)
    by_network = rng.normal(size=4000) + 2 * rng.normal(size=(8, 4000))
    layer_of, live = np.arange(4000) // 2000, np.ones(4000, dtype=bool)
    found = split_half(by_network, layer_of, live, rng)
    assert found == pytest.approx(8 / 12, abs=0.03)
    assert Reliability(found, found, 8).with_models(24).excess == pytest.approx(24 / 28, abs=0.03)


def test_ranks_are_of_single_layers():
    """Layers that differ in level do not correlate by that."""
    rng = np.random.RandomState(1)
    level = np.repeat([0.0, 10.0], 500)
    a, b = rng.normal(size=1000) + level, rng.normal(size=1000) + level
    layer_of, live = (level > 5).astype(int), np.ones(1000, dtype=bool)
    assert abs(within_layers(a, b, layer_of, live)) < 0.15
    assert within_layers(a, a, layer_of, live) == pytest.approx(1)
    by_network = rng.normal(size=(3, 6))  # not reliable: no number below -1 comes of it
    assert -1 <= split_half(by_network, np.zeros(6, dtype=int), np.ones(6, dtype=bool), rng) < 1
    assert Reliability(-0.2, 0.5, 2).with_models(8).excess == -0.2
    assert np.isnan(within_layers(a[:2], b[:2], layer_of[:2], live[:2]))
