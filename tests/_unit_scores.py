"""Every unit score of the package as a function of a module and rows, for tests of all of them."""

import numpy as np
from sklearn.base import clone

from sklflat import (
    AblationProbe,
    ActivationProbe,
    HessianSpectrum,
    ModeConnectivityProbe,
    PruningPath,
    SurrogateAligner,
    TemperatureProbe,
    UnitConsensus,
    UniversalityProbe,
    from_module,
)
from sklflat.probing import Sample
from sklflat.probing.baselines import BASELINES
from sklflat.probing.split import Rows
from sklflat.rewinding.consistency import Group
from tests._probes import random_arrays, two_layer

#: eigenvectors to far more digits than a fit asks for
EXACT = {"tol": 1e-12, "n_components": 3}
PROBES = {
    "AblationProbe": AblationProbe(),
    **{
        f"ActivationProbe, {name}": ActivationProbe(unit_score=name)
        for name in ("selectivity", "correlation", "class_variance", "variance", "explainability")
    },
    **{
        f"HessianSpectrum, {name}, {metric}": HessianSpectrum(
            unit_score=name, metric=metric, **EXACT
        )
        for name in ("flat_alignment", "curvature", "response")
        for metric in ("plain", "adaptive")
    },
    "TemperatureProbe": TemperatureProbe(temperatures=(0.5, 1.0, 4.0)),
    "SurrogateAligner": SurrogateAligner(n_redraws=1, oracle_samples=50, n_null=20),
    "UnitConsensus": UnitConsensus(),
    "PruningPath": PruningPath(n_units=1, n_random=1),
    "UniversalityProbe": UniversalityProbe(n_untrained=20, n_null=20),
    "ModeConnectivityProbe": ModeConnectivityProbe(n_points=3, repair=False, n_null=4),
}
#: what the rewinder says of children that are given; training them is another matter
REWOUND, N_CHILDREN = "BasinRewinder, of given children", 3
#: probes that take siblings, which stay as they are
WITH_SIBLINGS = ("UniversalityProbe", "ModeConnectivityProbe")
RANDOM = ("input permutation", "random")
NAMES = (*PROBES, REWOUND, *(f"baseline, {name}" for name in BASELINES))


def unit_scores(name, arrays, X, y, seed=0):
    """Scores (n_units,) of the units of a classifier of given arrays."""
    if name == REWOUND:
        return rewound_scores(arrays, X, y, seed)
    network = from_module(two_layer(*arrays), classes=np.unique(y))
    if name.startswith("baseline, "):
        own = name.removeprefix("baseline, ")
        options = {"random_state": seed} if own in RANDOM else {}
        return BASELINES[own](Sample.of(network, X, y), **options)
    if name in WITH_SIBLINGS:
        n = 1 if name == "ModeConnectivityProbe" else 3
        siblings = [two_layer(*random_arrays(seed + 101 + i)) for i in range(n)]
        network = [network, *(from_module(m, classes=np.unique(y)) for m in siblings)]
    probe = clone(PROBES[name]).set_params(estimator=network, random_state=seed)
    if name == "PruningPath":
        return probe.fit(X, y).unit_scores_
    rng = np.random.RandomState(seed)
    sample = probe._prepare(Rows(X, y, {}), rng)
    return np.where(sample.scoreless, 0.0, probe._score_units(sample))


def rewound_scores(arrays, X, y, seed):
    """Scores of units whose children read other mixtures of the inputs, rewritten as they are."""
    W1, *rest = arrays
    rng = np.random.RandomState(seed)
    mixtures = [0.3 * rng.normal(size=(len(W1), len(W1))) for _ in range(N_CHILDREN)]
    return scores_over([(own, *rest) for own in (W1, *(W1 + M @ W1 for M in mixtures))], X, y)


def scores_over(children, X, y):
    """Consistency (n_units,) of the first network's units over all; half of the rows match."""
    networks = [from_module(two_layer(*arrays), classes=np.unique(y)) for arrays in children]
    A = np.stack([Sample.of(network, X, y).activations for network in networks])
    half = len(X) // 2
    return Group(A[:, :half], A[:, half:], np.zeros(A.shape[2], dtype=int)).scores()[0]
