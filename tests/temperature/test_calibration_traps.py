"""Ten public reports about other calibrators, tried here.

Of gpleiss/temperature_scaling #20 (T = 1,386,304), #23 (divergence), #29 (a worse calibration
error), AutoGluon #4396 (T = -1242), and of what scikit-learn's own calibration does.
"""

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import make_classification
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier

from sklflat import TemperatureClassifier
from sklflat.exceptions import CalibrationWarning
from sklflat.temperature.calibration import fit_temperature

RNG = np.random.RandomState(0)


class Scores(ClassifierMixin, BaseEstimator):
    """A classifier whose rows are their own logits; two classes have one column, the margin."""

    def __init__(self, n_classes=3):
        self.n_classes = n_classes

    def fit(self, X, y):
        self.classes_ = np.arange(self.n_classes)
        return self

    def decision_function(self, X):
        return X[:, 0] if self.n_classes == 2 else X

    def predict(self, X):
        return (X[:, 0] > 0).astype(int) if self.n_classes == 2 else X.argmax(axis=1)


class LookAlike(Scores):
    """Its scores are positive and add up to 1, but are logits all the same."""

    def decision_function(self, X):
        return softmax(X, axis=1)


def frozen(n_classes, kind=Scores):
    return FrozenEstimator(kind(n_classes).fit(None, None))


def drawn(logits, T, rng=RNG):
    """Labels that follow softmax(logits / T)."""
    p = softmax(logits / T, axis=1)
    return (p.cumsum(axis=1) < rng.uniform(size=(len(p), 1))).sum(axis=1)


def calibrated(estimator, X, y, sample_weight=None):
    ours = TemperatureClassifier(estimator, temperature="nll")
    return ours.fit(X, y, sample_weight=sample_weight)


def scikit_learns(estimator, X, y, sample_weight=None):
    theirs = CalibratedClassifierCV(estimator, method="temperature")
    return theirs.fit(X, y, sample_weight=sample_weight)


def test_1_a_fit_that_changes_nothing():
    """Logits that are 7 times too large need 7 times the temperature; less is left of the loss."""
    X = RNG.randn(2000, 4)
    y = drawn(X, 1.0)
    one, seven = calibrated(frozen(4), X, y), calibrated(frozen(4), 7 * X, y)
    assert seven.temperature_ == pytest.approx(7 * one.temperature_, rel=1e-9)
    assert seven.calibration_.nll_before > seven.calibration_.nll_after + 1
    assert seven.calibration_.nll_after == pytest.approx(one.calibration_.nll_after, rel=1e-9)
    with pytest.warns(CalibrationWarning, match="temperature=1 is kept: .*does not depend on it"):
        constant = calibrated(frozen(4), np.ones((50, 4)), y[:50])
    assert constant.temperature_ == 1


def test_2_a_calibration_error_that_rises_is_reported():
    """Few rows whose logits are ten times too large make the likelihood blame all of them."""
    X = np.vstack([RNG.randn(3000, 3), 30 * RNG.randn(300, 3)])
    y = drawn(np.vstack([X[:3000], X[3000:] / 30]), 1.0)
    with pytest.warns(CalibrationWarning, match="calibration error rises from .* to .* at temp"):
        model = calibrated(frozen(3), X, y)
    result = model.calibration_
    assert result.ece_after > result.ece_before + 0.05
    assert result.nll_after < result.nll_before


def test_3_a_temperature_is_never_negative():
    """Logits of the wrong sign would be best at T = -1."""
    X = RNG.randn(500, 3)
    with pytest.warns(CalibrationWarning, match="greatest allowed: the logits do not go with"):
        model = calibrated(frozen(3), X, drawn(-X, 1.0))
    assert model.temperature_ == pytest.approx(np.exp(10))
    np.testing.assert_allclose(model.predict_proba(X), 1 / 3, atol=1e-4)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_4_separable_rows_have_a_bounded_temperature(scale):
    X = scale * (np.eye(3)[np.arange(60) % 3] + 0.1 * RNG.uniform(size=(60, 3)))
    y = np.arange(60) % 3
    model = TemperatureClassifier(frozen(3), temperature="nll")
    with pytest.warns(CalibrationWarning, match="least allowed|temperature=1 is kept"):
        model.fit(X, y)
    assert model.temperature_ in (1.0, pytest.approx(np.exp(-10)))
    assert np.isfinite(model.predict_proba(X)).all()
    assert model.calibration_.nll_after <= model.calibration_.nll_before


@pytest.mark.parametrize("weighted", [False, True])
def test_5_two_classes_have_half_of_scikit_learns_inverse(weighted):
    """A margin f there is (-f, f) times beta, and sigmoid(f / T) here."""
    X = 3 * RNG.randn(800, 1)
    y = drawn(np.hstack([-X, X]), 4.0)
    weight = RNG.uniform(size=800) if weighted else None
    ours = calibrated(frozen(2), X, y, weight)
    theirs = scikit_learns(frozen(2), X, y, weight)
    beta = theirs.calibrated_classifiers_[0].calibrators[0].beta_
    assert ours.temperature_ == pytest.approx(1 / (2 * beta), rel=1e-6)
    np.testing.assert_allclose(
        ours.predict_proba(X)[:, 1], 1 / (1 + np.exp(-X[:, 0] / ours.temperature_)), rtol=1e-12
    )


@pytest.mark.parametrize("n_classes", [2, 4])
def test_6_probabilities_of_0_and_1_are_not_taken_for_logits(n_classes):
    """Votes of 3 neighbours: softmax of them would never be surer than e / (e + K - 1)."""
    X, y = make_classification(
        1200, n_informative=6, n_classes=n_classes, flip_y=0.2, random_state=0
    )
    voter = KNeighborsClassifier(3).fit(X[:600], y[:600])
    X, y = X[600:], y[600:]
    votes = voter.predict_proba(X)
    assert {0.0, 1.0} <= set(votes.ravel())
    np.testing.assert_allclose(
        TemperatureClassifier(FrozenEstimator(voter)).fit(X, y).predict_proba(X), votes, atol=1e-11
    )
    ours = calibrated(FrozenEstimator(voter), X, y)
    theirs = scikit_learns(FrozenEstimator(voter), X, y)
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=1e-6)
    assert log_loss(y, ours.predict_proba(X)) < log_loss(y, votes) / 3


def test_7_predictions_of_one_row_are_no_more_rows():
    X = RNG.randn(200, 3)
    y = drawn(X, 0.7)
    once = fit_temperature(X, y)
    thrice = fit_temperature(np.tile(X, (3, 1)), np.tile(y, 3), numbers=np.arange(600) % 200)
    assert thrice.temperature == pytest.approx(once.temperature, rel=1e-9)
    assert thrice.interval == pytest.approx(once.interval, rel=1e-9)
    assert thrice.n_rows == 200


def test_7_few_rows_are_said():
    X = RNG.randn(12, 3)
    y = drawn(X, 0.5, np.random.RandomState(1))
    with pytest.warns(CalibrationWarning, match="rests on 12 rows and is uncertain: its 95 % int"):
        model = calibrated(frozen(3), X, y)
    low, high = model.calibration_.interval
    assert low < model.temperature_ / 2 < 2 * model.temperature_ < high


@pytest.mark.slow
def test_7_the_interval_holds_the_temperature_in_95_of_100():
    """Within 3 standard errors of 1,000 draws of 300 rows, with and without weights."""
    for weighted in (False, True):
        held = 0
        for seed in range(1000):
            rng = np.random.RandomState(seed)
            X = rng.randn(300, 3)
            weight = rng.uniform(size=300) if weighted else None
            result = calibrated(frozen(3), X, drawn(X, 0.6, rng), weight).calibration_
            held += result.interval[0] <= 0.6 <= result.interval[1]
        assert abs(held / 1000 - 0.95) < 3 * np.sqrt(0.95 * 0.05 / 1000)


def test_8_a_class_that_is_missing_keeps_its_column():
    X = RNG.randn(900, 4)
    y = drawn(X, 2.0)
    there = y != 2
    with pytest.warns(CalibrationWarning, match="fitted without rows of class 2, so nothing is"):
        model = calibrated(frozen(4), X[there], y[there])
    assert model.classes_.tolist() == [0, 1, 2, 3]
    assert model.predict_proba(X).shape == (900, 4)
    with pytest.raises(ValueError, match="y has the label 9, which is not among the estimator's"):
        calibrated(frozen(4), X, np.where(there, y, 9))


def test_9_integer_weights_are_repeated_rows():
    X = RNG.randn(400, 3)
    y, times = drawn(X, 0.7), RNG.randint(0, 4, 400)
    weighted = calibrated(frozen(3), X, y, times)
    repeated = calibrated(frozen(3), X.repeat(times, axis=0), y.repeat(times))
    assert weighted.temperature_ == pytest.approx(repeated.temperature_, rel=1e-12)
    for name in ("nll_before", "nll_after", "ece_before", "ece_after"):
        found, expected = (getattr(m.calibration_, name) for m in (weighted, repeated))
        assert found == pytest.approx(expected, rel=1e-9)
    assert weighted.calibration_.n_rows == (times > 0).sum()
    scaled = calibrated(frozen(3), X, y, times / 1e6)
    assert scaled.calibration_.interval == pytest.approx(weighted.calibration_.interval, rel=1e-9)
    with pytest.raises(ValueError, match="There is no row of positive sample_weight"):
        fit_temperature(X, y, np.zeros(400))


def test_10_scores_that_look_like_probabilities_are_not_preprocessed():
    """scikit-learn 1.9 takes them for probabilities by their values; another version may not."""
    X = 5 * RNG.randn(1500, 3)
    y = drawn(softmax(X, axis=1), 0.4)
    model = calibrated(frozen(3, LookAlike), X, y)
    low, high = model.calibration_.interval
    assert low < 0.4 < high


def cases():
    for n_classes in (2, 10):
        for weighted in (False, True):
            for model in (LogisticRegression(C=100, max_iter=2000), GaussianNB()):
                yield pytest.param(
                    n_classes, weighted, model, id=f"{n_classes}-{weighted}-{type(model).__name__}"
                )


@pytest.mark.parametrize(("n_classes", "weighted", "model"), list(cases()))
def test_it_is_scikit_learns_calibration(n_classes, weighted, model):
    """Whatever it is given: logits or probabilities, labels or strings."""
    X, y = make_classification(
        1500, n_informative=8, n_classes=n_classes, flip_y=0.1, random_state=n_classes
    )
    estimator = FrozenEstimator(model.fit(X[:500], y[:500]))
    weight = RNG.uniform(0.1, 3, 500) if weighted else None
    ours = calibrated(estimator, X[500:1000], y[500:1000], weight)
    theirs = scikit_learns(estimator, X[500:1000], y[500:1000], weight)
    for rows in (X[500:1000], X[1000:]):
        np.testing.assert_allclose(ours.predict_proba(rows), theirs.predict_proba(rows), atol=1e-6)
    beta = theirs.calibrated_classifiers_[0].calibrators[0].beta_
    half = n_classes == 2 and hasattr(model, "decision_function")
    assert ours.temperature_ * beta * (2 if half else 1) == pytest.approx(1, rel=1e-6)


@pytest.mark.parametrize("n_classes", [2, 4])
@pytest.mark.parametrize("weighted", [False, True])
def test_out_of_fold_it_is_scikit_learns_without_an_ensemble(n_classes, weighted):
    X, y = make_classification(
        400, n_informative=6, n_classes=n_classes, flip_y=0.2, random_state=1
    )
    model = LogisticRegression(C=100, max_iter=2000)
    weight = RNG.randint(1, 4, 400).astype(float) if weighted else None
    ours = TemperatureClassifier(model, temperature="nll", cv=4).fit(X, y, weight)
    theirs = CalibratedClassifierCV(model, method="temperature", cv=4, ensemble=False)
    theirs.fit(X, y, weight)
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=1e-6)
