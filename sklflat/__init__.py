"""What in a trained network is real, and what is an accident of a flat minimum.

The public names are loaded when they are first used, so that ``import sklflat`` stays as light as
``import sklearn``: PyTorch and skorch are imported with the first estimator.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from sklflat import _aliases
from sklflat._version import __version__

if TYPE_CHECKING:
    from sklflat.connectivity import ModeConnectivityProbe, PathDisplay, PlaneDisplay
    from sklflat.consensus import ConsensusDisplay, UnitConsensus
    from sklflat.eigenspace import CurvatureMonitor, HessianSpectrum, SpectrumDisplay
    from sklflat.probing import (
        AblationProbe,
        ActivationProbe,
        NoiseDisplay,
        UnitDisplay,
        check_network,
        from_module,
    )
    from sklflat.pruning import PruningDisplay, PruningPath
    from sklflat.report import MinimaReport
    from sklflat.rewinding import BasinDisplay, BasinRewinder
    from sklflat.surrogate import SurrogateAligner, SurrogateDisplay, surrogate_fidelity
    from sklflat.temperature import (
        TemperatureClassifier,
        TemperatureDisplay,
        TemperatureProbe,
    )
    from sklflat.training import (
        FlatNoiseClassifier,
        FlatNoiseRegressor,
        PerturbedOptimizer,
        RadiusDisplay,
        SAMClassifier,
        SAMClassifierCV,
        SAMRegressor,
        SAMRegressorCV,
        StackedSearchCV,
        load,
        save,
    )
    from sklflat.universality import UniversalityDisplay, UniversalityProbe

__all__ = [
    "AblationProbe",
    "ActivationProbe",
    "BasinDisplay",
    "BasinRewinder",
    "ConsensusDisplay",
    "CurvatureMonitor",
    "FlatNoiseClassifier",
    "FlatNoiseRegressor",
    "HessianSpectrum",
    "MinimaReport",
    "ModeConnectivityProbe",
    "NoiseDisplay",
    "PathDisplay",
    "PerturbedOptimizer",
    "PlaneDisplay",
    "PruningDisplay",
    "PruningPath",
    "RadiusDisplay",
    "SAMClassifier",
    "SAMClassifierCV",
    "SAMRegressor",
    "SAMRegressorCV",
    "SpectrumDisplay",
    "StackedSearchCV",
    "SurrogateAligner",
    "SurrogateDisplay",
    "TemperatureClassifier",
    "TemperatureDisplay",
    "TemperatureProbe",
    "UnitConsensus",
    "UnitDisplay",
    "UniversalityDisplay",
    "UniversalityProbe",
    "__version__",
    "check_network",
    "from_module",
    "load",
    "save",
    "surrogate_fidelity",
]

_ROOM_OF = {
    "AblationProbe": "sklflat.probing",
    "ActivationProbe": "sklflat.probing",
    "BasinDisplay": "sklflat.rewinding",
    "BasinRewinder": "sklflat.rewinding",
    "ConsensusDisplay": "sklflat.consensus",
    "CurvatureMonitor": "sklflat.eigenspace",
    "FlatNoiseClassifier": "sklflat.training",
    "FlatNoiseRegressor": "sklflat.training",
    "HessianSpectrum": "sklflat.eigenspace",
    "MinimaReport": "sklflat.report",
    "ModeConnectivityProbe": "sklflat.connectivity",
    "NoiseDisplay": "sklflat.probing",
    "PathDisplay": "sklflat.connectivity",
    "PerturbedOptimizer": "sklflat.training",
    "PlaneDisplay": "sklflat.connectivity",
    "PruningDisplay": "sklflat.pruning",
    "PruningPath": "sklflat.pruning",
    "RadiusDisplay": "sklflat.training",
    "SAMClassifier": "sklflat.training",
    "SAMClassifierCV": "sklflat.training",
    "SAMRegressor": "sklflat.training",
    "SAMRegressorCV": "sklflat.training",
    "SpectrumDisplay": "sklflat.eigenspace",
    "StackedSearchCV": "sklflat.training",
    "TemperatureClassifier": "sklflat.temperature",
    "TemperatureDisplay": "sklflat.temperature",
    "TemperatureProbe": "sklflat.temperature",
    "SurrogateAligner": "sklflat.surrogate",
    "SurrogateDisplay": "sklflat.surrogate",
    "UnitConsensus": "sklflat.consensus",
    "UnitDisplay": "sklflat.probing",
    "UniversalityDisplay": "sklflat.universality",
    "UniversalityProbe": "sklflat.universality",
    "check_network": "sklflat.probing",
    "from_module": "sklflat.probing",
    "load": "sklflat.training",
    "save": "sklflat.training",
    "surrogate_fidelity": "sklflat.surrogate",
}


_aliases.install()


#: folders that may be used by ``import sklflat`` alone
_ROOMS = (
    *("claims", "consensus"),
    *("connectivity", "curvature", "datasets", "eigenspace", "exceptions", "matching", "metrics"),
    *("networks", "paths", "probing", "pruning", "report", "rewinding", "storage"),
    *("surrogate", "symmetry", "temperature", "testing", "training", "universality"),
)


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return import_module(f"{__name__}.{name}")
    if name not in _ROOM_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_ROOM_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*__all__, *_ROOMS})
