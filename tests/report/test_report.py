"""Numbers of a report are those of its probes, nothing is computed twice, bad input is named."""

import json
import re

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

import sklflat
from sklflat import AblationProbe, MinimaReport, SAMClassifier, SAMRegressor, from_module
from sklflat.eigenspace import loss_surface
from sklflat.networks.units import Units
from sklflat.probing.split import Rows, split_rows
from sklflat.training.runs import Training
from tests.report._reports import CHEAP, data, fitted, network, report


@pytest.fixture
def trainings(monkeypatch):
    """Counts networks that begin to be trained."""
    begun, begin = [], Training.begin

    def counted(self, *args):
        begun.append(self)
        return begin(self, *args)

    monkeypatch.setattr(Training, "begin", counted)
    return begun


def number_of(found, technique, estimator, quantity):
    return found.page_.section(technique, estimator).quantity(quantity).value


@pytest.mark.parametrize("name", ["plain", "SAM"])
def test_numbers_are_those_of_the_probes(name):
    found = fitted()
    probes = {key: found.probes_[key, name] for key in CHEAP}
    number = lambda *q: number_of(found, q[0], name, q[1])  # noqa: E731
    ablation = probes["ablation"]
    total = number("ablation", "needed units") + number("ablation", "needed whatever the target")
    assert total == ablation.decisions_.count("needed")
    assert number("ablation", "needed units") in (0, ablation.support_.sum())  # or the best alone
    spectrum = probes["curvature"].spectrum
    assert number("curvature", "top eigenvalue") == spectrum.eigenvalues_[0]
    assert number("curvature", "gradient norm") == spectrum.gradient_norm_
    universal = probes["universality"].universal_units_
    assert number("universality", "units that come back") == len(universal)
    assert number("universality", "mean return") == probes["universality"].returns_.mean()
    table = next(t for t in found.page_.units if t.estimator == name)
    rises = dict(zip(probes["ablation"].unit_names_, probes["ablation"].unit_scores_, strict=True))
    shown = {row[0]: row[table.columns.index("rise of loss")] for row in table.rows}
    assert shown == rises


def test_a_probe_fitted_by_hand_says_the_same():
    X, y = data()
    found = fitted()
    held_out = found.probes_["ablation", "plain"]
    seed = held_out.random_state
    rng = np.random.RandomState(0)
    assert rng.randint(2**31 - 2) == seed
    _, rows = split_rows(Rows(X, y, {}), 0.25, True, rng)
    alone = AblationProbe(found.estimators_["plain"][0], random_state=seed).fit(rows.X, rows.y)
    np.testing.assert_array_equal(alone.unit_scores_, held_out.unit_scores_)
    np.testing.assert_array_equal(alone.p_values_, held_out.p_values_)
    score = found.estimators_["plain"][0].score(rows.X, rows.y)
    assert number_of(found, "prediction", "plain", "accuracy") == pytest.approx(score, abs=1e-12)


def test_the_rise_is_that_of_a_step_along_the_sharpest_direction():
    found = fitted().probes_["curvature", "SAM"]
    X, y = data()
    fit, _ = split_rows(Rows(X, y, {}), 0.25, True, _after_one_draw())
    clf = found.spectrum.estimator_

    def loss(estimator):
        p = estimator.predict_proba(fit.X)
        return -np.log(p[np.arange(len(fit.y)), fit.y]).mean()

    moved = [loss(found.spectrum.perturb(0, step)) for step in (0.05, -0.05)]
    assert found.rise[0] == pytest.approx(np.mean(moved) - loss(clf), rel=1e-6)
    assert found.constant_loss == pytest.approx(np.log(3), rel=1e-2)


def _after_one_draw():
    rng = np.random.RandomState(0)
    rng.randint(2**31 - 2)
    return rng


def test_nothing_is_computed_twice(trainings, monkeypatch):
    solved, activations = [], []
    solve, activate = loss_surface.eigenpairs, Units.activations

    def counted(*args, **kwargs):
        solved.append(args)
        return solve(*args, **kwargs)

    def kept(self, module, X, *args):
        A = activate(self, module, X, *args)
        activations.append(A.numpy().tobytes())
        return A

    monkeypatch.setattr(loss_surface, "eigenpairs", counted)
    monkeypatch.setattr(Units, "activations", kept)
    report(techniques=("ablation", "activation", "curvature"), n_models=1).fit(*data())
    assert len(trainings) == 4  # two estimators, two seeds
    assert len(solved) == 4
    # of each network once on the held-out rows; of the first also on the rows trained on
    assert len(activations) == len(set(activations)) + _cards(activations)


def _cards(activations):
    """Calls of unit cards, which check on a hundred rows that a network has not changed."""
    counts = pd.Series(activations).value_counts()
    return int((counts[counts > 3] - 1).sum())


def test_all_estimators_start_from_the_same_seeds():
    found = fitted()
    seeds = {
        name: [e.estimator.random_state for e in networks]
        for name, networks in found.estimators_.items()
    }
    assert seeds["plain"] == seeds["SAM"]
    assert len(set(seeds["SAM"])) == 3


def test_a_second_run_goes_on_from_what_is_kept(tmp_path, trainings, monkeypatch):
    settings = {"techniques": ("ablation", "curvature"), "n_models": 0, "cache_dir": tmp_path}
    first = report(**settings).fit(*data())
    before = len(trainings)

    def never(*args, **kwargs):
        raise AssertionError("computed again")

    monkeypatch.setattr(loss_surface, "eigenpairs", never)
    monkeypatch.setattr(AblationProbe, "fit", never)
    again = report(**settings).fit(*data())
    assert before == 2
    assert again.probes_ == {}
    assert again.page_.sections == first.page_.sections
    assert again.page_.findings == first.page_.findings
    other = report(**settings | {"techniques": ("prediction",), "random_state": 1}).fit(*data())
    assert other.probes_


# --- what does not apply --------------------------------------------------------------------------


def test_a_regressor_has_no_temperature():
    X, _ = data()
    found = report(
        SAMRegressor((8,), max_iter=30, learning_rate_init=0.02),
        techniques=("prediction", "ablation", "curvature", "temperature"),
        n_models=0,
    ).fit(X, X[:, 0] ** 2)
    (left_out,) = found.page_.left_out
    assert "temperature" in left_out
    assert found.page_.section("prediction", "SAMRegressor").quantity("R²").value < 1


def plain_loop(X, y, n_classes):
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(X.shape[1], 8), nn.ReLU(), nn.Linear(8, n_classes))
    optimizer = torch.optim.Adam(module.parameters(), lr=0.05)
    x, t = torch.as_tensor(X, dtype=torch.float32), torch.as_tensor(y)
    for _ in range(30):
        optimizer.zero_grad()
        nn.functional.cross_entropy(module(x), t).backward()
        optimizer.step()
    return module


@pytest.mark.slow
def test_a_module_from_a_plain_loop(trainings):
    X, y = data()
    frozen = from_module(plain_loop(X[:120], y[:120], 3), classes=[0, 1, 2])
    found = report({"mine": frozen}, techniques=None).fit(X[120:], y[120:])
    assert trainings == []
    assert found.page_.section("ablation", "mine").quantity("units").value == 8
    left_out = " ".join(found.page_.left_out)
    assert re.search("path needs two ends", left_out)
    assert re.search("cannot be trained again", left_out)
    assert "not measured" in " ".join(found.page_.verdict)
    assert "not known" in found.page_.section("ablation", "mine").settings["rows trained on"]


@pytest.mark.slow
def test_frozen_siblings_stand_for_further_trainings(trainings):
    X, y = data()
    with pytest.warns(ConvergenceWarning):
        siblings = [
            FrozenEstimator(network(random_state=s).fit(X[:120], y[:120])) for s in range(4)
        ]
    found = report({"mine": siblings}, techniques=("universality",)).fit(X[120:], y[120:])
    assert trainings == []
    assert found.page_.section("universality", "mine").quantity("further trainings").value == 3


# --- input ----------------------------------------------------------------------------------------


def mixed(n=240):
    rng = np.random.RandomState(0)
    colour = rng.choice(["red", "green", None], n)
    size = np.where(rng.uniform(size=n) < 0.1, np.nan, rng.normal(size=n))
    X = pd.DataFrame(
        {"size": size, "colour": colour, "kind": pd.Categorical(rng.choice(list("ab"), n))}
    )
    return X, np.where((colour == "red") | (np.nan_to_num(size) > 0.5), "yes", "no")


def of_table(X, y, *techniques):
    settings = {"effort": "quick", "n_models": 0, "random_state": 0}
    return MinimaReport(techniques=techniques, **settings).fit(X, y)


def test_a_table_with_text_categories_and_missing_values():
    X, y = mixed()
    found = of_table(X, y, "prediction")
    assert number_of(found, "prediction", "plain", "accuracy") > 0.8
    said = found.page_.settings["encoding of the columns"]
    assert "colour (3), kind (2)" in said
    assert "median" in said
    assert X["colour"].isna().any()  # the table of the user is as it was


@pytest.mark.slow
def test_a_tree_reads_the_columns_as_they_came():
    found = of_table(*mixed(), "surrogate")
    names = found.probes_["surrogate", "plain"].surrogate_feature_names_
    assert "colour = missing" in names


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"estimators": []}, ValueError, "estimators is empty"),
        ({"estimators": {"a": network(), "b": SAMRegressor()}}, ValueError, "mixes classifiers"),
        ({"estimators": [[network()]]}, ValueError, "frozen"),
        ({"estimators": [StandardScaler()]}, TypeError, "no network"),
        ({"techniques": ("ablatoin",)}, ValueError, "must name some of prediction"),
        ({"techniques": ()}, ValueError, "must name some of"),
        ({"effort": "slow"}, ValueError, "effort"),
        ({"holdout": 1.5}, ValueError, "holdout"),
        ({"n_models": -1}, ValueError, "n_models"),
    ],
)
def test_bad_settings_are_named(settings, error, words):
    given = {"n_models": 0, "techniques": ("prediction",)} | settings
    with pytest.raises(error, match=words):
        report(**given).fit(*data())


def test_numbers_that_are_not_whole_are_a_regression():
    X, y = data()
    found = MinimaReport(
        effort="quick", techniques=("prediction",), n_models=0, random_state=0
    ).fit(X, y + 0.5)
    assert isinstance(found.estimators_["SAM"][0].estimator[-1], SAMRegressor)
    forced = clone(found).set_params(task="regression").fit(X, y)
    assert isinstance(forced.estimators_["SAM"][0].estimator[-1], SAMRegressor)


@pytest.mark.slow
def test_a_pipeline_weights_and_groups():
    X, y = data()
    pipe = make_pipeline(StandardScaler(), network())
    found = report(pipe, techniques=("prediction", "ablation"), n_models=0).fit(
        X, y, groups=np.arange(len(y)) // 2
    )
    assert list(found.estimators_) == ["SAMClassifier"]
    assert found.probes_["ablation", "SAMClassifier"].decisions_.n_groups == 30
    weighted = report(techniques=("ablation",), n_models=0).fit(X, y, sample_weight=np.ones(len(y)))
    assert weighted.page_.sections


@pytest.mark.slow
def test_several_jobs_say_the_same():
    settings = {"techniques": ("prediction", "ablation"), "n_models": 0}
    one = report(**settings).fit(*data())
    two = report(**settings, n_jobs=2).fit(*data())
    assert one.page_.findings == two.page_.findings
    assert two.probes_.keys() == one.probes_.keys()


def test_it_is_an_estimator_like_others():
    found = clone(fitted())
    assert not hasattr(found, "page_")
    assert "MinimaReport" in repr(found)
    with pytest.raises(NotFittedError):
        found.to_html()
    assert json.loads(fitted().to_json())["estimators"] == ["plain", "SAM"]


def test_labels_without_meaning_have_no_real_units():
    """Its outputs need its units, though: without one they are others, and worse."""
    rng = np.random.RandomState(0)
    X, y = rng.normal(size=(800, 8)), rng.choice(["a", "b"], 800)
    clf = network(max_iter=150)
    found = report({"network": clf}, techniques=("ablation",), n_models=0).fit(X, y)
    assert number_of(found, "ablation", "network", "needed whatever the target") > 0
    assert number_of(found, "ablation", "network", "needed units") == 0
    assert {row[1] for row in found.page_.units[0].rows} == {"nothing shown"}


def test_a_network_without_hidden_units_has_curvature_only():
    clf = SAMClassifier((), max_iter=30, learning_rate_init=0.02)
    found = report({"linear": clf}, ("ablation", "curvature"), n_models=0).fit(*data())
    assert found.page_.section("curvature", "linear").picture is not None
    assert "hidden" in " ".join(found.page_.left_out)


def test_what_cannot_be_measured_at_all_is_an_error():
    X, y = data()
    frozen = from_module(plain_loop(X[:, :4], y, 3), classes=[0, 1, 2])
    with pytest.raises(ValueError, match=r"nothing to report on mine.*Needed units"):
        report({"mine": frozen}, ("ablation",)).fit(X, y)
    with pytest.raises(ValueError, match="6"):
        report({"mine": frozen}).fit(X, y)


def test_it_is_saved_and_loaded(tmp_path):
    sklflat.save(fitted(), tmp_path / "report.safetensors")
    again = sklflat.load(tmp_path / "report.safetensors")
    assert again.page_ == fitted().page_
    assert again.to_html() == fitted().to_html()
