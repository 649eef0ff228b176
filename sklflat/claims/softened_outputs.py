"""Claim 6: softened outputs show the hierarchy of classes that is hidden at T = 1.

The tree of classes at the most stable temperature is compared with that of the same network at
T = 1, and with trees that need no temperature. All trees are of one network and the same held-out
rows; the most stable temperature is chosen without looking at what was planted.
"""

from typing import Any

import numpy as np
from sklearn.frozen import FrozenEstimator

from sklflat.claims.data import Rows, cut, real_rows
from sklflat.claims.networks import classifier, train_all
from sklflat.claims.protocol import Comparison, Protocol, contrasts_with
from sklflat.datasets import Truth, make_class_tree
from sklflat.probing.baselines import ablation
from sklflat.probing.sample import Sample
from sklflat.temperature import TemperatureProbe
from sklflat.temperature.profiles import unit_profiles

__all__ = ["PROTOCOL", "measure"]

TREE, AT_ONE = "most stable temperature", "T = 1"
#: what the probe calls the trees that are compared
WAYS = {
    AT_ONE: "confusion at T = 1",
    "hard confusion": "hard confusion",
    "class means of the inputs": "class means of the inputs",
    "class means of the hidden layer": "class means of the last hidden layer",
    "weights of the last layer": "the last layer's weights",
}
COARSE, MATTERS = "coarseness of units", "importance of units at T = 1"
_HIDDEN = "class means of the hidden layer"


def _comparisons(where: str, metric: str) -> tuple[Comparison, ...]:
    contrast = contrasts_with(where=where, smallest_effect=0.05, matched_in="one network")
    tree, coarse = "tree of a temperature above", "coarse units are of the top level more than"
    found = [
        contrast(f"{tree} that at T = 1", metric, TREE, AT_ONE),
        contrast(f"{tree} class means of the hidden layer", metric, TREE, _HIDDEN),
        *(
            contrast(f"above {way}", metric, TREE, way, primary=False)
            for way in (
                "hard confusion",
                "class means of the inputs",
                "weights of the last layer",
            )
        ),
    ]
    if where == "planted":
        found += [
            *(
                contrast(f"triplets, above {way}", "triplet accuracy", TREE, way, primary=False)
                for way in (AT_ONE, _HIDDEN)
            ),
            contrast(f"{coarse} those that matter at T = 1", "AUC of core units", COARSE, MATTERS),
        ]
    return tuple(found)


PROTOCOL = Protocol(
    number=6,
    title="Temperature",
    hypothesis=(
        "Softened at another temperature than 1, a classifier's outputs show the tree of its "
        "classes, and which units are of its top, better than at T = 1 and than class means do."
    ),
    arms=(
        (TREE, "average linkage of softened confusions at the most stable of 25 temperatures"),
        (AT_ONE, "the same at T = 1"),
        ("hard confusion", "the same of predicted classes"),
        ("class means of the inputs", "average linkage of their distances"),
        (_HIDDEN, "average linkage of their distances"),
        ("weights of the last layer", "average linkage of their distances"),
        (COARSE, "a unit's share in the importance at the highest temperature, against the lowest"),
        (MATTERS, "ablation at T = 1 (loss or outputs), the better of the two in the better sign"),
    ),
    metric=(
        "correlation of the tree's heights with those of the planted tree (cophenetic); on real "
        "data, with confusions on other rows"
    ),
    null="the tree at T = 1, or of class means, is as good",
    planted="a planted tree of eight classes that no class mean of the inputs shows",
    real="a proxy: how well a tree foretells confusions on other rows, no tree being known",
    comparisons=(
        *_comparisons("planted", "cophenetic correlation"),
        *_comparisons("real", "foretold confusion"),
    ),
    settings=(
        ("width", 64),
        ("epochs", 25),
        ("batch_size", 100),
        ("learning_rate", 0.01),
        ("alpha", 0.3),
        ("n_classes", 8),
        ("separation", 5.0),
        ("decay", 0.7),
        ("n_train", 3000),
        ("n_match", 200),
        ("n_test", 800),
        ("n_halves", 20),
        ("share_of_top", 0.25),
    ),
    data=("planted", "digits"),
)


def rows_of(data: str, seed: int) -> tuple[Rows, Truth | None]:
    """Rows of a data set, and the planted tree."""
    if data != "planted":
        return real_rows(data, seed, n_most=1800), None
    n = [PROTOCOL.count(name) for name in ("n_train", "n_match", "n_test")]
    X, y, truth = make_class_tree(
        sum(n),
        n_classes=PROTOCOL.count("n_classes"),
        separation=PROTOCOL.setting("separation"),
        decay=PROTOCOL.setting("decay"),
        warp="product",
        n_noise=0,
        random_state=seed,
    )
    return cut(X, y, n[0], n[1]), truth


def measure(data: str, seed: int) -> dict[str, dict[str, float]]:
    """Metrics of all trees, for one seed: see :class:`~sklflat.claims.registry.Claim`."""
    rows, truth = rows_of(data, seed)
    network = _network(rows, seed)
    probe = _probe(network, rows, seed)
    own = {
        "accuracy": float(network.score(rows.X_test, rows.y_test)),
        "gradients": float(network.n_gradient_evaluations_),
    }
    first, *others = probe.comparisons_
    by_name = {c.name: c for c in others}
    trees = {TREE: first} | {arm: by_name[name] for arm, name in WAYS.items()}
    found: dict[str, dict[str, float]] = {}
    for arm, tree in trees.items():
        found[arm] = {"foretold confusion": float(tree.confusion), **own}
        if truth is not None:
            found[arm] |= {
                "cophenetic correlation": truth.cophenetic_correlation(tree.linkage),
                "triplet accuracy": truth.triplet_accuracy(tree.linkage),
            }
    found[TREE]["temperature"] = float(probe.tree_.temperature)
    found[TREE]["vacuity"] = float(probe.vacuity_)
    if truth is not None:
        found |= _units(network, probe, rows, truth, own)
    return found


def _network(rows: Rows, seed: int) -> Any:
    estimator = classifier(PROTOCOL, alpha=PROTOCOL.setting("alpha"), random_state=seed)
    return train_all([estimator], rows)[0].estimator


def _probe(network: Any, rows: Rows, seed: int) -> TemperatureProbe:
    probe = TemperatureProbe(
        FrozenEstimator(network),
        n_bootstrap=PROTOCOL.count("n_halves"),
        n_units=1,
        n_null=1,
        random_state=seed,
    )
    return probe.fit(rows.X_test, rows.y_test)


def _units(
    network: Any, probe: TemperatureProbe, rows: Rows, truth: Truth, own: dict[str, float]
) -> dict[str, dict[str, float]]:
    """How well scores put units first that read inputs of the tree's top level."""
    sample = Sample.of(network, rows.X_test, rows.y_test)
    alive = ~probe.dead_
    reads = np.square(network.coefs_[0].T) * rows.X_test.var(axis=0)
    share = reads[:, truth.levels == 0].sum(axis=1) / reads.sum(axis=1)
    top = share[alive] >= np.quantile(share[alive], 1 - PROTOCOL.setting("share_of_top"))
    at_one = unit_profiles(sample, np.array([1.0]), "ablation", np.arange(len(rows.X_test)))[0]
    areas = [truth.auc(s[alive], of=top) for s in (ablation(sample), at_one)]
    ours = truth.auc(probe.unit_scores_[alive], of=top)
    best = max(max(area, 1 - area) for area in areas)
    return {
        COARSE: {"AUC of core units": ours, **own},
        MATTERS: {"AUC of core units": best, **own},
    }
