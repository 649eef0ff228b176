"""Every probe and every perturbation of this package through the public checks.

A newcomer's class is added to ``PROBES`` or ``PERTURBATIONS`` here, and to ``CHEAP`` in
``tests/test_common.py`` for scikit-learn's checks.
"""

import pytest

from sklflat import (
    AblationProbe,
    ActivationProbe,
    HessianSpectrum,
    ModeConnectivityProbe,
    SAMClassifier,
    SurrogateAligner,
    TemperatureProbe,
    UnitConsensus,
    UniversalityProbe,
)
from sklflat.testing import parametrize_with_checks
from sklflat.training.perturbations import VARIANTS, FisherSAM, FlatNoise

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::sklflat.exceptions.ConnectivityWarning"),
]

PERTURBATIONS = [
    *(variant() for variant in VARIANTS.values()),
    FisherSAM(fisher="per_sample"),
    FlatNoise(),
    FlatNoise(subspace="isotropic", antithetic="increments"),
]
TINY = SAMClassifier((5,), max_iter=5)
PROBES = [
    AblationProbe(n_null=200),
    ActivationProbe(n_null=200),
    ActivationProbe(unit_score="correlation", n_null=200),
    ActivationProbe(unit_score="variance", n_null=200),
    HessianSpectrum(n_components=2, n_null=200),
    ModeConnectivityProbe(TINY, n_points=3, repair=False, n_null=4),
    SurrogateAligner(n_basin_models=0, min_fidelity=0, n_null=200, n_redraws=1, oracle_samples=50),
    TemperatureProbe(temperatures=(0.5, 2), n_bootstrap=2, n_null=200),
    UnitConsensus(n_null=200),
    UniversalityProbe(TINY, n_models=3, n_null=200),
]


@parametrize_with_checks(PERTURBATIONS)
def test_perturbations(instance, check):
    check()


@parametrize_with_checks(PROBES[1:2])
def test_a_quick_probe(instance, check):
    check()


@pytest.mark.slow
@parametrize_with_checks([PROBES[0], *PROBES[2:]])
def test_probes(instance, check):
    check()
