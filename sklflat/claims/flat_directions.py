"""Claim 4: units that lie along flat directions of the loss are those worth reading.

Flat alignment is the share of a unit's parameters outside of the leading eigenvectors of the
Hessian on the rows trained on. Both signs are looked at: the claim, and its opposite. Baselines
read the same network; one of them also a network that was trained on for as many gradients as the
eigenvectors cost.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import roc_auc_score

from sklflat.claims.data import Rows, rows_with_truth
from sklflat.claims.networks import classifier, live, train_all
from sklflat.claims.protocol import Comparison, Protocol, contrasts_with
from sklflat.datasets import Truth, make_teacher_student
from sklflat.eigenspace import HessianSpectrum
from sklflat.probing import baselines
from sklflat.probing.sample import Sample

__all__ = ["PROTOCOL", "measure"]

FLAT, SHARP = "flat alignment", "sharp alignment"
RESPONSE, CURVATURE = "response to flat displacements", "curvature"
NORM, NORM_LONG = "weight norm", "weight norm, equal gradients"
VARIANCE, ABLATION = "activation variance", "ablation"
RANDOM = "random"
METRIC = "rank correlation"


def _comparisons(where: str) -> tuple[Comparison, ...]:
    contrast = contrasts_with(where=where, smallest_effect=0.1, matched_in="one network")
    beside: dict[str, Any] = {"primary": False}
    return (
        contrast("flat alignment above chance", METRIC, FLAT, None),
        contrast("flat alignment above the weight norm", METRIC, FLAT, NORM),
        contrast(
            *("flat alignment above the weight norm", METRIC, FLAT, NORM_LONG),
            matched_in="gradient evaluations",
        ),
        contrast("response above chance", METRIC, RESPONSE, None, **beside),
        contrast("the opposite sign above chance", METRIC, SHARP, None, **beside),
        contrast("the opposite sign above the weight norm", METRIC, SHARP, NORM, **beside),
        contrast("the opposite sign above activation variance", METRIC, SHARP, VARIANCE, **beside),
        contrast("curvature of the unit above chance", METRIC, CURVATURE, None, **beside),
        contrast("curvature of the unit above the weight norm", METRIC, CURVATURE, NORM, **beside),
        contrast("weight norm above chance", METRIC, NORM, None, **beside),
        contrast("activation variance above chance", METRIC, VARIANCE, None, **beside),
        contrast("random score above chance", METRIC, RANDOM, None, **beside),
    )


PROTOCOL = Protocol(
    number=4,
    title="Flat directions",
    hypothesis=(
        "The more a unit's parameters lie along flat directions of the loss, the more closely it "
        "follows a single feature of the data, beyond what the norm of its weights says."
    ),
    arms=(
        (FLAT, "share of the unit's direction outside of the 10 leading eigenvectors"),
        (SHARP, "one less that: the opposite claim"),
        (RESPONSE, "change of the unit's activation along flat displacements"),
        (CURVATURE, "of the loss along the unit's direction"),
        (NORM, "product of the norms of what the unit reads and what reads it"),
        (NORM_LONG, "the same, of the network trained on for the gradients of the eigenvectors"),
        (VARIANCE, "of the unit's activation"),
        (ABLATION, "rise of the held-out loss without the unit"),
        (RANDOM, "uniform random numbers"),
    ),
    metric=(
        "rank correlation, over live units, of a score with the unit's best absolute correlation "
        "with a planted feature; on real data, with the rise of the held-out loss without it"
    ),
    null="a correlation of 0",
    planted="planted features of a ReLU teacher",
    real="a proxy: how much the held-out loss rises without a unit, no feature being known",
    comparisons=(*_comparisons("planted"), *_comparisons("real")),
    settings=(
        ("width", 24),
        ("epochs", 40),
        ("batch_size", 50),
        ("learning_rate", 0.01),
        ("n_components", 10),
        ("n_features", 10),
        ("n_teacher", 4),
        ("n_train", 400),
        ("n_match", 400),
        ("n_test", 1000),
        ("threshold", 0.8),
    ),
    data=("planted", "digits", "breast cancer", "wine"),
)


def rows_of(data: str, seed: int) -> tuple[Rows, Truth | None]:
    """Rows of a data set, and what was planted in those judged on."""
    return rows_with_truth(
        PROTOCOL,
        data,
        seed,
        make_teacher_student,
        n_teacher=PROTOCOL.count("n_teacher"),
        task="classification",
    )


def measure(data: str, seed: int) -> dict[str, dict[str, float]]:
    """Metrics of all scores, for one seed: see :class:`~sklflat.claims.registry.Claim`."""
    rows, truth = rows_of(data, seed)
    network = _network(rows, PROTOCOL.count("epochs"), seed)
    own = float(network.n_gradient_evaluations_)
    scores, cost = _eigenspace_scores(network, rows, seed)
    epochs = round((own + cost[FLAT]) / own * PROTOCOL.count("epochs"))
    longer = _network(rows, epochs, seed)
    sample = Sample.of(network, rows.X_match, rows.y_match)
    scores |= {
        NORM: baselines.weight_norm(sample),
        VARIANCE: baselines.activation_variance(sample),
        ABLATION: baselines.ablation(sample),
        RANDOM: baselines.random_scores(sample, random_state=seed),
    }
    worth = _worth(network, rows, truth)
    accuracy = float(network.score(rows.X_test, rows.y_test))
    readings = {}
    for name, values in scores.items():
        readings[name] = {
            **_agreement(values, worth, planted=truth is not None),
            "accuracy": accuracy,
            "gradients": own + cost.get(name, 0.0),
        }
    trained_on = Sample.of(longer, rows.X_match, rows.y_match)
    readings[NORM_LONG] = {
        **_agreement(
            baselines.weight_norm(trained_on),
            _worth(longer, rows, truth),
            planted=truth is not None,
        ),
        "accuracy": float(longer.score(rows.X_test, rows.y_test)),
        "gradients": float(longer.n_gradient_evaluations_),
    }
    return readings


def _network(rows: Rows, epochs: int, seed: int) -> Any:
    estimator = classifier(PROTOCOL, epochs, random_state=seed)
    return train_all([estimator], rows)[0].estimator


def _eigenspace_scores(
    network: Any, rows: Rows, seed: int
) -> tuple[dict[str, NDArray], dict[str, float]]:
    """Scores from curvature, and the gradients of a batch that each costs."""
    scores, cost = {}, {}
    # a product with the Hessian on all rows costs about two gradients of them
    of_product = 2.0 * rows.n_train / PROTOCOL.count("batch_size")
    kinds = {FLAT: "flat_alignment", RESPONSE: "response", CURVATURE: "curvature"}
    for name, unit_score in kinds.items():
        spectrum = HessianSpectrum(
            FrozenEstimator(network),
            unit_score=unit_score,
            n_components=PROTOCOL.count("n_components"),
            n_units=1,
            n_null=1,
            random_state=seed,
        ).fit(rows.X, rows.y)
        scores[name] = spectrum.unit_scores_
        cost[name] = of_product * spectrum.n_matvec_
    scores[SHARP], cost[SHARP] = 1 - scores[FLAT], cost[FLAT]
    return scores, cost


def _worth(network: Any, rows: Rows, truth: Truth | None) -> NDArray[np.float64]:
    """What each unit is worth reading; NaN for units that are constant."""
    A = network.transform(rows.X_test)
    if truth is not None:
        found = truth.recovery(A)
    else:
        found = baselines.ablation(Sample.of(network, rows.X_test, rows.y_test))
    return np.where(live(A), found, np.nan)


def _agreement(scores: NDArray, worth: NDArray, planted: bool) -> dict[str, float]:
    """Rank correlation over live units; and of planted features the area of those recovered."""
    alive = ~np.isnan(worth)
    found = {METRIC: float(spearmanr(scores[alive], worth[alive]).statistic)}
    if planted:
        real = worth[alive] > PROTOCOL.setting("threshold")
        both = 0 < real.sum() < len(real)
        found["AUC"] = float(roc_auc_score(real, scores[alive])) if both else float("nan")
    return found
