"""Whether the top splits of a tree come back when its data are drawn again."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sklflat.surrogate.columns import filled

#: how far thresholds may be apart, in ranges of their feature
TOLERANCE = 0.05


def top_splits(model: Any, levels: int = 2) -> list[tuple[int, float] | None]:
    """Feature and threshold of the splits of the top levels, from the root; None where is a leaf.

    Parameters
    ----------
    model : fitted tree of scikit-learn
    levels : int, default=2

    Examples
    --------
    >>> from sklearn.tree import DecisionTreeRegressor
    >>> from sklflat.surrogate.stability import top_splits
    >>> tree = DecisionTreeRegressor(max_depth=2).fit([[0], [1], [2]], [0, 5, 5])
    >>> top_splits(tree)
    [(0, 0.5), None, None]
    """
    tree = model.tree_
    nodes = [0]
    found: list[tuple[int, float] | None] = []
    for _ in range(levels):
        below: list[int] = []
        for node in nodes:
            is_leaf = node < 0 or tree.children_left[node] < 0
            found.append(
                None if is_leaf else (int(tree.feature[node]), float(tree.threshold[node]))
            )
            below += [-1, -1] if is_leaf else [tree.children_left[node], tree.children_right[node]]
        nodes = below
    return found


def same_splits(
    splits: Iterable[tuple[int, float] | None],
    others: Iterable[tuple[int, float] | None],
    ranges: NDArray,
) -> bool:
    """Whether all splits ask for the same feature, at thresholds within 5 % of its range."""
    return all(
        a is b or (a is not None and b is not None and _is_close(a, b, ranges))
        for a, b in zip(splits, others, strict=True)
    )


def _is_close(a: tuple[int, float], b: tuple[int, float], ranges: NDArray) -> bool:
    return a[0] == b[0] and bool(abs(a[1] - b[1]) <= TOLERANCE * ranges[a[0]])


def has_splits(model: Any) -> bool:
    """Whether a model is a single tree of scikit-learn's kind."""
    return hasattr(model, "tree_") and hasattr(model.tree_, "children_left")


def stability(model: Any, redrawn: Iterable[Any], features: NDArray) -> float:
    """Share of redraws in which the splits of the top two levels come back.

    Parameters
    ----------
    model : fitted tree
    redrawn : iterable of fitted trees
        Taught by other draws of rows and of oracle samples.
    features : ndarray of shape (n_samples, n_features)
        Whose ranges thresholds are compared in.

    Returns
    -------
    float
        NaN without redraws, or if the model has no splits.
    """
    if not has_splits(model):
        return float("nan")
    ranges = np.ptp(filled(features), axis=0)
    own = top_splits(model)
    same = [same_splits(own, top_splits(other), ranges) for other in redrawn]
    return float(np.mean(same)) if same else float("nan")
