"""Pipelines whose transformers work in place change neither the user's rows nor a number."""

import numpy as np
import pandas as pd
import pytest
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklflat import (
    AblationProbe,
    ActivationProbe,
    BasinRewinder,
    HessianSpectrum,
    ModeConnectivityProbe,
    PruningPath,
    SAMClassifier,
    SurrogateAligner,
    TemperatureClassifier,
    TemperatureProbe,
    UnitConsensus,
    UniversalityProbe,
)

# few rows and short trainings, of which probes rightly say that nothing is shown
pytestmark = pytest.mark.filterwarnings("ignore")

rng = np.random.RandomState(0)
X = 3 * rng.normal(size=(90, 4)) + 50
y = (X[:, 0] > 50).astype(int) + (X[:, 1] > 52)
REWOUND = {"n_rounds": 1, "rewind": 0, "n_controls": 0, "n_retrains": 2, "n_null": 4}
MIMIC = {"n_null": 20, "n_redraws": 0, "n_basin_models": 2, "oracle_samples": 50}
PROBES = [
    AblationProbe(),
    ActivationProbe(),
    HessianSpectrum(),
    TemperatureProbe(n_null=20),
    UnitConsensus(),
    PruningPath(),
    SurrogateAligner(**MIMIC),
    UniversalityProbe(n_models=2, n_untrained=10),
    ModeConnectivityProbe(n_models=2, n_null=20),
    BasinRewinder(sparsity=0.3, n_bootstrap=2, **REWOUND),
]
OF_ONE = (*(AblationProbe, HessianSpectrum, UnitConsensus), SurrogateAligner, PruningPath)


def pipeline(copy):
    network = SAMClassifier((6,), max_iter=10, learning_rate_init=0.02, random_state=0)
    return make_pipeline(StandardScaler(copy=copy), network)


def found(probe, copy, kind, frozen):
    estimator, rows = pipeline(copy), kind(X.copy())
    if frozen:
        estimator = FrozenEstimator(estimator.fit(kind(X.copy()), y))
    probe.set_params(estimator=estimator, random_state=0).fit(rows, y)
    np.testing.assert_array_equal(rows, X)
    return probe.support_ if isinstance(probe, PruningPath) else probe.unit_scores_


@pytest.mark.parametrize("probe", PROBES, ids=lambda probe: type(probe).__name__)
def test_scores_are_those_of_a_pipeline_that_copies(probe):
    expected, ours = (found(probe, copy, np.array, frozen=False) for copy in (True, False))
    np.testing.assert_array_equal(ours, expected)


@pytest.mark.parametrize(
    "probe", [p for p in PROBES if isinstance(p, OF_ONE)], ids=lambda probe: type(probe).__name__
)
@pytest.mark.parametrize("kind", [np.array, pd.DataFrame])
def test_so_are_those_of_a_frozen_network(probe, kind):
    expected, ours = (found(probe, copy, kind, frozen=True) for copy in (True, False))
    np.testing.assert_array_equal(ours, expected)


def test_rows_that_a_probe_is_restricted_on_stay():
    rows = X.copy()
    probe = AblationProbe(pipeline(copy=False), n_units=2, random_state=0).fit(rows, y)
    scores = [probe.restrict(rows, y, random_state=0).score for _ in range(2)]
    assert scores[0] == scores[1]
    np.testing.assert_array_equal(rows, X)


def test_a_surrogate_that_works_in_place_is_as_faithful_as_one_that_copies():
    reports = []
    for copy in (True, False):
        surrogate = make_pipeline(StandardScaler(copy=copy), Ridge())
        aligner = SurrogateAligner(pipeline(True), surrogate, target="logit", **MIMIC)
        reports.append(str(aligner.set_params(random_state=0).fit(X, y).fidelity_))
    assert reports[0] == reports[1]


@pytest.mark.parametrize("frozen", [False, True])
def test_the_temperature_is_that_of_a_pipeline_that_copies(frozen):
    temperatures = []
    for copy in (True, False):
        estimator, rows = pipeline(copy), X.copy()
        if frozen:
            estimator = FrozenEstimator(estimator.fit(X.copy(), y))
        model = TemperatureClassifier(estimator, temperature="nll").fit(rows, y)
        np.testing.assert_array_equal(rows, X)
        temperatures.append(model.temperature_)
    assert temperatures[0] == temperatures[1]
