"""Networks at checkpoints, and their matching in accuracy."""

import numpy as np
import pytest

from sklflat import SAMClassifier
from sklflat.claims.data import cut, real_rows
from sklflat.claims.mediation import mediation
from sklflat.claims.networks import (
    Trained,
    match_accuracy,
    train_all,
    trained_from,
    whole_budget,
)
from sklflat.datasets import make_teacher_student
from sklflat.exceptions import DivergenceError

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def rows(seed=0, n=300):
    X, y, _ = make_teacher_student(n + 200, task="classification", random_state=seed)
    return cut(X, y, n - 100, 100)


def network(epochs, **more):
    given = {"batch_size": 50, "learning_rate_init": 0.01, "rho": 0.0, "random_state": 3}
    return SAMClassifier((8,), **given | whole_budget(epochs) | more)


def trained(epochs, data, **more):
    return train_all([network(epochs, **more)], data)[0]


def test_a_checkpoint_is_the_network_of_a_shorter_training():
    data = rows()
    long = trained(24, data, batch_size=200)  # a step is an epoch
    step = long.checkpoints()[6]
    short = trained(step, data, batch_size=200)
    found = long.at(step)
    np.testing.assert_allclose(
        found.predict_proba(data.X_test), short.estimator.predict_proba(data.X_test), atol=1e-6
    )
    assert found.n_gradient_evaluations_ == short.estimator.n_gradient_evaluations_
    assert not np.allclose(
        found.predict_proba(data.X_test), long.estimator.predict_proba(data.X_test)
    )


def test_a_sharpness_aware_step_costs_two_gradients():
    data = rows()
    plain, sam = trained(2, data), trained(2, data, rho=0.1)
    assert (plain.gradients_of_step, sam.gradients_of_step) == (1.0, 2.0)


class Curve:
    """A network whose accuracy at each step is given."""

    def __init__(self, scores):
        self.curve = scores

    def scores(self, X, y):
        return self.curve

    def at(self, step):
        return step


def test_matched_at_the_lower_final_accuracy_and_as_late_as_can_be():
    data = rows()
    good, poor = Curve({1: 0.5, 2: 0.81, 3: 0.79, 4: 0.9}), Curve({1: 0.6, 2: 0.85, 3: 0.8})
    assert match_accuracy(good, poor, data) == (3, 3)
    assert match_accuracy(good, good, data) == (4, 4)
    tied = Curve({1: 0.8, 2: 0.8, 3: 0.95})
    assert match_accuracy(tied, poor, data) == (2, 3)


def test_a_diverged_training_is_an_error():
    data = rows()
    data.X[0, 0] = 1e30
    with pytest.raises(DivergenceError):
        trained(3, data, learning_rate_init=1e8, solver="sgd")


def test_children_share_their_parent_up_to_the_step_and_then_differ():
    data = rows()
    apart = []
    for step in (4, 23):  # of 24
        parent, children = trained_from(network(6), data, step, 2)
        one, other, third = (c.predict_proba(data.X_test) for c in (parent, *children))
        assert not np.array_equal(one, other)
        apart.append(np.abs(other - third).mean())
    assert 0 <= apart[1] < apart[0] / 10


def test_rows_of_a_table_are_disjoint_and_standardised_by_those_trained_on():
    found = real_rows("wine", 0)
    parts = [len(found.X), len(found.X_match), len(found.X_test)]
    assert sum(parts) == 178
    np.testing.assert_allclose(found.X.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(found.X.std(axis=0), 1, atol=1e-5)
    everything = np.concatenate([found.X, found.X_match, found.X_test]).round(5)
    assert len(np.unique(everything, axis=0)) == 178
    assert not np.array_equal(real_rows("wine", 1).y, found.y)


def test_mediation_is_the_least_squares_line():
    rng = np.random.RandomState(0)
    m = rng.normal(0.5, 1, size=24)
    y = 0.2 + 0.3 * m + 0.1 * rng.normal(size=24)
    found = mediation(y, m)
    a, b = np.linalg.lstsq(np.column_stack([np.ones(24), m]), y, rcond=None)[0]
    assert found.direct == pytest.approx(a)
    assert found.slope == pytest.approx(b)
    assert found.total == pytest.approx(y.mean())
    assert found.direct_low < 0.2 < found.direct_high


@pytest.mark.parametrize("n", [0, 3])
def test_too_few_pairs_mediate_nothing(n):
    assert mediation(np.arange(n), np.arange(n)) is None
    assert mediation(np.arange(9), np.ones(9)) is None


def test_trained_keeps_the_beginning_apart():
    data = rows()
    found = trained(3, data)
    assert isinstance(found, Trained)
    assert 0 in found.states
    assert found.checkpoints()[0] > 0
    assert found.checkpoints()[-1] == found.n_steps == 12
