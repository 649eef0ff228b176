"""SAMClassifierCV and SAMRegressorCV choose what a search over the same grid chooses."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import GridSearchCV, GroupKFold, KFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklflat import SAMClassifier, SAMClassifierCV, SAMRegressor, SAMRegressorCV

X, y = load_digits(return_X_y=True)
X, y = X[:240] / 16, y[:240]
TARGETS = np.column_stack([X @ np.linspace(-1, 1, 64), X[:, 20]])
QUICK = {"max_iter": 4, "tol": 0.0, "n_iter_no_change": 9, "learning_rate_init": 0.01}
QUICK |= {"hidden_layer_sizes": (12,), "random_state": 0}
GRID = {"rhos": (0.0, 0.1, 1.0), "alphas": (1e-4, 1.0)}


def assert_as_searched(ours, theirs, X, y, **params):
    """Scores, choice and predictions of a search over rho and alpha."""
    theirs.fit(X, y, **params)
    ours.fit(X, y, **params)
    n_folds, shape = theirs.n_splits_, (len(ours.alphas), len(ours.rhos))
    expected = [theirs.cv_results_[f"split{k}_test_score"].reshape(shape).T for k in range(n_folds)]
    np.testing.assert_allclose(ours.scores_, expected, atol=1e-6)
    chosen = {"rho": ours.rho_, "alpha": ours.alpha_}
    assert chosen == theirs.best_params_
    assert ours.best_score_ == pytest.approx(theirs.best_score_, abs=1e-6)
    if ours.predict(X).dtype.kind == "f":
        np.testing.assert_allclose(ours.predict(X), theirs.predict(X), rtol=1e-6)
    else:
        np.testing.assert_array_equal(ours.predict(X), theirs.predict(X))


def test_scores_and_choice_are_those_of_a_grid_search():
    ours = SAMClassifierCV(**QUICK, **GRID, cv=3, search_dtype=None)
    grid = {"rho": list(GRID["rhos"]), "alpha": list(GRID["alphas"])}
    theirs = GridSearchCV(SAMClassifier(**QUICK), grid, cv=3)
    labels = np.array(list("abcdefghij"))[y]
    assert_as_searched(ours, theirs, X, labels)
    assert ours.n_stacked_ == 3 * 2 * 3
    assert ours.scores_.shape == (3, 3, 2)
    assert ours.rhos_.tolist() == [0.0, 0.1, 1.0]
    assert ours.alphas_.tolist() == [1e-4, 1.0]
    assert ours.classes_.tolist() == list("abcdefghij")
    np.testing.assert_allclose(
        ours.predict_proba(X), theirs.predict_proba(X), rtol=1e-6, atol=1e-12
    )
    assert ours.score(X, labels) == theirs.score(X, labels)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "params"),
    [
        ({"scoring": "neg_log_loss", "variant": "asam"}, {}),
        ({"cv": KFold(2, shuffle=True, random_state=3), "solver": "sgd"}, {}),
        ({"cv": GroupKFold(3)}, {"groups": np.arange(len(y)) // 8}),
        ({"class_weight": "balanced"}, {"sample_weight": 1.0 + np.arange(len(y)) % 3}),
        ({"early_stopping": True}, {}),
        ({"dropout": 0.2, "random_state": np.random.RandomState(5)}, {}),
    ],
)
def test_it_is_a_grid_search_with_other_settings(settings, params):
    own = {"search_dtype": None, "cv": settings.get("cv", 3), "scoring": settings.get("scoring")}
    shared = {k: v for k, v in settings.items() if k not in own}
    ours = SAMClassifierCV(**QUICK | shared, **GRID, **own)
    grid = {"rho": list(GRID["rhos"]), "alpha": list(GRID["alphas"])}
    theirs = GridSearchCV(
        SAMClassifier(**QUICK | shared), grid, cv=own["cv"], scoring=own["scoring"]
    )
    assert_as_searched(ours, theirs, X, y, **params)


@pytest.mark.parametrize(
    "target",
    [
        pytest.param(TARGETS[:, 0], marks=pytest.mark.slow, id="one"),
        pytest.param(TARGETS, id="two"),
    ],
)
def test_regressors(target):
    ours = SAMRegressorCV(**QUICK, **GRID, cv=3, search_dtype=None)
    grid = {"rho": list(GRID["rhos"]), "alpha": list(GRID["alphas"])}
    assert_as_searched(ours, GridSearchCV(SAMRegressor(**QUICK), grid, cv=3), X, target)
    assert ours.predict(X).shape == target.shape


@pytest.mark.slow
def test_multilabel():
    labels = np.column_stack([y > 4, y % 2]).astype(int)
    ours = SAMClassifierCV(**QUICK, **GRID, cv=2, search_dtype=None)
    grid = {"rho": list(GRID["rhos"]), "alpha": list(GRID["alphas"])}
    assert_as_searched(ours, GridSearchCV(SAMClassifier(**QUICK), grid, cv=2), X, labels)


@pytest.mark.slow
def test_single_precision_is_a_search_in_single_precision():
    ours = SAMClassifierCV(**QUICK, **GRID, cv=3).fit(X, y)
    grid = {"rho": list(GRID["rhos"]), "alpha": list(GRID["alphas"])}
    single = GridSearchCV(SAMClassifier(**QUICK, dtype="float32"), grid, cv=3).fit(X, y)
    means = single.cv_results_["mean_test_score"].reshape(2, 3).T
    np.testing.assert_allclose(ours.scores_.mean(axis=0), means, atol=1 / 80)
    assert ours.best_estimator_.coefs_[0].dtype == np.float64
    again = SAMClassifier(**QUICK, rho=ours.rho_, alpha=ours.alpha_).fit(X, y)
    np.testing.assert_array_equal(again.predict_proba(X), ours.predict_proba(X))


def test_a_network_without_penalty_is_chosen_against_a_ruinous_one():
    # with an L2 penalty of 1e6 all weights vanish, so every prediction is one class
    clf = SAMClassifierCV(**QUICK | {"max_iter": 30}, rhos=(0.0,), alphas=(1e6, 1e-4), cv=2)
    clf.fit(X, y)
    assert clf.alpha_ == 1e-4
    assert clf.scores_[:, 0, 1].min() > clf.scores_[:, 0, 0].max() + 0.3


def test_candidates_share_a_seed_that_is_drawn():
    clf = SAMClassifierCV(**QUICK | {"random_state": None}, rhos=(0.1, 0.1), alphas=(0.0,), cv=2)
    clf.fit(X, y)
    np.testing.assert_array_equal(clf.scores_[:, 0], clf.scores_[:, 1])


@pytest.mark.slow
def test_in_a_pipeline_and_in_an_outer_search():
    settings = QUICK | {"max_iter": 20, "rhos": (0.1,), "alphas": (1e-4,), "cv": 2}
    model = make_pipeline(StandardScaler(), SAMClassifierCV(**settings))
    assert cross_val_score(model, X, y, cv=2).mean() > 0.5
    search = GridSearchCV(model, {"samclassifiercv__activation": ["relu", "tanh"]}, cv=2)
    assert search.fit(X, y).best_score_ > 0.5
    with pytest.raises(ValueError, match="'rho'"):
        clone(model).set_params(samclassifiercv__rho=1.0)


def test_parameters_are_those_of_the_estimator_it_tunes():
    for tuned, single in ((SAMClassifierCV, SAMClassifier), (SAMRegressorCV, SAMRegressor)):
        own, its = tuned().get_params(), single().get_params()
        added = {"rhos", "alphas", "cv", "scoring", "n_jobs", "search_dtype"}
        assert set(own) - set(its) == added
        assert set(its) - set(own) == {"rho", "alpha", "warm_start"}
        assert all(own[name] == its[name] for name in set(own) & set(its))
    assert RidgeCV().get_params()["cv"] is None  # the convention for names
