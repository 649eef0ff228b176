"""Class trees: distances of the means against scipy, and what each level's inputs tell apart."""

from itertools import permutations

import numpy as np
import pytest
from scipy.cluster import hierarchy
from scipy.spatial.distance import pdist

from sklflat.datasets import make_class_tree

TREES = ["balanced", "unbalanced", "star"]


@pytest.mark.parametrize("tree", TREES)
@pytest.mark.parametrize("n_classes", [3, 5, 8])
@pytest.mark.parametrize("per_branch", [1, 3])
def test_class_means_are_as_far_apart_as_the_tree_is_high(tree, n_classes, per_branch):
    _, _, truth = make_class_tree(
        n_classes=n_classes, tree=tree, n_features_per_branch=per_branch, random_state=0
    )
    assert hierarchy.is_valid_linkage(truth.linkage)
    np.testing.assert_allclose(hierarchy.cophenet(truth.linkage), pdist(truth.means), rtol=1e-12)


@pytest.mark.parametrize("tree", TREES)
def test_cophenetic_distances_are_ultrametric(tree):
    _, _, truth = make_class_tree(tree=tree, random_state=1)
    d = truth.cophenetic_distances
    for i, j, k in permutations(range(8), 3):
        assert d[i, j] <= max(d[i, k], d[k, j])


@pytest.mark.parametrize(
    ("tree", "heights"),
    [
        ("balanced", [2, 2, 2, 2, 4, 4, 8]),
        ("unbalanced", [8 / 2**level for level in range(6, -1, -1)]),
        ("star", [8] * 7),
    ],
)
def test_heights_halve_from_level_to_level(tree, heights):
    _, _, truth = make_class_tree(tree=tree, separation=8, decay=0.5, random_state=0)
    np.testing.assert_allclose(truth.linkage[:, 2], heights, rtol=1e-12)
    assert truth.has_hierarchy == (tree != "star")


def test_a_star_has_equal_distances_and_only_one_level():
    _, _, truth = make_class_tree(tree="star", separation=5, random_state=0)
    np.testing.assert_allclose(pdist(truth.means), 5, rtol=1e-12)
    assert set(truth.roles) == {"core", "noise"}
    with pytest.raises(ValueError, match="'refinement' is not among the roles"):
        truth.auc(truth.levels, against="refinement")


@pytest.mark.parametrize("tree", ["balanced", "unbalanced"])
def test_core_inputs_tell_only_the_top_split_and_refinement_only_the_rest(tree):
    _, _, truth = make_class_tree(tree=tree, n_features_per_branch=2, random_state=2)
    top = truth.cophenetic_distances == truth.cophenetic_distances.max()
    core = truth.means[:, truth.roles == "core"]
    apart = np.linalg.norm(core[:, None] - core, axis=-1) > 0
    assert np.array_equal(apart, top)
    for level in range(truth.levels.max() + 1):
        inputs = truth.means[:, truth.levels <= level]
        inputs = inputs[:, truth.levels[truth.levels <= level] >= 0]
        apart = np.linalg.norm(inputs[:, None] - inputs, axis=-1) > 0
        # the inputs down to a level tell apart exactly the classes that part down to it
        height = 8 * 0.6**level * (1 - 1e-9)
        assert np.array_equal(apart, truth.cophenetic_distances > height)
    assert not truth.means[:, truth.roles == "noise"].any()
    assert np.array_equal(truth.levels < 0, truth.groups < 0)
    assert truth.auc(-truth.levels, against="refinement") == 1


def test_samples_scatter_around_their_class_mean_with_unit_noise():
    n = 16_000
    X, y, truth = make_class_tree(n, random_state=0)
    assert np.bincount(y).tolist() == [n // 8] * 8
    residuals = X - truth.means[y]
    for label in range(8):
        means = residuals[y == label].mean(axis=0)
        np.testing.assert_allclose(means, 0, atol=4.5 / np.sqrt(n / 8))
    np.testing.assert_allclose(residuals.std(axis=0), 1, atol=4 / np.sqrt(2 * n))


def test_sizes_of_classes_differ_by_one_at_most():
    _, y, _ = make_class_tree(19, n_classes=5, random_state=0)
    assert sorted(np.bincount(y)) == [3, 4, 4, 4, 4]


@pytest.mark.parametrize("tree", ["balanced", "unbalanced"])
@pytest.mark.parametrize("seed", range(3))
def test_clustered_sample_means_find_the_planted_tree(tree, seed):
    X, y, truth = make_class_tree(
        8000, n_classes=6, tree=tree, separation=10, decay=0.7, n_noise=0, random_state=seed
    )
    means = np.array([X[y == label].mean(axis=0) for label in range(6)])
    found = hierarchy.linkage(means, "average")
    assert truth.triplet_accuracy(found) == 1
    assert truth.cophenetic_correlation(found) > 0.99


def test_labels_are_dealt_to_the_leaves_at_random():
    nearest = {
        int(np.argsort(make_class_tree(random_state=s)[2].cophenetic_distances[0])[1])
        for s in range(60)
    }
    assert nearest == set(range(1, 8))
