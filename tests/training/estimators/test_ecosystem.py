"""The estimators among scikit-learn's tools, against independent numbers."""

import copy
import io
import pickle

import joblib
import numpy as np
import pandas as pd
import pytest
import sklearn
import torch
from scipy.sparse import csr_matrix
from scipy.special import expit, softmax
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_digits, make_multilabel_classification
from sklearn.ensemble import BaggingClassifier, StackingClassifier, VotingClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.inspection import DecisionBoundaryDisplay, permutation_importance
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, log_loss
from sklearn.model_selection import GridSearchCV, KFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from sklflat import ActivationProbe, SAMClassifier
from sklflat.training.perturbations import ASAM, SAM
from tests._estimators import (
    DIGIT,
    DIGITS,
    IRIS,
    MOONS,
    SIDE,
    SPECIES,
    same,
    skorch_net,
    small,
)
from tests._slow import slow_after

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

# --- scikit-learn's tools -------------------------------------------------------------------


def test_pipeline_equals_its_steps_by_hand():
    X = 100 + 50 * MOONS
    pipeline = make_pipeline(StandardScaler(), small()).fit(X, SIDE)
    scaled = (X - X.mean(0)) / X.std(0)
    by_hand = small().fit(scaled, SIDE).predict_proba(scaled)
    np.testing.assert_allclose(pipeline.predict_proba(X), by_hand, atol=1e-10)


@pytest.mark.parametrize(
    "grid",
    [
        {"rho": [0, 0.05, 0.3]},
        {"variant": ["sam", "asam", SAM(rho=0.2)]},
        {"variant": [ASAM()], "variant__eta": [0.0, 1.0], "rho": [0.5]},
    ],
    ids=["rho", "variant", "variant__eta"],
)
def test_grid_search_scores_what_a_loop_scores(grid):
    folds = KFold(2, shuffle=True, random_state=0)
    search = GridSearchCV(small(), grid, cv=folds, scoring="neg_log_loss").fit(MOONS, SIDE)
    for i, parameters in enumerate(search.cv_results_["params"]):
        for fold, (train, test) in enumerate(folds.split(MOONS)):
            model = clone(small()).set_params(**clone(parameters, safe=False))
            p = model.fit(MOONS[train], SIDE[train]).predict_proba(MOONS[test])
            expected = -log_loss(SIDE[test], p)
            assert search.cv_results_[f"split{fold}_test_score"][i] == pytest.approx(expected)
    assert len(set(search.cv_results_["mean_test_score"])) > 1  # the parameters matter


def test_grid_search_reaches_into_a_skorch_net():
    grid = {"net__lr": [0.01, 0.5], "net__module__num_units": [2, 16]}
    model = SAMClassifier(net=skorch_net(), random_state=0)
    search = GridSearchCV(model, grid, cv=2, scoring="neg_log_loss").fit(MOONS, SIDE)
    best = search.best_estimator_
    units, rate = search.best_params_["net__module__num_units"], search.best_params_["net__lr"]
    assert best.module_.layers[0].weight.shape == (units, 2)
    assert best.net_.optimizer_.param_groups[0]["lr"] == rate == 0.5
    again = SAMClassifier(net=skorch_net(lr=rate, module__num_units=units), random_state=0)
    same(best, again.fit(MOONS, SIDE))


@pytest.mark.parametrize("backend", slow_after(1, ["threading", "loky"]))
def test_parallel_grid_search_is_the_sequential_one(backend):
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002
    before = torch.random.get_rng_state(), np.random.get_state()  # noqa: NPY002
    model = small(dropout=0.3, max_iter=10, batch_size=32)
    grid = {"rho": [0.0, 0.05], "dropout": [0.0, 0.3]}
    search = GridSearchCV(model, grid, cv=2, scoring="neg_log_loss")
    one = clone(search).fit(MOONS, SIDE).cv_results_["mean_test_score"]
    with joblib.parallel_config(backend=backend, n_jobs=2):
        two = clone(search).fit(MOONS, SIDE).cv_results_["mean_test_score"]
    np.testing.assert_array_equal(one, two)
    after = torch.random.get_rng_state(), np.random.get_state()  # noqa: NPY002
    assert torch.equal(before[0], after[0])
    assert all(np.array_equal(a, b) for a, b in zip(before[1], after[1], strict=True))


@pytest.mark.parametrize("classes", [2, 3])
def test_temperature_calibration(classes):
    X, y = IRIS[: 50 * classes], SPECIES[: 50 * classes]
    y = np.where(np.random.RandomState(0).rand(len(y)) < 0.3, (y + 1) % classes, y)
    model = small(hidden_layer_sizes=(50,), max_iter=300, learning_rate_init=0.3)
    model.fit(X[::2], y[::2])
    frozen = CalibratedClassifierCV(FrozenEstimator(model), method="temperature")
    beta = frozen.fit(X[1::2], y[1::2]).calibrated_classifiers_[0].calibrators[0].beta_
    z = model.decision_function(X[1::2])
    temperature = 1 / (2 * beta) if classes == 2 else 1 / beta

    def nll(t):
        p = expit(z / t) if classes == 2 else softmax(z / t, axis=1)
        return log_loss(y[1::2], p)

    assert temperature > 1  # overfitted to noise, so too sure
    calibrated = frozen.predict_proba(X[1::2])
    assert log_loss(y[1::2], calibrated) == pytest.approx(nll(temperature), abs=1e-6)
    assert nll(temperature) < nll(1)
    assert nll(temperature) <= min(nll(temperature * 0.9), nll(temperature * 1.1))


def test_permutation_importance_finds_the_feature_that_carries_the_label():
    X = np.random.RandomState(0).standard_normal((150, 4))
    y = (X[:, 2] > 0).astype(int)
    model = small().fit(X, y)
    importance = permutation_importance(model, X, y, n_repeats=5, random_state=0).importances_mean
    assert importance.argmax() == 2
    assert importance[2] > 0.3
    assert np.abs(np.delete(importance, 2)).max() < 0.1


def test_decision_boundary_display_draws_the_probabilities():
    pytest.importorskip("matplotlib").use("Agg")
    model = small().fit(MOONS, SIDE)
    display = DecisionBoundaryDisplay.from_estimator(
        model, MOONS, grid_resolution=7, response_method="predict_proba", class_of_interest=1
    )
    points = np.column_stack([display.xx0.ravel(), display.xx1.ravel()])
    expected = model.predict_proba(points)[:, 1].reshape(7, 7)
    np.testing.assert_allclose(np.squeeze(display.response), expected)


def test_stacking_passes_on_cross_validated_probabilities():
    folds = KFold(3, shuffle=True, random_state=0)
    final = LogisticRegression()
    stack = StackingClassifier([("sam", small())], final, cv=folds).fit(MOONS, SIDE)
    Z = np.empty((len(MOONS), 1))
    for train, test in folds.split(MOONS):
        fold = small().fit(MOONS[train], SIDE[train])
        Z[test, 0] = fold.predict_proba(MOONS[test])[:, 1]
    np.testing.assert_allclose(stack.final_estimator_.coef_, clone(final).fit(Z, SIDE).coef_)


def test_soft_voting_is_the_mean_of_probabilities():
    members = [("a", small()), ("b", small(rho=0, random_state=1))]
    vote = VotingClassifier(members, voting="soft").fit(IRIS, SPECIES)
    mean = np.mean([m.fit(IRIS, SPECIES).predict_proba(IRIS) for _, m in members], axis=0)
    np.testing.assert_allclose(vote.predict_proba(IRIS), mean)


def test_bagging_averages_members_trained_on_their_samples():
    bag = BaggingClassifier(small(max_iter=10), n_estimators=3, random_state=0)
    bag.fit(IRIS, SPECIES)
    members = []
    for member, drawn in zip(bag.estimators_, bag.estimators_samples_, strict=True):
        counts = np.bincount(drawn, minlength=len(IRIS)).astype(float)
        again = clone(member).fit(IRIS, SPECIES, sample_weight=counts)
        members.append(again.predict_proba(IRIS))
    np.testing.assert_allclose(bag.predict_proba(IRIS), np.mean(members, axis=0), atol=1e-6)


def test_cross_val_predict_predicts_what_was_held_out():
    folds = KFold(3, shuffle=True, random_state=0)
    p = cross_val_predict(small(), IRIS, SPECIES, cv=folds, method="predict_proba")
    for train, test in folds.split(IRIS):
        fold = small().fit(IRIS[train], SPECIES[train])
        np.testing.assert_array_equal(p[test], fold.predict_proba(IRIS[test]))


def test_set_output_gives_the_last_hidden_layer_as_a_frame():
    model = small().fit(MOONS, SIDE).set_output(transform="pandas")
    frame = model.transform(pd.DataFrame(MOONS, index=range(7, 127)))
    hidden = np.maximum(MOONS @ model.coefs_[0] + model.intercepts_[0], 0)
    np.testing.assert_allclose(frame, hidden, atol=1e-12)
    assert list(frame.columns) == [f"hidden.relu_0[{i}]" for i in range(8)]
    assert list(frame.columns) == list(model.get_feature_names_out())
    assert frame.index[0] == 7


@pytest.mark.parametrize(
    ("between", "named"),
    [
        ((nn.Linear(2, 5), nn.ReLU(), nn.Linear(5, 4), nn.Tanh()), "tanh_0"),
        ((nn.Linear(2, 4), nn.ReLU(), nn.BatchNorm1d(4)), None),
    ],
)
def test_columns_are_named_as_probes_name_the_units(between, named):
    torch.manual_seed(1)  # with which no unit is dead
    for part in between:
        if hasattr(part, "reset_parameters"):
            part.reset_parameters()
    model = small(net=nn.Sequential(*between, nn.Linear(4, 2)), hidden_layer_sizes=(100,))
    model.fit(MOONS, SIDE)
    probe = ActivationProbe(FrozenEstimator(model), n_units=None, n_null=20).fit(MOONS, SIDE)
    last = probe.get_feature_names_out()[-4:]
    if named is None:  # what the last layer reads is no unit's activation
        assert model.get_feature_names_out().tolist() == [f"samclassifier{i}" for i in range(4)]
        assert not np.allclose(probe.transform(MOONS)[:, -4:], model.transform(MOONS))
    else:
        assert model.get_feature_names_out().tolist() == last.tolist()
        np.testing.assert_allclose(probe.transform(MOONS)[:, -4:], model.transform(MOONS), 1e-6)


def test_sample_weight_is_routed_through_pipeline_and_search():
    weight = np.random.RandomState(0).uniform(0.1, 3, len(MOONS))
    with sklearn.config_context(enable_metadata_routing=True):
        model = small().set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        pipeline = make_pipeline(StandardScaler().set_fit_request(sample_weight=False), model)
        search = GridSearchCV(pipeline, {"samclassifier__rho": [0.05]}, cv=2)
        search.fit(MOONS, SIDE, sample_weight=weight)
    scaled = StandardScaler().fit_transform(MOONS)
    direct = small(rho=0.05).fit(scaled, SIDE, sample_weight=weight)
    same(search.best_estimator_[-1], direct, scaled)
    unweighted = small(rho=0.05).fit(scaled, SIDE)
    assert np.abs(direct.coefs_[0] - unweighted.coefs_[0]).max() > 1e-3


def test_integer_weights_are_repetitions():
    weight = np.random.RandomState(0).randint(0, 3, len(MOONS))
    model = small(shuffle=False)  # one batch
    weighted = clone(model).fit(MOONS, SIDE, sample_weight=weight)
    repeated = clone(model).fit(MOONS.repeat(weight, 0), SIDE.repeat(weight))
    np.testing.assert_allclose(weighted.coefs_[0], repeated.coefs_[0], atol=1e-10)


def test_multilabel_predicts_every_label_by_its_own_logit():
    X, Y = make_multilabel_classification(100, 6, n_classes=3, random_state=0)
    X = StandardScaler().fit_transform(X)
    model = small(max_iter=200).fit(X, Y)
    hidden = np.maximum(X @ model.coefs_[0] + model.intercepts_[0], 0)
    p = expit(hidden @ model.coefs_[1] + model.intercepts_[1])
    np.testing.assert_allclose(model.predict_proba(X), p, atol=1e-12)
    np.testing.assert_array_equal(model.predict(X), p > 0.5)
    assert model.score(X, Y) == accuracy_score(Y, p > 0.5) > 0.6


def test_sparse_input_is_dense_input():
    sparse = csr_matrix(DIGITS)
    model = small().fit(DIGITS, DIGIT)
    same(small().fit(sparse, DIGIT), model, DIGITS)
    same(model, model, sparse)
    np.testing.assert_array_equal(model.predict_proba(sparse), model.predict_proba(DIGITS))


# --- copies ---------------------------------------------------------------------------------


def _joblib(model):
    file = io.BytesIO()
    joblib.dump(model, file)
    file.seek(0)
    return joblib.load(file)


COPIES = {
    "pickle": lambda model: pickle.loads(pickle.dumps(model)),
    "joblib": _joblib,
    "deepcopy": copy.deepcopy,
}


@pytest.mark.parametrize("net", [False, True], ids=["mlp", "skorch"])
@pytest.mark.parametrize("duplicate", COPIES.values(), ids=COPIES)
def test_a_copy_predicts_and_trains_on_like_the_original(duplicate, net):
    own = {"net": skorch_net()} if net else {"hidden_layer_sizes": (8,), "dropout": 0.2}
    model = SAMClassifier(variant="looksam", random_state=0, **own)
    if not net:
        model.set_params(batch_size=32, max_iter=5)
    double = duplicate(model.fit(MOONS, SIDE))
    same(model, double)
    for _ in range(3):
        same(model.partial_fit(MOONS, SIDE), double.partial_fit(MOONS, SIDE))


def test_clone_is_unfitted_and_trains_alike():
    model = SAMClassifier(net=skorch_net(), variant=ASAM(eta=0.1), random_state=0)
    double = clone(model.fit(MOONS, SIDE))
    assert not hasattr(double, "net_")
    assert double.variant is not model.variant
    assert double.variant.get_params() == model.variant.get_params()
    same(model, double.fit(MOONS, SIDE))


def test_html_repr_names_what_was_set():
    html = make_pipeline(StandardScaler(), small(rho=0.123))._repr_html_()
    assert "SAMClassifier" in html
    assert "0.123" in html
    assert "ASAM" in small(variant=ASAM(eta=0.1))._repr_html_()


def test_string_labels_and_frames():
    frame = pd.DataFrame(MOONS, columns=["east", "north"])
    labels = np.array(["lower", "upper"])[SIDE]
    model = small().fit(frame, labels)
    assert list(model.feature_names_in_) == ["east", "north"]
    assert list(model.classes_) == ["lower", "upper"]
    plain = small().fit(MOONS, SIDE)
    np.testing.assert_array_equal(model.predict(frame), model.classes_[plain.predict(MOONS)])
    with pytest.raises(ValueError, match="feature names should match"):
        model.predict(frame[["north", "east"]].rename(columns={"north": "n"}))


@pytest.mark.slow
def test_defaults_cope_with_unscaled_inputs():
    """As MLPClassifier's do; momentum SGD at the papers' learning rates fails on them."""
    X, y = load_digits(return_X_y=True)
    X, y, rest = X[:1200], y[:1200], (X[1200:], y[1200:])
    assert SAMClassifier(random_state=0).fit(X, y).score(*rest) > 0.9
    assert small(hidden_layer_sizes=(100,), max_iter=200).fit(X, y).score(*rest) < 0.8
