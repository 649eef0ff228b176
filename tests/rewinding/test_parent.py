"""What a parent is asked: dose and response, the size of its basin, and its curvature."""

import numpy as np
import pytest
import torch
from sklearn.base import clone
from torch import nn

from sklflat import SAMClassifier, SAMRegressor, from_module
from sklflat.exceptions import UnsupportedNetworkError
from sklflat.networks import ParameterVector
from sklflat.rewinding import BasinSize, CurvaturePlateau, Instability, OnsetCurve, Parent
from sklflat.rewinding.basin_size import _relative_noise
from sklflat.rewinding.dose_response import onset_of_all
from tests._estimators import IRIS, SPECIES

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
NET = SAMClassifier((8,), learning_rate_init=0.02, max_iter=4, batch_size=20, rho=0)


@pytest.fixture(scope="module")
def parent():
    return Parent.train(NET, IRIS, SPECIES, steps=(0, 6, 23), random_state=0)


def looks(values, steps=None):
    steps = range(len(values)) if steps is None else steps
    return tuple(Instability(k, np.array([v])) for k, v in zip(steps, values, strict=True))


def test_from_the_last_step_no_order_is_left(parent):
    """One batch is left to every copy: the same rows but for those seen, so hardly a barrier."""
    curve = parent.dose_response(n_copies=3)
    assert [p.step for p in curve.points] == [0, 6, 23]
    assert curve.n_trained == 2 * ((24 - 0) + (24 - 6) + (24 - 23))
    consistency = [p.consistency for p in curve.points]
    assert consistency == sorted(consistency)
    assert consistency[-1] > 0.99


def test_copies_without_noise_are_the_parent(parent):
    size = parent.basin_size(6, radii=(0.0, 3.0), n_copies=3)
    np.testing.assert_array_equal(size.points[0].barriers, 0.0)
    assert size.points[0].consistency == pytest.approx(1.0)
    assert size.points[1].consistency < 0.9


def test_noise_moves_each_parameter_by_its_own_length(parent):
    noise = _relative_noise(parent.training, 6, torch.Generator().manual_seed(0))
    vector = ParameterVector.of(parent.training.estimator.module_)
    arrays = parent.training.states[6].arrays
    for name, part in zip(vector.names, vector.views(noise), strict=True):
        assert part.norm() == pytest.approx(np.linalg.norm(arrays[f"module/{name}"]), rel=1e-5)


@pytest.mark.parametrize(
    ("values", "radius", "bounded", "contradictions"),
    [
        ([0.0, 0.01, 0.3, 0.2], 0.2, True, ()),
        ([0.0, 0.0, 0.0, 0.0], 0.8, False, ()),
        ([0.1, 0.2, 0.3, 0.4], np.nan, True, ()),
        ([0.1, 0.0, 0.3, 0.0], np.nan, True, (0.2, 0.8)),
        ([0.0, np.nan, 0.0, 0.3], 0.1, True, (0.4,)),
    ],
)
def test_the_radius_of_a_basin(values, radius, bounded, contradictions):
    """The largest up to which all are connected; a copy that failed is not."""
    size = BasinSize(5, (0.1, 0.2, 0.4, 0.8), looks(values), 0.02)
    np.testing.assert_equal(size.radius, radius)
    assert size.is_bounded == bounded
    assert size.contradictions == contradictions
    assert size.to_frame().connected.tolist() == list(size.is_connected)


def test_the_onset_of_all_looks_is_that_of_the_nearest_falling_curve():
    """By hand: 3, 9 and 0 % are pooled to 6, 6, 0; without pooling the first step would do."""
    assert onset_of_all(looks([0.0, 0.09, 0.0, 0.0]), 0.02).onset == 2
    assert onset_of_all(looks([0.1, np.nan, 0.1]), 0.02).onset is None
    assert onset_of_all(looks([0.01, 0.02, 0.0]), 0.02).entered_at_init


class Positive(nn.Module):
    """A hidden layer whose units are the inputs, all positive, and a linear output."""

    def __init__(self):
        super().__init__()
        self.pick = nn.Linear(3, 3, bias=False)
        self.pick.weight = nn.Parameter(torch.eye(3), requires_grad=False)
        self.output = nn.Linear(3, 1, bias=False)

    def forward(self, X):
        return self.output(self.pick(X).relu())


def test_the_largest_eigenvalue_of_least_squares_in_closed_form():
    """The Hessian of (w x - y)^2 / 2 is X'X / n, whatever w is: curvature is level from step 0."""
    X = np.random.RandomState(0).uniform(size=(60, 3)).astype(np.float32) * [1.0, 2.0, 3.0]
    own = {"max_iter": 3, "batch_size": 20, "learning_rate_init": 0.01, "rho": 0, "alpha": 0}
    parent = Parent.train(
        SAMRegressor(net=Positive(), **own), X, X.sum(axis=1), steps=(0, 2, 5), random_state=0
    )
    trained_on = np.asarray(parent.comparison.recipe.rows.X)
    top = np.linalg.eigvalsh(trained_on.T @ trained_on / len(trained_on))[-1]
    plateau = parent.curvature_plateau()
    np.testing.assert_allclose(plateau.top, top, rtol=1e-5)
    assert plateau.onset == 0


@pytest.mark.parametrize(
    ("top", "onset"),
    [([1, 9, 12, 10], 1), ([10, 9, 12, 10], 0), ([9, 1, 1, 10], 16), ([3, 0, np.nan, 1], 16)],
)
def test_the_plateau_is_the_last_time_that_curvature_settles(top, onset):
    plateau = CurvaturePlateau((0, 1, 4, 16), np.array(top, dtype=float), 2.0)
    assert plateau.onset == onset
    curve = OnsetCurve(looks([0.1, 0.1, 0.0, 0.0], (0, 1, 4, 16)), 0.02, (0, 1, 4, 16), 4)
    by_hand = np.mean([(step >= onset) == (step >= 4) for step in (0, 1, 4, 16)])
    assert plateau.agreement(curve) == by_hand


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("own", "error", "message"),
    [
        ({"steps": (0, 24)}, ValueError, r"0 to 23: the training has 24 steps \(6 an epoch\)"),
        ({"steps": (-1,)}, ValueError, "0 to 23"),
        ({"steps": ()}, ValueError, "0 to 23"),
        ({"estimator": clone(NET).set_params(shuffle=False)}, ValueError, "shuffle=False"),
        (
            {"estimator": from_module(nn.Linear(4, 3), classes=[0, 1, 2])},
            UnsupportedNetworkError,
            "no training to rewind",
        ),
    ],
)
def test_a_parent_that_cannot_be(own, error, message):
    with pytest.raises(error, match=message):
        Parent.train(**{"estimator": NET, "X": IRIS, "y": SPECIES, "random_state": 0, **own})


@pytest.mark.parametrize(
    ("radii", "n_copies", "step", "message"),
    [
        ((), 3, 6, r"radii=\(\) must be"),
        ((-0.1, 1), 3, 6, "radii"),
        ((np.nan,), 3, 6, "radii"),
        ((np.inf,), 3, 6, "radii"),
        ((0.1, 0.1), 3, 6, "radii"),
        ((0.1,), 1, 6, "'n_copies' parameter"),
        ((0.1,), 3, 7, r"step=7 is not kept. Choose one of \(0, 6, 23\)"),
    ],
)
def test_sizes_that_cannot_be(parent, radii, n_copies, step, message):
    with pytest.raises(ValueError, match=message):
        parent.basin_size(step, radii=radii, n_copies=n_copies)


def test_factors_and_copies_that_cannot_be(parent):
    with pytest.raises(ValueError, match="factor=1"):
        parent.curvature_plateau(factor=1)
    with pytest.raises(ValueError, match="'n_copies' parameter"):
        parent.dose_response(n_copies=1)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"holdout": 2.0}, "'holdout' parameter of Parent.train"),
        ({"n_grid": 0}, "'n_grid' parameter of Parent.train"),
        ({"n_grid": -3}, "'n_grid' parameter of Parent.train"),
    ],
)
def test_parameters_of_a_parent_are_checked_before_training(settings, named):
    with pytest.raises(ValueError, match=named):
        Parent.train(NET, IRIS, SPECIES, **settings)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"n_copies": 2.5}, "n_copies"),
        ({"n_copies": 1}, "n_copies"),
        ({"stability_tol": -1}, "tol"),
    ],
)
def test_parameters_of_questions_are_checked(parent, settings, named):
    with pytest.raises(ValueError, match=named):
        parent.dose_response(**settings)
    with pytest.raises(ValueError, match=named):
        parent.basin_size(6, **settings)
