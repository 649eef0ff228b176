"""Flat noise at its defaults on scikit-learn's tables: where it is, and its cost."""

import warnings

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_iris, load_wine
from sklearn.exceptions import ConvergenceWarning
from sklearn.preprocessing import StandardScaler

from sklflat import FlatNoiseClassifier, FlatNoiseRegressor, SAMClassifier
from sklflat.curvature import eigenpairs, subspace_overlap
from sklflat.exceptions import NoiseWarning
from sklflat.training.perturbations import FlatNoise
from tests._slow import slow_after

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

TABLES = {
    "wine": load_wine,
    "iris": load_iris,
    "breast cancer": load_breast_cancer,
    "digits": load_digits,
    "diabetes": load_diabetes,
}


def table(name):
    X, y = TABLES[name](return_X_y=True)
    y = (y - y.mean()) / y.std() if name == "diabetes" else y
    return StandardScaler().fit_transform(X), y


def estimator(name, **given):
    known = FlatNoiseRegressor if name == "diabetes" else FlatNoiseClassifier
    return known(random_state=0, **given)


def steps_of(name, n_steps):
    """Parameters for so many steps, whatever the loss."""
    per_epoch = -(-len(table(name)[0]) // 200)
    return {"max_iter": n_steps // per_epoch, "tol": 0, "n_iter_no_change": 10**6}


def cost(model, n_rows):
    """Work in plain fits: a product is two gradients, a forward pass a third of one."""
    share = min(model.max_samples, n_rows) / min(200, n_rows)
    extra = share * (2 * model.n_products_ + model.n_loss_evaluations_ / 3)
    return 1 + extra / model.n_gradient_evaluations_


@pytest.mark.parametrize("name", slow_after(2, TABLES))
def test_it_does_not_say_of_itself_that_it_did_not_happen(name):
    X, y = table(name)
    with warnings.catch_warnings():
        warnings.simplefilter("error", NoiseWarning)
        model = estimator(name).fit(X, y)
    assert model.noise_scale_ > 0
    assert len(model.subspace_overlap_) >= 5
    assert np.median(model.subspace_overlap_) > 0.8


@pytest.mark.slow
@pytest.mark.parametrize(("n_steps", "limit"), [(300, 2.0), (1200, 1.5)])
@pytest.mark.parametrize("name", TABLES)
def test_the_subspace_is_that_of_the_top_eigenvectors_at_9_of_10_steps(
    name, n_steps, limit, monkeypatch
):
    """After the first 5 % of the steps, against eigenpairs found anew; and what that costs."""
    X, y = table(name)
    at_steps, perturb = [], FlatNoise.perturb

    def watched(self, g, at, state):
        found = perturb(self, g, at, state)
        at_steps.append((at.landscape, at.w.clone(), found[1]["vectors"]))
        return found

    monkeypatch.setattr(FlatNoise, "perturb", watched)
    model = estimator(name, **steps_of(name, n_steps)).fit(X, y)
    n = len(at_steps)
    overlaps = []
    for t in np.linspace(0.05 * n, n - 1, 25).round().astype(int):
        landscape, w, V = at_steps[t]
        exact = eigenpairs(landscape.hessian(w), len(V), "magnitude", tol=1e-3, audit=False)
        overlaps.append(subspace_overlap(V, exact.vectors.to(V)))
    # digits are learned within 300 steps, so their Hessian turns faster than can be paid for; on
    # iris, which is learned perfectly in the end, its directions change places (21 of 25 measured)
    exceptions = {("digits", 300): (0.6, 2.2), ("iris", 1200): (0.8, limit)}
    share, limit = exceptions.get((name, n_steps), (0.9, limit))
    assert np.mean(np.array(overlaps) >= 0.8) >= share, np.round(overlaps, 2)
    assert cost(model, len(X)) <= limit


def test_training_ends_by_the_loss_without_noise():
    """The loss under noise goes up and down, which ended training in half the time."""
    X, y = table("wine")
    own = {"max_iter": 400, "tol": 1e-3, "learning_rate_init": 0.005, "random_state": 0}
    plain = SAMClassifier(rho=0, **own).fit(X, y)
    noisy = FlatNoiseClassifier(sigma=0.2, **own).fit(X, y)
    assert 0.8 * plain.n_iter_ < noisy.n_iter_ < 400
    assert noisy.best_loss_ < min(noisy.loss_curve_)
    # all rows are the landscape's here, so the best loss is one that MLPClassifier would compute
    P = noisy.predict_proba(X)[np.arange(len(X)), y]
    l2 = 0.5 * noisy.alpha / len(X) * sum(np.sum(W**2) for W in noisy.coefs_)
    assert noisy.best_loss_ == pytest.approx(-np.log(P).mean() + l2, rel=0.03)


def test_noise_that_costs_nothing_at_its_longest_is_a_success_of_flat_noise_only():
    X, y = table("iris")
    with warnings.catch_warnings():
        warnings.simplefilter("error", NoiseWarning)
        warnings.simplefilter("ignore", ConvergenceWarning)
        clf = FlatNoiseClassifier(max_iter=20, sigma=0.5, random_state=0).fit(X, y)
    assert (clf.noise_history_["state"] == 1).all()
    assert clf.noise_scale_ == pytest.approx(0.25)
    control = clf.set_params(subspace="random")
    with pytest.warns(NoiseWarning, match="times the parameters' length"):
        control.fit(X, y)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["wine", "breast cancer"])
def test_flat_noise_is_distinguishable_from_random_noise(name):
    """At the same rise of the loss it is longer, at the end of a training.

    On digits it is not (1.02 times as long): eight directions hold little of the trace of a
    Hessian of ten classes. The page says so.
    """
    X, y = table(name)
    own = steps_of(name, 1200)
    flat, random = (
        estimator(name, subspace=subspace, sigma=0.01, **own).fit(X, y).noise_scale_
        for subspace in ("flat", "random")
    )
    assert flat > 1.15 * random
