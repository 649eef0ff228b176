"""Networks that stop early: a ticket is pruned, and copies are no copies, wherever they start."""

import numpy as np
import pytest
from sklearn.base import clone

from sklflat import BasinRewinder
from sklflat.probing.split import Rows
from sklflat.rewinding.recipe import Recipe
from sklflat.rewinding.tickets import epochs_of
from sklflat.training.runs.start import Start
from tests._estimators import IRIS, SPECIES
from tests.rewinding.test_rewinder import NET, ONCE

pytestmark = pytest.mark.filterwarnings("ignore")
#: a rate at which the parent is at its best long before its end
EARLY = clone(NET).set_params(early_stopping=True, max_iter=6, learning_rate_init=0.1)


@pytest.mark.parametrize("early_stopping", [True, False])
@pytest.mark.parametrize("rewinding", ["weights", "learning_rate"])
def test_what_is_pruned_is_zero_in_a_late_ticket(early_stopping, rewinding):
    net = clone(EARLY).set_params(early_stopping=early_stopping)
    own = {**ONCE, "rewind": 0.8, "rewinding": rewinding}
    probe = BasinRewinder(net, **own).fit(IRIS, SPECIES)
    for network in probe.estimators_["after"]:
        for name, mask in probe.mask_.items():
            weights = network.module_.get_parameter(name).detach().numpy()
            assert (weights[~mask] == 0).all()
    first, second = (e.decision_function(IRIS) for e in probe.estimators_["after"][1:])
    assert not np.array_equal(first, second)


def test_late_copies_of_other_seeds_differ():
    recipe = Recipe.of(EARLY, Rows(IRIS, SPECIES, {}), np.random.RandomState(0), 0)
    parent = recipe.training(states_at=(30,))
    recipe.run([parent])
    state = parent.states[30]
    copies = [recipe.training(start=Start(state, seed)) for seed in (1, 2)]
    recipe.run(copies)
    outputs = [t.estimator.decision_function(IRIS) for t in (parent, *copies)]
    assert not np.array_equal(outputs[0], outputs[1])
    assert not np.array_equal(outputs[1], outputs[2])
    for copy in copies:  # what it chose is one of its own epochs
        assert epochs_of(copy) > state.info["record"]["n_iter"]


def test_a_pruned_weight_that_comes_back_is_no_ticket(monkeypatch):
    recipe = Recipe.of(NET, Rows(IRIS, SPECIES, {}), np.random.RandomState(0), 0)
    mask = recipe.layers.full()
    masked = recipe.training(mask=mask)
    recipe.run([masked])
    masked.mask = mask.clone()
    masked.mask[recipe.layers.places[0]] = False
    monkeypatch.setattr("sklflat.rewinding.recipe.train", lambda *args, **own: [])
    with pytest.raises(RuntimeError, match="pruned is not 0"):
        recipe.run([masked])
