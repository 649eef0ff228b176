"""Trees, parities and superposed features: the planted rule, traced by other means."""

from itertools import combinations

import numpy as np
import pytest
from sklearn.decomposition import sparse_encode
from sklearn.linear_model import LinearRegression
from sklearn.tree import DecisionTreeClassifier

from sklflat.datasets import make_planted_tree, make_sparse_parity, make_superposition


def walk(tree, x):
    """Follow one sample from the root to its leaf."""
    node = 0
    while tree.children_left[node] != -1:
        goes_left = x[tree.feature[node]] <= tree.threshold[node]
        node = (tree.children_left if goes_left else tree.children_right)[node]
    return node


@pytest.mark.parametrize(("depth", "n_relevant"), [(1, 1), (2, 2), (3, 4), (4, 10)])
def test_labels_and_regions_are_those_of_a_walk_through_the_tree(depth, n_relevant):
    X, y, truth = make_planted_tree(200, depth=depth, n_relevant=n_relevant, random_state=depth)
    leaves = [walk(truth.tree, x) for x in X]
    assert truth.regions.tolist() == leaves
    assert y.tolist() == truth.tree.value[leaves].tolist()
    assert len(truth.tree.leaves) == 2**depth
    asked = truth.tree.feature[truth.tree.feature >= 0]
    assert set(asked) == set(np.flatnonzero(truth.inputs))
    assert truth.inputs.sum() == n_relevant


@pytest.mark.parametrize("seed", range(4))
def test_scikit_learns_tree_learns_the_labels(seed):
    X, y, truth = make_planted_tree(6000, random_state=seed)
    fresh_X, fresh_y, same = make_planted_tree(3000, random_state=seed)
    assert np.array_equal(truth.tree.threshold, same.tree.threshold)
    model = DecisionTreeClassifier(random_state=0).fit(X, y)
    assert model.score(X, y) == 1
    assert model.score(fresh_X, fresh_y) > 0.97


def test_scikit_learns_stump_finds_the_planted_stump():
    X, y, truth = make_planted_tree(5000, depth=1, n_relevant=1, random_state=0)
    stump = DecisionTreeClassifier(max_depth=1).fit(X, y)
    assert stump.score(X, y) == 1
    assert stump.tree_.feature[0] == truth.tree.feature[0]
    assert stump.tree_.threshold[0] == pytest.approx(truth.tree.threshold[0], abs=0.01)


@pytest.mark.parametrize("depth", [1, 3, 5])
def test_leaves_hold_shares_within_their_bounds(depth):
    n = 50_000
    _, y, truth = make_planted_tree(n, depth=depth, n_relevant=1, random_state=0)
    shares = np.bincount(truth.regions, minlength=2 ** (depth + 1) - 1)[truth.tree.leaves] / n
    slack = 4 * np.sqrt(shares / n)
    assert (shares + slack >= 0.4**depth).all()
    assert (shares - slack <= 0.6**depth).all()
    # siblings, of at least 40 % of their parent each, have different labels
    assert 0.39 < y.mean() < 0.61


@pytest.mark.parametrize(("depth", "n_relevant"), [(2, 2), (3, 3), (3, 4), (3, 7), (4, 2), (5, 9)])
def test_inputs_matter_where_the_truth_says_so_and_nowhere_else(depth, n_relevant):
    rng = np.random.default_rng(0)
    for seed in range(10):
        X, y, truth = make_planted_tree(2000, depth=depth, n_relevant=n_relevant, random_state=seed)
        for i, real in enumerate(truth.inputs):
            other = X.copy()
            other[:, i] = rng.uniform(-1, 1, size=len(X))
            changed = np.mean(truth.tree.predict(other) != y)
            assert changed > 0.02 if real else changed == 0


def test_relatives_ask_different_questions():
    _, _, truth = make_planted_tree(10, depth=4, n_relevant=4, random_state=0)
    feature = truth.tree.feature
    for node in range(7):
        family = {int(feature[n]) for n in (node, 2 * node + 1, 2 * node + 2)}
        assert len(family) == 3


@pytest.mark.parametrize("k", [1, 2, 4])
def test_the_parity_is_the_product_of_its_support(k):
    X, y, truth = make_sparse_parity(8000, n_features=7, n_relevant=k, random_state=k)
    assert set(np.unique(X)) == {-1.0, 1.0}
    assert truth.inputs.sum() == k
    signs, n = 2 * y - 1, len(y)
    support = set(np.flatnonzero(truth.inputs).tolist())
    for size in range(k + 1):
        for subset in combinations(range(7), size):
            correlation = np.mean(signs * X[:, list(subset)].prod(axis=1))
            if set(subset) == support:
                assert correlation == 1
            else:
                # 4.5 standard errors, for a hundred subsets
                assert abs(correlation) < 4.5 / np.sqrt(n)


def test_an_even_number_of_minus_ones_is_labelled_one():
    X, y, truth = make_sparse_parity(300, random_state=0)
    minus = np.count_nonzero(X[:, truth.inputs] == -1, axis=1)
    assert y.tolist() == [1 if count % 2 == 0 else 0 for count in minus]


def test_superposed_features_have_the_distribution_of_the_toy_model():
    n, sparsity = 20_000, 0.7
    X, _, truth = make_superposition(n, sparsity=sparsity, random_state=0)
    present = truth.latent > 0
    share = present.mean(axis=0)
    np.testing.assert_allclose(share, 1 - sparsity, atol=4.5 * np.sqrt(0.21 / n))
    values = truth.latent[present]
    assert values.max() < 1
    assert values.mean() == pytest.approx(1 / 2, abs=4 / np.sqrt(12 * len(values)))
    assert values.var() == pytest.approx(1 / 12, rel=0.02)
    np.testing.assert_allclose(np.linalg.norm(truth.dictionary, axis=1), 1, rtol=1e-12)
    np.testing.assert_allclose(truth.latent @ truth.dictionary, X, atol=1e-12)
    assert X.shape[1] == 10
    assert np.linalg.matrix_rank(X) == 10


def test_importances_decay_and_signs_alternate():
    _, _, truth = make_superposition(n_relevant=4, decay=0.5, random_state=0)
    by_size = truth.coef[np.argsort(-truth.importances)]
    assert by_size[:5].tolist() == [1, -0.5, 0.25, -0.125, 0]
    assert np.array_equal(truth.atoms, truth.importances > 0)
    assert np.array_equal(np.abs(truth.coef), truth.importances)


def test_the_target_is_the_weighted_sum_of_the_features():
    X, y, truth = make_superposition(3000, noise=0.1, random_state=0)
    model = LinearRegression().fit(truth.latent, y)
    np.testing.assert_allclose(model.coef_, truth.coef, atol=0.05)
    assert np.std(y - truth.latent @ truth.coef) == pytest.approx(0.1, rel=0.06)
    # fewer inputs than features: no linear map of X gives the target back
    assert LinearRegression().fit(X, y).score(X, y) < 0.9
    _, labels, _ = make_superposition(3000, noise=0.1, task="classification", random_state=0)
    assert np.array_equal(labels, y > 0)


def test_sparse_features_can_be_read_off_by_sparse_coding():
    X, _, truth = make_superposition(
        300, n_components=30, n_features=20, sparsity=0.95, random_state=0
    )
    code = sparse_encode(X, truth.dictionary, algorithm="lasso_lars", alpha=1e-4, positive=True)
    assert np.corrcoef(code.ravel(), truth.latent.ravel())[0, 1] > 0.99


def test_a_single_relevant_feature_leaves_two_classes():
    _, y, _ = make_superposition(n_relevant=1, task="classification", random_state=0)
    assert y.mean() == pytest.approx(0.2, abs=4 * np.sqrt(0.16 / 1000))
