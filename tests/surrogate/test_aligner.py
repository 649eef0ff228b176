"""SurrogateAligner from end to end: what is said is what can be counted on held-out rows."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_iris, load_wine, make_moons
from sklearn.frozen import FrozenEstimator
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.metrics import cohen_kappa_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor, export_text

from sklflat import (
    SAMClassifier,
    SAMRegressor,
    SurrogateAligner,
    from_module,
    surrogate_fidelity,
)
from sklflat.datasets import make_sparse_parity
from sklflat.exceptions import SurrogateWarning, UnsupportedNetworkError
from sklflat.surrogate.taught import TaughtSample

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

NET = SAMClassifier((16,), max_iter=40, learning_rate_init=0.02)
QUICK = {"n_null": 20, "n_units": 2, "n_redraws": 2, "n_basin_models": 4, "random_state": 0}


def fitted(X, y, seed=0):
    return clone(NET).set_params(random_state=seed).fit(X, y)


def moons(n=300, seed=0):
    X, y = make_moons(n, noise=0.2, random_state=seed)
    return X, np.array(["left", "right"])[y]


def test_fidelity_is_counted_on_rows_held_out():
    X, y = moons(600)
    network = fitted(X[:300], y[:300])
    seen = {}

    class Watched(SurrogateAligner):
        def _record(self, sample):
            super()._record(sample)
            seen["sample"] = sample

    aligner = Watched(FrozenEstimator(network), **QUICK).fit(X[300:], y[300:])
    sample = seen["sample"]
    assert isinstance(sample, TaughtSample)
    held_out = {tuple(row) for row in sample.raw}
    assert len(held_out) == 75
    assert not held_out & {tuple(row) for row in sample.taught.X}
    said, mimicked = network.predict(sample.raw), aligner.predict(sample.raw)
    report = aligner.fidelity_
    assert report.value == pytest.approx(np.mean(said == mimicked))
    assert report.of("surrogate", "kappa") == pytest.approx(cohen_kappa_score(said, mimicked))
    assert report.of("surrogate", "accuracy") == pytest.approx(np.mean(sample.y == mimicked))
    assert report.of("network", "accuracy") == pytest.approx(np.mean(sample.y == said))
    own = report.of("surrogate") - report.of("taught true targets")
    assert report.gain.value == pytest.approx(own)
    assert report.gain.low <= own <= report.gain.high
    assert report.per_class == {
        label: pytest.approx(np.mean(mimicked[said == label] == label))
        for label in ("left", "right")
    }
    assert aligner.rules_["coverage"].sum() == pytest.approx(1)
    assert aligner.rules_["support"].sum() == 75
    both = pd.concat([aligner.agreement_, aligner.disagreement_])
    assert both["coverage"].sum() == pytest.approx(1)
    assert (aligner.agreement_["same"] == "surrogate, network and all models").all()
    right = (both["coverage"] * both["accuracy"]).sum()
    assert right == pytest.approx(report.of("network", "accuracy"))


def test_transform_has_outputs_disagreement_and_margin():
    X, y = moons()
    aligner = SurrogateAligner(NET, **QUICK).fit(X, y).set_output(transform="pandas")
    frame = aligner.transform(X)
    assert list(frame.columns) == [
        "surrogate[left]", "surrogate[right]", "network[left]", "network[right]",
        "disagreement", "margin",
    ]  # fmt: skip
    p = aligner.estimator_.predict_proba(X)
    np.testing.assert_allclose(frame[["network[left]", "network[right]"]], p, atol=1e-9)
    np.testing.assert_allclose(frame["margin"], np.abs(aligner.estimator_.decision_function(X)))
    np.testing.assert_array_equal(
        frame["disagreement"] == 1, aligner.predict(X) != aligner.estimator_.predict(X)
    )
    assert aligner.transform_units(X).shape == (300, 2)
    assert aligner.classes_.tolist() == ["left", "right"]


def test_rules_are_in_the_words_and_units_of_a_table():
    rng = np.random.RandomState(0)
    X = pd.DataFrame(
        {
            "length (cm)": rng.normal(170, 10, size=400),
            "colour": rng.choice(["red", "blue"], size=400),
        }
    )
    y = np.where((X["length (cm)"] > 172) | (X["colour"] == "red"), "tall or red", "other")
    before = make_column_transformer(
        (StandardScaler(), ["length (cm)"]), (OneHotEncoder(), ["colour"])
    )
    aligner = SurrogateAligner(make_pipeline(before, NET), **QUICK).fit(X, y)
    rules = aligner.rules_
    assert set(rules["prediction"]) == {"tall or red", "other"}
    says_red = rules["condition"].str.contains("colour is red", regex=False)
    assert (rules.loc[says_red, "prediction"] == "tall or red").all()
    other = rules[(rules["prediction"] == "other") & (rules["support"] > 0)]
    assert other["condition"].str.contains("colour is not red|colour is blue").all()
    threshold = other["condition"].str.extract(r"length \(cm\) <= ([\d.]+)")[0].astype(float).max()
    assert 168 < threshold < 176
    text = export_text(aligner.surrogate_, feature_names=list(aligner.surrogate_feature_names_))
    assert "length (cm) <=" in text


@pytest.mark.parametrize("target", ["label", "proba", "logit"])
def test_targets_are_all_taught(target):
    X, y = load_iris(return_X_y=True)
    aligner = SurrogateAligner(NET, target=target, **QUICK).fit(X, y)
    kind = DecisionTreeRegressor if target == "logit" else DecisionTreeClassifier
    assert isinstance(aligner.surrogate_, kind)
    assert aligner.fidelity_.value > 0.85
    assert np.isfinite(aligner.fidelity_.of("surrogate", "r2"))


def test_a_linear_student_is_a_linear_network():
    """Fidelity 1, R² 1, and rules that are the network's own coefficients."""
    w = torch.tensor([[2.0, 0.0, -1.0]], dtype=torch.float64)
    module = torch.nn.Sequential(
        torch.nn.Linear(3, 2), torch.nn.ReLU(), torch.nn.Linear(2, 1)
    ).double()
    with torch.no_grad():  # relu(u) - relu(-u) is u
        module[0].weight.copy_(torch.cat([w, -w]))
        module[2].weight.copy_(torch.tensor([[1.0, -1.0]]))
        for layer in (module[0], module[2]):
            layer.bias.zero_()
    X = np.random.RandomState(0).normal(size=(200, 3))
    y = X @ w.numpy()[0]
    aligner = SurrogateAligner(
        from_module(module), LinearRegression(), **{**QUICK, "n_basin_models": 0}
    ).fit(X, y)
    assert aligner.fidelity_.value == pytest.approx(1)
    assert aligner.rules_["feature"].tolist()[:2] == ["x0", "x2"]
    np.testing.assert_allclose(aligner.rules_["coefficient"][:2], [2, -1])
    assert aligner.get_feature_names_out().tolist() == [
        "surrogate", "network", "disagreement", "margin",
    ]  # fmt: skip
    np.testing.assert_allclose(aligner.transform(X)[:, 0], y)


def test_regression_is_mimicked():
    X = np.random.RandomState(0).uniform(-1, 1, size=(400, 2))
    y = np.where(X[:, 0] > 0, 1.0, -1.0)
    network = SAMRegressor((32,), max_iter=100, learning_rate_init=0.01)
    aligner = SurrogateAligner(network, **QUICK).fit(X, y)
    assert aligner.fidelity_.value > 0.9
    assert aligner.fidelity_.models[3] == "mean"
    assert aligner.fidelity_.of("mean") == pytest.approx(0, abs=0.05)
    assert aligner.score(X, y) > 0.8


def test_depth_is_searched_by_held_out_fidelity():
    X, y = load_wine(return_X_y=True)
    aligner = SurrogateAligner(
        make_pipeline(StandardScaler(), NET), DecisionTreeClassifier(random_state=0), **QUICK
    )
    search = GridSearchCV(
        aligner, {"surrogate__max_depth": [1, 3]}, scoring=surrogate_fidelity, cv=2
    ).fit(X, y)
    assert search.best_params_ == {"surrogate__max_depth": 3}  # a stump has two labels of three
    best = search.best_estimator_
    expected = np.mean(best.predict(X) == best.estimator_.predict(X))
    assert surrogate_fidelity(best, X) == pytest.approx(expected)


def test_a_unit_that_is_a_split_is_explained_and_a_random_one_is_not():
    """A steep unit of one input against one that oscillates in a sum of all."""
    module = torch.nn.Sequential(
        torch.nn.Linear(6, 2), torch.nn.Sigmoid(), torch.nn.Linear(2, 2)
    ).double()
    with torch.no_grad():
        module[0].weight.copy_(torch.tensor([[50.0, 0, 0, 0, 0, 0], [1.0, -1, 1, -1, 1, -1]]))
        module[0].bias.zero_()
        module[2].weight.copy_(torch.tensor([[-1.0, 0], [1, 0]]))
        module[2].bias.copy_(torch.tensor([0.5, -0.5]))
    rng = np.random.RandomState(0)
    X = rng.normal(size=(800, 6))
    y = (X[:, 0] > 0).astype(int)
    settings = {**QUICK, "n_null": 200, "min_fidelity": 0, "n_basin_models": 0}
    aligner = SurrogateAligner(from_module(module, classes=[0, 1]), **settings).fit(X, y)
    explained, other = aligner.unit_scores_
    assert explained > 0.4
    assert other < explained - 0.3
    assert aligner.nulls_[0].name == "untrained twins"
    assert aligner.nulls_[0].draws.mean() == pytest.approx(0, abs=1e-12)


# --- what is refused, and what is warned of -----------------------------------------------------


def test_a_surrogate_that_is_too_small_is_warned_of():
    X, y = load_wine(return_X_y=True)
    aligner = SurrogateAligner(
        make_pipeline(StandardScaler(), NET), DecisionTreeClassifier(max_depth=1), **QUICK
    )
    with pytest.warns(
        SurrogateWarning, match="below min_fidelity=0.8.*rules are not the network's"
    ):
        aligner.fit(X, y)
    assert aligner.fidelity_.verdict.startswith("not faithful (below min_fidelity=0.8), and ")
    assert (
        aligner.set_params(min_fidelity=0.0).fit(X, y).fidelity_.verdict.endswith("saw the network")
    )


def test_a_network_that_says_the_same_of_all_is_warned_of():
    module = torch.nn.Sequential(
        torch.nn.Linear(2, 3), torch.nn.ReLU(), torch.nn.Linear(3, 2)
    ).double()
    with torch.no_grad():
        module[2].weight.fill_(0.001)
        module[2].bias.copy_(torch.tensor([5.0, 0.0]))
    X, y = moons()
    aligner = SurrogateAligner(from_module(module, classes=["left", "right"]), **QUICK)
    with pytest.warns(SurrogateWarning, match="says the same of all rows"):
        aligner.fit(X, y)
    assert set(aligner.predict(X)) == {"left"}
    assert aligner.fidelity_.verdict == "no gain over majority"


def test_models_of_other_targets_and_single_ones_are_refused():
    X, y = moons(120)
    other = fitted(X, np.where(y == "left", "up", "down"))
    with pytest.raises(ValueError, match="give models of the same targets"):
        SurrogateAligner(NET, basin_models=[other, other], **QUICK).fit(X, y)
    with pytest.raises(ValueError, match=r"basin_models has 1 of 'given'"):
        SurrogateAligner(NET, basin_models=[other], **QUICK).fit(X, y)
    same = fitted(X, y)
    with pytest.raises(ValueError, match=r"Networks 0 and 1 are the same one .*'given'"):
        SurrogateAligner(NET, basin_models=[same, same], **QUICK).fit(X, y)
    with pytest.raises(TypeError, match="basin_models=3 must be None"):
        SurrogateAligner(NET, basin_models=3, **QUICK).fit(X, y)


def test_each_source_of_models_has_its_own_answer():
    X, y = moons(200)
    seeds = [fitted(X, y, s) for s in range(6)]
    aligner = SurrogateAligner(NET, basin_models={"seeds": seeds}, **QUICK).fit(X, y)
    assert list(aligner.degeneracy_) == list(aligner.bisection_) == ["sample_basin", "seeds"]
    assert aligner.degeneracy_["seeds"].n_models == 6
    assert aligner.bisection_["sample_basin"].verdict.startswith("undecided")  # four models
    assert str(aligner.bisection_["sample_basin"]).startswith("sample_basin: undecided")
    assert "4 models, AUC" in str(aligner.degeneracy_["sample_basin"])


def test_multilabel_targets_and_bad_parameters_are_refused():
    X, _ = moons(60)
    Y = (X > 0).astype(int)
    with pytest.raises((ValueError, UnsupportedNetworkError), match="multilabel"):
        SurrogateAligner(NET, **QUICK).fit(X, Y)
    with pytest.raises(ValueError, match=r"'loss_rise'.*-1"):
        SurrogateAligner(NET, loss_rise=-1.0, random_state=0).fit(*moons(60))
    frozen = SurrogateAligner(FrozenEstimator(fitted(*moons(60))), **QUICK)
    with pytest.raises(ValueError, match="y has labels"):
        frozen.fit(X, np.array(["up", "down"] * 30))


LEAST = {**QUICK, "oracle_samples": 100, "n_redraws": 0, "n_basin_models": 2, "min_fidelity": 0.0}


@pytest.mark.parametrize(
    ("X", "y", "weight"),
    [
        (moons(120)[0][:, :1], moons(120)[1], None),
        (np.repeat(moons(6)[0], 20, axis=0), np.repeat(moons(6)[1], 20), None),
        (*moons(120), np.arange(120) % 3),
        ((moons(120)[0] * 3).round().astype(int), moons(120)[1] == "left", None),
        (moons(120)[0].tolist(), moons(120)[1].tolist(), None),
        (np.random.RandomState(0).normal(size=(40, 100)), np.arange(40) % 2, None),
    ],
    ids=["one feature", "duplicated rows", "weights of 0", "whole numbers", "lists", "wide"],
)
def test_unusual_data_are_read(X, y, weight):
    weights = {} if weight is None else {"sample_weight": weight}
    aligner = SurrogateAligner(NET, **LEAST).fit(X, y, **weights)
    assert 0 <= aligner.fidelity_.value <= 1
    assert aligner.rules_["coverage"].sum() == pytest.approx(1)
    assert set(aligner.predict(X)) <= set(aligner.classes_)


def test_missing_values_are_the_pipelines():
    X, y = moons(120)
    X[::5, 0] = np.nan
    with pytest.raises(ValueError, match="Input X contains NaN"):
        SurrogateAligner(NET, **LEAST).fit(X, y)
    filled = make_pipeline(SimpleImputer(), NET)
    assert SurrogateAligner(filled, **LEAST).fit(X, y).fidelity_.value > 0.7
    with pytest.raises(ValueError, match=r"surrogate=LogisticRegression.*'x0' has some"):
        SurrogateAligner(filled, LogisticRegression(), **LEAST).fit(X, y)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"surrogate": "tree"}, TypeError, "surrogate='tree' is no estimator"),
        ({"surrogate": LinearRegression(), "target": "label"}, ValueError, "is no classifier"),
        ({"surrogate": DecisionTreeClassifier(), "target": "logit"}, ValueError, "is no regressor"),
        ({"oracle_samples": -1}, ValueError, r"'oracle_samples'.*-1"),
        ({"oracle_samples": "many"}, ValueError, r"'oracle_samples'.*'many'"),
        ({"n_redraws": -1}, ValueError, r"'n_redraws'.*-1"),
        ({"holdout": 1.5}, ValueError, r"'holdout'.*1\.5"),
        ({"basin_models": ["a", "b"]}, TypeError, "There is no network"),
    ],
)
def test_bad_parameters_are_named_with_their_values(change, error, message):
    with pytest.raises(error, match=message):
        SurrogateAligner(NET, **{**LEAST, **change}).fit(*moons(60))


@pytest.mark.parametrize(
    ("rows", "labels", "message"),
    [
        (4, ["a", "a", "b", "b"], "holdout=0.25 leaves 1 of n_samples=4"),
        (60, ["a"] * 60, "needs samples of at least 2 classes"),
    ],
)
def test_too_few_rows_or_classes_are_refused(rows, labels, message):
    with pytest.raises(ValueError, match=message):
        SurrogateAligner(NET, **LEAST).fit(moons(60)[0][:rows], labels)


def test_a_surrogate_that_may_not_split_has_no_gain():
    student = DecisionTreeClassifier(min_samples_leaf=10**6)
    aligner = SurrogateAligner(NET, student, **LEAST).fit(*moons(120))
    assert aligner.fidelity_.verdict == "no gain over majority"
    assert aligner.rules_["condition"].tolist() == ["always"]


def test_parity_is_no_gain_over_majority_in_words():
    """Of six bits, by a network that knows it; a tree of depth 4 can say nothing of it."""
    X, y, truth = make_sparse_parity(1200, n_features=8, n_relevant=6, random_state=0)
    k, kinks = 6, torch.arange(8.0)
    module = torch.nn.Sequential(
        torch.nn.Linear(8, k + 2), torch.nn.ReLU(), torch.nn.Linear(k + 2, 2)
    ).double()
    with torch.no_grad():  # a zigzag between 1 and -1 over the sum of the bits
        module[0].weight.zero_()[:, truth.inputs] = 1
        module[0].bias.copy_(k + 2 - 2 * kinks)
        slopes = 2 * (-1.0) ** kinks
        slopes[0] = 1
        module[2].weight.copy_(torch.stack([-slopes, slopes]))
        module[2].bias.copy_(torch.tensor([1.0, -1.0]))
    aligner = SurrogateAligner(from_module(module, classes=[0, 1]), **LEAST).fit(X, y)
    assert aligner.fidelity_.of("network", "accuracy") == pytest.approx(1)
    assert aligner.fidelity_.verdict == "no gain over majority"


def test_the_same_seed_gives_the_same_numbers():
    X, y = moons(150)
    one, two = (SurrogateAligner(NET, **QUICK).fit(X, y) for _ in range(2))
    np.testing.assert_array_equal(one.transform(X), two.transform(X))
    np.testing.assert_array_equal(one.unit_scores_, two.unit_scores_)
    np.testing.assert_array_equal(one.fidelity_.scores, two.fidelity_.scores)
    assert one.degeneracy_ == two.degeneracy_
