"""Trees of files: those of scikit-learn come back, and those that are no trees are refused."""

import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor, export_text
from sklearn.utils import Bunch

from sklflat import SAMClassifier, SurrogateAligner, load, save
from sklflat.exceptions import CheckpointError
from sklflat.storage.files import read, write
from sklflat.storage.objects import HANDLERS, encode

X, y = load_iris(return_X_y=True)
MISSING = np.where(np.random.RandomState(0).uniform(size=X.shape) < 0.1, np.nan, X)


@pytest.mark.parametrize(
    ("tree", "data", "target"),
    [
        (DecisionTreeClassifier(random_state=0), X, np.array(["a", "b", "c"])[y]),
        (DecisionTreeClassifier(max_leaf_nodes=5, random_state=0), MISSING, y),
        (DecisionTreeClassifier(random_state=0), X, np.column_stack([y, y > 0])),
        (DecisionTreeRegressor(max_leaf_nodes=9, random_state=0), MISSING, X[:, 0]),
        (DecisionTreeRegressor(random_state=0), X[:, :2], X[:, 2:]),
        (DecisionTreeRegressor(), X, np.zeros(len(X))),
    ],
)
def test_trees_go_through_a_file(tree, data, target, tmp_path):
    tree.fit(data, target)
    save(tree, tmp_path / "tree")
    again = load(tmp_path / "tree")
    np.testing.assert_array_equal(again.predict(data), tree.predict(data))
    np.testing.assert_array_equal(again.apply(data), tree.apply(data))
    assert (again.decision_path(data) != tree.decision_path(data)).nnz == 0
    assert again.tree_.max_depth == tree.tree_.max_depth
    if target.ndim == 1:
        assert export_text(again) == export_text(tree)


@pytest.mark.filterwarnings("ignore::sklflat.exceptions.SurrogateWarning")
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_an_aligner_goes_through_a_file(tmp_path):
    network = SAMClassifier((8,), max_iter=10, learning_rate_init=0.02)
    aligner = SurrogateAligner(
        network, n_null=20, n_units=2, n_redraws=1, n_basin_models=4, random_state=0
    ).fit(X, y)
    save(aligner, tmp_path / "aligner")
    again = load(tmp_path / "aligner")
    np.testing.assert_array_equal(again.predict(X), aligner.predict(X))
    np.testing.assert_array_equal(again.transform(X), aligner.transform(X))
    assert str(again.fidelity_) == str(aligner.fidelity_)
    assert again.rules_.equals(aligner.rules_)
    assert again.agreement_.equals(aligner.agreement_)


def save_unchecked(estimator, path):
    arrays, info = encode(estimator)
    write(path, arrays, {"object": info})


# --- crafted files: each changes one thing, and the checksum is made right again ----------------


def children(value):
    """A left or right child of a split that is some other number."""

    def change(rng, state, _):
        side = rng.choice(["left_child", "right_child"])
        column = state["nodes"][side]
        k = rng.choice(np.flatnonzero(column >= 0))
        other = value(int(k), len(column), rng)
        column[k] = other if other != column[k] else 0

    return change


def field(name, value, splits=True):
    """One entry of a column, of a split, is a value."""

    def change(rng, state, _):
        column = state["nodes"][name]
        rows = np.flatnonzero(state["nodes"]["left_child"] >= 0) if splits else len(column)
        column[rng.choice(rows)] = value(state, rng)

    return change


def dtype(name, kind):
    def change(_, state, __):
        state["nodes"][name] = state["nodes"][name].astype(kind)

    return change


def part(name, value):
    def change(rng, state, _):
        state[name] = value(state, rng)

    return change


def own(name, value):
    """An attribute of the estimator is another, or is not there."""

    def change(_, __, model):
        if value is None:
            del vars(model)[name]
        else:
            vars(model)[name] = value

    return change


def without_a_column(rng, state, _):
    del state["nodes"][rng.choice(list(state["nodes"]))]


def shorter_column(rng, state, _):
    name = rng.choice(list(state["nodes"]))
    state["nodes"][name] = state["nodes"][name][:-1]


def matrix_column(rng, state, _):
    name = rng.choice(list(state["nodes"]))
    state["nodes"][name] = state["nodes"][name][:, None]


def no_nodes(_, state, __):
    state["nodes"] = {name: column[:0] for name, column in state["nodes"].items()}
    state["values"] = state["values"][:0]


def many_classes(_, state, model):
    """Of all that say how many there are, but for the values."""
    state["n_classes"] = [2**40]
    model.n_classes_ = 2**40


CHANGES = {
    "a cycle": children(lambda k, n, rng: rng.randint(k + 1)),
    "own child": children(lambda k, n, rng: k),
    "beyond the end": children(lambda k, n, rng: n + rng.randint(2**31)),
    "far beyond": children(lambda k, n, rng: 2**62),
    "before the start": children(lambda k, n, rng: -2 - rng.randint(2**31)),
    "no child": children(lambda k, n, rng: -1),
    "two parents": children(lambda k, n, rng: rng.choice(np.setdiff1d(np.arange(n), [k + 1]))),
    "feature too large": field("feature", lambda s, rng: s["n_features"] + rng.randint(2**31)),
    "feature below 0": field("feature", lambda s, rng: -1 - rng.randint(2**31)),
    "no threshold": field("threshold", lambda s, rng: np.nan),
    "below all": field("threshold", lambda s, rng: -np.inf),
    "missing go elsewhere": field("missing_go_to_left", lambda s, rng: rng.randint(2, 256), False),
    "wrong count": field("n_node_samples", lambda s, rng: 10**6 + rng.randint(99)),
    "no rows": field("n_node_samples", lambda s, rng: -rng.randint(99), False),
    "infinite weight": field("weighted_n_node_samples", lambda s, rng: np.inf, False),
    "no impurity": field("impurity", lambda s, rng: np.nan, False),
    "short children": dtype("left_child", np.int32),
    "unsigned children": dtype("right_child", np.uint64),
    "floating children": dtype("left_child", np.float64),
    "short thresholds": dtype("threshold", np.float32),
    "floating features": dtype("feature", np.float64),
    "wide flags": dtype("missing_go_to_left", np.int64),
    "less features": part("n_features", lambda s, rng: 1),
    "more features": part("n_features", lambda s, rng: 5 + rng.randint(2**31)),
    "huge number of features": part("n_features", lambda s, rng: 2**52),
    "features by truth": part("n_features", lambda s, rng: True),
    "no classes": part("n_classes", lambda s, rng: []),
    "classes below 1": part("n_classes", lambda s, rng: [-rng.randint(99)]),
    "huge number of classes": part("n_classes", lambda s, rng: [2**40]),
    "many outputs": part("n_classes", lambda s, rng: [3] * rng.randint(2, 10_000)),
    "everywhere many classes": many_classes,
    "values of fewer": part("values", lambda s, rng: s["values"][:-1]),
    "flat values": part("values", lambda s, rng: s["values"].ravel()),
    "short values": part("values", lambda s, rng: s["values"].astype(np.float32)),
    "infinite values": part("values", lambda s, rng: s["values"] / 0.0),
    "one class less": part("values", lambda s, rng: s["values"][:, :, 1:].copy()),
    "no column": without_a_column,
    "a shorter column": shorter_column,
    "a column of columns": matrix_column,
    "no nodes": no_nodes,
    "an estimator of more": own("n_features_in_", 9),
    "an estimator of any number": own("n_features_in_", None),
    "fewer labels": own("classes_", np.arange(2)),
    "labels of many outputs": own("classes_", [np.arange(3)]),
    "other outputs": own("n_outputs_", 2),
}


def crafted(path, change, seed, monkeypatch):
    """Write a file of a tree with one change; the file itself is as it has to be."""
    rng = np.random.RandomState(seed)
    model = DecisionTreeClassifier(max_depth=3, random_state=0).fit(X, y)
    handler = HANDLERS["tree"]

    def to_state(tree):
        state = handler.to_state(tree)
        state["nodes"] = {name: column.copy() for name, column in state["nodes"].items()}
        with np.errstate(all="ignore"):
            change(rng, state, model)
        return state

    change_model = getattr(change, "__qualname__", "").startswith("own.") or change is many_classes
    if change_model:  # before the estimator's attributes are read
        change(rng, {}, model)
    with monkeypatch.context() as patch:
        if not change_model or change is many_classes:
            changed = handler._replace(to_state=to_state)
            patch.setitem(HANDLERS, "tree", changed)
        save_unchecked(model, path)


def names_and_seeds(n):
    names = list(CHANGES)
    return [(names[i % len(names)], i) for i in range(n)]


@pytest.mark.parametrize(("name", "seed"), names_and_seeds(len(CHANGES)))
def test_a_tree_that_is_none_is_refused(name, seed, tmp_path, monkeypatch):
    crafted(tmp_path / "tree", CHANGES[name], seed, monkeypatch)
    with pytest.raises(CheckpointError, match="decision tree"):
        load(tmp_path / "tree")


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, 1000, 100))
def test_a_thousand_such_files_are_refused(first, tmp_path, monkeypatch):
    for name, seed in names_and_seeds(1000)[first : first + 100]:
        crafted(tmp_path / "tree", CHANGES[name], seed, monkeypatch)
        with pytest.raises(CheckpointError, match="decision tree"):
            load(tmp_path / "tree")


def test_a_tree_without_an_estimator_is_refused(tmp_path):
    """Nothing would say how many columns the rows have that it reads."""
    bunch = Bunch(tree=DecisionTreeClassifier(max_depth=2).fit(X, y).tree_)
    save_unchecked(bunch, tmp_path / "tree")
    with pytest.raises(TypeError, match="decision tree"):
        save(bunch, tmp_path / "other")
    assert not (tmp_path / "other").exists()
    with pytest.raises(CheckpointError, match="decision tree"):
        load(tmp_path / "tree")


@pytest.mark.slow
def test_numbers_at_random_are_refused_or_predict(tmp_path):
    """Any numbers of any array of the file: what is loaded can be asked without a crash."""
    model = DecisionTreeClassifier(max_depth=3, random_state=0).fit(X, y)
    save(model, tmp_path / "tree")
    arrays, info = read(tmp_path / "tree")
    n_loaded = 0
    for seed in range(500):
        rng = np.random.RandomState(seed)
        name = rng.choice(list(arrays))
        array = arrays[name].copy()
        values = [-2, -1, 0, 1, 2, array.size, 2**31, 1e300, np.nan]
        kept = [v for v in values if array.dtype.kind == "f" or (v == v and abs(v) < 1e18)]
        with np.errstate(all="ignore"):
            array.flat[rng.randint(array.size)] = np.array(kept[rng.randint(len(kept))]).astype(
                array.dtype
            )
        write(tmp_path / "changed", {**arrays, name: array}, info)
        try:
            again = load(tmp_path / "changed")
        except CheckpointError:
            continue
        n_loaded += 1
        assert again.predict_proba(X).shape == (150, 3)
        assert again.decision_path(X).shape[1] == again.tree_.node_count
    assert 0 < n_loaded < 500
