"""The softmax at a temperature, and where its logits come from."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from mpmath import mp, mpf
from sklearn.dummy import DummyClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, Perceptron
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.svm import SVC

from sklflat.temperature import logits_of, softened
from sklflat.temperature.softened import log_softened

X = np.random.RandomState(0).randn(60, 3)
MARGIN = X[:, 0] + 0.5 * np.random.RandomState(1).randn(60)
TWO, FOUR = (MARGIN > 0).astype(int), np.digitize(MARGIN, [-1, 0, 1])

LOGITS = arrays(float, (3, 5), elements=st.floats(-50, 50).map(lambda f: round(f, 3)))
TEMPERATURES = st.floats(-6, 6).map(lambda power: 10**power)


@pytest.mark.parametrize("T", [1e-300, 1e-3, 0.7, 1.0, 30.0, 1e300])
def test_agrees_with_arithmetic_of_400_digits(T):
    logits = np.array([[3.0, 2.5, -1.0], [1e3, -1e3, 999.5]])
    with mp.workdps(400):
        for row, found in zip(logits, softened(logits, T), strict=True):
            powers = [mp.exp((mpf(f) - mpf(row.max())) / mpf(T)) for f in row]
            expected = [float(power / sum(powers)) for power in powers]
            np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-300)


@pytest.mark.parametrize("T", [1e-320, 1e-300, 1e-10, 1.0, 1e10, 1e300])
def test_no_temperature_leaves_the_floating_range(T):
    largest = np.finfo(float).max
    logits = np.array([[largest, -largest, 0.0], [1e-300, 0.0, -1e-300], [5.0, 5.0, 5.0]])
    p = softened(logits, T)
    assert np.isfinite(p).all()
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-15)
    np.testing.assert_allclose(p[2], 1 / 3, rtol=1e-15)


def test_equal_logits_share_at_low_temperature():
    p = softened([[2.0, 2.0, 1.0], [0.0, 3.0, 3.0]], 1e-300)
    assert p.tolist() == [[0.5, 0.5, 0.0], [0.0, 0.5, 0.5]]


@given(LOGITS, TEMPERATURES)
def test_the_largest_stays_the_largest(logits, T):
    p = softened(logits, T)
    top = np.take_along_axis(p, logits.argmax(axis=1)[:, None], axis=1)
    assert (top == p.max(axis=1, keepdims=True)).all()


@given(LOGITS, TEMPERATURES, st.integers(-1000, 1000))
def test_a_constant_changes_nothing(logits, T, constant):
    # a shift by 1000 rounds the logits by up to 1e-13
    np.testing.assert_allclose(
        softened(logits + constant, T), softened(logits, T), atol=min(1, 1e-12 / T)
    )


@given(LOGITS, TEMPERATURES, st.permutations(range(5)))
def test_classes_may_be_permuted(logits, T, order):
    np.testing.assert_allclose(
        softened(logits[:, order], T), softened(logits, T)[:, order], rtol=1e-12
    )


@given(LOGITS)
def test_high_temperature_shows_centred_logits(logits):
    """T (K p - 1) tends to f - mean(f), with an error of the order of f^2 / T."""
    T = 1e7
    centred = logits - logits.mean(axis=1, keepdims=True)
    np.testing.assert_allclose(T * (5 * softened(logits, T) - 1), centred, atol=1e-3)


def test_logarithms_do_not_underflow():
    np.testing.assert_allclose(log_softened([[0.0, -2000.0]], 2.0), [[0.0, -1000.0]])


@pytest.mark.parametrize("T", [0.0, -1.0, np.nan, np.inf])
def test_a_temperature_is_a_positive_number(T):
    with pytest.raises(ValueError, match=f"temperature must be a positive number, got {T}"):
        softened([[0.0, 1.0]], T)


@pytest.mark.parametrize("y", [TWO, FOUR])
@pytest.mark.parametrize("model", [LogisticRegression(), GaussianNB()])
def test_at_temperature_one_they_are_the_classifiers_own(model, y):
    model.fit(X, y)
    logits = logits_of(model, X)
    assert logits.shape == (60, len(np.unique(y)))
    assert logits.dtype == np.float64
    np.testing.assert_allclose(softened(logits, 1), model.predict_proba(X), atol=1e-11)


def test_two_classes_have_centred_logits_whose_difference_is_the_margin():
    model = Perceptron().fit(X, TWO)
    logits = logits_of(model, X)
    np.testing.assert_allclose(np.diff(logits)[:, 0], model.decision_function(X), rtol=1e-15)
    assert (logits.sum(axis=1) == 0).all()


def test_probabilities_of_zero_have_finite_logits():
    certain = DummyClassifier(strategy="constant", constant=1).fit(X, TWO)
    logits = logits_of(certain, X[:1])
    np.testing.assert_allclose(logits, [[np.log(1e-12), 0]], atol=1e-11)


class Given:
    """A fitted classifier with given scores."""

    def __init__(self, scores, classes=(0, 1, 2)):
        self.scores, self.classes_ = scores, classes

    def decision_function(self, X):
        return self.scores


class Voting:
    """The same with probabilities."""

    def __init__(self, p, classes=(0, 1, 2)):
        self.p, self.classes_ = p, classes

    def predict_proba(self, X):
        return self.p


def test_probabilities_need_not_add_up_to_1():
    p = np.array([[0.2, 0.3, 0.5], [0.1, 0.1, 0.8]])
    for scale in (0.5, 2.0):
        np.testing.assert_allclose(softened(logits_of(Voting(scale * p), X[:2]), 1), p, atol=1e-11)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.int8, object])
def test_logits_of_any_type_become_double(dtype):
    scores = np.array([[1.0, 2.0, -3.0], [0.0, 0.0, 4.0]])
    logits = logits_of(Given(scores.astype(dtype)), X[:2])
    assert logits.dtype == np.float64
    np.testing.assert_array_equal(logits, scores)


def test_scores_that_look_like_probabilities_stay_scores():
    scores = np.array([[0.2, 0.3, 0.5], [0.1, 0.1, 0.8]])
    assert (logits_of(Given(scores), X[:2]) == scores).all()


def test_what_has_no_logits_is_refused_by_name():
    class Silent:
        classes_ = (0, 1)

    with pytest.raises(TypeError, match=r"estimator=Silent\(\.\.\.\) has neither decision_funct"):
        logits_of(Silent(), X)
    with pytest.raises(ValueError, match=r"decision_function of estimator=Given\(...\) is NaN"):
        logits_of(Given(np.array([[0.0, np.nan, 1.0]])), X[:1])
    with pytest.raises(ValueError, match=r"predict_proba of .* has negative numbers: these are no"):
        logits_of(Voting(np.array([[0.5, -0.1, 0.6]])), X[:1])
    pairs = SVC(decision_function_shape="ovo").fit(X, FOUR)
    with pytest.raises(ValueError, match=r"\(60, 6\) for 4 classes.*decision_function_shape"):
        logits_of(pairs, X)


@pytest.mark.parametrize("around", [lambda e: e, make_pipeline, FrozenEstimator])
def test_three_columns_of_three_pairs_are_not_taken_for_three_classes(around):
    three = FOUR % 3
    pairs = around(SVC(decision_function_shape="ovo").fit(X, three))
    with pytest.raises(ValueError, match=r"for 3 classes, one column a pair.*='ovr'"):
        logits_of(pairs, X)
    assert logits_of(SVC().fit(X, three), X).shape == (len(X), 3)
