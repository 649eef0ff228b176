"""Teacher and planted student against closed forms, scikit-learn's network and dense Jacobians."""

import numpy as np
import pytest
from sklearn.neural_network import MLPRegressor

from sklflat.datasets import make_teacher_student

SIZES = [
    {},
    {"n_features": 3, "n_teacher": 3, "n_redundant": 5, "n_dead": 2, "n_unused": 3},
    {"n_features": 4, "n_teacher": 1, "n_redundant": 4, "n_dead": 0, "n_unused": 0},
    {"n_features": 2, "n_teacher": 2, "n_redundant": 0, "n_dead": 3, "n_unused": 1},
    {"n_features": 1, "n_teacher": 1, "n_redundant": 2, "n_dead": 1, "n_unused": 2},
]


def jacobian(network, X):
    """Derivatives of the outputs by W1, b1, W2 and b2, shape (n_samples, n_parameters)."""
    hidden = np.maximum(X @ network.W1 + network.b1, 0)
    by_b1 = (hidden > 0) * network.W2[:, 0]
    by_W1 = (X[:, :, None] * by_b1[:, None, :]).reshape(len(X), -1)
    return np.hstack([by_W1, by_b1, hidden, np.ones((len(X), 1))])


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("seed", range(3))
def test_the_student_computes_the_teachers_function(sizes, seed):
    X, y, truth = make_teacher_student(500, random_state=seed, **sizes)
    # also where the data do not reach
    for at in (X, 2 * X):
        expected = truth.teacher.output(at)
        np.testing.assert_allclose(truth.network.output(at), expected, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(y, truth.teacher.output(X))


def test_the_networks_are_what_scikit_learn_computes_with_their_arrays():
    X, y, truth = make_teacher_student(200, random_state=0)
    for network in (truth.teacher, truth.network):
        mlp = MLPRegressor(hidden_layer_sizes=(len(network.b1),)).partial_fit(X, y)
        mlp.coefs_, mlp.intercepts_ = [network.W1, network.W2], [network.b1, network.b2]
        np.testing.assert_allclose(mlp.predict(X), y, atol=1e-12)


def test_every_feature_explains_the_same_share_of_unit_variance():
    X, y, truth = make_teacher_student(200_000, n_teacher=4, random_state=0)
    assert y.mean() == pytest.approx(0, abs=0.02)
    assert y.var() == pytest.approx(1, abs=0.02)
    np.testing.assert_allclose(
        (truth.latent * truth.teacher.W2[:, 0]).var(axis=0), 1 / 4, rtol=0.03
    )
    np.testing.assert_allclose(np.corrcoef(truth.latent.T), np.eye(4), atol=0.02)
    active = (truth.latent > 0).mean(axis=0)
    assert (active > 0.29).all()
    assert (active < 0.71).all()
    np.testing.assert_allclose(np.cov(X.T), np.eye(10), atol=0.02)


@pytest.mark.parametrize("sizes", SIZES)
def test_units_are_what_their_status_says(sizes):
    X, _, truth = make_teacher_student(1000, random_state=1, **sizes)
    fresh = np.random.default_rng(0).normal(size=(20_000, X.shape[1]))
    network, hidden = truth.network, truth.network.hidden(fresh)
    contribution = hidden * network.W2[:, 0]
    asked = [sizes.get(name, default) for name, default in [("n_redundant", 12), ("n_dead", 10)]]
    counted = [np.count_nonzero(network.status == s) for s in ("redundant", "dead")]
    assert counted == asked
    assert not hidden[:, network.status == "dead"].any()
    assert network.W2[network.status == "dead"].all()
    assert (hidden[:, network.status == "unused"].var(axis=0) > 0).all()
    assert not network.W2[network.status == "unused"].any()
    # all units of a feature together contribute what the teacher's unit does, however many
    teacher = np.maximum(fresh @ truth.teacher.W1 + truth.teacher.b1, 0) * truth.teacher.W2[:, 0]
    for feature in range(teacher.shape[1]):
        members = np.flatnonzero(network.group == feature)
        status = {str(s) for s in network.status[members]}
        assert status == ({"live"} if len(members) == 1 else {"redundant"})
        np.testing.assert_allclose(
            contribution[:, members].sum(axis=1), teacher[:, feature], atol=1e-12
        )
        assert (contribution[:, members].var(axis=0) > 0).all()
        incoming = np.vstack([network.W1, network.b1])[:, members]
        assert np.linalg.matrix_rank(incoming, tol=1e-9) == 1


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("seed", range(3))
def test_the_flat_dimension_is_that_of_the_jacobian(sizes, seed):
    X, _, truth = make_teacher_student(1500, random_state=seed, **sizes)
    network = truth.network
    J = jacobian(network, X)
    assert J.shape[1] == network.n_parameters
    values = np.linalg.svd(J, compute_uv=False)
    rank = np.count_nonzero(values > 1e-9 * values[0])
    assert network.flat_dimension == network.n_parameters - rank


def test_units_come_in_random_order():
    first = [make_teacher_student(9, random_state=s)[2].network.status[0] for s in range(40)]
    assert set(first) == {"live", "redundant", "dead", "unused"}


def test_real_units_of_the_student_are_live_and_redundant_ones():
    for seed in range(5):
        X, _, truth = make_teacher_student(random_state=seed)
        hidden = truth.network.hidden(X)
        assert np.array_equal(truth.real_units(hidden), truth.units)
        np.testing.assert_allclose(truth.recovery(hidden)[truth.units], 1, atol=1e-12)


def test_noise_has_the_standard_deviation_asked_for():
    X, y, truth = make_teacher_student(20_000, noise=0.5, random_state=0)
    residuals = y - truth.teacher.output(X)
    assert residuals.std() == pytest.approx(0.5, rel=4 / np.sqrt(2 * 20_000))


def test_labels_say_whether_the_noisy_output_is_positive():
    X, y, truth = make_teacher_student(task="classification", random_state=0)
    assert np.array_equal(y, truth.teacher.output(X) > 0)
    _, target, _ = make_teacher_student(noise=1.0, random_state=0)
    _, noisy, _ = make_teacher_student(task="classification", noise=1.0, random_state=0)
    assert np.array_equal(noisy, target > 0)
    assert 0.3 < y.mean() < 0.7


def test_weight_norms_of_a_trained_student_find_its_real_units():
    aucs = []
    for seed in range(3):
        X, y, truth = make_teacher_student(1000, random_state=seed)
        mlp = MLPRegressor(hidden_layer_sizes=(40,), learning_rate_init=0.01, random_state=seed)
        mlp.fit(X, y)
        assert mlp.score(X, y) > 0.99
        hidden = np.maximum(X @ mlp.coefs_[0] + mlp.intercepts_[0], 0)
        norms = np.linalg.norm(mlp.coefs_[0], axis=0) * np.abs(mlp.coefs_[1][:, 0])
        aucs.append(truth.auc(norms, of=truth.real_units(hidden)))
    # eight seeds of a fit like this one lie between 0.91 and 1
    assert np.mean(aucs) > 0.9
