"""Techniques 1 and 5: training whose gradient is taken at a perturbed point."""

from sklflat.training.classifier import SAMClassifier
from sklflat.training.optimizer import PerturbedOptimizer
from sklflat.training.regressor import SAMRegressor
from sklflat.training.saving import load, save
from sklflat.training.search import StackedSearchCV

__all__ = [
    "PerturbedOptimizer",
    "SAMClassifier",
    "SAMRegressor",
    "StackedSearchCV",
    "load",
    "save",
]
