"""StackedSearchCV gives what GridSearchCV and RandomizedSearchCV give."""

import numpy as np
import pandas as pd
import pytest
import sklearn
from scipy.stats import uniform
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.datasets import load_digits
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    RandomizedSearchCV,
    ShuffleSplit,
    StratifiedKFold,
)
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from sklflat import SAMClassifier, SAMRegressor, StackedSearchCV, TemperatureClassifier
from sklflat.exceptions import UnsupportedNetworkError
from sklflat.training.engine.epochs import EpochLoop

X, y = load_digits(return_X_y=True)
X, y = X[:300] / 16, y[:300]
CLASSIFIER = SAMClassifier(
    (12,), max_iter=4, tol=0.0, n_iter_no_change=9, learning_rate_init=0.01, random_state=0
)


def assert_same(ours, theirs, *data, **fit_params):
    ours.fit(*data, **fit_params)
    theirs.fit(*data, **fit_params)
    assert set(ours.cv_results_) == set(theirs.cv_results_)
    for key, expected in theirs.cv_results_.items():
        found = ours.cv_results_[key]
        if "time" in key:
            assert np.shape(found) == np.shape(expected)
            assert (np.asarray(found) >= 0).all()
        elif "score" in key and "rank" not in key:
            np.testing.assert_allclose(found, expected, atol=1e-6)
        elif key == "params":
            assert found == expected
        else:
            assert np.ma.filled(found, "masked" if found.dtype == object else -1).tolist() == (
                np.ma.filled(expected, "masked" if expected.dtype == object else -1).tolist()
            )
    if theirs.refit:
        assert ours.best_params_ == theirs.best_params_
        assert ours.best_index_ == theirs.best_index_
        assert ours.best_score_ == pytest.approx(theirs.best_score_, abs=1e-6)
        assert type(ours.best_estimator_) is type(theirs.best_estimator_)
        np.testing.assert_array_equal(ours.predict(data[0]), theirs.predict(data[0]))
        assert ours.score(data[0], data[1]) == theirs.score(data[0], data[1])


@pytest.mark.parametrize(
    ("rho", "cv"), [([0.0, 0.1], 2), pytest.param([0.0, 0.02, 0.1], 3, marks=pytest.mark.slow)]
)
def test_a_grid_over_numbers_is_one_stack(rho, cv):
    grid = {"rho": rho, "alpha": [1e-4, 1.0], "random_state": [0, 1]}
    ours = StackedSearchCV(CLASSIFIER, grid, cv=cv)
    assert_same(ours, GridSearchCV(CLASSIFIER, grid, cv=cv), X, y)
    assert ours.n_stacked_ == len(rho) * 2 * 2 * cv
    assert ours.stack is True  # parameters are as they were given
    assert isinstance(ours, GridSearchCV)


def test_grids_over_architecture_variant_and_numbers():
    grid = [
        {"hidden_layer_sizes": [(5,), (9, 4)], "learning_rate_init": [0.01, 0.03]},
        {"variant": ["asam", "looksam"], "training_temperature": [1.0, 2.0]},
    ]
    settings = {"cv": 2, "return_train_score": True, "scoring": "neg_log_loss"}
    ours = StackedSearchCV(CLASSIFIER, grid, **settings)
    assert_same(ours, GridSearchCV(CLASSIFIER, grid, **settings), X, y)
    assert ours.n_stacked_ == 8 * 2


def test_random_candidates():
    space = {"rho": uniform(0, 0.2), "learning_rate_init": uniform(0.001, 0.05)}
    ours = StackedSearchCV(CLASSIFIER, space, n_iter=5, cv=2, random_state=3)
    assert_same(ours, RandomizedSearchCV(CLASSIFIER, space, n_iter=5, cv=2, random_state=3), X, y)


def test_last_in_a_pipeline_with_weights_and_strings():
    labels = np.array(list("abcdefghij"))[y]
    pipeline = make_pipeline(StandardScaler(), CLASSIFIER)
    grid = {"standardscaler__with_mean": [True, False], "samclassifier__rho": [0.01, 0.1]}
    weight = np.random.RandomState(0).randint(1, 4, len(y)).astype(float)
    ours = StackedSearchCV(pipeline, grid, cv=3)
    theirs = GridSearchCV(pipeline, grid, cv=3)
    assert_same(ours, theirs, X, labels, samclassifier__sample_weight=weight)
    assert ours.n_stacked_ == 4 * 3
    assert isinstance(ours.best_estimator_, Pipeline)


def test_steps_that_a_pipeline_takes_are_taken():
    """Functions that cannot be pickled, steps left out, and transformers that are fitted."""

    class Halved(TransformerMixin, BaseEstimator):
        def fit(self, X, y=None):
            return self

        def transform(self, X):
            return X / 2

    class Plain(BaseEstimator):
        def fit(self, X, y=None):
            self.mean_ = X.mean(axis=0)
            return self

        def transform(self, X):
            return X - self.mean_

    frozen = FrozenEstimator(StandardScaler().fit(X))
    steps = [FunctionTransformer(lambda X: X**2), "passthrough", None, Halved(), Plain(), frozen]
    pipeline = Pipeline([("first", "passthrough"), ("last", CLASSIFIER)])
    grid = {"first": steps, "last__rho": [0.01, 0.1]}
    ours, theirs = StackedSearchCV(pipeline, grid, cv=2), GridSearchCV(pipeline, grid, cv=2)
    assert_same(ours, theirs, X, y)
    assert ours.n_stacked_ == 6 * 2 * 2


IN_PLACE = StandardScaler(copy=False)


@pytest.mark.parametrize("kind", [np.array, pd.DataFrame])
@pytest.mark.parametrize(
    ("estimator", "grid"),
    [
        (make_pipeline(IN_PLACE, CLASSIFIER), "standardscaler__with_mean"),
        (make_pipeline(IN_PLACE, LogisticRegression()), "standardscaler__with_mean"),
        (Pipeline([("s", IN_PLACE), ("c", CLASSIFIER)], memory="kept"), "s__with_mean"),
        (
            TemperatureClassifier(make_pipeline(IN_PLACE, CLASSIFIER)),
            "estimator__standardscaler__with_mean",
        ),
    ],
)
def test_transformers_that_work_in_place_leave_others_their_rows(
    estimator, grid, kind, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)  # where a pipeline with memory keeps its files
    far, before = kind(X[:, 10:20] * 9 + 5), kind(X[:, 10:20] * 9 + 5)
    settings = {"cv": 2, "scoring": "neg_log_loss", "refit": False}
    ours = StackedSearchCV(estimator, {grid: [True, False]}, **settings)
    theirs = GridSearchCV(estimator, {grid: [True, False]}, **settings)
    assert_same(ours, theirs, far, y)
    ours.set_params(refit=True).fit(far, y)
    assert np.array_equal(far, before)


def test_functions_that_differ_are_not_taken_for_one():
    """Each is a lambda of this test, in a step of the same name."""
    factors = [FunctionTransformer(lambda X, k=k: k * X) for k in (0.1, 1.0, 10.0)]
    pipeline = Pipeline([("first", factors[0]), ("last", CLASSIFIER)])
    grid = {"first": factors}
    ours, theirs = StackedSearchCV(pipeline, grid, cv=2), GridSearchCV(pipeline, grid, cv=2)
    assert_same(ours, theirs, X, y)
    assert len(set(ours.cv_results_["mean_test_score"])) > 1


def test_several_scores_groups_and_a_shuffling_splitter():
    grid = {"rho": [0.01, 0.1]}
    scoring = {"accuracy": "accuracy", "loss": "neg_log_loss"}
    settings = {
        "scoring": scoring,
        "refit": "loss",
        "cv": ShuffleSplit(3, test_size=0.4, random_state=0),
    }
    assert_same(
        StackedSearchCV(CLASSIFIER, grid, **settings),
        GridSearchCV(CLASSIFIER, grid, **settings),
        X,
        y,
    )
    groups = np.arange(len(y)) // 10
    settings = {"cv": GroupKFold(3), "refit": False}
    ours = StackedSearchCV(CLASSIFIER, grid, **settings)
    assert_same(ours, GridSearchCV(CLASSIFIER, grid, **settings), X, y, groups=groups)


def test_a_splitter_that_draws_anew_is_asked_once():
    search = StackedSearchCV(CLASSIFIER, {"rho": [0.05, 0.05]}, cv=StratifiedKFold(3, shuffle=True))
    search.fit(X, y)
    scores = [search.cv_results_[f"split{k}_test_score"] for k in range(3)]
    for one, other in scores:
        assert one == other


def test_regressors():
    model = SAMRegressor((8,), max_iter=4, tol=0.0, n_iter_no_change=9, random_state=0)
    grid = {"rho": [0.01, 0.1], "alpha": [0.0, 1.0]}
    target = X @ np.linspace(-1, 1, 64)
    assert_same(StackedSearchCV(model, grid, cv=3), GridSearchCV(model, grid, cv=3), X, target)


def test_other_estimators_go_scikit_learns_way():
    model = MLPClassifier((5,), max_iter=5, random_state=0)
    grid = {"alpha": [1e-4, 1.0]}
    ours = StackedSearchCV(model, grid, cv=2)
    assert_same(ours, GridSearchCV(model, grid, cv=2), X, y)
    assert ours.n_stacked_ == 0
    with pytest.raises(UnsupportedNetworkError, match="MLPClassifier is not trained by this"):
        StackedSearchCV(model, grid, cv=2, stack="force").fit(X, y)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.FitFailedWarning")
@pytest.mark.filterwarnings("ignore:One or more of the test scores:UserWarning")
def test_it_says_what_could_not_be_stacked(capsys):
    own = {"cv": 2, "verbose": 1}
    with sklearn.config_context(enable_metadata_routing=True):
        routed = CLASSIFIER.set_fit_request(sample_weight=True)
        pipeline = make_pipeline(StandardScaler().set_fit_request(sample_weight=False), routed)
        search = StackedSearchCV(clone(pipeline), {"samclassifier__rho": [0.01, 0.1]}, **own)
        search.fit(X, y, sample_weight=np.ones(len(y)))
    (reason,) = search.not_stacked_
    assert (search.n_stacked_, search.not_stacked_[reason]) == (0, 4)
    assert "routed metadata" in reason
    assert f"not stacked were 4 as {reason}" in capsys.readouterr().out
    assert StackedSearchCV(CLASSIFIER, {"rho": [0.1]}, **own).fit(X, y).not_stacked_ == {}
    assert "not stacked" not in capsys.readouterr().out


def test_a_fit_that_fails_gets_the_error_score():
    grid = {"learning_rate_init": [0.01, 1e200], "solver": ["sgd"]}
    ours = StackedSearchCV(CLASSIFIER, grid, cv=2)
    assert_same(ours, GridSearchCV(CLASSIFIER, grid, cv=2), X, y)
    assert np.isnan(ours.cv_results_["mean_test_score"][1])
    with pytest.raises(ValueError, match="diverged"):
        StackedSearchCV(CLASSIFIER, grid, cv=2, error_score="raise").fit(X, y)


def test_bad_parameters_are_named():
    with pytest.raises(ValueError, match="Invalid parameter 'radius'"):
        StackedSearchCV(CLASSIFIER, {"radius": [1]}, cv=2).fit(X, y)
    with pytest.raises(ValueError, match="'n_iter' parameter"):
        StackedSearchCV(CLASSIFIER, {"rho": [1]}, n_iter=0).fit(X, y)
    with pytest.raises(ValueError, match="'stack' parameter"):
        StackedSearchCV(CLASSIFIER, {"rho": [1]}, stack="yes").fit(X, y)


def test_it_can_be_cloned_nested_and_pickled():
    import pickle

    search = StackedSearchCV(CLASSIFIER, {"rho": [0.01, 0.1]}, cv=2)
    assert clone(search).get_params()["estimator__rho"] is None
    fitted = pickle.loads(pickle.dumps(search.fit(X, y)))
    np.testing.assert_array_equal(fitted.predict(X), search.predict(X))
    assert make_pipeline(StandardScaler(), clone(search)).fit(X, y).score(X, y) > 0.1


def test_a_fitted_search_keeps_neither_folds_nor_networks():
    """It is no larger than scikit-learn's, whose scorer knows the given estimator only."""
    import pickle

    mine = StackedSearchCV(CLASSIFIER, {"rho": [0.01, 0.1]}, cv=2).fit(X, y)
    theirs = GridSearchCV(CLASSIFIER, {"rho": [0.01, 0.1]}, cv=2).fit(X, y)
    assert len(pickle.dumps(mine)) < 1.05 * len(pickle.dumps(theirs))
    assert mine.scorer_(mine.best_estimator_, X, y) == mine.score(X, y)
    assert repr(mine.scorer_) == repr(theirs.scorer_)


def test_a_refit_is_kept_too(tmp_path, monkeypatch):
    settings = {"cv": 2, "cache_dir": tmp_path}
    first = StackedSearchCV(CLASSIFIER, {"rho": [0.01, 0.1]}, **settings).fit(X, y)
    monkeypatch.setattr(EpochLoop, "_count_epoch", lambda *_: pytest.fail("an epoch is trained"))
    again = StackedSearchCV(CLASSIFIER, {"rho": [0.01, 0.1]}, **settings).fit(X, y)
    np.testing.assert_array_equal(again.predict_proba(X), first.predict_proba(X))
    with pytest.raises(ValueError, match=r"cache_dir='' is no directory: None keeps nothing"):
        StackedSearchCV(CLASSIFIER, {"rho": [0.01]}, cv=2, cache_dir="").fit(X, y)


def test_a_directory_keeps_fits(tmp_path):
    settings = {"cv": 2, "cache_dir": tmp_path}
    first = StackedSearchCV(CLASSIFIER, {"rho": [0.01, 0.1]}, **settings).fit(X, y)
    more = StackedSearchCV(CLASSIFIER, {"rho": [0.01, 0.05, 0.1]}, **settings).fit(X, y)
    assert (first.n_stacked_, more.n_stacked_) == (4, 2)
    for key in ("mean_test_score", "split1_test_score"):
        assert first.cv_results_[key].tolist() == more.cv_results_[key][[0, 2]].tolist()
