"""An estimator whose training diverges is left out and named; the page is made of the others."""

import json

import numpy as np
import pytest
import torch

from sklflat import SAMClassifier, from_module
from sklflat.exceptions import DivergenceError, DivergenceWarning
from sklflat.report.findings.thresholds import RETURN
from sklflat.report.techniques.universality import mean_return_bound
from tests.report._reports import data, network, report

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

NAN = float("nan")
#: a step of this length leaves what float32 can say
WILD = network(solver="sgd", learning_rate_init=1e30, momentum=0)


def test_one_of_several_is_left_out_and_named():
    made = report({"good": network(), "L": WILD, "other": network(0.1)}, ("prediction",))
    with pytest.warns(DivergenceWarning, match=r"^L is left out, as it diverged: ."):
        made.fit(*data())
    assert list(made.estimators_) == ["good", "other"]
    assert list(made.page_.estimators) == ["good", "other"]
    assert {f.estimator for f in made.findings_} == {"good", "other"}
    (said,) = (s for s in made.page_.left_out if s.startswith("L "))
    assert said in made.page_.verdict
    for text in (made.to_html(), made.to_markdown(), json.loads(made.to_json())["left_out"][0]):
        assert "L is left out, as it diverged" in text


@pytest.mark.parametrize("estimators", [{"L": WILD}, {"L": WILD, "good": network()}])
def test_the_only_one_and_the_first_are_named_in_the_error(estimators):
    with pytest.raises(DivergenceError, match=r"^estimator 'L': "):
        report(estimators, ("prediction",), n_models=0).fit(*data())


def test_other_errors_name_the_estimator_too():
    class Refusing(SAMClassifier):
        def _fitting(self, *rows, **options):
            raise ValueError("no such rows")

    with pytest.raises(ValueError, match=r"^estimator 'R': no such rows"):
        report({"a": network(), "R": Refusing((4,))}, ("prediction",), n_models=0).fit(*data())


def given(seed, value=None):
    torch.manual_seed(seed)
    module = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
    if value is not None:
        torch.nn.init.constant_(module[0].weight, value)
    return from_module(module, classes=[0, 1, 2])


def test_networks_that_are_given_and_have_diverged_are_left_out():
    found = {"a": [given(0), given(1), given(2, NAN), given(3)], "L": given(4, NAN)}
    with pytest.warns(DivergenceWarning, match="^L is left out, as it diverged: Outputs of the"):
        made = report(found, ("prediction", "universality")).fit(*data())
    assert made.page_.section("universality", "a").quantity("further trainings").value == 2
    assert "a: 1 further trainings diverged." in made.page_.left_out
    with pytest.raises(DivergenceError, match=r"^estimator 'L': Outputs of the network"):
        report({"L": given(4, NAN), "a": given(0)}, ("prediction",)).fit(*data())


def test_a_network_that_does_not_read_the_rows_is_named():
    with pytest.raises(ValueError, match=r"^estimator 'a': .*6"):
        report({"a": given(0), "L": given(1)}, ("prediction",)).fit(*data(n_features=7))


# --- what comes back no more than by chance -------------------------------------------------------


@pytest.mark.parametrize("n_rows", [100, 1000])
def test_return_above_chance_is_seldom_bounded_by_less(n_rows):
    """Copies of a unit correlate by just the threshold: in 5 % of the draws at most."""
    rng = np.random.RandomState(0)
    below = 0
    for _ in range(1000):
        unit = rng.normal(size=n_rows)
        others = RETURN * unit + np.sqrt(1 - RETURN**2) * rng.normal(size=(4, n_rows))
        found = np.array([np.corrcoef(unit, other)[0, 1] for other in others])
        below += mean_return_bound(np.repeat(found[:, None], 8, axis=1), n_rows) <= RETURN
    assert below <= 50


def test_bounds_of_nothing_bound_nothing():
    assert mean_return_bound(np.zeros((1, 8)), 100) == np.inf
    assert mean_return_bound(np.zeros((5, 0)), 100) == np.inf
    assert mean_return_bound(np.zeros((5, 8)), 0) == np.inf
    assert (
        mean_return_bound(np.zeros((5, 8)), 40) > RETURN > mean_return_bound(np.zeros((5, 8)), 400)
    )
