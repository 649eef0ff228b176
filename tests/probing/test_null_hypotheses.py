"""Every probe says what its p-value rejects, on card, table, page and in its docstring."""

from pathlib import Path

import pytest
from sklearn.datasets import load_iris

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
    UniversalityProbe,
)
from sklflat.probing.null_hypotheses import NOT_SAID, NULL_HYPOTHESES
from tests._slow import slow_after

PAGE = (Path(__file__).parents[2] / "docs/user_guide/probes.md").read_text()
X, Y = load_iris(return_X_y=True)
NET = SAMClassifier((4,), max_iter=5, random_state=0)
FEW = {"n_units": None, "n_null": 8, "random_state": 0}

PROBES = [
    AblationProbe(NET, **FEW),
    ActivationProbe(NET, unit_score="variance", **FEW),
    HessianSpectrum(NET, **FEW),
    TemperatureProbe(NET, n_bootstrap=2, **FEW),
    SurrogateAligner(NET, n_basin_models=0, n_redraws=2, **FEW),
    ModeConnectivityProbe(NET, n_points=3, **FEW),
    BasinRewinder(NET, sparsity=0.3, n_grid=2, n_copies=2, n_retrains=2, **FEW),
    UniversalityProbe(NET, n_models=2, **FEW),
]

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.parametrize("probe", slow_after(3, PROBES), ids=lambda p: type(p).__name__)
def test_what_is_rejected_is_said_everywhere(probe):
    probe.fit(X, Y)
    assert probe.nulls_
    for null in probe.nulls_:
        claim = NULL_HYPOTHESES[null.name]  # every null of the package has a sentence
        assert claim in probe.null_hypothesis_
        assert claim in PAGE
        assert type(probe).__name__ in PAGE.split(claim)[0].splitlines()[-1]
    assert probe.null_hypothesis_.endswith(NOT_SAID)
    assert probe.null_hypothesis_ in str(probe.unit_card(probe.unit_names_[0]))
    assert probe.to_frame().attrs["p_value"] == probe.null_hypothesis_
    assert "``p_values_`` **reject**" in type(probe).__doc__


def test_a_path_has_no_p_value_of_a_unit():
    path = PruningPath(NET, n_random=2, random_state=0).fit(X, Y)
    assert path.null_hypothesis_ == ""
    assert "A small p" not in str(path.unit_card(path.unit_names_[0]))


def test_what_is_selected_without_a_test_says_so():
    probe = ActivationProbe(NET, unit_score="variance", **FEW).fit(X, Y)
    u = int(probe.q_values_.argmax())
    assert probe.q_values_[u] > 0.05
    assert "(selected, though q is above 0.05)" in str(probe.unit_card(probe.unit_names_[u]))


def test_the_best_of_undecided_units_is_not_called_needed():
    probe = AblationProbe(NET, n_null=8, random_state=0).fit(X[::4], Y[::4])
    assert set(probe.decisions_.verdict) <= {"undecided", "negligible"}
    (u,) = probe.get_support(indices=True)
    card = str(probe.unit_card(probe.unit_names_[u]))
    assert "(selected, though not shown to be needed)" in card
    assert f"(negligible are {probe.decisions_.margin:.2g} and less)" in card
