"""Similarity of classes: the two exact limits, closed forms, and what must not change it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix

from sklflat.temperature import class_distances, class_similarity, merge_temperatures, softened

RNG = np.random.RandomState(0)
LOGITS = 3 * RNG.normal(size=(60, 4))
Y = np.arange(60) % 4
WEIGHT = RNG.randint(1, 4, size=60)


def similarity(T, logits=LOGITS, y=Y, weight=None):
    return class_similarity(softened(logits, T), y, weight)


def test_at_a_low_temperature_it_is_the_confusion_matrix():
    hard = confusion_matrix(Y, LOGITS.argmax(axis=1), normalize="true")
    np.testing.assert_allclose(similarity(1e-3), hard, atol=1e-3)


def test_at_a_high_temperature_it_is_the_mean_centred_logit():
    centred = LOGITS - LOGITS.mean(axis=1, keepdims=True)
    means = np.stack([centred[a == Y].mean(axis=0) for a in range(4)])
    T = 1e6
    np.testing.assert_allclose(T * (4 * similarity(T) - 1), means, atol=1e-3)


@settings(max_examples=20, deadline=None)
@given(T=st.floats(0.05, 50), shift=st.floats(-100, 100), seed=st.integers(0, 1000))
def test_a_constant_on_the_logits_of_a_row_changes_nothing(T, shift, seed):
    shifts = shift * np.random.RandomState(seed).normal(size=(60, 1))
    np.testing.assert_allclose(similarity(T, LOGITS + shifts), similarity(T), atol=1e-10)


@settings(max_examples=20, deadline=None)
@given(T=st.floats(0.05, 50), seed=st.integers(0, 1000))
def test_permuting_classes_permutes_it(T, seed):
    order = np.random.RandomState(seed).permutation(4)
    renamed = np.argsort(order)[Y]
    permuted = similarity(T, LOGITS[:, order], renamed)
    np.testing.assert_allclose(permuted, similarity(T)[np.ix_(order, order)], atol=1e-12)


def test_a_weight_of_two_is_a_row_twice():
    rows = np.repeat(np.arange(60), WEIGHT)
    np.testing.assert_allclose(
        similarity(2.0, weight=WEIGHT), similarity(2.0, LOGITS[rows], Y[rows]), atol=1e-12
    )


def test_several_weights_at_once_are_one_after_the_other():
    draws = RNG.randint(1, 5, size=(3, 60))
    found = similarity(1.0, weight=draws)
    for one, weight in zip(found, draws, strict=True):
        np.testing.assert_allclose(one, similarity(1.0, weight=weight), atol=1e-12)


def test_distances_by_hand():
    S = np.array([[0.8, 0.2], [0.4, 0.6]])
    np.testing.assert_allclose(class_distances(S), [[0, 1 - 0.6 / 1.4], [1 - 0.6 / 1.4, 0]])
    assert (class_distances(np.array([[0.2, 0.8], [0.9, 0.1]])) == 0).all()  # each is the other
    # neither is ever predicted, so neither is taken for the other
    np.testing.assert_array_equal(class_distances(np.zeros((2, 2))), [[0, 1], [1, 0]])


@pytest.mark.parametrize("T", [1e4, 1e5])
def test_at_a_high_temperature_distances_are_those_of_centred_logits(T):
    centred = LOGITS - LOGITS.mean(axis=1, keepdims=True)
    Z = np.stack([centred[a == Y].mean(axis=0) for a in range(4)])
    own = np.diag(Z)
    expected = (own[:, None] + own - Z - Z.T) / 2
    if (expected < 0).any():  # such classes are at distance 0
        expected = np.maximum(expected, 0)
    np.testing.assert_allclose(T * class_distances(similarity(T)), expected, atol=1e-2)


def test_two_classes_merge_where_the_margin_says():
    """Both classes at margins of +-m: S_ab = 1 / (1 + exp(2m / T)) is a third at 2m / log 2."""
    m = 2.0
    logits = np.array([[m, -m], [-m, m]])
    grid = np.geomspace(0.5, 50, 400)
    S = np.stack([class_similarity(softened(logits, T), np.array([0, 1])) for T in grid])
    merges = merge_temperatures(S, grid)
    assert merges[0, 1] == pytest.approx(2 * m / np.log(2), rel=1e-4)
    assert merges[0, 0] == 0


def test_classes_that_never_merge_on_the_grid_say_so():
    logits = np.array([[9.0, -9.0], [-9.0, 9.0]])
    grid = np.array([0.1, 1.0])
    S = np.stack([class_similarity(softened(logits, T), np.array([0, 1])) for T in grid])
    assert merge_temperatures(S, grid)[0, 1] == np.inf
    S = np.full((2, 2, 2), 0.5)
    assert merge_temperatures(S, grid)[0, 1] == pytest.approx(0.1)


@pytest.mark.parametrize("T", [1e-300, 1e-3, 1e300])
def test_nothing_leaves_floating_range(T):
    wide = 1e200 * LOGITS
    assert np.isfinite(similarity(T, wide)).all()
    assert np.isfinite(class_distances(similarity(T, wide))).all()
