"""Students with shared and private units, against closed forms and a dense Jacobian."""

import numpy as np
import pytest

from sklflat.datasets import make_shared_private
from tests.datasets.test_teacher_student import jacobian

SIZES = [
    {},
    {"n_features": 8, "n_shared": 3, "n_private": 2, "n_cancelling": 2, "n_unused": 1},
    {"n_features": 6, "n_shared": 2, "n_private": 0, "n_cancelling": 4, "n_unused": 0},
    {"n_features": 6, "n_shared": 6, "n_private": 3, "n_cancelling": 0, "n_unused": 2},
]


def correlations(A, B):
    return np.corrcoef(A.T, B.T)[: A.shape[1], A.shape[1] :]


@pytest.mark.parametrize("sizes", SIZES)
def test_without_noise_and_private_units_the_students_are_the_teacher(sizes):
    plain = {**sizes, "weight_noise": 0.0, "n_private": 0}
    X, y, truth = make_shared_private(300, n_students=3, random_state=0, **plain)
    assert len(truth.students) == 3
    for student in truth.students:
        for at in (X, 2 * X):
            np.testing.assert_allclose(student.output(at), truth.teacher.output(at), atol=1e-12)
    np.testing.assert_array_equal(y, truth.teacher.output(X))


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("seed", range(3))
def test_private_units_move_the_output_by_what_was_asked_for(sizes, seed):
    scale = 0.3 if sizes.get("n_private", 6) else 0.0
    X, y, truth = make_shared_private(
        20_000, weight_noise=0, private_scale=0.3, random_state=seed, **sizes
    )
    one, other = (student.output(X) - y for student in truth.students)
    for difference in (one, other):
        assert difference.mean() == pytest.approx(0, abs=0.02)
        # random directions are not orthogonal, so variances do not just add up
        assert difference.std() == pytest.approx(scale, rel=0.6)
    if scale:
        assert abs(np.corrcoef(one, other)[0, 1]) < 0.9


@pytest.mark.parametrize("sizes", SIZES)
def test_units_of_one_group_are_one_unit_and_the_others_are_not(sizes):
    X, _, truth = make_shared_private(5000, weight_noise=0.0, random_state=1, **sizes)
    first, second = truth.students
    r = correlations(first.hidden(X), second.hidden(X))
    same = (first.group[:, None] == second.group) & (first.group >= 0)[:, None]
    assert same.sum() == len(truth.teacher.b1)
    np.testing.assert_allclose(r[same], 1, atol=1e-12)
    assert r[~same].max() < 0.95
    assert np.array_equal(truth.units, first.status == "live")


@pytest.mark.parametrize("weight_noise", [0.1, 0.3, 1.0])
def test_shared_units_correlate_as_directions_with_that_noise_do(weight_noise):
    """Directions w + s g / sqrt(d) have a cosine of about 1 / (1 + s^2)."""
    d = 400
    _, _, truth = make_shared_private(
        10, n_features=d, n_shared=50, weight_noise=weight_noise, random_state=0
    )
    columns = []
    for student in truth.students:
        W = student.W1[:, student.units][:, np.argsort(student.group[student.units])]
        columns.append(W / np.linalg.norm(W, axis=0))
    cosines = (columns[0] * columns[1]).sum(axis=0)
    assert cosines.mean() == pytest.approx(1 / (1 + weight_noise**2), abs=0.02)


@pytest.mark.parametrize("sizes", SIZES)
def test_units_are_what_their_status_says(sizes):
    X, _, truth = make_shared_private(4000, random_state=2, **sizes)
    for student in truth.students:
        hidden, weights = student.hidden(X), student.W2[:, 0]
        assert (hidden.var(axis=0) > 0).all()
        assert not weights[student.status == "unused"].any()
        assert weights[student.status != "unused"].all()
        pairs = student.status == "cancelling"
        np.testing.assert_allclose(hidden[:, pairs] @ weights[pairs], 0, atol=1e-12)
        assert pairs.sum() == sizes.get("n_cancelling", 4)
        assert np.linalg.matrix_rank(hidden[:, pairs]) == pairs.sum() // 2
        private = hidden[:, student.status == "private"] * weights[student.status == "private"]
        assert np.ptp(private.var(axis=0)) < 0.2 * 0.04 if private.size else True


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("seed", range(2))
def test_the_flat_dimension_is_that_of_the_jacobian(sizes, seed):
    X, _, truth = make_shared_private(1500, random_state=seed, **sizes)
    network = truth.network
    values = np.linalg.svd(jacobian(network, X), compute_uv=False)
    rank = np.count_nonzero(values > 1e-9 * values[0])
    assert network.flat_dimension == network.n_parameters - rank


def test_latent_features_label_the_units_of_the_planted_students():
    X, _, truth = make_shared_private(2000, random_state=0)
    for student in truth.students:
        assert np.array_equal(truth.real_units(student.hidden(X)), student.units)


def test_units_come_in_another_order_in_every_student():
    _, _, truth = make_shared_private(10, n_students=4, random_state=0)
    orders = {tuple(student.group) for student in truth.students}
    assert len(orders) == 4
