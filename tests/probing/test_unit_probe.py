"""The contract of all probes: selection, transform, pipelines, searches, cards, restriction."""

import pickle
from contextlib import nullcontext

import matplotlib
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier
from torch import nn

from sklflat import (
    AblationProbe,
    ActivationProbe,
    SAMClassifier,
    SAMRegressor,
    UnitDisplay,
    from_module,
)
from sklflat.exceptions import NothingFoundWarning, RefitWarning
from sklflat.networks.units import Units
from tests._estimators import IRIS, SPECIES
from tests._probes import random_arrays, random_data, two_layer

matplotlib.use("Agg")
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
LABELS = np.array(["setosa", "versicolor", "virginica"])
NAMES = LABELS[SPECIES]
PROBES = [AblationProbe, ActivationProbe]


def network(**parameters):
    own = {"hidden_layer_sizes": (12,), "learning_rate_init": 0.02, "max_iter": 40}
    return SAMClassifier(**own | parameters, random_state=0)


@pytest.fixture(scope="module")
def frozen():
    return FrozenEstimator(network().fit(IRIS[::2], NAMES[::2]))


@pytest.fixture(scope="module", params=PROBES)
def probe(request, frozen):
    return request.param(frozen, random_state=0).fit(IRIS[1::2], NAMES[1::2])


def test_transform_gives_the_selected_activations(probe, frozen):
    relu = frozen.estimator.transform(IRIS)  # of the last hidden layer: the only one
    np.testing.assert_allclose(probe.transform(IRIS), relu[:, probe.support_], rtol=1e-12)
    assert probe.transform(IRIS).dtype == np.float64
    assert 0 < probe.support_.sum() <= 12
    np.testing.assert_array_equal(probe.get_support(indices=True), np.flatnonzero(probe.support_))
    np.testing.assert_array_equal(probe.get_feature_names_out(), probe.unit_names_[probe.support_])


def test_selected_are_those_that_pass_the_false_discovery_rate(probe):
    found = (probe.q_values_ <= 0.05) & (probe.unit_scores_ > 0)
    if isinstance(probe, AblationProbe):  # tests/probing/test_decisions.py says what needed is
        assert found.sum() > probe.support_.sum()
        found &= probe.decisions_.verdict == "needed"
    np.testing.assert_array_equal(probe.support_, found)
    assert (probe.p_values_ > 0).all()
    for null in probe.nulls_:
        assert null.draws.size >= 2000


@pytest.mark.parametrize(("n_units", "expected"), [(3, 3), (6, 5), (0.6, 3), (1.0, 5), (None, 5)])
def test_n_units(n_units, expected):
    W1, b1, W2, b2 = random_arrays(0)
    b1[2] = -100  # unit 2 of 6 is dead
    module = from_module(two_layer(W1, b1, W2, b2), classes=[0, 1, 2])
    X, y = random_data(0)
    probe = AblationProbe(module, n_units=n_units, random_state=0)
    with pytest.warns(NothingFoundWarning, match="5 of 6") if n_units == 6 else nullcontext():
        probe.fit(X, y)
    assert probe.dead_.tolist() == [False, False, True, False, False, False]
    assert probe.support_.sum() == expected
    assert not probe.support_[2]
    assert probe.p_values_[2] == probe.q_values_[2] == 1
    rest = probe.unit_scores_[~probe.support_ & ~probe.dead_]
    assert probe.unit_scores_[probe.support_].min() >= rest.max(initial=-np.inf)


def test_with_nothing_to_find_the_best_unit_is_kept_and_said_to_be_nothing():
    module = two_layer(*random_arrays(0))
    X = np.random.RandomState(0).normal(size=(200, 4))
    y = np.random.RandomState(2).randint(3, size=200)
    probe = AblationProbe(from_module(module, classes=[0, 1, 2]), random_state=0)
    with pytest.warns(NothingFoundWarning, match="nothing shows that it is real"):
        probe.fit(X, y)
    assert probe.support_.sum() == 1
    assert probe.p_values_[probe.support_] == probe.p_values_.min()
    assert probe.transform(X).shape == (200, 1)


def test_same_random_state_same_result(frozen):
    def fit(**options):
        return AblationProbe(network(), random_state=3, **options).fit(IRIS, NAMES)

    a, b = fit(), fit(n_jobs=2)
    np.testing.assert_array_equal(a.unit_scores_, b.unit_scores_)
    np.testing.assert_array_equal(a.p_values_, b.p_values_)


def test_global_random_state_is_left_alone(frozen):
    before = np.random.get_state()[1].copy(), torch.random.get_rng_state()  # noqa: NPY002
    AblationProbe(network(), random_state=0).fit(IRIS, NAMES).transform(IRIS)
    np.testing.assert_array_equal(before[0], np.random.get_state()[1])  # noqa: NPY002
    assert torch.equal(before[1], torch.random.get_rng_state())


@pytest.mark.filterwarnings("ignore::sklflat.exceptions.PerturbationWarning")  # rows are numbered
def test_it_is_scored_on_rows_it_was_not_trained_on():
    class Recorder(SAMClassifier):
        def fit(self, X, y=None, sample_weight=None):
            self.rows_, self.weight_ = X[:, 0], sample_weight
            return super().fit(X, y, sample_weight)

    X = IRIS.copy()
    X[:, 0] = np.arange(150)
    weight = np.arange(1.0, 151.0)
    probe = ActivationProbe(Recorder((4,), max_iter=2), holdout=0.2, n_units=1, random_state=0)
    probe.fit(X / 150, NAMES, sample_weight=weight)
    trained = np.round(probe.estimator_.rows_ * 150).astype(int)
    assert len(np.unique(trained)) == 120
    assert (np.bincount(SPECIES[trained]) == 40).all()
    np.testing.assert_array_equal(probe.estimator_.weight_, weight[trained])

    everything = ActivationProbe(
        Recorder((4,), max_iter=2, random_state=0), holdout=None, n_units=1, random_state=0
    )
    assert len(everything.fit(X, NAMES).estimator_.rows_) == 150


def test_weights_count_rows_that_are_scored(frozen):
    repeats = np.arange(150) % 3
    rows = np.repeat(np.arange(150), repeats)
    for cls in PROBES:
        weighted = cls(frozen, n_units=1).fit(IRIS, NAMES, sample_weight=repeats)
        repeated = cls(frozen, n_units=1).fit(IRIS[rows], NAMES[rows])
        np.testing.assert_allclose(
            weighted.unit_scores_, repeated.unit_scores_, rtol=1e-9, atol=1e-12
        )


def test_a_fitted_estimator_that_is_not_frozen_is_fitted_again_and_this_is_said():
    fitted = network().fit(IRIS, NAMES)
    with pytest.warns(RefitWarning, match="FrozenEstimator"):
        probe = AblationProbe(fitted).fit(IRIS, NAMES)
    assert probe.estimator_ is not fitted


def test_pipelines_with_pandas():
    data = load_breast_cancer(as_frame=True)
    X, y = data.data, data.target_names[data.target]
    pipeline = make_pipeline(StandardScaler(), AblationProbe(network(), n_units=4, random_state=0))
    pipeline.set_output(transform="pandas")
    frame = pipeline.fit(X, y).transform(X)
    assert isinstance(frame, pd.DataFrame)
    assert list(frame.columns) == list(pipeline.get_feature_names_out())
    assert list(frame.index) == list(X.index)
    probe = pipeline[-1]
    np.testing.assert_array_equal(probe.feature_names_in_, X.columns)
    card = probe.unit_card(frame.columns[0])
    assert set(card.inputs) <= set(X.columns)


def test_searches_reach_the_network_and_the_selection():
    pipeline = make_pipeline(
        AblationProbe(network(max_iter=15), random_state=0), DecisionTreeClassifier(random_state=0)
    )
    grid = {"ablationprobe__n_units": [1, 3], "ablationprobe__estimator__rho": [0.0, 0.1]}
    search = GridSearchCV(pipeline, grid, cv=2).fit(IRIS, NAMES)
    assert search.best_score_ > 0.7
    assert (
        search.best_estimator_[0].estimator_.rho
        == search.best_params_["ablationprobe__estimator__rho"]
    )


def test_a_pipeline_inside(frozen):
    inner = make_pipeline(StandardScaler(), network())
    X = 100 * IRIS + 7
    probe = ActivationProbe(inner, unit_score="correlation", random_state=0).fit(X, NAMES)
    assert probe.estimator_[0].mean_.max() > 1
    np.testing.assert_allclose(
        probe.transform(X), probe.estimator_.transform(X)[:, probe.support_], rtol=1e-12
    )


def test_regressors_and_multilabel_targets():
    reg = SAMRegressor((8,), random_state=0, max_iter=60, learning_rate_init=0.02)
    for y in IRIS[:, 3], IRIS[:, 2:]:
        for probe in AblationProbe(reg), ActivationProbe(reg, unit_score="correlation"):
            probe.set_params(random_state=0).fit(IRIS[:, :2], y)
            assert probe.support_.any()
            assert (probe.q_values_[probe.support_] <= 0.05).all()
    several = np.stack([SPECIES == 0, IRIS[:, 1] > 0], axis=1).astype(int)
    probe = ActivationProbe(network(), unit_score="correlation", random_state=0)
    assert probe.fit(IRIS, several).support_.any()
    with pytest.raises(ValueError, match="correlation"):
        ActivationProbe(reg).fit(IRIS[:, :2], IRIS[:, 3])


def test_own_nets_of_any_shape():
    rng = np.random.RandomState(0)
    X = rng.normal(size=(60, 1, 6, 6)).astype("float32")
    y = (X[:, 0, :3].mean((1, 2)) > X[:, 0, 3:].mean((1, 2))).astype(int)
    module = nn.Sequential(
        nn.Conv2d(1, 5, 3), nn.ReLU(), nn.Flatten(), nn.Linear(80, 4), nn.Tanh(), nn.Linear(4, 2)
    )
    clf = SAMClassifier(net=module, learning_rate_init=0.02, max_iter=30, random_state=0)
    probe = AblationProbe(clf, n_units=None, random_state=0).fit(X, y)
    assert probe.transform(X).shape == (60, (~probe.dead_).sum())
    assert [layer.n_units for layer in probe.units_.layers] == [5, 4]
    only = AblationProbe(clf, layers=("4",), n_units=None, random_state=0).fit(X, y)
    assert len(only.unit_names_) == 4


def test_to_frame(probe):
    frame = probe.to_frame()
    assert list(frame.index) == list(probe.unit_names_)
    np.testing.assert_array_equal(frame["score"], probe.unit_scores_)
    np.testing.assert_array_equal(frame["selected"], probe.support_)
    assert set(frame["layer"]) == {"hidden.relu_0"}
    assert list(frame["channel"]) == list(range(12))


def test_unit_card(probe):
    name = probe.get_feature_names_out()[0]
    u = list(probe.unit_names_).index(name)
    card = probe.unit_card(name)
    X, y = IRIS[1::2], NAMES[1::2]
    a = probe.estimator_.transform(X)[:, u]
    np.testing.assert_array_equal(card.top_samples, np.argsort(-a, kind="stable")[:10])
    np.testing.assert_allclose(card.top_activations, np.sort(a)[::-1][:10])
    for label, mean in card.class_means.items():
        assert mean == pytest.approx(a[y == label].mean())
    assert card.score == probe.unit_scores_[u]
    # where a ReLU unit is active its gradient is its row of weights
    W = probe.estimator_.estimator.coefs_[0][:, u]
    expected = np.abs(W) * np.mean(a > 0) * X.std(axis=0)
    for j, value in enumerate(expected):
        assert card.inputs[f"x{j}"] == pytest.approx(value, rel=1e-9)
    assert name in str(card)
    assert "selected" in str(card)
    with pytest.raises(ValueError, match=r"hidden.relu_0\[1\]"):
        probe.unit_card("hidden.relu_0[1")


def test_cards_number_the_rows_of_the_data_that_were_given():
    probe = AblationProbe(network(), n_units=1, random_state=0).fit(IRIS, NAMES)
    card = probe.unit_card(probe.get_feature_names_out()[0])
    values = probe.transform(IRIS)[card.top_samples, 0]
    np.testing.assert_allclose(values, card.top_activations)


def test_restrict(frozen):
    probe = AblationProbe(frozen, n_units=4, random_state=0).fit(IRIS[1::2], NAMES[1::2])
    result = probe.restrict(IRIS[1::2], NAMES[1::2], n_random=20, random_state=0)
    clf = frozen.estimator
    hidden = clf.transform(IRIS)
    hidden[:, ~probe.support_] = probe.unit_means_[~probe.support_]
    z = hidden @ clf.coefs_[1] + clf.intercepts_[1]
    np.testing.assert_allclose(result.estimator.decision_function(IRIS), z, rtol=1e-9)
    np.testing.assert_array_equal(result.estimator.classes_, LABELS)
    assert result.score == result.estimator.score(IRIS[1::2], NAMES[1::2])
    assert result.full_score == clf.score(IRIS[1::2], NAMES[1::2])
    assert result.n_units == 4
    assert len(result.random_scores) == 20
    assert result.p_value == (np.sum(result.random_scores >= result.score) + 1) / 21
    again = pickle.loads(pickle.dumps(result.estimator))
    np.testing.assert_array_equal(again.predict(IRIS), result.estimator.predict(IRIS))


def test_restrict_behind_a_scaler_and_for_regressors():
    X = 100 * IRIS + 7
    pipeline = make_pipeline(StandardScaler(), network())
    probe = AblationProbe(pipeline, n_units=None, random_state=0).fit(X, NAMES)
    result = probe.restrict(X, NAMES, n_random=2, random_state=0)
    assert result.score == result.full_score == probe.estimator_.score(X, NAMES)
    reg = SAMRegressor((8,), random_state=0, max_iter=20)
    probe = AblationProbe(reg, n_units=None, random_state=0).fit(IRIS[:, :3], IRIS[:, 3])
    result = probe.restrict(IRIS[:, :3], IRIS[:, 3], n_random=1)
    assert result.score == pytest.approx(probe.estimator_.score(IRIS[:, :3], IRIS[:, 3]))


def test_display(probe):
    display = UnitDisplay.from_estimator(probe)
    assert len(display.scores) == 12
    assert (display.low <= display.high).all()
    labels = [t.get_text() for t in display.ax_.get_legend().get_texts()]
    assert any("permuted targets" in label for label in labels)
    assert display.ax_.get_xlabel()
    assert display.ax_.get_ylabel()
    order = np.lexsort((-probe.unit_scores_, probe.dead_))
    ticks = [t.get_text() for t in display.ax_.get_xticklabels()]
    assert ticks == probe.unit_names_[order].tolist()
    # what chance gives is in the picture, or a triangle says where it is
    outside = (display.high < display.ax_.get_ylim()[0]).sum()
    marks = [c for c in display.ax_.collections if "chance lies below" in str(c.get_label())]
    assert sum(len(c.get_offsets()) for c in marks) == outside
    other = UnitDisplay.from_estimator(probe, selected=probe.dead_)
    assert other.selected is probe.dead_
    assert display.selected is probe.support_


def test_clone_and_pickle(probe):
    assert clone(probe).get_params()["estimator"] is probe.estimator
    again = pickle.loads(pickle.dumps(probe))
    np.testing.assert_array_equal(again.transform(IRIS), probe.transform(IRIS))
    assert str(again.unit_card(again.unit_names_[0])) == str(probe.unit_card(probe.unit_names_[0]))
    assert "AblationProbe" in AblationProbe(SAMClassifier())._repr_html_()


@pytest.mark.slow
def test_variance_is_compared_with_networks_trained_on_permuted_labels(frozen):
    free = ActivationProbe(
        network(max_iter=5), unit_score="variance", n_null=30, n_units=2, random_state=0
    ).fit(IRIS, NAMES)
    assert [null.name for null in free.nulls_] == ["networks trained on permuted labels"]
    held = ActivationProbe(frozen, unit_score="variance", n_units=2).fit(IRIS, NAMES)
    assert [null.name for null in held.nulls_] == ["untrained twins"]
    np.testing.assert_allclose(
        held.unit_scores_, frozen.estimator.transform(IRIS).var(axis=0), atol=1e-12
    )


def test_units_are_found_once_and_serve_twins(probe):
    assert isinstance(probe.units_, Units)
    assert len(probe.units_) == 12


def test_dead_units_below_all_that_chance_gives_are_seen():
    scores, dead = np.array([0.9, 0.8, 0.0]), np.array([False, False, True])
    low, high = np.full(3, 0.4), np.full(3, 0.6)
    display = UnitDisplay(
        scores=scores,
        low=low,
        high=high,
        selected=~dead,
        dead=dead,
        null_name="chance",
        names=np.array(["a", "b", "c"]),
    ).plot()
    bottom, top = display.ax_.get_ylim()
    assert bottom < 0 < 0.9 < top
    display.figure_.clear()
