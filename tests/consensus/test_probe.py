"""UnitConsensus: one network for all probes, their scores, and where it fits in."""

import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklflat import (
    AblationProbe,
    ActivationProbe,
    BasinRewinder,
    ConsensusDisplay,
    HessianSpectrum,
    ModeConnectivityProbe,
    PruningPath,
    SAMClassifier,
    SAMRegressor,
    UnitConsensus,
    UniversalityProbe,
    from_module,
    load,
    save,
)
from sklflat.eigenspace import loss_surface
from sklflat.exceptions import NothingFoundWarning, RefitWarning
from sklflat.networks.units import Units
from tests._estimators import MOONS, SIDE, small
from tests._probes import random_arrays, random_data, two_layer

TWO = [AblationProbe(), ActivationProbe(unit_score="correlation")]
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def quick(probes=TWO, **options):
    return UnitConsensus(small(max_iter=5), probes, n_units=3, n_null=50, random_state=0, **options)


def frozen(seed=0):
    X, y = random_data(seed)
    return from_module(two_layer(*random_arrays(seed)), classes=[0, 1, 2]), X, y


# --- one network ------------------------------------------------------------------------------


def test_the_network_is_trained_once(monkeypatch):
    trainings, own = [], SAMClassifier.fit
    monkeypatch.setattr(
        SAMClassifier, "fit", lambda self, *a, **k: trainings.append(1) or own(self, *a, **k)
    )
    probes = [*TWO, ActivationProbe(unit_score="variance"), HessianSpectrum(unit_score="curvature")]
    quick(probes).fit(MOONS, SIDE)
    assert len(trainings) == 1


def test_activations_are_computed_once_for_all_probes(monkeypatch):
    passes, own = [], Units.activations

    def counted(self, module, X, batch_size):
        passes.append(len(X))
        return own(self, module, X, batch_size)

    monkeypatch.setattr(Units, "activations", counted)
    network, X, y = frozen()
    names = ("selectivity", "correlation", "class_variance", "variance", "explainability")
    probes = [ActivationProbe(unit_score=name) for name in names]
    UnitConsensus(network, probes, n_units=2, n_null=50).fit(X, y)
    assert passes == [len(X)]


def test_eigenpairs_that_no_score_needs_are_not_computed(monkeypatch):
    network, X, y = frozen()
    probe = HessianSpectrum(unit_score="curvature", random_state=0)
    alone = clone(probe).set_params(estimator=network, n_units=2, n_null=20).fit(X, y)
    assert alone.eigenvalues_.shape == (10,)
    monkeypatch.setattr(loss_surface, "eigenpairs", lambda *a, **k: pytest.fail("computed"))
    found = UnitConsensus(network, [AblationProbe(), probe], n_units=2, random_state=0).fit(X, y)
    np.testing.assert_array_equal(found.probe_scores_[1], alone.unit_scores_)


def test_scores_are_those_of_the_probes_by_themselves():
    network, X, y = frozen()
    probes = [
        ("loss", AblationProbe()),
        ("target", ActivationProbe(unit_score="class_variance")),
        ("flat", HessianSpectrum(n_components=3, random_state=0)),
    ]
    found = UnitConsensus(network, probes, n_units=2, random_state=0).fit(X, y)
    assert found.probe_names_.tolist() == ["loss", "target", "flat"]
    for (_, probe), scores, ranks in zip(
        probes, found.probe_scores_, found.unit_ranks_, strict=True
    ):
        alone = clone(probe).set_params(estimator=network, n_units=None, n_null=20).fit(X, y)
        np.testing.assert_allclose(scores, alone.unit_scores_, rtol=1e-9)
        np.testing.assert_array_equal(np.argsort(ranks), np.argsort(-scores))


def test_dead_units_are_last_and_have_no_rank():
    W1, b1, W2, b2 = random_arrays(0)
    W1[:, 2], b1[2] = 0, -1
    X, y = random_data(0)
    network = from_module(two_layer(W1, b1, W2, b2), classes=[0, 1, 2])
    found = UnitConsensus(network, TWO, n_units=None, random_state=0).fit(X, y)
    assert found.unit_scores_[2] == 0
    assert np.isnan(found.unit_ranks_[:, 2]).all()
    assert found.support_.tolist() == [True, True, False, True, True, True]
    assert found.agreement_.n_units == 5


def test_all_units_dead_is_an_error():
    W1, b1, W2, b2 = random_arrays(0)
    X, y = random_data(0)
    network = from_module(two_layer(0 * W1, b1, W2, b2), classes=[0, 1, 2])
    with pytest.raises(ValueError, match="All 6 units are dead"):
        UnitConsensus(network, TWO).fit(X, y)


@pytest.mark.parametrize("n_living", [1, 2])
def test_very_few_units(n_living):
    W1, b1, W2, b2 = random_arrays(0, h=2)
    W1[:, n_living:], b1[n_living:] = 0, -1
    X, y = random_data(0)
    network = from_module(two_layer(W1, b1, W2, b2), classes=[0, 1, 2])
    with pytest.warns(NothingFoundWarning, match="cannot pass, even if all put it first"):
        found = UnitConsensus(network, TWO).fit(X, y)
    assert (found.p_values_ > 0.05).all()
    assert np.isfinite(found.unit_scores_).all()


def test_agreement_on_many_units_passes_and_disagreement_does_not():
    """A regressor whose outgoing weights differ much: all probes put the large ones first."""
    W1, b1, W2, b2 = random_arrays(0, h=40, k=1)
    W2[:, 0] = np.where(np.arange(40) < 4, 4.0, 0.02) * np.sign(W2[:, 0])
    X, _ = random_data(0, n=400)
    y = (np.maximum(X @ W1 + b1, 0) @ W2 + b2)[:, 0]
    network = from_module(two_layer(W1, b1, W2, b2))
    found = UnitConsensus(network, random_state=0).fit(X, y)
    assert found.support_[:4].sum() >= 2
    assert not found.support_[4:].any()
    opposed = [HessianSpectrum(unit_score=s, random_state=0) for s in ("curvature", "response")]
    with pytest.warns(NothingFoundWarning):
        found = UnitConsensus(network, opposed, random_state=0).fit(X, y)
    assert found.agreement_.mean < -0.5


def test_units_are_ranked_within_their_layer():
    """So that a layer whose scores are all larger does not fill the first ranks."""

    class ByLayer(AblationProbe):
        def _score_units(self, sample):
            return super()._score_units(sample) + 100.0 * sample.units.layer_of

    network = SAMClassifier((6, 5), max_iter=5, random_state=0)
    found, shifted = (
        UnitConsensus(network, [first, TWO[1]], n_units=2, random_state=0).fit(MOONS, SIDE)
        for first in (AblationProbe(), ByLayer())
    )
    np.testing.assert_array_equal(found.unit_ranks_, shifted.unit_ranks_)
    np.testing.assert_array_equal(found.unit_scores_, shifted.unit_scores_)
    assert np.nanmax(found.unit_ranks_[:, :6]) <= 6
    assert np.nanmin(found.unit_ranks_[:, 6:]) == 1
    assert "of its layer" in str(found.unit_card(found.unit_names_[~found.dead_][0]))
    assert ConsensusDisplay.of(found).plot_ranks().ax_.get_ylabel().startswith("units")


def test_a_probe_that_decides_nothing_is_named():
    class Same(AblationProbe):
        def _score_units(self, sample):
            return np.ones(len(sample.units))

    network, X, y = frozen()
    with pytest.warns(NothingFoundWarning, match="same scored all 6 units the same"):
        UnitConsensus(network, [("same", Same()), *TWO], n_units=2).fit(X, y)


# --- what is refused --------------------------------------------------------------------------


class NaN(AblationProbe):
    def _score_units(self, sample):
        return np.full(len(sample.units), np.nan)


class OtherNetwork(AblationProbe):
    def _prepare(self, rows, rng):
        other = from_module(two_layer(*random_arrays(5)), classes=[0, 1, 2])
        return AblationProbe(other)._prepare(rows, rng)


REFUSED = {
    "one only": ([AblationProbe()], "two probes at least"),
    "none": ([], "two probes at least"),
    "no list": (AblationProbe(), "two probes at least"),
    "frozen": ([FrozenEstimator(AblationProbe()), *TWO], "FrozenEstimator, whose scores"),
    "no probe": ([LogisticRegression(), *TWO], "not an instance of a probe"),
    "class": ([AblationProbe, *TWO], "call it"),
    "nothing": ([("b", None), *TWO], "'b' is None, and not an instance of a probe"),
    "a word": ([("b", "drop"), *TWO], "'b' is 'drop', and not an instance of a probe"),
    "own network": ([AblationProbe(SAMClassifier()), *TWO], "an estimator of its own"),
    "other layers": ([AblationProbe(layers=("1",)), *TWO], "layers=UnitConsensus|give UnitCon"),
    "several": ([UniversalityProbe(), *TWO], "by several trainings"),
    "paths": ([ModeConnectivityProbe(), *TWO], "by several trainings"),
    "rewinding": ([BasinRewinder(), *TWO], "by several trainings"),
    "sets": ([PruningPath(), *TWO], "chooses units as a set"),
    "same name": ([("a", AblationProbe()), ("a", AblationProbe())], "given twice"),
    "parameter": ([("layers", AblationProbe()), *TWO], "is a parameter of"),
    "a name of its own": ([("estimator", AblationProbe()), *TWO], "is a parameter of"),
    "a parameter that is none": (
        [("odd", ActivationProbe(unit_score="nonsense")), TWO[0]],
        "'odd': The 'unit_score' parameter of ActivationProbe",
    ),
    "layers that are none": ([AblationProbe(layers=None), *TWO], "'layers' parameter"),
    "underscores": ([("a__b", AblationProbe()), *TWO], "two underscores"),
    "NaN": ([("broken", NaN()), *TWO], "'broken': NaN._score_units returned NaN"),
    "another network": ([("other", OtherNetwork()), *TWO], "'other' scores the units of another"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused_is_named(case):
    probes, message = REFUSED[case]
    network, X, y = frozen()
    with pytest.raises((ValueError, TypeError), match=message):
        UnitConsensus(network, probes).fit(X, y)


def test_wrong_probes_are_refused_before_anything_is_trained(monkeypatch):
    monkeypatch.setattr(SAMClassifier, "fit", lambda *a, **k: pytest.fail("it was trained"))
    with pytest.raises(ValueError, match="two probes at least"):
        UnitConsensus(probes=[AblationProbe()]).fit(MOONS, SIDE)


def test_fitted_probes_are_said_to_be_cloned():
    network, X, y = frozen()
    fitted = AblationProbe(network, n_units=2, n_null=50).fit(X, y).set_params(estimator=None)
    with pytest.warns(RefitWarning, match="'ablation' is fitted"):
        UnitConsensus(network, [fitted, TWO[1]], n_units=2).fit(X, y)


# --- where it fits in -------------------------------------------------------------------------


def test_in_a_pipeline_and_a_search_over_probes():
    pipeline = make_pipeline(StandardScaler(), quick(), LogisticRegression())
    grid = {
        "unitconsensus__probes": [TWO, [("a", AblationProbe()), ("b", ActivationProbe())]],
        "unitconsensus__n_units": [2, 4],
    }
    search = GridSearchCV(pipeline, grid, cv=2).fit(MOONS, SIDE)
    assert search.best_score_ > 0.5
    found = search.best_estimator_[-2]
    assert found.transform(MOONS).shape == (120, search.best_params_["unitconsensus__n_units"])


def test_a_list_of_networks_is_refused_with_what_compares_them():
    network, X, y = frozen()
    with pytest.raises(TypeError, match=r"give one of the list. UniversalityProbe and"):
        UnitConsensus([network, network], TWO).fit(X, y)


def test_probes_of_opposite_signs_say_so():
    class Least(ActivationProbe):
        def _score_units(self, sample):
            return -super()._score_units(sample)

    network, X, y = frozen()
    with pytest.warns(NothingFoundWarning):
        found = UnitConsensus(network, [TWO[1], ("least", Least(unit_score="correlation"))]).fit(
            X, y
        )
    assert found.agreement_.mean == pytest.approx(-1)
    np.testing.assert_array_equal(found.unit_ranks_[0], 7 - found.unit_ranks_[1])


@pytest.mark.parametrize("kept", [pickle, None])
def test_saved_and_loaded(kept, tmp_path):
    fitted = quick(None).fit(MOONS, SIDE)
    if kept is None:
        save(fitted, tmp_path / "consensus")
        again = load(tmp_path / "consensus")
    else:
        again = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(again.transform(MOONS), fitted.transform(MOONS))
    np.testing.assert_array_equal(again.agreement_.correlations, fitted.agreement_.correlations)
    assert str(again.agreement_) == str(fitted.agreement_)


def test_tables_cards_and_names():
    frame = pd.DataFrame(MOONS, columns=["east", "north"])
    fitted = quick().set_output(transform="pandas").fit(frame, SIDE)
    assert list(fitted.transform(frame).columns) == list(fitted.get_feature_names_out())
    table = fitted.to_frame()
    assert {"rank_ablation", "rank_correlation"} <= set(table.columns)
    best = table["score"].idxmax()
    assert "by ablation" in str(fitted.unit_card(best))
    assert "independently of each other" in fitted.null_hypothesis_


def test_weights_of_zero_are_rows_that_are_not_there():
    network, X, y = frozen()
    weight = np.r_[np.ones(40), np.zeros(20)]
    with_weights = UnitConsensus(network, n_units=2, random_state=0).fit(X, y, sample_weight=weight)
    without = UnitConsensus(network, n_units=2, random_state=0).fit(X[:40], y[:40])
    np.testing.assert_allclose(with_weights.probe_scores_, without.probe_scores_, rtol=1e-6)


def test_regressors_and_groups():
    y = MOONS[:, 0] + SIDE
    groups = np.repeat(np.arange(30), 4)
    network = SAMRegressor((6,), max_iter=5, random_state=0)
    fitted = UnitConsensus(network, n_units=2, n_null=50, random_state=0).fit(
        MOONS, y, groups=groups
    )
    assert fitted.probe_scores_.shape == (3, 6)


def test_a_consensus_may_be_a_probe_of_another():
    network, X, y = frozen()
    inner = UnitConsensus(probes=TWO)
    outer = UnitConsensus(network, [("both", inner), ("curvature", HessianSpectrum())], n_units=2)
    outer.set_params(random_state=0).fit(X, y)
    alone = UnitConsensus(network, TWO, n_units=2, random_state=0).fit(X, y)
    np.testing.assert_allclose(outer.probe_scores_[0], alone.unit_scores_)


def test_pictures():
    fitted = quick(None).fit(MOONS, SIDE)
    display = ConsensusDisplay.from_estimator(fitted, n_drawn=4)
    assert len(display.axes_) == 2
    labels = [label.get_text() for label in display.axes_[1].get_yticklabels()]
    best = np.lexsort((-fitted.unit_scores_, fitted.dead_))[:4]
    assert [text.removeprefix("* ") for text in labels] == list(fitted.unit_names_[best])
    assert [text.startswith("* ") for text in labels] == list(fitted.support_[best])
    one = ConsensusDisplay.of(fitted).plot_agreement()
    assert one.ax_.get_images()[0].get_array().shape == (3, 3)
    assert one.figure_ is one.ax_.figure
