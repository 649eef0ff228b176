"""Sharpness-aware and flat-noise training: its gradient is taken at a perturbed point."""

from sklflat.training.cross_validation.classifier import SAMClassifierCV
from sklflat.training.cross_validation.display import RadiusDisplay
from sklflat.training.cross_validation.regressor import SAMRegressorCV
from sklflat.training.engine.optimizer import PerturbedOptimizer
from sklflat.training.estimators.noise_classifier import FlatNoiseClassifier
from sklflat.training.estimators.noise_regressor import FlatNoiseRegressor
from sklflat.training.estimators.sam_classifier import SAMClassifier
from sklflat.training.estimators.sam_regressor import SAMRegressor
from sklflat.training.runs.saving import load, save
from sklflat.training.stacking.search import StackedSearchCV

__all__ = [
    "FlatNoiseClassifier",
    "FlatNoiseRegressor",
    "PerturbedOptimizer",
    "RadiusDisplay",
    "SAMClassifier",
    "SAMClassifierCV",
    "SAMRegressor",
    "SAMRegressorCV",
    "StackedSearchCV",
    "load",
    "save",
]
