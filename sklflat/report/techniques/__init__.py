"""The techniques of a report, in the order of its page."""

from sklflat.report.techniques.ablation import ABLATION
from sklflat.report.techniques.activation import ACTIVATION
from sklflat.report.techniques.base import Reading, Technique
from sklflat.report.techniques.connectivity import CONNECTIVITY
from sklflat.report.techniques.curvature import CURVATURE
from sklflat.report.techniques.prediction import PREDICTION
from sklflat.report.techniques.pruning import PRUNING
from sklflat.report.techniques.rewinding import REWINDING
from sklflat.report.techniques.surrogate import SURROGATE
from sklflat.report.techniques.temperature import TEMPERATURE
from sklflat.report.techniques.universality import UNIVERSALITY

TECHNIQUES = (
    PREDICTION,
    ABLATION,
    ACTIVATION,
    CURVATURE,
    CONNECTIVITY,
    UNIVERSALITY,
    TEMPERATURE,
    SURROGATE,
    PRUNING,
    REWINDING,
)

__all__ = ["TECHNIQUES", "Reading", "Technique"]
