"""Claim 1: sharpness-aware training finds units that follow single features, and finds them again.

All arms start from the same weights and see the rows in the same order. A sharpness-aware step
costs two gradients, so plain training of twice the epochs costs the same.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sklflat.claims.data import Rows, rows_with_truth
from sklflat.claims.networks import (
    Trained,
    classifier,
    collapse,
    live,
    match_accuracy,
    rank_of,
    reproduced,
    sharpness_of,
    single_feature_score,
    train_all,
)
from sklflat.claims.protocol import Comparison, Protocol, contrasts_with
from sklflat.datasets import Truth, make_teacher_student
from sklflat.metrics.consistency import correlations
from sklflat.training import SAMClassifier

__all__ = ["PROTOCOL", "measure"]

PLAIN, LONG = "plain, equal accuracy", "plain, equal gradients"
SAM, SAM_EARLY = "SAM", "SAM, equal accuracy"
DECAY, DECAY_EARLY = "weight decay, equal gradients", "weight decay, equal accuracy"
WIDE, WIDE_EARLY = "SAM, wide radius", "SAM, wide radius, equal accuracy"
PLAIN_OF_DECAY = "plain, equal accuracy to weight decay"
PLAIN_OF_WIDE = "plain, equal accuracy to the wide radius"
#: an arm, and what it and plain training are at equal accuracy
_MATCHED = (
    (SAM, SAM_EARLY, PLAIN),
    (DECAY, DECAY_EARLY, PLAIN_OF_DECAY),
    (WIDE, WIDE_EARLY, PLAIN_OF_WIDE),
)


def _comparisons(where: str, metric: str, smallest: float) -> tuple[Comparison, ...]:
    """Those of the primary metric, and what is reported beside them."""
    contrast = contrasts_with(
        where=where, smallest_effect=smallest, matched_in="gradient evaluations"
    )
    beside: dict[str, Any] = {"primary": False}
    lower: dict[str, Any] = {"primary": False, "larger_is_claimed": False}
    at_equal_accuracy: dict[str, Any] = {"primary": False, "matched_in": "accuracy"}
    repeated = "reproduced by another seed"
    return (
        contrast("SAM above plain training", metric, SAM_EARLY, PLAIN, matched_in="accuracy"),
        contrast("SAM above plain training of twice the epochs", metric, SAM, LONG),
        contrast("SAM of a wide radius above plain", metric, WIDE, LONG, **beside),
        contrast(
            *("SAM of a wide radius above plain", metric, WIDE_EARLY, PLAIN_OF_WIDE),
            **at_equal_accuracy,
        ),
        contrast("weight decay above plain", metric, DECAY, LONG, **beside),
        contrast(
            *("weight decay above plain", metric, DECAY_EARLY, PLAIN_OF_DECAY),
            **at_equal_accuracy,
        ),
        contrast("SAM above weight decay", metric, SAM, DECAY, **beside),
        contrast(f"SAM: {repeated}", "reproduced", SAM, LONG, **beside),
        contrast(f"SAM: {repeated}", "reproduced", SAM_EARLY, PLAIN, **at_equal_accuracy),
        contrast(f"weight decay: {repeated}", "reproduced", DECAY, LONG, **beside),
        contrast(
            *(f"weight decay: {repeated}", "reproduced", DECAY_EARLY, PLAIN_OF_DECAY),
            **at_equal_accuracy,
        ),
        contrast("SAM: kept where the start is perturbed", "dose slope", SAM, LONG, **beside),
        contrast("SAM: within-class variability lower (NC1)", "collapse", SAM, LONG, **lower),
        contrast(
            *("SAM: effective rank lower", "rank", SAM, LONG),
            **lower | {"smallest_effect": 1.0},
        ),
        contrast(
            *("SAM: measured sharpness lower", "sharpness", SAM, LONG),
            **lower | {"smallest_effect": 0.001},
        ),
        contrast(
            *("SAM: measured sharpness lower", "sharpness", SAM_EARLY, PLAIN),
            **lower | {"smallest_effect": 0.001, "matched_in": "accuracy"},
        ),
    )


PROTOCOL = Protocol(
    number=1,
    title="Sharpness-aware training",
    hypothesis=(
        "Units of networks trained with SAM follow single features of the data more closely than "
        "those of plain training, both at equal held-out accuracy and at equal gradients."
    ),
    arms=(
        (SAM, "radius 0.1, once the epochs"),
        (SAM_EARLY, "the same at the checkpoint nearest to the lower final accuracy of the two"),
        (PLAIN, "no radius, at the checkpoint nearest to that accuracy"),
        (LONG, "no radius, twice the epochs"),
        (DECAY, "no radius, an L2 penalty, twice the epochs"),
        (WIDE, "radius 0.5, once the epochs"),
        (WIDE_EARLY, "the same at the lower final accuracy of it and plain training"),
        (PLAIN_OF_WIDE, "plain training at that accuracy"),
        (DECAY_EARLY, "weight decay at the lower final accuracy of it and plain training"),
        (PLAIN_OF_DECAY, "plain training at that accuracy"),
    ),
    metric=(
        "mean over live units of the best absolute correlation with a planted feature; on real "
        "data, of the cross-validated R2 of a small tree of the inputs"
    ),
    null="plain training of the same seed does as well",
    planted="planted features of a ReLU teacher",
    real="a proxy: how well trees of the inputs explain a unit, no feature being known",
    comparisons=(
        *_comparisons("planted", "recovery", 0.05),
        *_comparisons("real", "explainability", 0.05),
    ),
    settings=(
        ("width", 24),
        ("epochs", 40),
        ("batch_size", 50),
        ("learning_rate", 0.01),
        ("radius", 0.1),
        ("wide_radius", 0.5),
        ("alpha", 1.0),
        ("n_features", 10),
        ("n_teacher", 4),
        ("n_train", 400),
        ("n_match", 400),
        ("n_test", 1000),
        ("dose", 0.1),
    ),
    data=("planted", "digits", "breast cancer", "wine"),
    mediators=(
        (SAM_EARLY, PLAIN, "sharpness"),
        (SAM, LONG, "sharpness"),
        (WIDE, LONG, "sharpness"),
        (DECAY, LONG, "sharpness"),
    ),
)
#: added to a seed for that of a second network
ANOTHER = 500_000
#: factors of the smallest perturbation of the start
_FACTORS = (1.0, 3.0, 10.0)


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
    """Metrics of all arms, for one seed: see :class:`~sklflat.claims.registry.Claim`."""
    rows, truth = rows_of(data, seed)
    epochs = PROTOCOL.count("epochs")
    kinds = {
        SAM: classifier(PROTOCOL, rho=PROTOCOL.setting("radius")),
        LONG: classifier(PROTOCOL, 2 * epochs),
        DECAY: classifier(PROTOCOL, 2 * epochs, alpha=PROTOCOL.setting("alpha")),
        WIDE: classifier(PROTOCOL, rho=PROTOCOL.setting("wide_radius")),
    }
    first, second = _all_kinds(kinds, rows, (seed, seed + ANOTHER))
    networks = {name: (first[name].estimator, second[name].estimator) for name in kinds}
    for name, early, plain in _MATCHED:
        pairs = [match_accuracy(run[name], run[LONG], rows) for run in (first, second)]
        networks[early] = (pairs[0][0], pairs[1][0])
        networks[plain] = (pairs[0][1], pairs[1][1])
    found = {name: _metrics(pair, rows, truth) for name, pair in networks.items()}
    slopes = _dose_slopes({name: (kinds[name], first[name]) for name in (SAM, LONG)}, rows, seed)
    for name, slope in slopes.items():
        found[name]["dose slope"] = slope
    return found


def _all_kinds(
    kinds: dict[str, SAMClassifier], rows: Rows, seeds: tuple[int, ...]
) -> list[dict[str, Trained]]:
    """One network of each kind for every seed."""
    estimators = [_seeded(network, seed) for seed in seeds for network in kinds.values()]
    trained = iter(train_all(estimators, rows))
    return [{name: next(trained) for name in kinds} for _ in seeds]


def _seeded(network: SAMClassifier, seed: int) -> SAMClassifier:
    return type(network)(**network.get_params()).set_params(random_state=seed)


def _metrics(pair: tuple[Any, Any], rows: Rows, truth: Truth | None) -> dict[str, float]:
    """Of the first network; and how far its units are those of the second."""
    one = pair[0]
    A, B = (network.transform(rows.X_test) for network in pair)
    alive = live(A)
    own = A[:, alive]
    found = {
        "accuracy": float(one.score(rows.X_test, rows.y_test)),
        "gradients": float(one.n_gradient_evaluations_),
        "live units": float(alive.sum()),
        "rank": rank_of(own),
        "collapse": collapse(own, rows.y_test),
        "sharpness": sharpness_of(one, rows.X, rows.y),
        "reproduced": reproduced(own, B[:, live(B)]),
    }
    metric = "explainability" if truth is None else "recovery"
    return found | {metric: float(single_feature_score(own, rows, truth).mean())}


def _dose_slopes(
    kinds: dict[str, tuple[SAMClassifier, Trained]], rows: Rows, seed: int
) -> dict[str, float]:
    """Slopes of the agreement with the network of an unperturbed start in the perturbation."""
    start = _flat(next(iter(kinds.values()))[1].states[0])
    xi = torch.as_tensor(np.random.RandomState(seed).normal(size=len(start)), dtype=start.dtype)
    xi *= start.norm() / xi.norm()
    doses = PROTOCOL.setting("dose") * np.array(_FACTORS)
    estimators = [_seeded(network, seed) for network, _ in kinds.values() for _ in doses]
    initial = [start + float(dose) * xi for _ in kinds for dose in doses]
    perturbed = iter(train_all(estimators, rows, initial=initial))
    slopes = {}
    for name, (_, reference) in kinds.items():
        A = reference.estimator.transform(rows.X_test)
        kept = [_same_units(A, next(perturbed).estimator.transform(rows.X_test)) for _ in doses]
        slopes[name] = float(np.polyfit(np.r_[0, np.log1p(doses)], np.r_[1.0, kept], 1)[0])
    return slopes


def _flat(state: dict[str, torch.Tensor]) -> torch.Tensor:
    return torch.cat([tensor.reshape(-1) for tensor in state.values()])


def _same_units(A: NDArray, B: NDArray) -> float:
    """Mean correlation of the same unit in two networks of one start."""
    both = live(A) & live(B)
    return float(correlations(np.stack([A, B])[:, :, both])[:, 0, 1].mean())
