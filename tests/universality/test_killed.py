"""A fit that is killed goes on from what it has kept of its trainings, to the same bits."""

import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits

FIT = """
from sklearn.datasets import load_digits
from sklflat import SAMClassifier, UniversalityProbe

X, y = load_digits(return_X_y=True)
network = SAMClassifier((12,), rho=0, max_iter=120, n_iter_no_change=120, random_state=0)
options = {"n_models": 3, "n_untrained": 12, "n_null": 64, "n_units": 1, "random_state": 0}
probe = UniversalityProbe(network, cache_dir=RUNS, **options)
"""


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_killed_fit_goes_on(tmp_path):
    runs = tmp_path / "runs"
    source = FIT.replace("RUNS", repr(str(runs))) + "probe.fit(X, y)\n"
    process = subprocess.Popen([sys.executable, "-c", source])
    while not any(p.is_file() for p in runs.rglob("*")) and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "it ended before it could be killed"

    names: dict = {}
    exec(FIT.replace("RUNS", repr(str(runs))), names)
    X, y = load_digits(return_X_y=True)
    resumed = names["probe"].fit(X, y)
    whole = clone(resumed).set_params(cache_dir=None).fit(X, y)
    np.testing.assert_array_equal(resumed.unit_scores_, whole.unit_scores_)
    np.testing.assert_array_equal(resumed.returns_, whole.returns_)
