"""Trees of classes: SciPy as the oracle, planted trees, and the verdict that there is none."""

import numpy as np
import pytest
from scipy.cluster import hierarchy
from scipy.spatial.distance import squareform

from sklflat.datasets import make_class_tree
from sklflat.temperature import ClassTree, TemperatureSweep, softened
from sklflat.temperature.class_tree import branches, cophenetic, grow, is_branch, share_with
from sklflat.temperature.display import _places
from sklflat.temperature.resampled_rows import ResampledRows
from sklflat.temperature.stability import tree_likeness, tree_p_value, triplets_of

RNG = np.random.RandomState(0)


def random_distances(n, rng=RNG):
    return squareform(rng.uniform(1, 2, size=n * (n - 1) // 2))


@pytest.mark.parametrize("n", [2, 3, 8, 26])
def test_cophenetic_heights_are_scipys(n):
    linkage = grow(random_distances(n))
    np.testing.assert_array_equal(cophenetic(linkage), hierarchy.cophenet(linkage))


def test_branches_and_their_share():
    linkage = grow(squareform([1.0, 5, 5, 5, 5, 2]))  # {0, 1}, {2, 3}
    assert branches(linkage) == [0b0011, 0b1100, 0b1111]
    other = grow(squareform([1.0, 5, 5, 2, 5, 5]))  # {0, 1}, {0, 1} + 2 or 3 ...
    np.testing.assert_allclose(share_with(linkage, [linkage, other]), [1, 0.5, 1])


def test_a_tree_says_itself():
    linkage = grow(squareform([1.0, 5, 5, 5, 5, 2]))
    tree = ClassTree(np.array(["a", "b", "it's", "d"]), linkage, 2.0, np.array([1, 0.5, 1]), 0)
    assert tree.groups() == [("a", "b"), ("it's", "d"), ("a", "b", "it's", "d")]
    assert tree.to_newick() == "(('a':1,'b':1)1.00:4,('it''s':2,'d':2)0.50:3)1.00;"
    assert "a, b  (distance 1, support 100%)" in str(tree)


@pytest.mark.parametrize("error", [0.0, 1e-16])
def test_equal_heights_are_one_node(error):
    """Four classes at one distance are a star, of which linkage makes three branches."""
    linkage = grow(squareform(0.5 + error * np.arange(6)))
    assert is_branch(linkage).tolist() == [False, False, True]
    support = share_with(linkage, [linkage])
    np.testing.assert_array_equal(support, [np.nan, np.nan, 1])
    tree = ClassTree(np.arange(4), linkage, 1.0, support, support)
    inner = tree.to_newick().removeprefix("(").removesuffix(")1.00;")
    assert sorted(inner.split(",")) == ["'0':0.5", "'1':0.5", "'2':0.5", "'3':0.5"]
    assert str(tree).splitlines()[1:] == ["0, 1, 2, 3  (distance 0.5, support 100%)"]


def test_unknown_support_is_said():
    linkage = grow(squareform([0.1, 0.5, 0.5, 0.5, 0.5, 0.2]))
    support = np.array([np.nan, 0.5, 1])
    tree = ClassTree(np.arange(4), linkage, 2.0, support, np.ones(3))
    assert tree.to_newick() == "(('0':0.1,'1':0.1):0.4,('2':0.2,'3':0.2)0.50:0.3)1.00;"
    assert "0, 1  (distance 0.1, support unknown)" in str(tree)


@pytest.mark.parametrize(
    "pairs", [[1.0, 5, 5, 5, 5, 1], [1.0, 5, 5, 5, 5, 2], [3.0, 1, 1, 3, 3, 3]]
)
def test_support_is_drawn_where_scipy_draws_the_branch(pairs):
    linkage = grow(squareform(pairs))  # the first has {0, 1} and {2, 3} at one height
    drawn = hierarchy.dendrogram(linkage, no_plot=True)
    places = _places(linkage, drawn["leaves"])
    bars = np.column_stack([np.array(drawn["dcoord"])[:, 1], np.mean(drawn["icoord"], axis=1)])
    assert {*map(tuple, np.column_stack([linkage[:, 2], places]))} == {*map(tuple, bars)}
    for members, place in zip(branches(linkage), places, strict=True):
        below = [10 * drawn["leaves"].index(k) + 5 for k in range(4) if members >> k & 1]
        assert min(below) < place < max(below)


def test_branches_with_a_class_of_one_row_have_no_support():
    y = np.repeat([0, 1, 2, 3], [1, 6, 6, 6])
    logits = 3.0 * np.eye(4)[y] + 2.0 * np.eye(4)[y ^ 1] + RNG.normal(size=(19, 4))
    rng, even = np.random.RandomState(0), np.ones(19)
    resampled = ResampledRows.drawn(y, even, 8, rng)
    sweep = TemperatureSweep.of(
        lambda T: softened(logits, T), y, even, np.ones(1), np.arange(4), "average", resampled, rng
    )
    support = dict(zip(branches(sweep.linkages[0]), sweep.support[0], strict=True))
    assert np.isnan(support[0b0011])
    assert 0 < support[0b1100] <= 1
    assert support[0b1111] == 1


def test_a_tree_has_no_excess_and_unrelated_distances_have_half():
    planted = make_class_tree(n_classes=16, random_state=0)[2].cophenetic_distances
    triplets = triplets_of(16, RNG)
    assert tree_likeness(squareform(planted), triplets) == 0
    drawn = [tree_likeness(RNG.uniform(size=120), triplets) for _ in range(200)]
    # of three uniform numbers, the gaps are alike
    assert np.mean(drawn) == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("tree", ["balanced", "unbalanced"])
def test_planted_trees_are_found(tree):
    planted = make_class_tree(n_classes=8, tree=tree, random_state=0)[2].cophenetic_distances
    noise = 0.05 * planted.max() * (random_distances(8) - 1.5)
    np.fill_diagonal(noise, 0)
    assert tree_p_value(planted + noise, 4999, np.random.RandomState(0)) <= 0.001


def test_p_values_of_unrelated_distances_are_uniform():
    rng = np.random.RandomState(1)
    p = np.array([tree_p_value(random_distances(7, rng), 199, rng) for _ in range(300)])
    # of 300 at a level of .05, fewer than 5 or more than 27 have a chance of one in a thousand
    assert 5 <= (p <= 0.05).sum() <= 27


def test_few_classes_are_too_few_to_tell():
    assert tree_p_value(squareform([1.0, 5, 5, 5, 5, 2]), 999, RNG) > 0.05
    assert tree_p_value(squareform([1.0]), 999, RNG) == 1


def test_halves_hold_half_of_every_class():
    y = np.repeat([0, 1, 2], [1, 4, 7])
    drawn = ResampledRows.drawn(y, np.full(12, 0.5), 20, np.random.RandomState(0))
    sizes = [np.stack([np.bincount(y, s) for s in half]) for half in (drawn.first, drawn.second)]
    assert (sizes[0][:, :2] == [0.5, 1]).all()  # the only row of a class is in both
    assert (sizes[0][:, 1:] + sizes[1][:, 1:] == [2, 3.5]).all()
    assert set(sizes[0][:, 2]) == {1.5, 2}  # the odd row is in either
    assert ((drawn.first > 0) & (drawn.second > 0) == (y == 0)).all()
    for counts in drawn.bootstrap:
        np.testing.assert_array_equal(np.bincount(y, counts), [0.5, 2, 3.5])
