"""A row of weight 0 counts as absent, whatever it holds and whatever the network makes of it."""

import numpy as np
import pytest
import torch
from torch import nn

from sklflat import (
    AblationProbe,
    ActivationProbe,
    BasinRewinder,
    HessianSpectrum,
    ModeConnectivityProbe,
    PruningPath,
    SAMClassifier,
    SurrogateAligner,
    TemperatureProbe,
    UnitConsensus,
    UniversalityProbe,
    from_module,
)

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::sklflat.exceptions.NothingFoundWarning"),
    pytest.mark.filterwarnings("ignore::sklflat.exceptions.SurrogateWarning"),
    pytest.mark.filterwarnings("ignore:A null has too few draws"),
]

rng = np.random.RandomState(0)
X = rng.normal(size=(120, 4))
y = (X[:, 0] + X[:, 1] * X[:, 2] > 0).astype(int)
#: of the first 20 rows, which are too large for the network
WEIGHT = np.where(np.arange(120) < 20, 0.0, rng.uniform(0.5, 2.0, size=120))
WILD = np.where(WEIGHT[:, None] > 0, X, 1e38)
GROUPS = np.arange(120) // 2
KEPT = WEIGHT > 0


def one(seed=0):
    """Sums over large inputs are not finite in single precision."""
    torch.manual_seed(seed)
    module = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 5), nn.SiLU(), nn.Linear(5, 2))
    with torch.no_grad():
        module[0].weight *= 10
    return from_module(module, classes=[0, 1])


def test_outputs_of_the_rows_without_weight_are_not_finite():
    assert not np.isfinite(one().decision_function(WILD[~KEPT])).any()


QUICK = {"n_null": 40, "random_state": 0}
PROBES = {
    "ablation": AblationProbe(one(), **QUICK),
    "activation": ActivationProbe(one(), **QUICK),
    "hessian": HessianSpectrum(one(), n_components=2, **QUICK),
    "temperature": TemperatureProbe(one(), n_bootstrap=20, **QUICK),
    "surrogate": SurrogateAligner(one(), n_redraws=1, n_basin_models=3, **QUICK),
    "pruning": PruningPath(one(), random_state=0),
    "universality": UniversalityProbe([one(), one(1), one(2)], n_untrained=10, **QUICK),
    "connectivity": ModeConnectivityProbe([one(), one(1)], n_points=5, **QUICK),
    "consensus": UnitConsensus(one(), [AblationProbe(n_null=40), ActivationProbe()], **QUICK),
}


def result(probe):
    p = probe.p_value_ if isinstance(probe, PruningPath) else probe.p_values_
    return probe.unit_scores_, p, probe.dead_, probe.unit_means_


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("name", PROBES)
def test_a_frozen_network_is_scored_as_if_the_rows_were_not_there(name, grouped):
    params = {"sample_weight": WEIGHT} | ({"groups": GROUPS} if grouped else {})
    probe = PROBES[name].fit(WILD, y, **params)
    found = result(probe)
    kept = {key: value[KEPT] for key, value in params.items()}
    probe.fit(X[KEPT], y[KEPT], **kept)
    for a, b in zip(found, result(probe), strict=True):
        np.testing.assert_array_equal(a, b)


def test_cards_name_the_rows_that_were_given():
    probe = AblationProbe(one(), n_units=None, **QUICK)
    card = probe.fit(WILD, y, sample_weight=WEIGHT).unit_card(probe.unit_names_[0])
    assert (card.top_samples >= 20).all()
    other = probe.fit(X[KEPT], y[KEPT], sample_weight=WEIGHT[KEPT]).unit_card(probe.unit_names_[0])
    np.testing.assert_array_equal(card.top_samples, other.top_samples + 20)


def test_oracle_samples_of_a_trained_network_know_nothing_of_them():
    """A column's range is that of the rows that count."""
    clf = SAMClassifier((6,), max_iter=20, random_state=0)
    far = np.where(KEPT[:, None], X, 50.0)
    aligner = SurrogateAligner(clf, n_redraws=1, n_basin_models=0, **QUICK)
    aligner.fit(far, y, sample_weight=KEPT.astype(float))
    assert np.abs(aligner.surrogate_.tree_.threshold).max() < 5
    drawn = aligner.fit(X, y, sample_weight=KEPT.astype(float)).surrogate_.tree_
    assert drawn.n_node_samples[0] > 1000


@pytest.mark.parametrize("name", ["ablation", "pruning", "universality", "consensus"])
def test_rows_that_all_have_no_weight_are_refused(name):
    few = np.where(np.arange(120) < 119, 0.0, 1.0)
    with pytest.raises(ValueError, match=r"positive sample.weight"):
        PROBES[name].fit(X, y, sample_weight=few)


def test_of_a_trained_network_rows_held_out_count_alike():
    """What a held-out row of weight 0 says does not matter, however wild it is."""
    clf = SAMClassifier((6,), max_iter=5, rho=0, random_state=0)
    for probe in (
        AblationProbe(clf, **QUICK),
        SurrogateAligner(clf, n_redraws=1, n_basin_models=0, **QUICK),
        PruningPath(clf, random_state=0),
    ):
        scores = [
            probe.fit(np.where(KEPT[:, None], X, wild), y, sample_weight=WEIGHT).unit_scores_
            for wild in (0.5, 3.0)
        ]
        np.testing.assert_allclose(*scores, rtol=1e-9)


def test_a_rewinder_does_not_read_them():
    clf = SAMClassifier((6,), max_iter=5, rho=0, batch_size=30, random_state=0)
    settings = {"n_retrains": 4, "n_controls": 0, "sparsity": 0.5, "n_rounds": 1, "rewind": 0}
    scores = [
        BasinRewinder(clf, n_null=10, random_state=0, **settings)
        .fit(np.where(KEPT[:, None], X, wild), y, sample_weight=WEIGHT)
        .unit_scores_
        for wild in (0.5, 3.0)
    ]
    np.testing.assert_allclose(*scores, rtol=1e-9)
