"""A training that starts from the state of another: the same rows in the same order, the same bits.

What is expected is the other training itself, which was never cut.
"""

import numpy as np
import pytest
import torch
from sklearn.base import clone
from torch import nn

from sklflat import SAMClassifier
from sklflat.exceptions import CheckpointError
from sklflat.training.runs import Training
from sklflat.training.runs.start import Start
from sklflat.training.stacking import train
from tests._stacks import DIGITS, LABELS

X, Y = DIGITS[:230], LABELS[:230]
#: batches of an epoch, the last of which is short
PER_EPOCH = 6


class Normalised(nn.Sequential):
    def __init__(self, n_features, n_outputs):
        super().__init__(
            nn.Linear(n_features, 12, bias=False),
            nn.BatchNorm1d(12),
            nn.ReLU(),
            nn.Dropout(0.2),
            nn.Linear(12, n_outputs),
        )


SHARED = {"max_iter": 6, "batch_size": 40, "tol": 1e-9, "n_iter_no_change": 50, "rho": 0.05}
SGD = {"solver": "sgd", "learning_rate_init": 0.1, "momentum": 0.9}
KINDS = {
    "momentum and a falling rate": {**SGD, "learning_rate": "invscaling", "net": Normalised},
    "Adam": {"solver": "adam", "learning_rate_init": 0.01},
    "adaptive rate": {**SGD, "learning_rate": "adaptive", "tol": 0.5, "n_iter_no_change": 1},
    "early stopping": {**SGD, "early_stopping": True, "validation_fraction": 0.2},
    "rows in their order": {**SGD, "shuffle": False, "alpha": 0.1, "rho": 0.0},
}


def run(trainings, is_stacked, **options):
    list(train(trainings, stack="force" if is_stacked else False, **options))
    for t in trainings:
        assert t.error is None, t.error
    return trainings


def parents(kind, n=3):
    own = {**SHARED, **KINDS[kind]}
    own |= {} if "net" in own else {"hidden_layer_sizes": (12,)}
    made = [SAMClassifier(**own, random_state=seed) for seed in range(n)]
    return [Training(e, X, Y, states_at=(0, 1, 8, 12, 21)) for e in made]


def child(parent, **start):
    fit_params = parent.fit_params
    return Training(clone(parent.estimator), parent.X, parent.y, fit_params, start=Start(**start))


def assert_same_training(a, b):
    """All that a training leaves: weights, buffers, moments, records."""
    ours, theirs = (t.checkpoint() for t in (a, b))
    for info in (ours.info, theirs.info):
        info.pop("states", None)
        for row in info["history"]:
            row.pop("dur")
    assert ours.info == theirs.info
    names = {k for k in ours.arrays if not k.startswith("state/")}
    assert names == {k for k in theirs.arrays if not k.startswith("state/")}
    for name in names:
        np.testing.assert_array_equal(ours.arrays[name], theirs.arrays[name], err_msg=name)
    for name in ("loss_curve_", "n_iter_", "validation_scores_", "n_gradient_evaluations_"):
        assert getattr(a.estimator, name) == getattr(b.estimator, name)


@pytest.mark.parametrize("is_stacked", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_a_child_with_the_parents_order_is_the_parent_to_the_bit(kind, is_stacked):
    """At the first step, within an epoch, and at the first batch of one."""
    made = run(parents(kind), is_stacked)
    for step in made[0].states if kind.startswith("momentum") else (8,):
        children = run([child(t, state=t.states[step]) for t in made], is_stacked)
        for parent, own in zip(made, children, strict=True):
            assert_same_training(parent, own)


def test_another_order_of_the_rows_from_a_step_on():
    """The rest of the epoch has each row once, and what came before is the parent's."""
    seen = []

    class Watched(nn.Linear):
        def __init__(self, n_features, n_outputs):
            super().__init__(n_features, n_outputs)

        def forward(self, X):
            if self.training:
                seen.append(X[:, 0].tolist())
            return super().forward(X)

    numbered = np.column_stack([np.arange(230.0), np.ones(230)]) / 230
    own = {**SHARED, **SGD, "rho": 0, "net": Watched, "random_state": 0, "max_iter": 2}
    parent = Training(SAMClassifier(**own), numbered, Y, states_at=(2,))
    run([parent], False)
    order = [row for batch in seen for row in batch]
    assert sorted(order[:230]) == sorted(numbered[:, 0]) == sorted(order[230:])
    seen.clear()
    other = run([child(parent, state=parent.states[2], seed=7)], False)[0]
    branched = [row for batch in seen for row in batch]
    assert sorted(branched[:150]) == sorted(order[80:230])  # two batches of 40 are done
    assert branched[:150] != order[80:230]
    assert sorted(branched[150:]) == sorted(numbered[:, 0])
    seen.clear()
    run([child(parent, state=parent.states[2], seed=7)], False)
    assert branched == [row for batch in seen for row in batch]
    assert other.estimator.n_iter_ == 2


def test_a_state_is_not_changed_by_what_starts_from_it():
    parent = run(parents("Adam", 1), False)[0]
    for own in run([child(parent, state=parent.states[8]) for _ in range(3)], False):
        assert_same_training(parent, own)


def test_masked_weights_stay_zero_though_the_state_has_momentum():
    parent = run(parents("Adam", 1), False)[0]
    p = sum(q.numel() for q in parent.estimator.module_.parameters())
    mask = torch.as_tensor(np.random.RandomState(0).rand(p) < 0.5)
    own = child(parent, state=parent.states[8])
    own.mask = mask
    run([own], False)
    w = torch.cat([q.detach().flatten() for q in own.estimator.module_.parameters()])
    assert (w[~mask] == 0).all()
    assert (w[mask] != 0).float().mean() > 0.9


def test_the_schedule_of_one_step_at_the_weights_of_another():
    """Learning-rate rewinding: weights and moments of the end, steps and records of step 8."""
    parent = run(parents("momentum and a falling rate", 1), False)[0]
    start = {"state": parent.states[8], "weights_of": parent.checkpoint()}
    own = child(parent, **start)
    own.states_at = (8,)
    run([own], False)
    begun, end = own.states[8], parent.checkpoint()
    assert begun.info["rate"] == parent.states[8].info["rate"] != end.info["rate"]
    for name, value in begun.arrays.items():
        like = end if name.split("/")[0] in ("module", "optimizer") else parent.states[8]
        np.testing.assert_array_equal(value, like.arrays[name])
    assert own.estimator.n_iter_ == parent.estimator.n_iter_


def test_noise_moves_the_parameters():
    parent = run(parents("Adam", 1), False)[0]
    p = sum(q.numel() for q in parent.estimator.module_.parameters())
    own = child(parent, state=parent.states[8], noise=torch.full((p,), 0.5, dtype=torch.float64))
    own.states_at = (8,)
    run([own], False)
    for name, value in parent.states[8].arrays.items():
        if name.startswith("module/"):
            np.testing.assert_allclose(own.states[8].arrays[name], value + 0.5, rtol=1e-12)


def test_states_and_children_are_kept_in_a_directory(tmp_path):
    made = run(parents("Adam"), True, cache_dir=tmp_path)
    children = run([child(t, state=t.states[8]) for t in made], True, cache_dir=tmp_path)
    again = run(parents("Adam"), True, cache_dir=tmp_path)
    assert [t.why_alone for t in again] == ["it was kept"] * 3
    assert again[0].states.keys() == made[0].states.keys()
    repeated = run([child(t, state=t.states[8]) for t in again], True, cache_dir=tmp_path)
    assert [t.why_alone for t in repeated] == ["it was kept"] * 3
    for a, b in zip(children, repeated, strict=True):
        assert_same_training(a, b)
    other = run([child(again[0], state=again[0].states[8], seed=1)], False, cache_dir=tmp_path)
    assert other[0].why_alone != "it was kept"


def test_bad_starts():
    parent = run(parents("rows in their order", 1), False)[0]
    own = child(parent, state=parent.states[8], seed=0)
    list(train([own], stack=False))
    with pytest.raises(ValueError, match="shuffle=False"):
        raise own.error
    other = Training(SAMClassifier((5,), random_state=0), X, Y, start=Start(parent.states[8]))
    list(train([other], stack=False))
    with pytest.raises(CheckpointError, match="another network"):
        raise other.error


@pytest.mark.parametrize("kind", ["mask", "seed", "noise", "weights_of"])
def test_a_child_that_differs_has_its_own_best_epoch(kind):
    """The parent's best is made unbeatable: a child that inherits it would end with its weights."""
    parent = run(parents("early stopping", 1), False)[0]
    state = parent.states[12]
    state.info["record"]["best_validation_score"] = 2.0
    state.info["record"]["no_improvement"] = 49
    p = sum(q.numel() for q in parent.estimator.module_.parameters())
    start = {
        "mask": {},
        "seed": {"seed": 3},
        "noise": {"noise": torch.full((p,), 0.01, dtype=torch.float64)},
        "weights_of": {"weights_of": parent.checkpoint()},
    }[kind]
    own = child(parent, state=state, **start)
    own.mask = torch.arange(p) % 2 == 0 if kind == "mask" else None
    exact = child(parent, state=state)
    run([own, exact], False)
    n_before = state.info["record"]["n_iter"]
    assert own.estimator.best_validation_score_ == max(own.estimator.validation_scores_[n_before:])
    assert own.estimator.validation_scores_[:n_before] == state.info["record"]["validation_scores"]
    assert exact.estimator.best_validation_score_ == 2.0
    if kind == "mask":
        w = torch.cat([q.detach().flatten() for q in own.estimator.module_.parameters()])
        assert (w[~own.mask] == 0).all()


def test_a_child_that_differs_has_its_own_best_loss():
    parent = run(parents("Adam", 1), False)[0]
    state = parent.states[12]
    state.info["record"]["best_loss"] = 0.0
    own = run([child(parent, state=state, seed=3)], False)[0]
    n_before = state.info["record"]["n_iter"]
    assert own.estimator.best_loss_ == min(own.estimator.loss_curve_[n_before:])
