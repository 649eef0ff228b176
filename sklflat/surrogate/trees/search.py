"""The best of several starts, each improved by alternation."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from sklflat.surrogate.trees.alternating import alternate
from sklflat.surrogate.trees.bins import Bins
from sklflat.surrogate.trees.layout import Layout
from sklflat.surrogate.trees.lookahead import look_ahead, n_rows_to_look_at
from sklflat.surrogate.trees.losses import Taught

#: rows times features that alternation compares, and rows at least
_MAX_ENTRIES, _MIN_ROWS = 150_000, 1500
#: rows of the tree that says which features matter, and of its leaves
_IMPORTANCE_ROWS, _IMPORTANCE_LEAF = 4000, 5


def search(
    greedy: Any,
    X: NDArray[np.float32],
    bins: Bins,
    taught: Taught,
    depth: int,
    n_restarts: int,
    rng: np.random.RandomState,
) -> tuple[Layout, float]:
    """The tree that loses least, and its loss.

    Starts are the greedy tree, the one of :func:`look_ahead`, and random questions of the features
    that matter.

    Parameters
    ----------
    greedy : sklearn.tree._tree.Tree
    X : ndarray of shape (n_samples, n_features)
    bins : Bins
    taught : Taught
    depth : int
    n_restarts : int
        Random starts.
    rng : RandomState

    Returns
    -------
    tree : Layout
    loss : float
    """
    n_features, n = bins.numbers.shape
    most = max(_MIN_ROWS, _MAX_ENTRIES // max(n_features, 1))
    own = np.arange(n) if n <= most else rng.choice(n, most, replace=False)
    fewer, fewer_taught = (bins, taught) if n <= most else (bins.take(own), taught.take(own))
    importance = _importance(X, taught, rng)
    n_look = min(len(own), n_rows_to_look_at(depth))
    look = rng.choice(len(own), n_look, replace=False)
    starts = [
        as_layout(greedy, bins, depth),
        look_ahead(fewer.take(look), fewer_taught.take(look), importance, depth),
    ]
    starts += [_random(importance, bins, depth, rng) for _ in range(n_restarts)]
    found = [alternate(start, fewer, fewer_taught) for start in starts]
    tree, loss = min(found, key=lambda pair: pair[1])
    if n > most:
        loss = taught.mean_loss(tree.leaves(bins), 2**depth)
    return tree, loss


def as_layout(tree: Any, bins: Bins, depth: int) -> Layout:
    """scikit-learn's tree as a complete one over bins, by the nearest thresholds."""
    layout = Layout.empty(depth)
    waiting = [(0, 0)]
    while waiting:
        node, u = waiting.pop()
        left, right = int(tree.children_left[node]), int(tree.children_right[node])
        if left < 0 or u >= len(layout.feature):
            continue
        feature = int(tree.feature[node])
        layout.feature[u] = feature
        layout.cut[u] = bins.nearest(feature, float(tree.threshold[node]))
        waiting += [(left, 2 * u + 1), (right, 2 * u + 2)]
    return layout


def _importance(X: NDArray, taught: Taught, rng: np.random.RandomState) -> NDArray[np.float64]:
    """How much each feature matters (n_features,) to a deep tree, in which no feature is hidden."""
    rows = np.arange(len(X))
    if len(X) > _IMPORTANCE_ROWS:
        rows = rng.choice(len(X), _IMPORTANCE_ROWS, replace=False)
    seed = int(rng.randint(2**31 - 1))
    settings: dict[str, Any] = {"min_samples_leaf": _IMPORTANCE_LEAF, "random_state": seed}
    if taught.by_log:
        deep: Any = DecisionTreeClassifier(criterion="entropy", **settings)
        said: NDArray = taught.values[rows].argmax(axis=1)
    else:
        deep, said = DecisionTreeRegressor(**settings), taught.values[rows]
    return np.asarray(deep.fit(X[rows], said, taught.weight[rows]).feature_importances_)


def _random(importance: NDArray, bins: Bins, depth: int, rng: np.random.RandomState) -> Layout:
    """Random thresholds of features drawn by their importance."""
    layout = Layout.empty(depth)
    sizes = np.array([len(cuts) for cuts in bins.cuts])
    p = (importance + importance.mean()) * (sizes > 0)
    if p.sum() <= 0:
        p = (sizes > 0) * 1.0
    if p.sum() > 0:
        layout.feature[:] = rng.choice(len(p), size=len(layout.feature), p=p / p.sum())
        layout.cut[:] = (rng.uniform(0.1, 0.9, len(layout.cut)) * sizes[layout.feature]).astype(int)
    return layout
