"""What may not change a score does not, to 1e-6; what its docstring says does, does."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from sklflat import AblationProbe, ActivationProbe
from tests._probes import random_arrays, random_data, sample, two_layer

SCORES = {
    "ablation": AblationProbe()._score_units,
    **{
        name: ActivationProbe(unit_score=name)._score_units
        for name in ("selectivity", "correlation", "class_variance", "variance", "explainability")
    },
}
SEEDS = st.integers(0, 10_000)
by_score = pytest.mark.parametrize("score", SCORES.values(), ids=SCORES)


def close(a, b):
    np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-9)


@by_score
@settings(max_examples=8, deadline=None)
@given(seed=SEEDS)
def test_permuting_units_permutes_scores(score, seed):
    W1, b1, W2, b2 = random_arrays(seed)
    X, y = random_data(seed)
    order = np.random.RandomState(seed).permutation(len(b1))
    plain = score(sample(two_layer(W1, b1, W2, b2), X, y))
    permuted = score(sample(two_layer(W1[:, order], b1[order], W2[order], b2), X, y))
    close(permuted, plain[order])


@by_score
@settings(max_examples=8, deadline=None)
@given(seed=SEEDS, batch_size=st.integers(1, 60))
def test_batches_and_the_order_of_rows_do_not_matter(score, seed, batch_size):
    module = two_layer(*random_arrays(seed))
    X, y = random_data(seed)
    order = np.random.RandomState(seed).permutation(len(y))
    plain = sample(module, X, y)
    other = sample(module, X[order], y[order])
    other.network.batch_size = batch_size
    close(score(other), score(plain))


@by_score
@settings(max_examples=8, deadline=None)
@given(seed=SEEDS, alpha=st.floats(0.01, 100))
def test_relu_rescaling(score, seed, alpha):
    W1, b1, W2, b2 = random_arrays(seed)
    X, y = random_data(seed)
    a = np.ones(len(b1))
    a[0] = alpha
    plain = score(sample(two_layer(W1, b1, W2, b2), X, y))
    rescaled = score(sample(two_layer(W1 * a, b1 * a, W2 / a[:, None], b2), X, y))
    close(
        rescaled, plain * a**2 if score in (SCORES["class_variance"], SCORES["variance"]) else plain
    )


@by_score
@settings(max_examples=8, deadline=None)
@given(seed=SEEDS)
def test_duplicated_units(score, seed):
    W1, b1, W2, b2 = random_arrays(seed)
    X, y = random_data(seed)
    plain = score(sample(two_layer(W1, b1, W2, b2), X, y))
    halved = np.vstack([W2, W2[:1]])
    halved[[0, -1]] /= 2
    doubled = score(
        sample(two_layer(np.hstack([W1, W1[:, :1]]), np.append(b1, b1[0]), halved, b2), X, y)
    )
    if score is SCORES["ablation"]:
        close(doubled[0], doubled[-1])
        close(doubled[1:-1], plain[1:])
    else:
        close(doubled, np.append(plain, plain[0]))


@by_score
@settings(max_examples=8, deadline=None)
@given(seed=SEEDS)
def test_a_dead_unit_scores_zero_and_changes_no_other(score, seed):
    W1, b1, W2, b2 = random_arrays(seed)
    X, y = random_data(seed)
    plain = score(sample(two_layer(W1, b1, W2, b2), X, y))
    W1, b1 = np.hstack([W1, 0 * W1[:, :1]]), np.append(b1, -1.0)
    dead = sample(two_layer(W1, b1, np.vstack([W2, W2[:1]]), b2), X, y)
    assert dead.dead.tolist()[-1]
    close(score(dead), np.append(plain, 0))


def test_a_linear_units_duplicate_halves_a_squared_losss_share():
    """In a linear network the rise is (w a)^2 / 2, so a copy with half the weight has a quarter."""
    W1, b1, W2, b2 = random_arrays(0, k=1)
    X, _ = random_data(0)
    h = np.tanh(X @ W1 + b1)
    y = (h @ W2 + b2)[:, 0]  # the network is perfect
    score = AblationProbe()._score_units(sample(two_layer(W1, b1, W2, b2, nn.Tanh), X, y))
    close(score, (W2[:, 0] ** 2) * h.var(axis=0) / 2)
