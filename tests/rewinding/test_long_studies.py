"""Studies that are killed, or done by several workers, end as those that are not."""

import multiprocessing
import os
import signal
import time
from functools import partial

import numpy as np
import pytest
from joblib import parallel_config

from sklflat import BasinRewinder
from sklflat.rewinding import recipe
from sklflat.training.stacking import train
from tests._estimators import IRIS, SPECIES
from tests.rewinding.test_rewinder import NET, QUICK

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::sklflat.exceptions.NothingFoundWarning"),
]


def study(path=None, n_jobs=None):
    """All that a fit finds, as arrays."""
    probe = BasinRewinder(NET, **QUICK, cache_dir=path, n_jobs=n_jobs).fit(IRIS, SPECIES)
    masks = np.concatenate([m.ravel() for m in probe.mask_.values()])
    nulls = np.concatenate([n.draws for n in probe.nulls_])
    found = {"scores": probe.unit_scores_, "p": probe.p_values_, "masks": masks, "nulls": nulls}
    return found | {"proba": probe.predict_proba(IRIS), "rounds": probe.rounds_.score.to_numpy()}


def write_study(path, target):
    np.savez(target, **study(path))


def test_twenty_kills_at_random_instants_change_no_bit(tmp_path):
    target, rng = tmp_path / "found.npz", np.random.RandomState(0)
    context = multiprocessing.get_context("fork")
    n_killed = 0
    for _ in range(20):
        process = context.Process(target=write_study, args=(tmp_path / "kept", target))
        process.start()
        time.sleep(rng.uniform(0.1, 1.5))
        if process.is_alive():
            os.kill(process.pid, signal.SIGKILL)
            n_killed += 1
        process.join()
    assert n_killed
    again, whole = study(tmp_path / "kept"), study(tmp_path / "whole")
    for name, value in whole.items():
        np.testing.assert_array_equal(again[name], value, err_msg=name)


@pytest.mark.parametrize("backend", ["threading", "loky", "alone"])
def test_workers_find_the_same(backend, monkeypatch):
    """In float64 the same masks, and scores equal to 1e-6."""
    stacked = study()
    if backend == "alone":
        monkeypatch.setattr(recipe, "train", partial(train, stack=False))
        other = study()
    else:
        with parallel_config(backend=backend):
            other = study(n_jobs=2)
    np.testing.assert_array_equal(other["masks"], stacked["masks"])
    for name in ("scores", "proba", "rounds"):
        np.testing.assert_allclose(other[name], stacked[name], atol=1e-6, err_msg=name)
