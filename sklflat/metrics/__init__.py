"""Plain functions on arrays: what a network's units and predictions are worth, and how sure."""

from sklflat.metrics.calibration import expected_calibration_error
from sklflat.metrics.collapse import NeuralCollapse, neural_collapse
from sklflat.metrics.disentanglement import DCI, dci, mutual_information_gap
from sklflat.metrics.explainability import sparse_probe_explainability, tree_explainability
from sklflat.metrics.intervals import (
    ConfidenceInterval,
    bca_interval,
    mean_interval,
    sign_flip_test,
)
from sklflat.metrics.mean_tests import MeanTest, mean_bounds, mean_test
from sklflat.metrics.multiple_testing import benjamini_hochberg, holm, monte_carlo_p_values
from sklflat.metrics.paired_rates import paired_rate_interval
from sklflat.metrics.prediction import Fidelity, fidelity, prediction_disagreement
from sklflat.metrics.rank import effective_rank, participation_ratio
from sklflat.metrics.reliability import intraclass_correlation, spearman_brown
from sklflat.metrics.selectivity import class_selectivity, target_correlation
from sklflat.metrics.similarity import UnitMatching, debiased_cka, matched_correlation

__all__ = [
    "DCI",
    "ConfidenceInterval",
    "Fidelity",
    "MeanTest",
    "NeuralCollapse",
    "UnitMatching",
    "bca_interval",
    "benjamini_hochberg",
    "class_selectivity",
    "dci",
    "debiased_cka",
    "effective_rank",
    "expected_calibration_error",
    "fidelity",
    "holm",
    "intraclass_correlation",
    "matched_correlation",
    "mean_bounds",
    "mean_interval",
    "mean_test",
    "monte_carlo_p_values",
    "mutual_information_gap",
    "neural_collapse",
    "paired_rate_interval",
    "participation_ratio",
    "prediction_disagreement",
    "sign_flip_test",
    "sparse_probe_explainability",
    "spearman_brown",
    "target_correlation",
    "tree_explainability",
]
