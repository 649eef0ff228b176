"""What is left of a fit: a network that can be asked, drawn, stored and probed."""

import pickle
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import sklearn
from sklearn.base import clone
from sklearn.datasets import load_digits, load_iris
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import accuracy_score, get_scorer, make_scorer
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from skorch import NeuralNetClassifier
from torch import nn

from sklflat import (
    AblationProbe,
    RadiusDisplay,
    SAMClassifier,
    SAMClassifierCV,
    SAMRegressorCV,
    StackedSearchCV,
    load,
    save,
)
from sklflat.exceptions import DivergenceError, PerturbationWarning
from sklflat.training.cross_validation.final_network import has_failed, train_final

X, y = load_iris(return_X_y=True)
NAMES = np.array(["setosa", "versicolor", "virginica"])[y]
QUICK = {"hidden_layer_sizes": (6,), "max_iter": 20, "learning_rate_init": 0.02, "random_state": 0}
QUICK |= {"rhos": (0.0, 0.1), "alphas": (1e-4, 0.1), "cv": 2}


@pytest.fixture(scope="module")
def clf():
    return SAMClassifierCV(**QUICK).fit(X, NAMES)


def test_it_answers_as_its_network(clf):
    best = clf.best_estimator_
    assert isinstance(best, SAMClassifier)
    assert (best.rho, best.alpha) == (clf.rho_, clf.alpha_)
    for ask in ("predict", "predict_proba", "predict_log_proba", "decision_function", "transform"):
        np.testing.assert_array_equal(getattr(clf, ask)(X), getattr(best, ask)(X))
    assert clf.sharpness(X, NAMES, rho=0.1) == best.sharpness(X, NAMES, rho=0.1)
    assert clf.net_ is best.net_
    assert clf.module_ is best.module_
    assert clf.n_iter_ == best.n_iter_
    assert clf.coefs_[0].shape == (4, 6)
    assert clf.n_features_in_ == 4
    assert clf.get_feature_names_out().tolist() == [f"hidden.relu_0[{i}]" for i in range(6)]
    with pytest.raises(AttributeError, match="best_estimator_"):
        clone(clf).net_  # noqa: B018


def test_it_scores_by_what_it_was_chosen_by(clf):
    tuned = clone(clf).set_params(scoring="neg_log_loss", rhos=(0.1,)).fit(X, NAMES)
    expected = get_scorer("neg_log_loss")(tuned.best_estimator_, X, NAMES)
    assert tuned.score(X, NAMES) == expected < 0
    assert clf.score(X, NAMES) == clf.best_estimator_.score(X, NAMES) > 0
    errors = {"rhos": (0.001,), "scoring": "neg_mean_squared_error"}
    reg = SAMRegressorCV(**QUICK | errors).fit(X, y)
    assert reg.score(X, y) == pytest.approx(-np.mean((reg.predict(X) - y) ** 2))


@pytest.mark.slow
def test_columns_have_names():
    frame = load_iris(as_frame=True).data
    clf = SAMClassifierCV(**QUICK).set_output(transform="pandas").fit(frame, NAMES)
    assert clf.feature_names_in_.tolist() == list(frame)
    assert next(iter(clf.transform(frame))) == "hidden.relu_0[0]"
    assert clf.fit(X, NAMES).n_features_in_ == 4
    assert not hasattr(clf, "feature_names_in_")


def test_pickle_and_file(clf, tmp_path):
    again = pickle.loads(pickle.dumps(clf))
    np.testing.assert_array_equal(again.predict_proba(X), clf.predict_proba(X))
    save(clf, tmp_path / "clf.safetensors")
    loaded = load(tmp_path / "clf.safetensors")
    np.testing.assert_array_equal(loaded.predict_proba(X), clf.predict_proba(X))
    np.testing.assert_array_equal(loaded.scores_, clf.scores_)
    assert loaded.rho_ == clf.rho_


@pytest.mark.slow
def test_probes_look_into_it(clf):
    settings = {"n_null": 20, "n_units": 2, "random_state": 0}
    frozen = AblationProbe(FrozenEstimator(clf), **settings).fit(X, NAMES)
    inner = AblationProbe(FrozenEstimator(clf.best_estimator_), **settings).fit(X, NAMES)
    np.testing.assert_array_equal(frozen.unit_scores_, inner.unit_scores_)
    fitted = AblationProbe(clone(clf).set_params(rhos=(0.1,)), **settings).fit(X, NAMES)
    assert fitted.estimator_.rho_ == 0.1


@pytest.mark.slow
def test_a_search_over_it_is_no_training_of_one_network():
    search = StackedSearchCV(SAMClassifierCV(**QUICK), {"activation": ["relu", "tanh"]}, cv=2)
    search.fit(X, NAMES)
    assert search.best_estimator_.scores_.shape == (2, 2, 2)
    assert search.n_stacked_ == 0


def test_the_curve_is_drawn(clf):
    display = RadiusDisplay.from_estimator(clf)
    curves = {line.get_label(): line for line in display.ax_.get_lines()}
    mean = clf.scores_.mean(axis=0)
    for k, alpha in enumerate(clf.alphas_):
        drawn = curves[f"alpha = {alpha:g}"]
        np.testing.assert_allclose(drawn.get_ydata(), mean[:, k])
        np.testing.assert_array_equal(drawn.get_xdata(), clf.rhos_)
    assert "accuracy" in display.ax_.get_ylabel()
    assert f"rho = {clf.rho_:g}" in "".join(t.get_text() for t in display.ax_.texts)


def test_a_pipeline_is_drawn_by_its_last_step(clf):
    given = make_pipeline(FunctionTransformer(), clf)
    assert RadiusDisplay.from_estimator(given).rho == clf.rho_


@pytest.mark.parametrize(
    ("rho", "said"), [(0.0, ""), (0.1, ""), (0.5, "the largest radius of the grid was chosen")]
)
def test_a_choice_at_the_end_of_the_grid_is_said(rho, said):
    given = {"rhos": np.array([0.0, 0.1, 0.5]), "alphas": np.array([1.0])}
    scores = np.array([[[0.5], [0.6], [0.7]]])
    display = RadiusDisplay(**given, scores=scores, rho=rho, alpha=1.0, score_name="R²").plot()
    assert display.ax_.get_title().startswith(said)
    assert bool(display.ax_.get_title()) == bool(said)
    display.figure_.canvas.draw()
    (label,) = display.ax_.texts
    assert label.get_window_extent().x1 <= display.ax_.get_window_extent().x1 + 1


def test_a_curve_with_failed_candidates_is_drawn():
    scores = np.array([[[0.5], [np.nan]], [[0.7], [np.nan]]])
    given = {"rhos": np.array([1.0, 0.0]), "alphas": np.array([1.0]), "scores": scores}
    display = RadiusDisplay(**given, rho=1.0, alpha=1.0, score_name="R²").plot()
    assert display.ax_.get_lines()[0].get_xdata().tolist() == [0.0, 1.0]  # in order


class TestRouting:
    """As in GridSearchCV: weights for training and scores, groups for the splitter."""

    @pytest.fixture(autouse=True)
    def routing(self):
        with sklearn.config_context(enable_metadata_routing=True):
            yield

    @pytest.mark.slow
    def test_weights_and_groups(self):
        weight, groups = 1.0 + np.arange(150) % 2, np.arange(150) // 5
        scorer = get_scorer("accuracy").set_score_request(sample_weight=True)
        routed = SAMClassifierCV(**QUICK | {"cv": GroupKFold(3).set_split_request(groups=True)})
        routed.set_params(scoring=scorer, search_dtype=None).set_fit_request(sample_weight=True)
        routed.fit(X, y, sample_weight=weight, groups=groups)
        with sklearn.config_context(enable_metadata_routing=False):
            plain = SAMClassifierCV(**QUICK | {"cv": GroupKFold(3)}, search_dtype=None)
            plain.fit(X, y, sample_weight=weight, groups=groups)
        np.testing.assert_allclose(routed.coefs_[0], plain.coefs_[0])

        base = SAMClassifier(
            **{k: v for k, v in QUICK.items() if k not in ("rhos", "alphas", "cv")}
        )
        search = StackedSearchCV(
            base.set_fit_request(sample_weight=True),
            {"rho": [0.0, 0.1], "alpha": [1e-4, 0.1]},
            cv=GroupKFold(3).set_split_request(groups=True),
            scoring=scorer,
        ).fit(X, y, sample_weight=weight, groups=groups)
        expected = search.cv_results_["mean_test_score"].reshape(2, 2).T
        np.testing.assert_allclose(routed.scores_.mean(axis=0), expected, atol=1e-9)

    @pytest.mark.parametrize("asked", [False, True, "importance"])
    def test_the_scorer_gets_what_it_asks_for_also_on_the_training_rows(self, asked):
        weight, importance = 1.0 + np.arange(150) % 2, 3.0 + np.arange(150) % 5
        seen = []

        def noting(y, predicted, sample_weight=None):
            seen.append(sample_weight)
            return accuracy_score(y, predicted, sample_weight=sample_weight)

        scorer = make_scorer(noting).set_score_request(sample_weight=asked)
        more = {"importance": importance} if asked == "importance" else {}
        clf = SAMClassifierCV(**QUICK | {"max_iter": 2}, scoring=scorer)
        clf.fit(X, y, sample_weight=weight, **more)
        expected = {False: None, True: weight, "importance": importance}[asked]
        assert len(seen) == 2 * 2 * 2 + 1  # radii, penalties, folds, and the final network
        assert (seen[-1] is None) if expected is None else (seen[-1] == expected).all()

    def test_what_nobody_asks_for_is_refused(self):
        with pytest.raises(TypeError, match="groups"):
            SAMClassifierCV(**QUICK).fit(X, y, groups=np.arange(150))


def test_a_scorer_that_takes_no_weights_is_said_to_and_gets_none():
    def share(clf, X, y):
        return float(np.mean(clf.predict(X) == y))

    weight = np.arange(150) % 3
    clf = SAMClassifierCV(**QUICK | {"search_dtype": None}, scoring=share)
    with pytest.warns(UserWarning, match="does not support sample_weight") as said:
        clf.fit(X, y, sample_weight=weight)
    assert sum("does not support sample_weight" in str(w.message) for w in said) == 1
    shared = {k: v for k, v in QUICK.items() if k not in ("rhos", "alphas", "cv")}
    grid = {"rho": list(QUICK["rhos"]), "alpha": list(QUICK["alphas"])}
    search = GridSearchCV(SAMClassifier(**shared), grid, cv=2, scoring=share)
    with pytest.warns(UserWarning, match="does not support sample_weight"):
        search.fit(X, y, sample_weight=weight)
    expected = search.cv_results_["mean_test_score"].reshape(2, 2).T
    np.testing.assert_allclose(clf.scores_.mean(axis=0), expected, atol=1e-9)


def test_without_routing_other_parameters_are_refused():
    with pytest.raises(TypeError, match="colour"):
        SAMRegressorCV(**QUICK).fit(X, y, colour="red")


def test_a_final_network_that_fails_where_those_of_the_folds_did_not_is_said():
    # of 121 rows the last batch is one, which has 60 times the alpha of the others
    X, y = load_digits(return_X_y=True)
    quick = {"hidden_layer_sizes": (12,), "max_iter": 40, "rhos": (0.0,), "alphas": (1.0,)}
    quick |= {"learning_rate_init": 0.01, "random_state": 0, "batch_size": 60}
    clf = SAMClassifierCV(**quick, cv=3)
    with pytest.warns(
        PerturbationWarning, match=r"rho=0 and alpha=1 has a score of 0\.2.* is kept"
    ):
        clf.fit(X[:121] / 16, y[:121])
    assert clf.score(X[:121] / 16, y[:121]) < clf.scores_.min()
    with warnings.catch_warnings():
        warnings.simplefilter("error", PerturbationWarning)
        clf.fit(X[:120] / 16, y[:120])
    clf.set_params(alphas=(0.1, 1e-3))
    with pytest.warns(PerturbationWarning, match=r"rho=0 and alpha=0\.001 is taken"):
        clf.fit(X[:121] / 16, y[:121])
    assert clf.scores_.mean(axis=0).argmax() == 0
    assert (clf.alpha_, clf.best_estimator_.alpha) == (1e-3, 1e-3)
    assert clf.best_score_ == pytest.approx(clf.scores_[:, 0, 1].mean())
    assert clf.score(X[:121] / 16, y[:121]) > 0.96


def test_a_candidate_that_diverges_on_all_rows_gives_way_to_the_next():
    def train(params):
        if params["rho"] > 0:
            raise DivergenceError("not finite")
        return params

    results = {"rank_test_score": [2, 1], "params": [{"rho": 0.0}, {"rho": 1.0}]}
    search, held_out = SimpleNamespace(cv_results_=results), np.array([[0.7, 0.8], [0.7, 0.9]])
    with pytest.warns(PerturbationWarning, match="rho=1 diverged. rho=0 is taken"):
        assert train_final(search, held_out, train, lambda e: 0.9) == (0, {"rho": 0.0})
    results["params"][0]["rho"] = 0.5
    with pytest.raises(DivergenceError, match="not finite"):
        train_final(search, held_out, train, lambda e: 0.9)


@pytest.mark.parametrize(
    ("on_rows", "held_out", "failed"),
    [
        (0.99, [1.0, 1.0, 1.0], False),  # within 2 %
        (0.55, [1.0, 1.0, 1.0], True),
        (0.50, [0.5, 0.45, 0.55], False),
        (-9.0, [-3.0, -2.9, -3.1], True),  # scores may be negative
        (np.nan, [0.5, 0.6, 0.7], False),
        (0.1, [0.9], False),
        (0.17, [1.0] * 96 + [0.0] * 4, True),  # one row a fold
        (0.97, [1.0] * 96 + [0.0] * 4, False),
    ],
)
def test_what_counts_as_failed_on_training_rows(on_rows, held_out, failed):
    assert has_failed(on_rows, np.array(held_out)) is failed


def test_training_rows_are_weighted_as_held_out_rows_are():
    """A network that does not learn wrong labels of no weight has not failed."""
    rng = np.random.RandomState(0)
    wrong = rng.rand(len(X)) < 0.4
    weight = np.where(wrong, 1e-6, 1.0)
    labels = np.where(wrong, np.roll(NAMES, 50), NAMES)
    with warnings.catch_warnings():
        warnings.simplefilter("error", PerturbationWarning)
        clf = SAMClassifierCV(**QUICK | {"max_iter": 60, "rhos": (0.0,), "alphas": (1e-4,)}).fit(
            X, labels, sample_weight=weight
        )
    assert clf.score(X, labels) < clf.scores_.min()


@pytest.mark.parametrize("alphas", [np.array([1e-4, 1.0, 10.0]), [1e-4, 1.0, 10.0]])
def test_the_default_penalties_in_another_container_are_the_default(alphas):
    net = NeuralNetClassifier(nn.Linear(4, 3), criterion=nn.CrossEntropyLoss, max_epochs=1, lr=0.1)
    clf = SAMClassifierCV(net=net, rhos=(0.1,), alphas=alphas, cv=2, random_state=0)
    clf.fit(X.astype("f"), y)
    assert np.isnan(clf.alphas_).all()


def test_numpy_integers_are_integers():
    clf = SAMClassifierCV(**QUICK | {"n_jobs": np.int64(1), "cv": np.int64(2)}).fit(X, NAMES)
    assert clf.n_stacked_ == 8
