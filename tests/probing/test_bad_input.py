"""What probes say to input that nobody meant."""

import numpy as np
import pytest
import torch
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.preprocessing import StandardScaler
from torch import nn

from sklflat import (
    AblationProbe,
    ActivationProbe,
    HessianSpectrum,
    PruningPath,
    SAMClassifier,
    SurrogateAligner,
    TemperatureProbe,
    UnitConsensus,
    from_module,
)
from sklflat.exceptions import OutputWidthError, UnsupportedNetworkError
from tests._estimators import IRIS, SPECIES
from tests._probes import random_arrays, random_data, two_layer

PROBES = [AblationProbe, ActivationProbe]
LABELS = np.array(["setosa", "versicolor", "virginica"])
NAMES = LABELS[SPECIES]
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def network(**parameters):
    return SAMClassifier((12,), learning_rate_init=0.02, random_state=0, **parameters)


class TwoInputs(nn.Module):
    def forward(self, X, mask):
        return X * mask


def dead():
    W1, b1, W2, b2 = random_arrays(0)
    return two_layer(0 * W1, b1 - 100, W2, b2)


BAD = {
    "layer": ({"layers": ("hidden.rleu_0",)}, ValueError, r"hidden\.relu_0"),
    "too many": ({"n_units": 13}, ValueError, r"n_units=13.*12 units"),
    "n_units": ({"n_units": 0}, ValueError, "n_units"),
    "n_units, a truth value": ({"n_units": True}, TypeError, "n_units=None"),
    "n_units, word": ({"n_units": "all"}, ValueError, "n_units"),
    "holdout": ({"holdout": 1.5}, ValueError, "holdout"),
    "no network": ({"estimator": StandardScaler()}, TypeError, "Accepted are SAMClassifier"),
    "bare module": ({"estimator": nn.Linear(4, 2)}, TypeError, "from_module"),
    "no hidden layer": (
        {"estimator": from_module(nn.Linear(4, 3), classes=LABELS)},
        UnsupportedNetworkError,
        "hidden",
    ),
    "two inputs": (
        {"estimator": from_module(TwoInputs(), classes=LABELS)},
        UnsupportedNetworkError,
        "mask",
    ),
    "all dead": (
        {"estimator": from_module(dead(), classes=LABELS)},
        ValueError,
        "All 6 units are dead",
    ),
    "other width": (
        {"estimator": from_module(two_layer(*random_arrays(0, d=5)), classes=LABELS)},
        UnsupportedNetworkError,
        "shape",
    ),
    "not fitted": ({"estimator": FrozenEstimator(SAMClassifier())}, NotFittedError, "fit"),
}


@pytest.mark.parametrize("cls", PROBES)
@pytest.mark.parametrize(("parameters", "error", "message"), BAD.values(), ids=BAD)
def test_bad_input(cls, parameters, error, message):
    parameters = {"estimator": network(max_iter=2)} | parameters
    with pytest.raises(error, match=message):
        cls(**parameters).fit(IRIS, NAMES)


def test_bad_data():
    frozen = FrozenEstimator(network(max_iter=40).fit(IRIS, NAMES))
    with pytest.raises(ValueError, match="requires y"):
        AblationProbe(frozen).fit(IRIS)
    with pytest.raises(ValueError, match="rows to score units on"):
        AblationProbe(network()).fit(IRIS[[0, 60, 120]], NAMES[[0, 60, 120]])
    probe = AblationProbe(frozen, n_units=1).fit(IRIS, NAMES)
    with pytest.raises(ValueError, match="3 features"):
        probe.transform(IRIS[:, :3])
    with pytest.raises(ValueError, match="NaN"):
        probe.transform(IRIS * np.nan)
    with pytest.raises(NotFittedError):
        AblationProbe(frozen).transform(IRIS)
    X, y = random_data(0)
    with pytest.raises(ValueError, match=r"labels \[5 6 7\]"):
        AblationProbe(frozen).fit(X, y + 5)


@pytest.mark.parametrize("criterion", [None, nn.MSELoss(), nn.HuberLoss()])
def test_outputs_that_are_no_targets_are_refused_with_the_remedy(criterion):
    """Ten outputs and integer y, without classes=: (n,) was broadcast against (n, 10)."""
    module = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 10))
    X, y = np.random.RandomState(0).normal(size=(50, 4)), np.arange(50) % 10
    for probe in AblationProbe(), HessianSpectrum(n_components=2):
        probe.set_params(estimator=from_module(module, criterion))
        with pytest.raises(OutputWidthError, match=r"10 outputs .* 1 targets.*classes="):
            probe.fit(X, y)
    AblationProbe(from_module(module, classes=np.arange(10)), n_units=1, n_null=20).fit(X, y)


@pytest.mark.parametrize("unit_score", ["correlation", "selectivity"])
def test_labels_are_not_taken_for_numbers_by_activations(unit_score):
    X, y = random_data(0, n=60)
    probe = ActivationProbe(from_module(two_layer(*random_arrays(0))), unit_score=unit_score)
    with pytest.raises(OutputWidthError, match=r"3 outputs .* 1 targets.*classes="):
        probe.fit(X, y)


class Logarithm(nn.Module):
    def forward(self, x):
        return x.log()


def with_nan(place):
    module = nn.Sequential(
        nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 3)
    ).eval()
    with torch.no_grad():
        module.state_dict()[place].view(-1)[0] = np.nan
    return module


NOT_FINITE = {
    "weight": (with_nan("0.weight"), "'0.weight' holds NaN"),
    "statistic": (with_nan("1.running_var"), "'1.running_var' holds NaN"),
    "inside": (
        nn.Sequential(nn.Linear(4, 6), Logarithm(), nn.ReLU(), nn.Linear(6, 3)),
        "activations are not finite for .* of .* rows. Look for what overflows",
    ),
}


@pytest.mark.parametrize("case", NOT_FINITE)
@pytest.mark.parametrize(
    "probe",
    [
        ActivationProbe,
        AblationProbe,
        PruningPath,
        TemperatureProbe,
        SurrogateAligner,
        UnitConsensus,
    ],
)
def test_networks_that_are_not_finite_are_refused(case, probe):
    module, message = NOT_FINITE[case]
    message = message.replace("activations", "(activations|outputs)")
    with pytest.raises(ValueError, match=message):
        probe(from_module(module, classes=LABELS), random_state=0).fit(IRIS, NAMES)


@pytest.mark.filterwarnings("ignore::sklflat.exceptions.NothingFoundWarning")
@pytest.mark.parametrize("probe", [AblationProbe, PruningPath, TemperatureProbe, SurrogateAligner])
def test_outputs_that_are_not_finite_are_refused(probe):
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3), Logarithm())
    with torch.no_grad():  # the first output of every second row is negative
        hidden = module[:2](torch.as_tensor(IRIS, dtype=torch.float32))
        module[2].bias[0] -= (hidden @ module[2].weight[0] + module[2].bias[0]).median()
    estimator = from_module(module, criterion=nn.CrossEntropyLoss(), classes=LABELS)
    with pytest.raises(ValueError, match=r"outputs are not finite for .* of .* rows"):
        probe(estimator, random_state=0).fit(IRIS, NAMES)


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.filterwarnings("ignore::sklflat.exceptions.NothingFoundWarning")
@pytest.mark.parametrize("probe", [AblationProbe, ActivationProbe])
def test_rows_of_weight_zero_may_be_anything_and_fill_a_batch(probe):
    """Of 1,500 rows that come first and overflow no score says anything."""
    rng = np.random.RandomState(0)
    X, y = rng.normal(size=(1900, 4)), LABELS[rng.randint(3, size=1900)]
    X[:1500] = 1e300
    weight = np.repeat([0.0, 1.0], [1500, 400])
    estimator = from_module(two_layer(*random_arrays(0)), classes=LABELS)
    found = probe(estimator, random_state=0).fit(X, y, sample_weight=weight)
    expected = probe(estimator, random_state=0).fit(X[1500:], y[1500:])
    np.testing.assert_allclose(found.unit_scores_, expected.unit_scores_, rtol=1e-9)
    assert found.unit_scores_.any()
    np.testing.assert_allclose(found.unit_variances_, expected.unit_variances_)
