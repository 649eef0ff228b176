"""A task with an onset: digits with random labels, learned by heart; and one without."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

from sklflat import SAMClassifier
from sklflat.rewinding import Parent, find_onset

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
]
SGD = {"solver": "sgd", "learning_rate_init": 0.05, "momentum": 0.9, "batch_size": 32}
SGD |= {"rho": 0, "alpha": 0, "tol": 0, "n_iter_no_change": 100}


def digits(seed, is_random):
    rng = np.random.RandomState(seed)
    X, y = load_digits(return_X_y=True)
    rows = rng.permutation(len(X))[:600]
    labels = rng.randint(10, size=600) if is_random else y[rows]
    return (X[rows] / 16).astype(np.float32), labels


@pytest.mark.parametrize("seed", range(3))
def test_bisection_is_within_a_grid_step_of_brute_force(seed):
    net = SAMClassifier((64, 64, 64), max_iter=60, **SGD, random_state=seed)
    parent = Parent.train(net, *digits(seed, is_random=True), n_grid=8, random_state=seed)
    brute = parent.dose_response(n_copies=4, stability_tol=0.1)
    points = {p.step: p for p in brute.points}
    found = find_onset(points.__getitem__, parent.steps, 0.1)
    assert not brute.entered_at_init
    assert not found.entered_at_init
    place = parent.steps.index
    assert abs(place(found.onset) - place(brute.onset)) <= 1
    # what bisection is for: it looks at less, and units are the more alike the later the step
    assert found.n_trained < 0.7 * brute.n_trained
    consistency = [p.consistency for p in brute.points]
    assert consistency[0] < consistency[-2] < consistency[-1]


def test_basins_are_wider_later_in_training():
    net = SAMClassifier((64, 64, 64), max_iter=60, **SGD, random_state=0)
    X, y = digits(0, is_random=True)
    parent = Parent.train(net, X, y, steps=(0, 700), random_state=0)
    early, late = (parent.basin_size(step, radii=(0.1, 0.4)) for step in (0, 700))
    assert late.points[0].value < early.points[0].value
    assert late.points[1].value < early.points[1].value


def test_own_labels_are_stable_from_the_first_step_by_all_looks():
    net = SAMClassifier((32,), max_iter=20, **SGD, random_state=0)
    parent = Parent.train(net, *digits(0, is_random=False), n_grid=6, random_state=0)
    curve = parent.dose_response(n_copies=3)
    assert curve.entered_at_init
    assert curve.contradictions == ()
