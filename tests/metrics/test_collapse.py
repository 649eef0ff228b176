"""Neural collapse on a simplex, and away from it by known amounts."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ortho_group

from sklflat.metrics import neural_collapse

Y = np.arange(40) % 4
SIMPLEX = np.eye(4) - 0.25


def test_complete_collapse():
    np.testing.assert_allclose(neural_collapse(SIMPLEX[Y] + 7, Y, SIMPLEX), 0, atol=1e-12)


def test_each_measure_sees_its_own_departure():
    rng = np.random.RandomState(0)
    noise = rng.normal(size=(40, 4))
    for c in range(4):
        noise[c == Y] -= noise[c == Y].mean(axis=0)
    noisy = neural_collapse(SIMPLEX[Y] + 0.01 * noise, Y, SIMPLEX)
    within = noise.T @ noise / 40 * 1e-4
    between = SIMPLEX.T @ SIMPLEX / 4
    expected = np.trace(within @ np.linalg.pinv(between)) / 4
    assert noisy.within_class_variability == pytest.approx(expected, rel=1e-9)
    np.testing.assert_allclose(noisy[1:5], 0, atol=1e-9)

    square = neural_collapse(np.array([[1, 1], [1, -1], [-1, -1], [-1, 1.0]])[Y], Y)
    assert square.equal_norms == pytest.approx(0)
    cosines = [0, -1, 0, 0, -1, 0]
    assert square.equal_angles == pytest.approx(np.std(cosines))
    assert square.maximal_angles == pytest.approx(np.mean(np.abs(np.array(cosines) + 1 / 3)))
    assert square.self_duality is None

    turned = neural_collapse(SIMPLEX[Y], Y, SIMPLEX[[1, 0, 2, 3]])
    assert turned.nearest_center == 0.5
    M = SIMPLEX / np.linalg.norm(SIMPLEX)
    assert turned.self_duality == pytest.approx(np.linalg.norm(M - M[[1, 0, 2, 3]]))
    biased = neural_collapse(SIMPLEX[Y], Y, SIMPLEX, bias=[9, 0, 0, 0])
    assert biased.nearest_center == 0.75

    two = neural_collapse([[3.0, 0], [-3.0, 0]] * 5, [0, 1] * 5, [[1.0, 0], [-1.0, 0]])
    np.testing.assert_allclose(two, 0, atol=1e-12)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), factor=st.floats(1e-2, 1e2))
def test_invariances(seed, factor):
    rng = np.random.RandomState(seed)
    H, W = rng.normal(size=(40, 6)) + 2 * np.eye(6)[Y], rng.normal(size=(4, 6))
    Q, rows = ortho_group.rvs(6, random_state=rng), rng.permutation(40)
    plain = neural_collapse(H, Y, W)
    turned = neural_collapse((factor * H @ Q)[rows], Y[rows], W @ Q)
    np.testing.assert_allclose(turned, plain, rtol=1e-6)
    shifted = neural_collapse(H + 100 * factor, Y, 3 * W)
    np.testing.assert_allclose(shifted[:5], plain[:5], rtol=1e-6)


def test_classes_weigh_the_same():
    rng = np.random.RandomState(0)
    H = rng.normal(size=(40, 6)) + 2 * np.eye(6)[Y]
    more = np.r_[np.arange(40), np.flatnonzero(Y == 1), np.flatnonzero(Y == 1)]
    W = SIMPLEX @ np.eye(4, 6)
    plain, other = neural_collapse(H, Y, W), neural_collapse(H[more], Y[more], W)
    np.testing.assert_allclose(other[:5], plain[:5], rtol=1e-9)


def test_bad_input():
    with pytest.raises(ValueError, match="two classes"):
        neural_collapse(SIMPLEX, np.zeros(4))
    with pytest.raises(ValueError, match="weights must have shape"):
        neural_collapse(SIMPLEX[Y], Y, SIMPLEX[:1])
    with pytest.raises(ValueError, match="class 2 is that of all"):
        neural_collapse([[1.0], [-1.0], [0.0]] * 2, [0, 1, 2] * 2)
    # rounding is no angle
    with pytest.raises(ValueError, match="no angle"):
        neural_collapse(np.full((40, 3), 0.1), Y)
    with pytest.raises(ValueError, match="'b' once"):
        neural_collapse(SIMPLEX[:3], ["a", "a", "b"])
    with pytest.raises(ValueError, match=r"class labels, but one is 0\.5"):
        neural_collapse(SIMPLEX[Y], Y + 0.5)
    with pytest.raises(ValueError, match="weights are all zero"):
        neural_collapse(SIMPLEX[Y], Y, np.zeros((4, 4)))
    with pytest.raises(ValueError, match="bias is of use only together with weights"):
        neural_collapse(SIMPLEX[Y], Y, bias=np.zeros(4))
    with pytest.raises(ValueError, match="bias must be 4 finite numbers"):
        neural_collapse(SIMPLEX[Y], Y, SIMPLEX, bias=[1.0])


@pytest.mark.parametrize("scale", [1e-200, 1e-5, 1e160])
def test_the_scale_of_features_and_weights_is_no_matter(scale):
    rng = np.random.RandomState(0)
    H, y, W = rng.normal(size=(60, 5)), np.arange(60) % 3, rng.normal(size=(3, 5))
    expected = neural_collapse(H, y, weights=W)
    np.testing.assert_allclose(neural_collapse(scale * H, y, weights=W), expected, rtol=1e-9)
    np.testing.assert_allclose(neural_collapse(H, y, weights=scale * W), expected, rtol=1e-9)
