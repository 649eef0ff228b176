"""Searches over temperatures: scikit-learn's, and one that trains once a fold."""

import threading

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from sklflat import SAMClassifier, StackedSearchCV, TemperatureClassifier
from sklflat.training.estimators.base import PerturbedEstimator
from sklflat.training.runs import Training
from sklflat.training.stacking.planned_fits import PlannedFit

X, y = load_digits(return_X_y=True)
X, y = X[:300] / 16, y[:300]
NETWORK = SAMClassifier(
    (12,), max_iter=4, learning_rate_init=0.02, tol=0.0, n_iter_no_change=99, random_state=0
)
T25 = np.geomspace(0.01, 100, 25)
LOSS = {"scoring": "neg_log_loss", "cv": 3}


@pytest.fixture
def trained(monkeypatch):
    """The networks whose training was begun."""
    begun, original = [], PerturbedEstimator._fitting

    def counting(self, *args, **kwargs):
        begun.append(self)
        return original(self, *args, **kwargs)

    monkeypatch.setattr(PerturbedEstimator, "_fitting", counting)
    return begun


def assert_same(ours, theirs, every=1):
    """A search gives what another does, which has only some of its candidates."""
    for key in ("params", "mean_test_score", "split2_test_score"):
        found, expected = ours.cv_results_[key][::every], theirs.cv_results_[key]
        if key == "params":
            assert found == expected
        else:
            np.testing.assert_allclose(found, expected, rtol=1e-6)


def inside(wrap):
    """A pipeline with a temperature last, a pipeline at a temperature, or the network alone."""
    if wrap == "pipeline last":
        model = Pipeline([("scale", StandardScaler()), ("soft", TemperatureClassifier(NETWORK))])
        return model, "soft__temperature"
    if wrap == "pipeline inside":
        return TemperatureClassifier(make_pipeline(StandardScaler(), NETWORK)), "temperature"
    return TemperatureClassifier(NETWORK), "temperature"


@pytest.mark.parametrize("wrap", ["alone", "pipeline last", "pipeline inside"])
def test_25_temperatures_train_each_fold_once(wrap, trained):
    model, name = inside(wrap)
    search = StackedSearchCV(model, {name: T25}, **LOSS).fit(X, y)
    assert len(trained) == 3 + 1  # the folds, and the refit on all rows
    assert search.n_stacked_ == 3
    assert search.best_estimator_.predict_proba(X).shape == (300, 10)
    theirs = GridSearchCV(model, {name: T25[::8]}, **LOSS, refit=False).fit(X, y)
    assert_same(search, theirs, every=8)
    assert len(trained) == 3 + 1 + 4 * 3


def test_the_loss_is_convex_in_the_inverse_temperature():
    """Guo et al. 2017: so a search has one best temperature."""
    beta = np.linspace(0.1, 3, 25)
    grid = {"temperature": 1 / beta}
    search = StackedSearchCV(TemperatureClassifier(NETWORK), grid, **LOSS).fit(X, y)
    loss = -search.cv_results_["mean_test_score"]
    assert (np.diff(loss, 2) > 0).all()


def test_candidates_that_differ_in_training_are_trained_each(trained):
    grid = {"temperature": [0.5, 2.0], "estimator__rho": [0.0, 0.1]}
    search = StackedSearchCV(TemperatureClassifier(NETWORK), grid, **LOSS, refit=False).fit(X, y)
    assert (len(trained), search.n_stacked_) == (6, 6)


@pytest.mark.filterwarnings("ignore::sklflat.exceptions.CalibrationWarning")
def test_a_fitted_temperature_shares_the_training_on_all_rows(trained):
    model = TemperatureClassifier(NETWORK, cv=2)
    grid = {"temperature": [1.0, "nll"]}
    search = StackedSearchCV(model, grid, **LOSS, refit=False).fit(X, y)
    assert len(trained) == 3 + 3 * 2
    theirs = GridSearchCV(model, grid, **LOSS, refit=False).fit(X, y)
    found, expected = (s.cv_results_["mean_test_score"] for s in (search, theirs))
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_weights_reach_the_shared_training(trained):
    weight = np.random.RandomState(0).randint(1, 5, len(y)).astype(float)
    model, grid = TemperatureClassifier(NETWORK), {"temperature": [0.5, 1.0, 2.0]}
    search = StackedSearchCV(model, grid, **LOSS).fit(X, y, sample_weight=weight)
    assert len(trained) == 3 + 1
    assert_same(search, GridSearchCV(model, grid, **LOSS).fit(X, y, sample_weight=weight))


class Counting(LogisticRegression):
    """Not a network, so it is not stacked; counts its fits."""

    fits = 0

    def fit(self, X, y, sample_weight=None):
        Counting.fits += 1
        assert np.isfinite(X).all()  # code that reads a library's
        return super().fit(X, y, sample_weight)


def test_any_classifier_is_trained_once_a_fold():
    model = TemperatureClassifier(Counting(max_iter=1000))
    before = Counting.fits
    search = StackedSearchCV(model, {"temperature": T25}, **LOSS).fit(X, y)
    assert Counting.fits == before + 4
    assert search.n_stacked_ == 0
    theirs = GridSearchCV(model, {"temperature": T25[::8]}, **LOSS, refit=False).fit(X, y)
    assert_same(search, theirs, every=8)


class Opaque(Counting):
    """A parameter whose contents nobody knows."""

    def __init__(self, source=None, max_iter=1000):
        super().__init__(max_iter=max_iter)
        self.source = source


class Lock:
    def __init__(self):
        self.lock = threading.Lock()

    def __deepcopy__(self, memo):
        return Lock()


def test_what_is_not_known_to_be_equal_is_not_shared():
    grid, before = {"temperature": [1.0, 2.0]}, Counting.fits
    for source, n_fits in [(Lock(), 6), (np.random.RandomState(3), 3), (clone, 3)]:
        model = TemperatureClassifier(Opaque(source))
        StackedSearchCV(model, grid, **LOSS, refit=False).fit(X, y)
        assert Counting.fits == before + n_fits
        before = Counting.fits


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.FitFailedWarning")
@pytest.mark.filterwarnings("ignore:One or more of the test scores:UserWarning")
def test_a_bad_temperature_fails_alone():
    search = StackedSearchCV(TemperatureClassifier(NETWORK), {"temperature": [-1.0, 1.0]}, **LOSS)
    found = search.fit(X, y).cv_results_["mean_test_score"]
    assert np.isnan(found[0])
    assert np.isfinite(found[1])
    with pytest.raises(ValueError, match=r"'temperature' parameter.*Got -1\.0"):
        clone(search).set_params(error_score="raise").fit(X, y)


def test_shared_time_is_divided_and_the_end_is_done_once():
    training, done = Training(NETWORK, X, y, seconds=3.0), []
    shared = PlannedFit(training, n_sharing=2)
    fits = [PlannedFit(training, shared, end=lambda: done.append(1)) for _ in range(2)]
    for fit in fits:
        assert fit.seconds == 1.5
        fit.finish()
        fit.finish()
    assert len(done) == 2
    assert all(1.5 < fit.seconds < 1.6 for fit in fits)
