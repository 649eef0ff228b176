"""A surrogate as a table of rules, in the words of the data."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sklflat.surrogate.columns import Columns


@dataclass(frozen=True)
class Split:
    """One question on the way to a leaf: whether a feature is above a threshold, or at most."""

    feature: int
    threshold: float
    is_above: bool


def paths_to_leaves(tree: Any) -> dict[int, list[Split]]:
    """The splits on the way to each leaf, leaves from left to right.

    Parameters
    ----------
    tree : sklearn.tree._tree.Tree
        ``tree_`` of a fitted tree.
    """
    found: dict[int, list[Split]] = {}
    waiting: list[tuple[int, list[Split]]] = [(0, [])]
    while waiting:
        node, path = waiting.pop()
        left, right = int(tree.children_left[node]), int(tree.children_right[node])
        if left < 0:
            found[node] = path
            continue
        feature, threshold = int(tree.feature[node]), float(tree.threshold[node])
        waiting.append((right, [*path, Split(feature, threshold, True)]))
        waiting.append((left, [*path, Split(feature, threshold, False)]))
    return found


def condition(path: list[Split], columns: Columns) -> str:
    """A conjunction of splits in the words of the data.

    Splits of the same feature become one; those of a category say what it is, or is not.

    Parameters
    ----------
    path : list of Split
    columns : Columns

    Examples
    --------
    >>> from sklflat.surrogate.columns import Columns
    >>> from sklflat.surrogate.rules import Split, condition
    >>> columns = Columns(("size", "colour"), ("number", "category"), ((), ("blue", "red")))
    >>> path = [Split(0, 4.0, False), Split(0, 1.5, True), Split(2, 0.5, True)]
    >>> condition(path, columns)
    '1.5 < size <= 4 and colour is red'
    """
    parts = []
    for feature in dict.fromkeys(split.feature for split in path):
        own = [split for split in path if split.feature == feature]
        category = columns.category_of[feature]
        if category is not None:
            word = "is" if own[-1].is_above else "is not"
            parts.append(f"{category[0]} {word} {category[1]}")
            continue
        above = [s.threshold for s in own if s.is_above]
        below = [s.threshold for s in own if not s.is_above]
        name = columns.feature_names[feature]
        if above and below:
            parts.append(f"{max(above):.4g} < {name} <= {min(below):.4g}")
        else:
            parts.append(f"{name} > {max(above):.4g}" if above else f"{name} <= {min(below):.4g}")
    return " and ".join(parts) if parts else "always"


@dataclass(frozen=True)
class Rules:
    """What a surrogate says, one entry a leaf of a tree; or one a coefficient of a linear model.

    Attributes
    ----------
    names : tuple of str
        Of the columns.
    columns : tuple of sequences
    """

    names: tuple[str, ...]
    columns: tuple[Any, ...]

    def to_frame(self) -> Any:
        """The rules as a pandas.DataFrame."""
        import pandas as pd

        return pd.DataFrame(dict(zip(self.names, self.columns, strict=True)))


def rules_of_tree(
    model: Any,
    columns: Columns,
    features: NDArray,
    faithful: NDArray,
    predicted: NDArray,
    probability: NDArray | None,
    weight: NDArray,
) -> Rules:
    """The rules of a tree, with what held-out rows say of them.

    Parameters
    ----------
    model : fitted tree
    columns : Columns
    features : ndarray of shape (n_samples, n_features)
        Held-out rows.
    faithful : ndarray of shape (n_samples,)
        1 where surrogate and network say the same; of a regressor 1 less the relative squared
        difference.
    predicted : ndarray of shape (n_nodes, ...)
        What is said at each node.
    probability : ndarray of shape (n_nodes,) or None
        That a node gives to what it says; None for a regressor.
    weight : ndarray of shape (n_samples,)
        Adds up to 1.

    Returns
    -------
    rules : Rules
        "condition", "prediction", "probability" (of a classifier), "coverage" (share of the
        held-out rows), "fidelity" among these (NaN without any), and "support" (their number).
    """
    paths = paths_to_leaves(model.tree_)
    leaf_of = model.apply(features)
    coverage, faithfulness, support = [], [], []
    for leaf in paths:
        own = leaf_of == leaf
        share = float(weight[own].sum())
        coverage.append(share)
        faithfulness.append(float(weight[own] @ faithful[own] / share) if share else float("nan"))
        support.append(int(own.sum()))
    said = [condition(path, columns) for path in paths.values()]
    leaves = list(paths)
    prediction = [
        p.item() if p.ndim == 0 else p.tolist() for p in map(np.asarray, predicted[leaves])
    ]
    found = {"condition": said, "prediction": prediction}
    if probability is not None:
        found["probability"] = probability[leaves].tolist()
    found |= {"coverage": coverage, "fidelity": faithfulness, "support": support}
    return Rules(tuple(found), tuple(found.values()))


def rules_of_coefficients(model: Any, columns: Columns, classes: NDArray | None) -> Rules:
    """The coefficients of a linear model that are not 0, the largest first.

    Parameters
    ----------
    model : fitted linear model
    columns : Columns
    classes : ndarray of shape (n_classes,) or None
    """
    coef = np.atleast_2d(np.asarray(model.coef_, dtype=float))
    output, feature = np.nonzero(coef)
    order = np.argsort(-np.abs(coef[output, feature]), kind="stable")
    output, feature = output[order], feature[order]
    if classes is None:
        said: list[Any] = output.tolist()
    else:
        of_output = classes[-1:] if len(coef) == 1 else classes
        said = of_output[output].tolist()
    names = [columns.feature_names[f] for f in feature]
    return Rules(
        ("feature", "output", "coefficient"), (names, said, coef[output, feature].tolist())
    )
