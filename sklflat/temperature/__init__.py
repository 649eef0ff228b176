"""Technique 6: what a classifier says at other temperatures of its softmax."""

from sklflat.temperature.baselines import TreeComparison
from sklflat.temperature.calibration import Calibration
from sklflat.temperature.class_similarity import (
    class_distances,
    class_similarity,
    merge_temperatures,
)
from sklflat.temperature.class_tree import ClassTree
from sklflat.temperature.classifier import TemperatureClassifier
from sklflat.temperature.display import TemperatureDisplay
from sklflat.temperature.probe import TemperatureProbe
from sklflat.temperature.softened import logits_of, softened
from sklflat.temperature.sweep import TemperatureSweep
from sklflat.temperature.through_basin import BasinTemperatures, temperatures_through_basin

__all__ = [
    "BasinTemperatures",
    "Calibration",
    "ClassTree",
    "TemperatureClassifier",
    "TemperatureDisplay",
    "TemperatureProbe",
    "TemperatureSweep",
    "TreeComparison",
    "class_distances",
    "class_similarity",
    "logits_of",
    "merge_temperatures",
    "softened",
    "temperatures_through_basin",
]
