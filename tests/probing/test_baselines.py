"""The baseline scores, against closed forms and their axioms."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LinearRegression
from sklearn.metrics import roc_auc_score
from torch import nn

from sklflat import SAMClassifier, from_module
from sklflat.datasets import make_teacher_student
from sklflat.exceptions import UnsupportedNetworkError
from sklflat.probing.attribution import loss_attributions, optimal_inputs
from sklflat.probing.baselines import (
    BASELINES,
    baseline_scores,
    input_permutation,
    linear_probing,
    optimal_activation,
    weight_norm,
)
from tests._probes import random_arrays, random_data, sample, two_layer

SEEDS = st.integers(0, 10_000)
#: those that ReLU rescaling leaves alone
RESCALED = sorted(set(BASELINES) - {"activation variance", "random"})


def scores_of(name, s):
    random = {"random_state": 0} if name in ("input permutation", "random") else {}
    return BASELINES[name](s, **random)


def close(a, b):
    np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-8)


def test_weight_norm_by_hand():
    W1, b1, W2, b2 = random_arrays(0)
    X, y = random_data(0)
    expected = np.sqrt((W1**2).sum(0) + b1**2) * np.sqrt((W2**2).sum(1))
    close(weight_norm(sample(two_layer(W1, b1, W2, b2), X, y)), expected)


def test_attributions_add_up_to_the_difference_of_the_loss():
    """Completeness: Sundararajan, Taly and Yan (2017), proposition 1."""
    module = two_layer(*random_arrays(1), nn.Tanh)
    X, y = random_data(1)
    s = sample(module, X, y)
    attributions = loss_attributions(s)
    with torch.no_grad():
        at_mean = module[2](torch.as_tensor(s.activations.mean(0))[None].repeat(len(y), 1))
    difference = s.network.losses(s.X, s.target) - nn.functional.cross_entropy(
        at_mean, s.target, reduction="none"
    )
    close(attributions.sum(1), difference.numpy())


def test_attributions_of_a_squared_loss():
    """For one unit, loss (w a + b - y)^2 / 2, the attribution is the whole difference."""
    W1, b1, W2, b2 = random_arrays(2, h=1, k=1)
    X, _ = random_data(2)
    y = X[:, 0]
    s = sample(two_layer(W1, b1, W2, b2, nn.Tanh), X, y)
    a = s.activations[:, 0]
    losses = [(W2[0, 0] * v + b2[0] - y) ** 2 / 2 for v in (a, a.mean())]
    close(loss_attributions(s)[:, 0], losses[0] - losses[1])


def test_attributions_of_channels_add_their_positions_up():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv1d(1, 3, 3), nn.Tanh(), nn.Flatten(), nn.Linear(18, 2)).double()
    X, y = np.random.RandomState(0).normal(size=(20, 1, 8)), np.arange(20) % 2
    s = sample(module, X, y)
    with torch.no_grad():
        a = module[:2](torch.as_tensor(X))
        mean = torch.as_tensor(s.activations.mean(0)).view(1, 3, 1).expand_as(a)
        before, after = (
            nn.functional.cross_entropy(module[2:](v), torch.as_tensor(y), reduction="none")
            for v in (mean, a)
        )
    close(loss_attributions(s).sum(1), (after - before).numpy())


def test_optimal_inputs_of_a_first_layer():
    W1, b1, W2, b2 = random_arrays(3)
    X, y = random_data(3)
    X = X * [1, 10, 0.1, 1] + 3
    s = sample(two_layer(W1, b1 + 50, W2, b2), X, y)  # active everywhere: linear
    found = optimal_inputs(s, radius=2.0)
    scaled = (W1 * X.std(0)[:, None]).T  # gradient in standardised inputs
    norms = np.linalg.norm(scaled, axis=1)
    best = X.mean(0) + X.std(0) * 2 * scaled / norms[:, None]
    # the ascent ends near the optimum, where activations are flat
    optimum = X.mean(0) @ W1 + b1 + 50 + 2 * norms
    np.testing.assert_allclose(found.activations, optimum, rtol=1e-4)
    assert (found.activations <= optimum + 1e-9).all()
    np.testing.assert_allclose((found.inputs - best) / X.std(0), 0, atol=0.02)
    radius = np.sqrt(X.shape[1])  # of the samples: every input has variance 1
    A = X @ W1 + b1 + 50
    expected = (X.mean(0) @ W1 + b1 + 50 + radius * norms - A.mean(0)) / A.std(0)
    np.testing.assert_allclose(optimal_activation(s), expected, rtol=1e-3)


def test_linear_probing_finds_the_readout_of_a_regression():
    W1, b1, W2, b2 = random_arrays(4, k=1)
    X = np.random.RandomState(0).normal(size=(3000, 4))
    module = two_layer(W1, b1, W2, b2, nn.Tanh)
    h = np.tanh(X @ W1 + b1)
    y = (h @ W2 + b2)[:, 0]
    Z = (h - h.mean(0)) / h.std(0)
    expected = np.abs(LinearRegression().fit(Z, y).coef_)
    np.testing.assert_allclose(linear_probing(sample(module, X, y)), expected, rtol=0.05, atol=0.02)


def test_input_permutation_knows_which_input_matters():
    X = np.random.RandomState(0).normal(size=(200, 2))
    y = X[:, 0]
    W1 = np.array([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0]])  # read the first input, the second, both
    module = two_layer(W1, np.zeros(3), [[1.0], [0.0], [0.0]], [0.0], nn.Identity)
    with pytest.raises(UnsupportedNetworkError):  # a linear network has no hidden units
        sample(module, X, y)
    module = two_layer(W1 * 1e-3, np.zeros(3), [[1e3], [0.0], [0.0]], [0.0], nn.Tanh)
    scores = input_permutation(sample(module, X, y), n_repeats=200, random_state=0)
    # y = x_0: shuffled, the squared loss rises to var(x_0)
    assert scores[0] == pytest.approx(X[:, 0].var(), rel=0.02)
    assert scores[1] == pytest.approx(0, abs=1e-6)
    std = X[np.linspace(0, 199, 100).round().astype(int)].std(0)  # of evenly spread rows
    assert scores[2] == pytest.approx(scores[0] * std[0] / std.sum(), rel=1e-3)


@pytest.mark.parametrize("name", sorted(set(BASELINES) - {"random"}))
@settings(max_examples=5, deadline=None)
@given(seed=SEEDS)
def test_permuting_units_and_batches(name, seed):
    W1, b1, W2, b2 = random_arrays(seed)
    X, y = random_data(seed)
    order = np.random.RandomState(seed).permutation(len(b1))
    plain = scores_of(name, sample(two_layer(W1, b1, W2, b2), X, y))
    other = sample(two_layer(W1[:, order], b1[order], W2[order], b2), X, y)
    other.network.batch_size = 7
    tolerance = 1e-3 if name in ("linear probing", "optimal activation") else 1e-6  # iterations end
    np.testing.assert_allclose(scores_of(name, other), plain[order], rtol=tolerance, atol=1e-6)


@pytest.mark.parametrize("name", RESCALED)
@settings(max_examples=5, deadline=None)
@given(seed=SEEDS, alpha=st.floats(0.1, 10))
def test_relu_rescaling_and_dead_units(name, seed, alpha):
    W1, b1, W2, b2 = random_arrays(seed)
    X, y = random_data(seed)
    a = np.ones(len(b1))
    a[0] = alpha
    dead = np.hstack([W1 * a, np.zeros((4, 1))]), np.append(b1 * a, -1.0)
    plain = scores_of(name, sample(two_layer(W1, b1, W2, b2), X, y))
    module = two_layer(*dead, np.vstack([W2 / a[:, None], W2[:1]]), b2)
    rescaled = scores_of(name, sample(module, X, y))
    np.testing.assert_allclose(rescaled, np.append(plain, 0), rtol=1e-5, atol=1e-7)


def test_all_at_once_on_a_convolutional_network():
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(1, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(64, 5),
        nn.Tanh(),
        nn.Linear(5, 3),
    )
    X = np.random.RandomState(0).normal(size=(30, 1, 6, 6))
    scores = baseline_scores(
        from_module(module, classes=[0, 1, 2]), X, np.arange(30) % 3, random_state=0
    )
    assert set(scores) == set(BASELINES)
    for values in scores.values():
        assert values.shape == (9,)
        assert np.isfinite(values).all()
        assert values.max() > 0


@pytest.mark.slow
def test_the_teachers_units_are_found_in_the_student():
    """Preliminary figures of three seeds: weight norm .98, variance .95, ablation .89."""
    aucs = {name: [] for name in BASELINES}
    for seed in range(3):
        X, y, truth = make_teacher_student(2000, task="classification", random_state=seed)
        clf = SAMClassifier(
            (40,), rho=0, solver="sgd", learning_rate_init=0.05, max_iter=300,
            n_iter_no_change=300, random_state=seed,
        ).fit(X, y)  # fmt: skip
        real = truth.real_units(clf.transform(X), threshold=0.95)
        for name, scores in baseline_scores(clf, X, y, random_state=seed).items():
            aucs[name].append(roc_auc_score(real, scores))
    means = {name: np.mean(values) for name, values in aucs.items()}
    print({name: round(mean, 2) for name, mean in means.items()})
    assert means["weight norm"] > 0.9
    assert means["activation variance"] > 0.85
    assert means["ablation"] > 0.85
    assert 0.3 < means["random"] < 0.7
