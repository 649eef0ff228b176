"""Techniques 1 and 5: training whose gradient is taken at a perturbed point."""

from sklflat.training.noise_classifier import FlatNoiseClassifier
from sklflat.training.noise_regressor import FlatNoiseRegressor
from sklflat.training.optimizer import PerturbedOptimizer
from sklflat.training.sam_classifier import SAMClassifier
from sklflat.training.sam_regressor import SAMRegressor
from sklflat.training.saving import load, save
from sklflat.training.search import StackedSearchCV

__all__ = [
    "FlatNoiseClassifier",
    "FlatNoiseRegressor",
    "PerturbedOptimizer",
    "SAMClassifier",
    "SAMRegressor",
    "StackedSearchCV",
    "load",
    "save",
]
