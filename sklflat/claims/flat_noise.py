"""Claim 5: noise along flat directions leaves fewer units, each of a single feature.

All arms start from the same weights and see the same rows in the same order. The noise of a step
may raise the loss by the same in all arms, so it is the longer the flatter its directions are. The
control is a random subspace of as many dimensions.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sklflat.claims.data import Rows, rows_with_truth
from sklflat.claims.networks import (
    Trained,
    live,
    match_accuracy,
    network_parameters,
    rank_of,
    single_feature_score,
    train_all,
)
from sklflat.claims.protocol import Comparison, Protocol, contrasts_with
from sklflat.datasets import Truth, make_teacher_student
from sklflat.training import (
    FlatNoiseClassifier,
    FlatNoiseRegressor,
    SAMClassifier,
    SAMRegressor,
)

__all__ = ["PROTOCOL", "measure"]

FLAT, RANDOM = "flat noise", "random subspace"
FLAT_EARLY, RANDOM_EARLY = "flat noise, equal accuracy", "random subspace, equal accuracy"
NONE, ISOTROPIC, SHARP, DROPOUT = "no noise", "isotropic noise", "sharp noise", "dropout"
SHORT, SHORT_RANDOM = "flat noise of a given length", "random subspace of a given length"


def _comparisons(where: str, metric: str, smallest: float) -> tuple[Comparison, ...]:
    contrast = contrasts_with(
        where=where, smallest_effect=smallest, matched_in="gradient evaluations"
    )
    beside: dict[str, Any] = {"primary": False}
    fewer: dict[str, Any] = {"larger_is_claimed": False, "smallest_effect": 1.0, "primary": False}
    return (
        contrast("flat above random", metric, FLAT_EARLY, RANDOM_EARLY, matched_in="accuracy"),
        contrast("flat above random", metric, FLAT, RANDOM),
        contrast("flat above no noise", metric, FLAT, NONE, **beside),
        contrast("isotropic above no noise", metric, ISOTROPIC, NONE, **beside),
        contrast("sharp above no noise", metric, SHARP, NONE, **beside),
        contrast("dropout above no noise", metric, DROPOUT, NONE, **beside),
        contrast("flat above random, equal length", metric, SHORT, SHORT_RANDOM, **beside),
        contrast("effective rank lower, flat and random", "rank", FLAT, RANDOM, **fewer),
        contrast(
            *("effective rank lower, flat and random", "rank", FLAT_EARLY, RANDOM_EARLY),
            **fewer | {"matched_in": "accuracy"},
        ),
        contrast("fewer live units, flat and random", "live units", FLAT, RANDOM, **fewer),
        contrast("effective rank lower, dropout and no noise", "rank", DROPOUT, NONE, **fewer),
    )


PROTOCOL = Protocol(
    number=5,
    title="Noise in flat directions",
    hypothesis=(
        "Training with noise in flat directions leaves units that follow single features of the "
        "data more closely than training with noise in a random subspace of equal dimension."
    ),
    arms=(
        (FLAT, "outside of the 8 leading eigenvectors, which are measured anew on the way"),
        (RANDOM, "outside of a random subspace of 8 dimensions, with the same rise of the loss"),
        (FLAT_EARLY, "at the checkpoint nearest to the lower final accuracy of the two"),
        (RANDOM_EARLY, "at the checkpoint nearest to that accuracy"),
        (SHORT, "of a length that is a share of the weights' own"),
        (SHORT_RANDOM, "of the same length"),
        (NONE, "plain training"),
        (ISOTROPIC, "noise in all directions, with the same rise of the loss"),
        (SHARP, "noise along the leading eigenvectors, with the same rise of the loss"),
        (DROPOUT, "of a fifth of the units"),
    ),
    metric=(
        "mean over live units of the best absolute correlation with a planted feature; on real "
        "data, of the cross-validated R2 of a small tree of the inputs"
    ),
    null="noise in a random subspace does as well",
    planted="planted features of a narrow ReLU teacher, learned by an over-wide student",
    real="a proxy: how well trees of the inputs explain a unit, no feature being known",
    comparisons=(
        *_comparisons("planted", "recovery", 0.05),
        *_comparisons("real", "explainability", 0.05),
    ),
    settings=(
        ("width", 32),
        ("epochs", 50),
        ("batch_size", 50),
        ("learning_rate", 0.01),
        ("sigma", 0.2),
        ("length", 0.05),
        ("dropout", 0.2),
        ("n_features", 10),
        ("n_teacher", 4),
        ("noise", 0.1),
        ("n_train", 400),
        ("n_match", 400),
        ("n_test", 1000),
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
        noise=PROTOCOL.setting("noise"),
    )


def measure(data: str, seed: int) -> dict[str, dict[str, float]]:
    """Metrics of all arms, for one seed: see :class:`~sklflat.claims.registry.Claim`."""
    rows, truth = rows_of(data, seed)
    estimators = _estimators(seed, regression=truth is not None)
    trained = train_all(list(estimators.values()), rows)
    by_arm: dict[str, Trained] = dict(zip(estimators, trained, strict=True))
    networks = {name: found.estimator for name, found in by_arm.items()}
    networks[FLAT_EARLY], networks[RANDOM_EARLY] = match_accuracy(
        by_arm[FLAT], by_arm[RANDOM], rows
    )
    return {name: _metrics(network, rows, truth) for name, network in networks.items()}


def _estimators(seed: int, regression: bool) -> dict[str, Any]:
    common = network_parameters(PROTOCOL) | {"random_state": seed}
    sigma, length = PROTOCOL.setting("sigma"), PROTOCOL.setting("length")

    noisy = FlatNoiseRegressor if regression else FlatNoiseClassifier
    plain = SAMRegressor if regression else SAMClassifier

    def noise(subspace: str, **more: Any) -> Any:
        return noisy(subspace=subspace, **{"sigma": sigma} | common | more)

    return {
        FLAT: noise("flat"),
        RANDOM: noise("random"),
        ISOTROPIC: noise("isotropic"),
        SHARP: noise("sharp"),
        SHORT: noise("flat", budget="norm", sigma=length),
        SHORT_RANDOM: noise("random", budget="norm", sigma=length),
        NONE: plain(rho=0.0, **common),
        DROPOUT: plain(rho=0.0, dropout=PROTOCOL.setting("dropout"), **common),
    }


def _metrics(network: Any, rows: Rows, truth: Truth | None) -> dict[str, float]:
    A = network.transform(rows.X_test)
    own: NDArray = A[:, live(A)]
    found = {
        "accuracy": float(network.score(rows.X_test, rows.y_test)),
        "gradients": float(network.n_gradient_evaluations_),
        "products": float(getattr(network, "n_products_", 0)),
        "length": float(np.mean(getattr(network, "noise_scale_", 0.0))),
        "live units": float(own.shape[1]),
        "rank": rank_of(own),
    }
    metric = "explainability" if truth is None else "recovery"
    return found | {metric: float(single_feature_score(own, rows, truth).mean())}
