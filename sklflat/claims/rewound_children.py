"""Claim 3: units that come back in retrained children follow the real cue, not a spurious one.

Children go on from one early step of their parent with other orders of the rows. Consistency is the
mean correlation of the same unit over them, on rows where the spurious cue says nothing of the
label. Networks from other seeds, as many or of as many gradients, are what children have to beat.
The spurious cue comes as a dial: as hard as the real one, or far easier.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from sklflat.claims.data import Rows, cut, real_rows
from sklflat.claims.networks import classifier, live, steps_of, train_all, trained_from
from sklflat.claims.protocol import Comparison, Protocol, contrasts_with
from sklflat.datasets import make_spurious
from sklflat.metrics._checks import standardised
from sklflat.metrics.consistency import correlations, mean_of_pairs

__all__ = ["PROTOCOL", "measure"]

#: how easy the spurious cue is; a column of the real one has 1
DIAL = (0.5, 1.5, 4.0)
CHILDREN, SEEDS, FEWER = "children", "other seeds", "other seeds, equal gradients"
VARIANCE = "activation variance"
METRIC = "rank correlation"


def arm(name: str, easiness: float) -> str:
    """An arm at one place of the dial."""
    return f"{name}, ease {easiness:g}"


def _comparisons(where: str) -> tuple[Comparison, ...]:
    contrast = contrasts_with(where=where, smallest_effect=0.1, primary=False)
    found = []
    for ease in DIAL:
        ours, place = arm(CHILDREN, ease), f" (ease {ease:g})"
        others = (
            ("above other seeds", SEEDS, "accuracy"),
            ("above other seeds", FEWER, "gradient evaluations"),
            ("above activation variance", VARIANCE, "one network"),
        )
        name = f"consistency of children above chance{place}"
        found += [
            contrast(name, METRIC, ours, None, matched_in="one network", primary=True),
            *(
                contrast(f"{name}{place}", METRIC, ours, arm(against, ease), matched_in=matched_in)
                for name, against, matched_in in others
            ),
        ]
    return tuple(found)


PROTOCOL = Protocol(
    number=3,
    title="Rewinding",
    hypothesis=(
        "Units that stay the same over retrained children follow the real cue rather than a "
        "spurious one, however easy the spurious one is."
    ),
    arms=(
        (CHILDREN, "mean correlation of a unit over children that go on from an early step"),
        (SEEDS, "mean largest correlation with units of as many networks of other seeds"),
        (FEWER, "the same of as many as cost what parent and children do"),
        (VARIANCE, "of the parent's unit"),
    ),
    metric=(
        "rank correlation, over live units, of the score with how much more a unit correlates "
        "with the real cue than with the spurious one, where these are independent"
    ),
    null="a correlation of 0: consistency says nothing of which cue a unit follows",
    planted="two planted cues, at three places of a dial of how easy the spurious one is",
    real="the label itself, and a spurious column that was planted among real inputs",
    comparisons=(*_comparisons("planted"), *_comparisons("real")),
    settings=(
        ("width", 24),
        ("epochs", 30),
        ("batch_size", 50),
        ("learning_rate", 0.01),
        ("n_children", 5),
        ("rewound_to", 0.2),
        ("spurious_correlation", 0.8),
        ("n_train", 400),
        ("n_match", 100),
        ("n_test", 500),
    ),
    data=("planted", "digits", "breast cancer", "wine"),
)


def rows_of(data: str, seed: int, ease: float) -> tuple[Rows, NDArray]:
    """Rows, and the real and the spurious cue (n_test, 2) of those judged on."""
    if data != "planted":
        return _with_cue(real_rows(data, seed), seed, ease)
    n_train, n_match, n_test = (PROTOCOL.count(name) for name in ("n_train", "n_match", "n_test"))
    X, y, truth = make_spurious(
        2 * max(n_train + n_match, n_test),
        easiness=ease,
        spurious_correlation=(PROTOCOL.setting("spurious_correlation"), 0.0),
        random_state=seed,
    )
    assert truth.cues is not None
    here, elsewhere = (np.flatnonzero(truth.environment == e) for e in (0, 1))
    order = np.r_[here[: n_train + n_match], elsewhere[:n_test]]
    return cut(X[order], y[order], n_train, n_match), truth.cues[elsewhere[:n_test]]


def _with_cue(rows: Rows, seed: int, ease: float) -> tuple[Rows, NDArray]:
    """Two classes, and a column that says the same as they in most of the rows trained on."""
    rng = np.random.RandomState(seed)
    middle = np.median(np.unique(rows.y))
    agreeing = (1 + PROTOCOL.setting("spurious_correlation")) / 2

    def extended(X: NDArray, y: NDArray, share: float) -> tuple[NDArray, NDArray, NDArray]:
        label = np.where(y >= middle, 1.0, -1.0)
        spurious = np.where(rng.uniform(size=len(y)) < share, label, -label)
        column = ease * spurious + rng.normal(size=len(y))
        X = np.column_stack([X, column]).astype(np.float32)
        return X, (label > 0).astype(int), np.column_stack([label, spurious])

    X, y, _ = extended(rows.X, rows.y, agreeing)
    X_match, y_match, _ = extended(rows.X_match, rows.y_match, agreeing)
    X_test, y_test, cues = extended(rows.X_test, rows.y_test, 0.5)
    return Rows(X, y, X_match, y_match, X_test, y_test, rows.test), cues


def measure(data: str, seed: int) -> dict[str, dict[str, float]]:
    """Metrics of all scores at every easiness: see :class:`~sklflat.claims.registry.Claim`."""
    found: dict[str, dict[str, float]] = {}
    for ease in DIAL:
        rows, cues = rows_of(data, seed, ease)
        found |= {arm(name, ease): v for name, v in _at_one_place(rows, cues, seed).items()}
    return found


def _at_one_place(rows: Rows, cues: NDArray, seed: int) -> dict[str, dict[str, float]]:
    n_children = PROTOCOL.count("n_children")
    network = classifier(PROTOCOL, random_state=seed)
    n_steps = steps_of(network, rows.n_train)
    rewound_to = round(PROTOCOL.setting("rewound_to") * n_steps)
    parent, children = trained_from(network, rows, rewound_to, n_children)
    seeds = [seed + 500_000 + k for k in range(n_children)]
    estimators = [classifier(PROTOCOL, random_state=s) for s in seeds]
    others = [t.estimator for t in train_all(estimators, rows)]
    A = parent.transform(rows.X_test)
    alive = live(A)
    B = np.stack([c.transform(rows.X_test) for c in children])
    returns = np.stack([_largest(A, o.transform(rows.X_test)) for o in others])
    # parent and children cost 1 + n (1 - share) trainings, of which the parent is one
    n_fewer = round(n_children * (1 - PROTOCOL.setting("rewound_to")))
    scores = {
        CHILDREN: mean_of_pairs(correlations(B)),
        SEEDS: returns.mean(axis=0),
        FEWER: returns[:n_fewer].mean(axis=0),
        VARIANCE: A.var(axis=0),
    }
    each = float(parent.n_gradient_evaluations_)
    child = each * (1 - rewound_to / n_steps)
    cost = {
        CHILDREN: each + n_children * child,
        SEEDS: each * (1 + n_children),
        FEWER: each * (1 + n_fewer),
        VARIANCE: each,
    }
    accuracy = {
        CHILDREN: _accuracy(children, rows),
        SEEDS: _accuracy(others, rows),
        FEWER: _accuracy(others[:n_fewer], rows),
        VARIANCE: _accuracy([parent], rows),
    }
    leaning, real = _leaning(A[:, alive], cues)
    return {
        name: {
            METRIC: float(spearmanr(values[alive], leaning).statistic),
            "share of real units": float(real.mean()),
            "accuracy": accuracy[name],
            "gradients": cost[name],
        }
        for name, values in scores.items()
    }


def _accuracy(networks: list[Any], rows: Rows) -> float:
    return float(np.mean([n.score(rows.X_match, rows.y_match) for n in networks]))


def _largest(A: NDArray, B: NDArray) -> NDArray[np.float64]:
    """Largest correlation of each unit of one network with a unit of another."""
    both = standardised(A).T @ standardised(B)
    return np.asarray(both.max(axis=1))


def _leaning(A: NDArray, cues: NDArray) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """How much more each unit correlates with the real cue than with the spurious one."""
    r = np.abs(standardised(cues).T @ standardised(A))
    return np.asarray(r[0] - r[1]), r[0] > r[1]
