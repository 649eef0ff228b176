"""What all probes share: networks taken in, units scored, and the nulls they are scored against."""

from sklflat.probing.ablation import AblationProbe
from sklflat.probing.activation import ActivationProbe
from sklflat.probing.basin import Basin, sample_basin
from sklflat.probing.check_network import NetworkChecks, check_network
from sklflat.probing.decisions import Decisions
from sklflat.probing.display import UnitDisplay
from sklflat.probing.largest_noise import LargestNoise, largest_noise
from sklflat.probing.module import ModuleClassifier, ModuleRegressor, from_module
from sklflat.probing.noise_display import NoiseDisplay, noise_profile
from sklflat.probing.nulls import Null
from sklflat.probing.resolve import resolve
from sklflat.probing.restricted import Restriction
from sklflat.probing.sample import Sample
from sklflat.probing.unit_card import UnitCard
from sklflat.probing.unit_probe import UnitProbe

__all__ = [
    "AblationProbe",
    "ActivationProbe",
    "Basin",
    "Decisions",
    "LargestNoise",
    "ModuleClassifier",
    "ModuleRegressor",
    "NetworkChecks",
    "NoiseDisplay",
    "Null",
    "Restriction",
    "Sample",
    "UnitCard",
    "UnitDisplay",
    "UnitProbe",
    "check_network",
    "from_module",
    "largest_noise",
    "noise_profile",
    "resolve",
    "sample_basin",
]
