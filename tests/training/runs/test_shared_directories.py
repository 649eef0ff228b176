"""A cache_dir that fills up, that two processes use, or that a newer version has made."""

import os
import subprocess
import sys

import numpy as np
import pytest
from sklearn.base import clone

from sklflat.exceptions import CheckpointError, StorageError
from sklflat.storage import RunStore, files, read, write
from sklflat.training.runs import Training
from sklflat.training.runs import run_directory as runs
from sklflat.training.stacking import train
from tests._stacks import DIGITS, LABELS, estimators


def trainings(made):
    return [Training(e, DIGITS[:200], LABELS[:200]) for e in made]


def bits(made):
    return [[t.numpy().tobytes() for t in e.module_.state_dict().values()] for e in made]


def contents(directory):
    """All files and what is in them; the order of metadata is safetensors' own."""
    found = [p for p in directory.rglob("*") if p.is_file()]
    return {p: (same_bytes(arrays), info) for p in found for arrays, info in [read(p)]}


def same_bytes(arrays):
    return {name: a.tobytes() for name, a in arrays.items()}


@pytest.mark.parametrize("stack", [True, False])
@pytest.mark.parametrize("n_writes", [1, 2, 4])
def test_a_disk_that_fills_up_is_an_error_and_what_was_kept_stays(
    tmp_path, monkeypatch, stack, n_writes
):
    monkeypatch.setattr(runs, "EVERY", 0.0)
    reference = estimators(n=3)
    list(train(trainings(reference), stack=stack))
    left, really = [2 + n_writes], os.write

    def full(handle, content):
        left[0] -= 1
        if left[0] < 0:
            raise OSError(28, os.strerror(28))
        return really(handle, content)

    work = trainings([clone(e) for e in reference])
    with monkeypatch.context() as patch:
        patch.setattr(files.os, "write", full)
        try:
            list(train(work, stack=stack, cache_dir=tmp_path))
            errors = [t.error for t in work if t.error is not None]
        except StorageError as error:
            errors = [error]
    assert errors
    for error in errors:
        assert isinstance(error, StorageError)
        assert str(tmp_path) in str(error)
        assert "space" in str(error)
    assert not list(tmp_path.rglob("*.tmp"))
    again = trainings([clone(e) for e in reference])
    list(train(again, stack=stack, cache_dir=tmp_path))
    assert bits([t.estimator for t in again]) == bits(reference)


@pytest.mark.parametrize("where", [".", "running"])
def test_a_directory_of_a_newer_version_is_left_as_it_is(tmp_path, where):
    list(train(trainings(estimators(n=2)), cache_dir=tmp_path))
    write(tmp_path / where / "store.safetensors", {}, {"schema": 99})
    before = contents(tmp_path)
    with pytest.raises(CheckpointError, match=r"newer sklflat \(schema 99"):
        list(train(trainings(estimators(n=3)), cache_dir=tmp_path))
    assert contents(tmp_path) == before


SCRIPT = """
import sys, warnings
import numpy as np
from sklflat.training.runs import run_directory
from tests.training.runs.test_shared_directories import DIGITS, estimators, train, trainings
warnings.simplefilter("error")
warnings.filterwarnings("ignore", "Stochastic Optimizer")
run_directory.EVERY = 0.0
work = trainings(estimators(n=4, max_iter=4))
list(train(work, stack=sys.argv[2] == "stacked", cache_dir=sys.argv[1] or None))
assert not [t.error for t in work if t.error]
np.save(sys.argv[3], np.stack([t.estimator.predict_proba(DIGITS[:200]) for t in work]))
"""


@pytest.mark.slow
@pytest.mark.parametrize(("how", "tolerance"), [("stacked", 1e-5), ("alone", 0.0)])
def test_processes_that_train_the_same_at_once_have_the_same_results(tmp_path, how, tolerance):
    """Up to rounding where they are stacked, as what another has kept is in no stack."""

    def begun(cache_dir, k):
        command = [sys.executable, "-c", SCRIPT, str(cache_dir), how, str(tmp_path / f"{k}.npy")]
        return subprocess.Popen(command)

    cache = tmp_path / "cache"
    running = [begun(cache, 0), begun(cache, 1), begun("", 2)]
    assert [process.wait() for process in running] == [0, 0, 0]
    alone = np.load(tmp_path / "2.npy")
    for k in range(2):
        np.testing.assert_allclose(np.load(tmp_path / f"{k}.npy"), alone, atol=tolerance, rtol=0)
    assert len(list(RunStore(cache).keys())) == 4
    assert not list(RunStore(cache / "running").keys())
