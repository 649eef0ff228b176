"""What cannot be searched is named, and what fails is scored as failed."""

import re
import warnings

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, FitFailedWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import KFold, StratifiedKFold

from sklflat import SAMClassifierCV, SAMRegressor, SAMRegressorCV
from sklflat.exceptions import DuplicateParameterError, PerturbationWarning

rng = np.random.RandomState(0)
X = rng.normal(size=(40, 3))
y = np.array(["no", "yes"])[(X[:, 0] > 0).astype(int)]
QUICK = {"hidden_layer_sizes": (4,), "max_iter": 2, "random_state": 0, "cv": 2}
QUICK |= {"rhos": (0.1,), "alphas": (1e-4,)}


def test_targets_far_from_unit_scale_are_named():
    far = 300 + 80 * X[:, 0]
    with pytest.warns(
        ConvergenceWarning, match=r"better than the mean of y.*deviation.*Transformed"
    ):
        SAMRegressorCV(**QUICK).fit(X, far)


def test_noise_that_nothing_foretells_is_not_blamed_on_its_scale():
    with pytest.warns(ConvergenceWarning, match=r"better than the mean of y.*nothing to find"):
        SAMRegressorCV(**QUICK).fit(X, np.random.RandomState(1).normal(size=40))


def test_a_target_that_is_foretold_is_not_warned_of():
    settings = {**QUICK, "max_iter": 200, "learning_rate_init": 0.05}
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        assert SAMRegressorCV(**settings).fit(X, X[:, 0]).best_score_ > 0.5
    assert not [w for w in seen if "mean of y" in str(w.message)]


@pytest.mark.parametrize("estimator", [SAMRegressor((4,)), SAMRegressorCV(**QUICK)])
@pytest.mark.parametrize("kind", [object, str, "string", "category"])
def test_labels_given_to_a_regressor_are_named_before_anything_is_trained(estimator, kind):
    pd = pytest.importorskip("pandas")
    labels = pd.Series(y).astype(kind)
    with pytest.raises(ValueError, match=r"\AThe network predicts numbers, but y holds '(no|yes)'"):
        estimator.fit(X, labels)


def test_labels_without_pandas_are_named_as_well():
    with pytest.raises(
        ValueError, match=r"\AThe network predicts numbers, but y holds 'yes'.*SAMCl"
    ):
        SAMRegressorCV(**QUICK).fit(X[:30], np.sort(y)[::-1][:30])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rhos": ()}, r"rhos=\(\) is empty"),
        ({"alphas": []}, r"alphas=\[\] is empty"),
        ({"rhos": (0.1, -1.0)}, r"rhos=\(0.1, -1.0\) .*>= 0.* -1 is not"),
        ({"rhos": (0.1, np.nan)}, r"rhos=.*>= 0.* nan is not"),
        ({"rhos": (np.inf,)}, r"rhos=.*>= 0.* inf is not"),
        ({"alphas": [-1e-4]}, r"alphas=.*>= 0.* -0.0001 is not"),
        ({"rhos": [[0.1]]}, r"rhos=\[\[0.1\]\].*one-dimensional"),
        ({"rhos": ["large"]}, r"rhos=\['large'\].*numbers"),
        ({"rhos": [None]}, r"rhos=\[None\].*numbers"),
        ({"rhos": ["0.1"]}, r"rhos=\['0.1'\].*'0.1' is not among the numbers"),
        ({"alphas": [True]}, r"alphas=\[True\].*True is not among"),
        ({"rhos": np.ma.array([0.0, 0.1], mask=[0, 1])}, r"rhos=[\s\S]*masked is not among"),
        ({"scoring": lambda *_: {"a": 1.0, "b": 2.0}}, r"scoring=.*by name.*return a number"),
        ({"scoring": lambda *_: {"score": 1.0}}, r"scoring=.*by name.*return a number"),
        ({"rhos": 0.1}, "'rhos' parameter"),
        ({"cv": 1}, "'cv' parameter.*Got 1"),
        ({"cv": "three"}, "'cv' parameter"),
        ({"cv": iter([])}, "Was the CV iterator empty"),
        ({"scoring": ["accuracy"]}, "'scoring' parameter"),
        ({"scoring": "acuracy"}, "acuracy"),
        ({"search_dtype": "float16"}, "'search_dtype' parameter"),
        ({"variant": "sma"}, "Did you mean 'sam'"),
        ({"solver": "lbfgs"}, "solver='lbfgs'"),
    ],
)
def test_bad_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        SAMClassifierCV(**QUICK | settings).fit(X, y)


def test_folds_may_be_an_iterable():
    drawn = SAMClassifierCV(**QUICK | {"cv": StratifiedKFold(3).split(X, y)}).fit(X, y)
    counted = SAMClassifierCV(**QUICK | {"cv": 3}).fit(X, y)
    assert drawn.scores_.tolist() == counted.scores_.tolist()


def test_a_class_with_fewer_rows_than_folds_is_named():
    labels = y.astype(object)
    labels[0] = "rare"
    with pytest.warns(UserWarning, match=r"class 'rare' has 1 row.*cv=3 folds"):
        SAMClassifierCV(**QUICK | {"cv": 3}).fit(X, labels)
    with pytest.raises(ValueError, match=r"no class has as many rows as cv=30 .*'(no|yes)'"):
        SAMClassifierCV(**QUICK | {"cv": 30}).fit(X, y)
    with pytest.raises(ValueError, match="n_samples=2"):
        SAMRegressorCV(**QUICK | {"cv": 3}).fit(X[:2], [0, 1])


def test_candidates_that_diverge_are_scored_as_failed_and_said():
    settings = QUICK | {"rhos": (0.1, 1e200), "solver": "sgd"}
    with pytest.warns(FitFailedWarning, match="2 fits failed out of a total of 4"):
        clf = SAMClassifierCV(**settings, search_dtype=None).fit(X, y)
    assert np.isnan(clf.scores_[:, 1]).all()
    assert np.isfinite(clf.scores_[:, 0]).all()
    assert clf.rho_ == 0.1


def test_where_all_fail_it_is_an_error():
    settings = QUICK | {"rhos": (1e200, 1e250), "solver": "sgd"}
    with pytest.raises(ValueError, match=r"All the 4 fits failed[\s\S]*not finite"):
        SAMClassifierCV(**settings, search_dtype=None).fit(X, y)


@pytest.mark.filterwarnings("ignore:Scoring failed:UserWarning")
@pytest.mark.filterwarnings("ignore:One or more of the test scores:UserWarning")
def test_where_no_candidate_has_all_scores_it_is_an_error():
    labels = y.astype(object)
    labels[:1] = "rare"  # unknown to the network of the fold in which it is judged
    folds = [(np.arange(20), np.arange(20, 40)), (np.arange(20, 40), np.arange(20))]
    with pytest.raises(ValueError, match=r"No candidate .* every fold.*fold 0, 1"):
        SAMClassifierCV(**QUICK | {"cv": folds, "scoring": "roc_auc_ovr"}).fit(X, labels)


@pytest.mark.filterwarnings("ignore:One or more of the test scores:UserWarning")
@pytest.mark.filterwarnings("ignore:invalid value encountered in subtract:RuntimeWarning")
@pytest.mark.parametrize(
    ("score", "message"),
    [(np.inf, "an infinite score"), (-np.inf, "No candidate .* fold 0, 1"), (np.nan, "fold 0, 1")],
)
def test_scores_that_are_not_finite_choose_nothing(score, message):
    with pytest.raises(ValueError, match=message):
        SAMClassifierCV(**QUICK | {"scoring": lambda *_: score}).fit(X, y)


def test_a_candidate_that_is_infinitely_bad_is_not_chosen():
    def scoring(estimator, X, y):
        return -np.inf if estimator.rho else 0.5

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn's, of its standard deviations
        clf = SAMClassifierCV(**QUICK | {"rhos": (0.1, 0.0), "scoring": scoring}).fit(X, y)
    assert clf.rho_ == 0.0


def test_rows_of_a_fold_without_weight_are_said():
    weight = (np.arange(40) < 20).astype(float)
    with (
        pytest.warns(UserWarning, match="Scoring failed|non-finite"),
        pytest.raises(ValueError, match="rows of positive weight, in every fold"),
    ):
        SAMClassifierCV(**QUICK | {"cv": KFold(2)}).fit(X, y, sample_weight=weight)


@pytest.mark.parametrize("scoring", [None, "neg_log_loss"])
@pytest.mark.parametrize("weight", [2, 2.0, np.float32(2), np.full(40, "2"), [2] * 40])
def test_weights_are_those_of_scikit_learn_in_training_and_scores(weight, scoring):
    """One number stands for all rows; numbers in words are numbers."""
    clf = SAMClassifierCV(**QUICK, scoring=scoring)
    one, each = (clone(clf).fit(X, y, sample_weight=w) for w in (weight, np.full(40, 2.0)))
    assert one.scores_.tolist() == each.scores_.tolist()
    np.testing.assert_array_equal(one.predict_proba(X), each.predict_proba(X))


@pytest.mark.parametrize(
    "weight",
    [np.array(2.0), np.True_, "heavy", [2.0], np.ones((40, 1)), [np.nan] * 40],
)
def test_weights_that_scikit_learn_refuses_are_refused_by_the_same_words(weight):
    with pytest.raises((ValueError, TypeError)) as theirs:
        LogisticRegression().fit(X, y, sample_weight=weight)
    with pytest.raises(type(theirs.value), match=re.escape(str(theirs.value)[:40])):
        SAMClassifierCV(**QUICK).fit(X, y, sample_weight=weight)


def test_of_one_fold_it_is_not_known_how_far_scores_are_apart():
    """A final network that is a little worse than that of the fold is no failure."""
    split = [(np.arange(30), np.arange(30, 40))]
    settings = QUICK | {"cv": split, "scoring": lambda e, X, y: float(len(y) < 20)}
    with warnings.catch_warnings():
        warnings.simplefilter("error", PerturbationWarning)
        assert SAMClassifierCV(**settings).fit(X, y).scores_.tolist() == [[[1.0]]]


def test_values_beyond_single_precision_are_searched_in_double_precision():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        clf = SAMClassifierCV(**QUICK).fit(X * 1e39, y)
    assert np.isfinite(clf.scores_).all()


def test_a_skorch_net_brings_its_own_penalty():
    import torch
    from skorch import NeuralNetClassifier

    net = NeuralNetClassifier(torch.nn.Linear, module__in_features=3, module__out_features=2)
    net.set_params(criterion=torch.nn.CrossEntropyLoss, max_epochs=2, train_split=None, verbose=0)
    settings = {"net": net, "rhos": (0.0, 0.1), "cv": 2, "random_state": 0}
    X32, labels = X.astype("float32"), (y == "yes").astype(int)
    clf = SAMClassifierCV(**settings).fit(X32, labels)
    assert clf.scores_.shape == (2, 2, 1)
    assert np.isnan(clf.alpha_)
    with pytest.raises(DuplicateParameterError, match="alphas"):
        SAMClassifierCV(**settings, alphas=(0.1,)).fit(X32, labels)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ((X[:0], y[:0]), "0 sample"),
        ((X[:1], y[:1]), "1 class|one class|n_samples=1|1 sample"),
        ((X, np.repeat("no", 40)), "class"),
        ((np.where(X > 2, np.nan, X), y), "NaN"),
        ((X.astype(str).astype(object), y), None),
        ((np.full((40, 1), "red"), y), "could not convert"),
        ((X, None), "requires y"),
        ((X[:30], y), "inconsistent"),
    ],
)
def test_bad_data_get_scikit_learns_message(data, message):
    clf = SAMClassifierCV(**QUICK)
    if message is None:
        assert clf.fit(*data).score(*data) > 0.4
    else:
        with pytest.raises(ValueError, match=message):
            clf.fit(*data)


def test_constant_columns_do_no_harm():
    constant = np.column_stack([X, np.zeros(40), np.full(40, 7.0)])
    assert np.isfinite(SAMClassifierCV(**QUICK).fit(constant, y).scores_).all()


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_whole_numbers_are_no_classes_of_a_regressor():
    """Each is there once, which says nothing about folds."""
    X = np.random.RandomState(0).normal(size=(12, 2))
    fitted = SAMRegressorCV((4,), rhos=(0, 0.1), alphas=(0.0001,), cv=3, max_iter=2, random_state=0)
    assert fitted.fit(X, np.arange(12)).scores_.shape == (3, 2, 1)
