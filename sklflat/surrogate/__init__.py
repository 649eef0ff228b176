"""Technique 7: a small model that mimics the network, and what their disagreement says."""

from sklflat.surrogate.aligner import SurrogateAligner
from sklflat.surrogate.bisection import BisectionTest, bisection_test
from sklflat.surrogate.columns import Columns
from sklflat.surrogate.degeneracy import DegeneracyTest, degeneracy_test
from sklflat.surrogate.disagreement_map import DisagreementMap
from sklflat.surrogate.display import SurrogateDisplay
from sklflat.surrogate.fidelity import Estimate, FidelityReport
from sklflat.surrogate.oracle import draw_oracle_samples
from sklflat.surrogate.scoring import surrogate_fidelity
from sklflat.surrogate.sizes import fidelity_by_size
from sklflat.surrogate.student import teach
from sklflat.surrogate.trees import AlternatingTreeClassifier, AlternatingTreeRegressor

__all__ = [
    "AlternatingTreeClassifier",
    "AlternatingTreeRegressor",
    "BisectionTest",
    "Columns",
    "DegeneracyTest",
    "DisagreementMap",
    "Estimate",
    "FidelityReport",
    "SurrogateAligner",
    "SurrogateDisplay",
    "bisection_test",
    "degeneracy_test",
    "draw_oracle_samples",
    "fidelity_by_size",
    "surrogate_fidelity",
    "teach",
]
