"""Claim 7: where surrogate and network disagree, the basin leaves the answer free.

Disagreement and the variance over models of the basin are compared on held-out rows of equal
margin, as both are greatest at the decision boundary. Controls are the disagreement of a tree that
was taught the labels and of another network, which cost a further training. And networks that never
saw one of two planted mechanisms are grouped by the surrogate's leaves.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import adjusted_mutual_info_score

from sklflat.claims.data import Rows, cut, real_rows
from sklflat.claims.networks import classifier, train_all
from sklflat.claims.protocol import Comparison, Protocol, contrasts_with
from sklflat.datasets import make_two_mechanisms
from sklflat.probing.basin import sample_basin
from sklflat.probing.resolve import resolve
from sklflat.surrogate import SurrogateAligner, degeneracy_test
from sklflat.surrogate.degeneracy import apart, output_variance
from sklflat.surrogate.teacher import Answers, answers_of, read_answers

__all__ = ["PROTOCOL", "measure"]

SURROGATE, OTHER = "surrogate", "another network"
MARGIN = "margin alone"
GROUPS = "groups by the surrogate's leaves"
PREDICTIONS = "groups by predictions"
CHILDREN = "surrogate, networks of other seeds as the basin"


def _comparisons(where: str) -> tuple[Comparison, ...]:
    contrast = contrasts_with(where=where, smallest_effect=0.05, matched_in="one network")
    beside: dict[str, Any] = {"primary": False}
    half: dict[str, Any] = {"null_value": 0.5}
    return (
        contrast("area beyond the margin above one half", "area", SURROGATE, None, **half),
        contrast(
            *(
                "groups of models agree with what was hidden from them, above chance",
                "AMI",
                GROUPS,
                None,
            ),
            smallest_effect=0.1,
        ),
        contrast(
            *("groups by leaves above groups by predictions", "AMI", GROUPS, PREDICTIONS),
            **beside,
        ),
        contrast(
            *("area above that of another network's disagreement", "area", SURROGATE, OTHER),
            matched_in="accuracy",
            **beside,
        ),
        contrast(
            *("area with networks of other seeds, above one half", "area", CHILDREN, None),
            **beside | half,
        ),
        contrast(
            *("area of another network's disagreement, above one half", "area", OTHER, None),
            **beside | half,
        ),
        contrast(
            *("area with the margin left in, above the margin alone", "area of all", SURROGATE),
            MARGIN,
            **beside,
        ),
        contrast("fidelity above majority", "fidelity", SURROGATE, "majority", **beside),
        contrast("fidelity above a tree of the labels", "fidelity", SURROGATE, "labels", **beside),
    )


PROTOCOL = Protocol(
    number=7,
    title="Surrogates",
    hypothesis=(
        "At equal margin, a surrogate disagrees with its network where the models of the basin "
        "vary, and its leaves divide models into those of one mechanism and those of another."
    ),
    arms=(
        (SURROGATE, "a tree of depth 4, taught the network's probabilities"),
        (OTHER, "the disagreement of a network from another seed, in place of the surrogate's"),
        (MARGIN, "of the network"),
        (GROUPS, "networks that never saw one mechanism, cut in two by agreement in each leaf"),
        (PREDICTIONS, "the same networks, cut in two by their probabilities, without a surrogate"),
        (CHILDREN, "in place of models around the minimum"),
        ("majority", "the class that the network says most often"),
        ("labels", "the same tree, taught the labels"),
    ),
    metric=(
        "probability that of two rows of equal margin the one on which surrogate and network "
        "disagree is the one on which models of the basin vary more; and adjusted mutual "
        "information of groups of models and mechanisms"
    ),
    null="an area of one half, and a mutual information of 0",
    planted="two planted mechanisms, one of which was hidden from each of the grouped networks",
    real=(
        "real inputs, a random half of which was hidden from each of the grouped networks; of the "
        "basin no truth is known"
    ),
    comparisons=(*_comparisons("planted"), *_comparisons("real")),
    settings=(
        ("width", 24),
        ("epochs", 40),
        ("batch_size", 50),
        ("learning_rate", 0.01),
        ("n_basin_models", 24),
        ("loss_rise", 0.05),
        ("n_others", 8),
        ("depth", 4),
        ("oracle_samples", 2000),
        ("signal", 1.5),
        ("n_train", 600),
        ("n_match", 200),
        ("n_test", 1200),
    ),
    data=("planted", "digits", "breast cancer"),
)


def rows_of(data: str, seed: int) -> tuple[Rows, list[NDArray], NDArray]:
    """Rows of a data set, the inputs of both mechanisms, and which test rows show both of them."""
    if data != "planted":
        rows = real_rows(data, seed, n_most=1200)
        order = np.random.RandomState(seed).permutation(rows.X.shape[1])
        return rows, np.array_split(order, 2), np.ones(len(rows.X_test), dtype=bool)
    n = [PROTOCOL.count(name) for name in ("n_train", "n_match", "n_test")]
    X, y, truth = make_two_mechanisms(sum(n), signal=PROTOCOL.setting("signal"), random_state=seed)
    rows = cut(X, y, n[0], n[1])
    mechanisms = [np.flatnonzero(truth.roles == m) for m in "ab"]
    return rows, mechanisms, np.asarray(truth.subset(rows.test).regions == "both")


def measure(data: str, seed: int) -> dict[str, dict[str, float]]:
    """Metrics of all arms, for one seed: see :class:`~sklflat.claims.registry.Claim`."""
    rows, mechanisms, both = rows_of(data, seed)
    network, others, one_sided, hidden = _networks(rows, mechanisms, seed)
    aligner = SurrogateAligner(
        FrozenEstimator(network),
        oracle_samples=PROTOCOL.count("oracle_samples"),
        n_basin_models=PROTOCOL.count("n_basin_models"),
        loss_rise=PROTOCOL.setting("loss_rise"),
        basin_models={"others": others},
        n_redraws=0,
        n_null=1,
        n_units=None,
        min_fidelity=0.0,
        random_state=seed,
    ).fit(rows.X_test, rows.y_test)
    tests, X = aligner.degeneracy_, rows.X_test[both]
    said = np.stack([network.predict(X) for network in one_sided])
    groups = _in_two(_by_leaf(said == aligner.predict(X), aligner.surrogate_.apply(X)))
    proba = np.stack([network.predict_proba(X).ravel() for network in one_sided])
    own = {
        "accuracy": float(network.score(rows.X_match, rows.y_match)),
        "gradients": float(network.n_gradient_evaluations_),
    }
    report = aligner.fidelity_
    test = tests["sample_basin"]
    return {
        SURROGATE: {
            "area": test.auc,
            "area of all": test.auc_all,
            "models": float(test.n_models),
            "fidelity": float(report.value),
            **own,
        },
        MARGIN: {"area of all": test.auc_margin, **own},
        CHILDREN: {"area": tests["others"].auc, **own},
        GROUPS: {
            "AMI": _ami(groups, hidden),
            "groups say the same": float((said[groups == 0][:, None] == said[groups == 1]).mean())
            if np.ptp(groups)
            else 1.0,
            **own,
        },
        PREDICTIONS: {"AMI": _ami(_in_two(proba), hidden), **own},
        OTHER: _other_network(network, others[0], rows, seed),
        "majority": {"fidelity": float(report.of("majority")), **own},
        "labels": {"fidelity": float(report.of("taught true targets")), **own},
    }


def _ami(groups: NDArray, truth: NDArray) -> float:
    """Of two groupings; 0 where one of them does not divide."""
    if np.ptp(groups) == 0 or np.ptp(truth) == 0:
        return 0.0
    return float(adjusted_mutual_info_score(truth, groups))


def _by_leaf(same: NDArray, leaf_of: NDArray) -> NDArray[np.float64]:
    """How often each model agrees with the surrogate in each leaf, (n_models, n_leaves)."""
    return np.stack([same[:, leaf_of == leaf].mean(axis=1) for leaf in np.unique(leaf_of)], axis=1)


def _in_two(profiles: NDArray) -> NDArray[np.int64]:
    """Groups 0 and 1 of models by Ward's method; all 0 where profiles do not differ."""
    if np.ptp(profiles, axis=0).max() == 0:
        return np.zeros(len(profiles), dtype=np.int64)
    return np.asarray(fcluster(linkage(profiles, "ward"), 2, "maxclust") - 1, dtype=np.int64)


def _networks(
    rows: Rows, mechanisms: list[NDArray], seed: int
) -> tuple[Any, list[Any], list[Any], NDArray]:
    """A network, others of its kind, ones that never saw one mechanism, and which that is."""
    n = PROTOCOL.count("n_others")
    hidden = np.arange(n) % 2
    rng = np.random.RandomState(seed)
    masked = []
    for mechanism in hidden:
        X = rows.X.copy()
        columns = mechanisms[mechanism]
        X[:, columns] = rng.normal(size=(len(X), len(columns)))
        masked.append((X, rows.y))
    seeds = [
        seed,
        *range(seed + 500_000, seed + 500_000 + n),
        *range(seed + 600_000, seed + 600_000 + n),
    ]
    estimators = [classifier(PROTOCOL, random_state=s) for s in seeds]
    pairs = [(rows.X, rows.y)] * (1 + n) + masked
    trained = [t.estimator for t in train_all(estimators, pairs)]
    return trained[0], trained[1 : 1 + n], trained[1 + n :], hidden


def _other_network(network: Any, other: Any, rows: Rows, seed: int) -> dict[str, float]:
    """The same test with the disagreement of another network in place of a surrogate's."""
    half = len(rows.X_test) // 2
    X, X_basin = rows.X_test[:half], rows.X_test[half:]
    basin = sample_basin(
        network,
        X_basin,
        rows.y_test[half:],
        n_models=PROTOCOL.count("n_basin_models"),
        loss_rise=PROTOCOL.setting("loss_rise"),
        random_state=seed,
    )
    trained = resolve(network)
    own = answers_of(trained, X)
    members: list[Answers] = []
    if len(basin) > 1:
        members = [read_answers(trained, z) for z in basin.outputs(X)]
    differs, distance = apart(own, answers_of(resolve(other), X))
    area = float("nan")
    if members:
        variance = output_variance(members)
        area = degeneracy_test(differs, distance, variance, own.margin, random_state=seed).auc
    return {
        "area": area,
        "accuracy": float(other.score(rows.X_match, rows.y_match)),
        "gradients": float(network.n_gradient_evaluations_ + other.n_gradient_evaluations_),
    }
