"""Pair effects of classes: none where classes differ in difficulty only, some where a tree is."""

import numpy as np
import pytest

from sklflat.datasets import make_class_tree
from sklflat.temperature import class_distances, class_similarity, softened
from sklflat.temperature.reproducibility import pair_effects, reproduced_p_value
from sklflat.temperature.resampled_rows import ResampledRows
from sklflat.temperature.sweep import TemperatureSweep
from tests._slow import slow_after

SIZES = [200, 120, 80, 50, 30, 20, 12, 8, 5]


def test_quasi_independent_similarities_have_no_pair_effects():
    rng = np.random.RandomState(0)
    S = rng.uniform(size=(7, 1)) * rng.uniform(size=7)
    np.fill_diagonal(S, 0.9)  # which is not looked at
    np.testing.assert_allclose(pair_effects(S), 0, atol=1e-6)


def hard_and_easy(seed, n_classes, n_rows, spread):
    """Logits that confuse each class with all others alike, the first ones more often."""
    rng = np.random.RandomState(seed)
    y = np.repeat(np.arange(n_classes), n_rows)
    logits = rng.normal(size=(len(y), n_classes))
    logits[np.arange(len(y)), y] += np.linspace(0, spread, n_classes)[y]
    return logits, y, rng


def p_value(logits, y, T, n_draws, rng):
    halves = ResampledRows.drawn(y, np.ones(len(y)), 4, rng)
    first, second = (
        class_similarity(softened(logits, T), y, s) for s in (halves.first, halves.second)
    )
    return reproduced_p_value(first, second, np.bincount(y), n_draws, rng)


@pytest.mark.parametrize("T", slow_after(1, [1.0, 0.3, 10.0]))
def test_p_values_of_hard_and_easy_classes_are_those_of_chance(T):
    p = []
    for seed in range(100):
        logits, y, rng = hard_and_easy(seed, 9, 30, 4)
        p.append(p_value(logits, y, T, 99, rng))
    # of 100 at a level of .05, more than 13 have a chance of one in two thousand
    assert np.mean(np.array(p) <= 0.05) <= 0.13
    assert np.mean(p) == pytest.approx(0.5, abs=4 / np.sqrt(12 * 100))


@pytest.mark.parametrize("sizes", slow_after(1, [SIZES, [30] * 9, SIZES[::-1]]))
def test_nor_do_sizes_and_names_of_classes_matter(sizes):
    """Labels drawn from r_a c_b: the last names are taken for others twenty times as often."""
    y, p = np.repeat(np.arange(9), sizes), []
    for seed in range(100):
        rng = np.random.RandomState(seed)
        taken = np.tile(np.exp(np.linspace(0, 3, 9))[rng.permutation(9)], (9, 1))
        np.fill_diagonal(taken, 0)
        missed = np.linspace(0.1, 0.7, 9)[:, None]
        taken = missed * taken / taken.sum(axis=1, keepdims=True) + np.diag(1 - missed[:, 0])
        named = (taken[y].cumsum(axis=1) < rng.uniform(size=(len(y), 1))).sum(axis=1)
        logits = np.eye(9)[np.minimum(named, 8)]
        p.append(p_value(logits, y, 1e-3, 99, rng))
    assert np.mean(np.array(p) <= 0.05) <= 0.13
    assert np.mean(p) == pytest.approx(0.5, abs=4 / np.sqrt(12 * 100))


def test_a_classifier_that_says_the_same_of_all_rows_has_no_pairs():
    said = np.tile(np.random.RandomState(0).dirichlet(np.ones(8)), (8, 1))
    sizes = np.arange(3, 11)
    rng = np.random.RandomState(0)
    assert reproduced_p_value(said[None], said[None], sizes, 99, rng) == 1
    assert (class_distances(said) == 0).all()


@pytest.mark.parametrize("tree", ["balanced", "unbalanced"])
def test_pairs_of_a_tree_come_back_on_other_rows(tree):
    rng = np.random.RandomState(0)
    truth = make_class_tree(n_classes=8, tree=tree, random_state=0)[2]
    y = np.repeat(np.arange(8), 30)
    logits = -3 * truth.cophenetic_distances[y] / truth.cophenetic_distances.max()
    assert p_value(logits + rng.normal(size=logits.shape), y, 1.0, 499, rng) <= 0.01


@pytest.mark.parametrize("n_classes", [10, 15])
def test_hard_and_easy_classes_are_no_hierarchy(n_classes):
    found = []
    for seed in range(5):
        logits, y, rng = hard_and_easy(seed, n_classes, 40, 5)
        resampled = ResampledRows.drawn(y, np.ones(len(y)), 6, rng)
        grid = np.logspace(-1, 1, 4)
        classes = np.arange(n_classes)
        sweep = TemperatureSweep.of(
            lambda T, logits=logits: softened(logits, T),
            y,
            np.ones(len(y)),
            grid,
            classes,
            "average",
            resampled,
            rng,
        )
        found.append(sweep.has_hierarchy)
    assert not any(found)


def test_classes_that_are_never_known_are_not_taken_for_each_other():
    predicted = np.eye(4)[[0, 0, 1, 1, 0, 0, 1, 1]]  # 2 is taken for 0, and 3 for 1
    d = class_distances(class_similarity(predicted, np.repeat(np.arange(4), 2)))
    assert d[2, 3] == 1
    assert d[0, 2] == d[1, 3] == 0
