"""What each claim measures on networks that were constructed: supported, refuted, inconclusive.

No network is trained. Units, trees, scores and groups are given, so that it is known what every
metric is; all that lies between them and the verdict is the claim's own.
"""

from types import SimpleNamespace

import numpy as np
import pytest
from scipy.cluster.hierarchy import linkage
from scipy.spatial.distance import squareform

from sklflat.claims.registry import CLAIMS, protocols
from sklflat.claims.verdicts import judge

(
    sharpness_aware,
    invariant_core,
    rewound_children,
    flat_directions,
    flat_noise,
    softened_outputs,
    surrogate_trees,
) = (claim.module for claim in CLAIMS.values())

N_SEEDS = 12
OUTCOMES = ("supported", "refuted", "inconclusive")


class Constructed:
    """A network whose units' activations on the test rows are given."""

    n_gradient_evaluations_ = 100

    def __init__(self, A=None):
        self.A = A

    def transform(self, X):
        return self.A

    def score(self, X, y):
        return 0.9

    def sharpness(self, X, y, radius, steps):
        return 0.1


class Kept:
    """What a training keeps of a constructed network, whose accuracy is the same at each step."""

    n_steps, states = 10, {0: {}}

    def __init__(self, A):
        self.estimator = Constructed(A)

    def scores(self, X, y):
        return {5: 0.9, 10: 0.9}

    def at(self, step):
        return self.estimator


def following(features, spread, n_units, rng):
    """Units that are a feature and noise of so many times its deviation, and two that are dead.

    Their recovery is 1 / sqrt(1 + spread ** 2), unless features are correlated.
    """
    z = (features - features.mean(axis=0)) / features.std(axis=0)
    own = z[:, np.arange(n_units) % z.shape[1]]
    return np.hstack([own + spread * rng.normal(size=own.shape), np.zeros((len(z), 2))])


def spreads(outcome, better, names, rng):
    """How noisy the units of each arm are."""
    if outcome == "inconclusive":
        return {name: rng.uniform(0.1, 3) for name in names}
    good = 0.3 if outcome == "supported" else 1.0
    return {name: good if name in better else 1.0 for name in names}


def sharpness_of_arms(outcome, seed, monkeypatch, rng):
    module = sharpness_aware
    _, truth = module.rows_of("planted", seed)

    def all_kinds(kinds, rows, seeds):
        noisy = spreads(outcome, (module.SAM,), kinds, rng)
        arms = [{k: Kept(following(truth.latent, s, 24, rng)) for k, s in noisy.items()}]
        return arms * len(seeds)

    monkeypatch.setattr(module, "_all_kinds", all_kinds)
    monkeypatch.setattr(module, "_dose_slopes", lambda kinds, *_: dict.fromkeys(kinds, 0.0))


def core(outcome, seed, monkeypatch, rng):
    """Eight of 24 units are features; the core is these, or others, or drawn."""
    module = invariant_core
    _, truth = module.rows_of("planted", seed)
    clear = np.arange(24) < 8
    A = following(truth.latent, np.where(clear, 0.1, 3.0), 24, rng)[:, :24]
    order = {"supported": clear * 1.0, "refuted": ~clear * 1.0}.get(outcome, rng.normal(size=24))
    # the first eight columns have the smallest variance, so that a single network has others
    scale = np.where(clear, 0.1, 1.0)
    samples = SimpleNamespace(activations=A * scale, units=SimpleNamespace(layer_of=np.zeros(24)))
    ends = rng.normal(size=24) if outcome == "inconclusive" else ~clear * 1.0
    probe = SimpleNamespace(
        unit_scores_=order,
        dead_=np.zeros(24, dtype=bool),
        core_=SimpleNamespace(ends=ends),
        barriers_=SimpleNamespace(largest=lambda *_: 0.0),
        fit=lambda *_: probe,
    )
    three = [SimpleNamespace(estimator=Constructed()) for _ in range(3)]
    monkeypatch.setattr(module, "_networks", lambda *_: three)
    monkeypatch.setattr(module, "_sample", lambda *_: samples)
    monkeypatch.setattr(module, "ModeConnectivityProbe", lambda *_, **__: probe)
    monkeypatch.setattr(module, "FrozenEstimator", lambda network: network)
    monkeypatch.setattr(module, "ablation", lambda sample: rng.normal(size=24))


def children(outcome, seed, monkeypatch, rng):
    """Units follow the real cue, the spurious one or both; those of one kind are the same again.

    Which kind that is changes from seed to seed where the verdict is to stay open.
    """
    module, turned = rewound_children, rng.choice([-1, 1])

    share = np.linspace(0, 1, 24)  # of the real cue in each unit

    def network_of(cues, spread):
        own = cues @ np.stack([share, 1 - share])
        return Constructed(own + spread * rng.normal(size=own.shape))

    def trained_from(network, rows, step, n):
        # the rows judged on are those of the place of the dial with these inputs
        cues = next(
            c
            for e in module.DIAL
            for r, c in [module.rows_of("planted", seed, e)]
            if np.array_equal(r.X_test, rows.X_test)
        )
        spread = {
            "supported": 1.5 - share,
            "refuted": 0.5 + share,
        }.get(outcome, 1.0 + turned * (share - 0.5))
        return network_of(cues, 0.01), [network_of(cues, spread) for _ in range(n)]

    monkeypatch.setattr(module, "trained_from", trained_from)
    others = [Kept(rng.normal(size=(500, 24))) for _ in range(5)]
    monkeypatch.setattr(module, "train_all", lambda *_: others)


def eigenspace(outcome, seed, monkeypatch, rng):
    """Scores that order units as their worth, against it, or anyhow."""
    module = flat_directions
    _, truth = module.rows_of("planted", seed)
    noise = np.linspace(0.1, 3.0, 24)
    A = following(truth.latent, noise, 24, rng)
    flat = np.r_[{"supported": -noise, "refuted": noise}.get(outcome, rng.normal(size=24)), 9, 9]
    kinds = (module.FLAT, module.SHARP, module.RESPONSE, module.CURVATURE)
    signs = (1, -1, 1, 1)
    scores = {kind: sign * flat for kind, sign in zip(kinds, signs, strict=True)}
    monkeypatch.setattr(module, "_network", lambda *_: Constructed(A))
    monkeypatch.setattr(
        module, "_eigenspace_scores", lambda *_: (dict(scores), dict.fromkeys(kinds, 100.0))
    )
    drawn = {
        name: (lambda *_, **__: rng.normal(size=26))
        for name in ("weight_norm", "activation_variance", "ablation", "random_scores")
    }
    monkeypatch.setattr(module, "baselines", SimpleNamespace(**drawn))
    monkeypatch.setattr(module, "Sample", SimpleNamespace(of=lambda *_: None))


def noise(outcome, seed, monkeypatch, rng):
    module = flat_noise
    _, truth = module.rows_of("planted", seed)

    def train_all(estimators, rows):
        names = list(module._estimators(seed, regression=True))
        noisy = spreads(outcome, (module.FLAT,), names, rng)
        return [Kept(following(truth.latent, noisy[name], 32, rng)) for name in names]

    monkeypatch.setattr(module, "train_all", train_all)


def trees(outcome, seed, monkeypatch, rng):
    """The planted tree itself, at a temperature or everywhere, or trees with much noise."""
    module = softened_outputs
    _, truth = module.rows_of("planted", seed)
    planted = truth.cophenetic_distances

    def tree(name, noise):
        E = np.abs(rng.normal(size=planted.shape))
        D = planted + noise * planted.max() * (E + E.T)
        np.fill_diagonal(D, 0)
        found = linkage(squareform(D, checks=False), "average")
        return SimpleNamespace(name=name, linkage=found, confusion=0.5)

    ours, theirs = {"supported": (0.0, 1.0), "refuted": (0.0, 0.0)}.get(outcome, (1.0, 1.0))
    comparisons = [tree("most stable", ours), *(tree(w, theirs) for w in module.WAYS.values())]
    probe = SimpleNamespace(
        comparisons_=comparisons,
        tree_=SimpleNamespace(temperature=2.0),
        vacuity_=0.0,
        dead_=np.zeros(64, dtype=bool),
    )
    # what a unit reads of the top level, as a share: units in order
    share = np.linspace(0.01, 0.99, 64)
    top = truth.levels == 0
    reads = np.where(top[:, None], share / top.sum(), (1 - share) / max((~top).sum(), 1))
    probe.unit_scores_ = share
    network = Constructed()
    monkeypatch.setattr(module, "_network", lambda *_: network)
    monkeypatch.setattr(module, "_probe", lambda *_: probe)
    monkeypatch.setattr(module, "Sample", SimpleNamespace(of=lambda *_: None))
    monkeypatch.setattr(module, "ablation", lambda sample: rng.normal(size=64))
    monkeypatch.setattr(module, "unit_profiles", lambda *_: [rng.normal(size=64)])
    rows, _ = module.rows_of("planted", seed)
    network.coefs_ = [np.sqrt(reads / rows.X_test.var(axis=0)[:, None])]


def surrogates(outcome, seed, monkeypatch, rng):
    """Networks without one mechanism err in one leaf, or all err anywhere; areas are given."""
    module = surrogate_trees
    hidden = np.arange(8) % 2
    area = {"supported": 0.8, "refuted": 0.5}.get(outcome, 0.5) + 0.01 * rng.normal()
    if outcome == "inconclusive":
        area += 0.2 * rng.normal()

    def leaves(X):
        return np.arange(len(X)) % 4

    def one_sided(k):
        def predict(X):
            said = np.zeros(len(X), dtype=int)
            blind = leaves(X) == hidden[k] if outcome == "supported" else rng.rand(len(X)) < 0.5
            return np.where(blind, 1, said)

        return SimpleNamespace(predict=predict, predict_proba=lambda X: rng.rand(len(X), 2))

    tests = {
        "sample_basin": SimpleNamespace(auc=area, auc_all=area, auc_margin=0.9, n_models=24),
        "others": SimpleNamespace(auc=area),
    }
    aligner = SimpleNamespace(
        degeneracy_=tests,
        predict=lambda X: np.zeros(len(X), dtype=int),
        surrogate_=SimpleNamespace(apply=leaves),
        fidelity_=SimpleNamespace(value=0.9, of=lambda name: 0.5),
        fit=lambda *_: aligner,
    )
    networks = Constructed(), [Constructed()] * 8, [one_sided(k) for k in range(8)], hidden
    monkeypatch.setattr(module, "_networks", lambda *_: networks)
    monkeypatch.setattr(module, "SurrogateAligner", lambda *_, **__: aligner)
    monkeypatch.setattr(module, "FrozenEstimator", lambda network: network)
    other = {"area": 0.5, "accuracy": 0.9, "gradients": 200.0}
    monkeypatch.setattr(module, "_other_network", lambda *_: other)


CONSTRUCTED = {
    1: (sharpness_aware, sharpness_of_arms),
    2: (invariant_core, core),
    3: (rewound_children, children),
    4: (flat_directions, eigenspace),
    5: (flat_noise, noise),
    6: (softened_outputs, trees),
    7: (surrogate_trees, surrogates),
}


def readings_of(number, outcome, monkeypatch, n_seeds=N_SEEDS):
    module, construct = CONSTRUCTED[number]
    rng = np.random.RandomState(number)
    found = []
    for seed in range(n_seeds):
        with monkeypatch.context() as patch:
            construct(outcome, seed, patch, rng)
            found.append(module.measure("planted", seed))
    return found


@pytest.mark.parametrize("outcome", OUTCOMES)
@pytest.mark.parametrize("number", CONSTRUCTED)
def test_the_verdict_is_that_of_what_was_constructed(number, outcome, monkeypatch):
    readings = readings_of(number, outcome, monkeypatch)
    verdict = judge(protocols([number]), {number: readings}, "planted")[number]
    assert verdict.outcome == outcome, verdict.sentence


@pytest.mark.parametrize("number", [1, 5])
def test_recovery_is_the_closed_form_and_dead_units_do_not_count(number, monkeypatch):
    (reading,) = readings_of(number, "supported", monkeypatch, 1)
    ours = sharpness_aware.SAM if number == 1 else flat_noise.FLAT
    assert reading[ours]["recovery"] == pytest.approx(1 / np.sqrt(1.09), abs=0.01)
    assert reading[ours]["live units"] == (24 if number == 1 else 32)
    theirs = sharpness_aware.LONG if number == 1 else flat_noise.RANDOM
    assert reading[theirs]["recovery"] == pytest.approx(1 / np.sqrt(2), abs=0.03)


def test_a_core_of_clear_units_has_their_recovery(monkeypatch):
    (reading,) = readings_of(2, "supported", monkeypatch, 1)
    assert reading[invariant_core.CORE]["recovery"] == pytest.approx(1 / np.sqrt(1.01), abs=0.01)
    assert reading[invariant_core.ENDS]["recovery"] < 0.5


def test_a_score_in_the_order_of_worth_has_rank_correlation_one(monkeypatch):
    (reading,) = readings_of(4, "supported", monkeypatch, 1)
    assert reading[flat_directions.FLAT]["rank correlation"] > 0.95
    assert reading[flat_directions.SHARP]["rank correlation"] < -0.95


def test_the_planted_tree_has_correlation_one_and_reading_the_top_an_area_of_one(monkeypatch):
    (reading,) = readings_of(6, "supported", monkeypatch, 1)
    assert reading[softened_outputs.TREE]["cophenetic correlation"] == pytest.approx(1)
    assert reading[softened_outputs.COARSE]["AUC of core units"] == 1
    assert reading[softened_outputs.MATTERS]["AUC of core units"] >= 0.5


def test_groups_by_leaves_are_those_of_what_was_hidden(monkeypatch):
    (reading,) = readings_of(7, "supported", monkeypatch, 1)
    assert reading[surrogate_trees.GROUPS]["AMI"] == pytest.approx(1)
    assert abs(reading[surrogate_trees.PREDICTIONS]["AMI"]) < 1
