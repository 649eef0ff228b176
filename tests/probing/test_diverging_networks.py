"""Of several networks some may diverge: they are left out and counted, and too many are refused."""

import warnings

import numpy as np
import pytest
from sklearn.datasets import load_digits

from sklflat import (
    ActivationProbe,
    ModeConnectivityProbe,
    SAMClassifier,
    TemperatureProbe,
    UniversalityProbe,
)
from sklflat.exceptions import DivergenceError, DivergenceWarning
from sklflat.probing.nulls import seeded
from sklflat.probing.training_set import TrainingSet

X, Y = load_digits(return_X_y=True)
X, Y = X[:240] / 16, Y[:240]

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::sklflat.exceptions.NothingFoundWarning"),
    pytest.mark.filterwarnings("ignore:A null has too few draws"),
]


class Diverging(SAMClassifier):
    """The trainings of some numbers diverge, or end in another error."""

    number, failing, error = 0, (), DivergenceError("The loss is not finite.")

    def _fitting(self, *rows, **options):
        own = type(self)
        own.number += 1
        if own.number - 1 in own.failing:
            raise own.error
        return super()._fitting(*rows, **options)


@pytest.fixture
def diverging(monkeypatch):
    """The estimator, and a function that says which of its next trainings fail."""

    def fail(*numbers, error=Diverging.error):
        monkeypatch.setattr(Diverging, "number", 0)
        monkeypatch.setattr(Diverging, "failing", numbers)
        monkeypatch.setattr(Diverging, "error", error)
        return Diverging((6,), rho=0, max_iter=2, random_state=0)

    return fail


def twins(estimator, n_orders, n_each=1):
    training = TrainingSet(seeded(estimator, np.random.RandomState(0)), X, Y, {})
    return training.train_on_shuffled_labels(n_orders, n_each, np.random.RandomState(0))


def test_one_of_four_is_left_out(diverging):
    whole = twins(diverging(), 4)
    with pytest.warns(DivergenceWarning, match="1 of 4 networks trained on shuffled labels div"):
        left = twins(diverging(1), 4)
    assert len(left) == 3  # the others are what they were, whoever is missing
    for one, other in zip(left, [whole[0], *whole[2:]], strict=True):
        np.testing.assert_allclose(one.predict_proba(X), other.predict_proba(X), atol=1e-5)


def test_a_pair_of_which_one_diverges_is_left_out(diverging):
    whole = twins(diverging(), 4, n_each=2)
    with pytest.warns(
        DivergenceWarning, match=r"1 of 4 sets of 2 networks.*have one that diverged"
    ):
        left = twins(diverging(3), 4, n_each=2)
    assert len(left) == 6
    for one, other in zip(left, [*whole[:2], *whole[4:]], strict=True):
        np.testing.assert_allclose(one.predict_proba(X), other.predict_proba(X), atol=1e-5)


def test_pairs_are_counted_not_networks(diverging):
    """A quarter of the networks, and half of the pairs."""
    with pytest.raises(DivergenceError, match=r"2 of 4 sets of 2 networks.*too many"):
        twins(diverging(0, 3), 4, n_each=2)


@pytest.mark.parametrize(("n", "failing"), [(4, (0, 3)), (1, (0,)), (8, (0, 1, 2))])
def test_more_than_a_quarter_are_too_many(diverging, n, failing):
    message = f"{len(failing)} of {n} networks trained.*too many.*Lower learning_rate_init.*finite"
    with pytest.raises(DivergenceError, match=message):
        twins(diverging(*failing), n)


def test_any_other_error_is_raised_as_it_is(diverging):
    with pytest.raises(ZeroDivisionError, match="mine"):
        twins(diverging(1, error=ZeroDivisionError("mine")), 8)


QUICK = {"n_units": 2, "random_state": 0}
PROBES = {
    "activation": (ActivationProbe, {"n_null": 60, "unit_score": "variance"}),
    "temperature": (TemperatureProbe, {"n_null": 60}),
    "universality": (UniversalityProbe, {"n_models": 2, "null": "shuffled_labels", "n_null": 60}),
    "connectivity": (ModeConnectivityProbe, {"n_null": 30, "n_points": 5}),
}


@pytest.mark.parametrize("name", PROBES)
def test_a_fit_goes_on_without_one_that_diverged(name, diverging):
    probe, options = PROBES[name]
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        probe(diverging(), **options, **QUICK).fit(X, Y)
    n_trained = Diverging.number
    assert not [w for w in heard if w.category is DivergenceWarning]
    with pytest.warns(DivergenceWarning, match=r"1 of \d+ .*networks trained on shuffled labels"):
        found = probe(diverging(n_trained - 1), **options, **QUICK).fit(X, Y)
    assert len(found.p_values_) == 6
    assert ((found.p_values_ > 0) & (found.p_values_ <= 1)).all()


def test_a_network_from_another_seed_is_left_out_of_a_core(diverging):
    options = PROBES["connectivity"][1] | QUICK | {"n_models": 5}
    with pytest.warns(DivergenceWarning, match="1 of 4 networks from other seeds"):
        found = ModeConnectivityProbe(diverging(2), **options).fit(X, Y)
    assert len(found.estimators_) == 4
    with pytest.raises(DivergenceError, match="The loss is not finite"):  # the one in question
        ModeConnectivityProbe(diverging(0), **options).fit(X, Y)
    with pytest.raises(DivergenceError, match="1 of 1 networks from other seeds"):
        ModeConnectivityProbe(diverging(1), **options | {"n_models": 2}).fit(X, Y)
