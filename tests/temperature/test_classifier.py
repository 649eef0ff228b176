"""TemperatureClassifier: over what it works, what it hands on, and what it refuses."""

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array
from sklearn import config_context
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_score
from sklearn.multiclass import OneVsRestClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC
from sklearn.utils import get_tags
from skorch import NeuralNetClassifier

from sklflat import SAMClassifier, TemperatureClassifier, from_module, load, save
from sklflat.exceptions import CalibrationWarning, RefitWarning
from sklflat.temperature import logits_of, softened

X, y = load_digits(return_X_y=True)
X, y = X[:400] / 16, y[:400]
BINARY = y % 2
NETWORK = SAMClassifier((12,), max_iter=60, learning_rate_init=0.02, random_state=0)
ODD = np.array(["even", "odd"])

OVER = {
    "network": NETWORK,
    "logistic": LogisticRegression(),
    "one against the rest": OneVsRestClassifier(LinearSVC(random_state=0)),
    "neighbours": KNeighborsClassifier(3),
    "forest": RandomForestClassifier(9, random_state=0),
    "pipeline": make_pipeline(StandardScaler(), LogisticRegression()),
    "search": GridSearchCV(LogisticRegression(), {"C": [0.1, 10]}, cv=2),
    "frozen": FrozenEstimator(LogisticRegression().fit(X, y)),
}


@pytest.mark.parametrize("name", OVER)
@pytest.mark.parametrize("T", [1e-300, 0.3, 1.0, 20.0, 1e300])
def test_it_softens_and_never_changes_a_label(name, T):
    model = TemperatureClassifier(OVER[name], temperature=T).fit(X, y)
    plain = model.estimator_
    np.testing.assert_array_equal(model.predict(X), plain.predict(X))
    p, f = model.predict_proba(X), model.decision_function(X)
    np.testing.assert_array_equal(p, softened(logits_of(plain, X), T))
    assert np.isfinite(f).all()
    if 0.1 < T < 100:
        np.testing.assert_allclose(softened(f, 1), p, rtol=1e-9)
        np.testing.assert_allclose(np.exp(model.predict_log_proba(X)), p, rtol=1e-9)
    assert model.score(X, y) == plain.score(X, y)
    assert model.temperature_ == T
    assert model.n_features_in_ == 64


@pytest.mark.parametrize("T", [0.2, 1.0, 5.0])
def test_two_classes_are_the_sigmoid_of_the_margin(T):
    model = TemperatureClassifier(NETWORK, temperature=T).fit(X, ODD[BINARY])
    margin = model.estimator_.decision_function(X) / T
    np.testing.assert_allclose(model.decision_function(X), margin, rtol=1e-12)
    np.testing.assert_allclose(model.predict_proba(X)[:, 1], 1 / (1 + np.exp(-margin)), rtol=1e-9)
    assert model.classes_.tolist() == ["even", "odd"]
    assert set(model.predict(X)) == {"even", "odd"}


def test_the_default_is_a_deterministic_network():
    models = [TemperatureClassifier().fit(X[:60], y[:60]) for _ in range(2)]
    assert isinstance(models[0].estimator_, SAMClassifier)
    np.testing.assert_array_equal(*(m.predict_proba(X) for m in models))


@pytest.mark.filterwarnings("ignore::sklflat.exceptions.CalibrationWarning")
def test_data_frames_strings_and_sparse_rows():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(X, columns=[f"pixel{k}" for k in range(64)])
    labels = pd.Series([f"digit {k}" for k in y])
    model = TemperatureClassifier(NETWORK, temperature="nll", cv=3).fit(frame, labels)
    assert model.feature_names_in_.tolist() == list(frame.columns)
    assert model.predict(frame)[0] == "digit 0"
    assert get_tags(model).input_tags.sparse
    sparse = TemperatureClassifier(NETWORK, temperature="nll", cv=3).fit(csr_array(X), y)
    assert sparse.temperature_ == pytest.approx(model.temperature_, rel=1e-9)


def test_tags_follow_the_estimator():
    assert not get_tags(TemperatureClassifier(RandomForestClassifier())).non_deterministic
    assert get_tags(TemperatureClassifier(SVC(kernel="precomputed"))).input_tags.pairwise
    assert not get_tags(TemperatureClassifier(NETWORK)).classifier_tags.multi_label
    assert get_tags(NETWORK).classifier_tags.multi_label


def test_a_module_in_any_order_of_its_outputs_is_frozen():
    torch.manual_seed(0)
    module = torch.nn.Linear(64, 10)
    given = from_module(module, classes=list(range(10))[::-1])
    model = TemperatureClassifier(given, temperature="nll")
    with pytest.warns(CalibrationWarning):  # it has learned nothing
        model.fit(X, y)
    assert model.estimator_ is given
    expected = softened(logits_of(given, X), model.temperature_)
    np.testing.assert_array_equal(model.predict_proba(X), expected)


def test_a_skorch_net():
    net = NeuralNetClassifier(
        torch.nn.Sequential(torch.nn.Linear(64, 10), torch.nn.Softmax(dim=1)),
        max_epochs=2,
        verbose=0,
        train_split=None,
    )
    model = TemperatureClassifier(net, temperature=3.0).fit(X.astype(np.float32), y)
    p = model.estimator_.predict_proba(X.astype(np.float32))
    np.testing.assert_allclose(
        model.predict_proba(X.astype(np.float32)), softened(np.log(p.astype(float)), 3), atol=1e-9
    )


@pytest.mark.parametrize("temperature", [2.0, "nll"])
@pytest.mark.parametrize("wrap", [lambda e: e, FrozenEstimator])
def test_it_is_saved_and_comes_back(tmp_path, temperature, wrap):
    estimator = wrap(clone(NETWORK).fit(X[:200], y[:200])) if wrap is FrozenEstimator else NETWORK
    model = TemperatureClassifier(estimator, temperature=temperature).fit(X[200:], y[200:])
    save(model, tmp_path / "model.safetensors")
    again = load(tmp_path / "model.safetensors")
    np.testing.assert_array_equal(again.predict_proba(X), model.predict_proba(X))
    assert (again.temperature_, again.calibration_) == (model.temperature_, model.calibration_)
    assert repr(again) == repr(model)


def test_out_of_fold_the_temperature_is_that_of_rows_not_trained_on():
    """A network that has learned its rows by heart looks calibrated on these alone."""
    network = SAMClassifier((50,), max_iter=200, learning_rate_init=0.01, random_state=0)
    by_heart = clone(network).fit(X[:150], BINARY[:150])
    fooled = TemperatureClassifier(FrozenEstimator(by_heart), temperature="nll")
    with pytest.warns(CalibrationWarning):
        fooled.fit(X[:150], BINARY[:150])
    honest = TemperatureClassifier(network, temperature="nll", cv=5).fit(X[:150], BINARY[:150])
    assert honest.temperature_ > 5 * fooled.temperature_


def test_rows_in_several_test_parts_count_once_in_the_interval():
    parts = [(np.arange(200), np.arange(200, 400))] * 3
    thrice, once = (
        TemperatureClassifier(LogisticRegression(), temperature="nll", cv=cv).fit(X, y)
        for cv in (parts, parts[:1])
    )
    assert thrice.calibration_.n_rows == 200
    assert thrice.calibration_.interval == pytest.approx(once.calibration_.interval, rel=1e-9)


def test_refitting_with_a_number_forgets_the_calibration():
    model = TemperatureClassifier(LogisticRegression(), temperature="nll").fit(X, y)
    assert model.calibration_.temperature == model.temperature_
    assert model.set_params(temperature=2.0).fit(X, y).calibration_ is None


def test_it_is_evaluated_inside_other_tools():
    model = make_pipeline(StandardScaler(), TemperatureClassifier(LogisticRegression()))
    grid = {"temperatureclassifier__temperature": np.geomspace(0.1, 10, 5)}
    search = GridSearchCV(model, grid, scoring="neg_log_loss", cv=3).fit(X, y)
    assert len(set(search.cv_results_["mean_test_score"])) == 5
    assert cross_val_score(model, X, y, scoring="roc_auc_ovr", cv=3).min() > 0.9


# --- metadata ---------------------------------------------------------------------------------


def test_weights_reach_the_estimator_and_the_temperature():
    weight = np.random.RandomState(0).randint(0, 3, len(y))
    model = TemperatureClassifier(LogisticRegression(max_iter=1000)).fit(X, y, weight)
    plain = LogisticRegression(max_iter=1000).fit(X, y, weight)
    np.testing.assert_array_equal(model.predict_proba(X), softened(logits_of(plain, X), 1))
    pipeline = TemperatureClassifier(make_pipeline(StandardScaler(), LogisticRegression()))
    named = pipeline.fit(X, y, logisticregression__sample_weight=weight).predict_proba(X)
    assert np.abs(named - clone(pipeline).fit(X, y).predict_proba(X)).max() > 1e-3
    with pytest.raises(
        ValueError, match=r"estimator=Pipeline\(...\) does not take it.*<step>__sam"
    ):
        pipeline.fit(X, y, sample_weight=weight)


def test_groups_and_weights_are_routed():
    groups, weight = np.arange(len(y)) // 20, np.random.RandomState(0).uniform(1, 3, len(y))
    with config_context(enable_metadata_routing=True):
        inner = LogisticRegression(max_iter=1000).set_fit_request(sample_weight=True)
        model = TemperatureClassifier(inner, temperature="nll", cv=GroupKFold(4))
        routed = model.fit(X, y, sample_weight=weight, groups=groups)
        default = TemperatureClassifier().fit(X[:60], y[:60], sample_weight=weight[:60])
    splits = list(GroupKFold(4).split(X, y, groups))
    plain = TemperatureClassifier(LogisticRegression(max_iter=1000), temperature="nll", cv=splits)
    assert plain.fit(X, y, weight).temperature_ == routed.temperature_
    unweighted = clone(plain).fit(X, y)
    assert unweighted.temperature_ != routed.temperature_
    assert default.temperature_ == 1


# --- bad input --------------------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [0, -2.0, np.nan, np.inf, "high", None])
def test_a_temperature_that_is_none(temperature):
    model = TemperatureClassifier(LogisticRegression(), temperature=temperature)
    expected = rf"'temperature' parameter.*range \(0.0, inf\) or a str among .*Got {temperature!r}"
    with pytest.raises(ValueError, match=expected):
        model.fit(X, y)


class OnlyLabels(ClassifierMixin, BaseEstimator):
    def fit(self, X, y):
        self.classes_ = np.unique(y)
        return self

    def predict(self, X):
        return np.full(len(X), self.classes_[0])


@pytest.mark.parametrize(
    ("estimator", "message"),
    [
        (LinearRegression(), r"estimator=LinearRegression\(\) is not a classifier.*Give an inst"),
        (LogisticRegression, r"estimator=<class .*LogisticRegression'> is not a classifier"),
        (3, "estimator=3 is not a classifier"),
        (OnlyLabels(), r"estimator=OnlyLabels\(...\) has neither decision_function nor predict_p"),
        (make_pipeline(StandardScaler(), OnlyLabels()), r"estimator=Pipeline\(...\) has neither"),
    ],
)
def test_an_estimator_without_logits(estimator, message):
    with pytest.raises(TypeError, match=message):
        TemperatureClassifier(estimator).fit(X, y)


def test_labels_that_have_no_softmax():
    model = TemperatureClassifier(NETWORK)
    with pytest.raises(ValueError, match="only one class: 3"):
        model.fit(X[:9], np.full(9, 3))
    with pytest.raises(
        ValueError, match=r"estimator=KNeighborsClassifier\(...\) knows only one cla"
    ):
        TemperatureClassifier(KNeighborsClassifier()).fit(X[:9], np.full(9, 3))
    with pytest.raises(
        ValueError, match=r"y should be a 1d array, got an array of shape \(400, 2\)"
    ):
        model.fit(X, np.column_stack([BINARY, 1 - BINARY]))
    with pytest.raises(ValueError, match="Unknown label type: continuous"):
        model.fit(X, X[:, 20])
    with pytest.raises(ValueError, match="requires y to be passed, but the target y is None"):
        model.fit(X, None)


@pytest.mark.filterwarnings("ignore:The least populated class:UserWarning")
def test_a_class_of_one_row_cannot_be_predicted_out_of_fold():
    labels = np.where(np.arange(len(y)) == 7, 77, BINARY)
    with pytest.raises(
        ValueError, match=r"cv leaves no row of class 77 to train fold .* at least 2"
    ):
        TemperatureClassifier(LogisticRegression(), temperature="nll").fit(X, labels)


def test_a_fitted_estimator_is_fitted_anew_and_says_so():
    fitted = LogisticRegression().fit(X[:100], BINARY[:100])
    with pytest.warns(RefitWarning, match="Wrap it in sklearn.frozen.FrozenEstimator"):
        model = TemperatureClassifier(fitted).fit(X, y)
    assert len(model.classes_) == 10
    assert len(fitted.classes_) == 2


def test_before_fit_there_is_nothing():
    for method in ("predict", "predict_proba", "predict_log_proba", "decision_function"):
        with pytest.raises(NotFittedError):
            getattr(TemperatureClassifier(NETWORK), method)(X)


def test_a_thousand_classes():
    rng = np.random.RandomState(0)
    centres = rng.randn(1000, 8)
    labels = np.repeat(np.arange(1000), 3)
    rows = centres[labels] + 1.5 * rng.randn(3000, 8)
    model = TemperatureClassifier(KNeighborsClassifier(5), temperature="nll", cv=3)
    model.fit(rows, labels)
    assert np.isfinite(model.predict_proba(rows)).all()
    assert model.calibration_.nll_after < model.calibration_.nll_before
