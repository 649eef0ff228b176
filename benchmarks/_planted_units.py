"""Networks of which it is known which units are real, and scores of units: planted_scores.py."""

import warnings
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import roc_auc_score
from torch import nn

from sklflat import (
    AblationProbe,
    ActivationProbe,
    BasinRewinder,
    HessianSpectrum,
    ModeConnectivityProbe,
    PruningPath,
    SAMClassifier,
    SAMRegressor,
    SurrogateAligner,
    TemperatureProbe,
    UniversalityProbe,
    from_module,
)
from sklflat.consensus import midranks, rho_scores
from sklflat.datasets import (
    make_class_tree,
    make_shared_private,
    make_spurious,
    make_teacher_student,
)
from sklflat.probing import Sample
from sklflat.probing.baselines import BASELINES, baseline_scores
from sklflat.probing.dead_units import rounding_of
from sklflat.probing.sample import shared_samples
from sklflat.probing.split import Rows
from sklflat.training.runs import Training
from sklflat.training.stacking import train

N_TRAIN, N_HELD_OUT = 1000, 500
N_ROWS = N_TRAIN + N_HELD_OUT
#: siblings of the network that is scored
N_SIBLINGS = 8
NETWORK = {
    "hidden_layer_sizes": (40,),
    "rho": 0,
    "solver": "sgd",
    "learning_rate_init": 0.05,
    "max_iter": 100,
}
#: correlation with a feature of the teacher above which a unit is real, and others
RECOVERED, OTHER_THRESHOLDS = 0.9, (0.8, 0.95)
#: share of what a unit reads, and of the units that read most of the top level of a tree
READS, TOP = 0.5, 0.25


@dataclass(frozen=True)
class Planted:
    """A network that is scored on rows held out, its siblings, and which of its units are real.

    ``network`` is unfitted where it is to be trained on ``train``; else it is frozen.
    """

    rows: tuple[Any, Any]
    train: tuple[Any, Any] | None
    network: Any
    siblings: Any
    real: Any


# --- which units are real ---------------------------------------------------------------------


def by_recovery(truth, threshold=RECOVERED):
    """Units of a trained network that compute a hidden feature of the teacher."""
    return lambda estimator, X: truth.real_units(estimator.transform(X), threshold=threshold)


def shares_read(estimator, X, inputs):
    """Shares (n_units,) of what units read, squared weights times variances, that is of inputs."""
    weights = estimator.module_.state_dict()["hidden.linear_0.weight"].double().numpy()
    reads = np.square(weights) * X.var(axis=0)
    return reads[:, inputs].sum(axis=1) / reads.sum(axis=1)


def by_inputs(inputs):
    """Units that read some inputs more than all others."""
    return lambda estimator, X: shares_read(estimator, X, inputs) > READS


def by_level(levels):
    """The quarter of the units that reads most of the top level."""

    def real(estimator, X):
        share = shares_read(estimator, X, levels == 0)
        return share >= np.quantile(share, 1 - TOP)

    return real


# --- the planted sets -------------------------------------------------------------------------


def _trained(X, y, seed, real):
    kind = SAMRegressor if y.dtype.kind == "f" else SAMClassifier
    y = y / y.std() if y.dtype.kind == "f" else y
    network = kind(**NETWORK, random_state=seed)
    parts = (X[N_TRAIN:], y[N_TRAIN:]), (X[:N_TRAIN], y[:N_TRAIN])
    return Planted(*parts, network, None, real)


def teacher(task, seed):
    X, y, truth = make_teacher_student(N_ROWS, task=task, random_state=seed)
    real = {t: by_recovery(_held_out(truth), t) for t in (RECOVERED, *OTHER_THRESHOLDS)}
    return _trained(X, y, seed, real)


def _held_out(truth):
    return replace(truth, latent=truth.latent[N_TRAIN:])


def cue(seed, **options):
    X, y, truth = make_spurious(N_ROWS, random_state=seed, **options)
    return _trained(X, y, seed, {READS: by_inputs(truth.inputs)})


def class_tree(seed):
    X, y, truth = make_class_tree(N_ROWS, separation=4.0, random_state=seed)
    return _trained(X, y, seed, {TOP: by_level(truth.levels)})


def frozen(planted, noise=0.0, rng=None):
    """A planted network as a frozen estimator, its parameters moved by a share of their size."""
    d, h = planted.W1.shape
    module = nn.Sequential(nn.Linear(d, h), nn.ReLU(), nn.Linear(h, 1)).double()
    arrays = (planted.W1.T, planted.b1, planted.W2.T, planted.b2)
    with torch.no_grad():
        for parameter, value in zip(module.parameters(), arrays, strict=True):
            moved = value if rng is None else value * (1 + noise * rng.normal(size=value.shape))
            parameter.copy_(torch.as_tensor(moved))
    return from_module(module)


def unread_units(seed):
    """Live and redundant units beside active ones that nobody reads; siblings are fine-tuned."""
    X, y, truth = make_teacher_student(
        N_HELD_OUT, n_dead=0, n_redundant=12, n_unused=23, random_state=seed
    )
    rng = np.random.RandomState(seed)
    siblings = [frozen(truth.network, 0.1, rng) for _ in range(N_SIBLINGS)]
    return Planted((X, y), None, frozen(truth.network), siblings, {0: lambda *_: truth.units})


def shared_units(seed, **options):
    X, y, truth = make_shared_private(
        N_HELD_OUT, n_students=N_SIBLINGS + 1, random_state=seed, **options
    )
    first, *others = (frozen(student) for student in truth.students)
    return Planted((X, y), None, first, others, {0: lambda *_: truth.units})


def cancelling_pairs(seed):
    return shared_units(seed, n_private=0, n_unused=0, n_cancelling=16)


#: what is planted, and what a real unit is
SETS = {
    "teacher, classes": lambda seed: teacher("classification", seed),
    "teacher, numbers": lambda seed: teacher("regression", seed),
    "weak cue": lambda seed: cue(seed, easiness=0.5),
    "shared units": shared_units,
    "unread units": unread_units,
    "easy cue": lambda seed: cue(seed, easiness=3.0, n_noise=0),
    "cancelling pairs": cancelling_pairs,
    "class tree": class_tree,
}

# --- the scores -------------------------------------------------------------------------------

FEW = {"n_units": None, "n_null": 20}
#: probes that score one network, which share it
ONE_NETWORK = {
    "AblationProbe": AblationProbe(),
    **{
        f"ActivationProbe, {name}": ActivationProbe(unit_score=name)
        for name in ("selectivity", "correlation", "class_variance", "explainability")
    },
    "HessianSpectrum, flat alignment": HessianSpectrum(),
    "HessianSpectrum, response": HessianSpectrum(unit_score="response"),
    "HessianSpectrum, curvature": HessianSpectrum(unit_score="curvature"),
    "HessianSpectrum, curvature, adaptive": HessianSpectrum(
        unit_score="curvature", metric="adaptive"
    ),
    "TemperatureProbe": TemperatureProbe(),
}
SURROGATE = {
    "SurrogateAligner": lambda net: SurrogateAligner(net, n_basin_models=0, n_redraws=2, **FEW),
}
SEVERAL = {
    "UniversalityProbe": lambda nets: UniversalityProbe(nets, **FEW),
    "ModeConnectivityProbe": lambda nets: ModeConnectivityProbe(nets[:2], n_points=9, **FEW),
}
REWINDING = {
    "BasinRewinder": lambda net: BasinRewinder(
        net, sparsity=0.5, n_grid=6, n_copies=2, n_retrains=4, n_controls=1, **FEW
    ),
}
#: scores that are computed together, the quick and most useful ones first
GROUPS = {
    "one network": ONE_NETWORK,
    "several networks": SEVERAL,
    "surrogate": SURROGATE,
    "rewinding": REWINDING,
}
#: the probes of a default UnitConsensus
CONSENSUS = (
    "AblationProbe",
    "ActivationProbe, correlation",
    "HessianSpectrum, curvature, adaptive",
)
OF_CLASSES = ("ActivationProbe, selectivity", "TemperatureProbe")
MEAN_RANK = "mean rank of the same probes"
BASELINE_NAMES = {
    "weight norm": "weight norm",
    "activation variance": "activation variance",
    "ablation": "ablation",
    "linear probing": "linear probing of units",
    "integrated gradients": "integrated gradients",
    "input permutation": "permutation importance of inputs",
    "optimal activation": "optimal inputs",
    "random": "random",
}
assert BASELINE_NAMES.keys() == BASELINES.keys()


def scores_of(group, planted, nets, seed):
    """The network that is scored, a mask of its living units, and scores by name."""
    if group == "rewinding":
        return _rewound(planted, seed)
    if group == "one network":
        return nets[0], *_by_one(nets[0], planted.rows, seed)
    found = {}
    for name, probe in GROUPS[group].items():
        fitted = probe(nets if group == "several networks" else nets[0])
        fitted = fitted.set_params(random_state=seed).fit(*planted.rows)
        found[name] = fitted.unit_scores_
    return nets[0], ~fitted.dead_, found


def _by_one(net, rows, seed):
    """All scores of one network, what is computed of it shared."""
    sample, rng = Sample.of(net, *rows), np.random.RandomState(seed)
    living, found, surfaces = ~sample.dead, {}, {}
    for name, probe in ONE_NETWORK.items():
        if name in OF_CLASSES and sample.trained.classes is None:
            continue
        own = clone(probe).set_params(estimator=net, random_state=seed)
        metric = getattr(own, "metric", None)
        if metric in surfaces:
            scored = surfaces[metric]
        else:
            with shared_samples(net, sample):
                scored = own._prepare(Rows(*rows, {}), rng)
        if metric is not None:  # the scores of a spectrum are of one surface
            surfaces[metric] = scored
        found[name] = np.where(scored.scoreless, 0.0, own._score_units(scored))
    ranks = midranks(
        np.array([found[name] for name in CONSENSUS]), living, rounding_of(sample.dtype)
    )
    # what UnitConsensus() does, which planted_scores.py --check compares it with
    found["UnitConsensus"] = np.zeros(len(living))
    found["UnitConsensus"][living] = -np.log10(rho_scores(ranks[:, living] / living.sum()))
    found[MEAN_RANK] = -np.nan_to_num(ranks, nan=1e6).mean(axis=0)
    path = PruningPath(net, n_units=5, n_random=2, random_state=seed).fit(*rows)
    found["PruningPath"] = path.unit_scores_
    baselines = baseline_scores(net, *rows, random_state=seed)
    found |= {BASELINE_NAMES[name]: values for name, values in baselines.items()}
    return living, found


def networks_of(group, sets):
    """The network of every seed as a frozen estimator, with siblings if asked for; one stack."""
    if group == "rewinding" or sets[0].train is None:
        return [None if p.train else [p.network, *p.siblings] for p in sets]
    n = 1 + N_SIBLINGS * (group == "several networks")
    trainings = []
    for planted in sets:
        rng = np.random.RandomState(planted.network.random_state)
        seeds = [planted.network.random_state, *rng.randint(2**31 - 1, size=N_SIBLINGS)][:n]
        nets = [clone(planted.network).set_params(random_state=int(seed)) for seed in seeds]
        trainings += [Training(net, *planted.train, {}) for net in nets]
    for i in train(trainings):
        if trainings[i].error is not None:
            raise trainings[i].error
    frozen_ones = [FrozenEstimator(training.estimator) for training in trainings]
    return [frozen_ones[i : i + n] for i in range(0, len(frozen_ones), n)]


def _rewound(planted, seed):
    """The rewinder trains networks of its own, on all rows but a part; its ticket is scored."""
    if planted.train is None:
        return planted.network, None, {}
    ((name, probe),) = REWINDING.items()
    fitted = probe(clone(planted.network)).set_params(random_state=seed)
    rows = [np.concatenate(pair) for pair in zip(planted.train, planted.rows, strict=True)]
    fitted = fitted.fit(*rows)
    return fitted.ticket_, ~fitted.dead_, {name: fitted.unit_scores_}


def areas(group, name, seeds):
    """Seed by seed, the areas under the curve over the living units, by what is called real."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sets = [SETS[name](seed) for seed in seeds]
        networks = networks_of(group, sets)
        for seed, planted, nets in zip(seeds, sets, networks, strict=True):
            yield seed, _areas_of(planted, *scores_of(group, planted, nets, seed))


def _areas_of(planted, network, living, scores):
    if not scores:
        return None
    inner = getattr(network, "estimator", network)
    found = {"n_units": int(living.sum()), "n_real": {}, "areas": {}}
    for threshold, real in planted.real.items():
        mask = np.asarray(real(inner, planted.rows[0]))[living]
        found["n_real"][str(threshold)] = int(mask.sum())
        if 0 < mask.sum() < len(mask):
            found["areas"][str(threshold)] = {n: area(mask, s[living]) for n, s in scores.items()}
    return found


def area(real, scores):
    """Area under the curve, to six digits."""
    return round(float(roc_auc_score(real, np.clip(scores, -1e300, 1e300))), 6)
