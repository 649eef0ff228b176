"""Students: what they are taught, and who cannot be taught it."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from scipy.special import rel_entr
from sklearn.base import BaseEstimator, ClassifierMixin, is_classifier
from sklearn.ensemble import GradientBoostingRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from sklflat.surrogate import teach
from sklflat.surrogate.columns import Columns
from sklflat.surrogate.rules import Split, condition, paths_to_leaves
from sklflat.surrogate.stability import same_splits, stability, top_splits
from sklflat.surrogate.student import (
    Student,
    check_missing,
    check_surrogate,
    default_surrogate,
)
from sklflat.surrogate.summary import said_at_nodes
from sklflat.surrogate.teacher import Answers
from sklflat.surrogate.tree_drawing import draw_tree

CLASSES = np.array(["a", "b", "c"])


def linear_network(n=400, k=3, seed=0):
    """Inputs, and the logits of a linear network on them."""
    rng = np.random.RandomState(seed)
    X = rng.normal(size=(n, 4))
    z = X @ rng.normal(size=(4, k))
    return X, Answers(z - z.mean(axis=1, keepdims=True), CLASSES[:k])


def test_a_leaf_of_the_tree_taught_probabilities_is_their_mean():
    """So the tree minimises the mean KL; shares below 0.01 are left out, hence the tolerance."""
    X, network = linear_network()
    student = teach(default_surrogate("proba", True), "proba", X, network)
    leaf = student.model.apply(X)
    for number in np.unique(leaf):
        own = leaf == number
        expected = network.proba[own].mean(axis=0)
        np.testing.assert_allclose(
            student.proba(X)[own], np.tile(expected, (own.sum(), 1)), atol=0.02
        )


def test_entropy_minimises_kl_where_gini_does_not():
    X, network = linear_network(2000)
    kl = {
        criterion: rel_entr(
            network.proba,
            teach(
                DecisionTreeClassifier(criterion=criterion, max_depth=1), "proba", X, network
            ).proba(X),
        )
        .sum(axis=1)
        .mean()
        for criterion in ("entropy", "gini")
    }
    assert kl["entropy"] <= kl["gini"] + 1e-3


def test_a_linear_model_taught_logits_is_the_linear_network():
    X, network = linear_network()
    student = teach(LinearRegression(), "logit", X, network)
    np.testing.assert_allclose(student.answers(X).values, network.values, atol=1e-9)
    X, network = linear_network(k=2)
    student = teach(LinearRegression(), "logit", X, network)
    np.testing.assert_allclose(student.answers(X).values, network.values, atol=1e-9)


def test_logistic_regression_taught_probabilities_finds_the_linear_network():
    X, network = linear_network(k=2)
    student = teach(LogisticRegression(C=1e6, max_iter=1000), "proba", X, network)
    np.testing.assert_allclose(student.proba(X), network.proba, atol=0.02)


@pytest.mark.parametrize("target", ["label", "proba", "logit"])
@pytest.mark.parametrize("k", [2, 3])
def test_a_deep_tree_repeats_what_it_was_taught(target, k):
    X, network = linear_network(k=k)
    kind = DecisionTreeRegressor if target == "logit" else DecisionTreeClassifier
    student = teach(kind(random_state=0), target, X, network)
    assert (student.answers(X).labels == network.labels).mean() > 0.99


def test_classes_that_were_not_taught_have_no_probability():
    X, network = linear_network()
    kept = network.codes != 1
    student = teach(DecisionTreeClassifier(max_depth=2), "label", X[kept], network.take(kept))
    assert (student.proba(X)[:, 1] == 0).all()


def test_regressors_are_taught_predictions():
    X = np.arange(20.0)[:, None]
    student = teach(LinearRegression(), "proba", X, Answers(3 * X + 1, None))
    np.testing.assert_allclose(student.answers(X).values, 3 * X + 1)


@pytest.mark.parametrize(
    ("surrogate", "target", "k", "classifies", "message"),
    [
        ("tree", "label", 2, True, "surrogate='tree' is no estimator"),
        (DecisionTreeClassifier(), "logit", 3, True, "is no regressor.*target='logit'"),
        (DecisionTreeRegressor(), "label", 3, True, "is no classifier.*target='label'"),
        (DecisionTreeClassifier(), "proba", 1, False, "is a classifier.*give a regressor"),
        (KNeighborsClassifier(), "proba", 3, True, "takes no sample_weight.*target='label'"),
        (GradientBoostingRegressor(), "logit", 3, True, "predicts one number.*3 outputs"),
        (GradientBoostingRegressor(), "label", 2, False, "predicts one number.*2 outputs"),
    ],
)
def test_who_cannot_be_taught_is_named(surrogate, target, k, classifies, message):
    with pytest.raises((TypeError, ValueError), match=message):
        check_surrogate(surrogate, target, k, classifies)


class OneRule(BaseEstimator, ClassifierMixin):
    """A rule list as imodels has them: its mixin last, labels only, no weights."""

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        above = X[:, 0] > 0
        self.said_ = [max(self.classes_, key=list(y[side]).count) for side in (~above, above)]
        return self

    def predict(self, X):
        return np.where(X[:, 0] > 0, self.said_[1], self.said_[0])


def test_rule_lists_whose_mixin_comes_last_are_classifiers():
    assert not is_classifier(OneRule())  # what scikit-learn's tags say
    X = np.random.RandomState(0).normal(size=(200, 2))
    z = np.where(X[:, 0] > 0, 2.0, -2.0)
    network = Answers(np.column_stack([-z, z]), np.array(["no", "yes"]))
    check_surrogate(OneRule(), "label", 2, True)
    student = teach(OneRule(), "label", X, network)
    np.testing.assert_array_equal(student.answers(X).labels, network.labels)
    with pytest.raises(ValueError, match=r"takes no sample_weight.*target='label'"):
        check_surrogate(OneRule(), "proba", 2, True)
    with pytest.raises(ValueError, match=r"is a classifier.*give a regressor"):
        check_surrogate(OneRule(), "proba", 1, False)


def test_missing_values_need_a_surrogate_that_takes_them():
    F = np.array([[1.0, 2.0], [1.0, np.nan]])
    check_missing(DecisionTreeClassifier(), F, ["a", "b"])
    check_missing(LinearRegression(), F[:1], ["a", "b"])
    with pytest.raises(
        ValueError, match=r"surrogate=LinearRegression.*'b' has some.*SimpleImputer"
    ):
        check_missing(LinearRegression(), F, ["a", "b"])


def test_a_regressor_of_one_number_does_for_two_classes():
    check_surrogate(GradientBoostingRegressor(), "logit", 2, True)


# --- splits and rules -------------------------------------------------------------------------


def stump_pair(feature, threshold):
    X = np.zeros((100, 3))
    X[:, feature] = np.linspace(0, 1, 100)
    return DecisionTreeRegressor(max_depth=1).fit(X, X[:, feature] > threshold)


def test_splits_are_the_same_within_a_twentieth_of_the_range():
    base, near, far, other = (
        stump_pair(0, 0.5),
        stump_pair(0, 0.54),
        stump_pair(0, 0.6),
        stump_pair(1, 0.5),
    )
    features = np.random.RandomState(0).uniform(size=(50, 3))
    features[:2] = [[0, 0, 0], [1, 1, 1]]
    assert stability(base, [near, far, other, base], features) == 0.5
    assert np.isnan(stability(base, [], features))
    assert np.isnan(stability(LinearRegression(), [base], features))
    leaf = DecisionTreeRegressor().fit(features, np.zeros(50))
    assert top_splits(leaf) == [None, None, None]
    assert not same_splits(top_splits(base), top_splits(leaf), np.ones(3))


def test_paths_lead_where_the_tree_goes():
    X, network = linear_network()
    model = teach(default_surrogate("proba", True), "proba", X, network).model
    for leaf, path in paths_to_leaves(model.tree_).items():
        inside = np.ones(len(X), dtype=bool)
        for split in path:
            above = X[:, split.feature].astype(np.float32) > split.threshold
            inside &= above == split.is_above
        np.testing.assert_array_equal(inside, model.apply(X) == leaf)


def test_conditions_are_said_in_the_words_of_the_data():
    columns = Columns(("a", "b"), ("number", "category"), ((), ("x", "y")), ((), (0, 1)))
    assert condition([], columns) == "always"
    assert condition([Split(0, 1.0, False), Split(0, 0.5, False)], columns) == "a <= 0.5"
    assert condition([Split(1, 0.5, False), Split(0, 2.0, True)], columns) == "b is not x and a > 2"


# --- the picture ------------------------------------------------------------------------------


def test_a_tree_is_drawn_with_a_text_for_each_node():
    X, network = linear_network()
    student = teach(default_surrogate("proba", True), "proba", X, network)
    _, ax = plt.subplots()
    said = said_at_nodes(student)
    draw_tree(ax, student.model, ["size", "colour = red", "c", "d"], said, CLASSES)
    texts = [text.get_text() for text in ax.texts]
    assert len(texts) == student.model.tree_.node_count
    leaves = student.model.tree_.children_left < 0
    assert sorted(t.split()[0] for t in texts if t.endswith("%)")) == sorted(said[leaves])
    heights = [text.get_position()[1] for text in ax.texts if text.get_text().endswith("%)")]
    assert len(set(heights)) == leaves.sum()  # no leaf stands on another
    plt.close("all")


def test_categories_are_asked_for_by_name_and_deep_trees_end():
    X = np.random.RandomState(0).randint(2, size=(200, 7)).astype(float)
    y = (X @ 2.0 ** np.arange(7)).astype(int)
    deep = DecisionTreeRegressor().fit(X, y)
    student = Student(deep, "proba", None)
    _, ax = plt.subplots()
    draw_tree(ax, deep, [f"colour = {k}" for k in range(7)], said_at_nodes(student))
    texts = [text.get_text() for text in ax.texts]
    assert any(text.startswith("colour is not ") for text in texts)
    assert sum(text.endswith("…") for text in texts) == 32
    plt.close("all")
