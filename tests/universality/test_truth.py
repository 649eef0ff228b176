"""What is planted comes back, and what one network foretells of it."""

import time
import warnings

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits
from sklearn.frozen import FrozenEstimator
from sklearn.preprocessing import StandardScaler

from sklflat import ActivationProbe, SAMClassifier, SAMRegressor, UniversalityProbe
from sklflat.datasets import make_spurious, make_teacher_student
from sklflat.exceptions import NothingFoundWarning
from tests._slow import slow_after

X, Y = load_digits(return_X_y=True)
X, Y = X[:500] / 16, Y[:500]
SMALL = SAMClassifier((12,), rho=0, max_iter=15, learning_rate_init=0.01, random_state=0)

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.mark.parametrize(
    ("task", "seed"),
    slow_after(1, [(t, s) for t in ("regression", "classification") for s in range(4)]),
)
def test_units_that_carry_a_teachers_feature_return(task, seed):
    """The issue asks for .9; what is real is said at two thresholds."""
    inputs, y, truth = make_teacher_student(2000, noise=0.1, task=task, random_state=seed)
    kind = SAMRegressor if task == "regression" else SAMClassifier
    epochs = 60 if task == "regression" else 200
    net = kind((16,), rho=0, learning_rate_init=0.01, max_iter=epochs, random_state=seed)
    options = {"n_untrained": 48, "n_null": 64, "n_units": 1, "random_state": seed}
    found = UniversalityProbe(net, **options).fit(inputs, y)
    activations = found.estimator_.transform(inputs)
    for threshold in (0.8, 0.9):
        real = truth.real_units(activations, threshold=threshold)
        assert truth.auc(found.unit_scores_, of=real) >= 0.9


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_a_spurious_cue_returns_too(seed):
    """Most units that follow an easy cue pass: return does not mean that a cue is true."""
    inputs, y, truth = make_spurious(
        2000, n_real=1, n_noise=20, easiness=4.0, spurious_correlation=0.9, random_state=seed
    )
    net = SAMClassifier((16,), rho=0, learning_rate_init=0.01, max_iter=30, random_state=seed)
    options = {"n_untrained": 64, "n_null": 320, "random_state": seed}
    found = UniversalityProbe(net, **options).fit(inputs, y)
    A = found.estimator_.transform(inputs)
    live = ~found.dead_
    spurious = np.abs(np.corrcoef(A[:, live].T, truth.cues[:, 1])[-1, :-1]) > 0.6
    assert spurious.sum() >= 4
    passes = np.isin(found.unit_names_[live], found.universal_units_)
    assert passes[spurious].mean() > 0.6
    assert found.returns_.mean(axis=0)[live][spurious].mean() > 0.7


@pytest.mark.clock
def test_the_default_fit_takes_ten_seconds():
    """Of two cores, so twenty seconds of both: nine trainings, two hundred networks of chance."""
    inputs, y = load_digits(return_X_y=True)
    UniversalityProbe(SMALL, n_models=2, n_units=1, random_state=0).fit(X, Y)  # imports
    start = time.process_time()
    # whether a unit passes does not matter here
    UniversalityProbe(SAMClassifier((32,)), n_units=None, random_state=0).fit(inputs, y)
    assert time.process_time() - start < 20


@pytest.mark.slow
def test_the_forecast_foretells_the_return():
    """Breast cancer: .89 within a network by the prototype of eight seeds."""
    table, labels = load_breast_cancer(return_X_y=True)
    table = StandardScaler().fit_transform(table)
    net = SAMClassifier((32,), rho=0, max_iter=40, random_state=0)
    found = UniversalityProbe(net, n_untrained=24, n_null=64, n_units=1, random_state=0)
    found.fit(table, labels)
    known = FrozenEstimator(found.estimator_)
    forecast = ActivationProbe(known, unit_score="class_variance", n_null=100, random_state=0)
    forecast.fit(table, labels)
    live = ~found.dead_
    rho = spearmanr(forecast.unit_scores_[live], found.returns_.mean(axis=0)[live]).statistic
    assert rho > 0.7


def test_class_variance_is_the_variance_between_class_means():
    A = probe_of("class_variance")
    share = probe_of("correlation")
    means = np.array([A.estimator_.transform(X)[c == Y].mean(axis=0) for c in range(10)])
    counts = np.bincount(Y) / len(Y)
    expected = counts @ np.square(means - counts @ means)
    np.testing.assert_allclose(A.unit_scores_, np.where(A.dead_, 0, expected), rtol=1e-4, atol=1e-9)
    np.testing.assert_allclose(A.unit_scores_, share.unit_scores_ * A.unit_variances_, rtol=1e-9)
    # the variance is the same in every order of the labels, so the p-values are
    np.testing.assert_allclose(A.p_values_, share.p_values_)


def test_class_variance_of_a_real_target_is_what_a_line_explains():
    inputs, y = load_diabetes(return_X_y=True)
    inputs, y = StandardScaler().fit_transform(inputs), (y - y.mean()) / y.std()
    net = SAMRegressor((8,), rho=0, max_iter=20, learning_rate_init=0.01, random_state=0)
    known = FrozenEstimator(net.fit(inputs, y))
    options = {"unit_score": "class_variance", "n_null": 100, "random_state": 0}
    found = ActivationProbe(known, **options).fit(inputs, y)
    A = known.transform(inputs)
    fitted = np.stack([np.polyval(np.polyfit(y, a, 1), y) for a in A.T], axis=1)
    np.testing.assert_allclose(found.unit_scores_, fitted.var(axis=0), rtol=1e-5, atol=1e-9)


def probe_of(score):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NothingFoundWarning)
        fitted = FrozenEstimator(clone(SMALL).fit(X, Y))
        return ActivationProbe(fitted, unit_score=score, n_null=100, random_state=0).fit(X, Y)
