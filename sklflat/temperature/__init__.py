"""Technique 6: what a classifier says at other temperatures of its softmax."""

from sklflat.temperature.calibration import Calibration
from sklflat.temperature.classifier import TemperatureClassifier
from sklflat.temperature.softened import logits_of, softened

__all__ = ["Calibration", "TemperatureClassifier", "logits_of", "softened"]
