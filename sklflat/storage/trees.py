"""Decision trees: every number of a node is checked, as scikit-learn's C code trusts them all.

A tree is stored by its nodes' fields and values. How deep it is and how many nodes it has is
counted, not read, and an estimator that holds it has to read as many features as it asks for.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np

from sklflat._compat import TREE_NODE_FIELDS, tree_classes
from sklflat.exceptions import CheckpointError
from sklflat.storage.objects import HANDLERS, Handler

_MAX_FEATURES = 2**31 - 1
_ESTIMATORS = {"DecisionTreeClassifier", "DecisionTreeRegressor"}


def _is_tree(value: Any) -> bool:
    return type(value).__name__ == "Tree" and type(value).__module__ == "sklearn.tree._tree"


def _to_state(tree: Any) -> dict[str, Any]:
    state = tree.__getstate__()
    nodes = state["nodes"]
    return {
        "n_features": int(tree.n_features),
        "n_classes": [int(n) for n in tree.n_classes],
        "nodes": {name: np.ascontiguousarray(nodes[name]) for name in TREE_NODE_FIELDS},
        "values": np.ascontiguousarray(state["values"]),
    }


def _from_state(state: Any) -> Any:
    make, node_dtype = tree_classes()
    _expect(type(state) is dict and set(state) == {"n_features", "n_classes", "nodes", "values"})
    n_features, n_classes = state["n_features"], state["n_classes"]
    _expect(type(n_features) is int and 0 < n_features <= _MAX_FEATURES)
    _expect(type(n_classes) is list and all(type(n) is int and n > 0 for n in n_classes))
    nodes = _nodes(state["nodes"], node_dtype)
    values = state["values"]
    _expect(isinstance(values, np.ndarray) and values.dtype == np.float64)
    _expect(len(n_classes) > 0 and values.shape == (len(nodes), len(n_classes), max(n_classes)))
    _expect(np.isfinite(values).all())
    depth = _depth(nodes)
    _check_questions(nodes, n_features)
    tree = make(n_features, np.array(n_classes, dtype=np.intp), len(n_classes))
    tree.__setstate__(
        {
            "max_depth": depth,
            "node_count": len(nodes),
            "nodes": nodes,
            "values": np.array(values, order="C"),
        }
    )
    return tree


def _expect(condition: Any) -> None:
    if not condition:
        raise CheckpointError("The file holds a decision tree whose parts do not make one.")


def _nodes(fields: Any, dtype: np.dtype[Any]) -> np.ndarray:
    _expect(type(fields) is dict and tuple(fields) == TREE_NODE_FIELDS == dtype.names)
    n = len(fields["feature"])
    nodes = np.zeros(n, dtype=dtype)
    for name, column in fields.items():
        _expect(isinstance(column, np.ndarray) and column.dtype == dtype[name])
        _expect(column.shape == (n,) and n > 0)
        nodes[name] = column
    return nodes


def _depth(nodes: np.ndarray) -> int:
    """How deep the tree is; a child comes after its parent, and every node but one has one."""
    left, right = nodes["left_child"], nodes["right_child"]
    number, is_split = np.arange(len(nodes)), left != -1
    _expect((right[~is_split] == -1).all())
    children = np.concatenate([left[is_split], right[is_split]])
    parents = np.tile(number[is_split], 2)
    _expect((children > parents).all() and (children < len(nodes)).all())
    _expect(np.array_equal(np.sort(children), number[1:]))
    depth = np.zeros(len(nodes), dtype=np.int64)
    for k in np.flatnonzero(is_split):  # in order, so that a parent's depth is known
        depth[left[k]] = depth[right[k]] = depth[k] + 1
    return int(depth.max())


def _check_questions(nodes: np.ndarray, n_features: int) -> None:
    is_split = nodes["left_child"] != -1
    feature, threshold = nodes["feature"][is_split], nodes["threshold"][is_split]
    _expect((feature >= 0).all() and (feature < n_features).all())
    # an infinite threshold parts what is missing from the rest
    _expect((np.isfinite(threshold) | (threshold == np.inf)).all())
    _expect((nodes["missing_go_to_left"] <= 1).all())
    count, weight = nodes["n_node_samples"], nodes["weighted_n_node_samples"]
    _expect((count > 0).all() and (count <= 2**53).all())
    _expect(np.isfinite(weight).all() and (weight >= 0).all())
    _expect(np.isfinite(nodes["impurity"]).all())
    left, right = nodes["left_child"][is_split], nodes["right_child"][is_split]
    _expect((count[is_split] == count[left] + count[right]).all())


def check_trees(objects: Iterable[Any]) -> None:
    """Raise unless each tree belongs to an estimator that reads as many features as it asks for.

    Raises
    ------
    CheckpointError
    """
    found = list(objects)
    owned: set[int] = set()
    for value in found:
        bases = {c.__name__ for c in type(value).__mro__ if c.__module__.startswith("sklearn.tree")}
        if not bases & _ESTIMATORS:
            continue
        own = vars(value)
        tree = own.get("tree_")
        if tree is None:
            continue
        _expect(_is_tree(tree) and own.get("n_features_in_") == tree.n_features)
        _expect(type(own["n_features_in_"]) is int)
        _expect(own.get("n_outputs_") == tree.n_outputs)
        _expect("DecisionTreeClassifier" not in bases or _classes_fit(own, tree))
        owned.add(id(tree))
    _expect(all(id(value) in owned for value in found if _is_tree(value)))


def _classes_fit(own: dict[str, Any], tree: Any) -> bool:
    """Whether a classifier has a label for each of the tree's classes."""
    classes: Any = own.get("classes_")
    n_classes: Any = own.get("n_classes_")
    if tree.n_outputs == 1:
        classes, n_classes = [classes], [n_classes]
    if not isinstance(classes, list) or len(classes) != tree.n_outputs:
        return False
    sizes = [len(c) if isinstance(c, np.ndarray) and c.ndim == 1 else -1 for c in classes]
    return sizes == tree.n_classes.tolist() == [int(n) for n in np.ravel(n_classes)]


HANDLERS["tree"] = Handler(_is_tree, _to_state, _from_state)
