"""Claim 2: units that stay what they are on the path between two networks follow features best.

Two networks from seeds of their own are aligned and joined by a straight line. The core are the k
units of each layer of the first that keep their activations most along it. Of a single network the
k units of the greatest variance are taken, from the better of the two; and k units by the agreement
of the two ends alone, for which no path is needed. Two trainings cost what one of twice the epochs
does. There are two hidden layers, as what a first one reads moves along a straight line, so that
there a path cannot say more than its ends.
"""

from functools import partial

import numpy as np
from numpy.typing import NDArray
from sklearn.frozen import FrozenEstimator

from sklflat.claims.data import Rows, rows_with_truth
from sklflat.claims.networks import Trained, classifier, live, single_feature_score, train_all
from sklflat.claims.protocol import Comparison, Protocol, contrasts_with
from sklflat.connectivity import ModeConnectivityProbe
from sklflat.datasets import Truth, make_shared_private
from sklflat.probing.baselines import ablation
from sklflat.probing.sample import Sample

__all__ = ["PROTOCOL", "measure"]

CORE, ENDS = "core", "agreement of the ends"
SINGLE, LONG = "single network", "single network, equal gradients"


def _comparisons(where: str, metric: str, smallest: float) -> tuple[Comparison, ...]:
    contrast = contrasts_with(where=where, smallest_effect=smallest, matched_in="one network")
    best, longer = "the best units of one network", "those of one trained twice as long"
    ablation, live = "units of the greatest rise of the loss", "all live units"
    return (
        contrast(f"core above {best}", metric, CORE, SINGLE, matched_in="accuracy"),
        contrast(f"core above {longer}", metric, CORE, LONG, matched_in="gradient evaluations"),
        contrast("core above agreement of the ends", metric, CORE, ENDS),
        contrast(f"core above {ablation}", metric, CORE, ablation, primary=False),
        contrast(f"core above {live}", metric, CORE, live, primary=False),
    )


PROTOCOL = Protocol(
    number=2,
    title="Invariant core",
    hypothesis=(
        "The units that stay the same along the path between two networks follow single features "
        "more closely than the best units of either network alone, and more closely than those "
        "chosen by the agreement of the two ends."
    ),
    arms=(
        (
            CORE,
            "units of the greatest least correlation along the repaired path, in each layer",
        ),
        (ENDS, "units of the greatest correlation of the two aligned ends"),
        (SINGLE, "units of the greatest variance, of the better of the two networks"),
        (LONG, "the same of one network trained for twice the epochs"),
        ("units of the greatest rise of the loss", "by ablation, of the first network"),
        ("all live units", "of the first network"),
    ),
    metric=(
        "mean over the chosen units of the best absolute correlation with a planted feature; on "
        "real data, of the cross-validated R2 of a small tree of the inputs"
    ),
    null="units that are chosen without a path do as well",
    planted="planted features of a ReLU teacher that all networks learn from",
    real="a proxy: how well trees of the inputs explain a unit, no feature being known",
    comparisons=(
        *_comparisons("planted", "recovery", 0.05),
        *_comparisons("real", "explainability", 0.05),
    ),
    settings=(
        ("width", 24),
        ("depth", 2),
        ("chosen", 8),
        ("epochs", 40),
        ("batch_size", 50),
        ("learning_rate", 0.01),
        ("n_features", 12),
        ("n_shared", 6),
        ("n_train", 500),
        ("n_match", 300),
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
        make_shared_private,
        n_shared=PROTOCOL.count("n_shared"),
        task="classification",
    )


def measure(data: str, seed: int) -> dict[str, dict[str, float]]:
    """Metrics of all ways to choose units: see :class:`~sklflat.claims.registry.Claim`."""
    rows, truth = rows_of(data, seed)
    networks = first, second, _ = _networks(rows, seed)
    probe = ModeConnectivityProbe(
        [FrozenEstimator(first.estimator), FrozenEstimator(second.estimator)],
        n_units=1,
        n_null=4,
        random_state=seed,
    ).fit(rows.X_match, rows.y_match)
    metric = "explainability" if truth is None else "recovery"
    samples = [_sample(t, rows.X_match, rows.y_match) for t in networks]
    worth = [_worth(t, rows, truth) for t in networks]
    own = worth[0]
    best = partial(_best, layer_of=samples[0].units.layer_of)
    by_variance = [best(s.activations.var(axis=0), w) for s, w in zip(samples, worth, strict=True)]
    cost = float(first.estimator.n_gradient_evaluations_)
    accuracies = [_accuracy(t, rows) for t in networks]
    pair = {"accuracy": float(np.mean(accuracies[:2])), "gradients": 2 * cost}
    rises = ablation(samples[0])
    found = {
        CORE: {metric: best(probe.unit_scores_, own), **pair},
        ENDS: {metric: best(np.where(probe.dead_, -1, probe.core_.ends), own), **pair},
        SINGLE: {
            metric: max(by_variance[:2]),
            "accuracy": pair["accuracy"],
            "gradients": cost,
        },
        LONG: {metric: by_variance[2], "accuracy": accuracies[2], "gradients": 2 * cost},
        "units of the greatest rise of the loss": {metric: best(rises, own), **pair},
        "all live units": {metric: float(np.nanmean(own)), **pair},
    }
    found[CORE]["barrier"] = float(probe.barriers_.largest("aligned", "error", "held-out", "mean"))
    return found


def _networks(rows: Rows, seed: int) -> list[Trained]:
    """Two networks of seeds of their own, and one that is trained for twice the epochs."""
    epochs = PROTOCOL.count("epochs")
    sizes = (PROTOCOL.count("width"),) * PROTOCOL.count("depth")
    estimators = [
        classifier(PROTOCOL, e, hidden_layer_sizes=sizes, random_state=s)
        for s, e in ((seed, epochs), (seed + 500_000, epochs), (seed, 2 * epochs))
    ]
    return train_all(estimators, rows)


def _accuracy(network: Trained, rows: Rows) -> float:
    return float(network.estimator.score(rows.X_test, rows.y_test))


def _sample(network: Trained, X: NDArray, y: NDArray) -> Sample:
    return Sample.of(network.estimator, X, y)


def _worth(network: Trained, rows: Rows, truth: Truth | None) -> NDArray[np.float64]:
    """How closely each unit follows a feature; NaN for units that are constant."""
    A = _sample(network, rows.X_test, rows.y_test).activations
    return np.where(live(A), single_feature_score(A, rows, truth), np.nan)


def _best(scores: NDArray, worth: NDArray, layer_of: NDArray) -> float:
    """Mean worth of the units of the highest scores in each layer, among those that live."""
    chosen = []
    for layer in np.unique(layer_of):
        own = np.flatnonzero((layer_of == layer) & ~np.isnan(worth))
        order = own[np.argsort(-scores[own], kind="stable")]
        chosen.append(worth[order[: PROTOCOL.count("chosen")]])
    return float(np.concatenate(chosen).mean())
