"""Tables as people have them: codes that are categories, missing values, names; and their rules."""

import re

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.decomposition import PCA
from sklearn.frozen import FrozenEstimator
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    OneHotEncoder,
    PolynomialFeatures,
    StandardScaler,
)
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from sklflat import SAMClassifier, SurrogateAligner, from_module, load, save
from sklflat.exceptions import SurrogateWarning
from sklflat.surrogate import AlternatingTreeClassifier, Columns, draw_oracle_samples, teach
from sklflat.surrogate.coefficients import coefficients
from sklflat.surrogate.rules import Split, condition, paths_to_leaves, values_asked_for
from sklflat.surrogate.student import check_surrogate
from sklflat.surrogate.teacher import Answers

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

NET = SAMClassifier((16,), max_iter=30, learning_rate_init=0.02)
QUICK = {
    "n_null": 20,
    "n_units": 2,
    "n_redraws": 0,
    "n_basin_models": 0,
    "min_fidelity": 0.0,
    "random_state": 0,
}


def people(n=400, seed=0):
    """Codes that are names, in integers and in a categorical; a boolean, years, and text."""
    rng = np.random.RandomState(seed)
    X = pd.DataFrame(
        {
            "year": rng.randint(2005, 2020, size=n),
            "income": rng.lognormal(10, 1, size=n),
            "post code": rng.choice([10, 20, 70], size=n),
            "grade": pd.Categorical(rng.choice([1, 5, 9], size=n)),
            "stars": rng.choice([0.5, 1.0, 1.5, 2.0], size=n),
            "member": rng.uniform(size=n) < 0.5,
            "city": rng.choice(["Rome", "Oslo", "Bonn"], size=n),
        },
        index=3 + 7 * np.arange(n)[::-1],
    )
    y = pd.Series(np.where((X["year"] > 2011) | (X["city"] == "Rome"), "yes", "no"), index=X.index)
    return X, y


def encoded(*more):
    """What reads those, and refuses a category that it was not fitted to."""
    categories = ["post code", "grade", "stars", "member", "city"]
    return make_column_transformer(
        (make_pipeline(SimpleImputer(), StandardScaler()), ["year", "income"]),
        (OneHotEncoder(handle_unknown="error"), categories),
        *more,
    )


def holds(condition, X):
    """Rows of a table for which a rule is true, as a reader would take it."""
    rows = np.ones(len(X), dtype=bool)
    for part in [] if condition == "always" else condition.split(" and "):
        rows &= _holds(part, X)
    return rows


def _holds(part, X):
    if part.startswith("("):
        inner = part.removeprefix("(").removesuffix(" or missing)")
        name = next(c for c in X if c in inner)
        return _holds(inner, X) | X[name].isna().to_numpy()
    if match := re.fullmatch(r"(.*) is (not )?(.*)", part):
        name, negated, category = match.groups()
        same = X[name].isna() if category == "missing" else X[name].astype(str) == category
        return same.to_numpy(dtype=bool) != bool(negated)
    number = r"(?:([-+.\de]+) < )?(.*?)(?: (<=|>) ([-+.\de]+))?"
    low, name, sign, limit = re.fullmatch(number, part).groups()
    values = X[name].astype(float).to_numpy()
    rows = ~np.isnan(values) if low is None else values > float(low)
    return rows & (values <= float(limit) if sign == "<=" else values > float(limit))


@pytest.mark.parametrize("missing", [False, True])
def test_each_row_is_under_one_rule_which_says_what_is_predicted(missing):
    """Rules are read as text and applied to the table: years, codes and missing values as well."""
    X, y = people()
    if missing:
        X["income"] = X["income"].where(np.arange(400) % 5 > 0)
        X["year"] = X["year"].astype("Int64").where(np.arange(400) % 7 > 0)
        X["city"] = X["city"].where(np.arange(400) % 3 > 0, None)
        y = pd.Series(np.where(X["year"].isna() | (X["income"] > 3e4), "yes", "no"), index=X.index)
    aligner = SurrogateAligner(make_pipeline(encoded(), NET), **QUICK).fit(X, y)
    rules = aligner.rules_
    under = np.stack([holds(condition, X) for condition in rules["condition"]])
    assert (under.sum(axis=0) == 1).all()
    said = rules["prediction"].to_numpy()[under.argmax(axis=0)]
    np.testing.assert_array_equal(said, aligner.predict(X))
    if missing:
        assert rules["condition"].str.contains("missing").any()


def test_thresholds_between_years_are_written_between_them():
    """At four digits 2011.5 would be 2012, which is on the other side."""
    X = np.repeat(np.arange(2005.0, 2020), 20)[:, None]
    z = np.where(X[:, 0] > 2011, 2.0, -2.0)
    y = (z > 0).astype(int)
    frame = pd.DataFrame({"year": X[:, 0].astype(int)})
    network = make_pipeline(StandardScaler(), clone(NET).set_params(max_iter=60))
    aligner = SurrogateAligner(network, DecisionTreeClassifier(max_depth=1), **QUICK).fit(frame, y)
    assert set(aligner.rules_["condition"]) == {"year <= 2011.5", "year > 2011.5"}


def test_a_question_whether_a_value_is_known_is_written_as_that():
    """scikit-learn writes it as a threshold of infinity."""
    size = np.where(np.arange(200) % 4 == 0, np.nan, np.random.RandomState(0).normal(size=200))
    X = np.column_stack([size, np.zeros(200)])
    tree = DecisionTreeClassifier(max_depth=1).fit(X, np.isnan(size)).tree_
    assert tree.threshold[0] == np.inf
    columns = Columns(("size", "none"), ("number", "binary"), ((), ()), ((), ()))
    values = values_asked_for(tree, X)
    said = [condition(path, columns, values) for path in paths_to_leaves(tree).values()]
    assert said == ["size is not missing", "size is missing"]


def test_a_threshold_that_single_precision_puts_below_a_value_is_written_below_it():
    """0.1 is more in single precision, so at a threshold of 0.1 it is above."""
    columns = Columns(("size",), ("number",), ((),), ((),))
    said = condition([Split(0, 0.1, False)], columns, {0: np.array([0.1, 0.7])})
    assert 0.09999 < float(said.removeprefix("size <= ")) < 0.1


def test_oracle_samples_make_up_no_code():
    X, _ = people(1000)
    columns = Columns.of(X)
    assert columns.kinds == (
        "integer", "number", "integer", "category", "number", "category", "category",
    )  # fmt: skip
    drawn = columns.to_data(
        draw_oracle_samples(columns.codes(X), columns, 5000, np.random.RandomState(0)), X
    )
    assert (drawn.dtypes == X.dtypes).all()
    for name in X.columns.drop("income"):
        assert set(drawn[name]) == set(X[name])


def test_missing_values_of_every_kind_are_known_as_missing():
    X = pd.DataFrame(
        {"a": [1, 2, 4, None], "b": ["x", "y", None, "x"], "c": [True, None, False, True]}
    )
    X["d"] = [1.5, None, 2.5, 9.0]
    for table in (X, X.convert_dtypes(), X.astype(object)):
        columns = Columns.of(table)
        assert columns.kinds[0] == "integer"
        assert columns.kinds[1:] == ("category", "category", "number")
        codes = columns.codes(table)
        np.testing.assert_array_equal(np.isnan(codes[:, [0, 3]]), X[["a", "d"]].isna())
        assert "b = missing" in columns.feature_names
        again = columns.to_data(codes, table)
        pd.testing.assert_frame_equal(again.isna(), table.isna())
        assert (again.dtypes == table.dtypes).all()


def test_a_surrogate_of_a_table_with_missing_values_comes_back_from_a_file(tmp_path):
    X, _ = people()
    y = np.where(X["income"] > 2e4, "yes", "no")
    X["city"] = X["city"].where(np.arange(400) % 3 > 0, None)
    X = X.convert_dtypes()
    before = make_column_transformer((StandardScaler(), ["income"]))  # no category is read
    aligner = SurrogateAligner(make_pipeline(before, NET), **QUICK).fit(X, y)
    save(aligner, tmp_path / "aligner.sklflat")
    again = load(tmp_path / "aligner.sklflat")
    np.testing.assert_array_equal(again.transform(X), aligner.transform(X))
    pd.testing.assert_frame_equal(again.rules_, aligner.rules_)


def test_a_column_of_names_costs_fifty_features():
    n = 20_000
    names = np.array([f"person {k}" for k in range(n)], dtype=object)
    names[: n // 2] = "nobody"
    X = pd.DataFrame({"name": names, "size": np.arange(n, dtype=float)})
    columns = Columns.of(X)
    codes = columns.codes(X)
    features = columns.to_features(codes)
    assert features.shape == (n, 51)
    asked = list(columns.feature_names)
    assert features[:, asked.index("name = nobody")].sum() == n // 2
    pd.testing.assert_frame_equal(columns.to_data(codes, X), X)


# --- linear students ----------------------------------------------------------------------------


def linear(n=300, k=2, seed=0):
    rng = np.random.RandomState(seed)
    X = rng.normal(size=(n, 3)) * [1, 100, 0.01] + [0, 50, 1]
    W = np.array([[1.0, 0.02, 0.0], [0.0, -0.03, 100.0], [-2.0, 0.0, 50.0]])[:k]
    z = (X - X.mean(axis=0)) @ W.T
    return X, W, Answers(z - z.mean(axis=1, keepdims=True), np.array(["a", "b", "c"])[:k])


def test_a_scaled_linear_student_has_coefficients_in_the_units_of_the_data():
    X, W, network = linear()
    model = teach(make_pipeline(StandardScaler(), LinearRegression()), "logit", X, network).model
    np.testing.assert_allclose(coefficients(model, X), [W[1] - W[0]], atol=1e-6)
    bent = teach(make_pipeline(PolynomialFeatures(), LinearRegression()), "logit", X, network).model
    assert coefficients(bent, X) is None


def test_coefficients_of_steps_inside_of_steps_and_of_encoders():
    """Of a pipeline in a pipeline; an encoder knows no values between those of the data."""
    X, W, network = linear()
    inner = make_pipeline(StandardScaler(), LinearRegression())
    model = teach(make_pipeline(PCA(3), inner), "logit", X, network).model
    np.testing.assert_allclose(coefficients(model, X), [W[1] - W[0]], atol=1e-6)
    codes = np.random.RandomState(0).randint(4, size=(300, 2)).astype(float)
    student = make_pipeline(OneHotEncoder(), LogisticRegression())
    assert coefficients(teach(student, "label", codes, network).model, codes) is None


def test_a_bent_step_is_not_hidden_by_a_column_of_large_numbers():
    """One coefficient of a square root would be that of a chord."""
    rng = np.random.RandomState(0)
    X = np.column_stack([rng.uniform(1e6, 2e6, size=300), rng.uniform(size=300)])
    root = make_column_transformer(("passthrough", [0]), (FunctionTransformer(np.sqrt), [1]))
    model = make_pipeline(root, LinearRegression()).fit(X, np.sqrt(X[:, 1]))
    assert coefficients(model, X) is None
    # seven directions of five columns: what is left of two of them is rounding
    Z = rng.normal(size=(300, 5))
    Z = 1e3 + np.hstack([Z, Z @ rng.normal(size=(5, 2))])
    y = Z @ np.arange(7.0)
    model = make_pipeline(PCA(7), LinearRegression()).fit(Z, y)
    np.testing.assert_allclose((Z - Z.mean(axis=0)) @ coefficients(model, Z)[0], y - y.mean())


def test_pipelines_are_taught_probabilities_by_the_weights_of_their_last_step():
    X, _, network = linear()
    student = make_pipeline(StandardScaler(), LogisticRegression(C=1e6, max_iter=1000))
    check_surrogate(student, "proba", 2, True)
    found = teach(student, "proba", X, network).proba(X)
    np.testing.assert_allclose(found, network.proba, atol=0.02)


def test_coefficients_are_named_by_the_classes_that_the_network_says():
    """It knows c, and never says so of these rows: the one row of coefficients is that of b."""
    X, W, network = linear(k=3)
    frame = pd.DataFrame(X, columns=["u", "v", "w"])
    net = make_pipeline(StandardScaler(), clone(NET)).fit(frame, network.labels)
    kept = net.predict(frame) != "c"
    student = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    settings = {**QUICK, "oracle_samples": 0, "target": "label"}
    aligner = SurrogateAligner(FrozenEstimator(net), student, **settings)
    rules = aligner.fit(frame[kept], network.labels[kept]).rules_
    assert set(rules["output"]) == {"b"}
    slopes = dict(zip(rules["feature"], rules["coefficient"], strict=True))
    changed = dict(zip(rules["feature"], rules["per_deviation"], strict=True))
    for name in "uvw":  # of held-out rows, a quarter of these
        assert changed[name] / slopes[name] == pytest.approx(frame[kept][name].std(), rel=0.3)
    assert (rules["per_deviation"].abs().diff().dropna() <= 0).all()
    expected = W[1] - W[0]
    assert [np.sign(slopes[name]) for name in "uvw"] == np.sign(expected).tolist()


def test_coefficients_of_pairs_of_classes_are_not_taken_for_those_of_classes():
    X, _, network = linear(k=3)
    Z = (X - X.mean(axis=0)) / X.std(axis=0)
    model = teach(SVC(kernel="linear"), "label", Z, network).model
    assert model.coef_.shape == (3, 3)
    assert coefficients(model, Z) is None


# --- nothing is known, or nothing differs ---------------------------------------------------------


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_a_column_of_which_nothing_is_known_is_not_asked_for():
    X, y = people()
    X["nothing"] = np.nan
    nothing = (SimpleImputer(keep_empty_features=True), ["nothing"])
    aligner = SurrogateAligner(make_pipeline(encoded(nothing), NET), **QUICK).fit(X, y)
    assert not aligner.rules_["condition"].str.contains("nothing").any()


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize("classes", [None, ["a", "b"]])
@pytest.mark.parametrize("bias", [0.3, 30.0])
def test_a_constant_network_has_one_rule_and_no_warning_of_numbers(classes, bias):
    module = torch.nn.Sequential(
        torch.nn.Linear(4, 3), torch.nn.ReLU(), torch.nn.Linear(3, len(classes or [0]))
    ).double()
    with torch.no_grad():
        module[2].weight.zero_()
        module[2].bias.zero_()[0] = bias
    X = np.random.RandomState(0).normal(size=(200, 4))
    y = X[:, 0] if classes is None else np.array(classes)[(X[:, 0] > 0).astype(int)]
    aligner = SurrogateAligner(from_module(module, classes=classes), **QUICK)
    with pytest.warns(SurrogateWarning, match="says the same of all rows"):
        aligner.fit(X, y)
    assert aligner.rules_["condition"].tolist() == ["always"]
    said = aligner.rules_["prediction"].item()
    assert said == (pytest.approx(bias) if classes is None else "a")


def test_columns_without_names_are_not_mistaken_for_numbers():
    X, _ = people()
    X = X.rename(columns={"year": 0, "city": 7})
    assert Columns.of(X).names[:1] == ("x0",)
    assert "x7 = Rome" in Columns.of(X).feature_names


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("n_classes", [2, 26])
def test_students_of_many_classes_are_grown_without_a_warning(n_classes):
    """scikit-learn takes labels for numbers where more than 20 rows have few in common."""
    rng = np.random.RandomState(0)
    z = 3 * rng.normal(size=(500, n_classes))
    network = Answers(
        z - z.mean(axis=1, keepdims=True), np.array(list("abcdefghijklmnopqrstuvwxyz"))[:n_classes]
    )
    X = rng.normal(size=(500, 3))
    student = teach(AlternatingTreeClassifier(2), "proba", X, network)
    assert student.model.classes_.tolist() == network.classes.tolist()
