"""Probes are functions of a sample: what fit sets stays, and nothing is carried in attributes."""

import numpy as np
import pytest

from sklflat import (
    AblationProbe,
    ActivationProbe,
    BasinRewinder,
    HessianSpectrum,
    ModeConnectivityProbe,
    SAMClassifier,
    SurrogateAligner,
    TemperatureProbe,
    UnitConsensus,
    UniversalityProbe,
)
from tests._slow import slow_unless

RNG = np.random.RandomState(0)
X, Y = RNG.normal(size=(60, 3)), np.arange(60) % 2
NET = SAMClassifier((4,), max_iter=3)
COMMON = {"n_null": 20, "n_units": 2, "random_state": 0}

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklflat.exceptions.UniversalityWarning"),
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::sklflat.exceptions.ConnectivityWarning"),
]


def traced(probe):
    """The probe, as one that notes which attributes were set and deleted."""
    made, gone = set(), set()

    class Traced(type(probe)):
        def __setattr__(self, name, value):
            made.add(name)
            super().__setattr__(name, value)

        def __delattr__(self, name):
            gone.add(name)
            super().__delattr__(name)

    probe.__class__ = Traced
    return made, gone


PROBES = {
    "ablation": lambda: AblationProbe(NET, **COMMON),
    "activation": lambda: ActivationProbe(NET, **COMMON),
    "variance": lambda: ActivationProbe(NET, unit_score="variance", **COMMON),
    "connectivity": lambda: ModeConnectivityProbe(NET, n_points=3, **COMMON),
    "curvature": lambda: HessianSpectrum(NET, n_components=2, **COMMON),
    "temperature": lambda: TemperatureProbe(NET, n_bootstrap=5, **COMMON),
    "surrogate": lambda: SurrogateAligner(NET, n_basin_models=0, min_fidelity=0, **COMMON),
    "universality": lambda: UniversalityProbe(NET, n_models=2, n_untrained=6, **COMMON),
    "consensus": lambda: UnitConsensus(NET, **COMMON),
    "rewinding": lambda: BasinRewinder(
        SAMClassifier((4,), max_iter=3, batch_size=20), rewind=0, n_retrains=2, **COMMON
    ),
    "response": lambda: HessianSpectrum(
        NET, unit_score="response", n_components=2, density=True, noise_level=0.5, **COMMON
    ),
}


@pytest.mark.parametrize("name", slow_unless(lambda n: n not in ("variance", "response"), PROBES))
def test_no_attribute_that_fit_sets_is_deleted(name):
    probe = PROBES[name]()
    made, gone = traced(probe)
    probe.fit(X, Y)
    assert {"unit_scores_", "nulls_", "units_"} <= made
    assert not gone
    assert made <= set(vars(probe))
    before = set(vars(probe))
    probe.fit(X, Y)  # nor by a second fit
    assert not gone
    assert set(vars(probe)) == before


def test_the_trace_sees_what_is_carried_through_an_attribute():
    class Carrying(AblationProbe):
        def _score_units(self, sample):
            self._carried = super()._score_units(sample)
            return self._carried

        def _draw_nulls(self, sample, n_draws, rng):
            del self._carried
            return super()._draw_nulls(sample, n_draws, rng)

    probe = Carrying(NET, **COMMON)
    made, gone = traced(probe)
    probe.fit(X, Y)
    assert gone == {"_carried"}
    assert "_carried" in made - set(vars(probe))


@pytest.mark.parametrize(
    "name", ["ablation", "activation", "connectivity", "surrogate", "rewinding"]
)
def test_scores_and_nulls_set_no_attribute(name):
    """They read the sample; what stays is set in the other steps of fit."""
    probe = PROBES[name]()

    def watched(method):
        def call(*args):
            before = dict(vars(probe))
            found = method(*args)
            assert vars(probe).keys() == before.keys()
            assert all(vars(probe)[name] is value for name, value in before.items())
            return found

        return call

    probe._score_units = watched(probe._score_units)
    probe._draw_nulls = watched(probe._draw_nulls)
    probe.fit(X, Y)
