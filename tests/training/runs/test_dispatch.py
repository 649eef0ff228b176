"""Trainings by joblib's workers, and workers that are lost."""

import os
import signal
from concurrent.futures.process import BrokenProcessPool
from functools import partial

import pytest
from joblib import parallel_config
from sklearn.base import clone
from torch import nn

from sklflat.exceptions import LostWorkerWarning
from sklflat.training.runs import Training
from sklflat.training.runs import dispatch as dispatch_module
from sklflat.training.runs.dispatch import dispatch
from sklflat.training.stacking import train
from tests._stacks import DIGITS, LABELS, distance, estimators


@pytest.mark.parametrize("backend", ["threading", pytest.param("loky", marks=pytest.mark.slow)])
def test_what_is_trained_alone_goes_through_joblib(backend):
    made = estimators(n=2)
    reference = [clone(e).fit(DIGITS[:200], LABELS[:200]) for e in made]
    trainings = [Training(e, DIGITS[:200], LABELS[:200]) for e in made]
    with parallel_config(backend=backend):
        assert sorted(train(trainings, stack=False, n_jobs=2)) == [0, 1]
    assert trainings[0].why_alone == "stack=False"
    for a, b in zip(made, reference, strict=True):
        assert distance(a, b) < 1e-12


@pytest.mark.parametrize("backend", ["threading", pytest.param("loky", marks=pytest.mark.slow)])
def test_workers_stack_a_part_each(backend):
    made = estimators(n=6)
    alone = [clone(e).fit(DIGITS[:200], LABELS[:200]) for e in made]
    trainings = [Training(e, DIGITS[:200], LABELS[:200]) for e in made]
    with parallel_config(backend=backend):
        assert sorted(train(trainings, n_jobs=2)) == list(range(6))
    for t, reference in zip(trainings, alone, strict=True):
        assert t.why_alone is None
        assert t.estimator.net_.fast_path_ == "stacked"
        assert distance(t.estimator, reference) < 1e-10


class KillsItsProcess(nn.Linear):
    """Kills the process that trains it, the first time."""

    def __init__(self, n_features, n_outputs, flag):
        super().__init__(n_features, n_outputs)
        self.flag = flag

    def forward(self, X):
        if self.training and not os.path.exists(self.flag):
            open(self.flag, "w").close()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().forward(X)


def losing_pool(calls, **settings):
    """Does one unit, and loses its workers if there are others."""
    (function, arguments, _), *others = calls
    yield function(*arguments)
    if others:
        raise BrokenProcessPool


def test_what_lost_workers_left_is_begun_anew_three_times_at_most(monkeypatch):
    monkeypatch.setattr(dispatch_module, "parallel", lambda *args, **settings: losing_pool)
    begun = []

    def work(unit):
        begun.append([t.X for t in unit])

    trainings = [Training(None, k, None) for k in range(5)]
    with pytest.warns(LostWorkerWarning, match=r"1 of 3 units are begun anew"):
        assert list(dispatch(trainings, [[0, 1], [2], [3, 4]], 2, work)) == [0, 1, 2, 3, 4]
    assert begun == [[0, 1], [2], [3, 4]]
    with pytest.warns(LostWorkerWarning), pytest.raises(BrokenProcessPool):
        list(dispatch(trainings, [[0], [1], [2], [3]], 2, work))


@pytest.mark.slow
def test_a_worker_that_is_killed_is_replaced_and_its_unit_begun_anew(tmp_path):
    flag = str(tmp_path / "killed")
    net = partial(KillsItsProcess, flag=flag)
    made = [*estimators(n=3), *estimators(n=1, net=net, hidden_layer_sizes=(100,))]
    trainings = [Training(e, DIGITS[:200], LABELS[:200]) for e in made]
    with pytest.warns(LostWorkerWarning, match="begun anew"):
        assert sorted(train(trainings, n_jobs=2)) == [0, 1, 2, 3]
    for t in trainings:  # the flag is there, so this process may train it
        assert t.error is None
        assert distance(t.estimator, clone(t.estimator).fit(t.X, t.y)) < 1e-10


@pytest.mark.slow
def test_a_dask_cluster_of_two_processes_gives_the_same():
    distributed = pytest.importorskip("distributed")
    made = estimators(n=6)
    alone = [clone(e).fit(DIGITS[:200], LABELS[:200]) for e in made]
    work = [Training(e, DIGITS[:200], LABELS[:200]) for e in made]
    one_by_one = [Training(clone(e), DIGITS[:200], LABELS[:200]) for e in made[:2]]
    settings = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
    with (
        distributed.LocalCluster(**settings) as cluster,
        distributed.Client(cluster),
        parallel_config(backend="dask"),
    ):
        assert sorted(train(work, n_jobs=2)) == list(range(6))
        assert sorted(train(one_by_one, stack=False, n_jobs=2)) == [0, 1]
    for t, reference in zip(work, alone, strict=True):
        assert t.error is None
        assert t.why_alone is None
        assert distance(t.estimator, reference) < 1e-10
    assert distance(one_by_one[0].estimator, alone[0]) < 1e-10
