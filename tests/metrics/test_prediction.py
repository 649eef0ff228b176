"""Agreement of predictions, against scikit-learn and scipy."""

import numpy as np
import pytest
from scipy.stats import entropy
from sklearn.metrics import cohen_kappa_score, r2_score

from sklflat.metrics import fidelity, prediction_disagreement

RNG = np.random.RandomState(0)
A = RNG.choice(["x", "y", "z"], size=80)
B = np.where(RNG.uniform(size=80) < 0.7, A, RNG.choice(["x", "y", "z"], size=80))


def test_disagreement():
    assert prediction_disagreement(A, B) == pytest.approx(np.mean(A != B))
    assert prediction_disagreement(A, B) == prediction_disagreement(B, A)
    w = RNG.uniform(size=80)
    expected = np.average(A != B, weights=w)
    assert prediction_disagreement(A, B, sample_weight=w) == pytest.approx(expected)
    with pytest.raises(ValueError, match="inconsistent"):
        prediction_disagreement(A, B[:-1])


def test_fidelity():
    result = fidelity(A, B)
    assert result.accuracy == pytest.approx(np.mean(A == B))
    assert result.kappa == pytest.approx(cohen_kappa_score(A, B))
    assert result.kl is None
    for label in "xyz":
        assert result.per_class[label] == pytest.approx(np.mean(B[label == A] == label))


def test_kl_is_scipys():
    p, q = RNG.dirichlet([1, 1, 1], size=(2, 80))
    result = fidelity(A, B, p_network=p, p_surrogate=q)
    assert result.kl == pytest.approx(np.mean([entropy(a, b) for a, b in zip(p, q, strict=True)]))
    assert fidelity(A, A, p_network=p, p_surrogate=p).kl == 0
    q[0] = [1, 0, 0]
    assert fidelity(A, B, p_network=p, p_surrogate=q).kl == np.inf


def test_chance_has_no_kappa():
    a, b = RNG.randint(2, size=(2, 20_000))
    assert abs(fidelity(a, b).kappa) < 0.03
    assert np.isnan(fidelity(["a", "a"], ["a", "a"]).kappa)
    assert fidelity(["a", "a"], ["b", "b"]).per_class == {"a": 0.0}


def test_bad_probabilities():
    p = np.full((80, 2), 0.5)
    with pytest.raises(ValueError, match="Give both"):
        fidelity(A, B, p_network=p)
    with pytest.raises(ValueError, match="add up to 1"):
        fidelity(A, B, p_network=p, p_surrogate=p * 2)
    with pytest.raises(ValueError, match="same columns"):
        fidelity(A, B, p_network=p, p_surrogate=np.full((80, 4), 0.25))


def test_a_textbook_kappa():
    """20 and 15 agreements, 5 and 10 disagreements: observed 0.7, by chance 0.5."""
    a, b = np.repeat([[1, 1, 0, 0], [1, 0, 1, 0]], [20, 5, 10, 15], axis=1)
    result = fidelity(a, b)
    assert result.kappa == pytest.approx(0.4)
    assert result.accuracy == pytest.approx(0.7)
    assert result.per_class == pytest.approx({0: 0.6, 1: 0.8})


def test_real_outputs():
    f = RNG.normal(size=(80, 3))
    g = f + 0.3 * RNG.normal(size=(80, 3))
    one = fidelity(f[:, 0], g[:, 0], discrete=False)
    assert one.r2 == pytest.approx(r2_score(f[:, 0], g[:, 0]))
    assert one[:4] == (None,) * 4
    pooled = r2_score(f, g, multioutput="variance_weighted")
    assert fidelity(f, g, discrete=False).r2 == pytest.approx(pooled)
    assert fidelity(f, np.tile(f.mean(axis=0), (80, 1)), discrete=False).r2 == pytest.approx(0)
    # an output that the network keeps constant counts as error, not as success
    constant = fidelity(np.c_[f, np.ones(80)], np.c_[f, np.zeros(80)], discrete=False)
    assert constant.r2 == pytest.approx(1 - 80 / (79 * f.var(axis=0, ddof=1).sum()))
    assert np.isnan(fidelity(np.full(9, 0.1), np.arange(9), discrete=False).r2)


def test_a_weight_is_a_repeated_row():
    s = np.arange(80) % 3
    rows = np.repeat(np.arange(80), s)
    p, q = RNG.dirichlet([1, 1, 1], size=(2, 80))
    q[0] = [1, 0, 0]  # of no weight
    found = fidelity(A, B, p_network=p, p_surrogate=q, sample_weight=s)
    expected = fidelity(A[rows], B[rows], p_network=p[rows], p_surrogate=q[rows])
    assert found.per_class == pytest.approx(expected.per_class)
    np.testing.assert_allclose(found[:2] + found[3:4], expected[:2] + expected[3:4])
    f, g = RNG.normal(size=(2, 80))
    found = fidelity(f, g, discrete=False, sample_weight=s).r2
    assert found == pytest.approx(r2_score(f[rows], g[rows]))
    only = fidelity(["a", "b"], ["a", "b"], sample_weight=[1, 0])
    assert only.per_class == {"a": 1.0}


def test_real_outputs_are_not_taken_for_labels():
    with pytest.raises(ValueError, match=r"y_b must hold class labels, but one is 0\.5"):
        prediction_disagreement([0, 1], [0.5, 1])
    with pytest.raises(ValueError, match="discrete=False"):
        fidelity([0.25, 1], [0.5, 1])
    with pytest.raises(ValueError, match="must be alike"):
        fidelity([0.25, 1], [[0.5], [1]], discrete=False)
    with pytest.raises(ValueError, match="go with labels"):
        fidelity([0.25, 1], [0.5, 1], discrete=False, p_network=np.ones((2, 1)))
    with pytest.raises(ValueError, match="non-zero"):
        fidelity([0, 1], [0, 1], sample_weight=[0, 0])
