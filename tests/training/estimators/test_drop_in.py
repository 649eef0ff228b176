"""The drop-in proof: scikit-learn's own tests, and the same numbers as ``MLPClassifier``."""

import itertools

import numpy as np
import pytest
import sklearn
from sklearn.datasets import load_iris, make_moons, make_multilabel_classification
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier, MLPRegressor

from sklflat import SAMClassifier, SAMRegressor
from tests import _drop_in
from tests._slow import slow_unless

UPSTREAM = _drop_in.load()
VERSION, ROWS = _drop_in.committed()


@pytest.fixture
def global_random_seed():
    return 42  # the default of scikit-learn's own fixture


def _checked(function):
    def test(request, **kwargs):
        case = request.node.name
        outcome = _drop_in.outcome(UPSTREAM, function, case, kwargs)
        request.node.user_properties.append(("drop_in", (case, outcome)))
        if case in ROWS and not request.config.getoption("drop_in_write", False):
            assert ROWS[case] == outcome, f"{_drop_in.TABLE.name} is out of date"

    return _drop_in.with_request(function, test)


for _name, _function in _drop_in.tests(UPSTREAM).items():
    globals()[_name] = _checked(_function)


def test_committed_table_is_what_would_be_written():
    assert _drop_in.render(ROWS, VERSION) == _drop_in.TABLE.read_text()


def test_committed_table_lists_every_test():
    listed = {case.split("[")[0] for case in ROWS}
    if sklearn.__version__ == VERSION:
        assert listed == set(_drop_in.tests(UPSTREAM))
    assert set(_drop_in.DIFFERENCES) <= listed | set(ROWS)


# --- the same numbers -----------------------------------------------------------------------

RNG = np.random.RandomState(0)
IRIS, SPECIES = load_iris(return_X_y=True)
IRIS = IRIS - IRIS.mean(0)
MOONS, SIDE = make_moons(120, noise=0.2, random_state=0)
POINTS, LABELS = make_multilabel_classification(80, 5, n_classes=3, random_state=0)
LINE = RNG.standard_normal((100, 3))
LEVEL = np.sin(LINE).sum(1)
COUNTS = RNG.poisson(np.exp(LEVEL / 2))

CLASSIFIERS, REGRESSORS = (MLPClassifier, SAMClassifier), (MLPRegressor, SAMRegressor)
PROBLEMS = {
    "binary": (CLASSIFIERS, MOONS, SIDE, {}, {}),
    "multiclass": (CLASSIFIERS, IRIS, SPECIES, {}, {}),
    "multilabel": (CLASSIFIERS, POINTS / 10 - 0.5, LABELS, {}, {}),
    "weighted": (CLASSIFIERS, IRIS, SPECIES, {}, {"sample_weight": RNG.uniform(0.5, 2, 150)}),
    "squared": (REGRESSORS, LINE, LEVEL, {"learning_rate_init": 0.02}, {}),
    "poisson": (REGRESSORS, LINE, COUNTS, {"learning_rate_init": 0.02, "loss": "poisson"}, {}),
}
SETTINGS = {
    "hidden_layer_sizes": (8, 6),
    "solver": "sgd",
    "learning_rate_init": 0.1,
    "batch_size": 32,
    "max_iter": 40,
    "n_iter_no_change": 3,
    "tol": 1e-2,
    "power_t": 0.2,
    "random_state": 3,
}
quiet = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def both(problem, **parameters):
    """scikit-learn's estimator and ours with ``rho=0``, fitted alike."""
    classes, X, y, own, fit_params = PROBLEMS[problem]
    parameters = {**SETTINGS, **own, **parameters}
    theirs, ours = classes[0](**parameters), classes[1](**parameters, rho=0)
    return theirs.fit(X, y, **fit_params), ours.fit(X, y, **fit_params)


def distance(theirs, ours):
    """Largest difference between weights and biases."""
    pairs = zip(theirs.coefs_ + theirs.intercepts_, ours.coefs_ + ours.intercepts_, strict=True)
    return max(np.abs(a - b).max() for a, b in pairs)


def assert_same(theirs, ours):
    assert ours.n_iter_ == theirs.n_iter_
    np.testing.assert_allclose(ours.loss_curve_, theirs.loss_curve_, rtol=0, atol=1e-12)
    assert distance(theirs, ours) < 1e-12


def _is_quick(problem, learning_rate, nesterov, early_stopping):
    """Schedules know nothing of the problem: all of them on one is enough."""
    return problem == "multiclass" or (nesterov and learning_rate == "constant")


@quiet
@pytest.mark.parametrize(
    ("problem", "learning_rate", "nesterov", "early_stopping"),
    slow_unless(
        _is_quick,
        itertools.product(
            PROBLEMS, ["constant", "adaptive", "invscaling"], [False, True], [False, True]
        ),
    ),
)
def test_sgd_gives_the_same_network(problem, learning_rate, nesterov, early_stopping):
    options = {"learning_rate": learning_rate, "nesterovs_momentum": nesterov}
    theirs, ours = both(problem, early_stopping=early_stopping, **options)
    assert_same(theirs, ours)
    if early_stopping:
        np.testing.assert_allclose(ours.validation_scores_, theirs.validation_scores_)
        assert ours.best_validation_score_ == pytest.approx(theirs.best_validation_score_)


@quiet
@pytest.mark.parametrize(("epsilon", "atol"), [(1e-8, 1e-3), (1e-16, 1e-10)])
def test_adam_differs_by_where_epsilon_stands(epsilon, atol):
    """torch adds epsilon after the bias correction, scikit-learn before it."""
    theirs, ours = both("multiclass", solver="adam", learning_rate_init=0.01, epsilon=epsilon)
    assert ours.n_iter_ == theirs.n_iter_
    np.testing.assert_allclose(ours.loss_curve_, theirs.loss_curve_, rtol=0, atol=atol)


@quiet
def test_several_targets_train_alike_but_sum_their_losses():
    """scikit-learn reports the mean over targets of a loss whose gradient is that of the sum."""
    two = np.column_stack([LEVEL, COUNTS])
    parameters = {**SETTINGS, "learning_rate_init": 0.01, "alpha": 0.0, "n_iter_no_change": 99}
    theirs = MLPRegressor(**parameters).fit(LINE, two)
    ours = SAMRegressor(**parameters, rho=0).fit(LINE, two)
    assert distance(theirs, ours) < 1e-12
    np.testing.assert_allclose(ours.loss_curve_, 2 * np.array(theirs.loss_curve_))


@quiet
@pytest.mark.parametrize("learning_rate", ["constant", "adaptive"])
def test_warm_start_goes_on_alike(learning_rate):
    options = {"learning_rate": learning_rate, "max_iter": 200}
    theirs, ours = both("multiclass", warm_start=True, **options)
    for _ in range(2):
        assert_same(theirs.fit(IRIS, SPECIES), ours.fit(IRIS, SPECIES))


@pytest.mark.parametrize("learning_rate", ["constant", "adaptive", "invscaling"])
def test_partial_fit_goes_on_alike(learning_rate):
    parameters = {**SETTINGS, "learning_rate": learning_rate}
    theirs, ours = MLPClassifier(**parameters), SAMClassifier(**parameters, rho=0)
    for _ in range(30):
        for estimator in (theirs, ours):
            estimator.partial_fit(IRIS, SPECIES, classes=[0, 1, 2])
    np.testing.assert_allclose(ours.loss_curve_, theirs.loss_curve_, rtol=0, atol=1e-12)
    assert distance(theirs, ours) < 1e-12


@quiet
def test_float32_trains_in_float32():
    X = IRIS.astype(np.float32)
    theirs = MLPClassifier(**SETTINGS).fit(X, SPECIES)
    ours = SAMClassifier(**SETTINGS, rho=0).fit(X, SPECIES)
    assert {w.dtype for w in ours.coefs_} == {np.dtype(np.float32)}
    assert distance(theirs, ours) < 1e-4


def test_the_worked_example_of_test_fit():
    """The numbers that scikit-learn's ``test_fit`` derives by hand, from the same weights."""
    X, y = [[0.6, 0.8, 0.7]], [0]
    parameters = {"activation": "logistic", "solver": "sgd", "momentum": 0, "max_iter": 1}
    ours = SAMClassifier(2, learning_rate_init=0.1, alpha=0.1, rho=0, **parameters)
    ours.partial_fit(X, y, classes=[0, 1])
    ours.coefs_[0][:] = [[0.1, 0.2], [0.3, 0.1], [0.5, 0]]
    ours.coefs_[1][:] = [[0.1], [0.2]]
    ours.intercepts_[0][:], ours.intercepts_[1][:] = 0.1, 1.0
    ours.partial_fit(X, y)
    W1 = [[0.098, 0.195756], [0.2956664, 0.096008], [0.4939998, -0.002244]]
    np.testing.assert_allclose(ours.coefs_[0], W1, atol=1e-3)
    np.testing.assert_allclose(ours.coefs_[1], [[0.04706], [0.154089]], atol=1e-3)
    np.testing.assert_allclose(ours.intercepts_[0], [0.098333, 0.09626], atol=1e-3)
    np.testing.assert_allclose(ours.intercepts_[1], 0.9235, atol=1e-3)
    np.testing.assert_allclose(ours.predict_proba(X)[0, 1], 0.739, atol=1e-3)


def test_the_patience_is_counted_as_in_test_n_iter_no_change():
    """After the best epoch, ``n_iter_no_change + 1`` epochs pass; infinity never stops."""
    for patience in (2, 5, 10):
        ours = SAMClassifier((8,), tol=1e9, n_iter_no_change=patience).fit(MOONS, SIDE)
        assert ours.n_iter_ == patience + 2
    endless = SAMClassifier((8,), tol=1e9, n_iter_no_change=np.inf, max_iter=50)
    with pytest.warns(ConvergenceWarning):
        assert endless.fit(MOONS, SIDE).n_iter_ == 50
