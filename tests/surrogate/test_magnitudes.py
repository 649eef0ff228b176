"""SurrogateAligner: what it says does not depend on the units of the inputs and the outputs."""

import numpy as np
import pytest
import torch
from torch import nn

from sklflat import SurrogateAligner, from_module
from sklflat.networks import Network
from sklflat.surrogate.bisection import attribution_profile, bisection_test, leaf_profiles
from sklflat.surrogate.teacher import Answers

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklflat.exceptions.NothingFoundWarning"),
    pytest.mark.filterwarnings("ignore::sklflat.exceptions.SurrogateWarning"),
]

rng = np.random.RandomState(0)
X = rng.normal(size=(200, 4))
y = (X[:, 0] * X[:, 1] > 0).astype(int)
QUICK = {"n_null": 20, "n_redraws": 1, "n_basin_models": 6, "random_state": 0}


def relu_network(dtype=torch.float32, n_outputs=2):
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(4, 8, bias=False), nn.ReLU(), nn.Linear(8, n_outputs))
    nn.init.zeros_(module[2].bias)
    return module.to(dtype)


def test_inputs_that_overflow_when_they_are_squared():
    """Of 1e20 in single precision: the network is homogeneous, so its labels are the same."""
    network = from_module(relu_network(), classes=[0, 1])
    found = SurrogateAligner(network, **QUICK).fit(2.0**66 * X, y)
    right = SurrogateAligner(network, **QUICK).fit(X, y)
    np.testing.assert_allclose(found.unit_scores_, right.unit_scores_, atol=1e-6)
    assert np.isfinite(found.unit_scores_).all()


@pytest.mark.parametrize("scale", [1e-25, 1.0, 1e25])
def test_attribution_has_no_unit(scale):
    x = torch.as_tensor(X).float()
    right = attribution_profile(Network(relu_network(), nn.CrossEntropyLoss()), x)
    module = relu_network()
    found = attribution_profile(Network(module, nn.CrossEntropyLoss()), scale * x)
    np.testing.assert_allclose(found, right, rtol=1e-4)
    with torch.no_grad():
        module[2].weight *= scale
    found = attribution_profile(Network(module, nn.CrossEntropyLoss()), x)
    np.testing.assert_allclose(found, right, rtol=1e-4)


@pytest.mark.parametrize("scale", [1e-200, 1e-9, 1e200])
def test_groups_of_regressors_have_no_unit(scale):
    """Squares of 1e-200 are 0: models were called the same, and the test undecided."""
    kind = np.arange(12) % 2
    surrogate = Answers(np.zeros((30, 1)), None)
    models = [Answers(scale * (1 + k + rng.uniform(size=(30, 1)) / 9), None) for k in kind]
    profiles = leaf_profiles(np.arange(30) // 10, surrogate, models)
    mechanisms = kind[:, None] + np.linspace(0, 0.1, 12)[:, None]
    test = bisection_test(profiles, mechanisms, models, random_state=0)
    assert test.ami == pytest.approx(1.0)
    assert np.isfinite([test.same_within, test.same_between]).all()


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_numbers_too_large_for_a_tree_are_named():
    for n_outputs, classes in ((2, [0, 1]), (1, None)):
        network = from_module(relu_network(torch.float64, n_outputs), classes=classes)
        with pytest.raises(ValueError, match=r"'x2' has numbers up to .*e\+50.*Scale X"):
            SurrogateAligner(network, **QUICK).fit(X * [1, 1, 1e50, 1], y)
