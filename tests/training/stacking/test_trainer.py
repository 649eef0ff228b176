"""A replica of a stack is identical to the network trained alone, up to rounding."""

import itertools

import numpy as np
import pytest
import torch
from sklearn.base import clone
from torch import nn

from sklflat import SAMRegressor
from sklflat.exceptions import (
    DivergenceError,
    UnsupportedNetworkError,
)
from sklflat.training.runs import Training
from sklflat.training.stacking import train
from sklflat.training.stacking.data import SharedData
from sklflat.training.stacking.stack import Stack
from tests._stacks import DIGITS, LABELS, distance, estimators

VARIANTS = ("sam", "asam", "gsam", "looksam", "fisher", "friendly", "momentum", "none")
# what rounding may leave after three epochs
# a stack takes products of few columns in another order, so single precision rounds otherwise
TOLERANCE = {"float64": 1e-10, "float32": 2e-5}


class Normalised(nn.Module):
    """A user's own network with batch normalisation and dropout."""

    def __init__(self, n_features, n_outputs):
        super().__init__()
        self.first = nn.Linear(n_features, 24, bias=False)
        self.norm = nn.BatchNorm1d(24)
        self.drop = nn.Dropout(0.2)
        self.last = nn.Linear(24, n_outputs)

    def forward(self, X):
        return self.last(self.drop(torch.relu(self.norm(self.first(X)))))


def sequential(n_features, n_outputs):
    """The same of torch's own classes, so that it is recorded."""
    return nn.Sequential(
        nn.Linear(n_features, 24, bias=False),  # its gradient would be rounding errors alone
        nn.BatchNorm1d(24),
        nn.ReLU(),
        nn.Dropout(0.2),
        nn.Linear(24, n_outputs),
    )


class OfAnyWidth(nn.Module):
    """Takes any number of features; its tensors are the same for all."""

    def __init__(self, n_features, n_outputs):
        super().__init__()
        self.first, self.last = nn.Linear(1, 8), nn.Linear(8, n_outputs)

    def forward(self, X):
        return self.last(torch.relu(self.first(X[..., None])).mean(1))


def assert_as_alone(trainings, tolerance):
    alone = [
        Training(clone(t.estimator), t.X, t.y, t.fit_params, t.mask, t.initial, t.snapshots_at)
        for t in trainings
    ]
    assert sorted(train(trainings, stack="force")) == list(range(len(trainings)))
    for ours, reference in zip(trainings, alone, strict=True):
        reference.run()
        a, b = ours.estimator, reference.estimator
        assert ours.error is reference.error is None
        assert ours.why_alone is None
        assert distance(a, b) <= tolerance
        np.testing.assert_allclose(a.loss_curve_, b.loss_curve_, rtol=tolerance, atol=tolerance)
        assert a.n_iter_ == b.n_iter_
        assert a.n_gradient_evaluations_ == b.n_gradient_evaluations_
        # it can be trained on from where it is
        assert a.net_.random_stream_.generator.get_state().equal(
            b.net_.random_stream_.generator.get_state()
        )
        for p, q in zip(a.module_.parameters(), b.module_.parameters(), strict=True):
            ours_kept, kept = a.net_.optimizer_.state[p], b.net_.optimizer_.state[q]
            for key in kept:
                if kept[key] is not None:
                    scale = max(1.0, float(kept[key].abs().max()))
                    assert float((ours_kept[key] - kept[key]).abs().max()) <= tolerance * scale


def weights(seed, n):
    return np.random.RandomState(seed).randint(1, 4, n).astype(float)


def is_quick(kind, solver, dtype, variant):
    """Every variant with Adam on plain networks; everything else with one variant."""
    if variant == "friendly":  # it has a state, and two gradients
        return dtype == "float64" or (kind == "plain" and solver == "adam")
    return (kind, solver, dtype) == ("plain", "adam", "float64")


REPLICAS = [
    pytest.param(*case, marks=[] if is_quick(*case) else pytest.mark.slow)
    for case in itertools.product(
        ("plain", "batchnorm", "dropout", "mask", "weights"), ("sgd", "adam"), TOLERANCE, VARIANTS
    )
]


@pytest.mark.parametrize(("kind", "solver", "dtype", "variant"), REPLICAS)
def test_a_replica_is_identical_to_training_alone(kind, solver, dtype, variant):
    own = {
        "batchnorm": {"net": sequential, "hidden_layer_sizes": (100,)},
        "dropout": {"dropout": 0.3},
    }
    trainings = []
    made = estimators(variant, solver=solver, dtype=dtype, **own.get(kind, {}))
    for seed, estimator in enumerate(made):
        X, y = DIGITS[seed : 400 + seed // 2], LABELS[seed : 400 + seed // 2]
        training = Training(estimator, X, y)
        if kind == "mask":
            p = 24 * 64 + 24 + 10 * 24 + 10
            training.mask = torch.rand(p, generator=torch.manual_seed(seed)) < 0.7
        if kind == "weights":
            training.fit_params = {"sample_weight": weights(seed, len(y))}
        trainings.append(training)
    assert_as_alone(trainings, TOLERANCE[dtype])
    if kind == "mask":
        vector = torch.cat([p.flatten() for p in made[0].module_.parameters()])
        assert not vector[~trainings[0].mask].any()


def test_a_users_own_network_is_not_recorded_but_stacked():
    made = estimators(n=3, net=Normalised, hidden_layer_sizes=(100,), dtype="float64")
    assert_as_alone([Training(e, DIGITS[:300], LABELS[:300]) for e in made], 1e-10)


def test_regressors_early_stopping_schedules_and_no_shuffle():
    y = DIGITS @ np.linspace(-1, 1, 64)
    settings = [
        {"early_stopping": True, "max_iter": 40},
        {"solver": "sgd", "learning_rate": "adaptive", "max_iter": 30, "n_iter_no_change": 1},
        {"solver": "sgd", "learning_rate": "invscaling", "max_iter": 5, "shuffle": False},
    ]
    lengths = set()
    for setting in settings:
        made = [SAMRegressor((8,), random_state=s, tol=1e-3, **setting) for s in range(3)]
        trainings = [Training(e, DIGITS[:250], y[:250]) for e in made]
        alone = [clone(e).fit(DIGITS[:250], y[:250]) for e in made]
        list(train(trainings))
        for a, b in zip(made, alone, strict=True):
            assert a.n_iter_ == b.n_iter_
            assert distance(a, b) < 1e-9
            rates = [e.net_.optimizer_.param_groups[0]["lr"] for e in (a, b)]
            assert rates[0] == rates[1]
            lengths.add(a.n_iter_)
    assert rates[0] < a.learning_rate_init  # invscaling
    assert len(lengths) > 1


def test_early_stopping_ends_each_at_its_own_epoch():
    made = estimators(n=6, early_stopping=True, max_iter=60, n_iter_no_change=2, tol=1e-3)
    trainings = [Training(e, DIGITS[:500], LABELS[:500]) for e in made]
    alone = [clone(e).fit(DIGITS[:500], LABELS[:500]) for e in made]
    order = list(train(trainings))
    assert sorted(order) == list(range(6))
    assert len({a.n_iter_ for a in alone}) > 1
    for a, b in zip(made, alone, strict=True):
        assert a.validation_scores_ == b.validation_scores_
        assert distance(a, b) < 1e-10


def test_a_replica_that_diverges_is_marked_and_touches_no_other():
    made = estimators(n=3, solver="sgd")
    made[1].set_params(learning_rate_init=1e200)
    trainings = [Training(e, DIGITS[:300], LABELS[:300]) for e in made]
    list(train(trainings))
    assert isinstance(trainings[1].error, DivergenceError)
    for k in (0, 2):
        assert trainings[k].error is None
        assert distance(made[k], clone(made[k]).fit(DIGITS[:300], LABELS[:300])) < 1e-10


def test_a_skipped_step_changes_nothing_of_the_replica():
    bad = DIGITS[:300].copy()
    bad[7] = 1.7e308  # its batch has no finite gradient
    made = estimators(n=2, batch_size=50, max_iter=2)
    data = [DIGITS[:300], bad]
    trainings = [Training(e, X, LABELS[:300]) for e, X in zip(made, data, strict=True)]
    alone = [clone(t.estimator) for t in trainings]
    errors = []
    for e, t in zip(alone, trainings, strict=True):
        try:
            e.fit(t.X, t.y)
            errors.append(None)
        except DivergenceError as error:
            errors.append(error)
    list(train(trainings))
    assert [type(t.error) for t in trainings] == [type(e) for e in errors]
    assert distance(made[0], alone[0]) < 1e-10
    assert distance(made[1], alone[1]) < 1e-10
    assert made[1].net_.steps_.n_skipped_steps == alone[1].net_.steps_.n_skipped_steps > 0


def test_snapshots_and_initial_weights():
    made = estimators(n=3)
    p = 24 * 64 + 24 + 10 * 24 + 10
    start = torch.linspace(-0.1, 0.1, p, dtype=torch.float64)
    trainings = [
        Training(e, DIGITS[:300], LABELS[:300], initial=start, snapshots_at=(0, 1, 5)) for e in made
    ]
    assert_as_alone(trainings, 1e-10)
    for e in made:
        taken = e.net_.snapshots_
        assert sorted(taken) == [0, 1, 5]
        flat = torch.cat([taken[0][name].flatten() for name, _ in e.module_.named_parameters()])
        assert flat.equal(start)
    one, other = (e.net_.snapshots_[5]["output.bias"] for e in made[:2])
    assert not one.equal(other)


def test_nothing_of_the_stack_is_left_in_the_networks():
    made = estimators(n=3)
    list(train([Training(e, DIGITS[:200], LABELS[:200]) for e in made]))
    for e in made:
        tensors = [*e.module_.parameters()]
        tensors += [t for s in e.net_.optimizer_.state.values() for t in s.values()]
        for t in tensors:
            assert t.untyped_storage().nbytes() == t.numel() * t.element_size()
    e = made[0]
    e.set_params(warm_start=True, max_iter=2).fit(DIGITS[:200], LABELS[:200])


def test_replicas_of_other_shapes_are_stacked_among_themselves():
    made = estimators(n=2) + estimators(n=2, hidden_layer_sizes=(9,)) + estimators("asam", n=2)
    assert_as_alone([Training(e, DIGITS[:200], LABELS[:200]) for e in made], 1e-10)


class Counting(nn.Linear):
    """Its forward pass changes Python state."""

    def __init__(self, n_features, n_outputs):
        super().__init__(n_features, n_outputs)
        self.calls = 0

    def forward(self, X):
        self.calls += 1
        return super().forward(X)


class Branching(nn.Linear):
    """Its forward pass looks at values."""

    def __init__(self, n_features, n_outputs):
        super().__init__(n_features, n_outputs)

    def forward(self, X):
        z = super().forward(X)
        return z * 2 if float(z.sum()) > 0 else z


@pytest.mark.parametrize(
    ("net", "reason"), [(Counting, "Python state"), (Branching, "cannot be vectorised")]
)
def test_what_cannot_be_stacked_is_trained_alone_and_says_why(net, reason, capsys):
    made = estimators(n=2, net=net, hidden_layer_sizes=(100,))
    trainings = [Training(e, DIGITS[:200], LABELS[:200]) for e in made]
    list(train(trainings, verbose=2))
    assert reason in capsys.readouterr().out
    for t in trainings:
        assert reason in t.why_alone
        assert distance(t.estimator, clone(t.estimator).fit(t.X, t.y)) == 0
    again = [Training(clone(e), DIGITS[:200], LABELS[:200]) for e in made]
    with pytest.raises(UnsupportedNetworkError, match="stack='force'"):
        list(train(again, stack="force"))


def test_callbacks_of_epochs_are_stacked_and_those_of_batches_are_not():
    from skorch.callbacks import Callback

    class Epochs(Callback):
        def on_epoch_end(self, net, **kwargs):
            net.norms_ = [
                *getattr(net, "norms_", []),
                float(net.module_.output.weight.detach().norm()),
            ]

    class Batches(Callback):
        def on_batch_end(self, net, **kwargs):
            net.n_batches_ = getattr(net, "n_batches_", 0) + 1

    made = estimators(n=2, callbacks=[("epochs", Epochs())])
    alone = [clone(e).fit(DIGITS[:200], LABELS[:200]) for e in made]
    list(train([Training(e, DIGITS[:200], LABELS[:200]) for e in made], stack="force"))
    for a, b in zip(made, alone, strict=True):
        np.testing.assert_allclose(a.net_.norms_, b.net_.norms_, rtol=1e-10)
    made = estimators(n=2, callbacks=[("batches", Batches())])
    trainings = [Training(e, DIGITS[:200], LABELS[:200]) for e in made]
    list(train(trainings))
    assert "listens to single batches" in trainings[0].why_alone
    again = [Training(clone(e), DIGITS[:200], LABELS[:200]) for e in made]
    with pytest.raises(UnsupportedNetworkError, match="callback 'batches' listens"):
        list(train(again, stack="force"))


def test_a_bad_parameter_is_that_trainings_error():
    made = estimators(n=3)
    made[1].set_params(alpha=-1.0)
    trainings = [Training(e, DIGITS[:200], LABELS[:200]) for e in made]
    assert sorted(train(trainings)) == [0, 1, 2]
    assert "alpha" in str(trainings[1].error)
    assert trainings[0].error is trainings[2].error is None


def test_a_mask_of_another_length_is_refused():
    training = Training(estimators(n=1)[0], DIGITS[:99], LABELS[:99], mask=torch.ones(3) > 0)
    training.run()
    assert "mask has shape (3,)" in str(training.error)


def test_equal_data_are_kept_once():
    shared = SharedData()
    a, b = torch.arange(3.0), torch.arange(3.0)
    assert shared.one_of(b) is shared.one_of(a)
    assert shared.one_of(torch.ones(3)) is not shared.one_of(a)


def test_the_global_generators_and_the_data_stay_as_they_were():
    made = estimators(n=3, dropout=0.2)
    X = DIGITS[:200].copy()
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    list(train([Training(e, X, LABELS[:200]) for e in made]))
    assert torch.get_rng_state().equal(before[0])
    assert (np.random.get_state()[1] == before[1]).all()  # noqa: NPY002
    assert (DIGITS[:200] == X).all()


def test_one_step_over_all_takes_as_many_operations_as_one_over_two():
    """Work is counted: the recording of a step does not grow with the number of replicas."""
    lengths = []
    for n in (2, 8):
        made = estimators(n=n, alpha=0.0, training_temperature=1.0)
        fittings = [e._fitting(DIGITS[:200], LABELS[:200]) for e in made]
        requests = [next(f) for f in fittings]
        stack = Stack([r.net for r in requests])
        for _ in range(2):
            stack.run_epoch({i: r.batches for i, r in enumerate(requests)})
        (tape,) = stack.replays._tapes.values()
        lengths.append(len(tape.lines))
        stack.release_all()
    assert lengths[0] == lengths[1]


def test_rows_of_different_make_are_not_joined():
    """One fold's weights may all be 1, which are none; rows may differ in width."""
    ones, more = np.ones(300), np.ones(300)
    more[0] = 10
    made = estimators(n=4)
    trainings = [Training(e, DIGITS[:300], LABELS[:300]) for e in made]
    for training, weight in zip(trainings, (ones, more, ones, more), strict=True):
        training.fit_params = {"sample_weight": weight}
    assert_as_alone(trainings, 1e-10)
    made = estimators(n=4, net=OfAnyWidth, hidden_layer_sizes=(100,))
    data = [DIGITS[:300, :n] for n in (64, 64, 32, 32)]
    assert_as_alone([Training(e, X, LABELS[:300]) for e, X in zip(made, data, strict=True)], 1e-10)


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_large_networks_are_trained_alone(n_jobs):
    """A stack of them takes longer on a CPU (``benchmarks/stacked.py``)."""
    settings = {"hidden_layer_sizes": (256, 256), "max_iter": 1}
    own = [clone(e).set_params(**settings) for e in estimators(n=3)]
    trainings = [Training(e, DIGITS, LABELS) for e in own]
    assert sorted(train(trainings, n_jobs=n_jobs)) == [0, 1, 2]
    assert all("50,000 parameters" in t.why_alone for t in trainings)
    alone = clone(own[2]).fit(DIGITS, LABELS)
    assert distance(trainings[2].estimator, alone) == 0


@pytest.mark.parametrize("asked", [{"stack": "force"}, {"max_replicas": 3}])
def test_large_networks_are_stacked_where_that_is_asked_for(asked):
    settings = {"hidden_layer_sizes": (256, 256), "max_iter": 1}
    own = [clone(e).set_params(**settings) for e in estimators(n=3)]
    trainings = [Training(e, DIGITS, LABELS) for e in own]
    list(train(trainings, **asked))
    assert [t.why_alone for t in trainings] == [None] * 3
