"""Labels from a known decision tree."""

from numbers import Integral

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_random_state

from sklflat._compat import Interval
from sklflat.datasets.decision_tree import PlantedTree
from sklflat.datasets.draws import Seed, flip_labels, validated
from sklflat.datasets.truth import Truth

__all__ = ["make_planted_tree"]


@validated(depth=[Interval(Integral, 1, 16, closed="both")])
def make_planted_tree(
    n_samples: int = 1000,
    *,
    n_features: int = 10,
    n_relevant: int = 4,
    depth: int = 3,
    label_noise: float = 0.0,
    random_state: Seed = None,
) -> tuple[NDArray, NDArray, Truth]:
    """Generate labels from a complete decision tree over a few of the inputs.

    Inputs are uniform on [-1, 1]. Each node cuts its cell between 40 % and 60 % of the cell's
    width in the input it asks for, so that a leaf holds between ``0.4**depth`` and ``0.6**depth``
    of the samples; a node asks for another input than its parent and its sibling where there are
    enough. The two leaves of a last split have different labels.

    Parameters
    ----------
    n_samples : int, default=1000
        Number of samples.
    n_features : int, default=10
        Number of inputs.
    n_relevant : int, default=4
        Inputs that the tree asks for: at most `n_features` and the ``2**depth - 1`` splits.
    depth : int, default=3
        Number of questions on the way to a leaf, at most 16.
    label_noise : float, default=0.0
        Probability in [0, 0.5) that a label is flipped.
    random_state : int, RandomState instance or None, default=None
        Pass an int for the same data again. One int plants the same tree at every `n_samples` and
        `label_noise`.

    Returns
    -------
    X : ndarray of shape (n_samples, n_features)
        Independent inputs, uniform on [-1, 1].
    y : ndarray of shape (n_samples,)
        Labels 0 and 1.
    truth : Truth
        ``tree``; ``inputs``: those it asks for; ``regions``: the number of each sample's leaf.

    Raises
    ------
    ValueError
        If a parameter is out of range, or `n_relevant` is more than the inputs or the splits.

    Examples
    --------
    >>> from sklflat.datasets import make_planted_tree
    >>> X, y, truth = make_planted_tree(depth=1, n_relevant=1, random_state=0)
    >>> root, cut = truth.tree.feature[0], truth.tree.threshold[0]
    >>> bool((truth.tree.value[1 + (X[:, root] > cut)] == y).all())
    True
    """
    if n_relevant > min(n_features, 2**depth - 1):
        raise ValueError(
            f"n_relevant={n_relevant} must be at most n_features={n_features} and the "
            f"{2**depth - 1} splits of a tree of depth={depth}."
        )
    rng = check_random_state(random_state)
    relevant = rng.permutation(n_features)[:n_relevant]
    tree = _tree(relevant[_questions(depth, n_relevant, rng)], depth, n_features, rng)
    X = rng.uniform(-1, 1, size=(n_samples, n_features))
    leaf = tree.apply(X)
    y = flip_labels(tree.value[leaf], label_noise, rng)
    inputs = np.isin(np.arange(n_features), relevant)
    return X, y, Truth(inputs=inputs, regions=leaf, tree=tree)


def _questions(depth: int, n_relevant: int, rng: np.random.RandomState) -> NDArray[np.int64]:
    """Input of each inner node: the least used among those its relatives do not ask for."""
    question = np.zeros(2**depth - 1, dtype=np.int64)
    uses = np.zeros(n_relevant)
    for node in range(len(question)):
        parent = question[[(node - 1) // 2]] if node else question[:0]
        sibling = question[[node - 1]] if node and node % 2 == 0 else question[:0]
        allowed = np.arange(n_relevant)
        for relative in (parent, sibling):
            rest = np.setdiff1d(allowed, relative)
            allowed = rest if len(rest) else allowed
        least = allowed[uses[allowed] == uses[allowed].min()]
        question[node] = rng.choice(least)
        uses[question[node]] += 1
    return question


def _tree(
    question: NDArray[np.int64], depth: int, n_features: int, rng: np.random.RandomState
) -> PlantedTree:
    """Complete tree in which the children of node i are 2 i + 1 and 2 i + 2."""
    n_inner, n_nodes = len(question), 2 ** (depth + 1) - 1
    is_inner = np.arange(n_nodes) < n_inner
    feature, threshold = np.full(n_nodes, -2), np.full(n_nodes, -2.0)
    feature[:n_inner] = question
    low, high = np.full((n_nodes, n_features), -1.0), np.full((n_nodes, n_features), 1.0)
    for node, f in enumerate(question):
        left, right = 2 * node + 1, 2 * node + 2
        threshold[node] = low[node, f] + rng.uniform(0.4, 0.6) * (high[node, f] - low[node, f])
        low[[left, right]], high[[left, right]] = low[node], high[node]
        high[left, f] = low[right, f] = threshold[node]
    nodes = np.arange(n_nodes)
    return PlantedTree(
        feature=feature,
        threshold=threshold,
        children_left=np.where(is_inner, 2 * nodes + 1, -1),
        children_right=np.where(is_inner, 2 * nodes + 2, -1),
        value=np.concatenate([np.full(n_inner, -1), _leaf_labels(question, depth, rng)]),
    )


def _leaf_labels(
    question: NDArray[np.int64], depth: int, rng: np.random.RandomState
) -> NDArray[np.int64]:
    """Labels of the leaves from left to right: 0 and 1 under each last split, in random order."""
    last = question[2 ** (depth - 1) - 1 :]
    first = rng.randint(2, size=len(last))
    # siblings that split on the same feature must differ, or their parent would hardly matter
    left, right = last[0:-1:2], last[1::2]
    first[1::2] = np.where(left == right, 1 - first[0:-1:2], first[1::2])
    return np.column_stack([first, 1 - first]).ravel()
