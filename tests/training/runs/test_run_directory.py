"""Trainings that are kept: nothing is done twice, and a crash changes no bit."""

import os
import random
import shutil
import signal
import time
import warnings

import numpy as np
import pytest
import torch
from joblib import parallel_config
from sklearn.base import clone

from sklflat.exceptions import DamagedFileWarning, StorageError
from sklflat.storage import RunStore
from sklflat.training.engine.net import PerturbedNetMixin
from sklflat.training.runs import Training
from sklflat.training.runs import run_directory as runs
from sklflat.training.stacking import train
from sklflat.training.stacking.stack import Stack
from tests._stacks import DIGITS, LABELS, estimators


def trainings(made, n_samples=200, **more):
    return [Training(e, DIGITS[:n_samples], LABELS[:n_samples], **more) for e in made]


def bits(made):
    return [[t.numpy().tobytes() for t in e.module_.state_dict().values()] for e in made]


@pytest.fixture
def epochs(monkeypatch):
    """Counts the epochs of all replicas."""
    counts = {"stacked": 0, "alone": 0}
    stacked, alone = Stack.run_epoch, PerturbedNetMixin.run_single_epoch

    def run_epoch(self, loaders):
        counts["stacked"] += len(loaders)
        return stacked(self, loaders)

    def run_single_epoch(self, *args, **kwargs):
        counts["alone"] += 1
        return alone(self, *args, **kwargs)

    monkeypatch.setattr(Stack, "run_epoch", run_epoch)
    monkeypatch.setattr(PerturbedNetMixin, "run_single_epoch", run_single_epoch)
    return counts


def test_what_is_kept_is_not_trained_again(tmp_path, epochs):
    first = estimators(n=4, early_stopping=True, max_iter=5)
    list(train(trainings(first, snapshots_at=(0, 2)), cache_dir=tmp_path))
    assert epochs.pop("stacked") > 0
    epochs["stacked"] = 0
    again = [clone(e) for e in first]
    kept = trainings(again, snapshots_at=(0, 2))
    assert sorted(train(kept, cache_dir=tmp_path)) == [0, 1, 2, 3]
    assert epochs == {"stacked": 0, "alone": 0}
    assert bits(again) == bits(first)
    for a, b in zip(again, first, strict=True):
        for name in ("loss_curve_", "n_iter_", "validation_scores_", "t_", "best_loss_"):
            assert getattr(a, name) == getattr(b, name)
        assert a.n_gradient_evaluations_ == b.n_gradient_evaluations_
        assert a.net_.history.to_list() == b.net_.history.to_list()
        assert a.net_.snapshots_.keys() == b.net_.snapshots_.keys() == {0, 2}
        np.testing.assert_array_equal(a.predict(DIGITS), b.predict(DIGITS))
        # and both go on alike
        a.set_params(warm_start=True, max_iter=2).fit(DIGITS[:200], LABELS[:200])
        b.set_params(warm_start=True, max_iter=2).fit(DIGITS[:200], LABELS[:200])
    assert bits(again) == bits(first)


def test_a_change_of_one_parameter_trains_only_what_depends_on_it(tmp_path, epochs):
    list(train(trainings(estimators(n=3)), cache_dir=tmp_path))
    epochs["stacked"] = 0
    made = estimators(n=3)
    made[1].set_params(rho=0.123)
    made[2].set_params(verbose=0)
    work = trainings(made)
    list(train(work, cache_dir=tmp_path))
    assert epochs == {"stacked": 0, "alone": 3}  # one training of three epochs
    assert [t.why_alone for t in work] == [
        "it was kept",
        "there is no other like it",
        "it was kept",
    ]
    # other data are other trainings
    list(train(trainings(estimators(n=3), n_samples=199), cache_dir=tmp_path))
    assert epochs["stacked"] == 9


def test_trainings_that_cannot_be_repeated_are_not_kept(tmp_path):
    made = estimators(n=2)
    made[0].set_params(random_state=None)
    list(train(trainings(made), cache_dir=tmp_path))
    assert len(list(RunStore(tmp_path).keys())) == 1


@pytest.mark.parametrize(
    ("variant", "solver", "cuts"),
    [("friendly", "adam", (4,))]
    + [
        pytest.param(variant, solver, (1, 4, 9), marks=pytest.mark.slow)
        for variant in ("sam", "looksam", "friendly")
        for solver in ("sgd", "adam")
    ],
)
def test_a_stack_that_is_cut_off_goes_on_to_the_same_bits(
    tmp_path, monkeypatch, variant, solver, cuts
):
    monkeypatch.setattr(runs, "EVERY", 0.0)
    parameters = {"dropout": 0.2, "early_stopping": True, "max_iter": 12, "n_iter_no_change": 2}
    reference = estimators(variant, n=4, solver=solver, **parameters)
    list(train(trainings(reference)))
    for n_epochs in cuts:
        cache = tmp_path / str(n_epochs)
        made = [clone(e) for e in reference]
        run_epoch, left = Stack.run_epoch, [n_epochs]

        def stops(self, loaders, run_epoch=run_epoch, left=left):
            if not left[0]:
                raise KeyboardInterrupt
            left[0] -= 1
            return run_epoch(self, loaders)

        with monkeypatch.context() as patch:
            patch.setattr(Stack, "run_epoch", stops)
            with pytest.raises(KeyboardInterrupt):
                list(train(trainings(made), cache_dir=cache))
        made = [clone(e) for e in reference]
        list(train(trainings(made), cache_dir=cache))
        assert bits(made) == bits(reference)
        assert list(RunStore(cache / "running").keys()) == []
        for a, b in zip(made, reference, strict=True):
            assert a.validation_scores_ == b.validation_scores_
            assert (
                a.net_.history.to_list()[-1]["train_loss"]
                == (b.net_.history.to_list()[-1]["train_loss"])
            )


def test_a_damaged_result_and_one_of_another_network_are_trained_anew(tmp_path):
    made = estimators(n=3)
    list(train(trainings(made), cache_dir=tmp_path))
    store = RunStore(tmp_path)
    one, other, _ = store.keys()
    content = store.path(one).read_bytes()
    store.path(one).write_bytes(content[: len(content) // 2])
    arrays, info = store.get(other)
    store.put(other, {**arrays, "module/output.bias": np.zeros(3)}, info)
    again = [clone(e) for e in made]
    with pytest.warns(DamagedFileWarning):
        list(train(trainings(again), cache_dir=tmp_path))
    for a, b in zip(again, made, strict=True):
        for p, q in zip(a.module_.parameters(), b.module_.parameters(), strict=True):
            torch.testing.assert_close(p, q, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("damage", ["record", "counts", "history", "random_state", "rate"])
def test_a_foreign_result_with_a_right_checksum_is_trained_anew(tmp_path, damage):
    made = estimators(n=1)
    list(train(trainings(made), cache_dir=tmp_path))
    store = RunStore(tmp_path)
    (key,) = store.keys()
    arrays, info = store.get(key)
    store.put(key, arrays, {**info, damage: {"loss_curve": "x", "evil": 1}})
    again = [clone(e) for e in made]
    with pytest.warns(DamagedFileWarning, match="trained anew"):
        list(train(trainings(again), cache_dir=tmp_path))
    assert bits(again) == bits(made)


def test_a_directory_that_cannot_be_used_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="file"):
        list(train(trainings(estimators(n=2)), cache_dir=tmp_path / "file"))


@pytest.mark.parametrize("backend", ["threading", pytest.param("loky", marks=pytest.mark.slow)])
def test_workers_share_a_directory(tmp_path, backend):
    reference = estimators(n=6)
    again = [clone(e) for e in reference]
    with parallel_config(backend=backend):
        list(train(trainings(reference), cache_dir=tmp_path, n_jobs=2))
        assert len(list(RunStore(tmp_path).keys())) == 6
        list(train(trainings(again), cache_dir=tmp_path, n_jobs=2))
    assert bits(again) == bits(reference)


def replicas():
    made = estimators(n=16, hidden_layer_sizes=(8,), max_iter=60, early_stopping=True)
    for k, e in enumerate(made):
        e.set_params(n_iter_no_change=40, tol=1e-4, learning_rate_init=1e-3 * (1 + k % 4))
    return made


def child(cache_dir):
    """What a process does until it is killed."""
    code = 1
    try:
        warnings.simplefilter("error", DamagedFileWarning)
        torch.set_num_threads(1)
        runs.EVERY = 0.05
        list(train(trainings(replicas()), cache_dir=cache_dir))
        code = 0
    finally:
        os._exit(code)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_100_kills_at_random_instants_lose_nothing_and_change_no_bit(tmp_path):
    reference = replicas()
    start = time.perf_counter()
    list(train(trainings(reference)))
    takes = time.perf_counter() - start
    draw, kills, rounds, cache = random.Random(0), 0, 0, tmp_path / "runs"
    while kills < 100:
        ended = len(list(RunStore(cache).keys()))
        pid = os.fork()
        if pid == 0:
            child(cache)
        deadline = time.monotonic() + draw.uniform(0.02, 1.2) * takes
        done, status = 0, 0
        while not done and time.monotonic() < deadline:
            time.sleep(0.002)
            done, status = os.waitpid(pid, os.WNOHANG)
        if not done:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            kills += 1
            store = RunStore(cache)
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                kept = [store.get(key) for key in list(store.keys())]
            assert len(kept) >= ended  # what had ended is not lost
            continue
        assert os.waitstatus_to_exitcode(status) == 0
        rounds += 1
        last = replicas()
        list(train(trainings(last), cache_dir=cache))
        assert bits(last) == bits(reference)
        shutil.rmtree(cache)
    assert rounds >= 3
