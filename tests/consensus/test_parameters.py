"""UnitConsensus: its probes and their parameters are reached by name, in a search, too."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from sklflat import AblationProbe, ActivationProbe, HessianSpectrum, UnitConsensus
from tests.consensus.test_probe import MOONS, SIDE, quick

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def test_parameters_of_the_probes_are_reached_by_name():
    probe = quick([("loss", AblationProbe()), ("target", ActivationProbe())])
    probe.set_params(target__unit_score="variance", loss__negligible=0.1)
    assert probe.probes[1][1].unit_score == "variance"
    assert clone(probe).get_params()["loss__negligible"] == 0.1


def test_names_of_probes_stay_when_a_parameter_gives_another_one():
    probe = quick([AblationProbe(), ActivationProbe()])
    for score in ("variance", "correlation"):
        probe.set_params(selectivity__unit_score=score)
        assert probe.get_params()["selectivity__unit_score"] == score
    assert [item[0] for item in probe.probes[1:]] == ["selectivity"]
    assert isinstance(probe.probes[0], AblationProbe)
    grid = {"unitconsensus__selectivity__unit_score": ["variance", "correlation"]}
    given = make_pipeline(quick([AblationProbe(), ActivationProbe()]), LogisticRegression())
    search = GridSearchCV(given, grid, cv=2, error_score="raise").fit(MOONS, SIDE)
    assert search.best_estimator_[0].probe_names_.tolist() == ["ablation", "selectivity"]


def test_names_that_are_given_are_not_given_again():
    first, second = AblationProbe(), AblationProbe(dtype="float64")
    for probes, expected in (
        ([("ablation-2", first), second, second], ["ablation-2", "ablation", "ablation-3"]),
        ([first, second, ("ablation", first)], ["ablation-2", "ablation-3", "ablation"]),
        ([("ablation-of-mine", first), second], ["ablation-of-mine", "ablation"]),
    ):
        params = UnitConsensus(probes=probes).get_params()
        assert [name for name in expected if name in params] == expected
        clone(UnitConsensus(probes=probes)).set_params(**{f"{expected[0]}__dtype": "float32"})


def test_the_default_probes_are_reached_by_their_names():
    probe = quick(None)
    probe.set_params(n_units=3)
    assert probe.probes is None
    probe.set_params(ablation__negligible=0.1)
    assert [name for name, _ in probe.probes] == ["ablation", "correlation", "curvature"]
    assert probe.get_params()["ablation__negligible"] == 0.1
    assert quick(None).set_params(curvature=ActivationProbe()).probes[2][0] == "curvature"


def test_an_invalid_parameter_is_told_the_names_of_the_probes():
    named = quick([("loss", AblationProbe()), ActivationProbe()])
    with pytest.raises(
        ValueError, match=r"(?s)'los'.*'n_units'.*probes: \['loss', 'selectivity'\]"
    ):
        named.set_params(los__negligible=0.1)
    with pytest.raises(ValueError, match=r"(?s)'target'.*probes: \['ablation', 'correlation', "):
        quick(None).set_params(target=AblationProbe())
    with pytest.raises(TypeError, match=r"'loss' is 'drop'"):
        named.set_params(loss="drop").fit(MOONS, SIDE)


def test_a_probe_is_replaced_by_its_name_also_in_a_search():
    given = [("loss", AblationProbe()), ActivationProbe(unit_score="variance")]
    probe = quick(given)
    other = HessianSpectrum(unit_score="curvature")
    assert probe.set_params(loss=other).probes == [("loss", other), given[1]]
    assert given[0][0] == "loss"
    assert given[0][1] is not other
    assert probe.get_params()["loss"] is other
    assert probe.set_params(variance=other, variance__tol=0.5).probes[1] == ("variance", other)
    assert other.tol == 0.5
    probe.set_params(b__unit_score="variance", probes=[("a", other), ("b", ActivationProbe())])
    assert probe.get_params()["b__unit_score"] == "variance"
    with pytest.raises(ValueError, match="Invalid parameter 'loss'"):
        probe.set_params(loss=other)
    named = quick([("a", AblationProbe()), ("b", ActivationProbe())])
    grid = {"unitconsensus__b": [ActivationProbe(unit_score="variance"), HessianSpectrum()]}
    search = GridSearchCV(make_pipeline(named, LogisticRegression()), grid, cv=2)
    best = search.fit(MOONS, SIDE).best_params_["unitconsensus__b"]
    found = search.best_estimator_[0]
    assert type(found.probes[1][1]) is type(best)
    alone = quick([("a", AblationProbe()), ("b", best)]).fit(MOONS, SIDE)
    np.testing.assert_array_equal(found.probe_scores_, alone.probe_scores_)
