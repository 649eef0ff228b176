"""What subspace checks cost, how well they meet a budget, and that they survive a checkpoint."""

import pickle

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

from benchmarks.flat_noise import lengths
from sklflat import FlatNoiseClassifier
from sklflat.curvature import (
    Displacements,
    InSubspace,
    Landscape,
    MatrixOperator,
    NoiseGauge,
    Spread,
    eigenpairs,
    normal,
)
from sklflat.exceptions import NoiseWarning
from sklflat.networks import Network
from sklflat.training.perturbations import FlatNoise, Position
from tests._estimators import DIGIT, DIGITS

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def bowl(curvatures):
    """The loss ``sum_j h_j w_j^2 / 2`` of a linear network, and isotropic noise."""
    h = torch.as_tensor(curvatures).double()
    layer = nn.Linear(len(h), 1, bias=False).double()
    X = torch.diag((len(h) * h / 2).sqrt())  # the mean of (x_i w)^2 over the rows
    land = Landscape(Network(layer, nn.MSELoss()), X, torch.zeros(len(h), 1).double())
    w = torch.zeros(len(h)).double()
    everywhere = InSubspace(w.new_zeros(0, len(h)), w.new_zeros(0), 1.0)
    return land, w, Displacements(Spread(torch.ones_like(w), land.filters), everywhere)


def test_few_draws_say_how_a_rise_has_changed():
    """On a quadratic all rises change by one factor, so that few draws say what all would."""
    land, w, noise = bowl(np.geomspace(1, 0.01, 30))
    first = NoiseGauge(land, w, noise, 6, (3,))
    c, found = first.scale_for_rise(1.0, 0.1, 100.0)
    n = len(first.rises)
    draws = noise(torch.stack([normal((3, i), w) for i in range(n)]))
    h = torch.as_tensor(np.geomspace(1, 0.01, 30))
    exact = float((0.5 * draws.square() @ h).mean())
    assert n > 6
    assert found.value == pytest.approx(1.0, rel=0.03)
    before = land.n_passes
    later = NoiseGauge(land, w, noise, 6, (3,), rises=first.rises).rise(1.3 * c, 1.5)
    assert land.n_passes - before == 1 + 2 * 6
    assert later.value == pytest.approx((1.3 * c) ** 2 * exact, rel=1e-6)


def test_rises_of_another_landscape_are_of_no_use_and_not_used():
    land, w, noise = bowl(np.geomspace(1, 0.01, 30))
    foreign = np.random.RandomState(0).normal(size=64)  # unrelated to what the draws do here
    gauge = NoiseGauge(land, w, noise, 6, (3,), rises=foreign)
    expected = 0.5 * np.geomspace(1, 0.01, 30).sum()
    found = gauge.rise(1.0, expected)
    assert abs(found.value - expected) < 4 * found.std_error
    assert found.std_error < 0.05 * expected


def test_top_by_magnitude_against_a_dense_matrix():
    A = torch.diag(torch.linspace(-300, 400, 900).double())
    pairs = eigenpairs(MatrixOperator(A), 4, "magnitude", max_dense=0)
    expected = np.sort(np.linspace(-300, 400, 900)[-4:])[::-1]
    np.testing.assert_allclose(pairs.values, expected, rtol=1e-3)
    values = torch.tensor([9.0, 6.0, -5.0, 1.0, 0.5, 0.3, 0.2, 0.1]).double()
    dense = eigenpairs(MatrixOperator(torch.diag(values)), 3, "magnitude")
    np.testing.assert_allclose(dense.values, [9, 6, -5])


@pytest.mark.slow
@pytest.mark.parametrize("subspace", ["flat", "isotropic", "sharp"])
def test_the_budget_is_met_for_draws_that_were_not_used_to_fill_it(subspace, monkeypatch):
    """At every check of a training, the rise under 300 pairs of fresh draws."""
    off = []
    check = FlatNoise._check

    def checked(self, at, n, state):
        state = check(self, at, n, state)
        noise = self._displacements(at.landscape, state, float(state["scale"]))
        loss = at.landscape.loss(at.w)
        xi = noise(torch.stack([normal((9, n, i), at.w) for i in range(300)]))
        rise = np.mean([at.landscape.loss(at.w + s * x) for x in xi for s in (1, -1)]) - loss
        if state["looks"][-1, -1] == 0:
            off.append(abs(rise / loss / 0.05 - 1))
        return state

    monkeypatch.setattr(FlatNoise, "_check", checked)
    X, y = load_digits(return_X_y=True)
    common = {"max_iter": 25, "batch_size": 50, "learning_rate_init": 0.005, "refresh": 50}
    FlatNoiseClassifier((32,), sigma=0.05, subspace=subspace, random_state=1, **common).fit(
        X[:1000] / 16, y[:1000]
    )
    assert len(off) >= 8
    # six pairs of draws, and more in later steps, are worth a standard error of about 10 %
    assert np.median(off) < 0.1
    assert np.mean(np.array(off) < 0.2) >= 0.75


@pytest.mark.slow
@pytest.mark.parametrize(
    ("hidden", "n_samples", "n_steps"), [((8,), 200, 2007), ((100,), 1797, 9 * 223)]
)
def test_two_thousand_steps_cost_at_most_1_4_plain_ones(hidden, n_samples, n_steps):
    """Counted in gradients of a batch, over two intervals between refreshes.

    A subspace that is followed at steps 6, 12, 24 and so on takes products that one of the initial
    weights, kept for a thousand steps, did not: with that the limit was 1.3.

    On all digits everything is the default.
    """
    X, y = load_digits(return_X_y=True)
    X, y = X[:n_samples] / 16, y[:n_samples]
    per_epoch = -(-n_samples // 200)
    own = {"max_iter": n_steps // per_epoch, "tol": 0, "n_iter_no_change": 10_000}
    clf = FlatNoiseClassifier(hidden, random_state=0, **own).fit(X, y)
    n = clf.n_gradient_evaluations_
    assert n == n_steps > 2 * clf.refresh
    # a product costs about two gradients and a forward pass a third of one, of as many samples:
    # checks see max_samples of them, or all that there are, and a batch has 200
    share = min(clf.max_samples, n_samples) / 200
    extra = share * (2 * clf.n_products_ + clf.n_loss_evaluations_ / 3)
    assert 1 + extra / n <= 1.4


@pytest.mark.parametrize("antithetic", [True, False, "increments"])
def test_a_checkpoint_at_any_step_goes_on_to_the_same_bits(antithetic):
    land, w, _ = bowl(np.geomspace(1, 0.01, 30))
    w = w + 1
    noise = FlatNoise(0.05, n_directions=3, refresh=8, antithetic=antithetic)

    def steps(state, first, last):
        points = []
        for t in range(first, last):
            at = Position(w * 0.99**t, w > 99, 0.1, landscape=land, seeds=(5, t))
            point, state = noise.perturb(None, at, state)
            points.append(point)
        return points, state

    whole, _ = steps(noise.init(w), 0, 24)
    for stop in (1, 5, 8, 13, 16):
        state = pickle.loads(pickle.dumps(steps(noise.init(w), 0, stop)[1]))
        for a, b in zip(steps(state, stop, 24)[0], whole[stop:], strict=True):
            assert torch.equal(a, b)


@pytest.mark.slow
@pytest.mark.parametrize(("activation", "rises"), [("tanh", (1e-4, 0.02)), ("relu", (1e-9, 1e-3))])
def test_length_at_equal_rise_follows_the_share_of_the_trace(activation, rises):
    """At equal rise flat noise is ``sqrt(1 / (1 - s))`` times as long as isotropic noise."""
    # with ReLUs a rise of 1e-3 has kinks in it, which no Hessian knows: 14 % at k = 50
    formula, measured = lengths(0, activation, rises)
    assert (np.diff(formula) > 0).all()
    assert np.abs(measured / formula - 1).max() < 0.15


#: few neurons, small batches and a high learning rate
WILD = {
    "hidden_layer_sizes": (16,),
    "solver": "sgd",
    "batch_size": 50,
    "n_directions": 5,
    "sigma": 0.02,
    "random_state": 0,
}


@pytest.mark.parametrize("seed", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_a_subspace_that_is_gone_for_long_is_noticed(seed):
    """At a high learning rate the Hessian turns faster than it is followed."""
    own = {**WILD, "learning_rate_init": 0.5, "refresh": 400, "max_iter": 80}
    with pytest.warns(NoiseWarning, match=r"drifts.*at the worst 0\."):
        clf = FlatNoiseClassifier(**{**own, "random_state": seed}).fit(DIGITS, DIGIT)
    assert np.median(clf.subspace_overlap_) < 0.5


def test_drift_is_noticed():
    own = {"learning_rate_init": 0.5, "refresh": 100, "max_iter": 40}
    with pytest.warns(NoiseWarning, match="drifts"):
        clf = FlatNoiseClassifier(**WILD, **own).fit(DIGITS, DIGIT)
    assert np.median(clf.subspace_overlap_) < 0.8
    # and refreshed away, long before ``refresh`` steps were over
    own = {"learning_rate_init": 0.01, "refresh": 80, "max_iter": 20}
    calm = FlatNoiseClassifier(**{**WILD, "solver": "adam", **own}).fit(DIGITS, DIGIT)
    drifted = calm.noise_history_["kept"] < 0.8
    assert drifted.any()
    assert np.isfinite(calm.noise_history_["overlap"][drifted]).all()
