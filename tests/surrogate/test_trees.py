"""Trees improved together: known functions, scikit-learn's own readers, never a greater loss."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_iris, load_wine
from sklearn.metrics import log_loss
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor, export_text, plot_tree

from sklflat.datasets import make_planted_tree
from sklflat.surrogate import AlternatingTreeClassifier, AlternatingTreeRegressor
from sklflat.surrogate.stability import same_splits, top_splits
from sklflat.surrogate.trees.alternating import alternate
from sklflat.surrogate.trees.bins import Bins
from sklflat.surrogate.trees.greedy import grow
from sklflat.surrogate.trees.layout import Layout
from sklflat.surrogate.trees.lookahead import look_ahead
from sklflat.surrogate.trees.losses import Taught


def planted_splits(tree):
    return [(int(tree.feature[i]), float(tree.threshold[i])) for i in range(3)]


@pytest.mark.parametrize(("depth", "seed"), [(2, 0), (3, 1)])
def test_a_planted_tree_comes_back_where_greedy_growth_fails(depth, seed):
    X, y, truth = make_planted_tree(
        3000, depth=depth, n_relevant=min(4, 2**depth - 1), random_state=seed
    )
    tree = AlternatingTreeClassifier(depth, random_state=0).fit(X, y)
    assert same_splits(planted_splits(truth.tree), top_splits(tree), np.full(10, 2.0))
    assert tree.score(X, y) > 0.99
    greedy = DecisionTreeClassifier(criterion="entropy", max_depth=depth).fit(X, y)
    assert greedy.score(X, y) < 0.9


@pytest.mark.slow
@pytest.mark.parametrize("depth", [2, 3, 4, 5])
def test_planted_trees_come_back_in_nine_of_ten(depth):
    found = []
    for seed in range(10):
        X, y, truth = make_planted_tree(
            12_000, depth=depth, n_relevant=min(4, 2**depth - 1), random_state=seed
        )
        tree = AlternatingTreeClassifier(depth, random_state=0).fit(X, y)
        found.append(same_splits(planted_splits(truth.tree), top_splits(tree), np.full(10, 2.0)))
    assert sum(found) >= 9


@pytest.mark.parametrize("by_log", [True, False])
def test_greedy_growth_is_scikit_learns(by_log):
    """Of data with few values, whose bins have all thresholds."""
    rng = np.random.RandomState(0)
    X = rng.randint(40, size=(400, 3)).astype(np.float32)
    y = (X[:, 0] + X[:, 1] > 40) + (X[:, 2] > 25 + rng.normal(size=400)).astype(int)
    weight = rng.uniform(0.5, 2, 400)
    values = np.eye(3)[y] if by_log else y[:, None].astype(float)
    tree, gains = grow(bins := Bins.of(X), Taught(values, weight, by_log), 3)
    kind = DecisionTreeClassifier(criterion="entropy") if by_log else DecisionTreeRegressor()
    expected = kind.set_params(max_depth=3).fit(X, y, weight)
    theirs = expected.apply(X)
    mine = tree.leaves(bins)
    assert len(set(zip(mine, theirs, strict=True))) == len(np.unique(theirs))
    np.testing.assert_allclose(gains / gains.sum(), expected.feature_importances_, atol=1e-9)


def test_coarser_bins_ask_some_of_the_same_questions():
    X = np.random.RandomState(0).normal(size=(500, 2)).astype(np.float32)
    X[:, 1] = X[:, 1].round()
    coarse = Bins.of(X).coarser()
    assert [len(c) for c in coarse.cuts] == [31, len(np.unique(X[:, 1])) - 1]
    for numbers, cuts, x in zip(coarse.numbers, coarse.cuts, X.T, strict=True):
        for number, cut in enumerate(cuts):
            np.testing.assert_array_equal(numbers > number, x > cut)


@pytest.mark.parametrize("depth", [2, 3, 4])
def test_the_start_is_the_best_of_all_trees(depth):
    """By trying all trees over the same questions, one after the other."""
    rng = np.random.RandomState(depth)
    X = rng.randint(2, size=(300, 5)).astype(np.float32)
    y = (X[:, 0] != X[:, 1]) + (X[:, 2] != X[:, 3]) + rng.normal(size=300)
    bins, taught = Bins.of(X), Taught(y[:, None] - y.mean(), np.ones(300), by_log=False)
    features = [0, 1, 2, 3]

    def best(rows, levels):
        lost = np.square(y[rows] - y[rows].mean()).sum() if len(rows) else 0.0
        if levels == 0:
            return lost
        sides = [[rows[X[rows, f] == side] for side in (0, 1)] for f in features]
        return min(sum(best(side, levels - 1) for side in pair) for pair in sides)

    layout = look_ahead(bins, taught, np.array([1.0, 1, 1, 1, 0]), depth)
    leaf = layout.leaves(bins)
    found = sum(np.square(y[leaf == k] - y[leaf == k].mean()).sum() for k in np.unique(leaf))
    assert found == pytest.approx(best(np.arange(300), depth), rel=1e-5)


def test_one_improvement_is_the_best_of_all_questions():
    """Of a root above fixed leaves: by trying every threshold of every feature."""
    rng = np.random.RandomState(0)
    X = rng.normal(size=(60, 3)).astype(np.float32)
    y = (X[:, 1] + 0.5 * X[:, 2] + rng.normal(size=60) > 0).astype(float)
    bins, taught = Bins.of(X), Taught(y[:, None], rng.uniform(0.5, 2, 60), by_log=False)
    start = Layout(1, np.array([0]), np.array([30]))
    tree, loss = alternate(start, bins, taught)
    values = taught.losses(taught.means(tree.leaves(bins), 2))
    lost = {
        (f, c): taught.weight @ np.where(bins.numbers[f] > c, values[:, 1], values[:, 0])
        for f in range(3)
        for c in range(len(bins.cuts[f]))
    }
    chosen = lost[int(tree.feature[0]), int(tree.cut[0])]
    assert chosen <= min(lost.values()) + 1e-9
    assert loss <= taught.mean_loss(start.leaves(bins), 2)


@pytest.mark.parametrize("load", [load_iris, load_wine])
def test_the_loss_is_never_above_the_greedy_trees(load):
    X, y = load(return_X_y=True)
    tree = AlternatingTreeClassifier(2, n_restarts=2, random_state=0).fit(X, y)
    greedy = DecisionTreeClassifier(criterion="entropy", max_depth=2).fit(X, y)
    losses = [log_loss(y, np.clip(t.predict_proba(X), 1e-3, 1)) for t in (tree, greedy)]
    assert losses[0] <= losses[1] + 0.02  # leaves are smoothed by one row while it is chosen


def test_scikit_learns_own_readers_read_it():
    X, y = load_iris(return_X_y=True, as_frame=True)
    tree = AlternatingTreeClassifier(3, random_state=0).fit(X, y)
    text = export_text(tree, feature_names=list(X.columns))
    assert "petal" in text
    assert len(plot_tree(tree)) >= tree.tree_.node_count
    leaf, t = tree.apply(X), tree.tree_
    for node in np.unique(leaf):
        own = leaf == node
        assert t.n_node_samples[node] == own.sum()
        np.testing.assert_allclose(t.value[node, 0], np.bincount(y[own], minlength=3) / own.sum())
    assert tree.get_n_leaves() == len(np.unique(leaf))
    assert tree.decision_path(X).shape == (150, t.node_count)
    assert tree.feature_importances_.sum() == pytest.approx(1)
    split = t.children_left >= 0
    left, right = t.children_left[split], t.children_right[split]
    np.testing.assert_array_equal(
        t.n_node_samples[split], t.n_node_samples[left] + t.n_node_samples[right]
    )


def test_rows_by_class_are_shares():
    """A row for each class, weighted: the same tree as of weights that are merged by hand."""
    rng = np.random.RandomState(0)
    X = rng.uniform(-1, 1, size=(500, 3))
    p = 1 / (1 + np.exp(-8 * X[:, 0] * X[:, 1]))
    weights = np.column_stack([1 - p, p]).ravel()
    tree = AlternatingTreeClassifier(2, random_state=0)
    tree.fit(np.repeat(X, 2, axis=0), np.tile([0, 1], 500), weights)
    leaf = tree.apply(X)
    for node in np.unique(leaf):
        own = leaf == node
        np.testing.assert_allclose(tree.predict_proba(X)[own][0, 1], p[own].mean())
    assert ((tree.predict(X) == 1) == (p > 0.5)).mean() > 0.95


def test_missing_values_constants_and_outputs():
    rng = np.random.RandomState(0)
    X = rng.normal(size=(400, 3))
    X[:, 2] = 1.0
    X[::4, 0] = np.nan
    y = np.isnan(X[:, 0]) != (X[:, 1] > 0)
    assert AlternatingTreeClassifier(2, random_state=0).fit(X, y).score(X, y) > 0.98
    Y = np.column_stack([y, 1000.0 + 5 * (X[:, 1] > 0)])
    assert AlternatingTreeRegressor(2, random_state=0).fit(X, Y).score(X, Y) > 0.98
    constant = AlternatingTreeRegressor(random_state=0).fit(X, np.full(400, 3.0))
    assert constant.get_n_leaves() == 1
    assert set(constant.predict(X)) == {3.0}
    same = AlternatingTreeClassifier(random_state=0).fit(np.ones((50, 2)), np.arange(50) % 2)
    assert same.get_n_leaves() == 1


def test_weights_are_counts():
    X, y = load_iris(return_X_y=True)
    counts = np.random.RandomState(0).randint(0, 3, size=len(y))
    weighted = AlternatingTreeRegressor(2, random_state=0).fit(X, y, counts)
    repeated = clone(weighted).fit(np.repeat(X, counts, axis=0), np.repeat(y, counts))
    np.testing.assert_allclose(weighted.predict(X), repeated.predict(X), atol=0.05)
    assert isinstance(weighted, DecisionTreeRegressor)
