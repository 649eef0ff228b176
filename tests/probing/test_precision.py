"""Networks are run in their own precision, and in another one where that is asked for."""

import numpy as np
import pytest
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.frozen import FrozenEstimator
from torch import nn

from sklflat import (
    AblationProbe,
    ActivationProbe,
    HessianSpectrum,
    ModeConnectivityProbe,
    PruningPath,
    SAMClassifier,
    SurrogateAligner,
    TemperatureProbe,
    UniversalityProbe,
    from_module,
)
from sklflat.exceptions import UnsupportedNetworkError
from sklflat.probing import resolve
from tests._estimators import IRIS, SPECIES

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklflat.exceptions.NothingFoundWarning"),
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
]
EPS = float(np.finfo(np.float32).eps)


def single(seed=0):
    """A float32 network that knows the iris."""
    fitted = SAMClassifier((8,), random_state=seed, learning_rate_init=0.02, max_iter=60)
    with pytest.warns(ConvergenceWarning):
        return fitted.fit(IRIS.astype("float32"), SPECIES).module_


MODULES = [single(0), single(1)]
NETWORK = from_module(MODULES[0], classes=[0, 1, 2])
PROBES = {
    "activation": lambda **k: ActivationProbe(NETWORK, random_state=0, **k),
    "ablation": lambda **k: AblationProbe(NETWORK, random_state=0, **k),
    "hessian": lambda **k: HessianSpectrum(NETWORK, n_components=4, random_state=0, **k),
    "connectivity": lambda **k: ModeConnectivityProbe(
        [from_module(m, classes=[0, 1, 2]) for m in MODULES], n_points=5, random_state=0, **k
    ),
    "universality": lambda **k: UniversalityProbe(
        [from_module(m, classes=[0, 1, 2]) for m in [*MODULES, single(2)]], random_state=0, **k
    ),
    "temperature": lambda **k: TemperatureProbe(NETWORK, n_bootstrap=5, random_state=0, **k),
    "pruning": lambda **k: PruningPath(NETWORK, n_random=5, random_state=0, **k),
    "surrogate": lambda **k: SurrogateAligner(
        NETWORK, n_redraws=2, n_basin_models=3, random_state=0, **k
    ),
}


@pytest.mark.filterwarnings("ignore")  # what the few rows do not show is said
@pytest.mark.parametrize("make", PROBES.values(), ids=PROBES)
def test_scores_are_those_of_double_precision_up_to_rounding(make):
    own, exact = (make(dtype=dtype).fit(IRIS, SPECIES) for dtype in (None, "float64"))
    assert own._trained_network().network.dtype == torch.float32
    assert exact._trained_network().network.dtype == torch.float64
    scale = np.abs(exact.unit_scores_).max()
    if isinstance(own, UniversalityProbe):  # weights are drawn anew in the precision
        np.testing.assert_allclose(own.returns_, exact.returns_, atol=1e-4)
    elif not isinstance(own, SurrogateAligner):  # whose trees split where rounding decides
        np.testing.assert_allclose(own.unit_scores_, exact.unit_scores_, atol=1e-4 * scale)
    np.testing.assert_allclose(own.unit_means_, exact.unit_means_, atol=20 * EPS * 10)
    assert own.transform(IRIS).dtype == np.float64


def test_eigenpairs_of_single_precision_are_certified():
    own, exact = (PROBES["hessian"](dtype=d).fit(IRIS, SPECIES) for d in (None, "float64"))
    assert own.converged_
    assert 0 < own.rounding_error_ < 1e-4
    assert exact.rounding_error_ == 0
    largest = exact.eigenvalues_[0]
    np.testing.assert_allclose(own.eigenvalues_, exact.eigenvalues_, atol=50 * EPS * largest)


@pytest.mark.parametrize("dtype", ["float16", "double", torch.float64])
def test_other_precisions_are_named(dtype):
    with pytest.raises(ValueError, match=r"'dtype' parameter of ActivationProbe.*float32"):
        ActivationProbe(NETWORK, dtype=dtype).fit(IRIS, SPECIES)


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_single(half):
    module = single().to(half)
    probe = ActivationProbe(from_module(module, classes=[0, 1, 2]), random_state=0)
    probe.fit(IRIS, SPECIES)
    assert probe._trained_network().network.dtype == torch.float32
    exact = ActivationProbe(from_module(module.double(), classes=[0, 1, 2]), random_state=0).fit(
        IRIS, SPECIES
    )
    np.testing.assert_allclose(probe.unit_scores_, exact.unit_scores_, atol=1e-5)


class SumsToOne(nn.Module):
    """Its second unit is a sum of shares, so it is 1 in all rows up to rounding."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second, self.last = nn.Linear(4, 50), nn.Linear(50, 6), nn.Linear(6, 3)
        with torch.no_grad():
            self.second.weight[1] = 1.0
            self.second.bias[1] = 0.0

    def forward(self, X):
        return self.last(torch.relu(self.second(self.first(X).softmax(1))))


@pytest.mark.parametrize("dtype", [None, "float64"])
def test_a_unit_that_varies_by_rounding_is_dead(dtype):
    network = from_module(SumsToOne(), classes=[0, 1, 2])
    probe = ActivationProbe(network, layers=["relu"], dtype=dtype, random_state=0)
    probe.fit(IRIS, SPECIES)
    assert probe.unit_variances_[1] < 1e-12
    assert probe.dead_[1]
    assert probe.dead_.sum() < 6


def test_units_that_nothing_reads_are_not_needed_for_their_rounding():
    module = single()
    with torch.no_grad():
        [m for m in module.modules() if isinstance(m, nn.Linear)][-1].weight[:, ::2] = 0
    probe = AblationProbe(from_module(module, classes=[0, 1, 2]), random_state=0)
    probe.fit(IRIS, SPECIES)
    np.testing.assert_array_equal(probe.unit_scores_[::2], 0)
    assert not probe.support_[::2].any()


def test_numbers_too_large_for_the_precision_are_named():
    X = IRIS.copy()
    X[3, 1] = 1e60
    with pytest.raises(ValueError, match=r"up to 1e\+60 .*float32.*dtype='float64'"):
        NETWORK.predict(X)
    with pytest.raises(ValueError, match="float32"):
        ActivationProbe(NETWORK).fit(X, SPECIES)
    assert ActivationProbe(NETWORK, dtype="float64").fit(X, SPECIES).unit_scores_.size == 8


def test_the_estimators_own_precision_is_kept():
    for X, dtype in ((IRIS, torch.float64), (IRIS.astype("float32"), torch.float32)):
        with pytest.warns(ConvergenceWarning):
            fitted = SAMClassifier((4,), max_iter=3, random_state=0).fit(X, SPECIES)
        assert resolve(FrozenEstimator(fitted)).network.dtype == dtype
        assert resolve(fitted, "float64").network.dtype == torch.float64


class Casts(nn.Module):
    """It rounds what it is given to single precision."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Linear(4, 6), nn.Linear(6, 3)

    def forward(self, X):
        return self.last(torch.relu(self.first(X.float())))


class Autocasts(Casts):
    """It works in half precision inside, as one that was trained on a GPU."""

    def forward(self, X):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return super().forward(X).float()


def test_a_precision_that_a_network_cannot_have_is_refused():
    network = from_module(Casts(), classes=[0, 1, 2])
    assert ActivationProbe(network, random_state=0).fit(IRIS, SPECIES).unit_scores_.size == 6
    with pytest.raises(UnsupportedNetworkError, match=r"cannot be run in float64.*Leave out dtype"):
        ActivationProbe(network, dtype="float64").fit(IRIS, SPECIES)


def test_half_precision_inside_is_left_to_the_network():
    module = Autocasts()
    network = from_module(module, classes=[0, 1, 2])
    with torch.no_grad():
        own = module(torch.as_tensor(IRIS).float()).double().numpy()
    np.testing.assert_array_equal(network.decision_function(IRIS), own)
    probe = AblationProbe(network, n_null=200, random_state=0).fit(IRIS, SPECIES)
    plain = AblationProbe(from_module(Casts(), classes=[0, 1, 2]), n_null=200, random_state=0)
    plain.fit(IRIS, SPECIES)
    np.testing.assert_allclose(probe.unit_scores_, plain.unit_scores_, atol=0.02)
