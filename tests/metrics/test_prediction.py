"""Agreement of predictions, against scikit-learn and scipy."""

import numpy as np
import pytest
from scipy.stats import entropy
from sklearn.metrics import cohen_kappa_score

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
