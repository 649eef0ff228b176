"""A surrogate as a table of rules, in the words of the data."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sklflat.surrogate.columns import Columns

#: significant digits of a threshold, at least and at most
_DIGITS = range(4, 18)


@dataclass(frozen=True)
class Split:
    """One question on the way to a leaf: whether a feature is above a threshold, or at most.

    Attributes
    ----------
    feature : int
    threshold : float
    is_above : bool
    missing : bool
        Whether rows that lack the feature go the same way.
    """

    feature: int
    threshold: float
    is_above: bool
    missing: bool = False


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
        to_left = bool(tree.missing_go_to_left[node])
        waiting.append((right, [*path, Split(feature, threshold, True, not to_left)]))
        waiting.append((left, [*path, Split(feature, threshold, False, to_left)]))
    return found


def values_asked_for(tree: Any, features: NDArray) -> dict[int, NDArray]:
    """The different values, rising, of each feature that a tree asks for; NaN comes last.

    Parameters
    ----------
    tree : sklearn.tree._tree.Tree
    features : ndarray of shape (n_samples, n_features)
    """
    asked = sorted({int(f) for f in tree.feature if f >= 0})
    return {f: np.unique(features[:, f]) for f in asked}


def condition(
    path: list[Split], columns: Columns, values: Mapping[int, NDArray] | None = None
) -> str:
    """A conjunction of splits in the words of the data.

    Splits of the same feature become one; those of a category say what it is, or is not. Thresholds
    are written with as many digits as it takes to part the values as the tree does.

    Parameters
    ----------
    path : list of Split
    columns : Columns
    values : dict of int to ndarray, default=None
        See :func:`values_asked_for`. None writes four digits, and nothing of missing values.

    Examples
    --------
    >>> import numpy as np
    >>> from sklflat.surrogate.columns import Columns
    >>> from sklflat.surrogate.rules import Split, condition
    >>> columns = Columns(
    ...     ("size", "colour"), ("number", "category"), ((), ("blue", "red")), ((), (0, 1))
    ... )
    >>> path = [Split(0, 4.0, False), Split(0, 1.5, True), Split(2, 0.5, True)]
    >>> condition(path, columns)
    '1.5 < size <= 4 and colour is red'
    >>> years = {0: np.array([2010.0, 2011.0, 2012.0, np.nan])}
    >>> condition([Split(0, 2011.5, True, missing=True)], columns, years)
    '(size > 2011.5 or missing)'
    """
    parts = []
    for feature in dict.fromkeys(split.feature for split in path):
        own = [split for split in path if split.feature == feature]
        category = columns.category_of[feature]
        if category is not None:
            word = "is" if own[-1].is_above else "is not"
            parts.append(f"{category[0]} {word} {category[1]}")
            continue
        known = (values or {}).get(feature, np.zeros(0))
        parts.append(_interval(columns.feature_names[feature], own, known))
    return " and ".join(parts) if parts else "always"


def _interval(name: str, splits: list[Split], values: NDArray) -> str:
    """What splits of one feature ask for; `values` are its different ones, rising, NaN last."""
    known = values[~np.isnan(values)]
    missing = len(known) < len(values) and all(split.missing for split in splits)
    above = max((s.threshold for s in splits if s.is_above), default=None)
    below = min((s.threshold for s in splits if not s.is_above), default=None)
    if missing and above is not None and (_single(known) <= above).all():
        return f"{name} is missing"
    if below == np.inf and not missing:  # scikit-learn asks so whether a value is known
        if above is None:
            return f"{name} is not missing"
        below = None
    said = name
    if above is not None:
        low = _in_digits(above, known)
        said = f"{name} > {low}" if below is None else f"{low} < {name}"
    if below is not None:
        said = f"{said} <= {_in_digits(below, known)}"
    return f"({said} or missing)" if missing else said


def _in_digits(threshold: float, known: NDArray) -> str:
    """A threshold in the fewest digits, four at least, that part known values as the tree does.

    The tree compares values of single precision.
    """
    n_below = int((_single(known) <= threshold).sum())
    for digits in _DIGITS:
        said = f"{threshold:.{digits}g}"
        if np.searchsorted(known, float(said), side="right") == n_below:
            return said
    edge = known[n_below - 1] if n_below else np.nextafter(known[0], -np.inf)
    return repr(float(edge))


def _single(values: NDArray) -> NDArray[np.float64]:
    """Values rounded to single precision; as such they would have a threshold rounded, too."""
    return values.astype(np.float32).astype(np.float64)


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
    values: Mapping[int, NDArray],
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
    values : dict of int to ndarray
        See :func:`values_asked_for`.
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
    said = [condition(path, columns, values) for path in paths.values()]
    leaves = list(paths)
    prediction = [
        p.item() if p.ndim == 0 else p.tolist() for p in map(np.asarray, predicted[leaves])
    ]
    found = {"condition": said, "prediction": prediction}
    if probability is not None:
        found["probability"] = probability[leaves].tolist()
    found |= {"coverage": coverage, "fidelity": faithfulness, "support": support}
    return Rules(tuple(found), tuple(found.values()))
