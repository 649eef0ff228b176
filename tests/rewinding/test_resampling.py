"""Rows of the children's own, and the nulls that get theirs by the same rule."""

from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.base import clone

from sklflat import BasinRewinder
from sklflat.exceptions import RewindingWarning
from sklflat.probing.split import Rows
from sklflat.rewinding import rewinding_nulls as nulls_module
from sklflat.rewinding.recipe import Recipe
from sklflat.rewinding.resampling import Resampling
from tests._estimators import IRIS, SPECIES
from tests.rewinding.test_rewinder import NET, ONCE

pytestmark = pytest.mark.filterwarnings("ignore")
WEIGHT = np.where(np.arange(len(IRIS)) % 5 == 0, 0.0, 1.0)
GROUPS = np.arange(len(IRIS)) % 3
SHORT = clone(NET).set_params(max_iter=2)
LATE = {**ONCE, "rewind": 0.8}


def recipe(**params):
    return Recipe.of(SHORT, Rows(IRIS, SPECIES, params), np.random.RandomState(0), 0)


def test_rows_are_of_one_group_and_of_the_same_classes():
    own = Resampling(groups=GROUPS)
    for k in range(4):
        numbers = own.draw(recipe(), k, np.random.RandomState(k))
        assert set(GROUPS[numbers]) == {k % 3}
        np.testing.assert_array_equal(SPECIES[numbers], SPECIES)
    assert Resampling().draw(recipe(), 0, np.random.RandomState(0)) is None


def test_a_group_without_a_class():
    with pytest.raises(ValueError, match="groups: 0 has no row of class 1"):
        Resampling(groups=SPECIES).draw(recipe(), 0, np.random.RandomState(0))


def test_rows_of_weight_zero_are_not_drawn():
    numbers = Resampling(bootstrap=True).draw(
        recipe(sample_weight=WEIGHT), 0, np.random.RandomState(0)
    )
    np.testing.assert_array_equal(WEIGHT[numbers], WEIGHT)


def test_a_resampled_row_keeps_the_target_that_it_was_given():
    order = np.random.RandomState(0).permutation(len(IRIS))
    numbers = np.r_[0, 0, 5, np.arange(3, len(IRIS))]
    training = recipe().training(numbers=numbers, order=order)
    np.testing.assert_array_equal(training.y, SPECIES[order][numbers])


def test_targets_are_shuffled_within_groups():
    order = Resampling(groups=GROUPS).shuffled(recipe(), np.random.RandomState(0))
    assert sorted(order) == list(range(len(IRIS)))
    np.testing.assert_array_equal(GROUPS[order], GROUPS)
    assert (order != np.arange(len(IRIS))).mean() > 0.9


@pytest.mark.parametrize(
    ("own", "params", "message"),
    [({"bootstrap": True}, {}, "bootstrap=True draws"), ({}, {"groups": GROUPS}, "groups draw")],
)
def test_rows_drawn_with_replacement_leave_none_to_validate_on(own, params, message):
    net = clone(SHORT).set_params(early_stopping=True)
    with pytest.raises(ValueError, match=message + r" rows .* Set early_stopping=False"):
        BasinRewinder(net, **LATE, **own).fit(IRIS, SPECIES, **params)


def test_more_groups_than_children():
    with pytest.warns(RewindingWarning, match=r"trained on groups \[2\]: there are 3 groups"):
        Resampling(groups=GROUPS).check(recipe(), 2)


@pytest.mark.parametrize("rewinding", ["weights", "learning_rate"])
def test_nulls_are_trained_as_the_children_are(rewinding, monkeypatch):
    """Children's rows, and the weights of the end where only the schedule goes back."""
    seen = []
    good = nulls_module._good

    def noted(name, own, n):
        seen.append(own)
        return good(name, own, n)

    monkeypatch.setattr(nulls_module, "_good", noted)
    net, own = SHORT, {**LATE, "bootstrap": True, "rewinding": rewinding}
    BasinRewinder(net, **own).fit(IRIS, SPECIES)
    fresh, shuffled = seen
    for first, *others in (fresh, shuffled):
        for training in others:
            assert len(np.unique(training.X, axis=0)) < 0.8 * len(np.unique(first.X, axis=0))
    ends = [t.start.weights_of is not None for t in shuffled]
    assert ends == [rewinding == "learning_rate"] * 3


def test_a_parent_of_shuffled_labels_that_stops_early_is_rewound_as_far_as_it_got():
    """Of random labels none can be validated, so its training may stop before the rewind point."""
    own = recipe()
    parent = own.training(seed=3, states_at=(0, 5, 9))
    own.run([parent])
    sample = SimpleNamespace(
        recipe=own,
        rounds=[SimpleNamespace(mask=own.layers.full())],
        experiments={"after": SimpleNamespace(step=12)},
        resampling=Resampling(),
        rewinds_weights=True,
    )
    order, rng = np.arange(len(IRIS)), np.random.RandomState(0)
    with pytest.warns(RewindingWarning, match="before step 12, .* is rewound to step 9"):
        copies = nulls_module._of_shuffled(sample, parent, 3, order, rng)
    assert all(t.start.state is parent.states[9] for t in copies)


def test_a_null_that_failed_wholly_is_said_to_be_missing():
    with pytest.warns(RewindingWarning, match="'shuffled labels' is missing from nulls_"):
        nulls_module._good("shuffled labels", [], 3)


def test_only_weights_have_a_before():
    """A rate at which training is unstable at first, as its weights are at the rewind point."""
    own = {**LATE, "rewind": "auto", "stability_tol": 0.0, "n_retrains": 2}
    net = clone(SHORT).set_params(learning_rate_init=0.2)
    assert "before" in BasinRewinder(net, **own).fit(IRIS, SPECIES).consistency_
    own["rewinding"] = "learning_rate"
    assert set(BasinRewinder(net, **own).fit(IRIS, SPECIES).consistency_) == {"after"}
