"""Ctrl-C, SIGTERM and SIGKILL at random instants: the next call ends with the same bits."""

import hashlib
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import time
import traceback
import warnings

import numpy as np
import pytest
import torch
from skorch import NeuralNet

from sklflat import ModeConnectivityProbe, SAMClassifier, StackedSearchCV
from sklflat.storage import RunStore
from sklflat.training.engine.interrupts import deferred_interrupt, interrupt_afterwards
from sklflat.training.engine.net import PerturbedNetMixin
from sklflat.training.runs import Training, run_directory
from sklflat.training.stacking import train
from sklflat.training.stacking.stack import Stack
from tests._stacks import DIGITS, LABELS

X, y = DIGITS[:120], LABELS[:120] % 3
LONG = {"hidden_layer_sizes": (8,), "max_iter": 15, "n_iter_no_change": 40, "tol": 0.0}


class Counts(torch.nn.Module):
    """A network that cannot be stacked, as it counts in its forward pass."""

    def __init__(self, n_features, n_outputs):
        super().__init__()
        self.layer = torch.nn.Linear(n_features, n_outputs)
        self.n = 0

    def forward(self, Z):
        self.n += 1
        return self.layer(Z)


@pytest.fixture(autouse=True)
def pythons_own_handler():
    """Ctrl-C as Python handles it; a shell has its background jobs ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def models(n, **more):
    return [SAMClassifier(**{**LONG, **more}, random_state=k) for k in range(n)]


def trained(cache_dir, made, **settings):
    work = [Training(e, X, y) for e in made]
    list(train(work, cache_dir=cache_dir, **settings))
    for training in work:
        if training.error is not None:
            raise training.error
    return [e.predict_proba(X) for e in made]


def searched(cache_dir):
    search = StackedSearchCV(models(1)[0], {"rho": [0.0, 0.1]}, cv=2, cache_dir=cache_dir)
    search.fit(X, y)
    return [search.cv_results_["mean_test_score"], search.best_estimator_.predict_proba(X)]


def probed(cache_dir):
    settings = {
        "n_null": 10,
        "n_points": 3,
        "n_units": 2,
        "random_state": 0,
        "cache_dir": cache_dir,
    }
    probe = ModeConnectivityProbe(models(1, max_iter=15)[0], **settings).fit(X, y)
    return [probe.unit_scores_, probe.p_values_]


SCENARIOS = {
    "stackable": lambda place: trained(place, models(3)),
    "not stackable": lambda place: trained(place, models(2, net=Counts, hidden_layer_sizes=(100,))),
    "stack=False": lambda place: trained(place, models(2), stack=False),
    "early stopping": lambda place: trained(
        place, models(3, early_stopping=True, n_iter_no_change=5)
    ),
    "search": searched,
    "probe": probed,
    "n_jobs=2": lambda place: trained(place, models(4), n_jobs=2),
}


def digest(results):
    return hashlib.blake2b(b"".join(np.ascontiguousarray(r).tobytes() for r in results)).hexdigest()


def begin(scenario, place, report):
    """Run a scenario in a process of its own, which writes down what came of it."""
    child = os.fork()
    if child:
        return child
    try:
        os.setpgid(0, 0)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        warnings.simplefilter("ignore")
        run_directory.EVERY = 0.0
        report.write_text(digest(SCENARIOS[scenario](place)))
        os._exit(0)
    except KeyboardInterrupt:
        os._exit(130)
    except BaseException:
        traceback.print_exc()
    os._exit(1)


def alive(group):
    """Whether a process of a group is left."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def ends(group):
    """Whether a group of processes ends soon after its first one.

    It takes two seconds. A worker that is only just starting imports joblib first, which takes
    several times as long where other tests hold the processors.
    """
    end = time.monotonic() + 15
    while alive(group) and time.monotonic() < end:
        time.sleep(0.05)
    return not alive(group)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.filterwarnings("ignore")
def test_a_run_that_is_interrupted_at_any_instant_ends_with_the_same_bits(
    tmp_path, draws, scenario, number
):
    draw, place, report = random.Random(scenario), tmp_path / "cache", tmp_path / "report"
    start = time.perf_counter()
    child = begin(scenario, tmp_path / "reference", report)
    assert os.waitpid(child, 0)[1] == 0
    longest, expected = time.perf_counter() - start, report.read_text()
    n_left, endings = draws(3 if scenario == "n_jobs=2" else 5, 30), 0
    while n_left or not endings:
        report.unlink(missing_ok=True)
        child = begin(scenario, place, report)
        if n_left:
            n_left -= 1
            time.sleep(draw.uniform(0, longest))
            os.kill(child, number)
        status = os.waitpid(child, 0)[1]
        if report.exists() and report.read_text():
            assert report.read_text() == expected
            endings += 1
            shutil.rmtree(place, ignore_errors=True)  # and once more from the beginning
        else:
            code = os.waitstatus_to_exitcode(status)
            assert code in (130, -number), f"it ended by {code}"
        assert ends(child), "a process is left"


# --- what is kept -----------------------------------------------------------------------------


def interrupted_in(monkeypatch, cls, method, at):
    """Raise a KeyboardInterrupt in the middle of a call, once."""
    original, left = getattr(cls, method), [at]

    def raises(self, *args, **kwargs):
        found = original(self, *args, **kwargs)
        left[0] -= 1
        if left[0] == 0:
            raise KeyboardInterrupt
        return found

    monkeypatch.setattr(cls, method, raises)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.filterwarnings("ignore:Training interrupted")
@pytest.mark.parametrize("method", ["run_single_epoch", "notify"])
@pytest.mark.parametrize("at", [2, 4, 9])
def test_half_a_training_is_never_kept_as_a_whole_one(tmp_path, monkeypatch, method, at):
    expected = trained(None, models(2, max_iter=6), stack=False)
    with monkeypatch.context() as patch:
        owner = PerturbedNetMixin if method == "run_single_epoch" else NeuralNet
        interrupted_in(patch, owner, method, at)
        if method == "run_single_epoch":
            with pytest.raises(KeyboardInterrupt):
                trained(tmp_path, models(2, max_iter=6), stack=False)
        else:  # by a callback: that training has ended early, and is not kept
            trained(tmp_path, models(2, max_iter=6), stack=False)
    n_kept = len(list(RunStore(tmp_path).keys()))
    assert n_kept == (at > 6 if method == "run_single_epoch" else 1)
    again = trained(tmp_path, models(2, max_iter=6), stack=False)
    np.testing.assert_array_equal(again, expected)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_fit_alone_returns_early_with_a_warning(monkeypatch):
    interrupted_in(monkeypatch, PerturbedNetMixin, "run_single_epoch", 3)
    with pytest.warns(UserWarning, match="interrupted by user"):
        clf = models(1)[0].fit(X, y)
    assert clf.n_iter_ == 2
    assert not Training(clf, X, y).is_kept


def test_what_is_trained_alone_is_kept_under_way(tmp_path, monkeypatch):
    monkeypatch.setattr(run_directory, "EVERY", 0.0)
    expected = trained(None, models(1, max_iter=8), stack=False)
    epochs, original = [], PerturbedNetMixin.run_single_epoch

    def counted(self, *args, **kwargs):
        epochs.append(1)
        if len(epochs) == 5:
            raise KeyboardInterrupt
        return original(self, *args, **kwargs)

    monkeypatch.setattr(PerturbedNetMixin, "run_single_epoch", counted)
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path, models(1, max_iter=8), stack=False)
    np.testing.assert_array_equal(trained(tmp_path, models(1, max_iter=8), stack=False), expected)
    assert len(epochs) == 5 + 4  # four epochs were kept
    assert list(RunStore(tmp_path / "running").keys()) == []


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("stack", [False, True])
def test_an_interrupt_in_the_last_epoch_stops_the_run(tmp_path, monkeypatch, stack):
    owner = Stack if stack else PerturbedNetMixin
    method = "run_epoch" if stack else "run_single_epoch"
    original, epochs = getattr(owner, method), []

    def pressed(self, *args, **kwargs):
        epochs.append(1)
        if len(epochs) == 6:  # the last of the first training, or of all
            os.kill(os.getpid(), signal.SIGINT)
        return original(self, *args, **kwargs)

    monkeypatch.setattr(owner, method, pressed)
    monkeypatch.setattr(run_directory, "EVERY", 0.0)
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path, models(2, max_iter=6), stack=stack)
    assert len(epochs) == 6
    assert len(list(RunStore(tmp_path).keys())) == (2 if stack else 1)  # what ended is kept
    assert list(RunStore(tmp_path / "running").keys()) == []


def test_a_refit_is_kept(tmp_path, monkeypatch):
    first = searched(tmp_path)
    monkeypatch.setattr(PerturbedNetMixin, "run_single_epoch", None)  # nothing is trained
    second = searched(tmp_path)
    np.testing.assert_array_equal(first[1], second[1])


def test_a_shared_generator_of_random_numbers_gives_each_its_own(tmp_path):
    def shared():
        rng = np.random.RandomState(0)
        return [SAMClassifier((4,), max_iter=3, random_state=rng) for _ in range(3)]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = [trained(place, shared()) for place in (None, tmp_path, tmp_path)]
        alone = trained(None, shared(), stack=False)
    for again in found[1:]:
        np.testing.assert_array_equal(again, found[0])
    np.testing.assert_allclose(alone, found[0], atol=1e-8)
    assert not np.array_equal(found[0][0], found[0][1])


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.filterwarnings("ignore:Training interrupted")
@pytest.mark.parametrize("hook", ["on_epoch_begin", "on_epoch_end"])
@pytest.mark.parametrize("stack", [False, "auto"])
def test_an_interrupt_while_callbacks_run_is_not_taken_for_theirs(
    tmp_path, monkeypatch, hook, stack
):
    """Callbacks stop a training by the same exception, and what they stop has ended and is kept."""
    expected = trained(None, models(2, max_iter=6), stack=stack)
    original, left = NeuralNet.notify, [1]

    def notify(self, method, **kwargs):
        if method == hook and left:
            left.clear()
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.01)
        return original(self, method, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(NeuralNet, "notify", notify)
        with pytest.raises(KeyboardInterrupt):
            trained(tmp_path, models(2, max_iter=6), stack=stack)
    assert list(RunStore(tmp_path).keys()) == []
    again = trained(tmp_path, models(2, max_iter=6), stack=stack)
    np.testing.assert_array_equal(again, expected)


def _press_and_wait():
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(1)


def test_the_first_interrupt_waits_and_the_second_does_not():
    with deferred_interrupt() as interrupt:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.01)
        assert interrupt.is_pending
        with pytest.raises(KeyboardInterrupt):
            _press_and_wait()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize("n_presses", [1, 2])
def test_in_a_long_epoch_an_interrupt_waits_for_callbacks_once(monkeypatch, n_presses):
    monkeypatch.setattr("sklflat.training.engine.interrupts._PATIENCE", -1.0)
    done = []

    def press_in_callbacks():
        with interrupt_afterwards():
            for k in range(n_presses):
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(0.01)
                done.append(k)

    with deferred_interrupt(), pytest.raises(KeyboardInterrupt):
        press_in_callbacks()
    assert done == [0]


@pytest.mark.slow
def test_workers_end_with_their_parent(tmp_path):
    script = """
    import os, sys
    import numpy as np
    from sklflat import SAMClassifier
    from sklflat.training.runs import Training
    from sklflat.training.stacking import train

    X, y = np.random.RandomState(0).normal(size=(2000, 20)), np.arange(2000) % 2
    made = [SAMClassifier((64,), max_iter=10**5, tol=-1e9, random_state=k) for k in range(4)]
    print("begun", flush=True)
    list(train([Training(e, X, y) for e in made], n_jobs=2, cache_dir=sys.argv[1]))
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(tmp_path)]
    parent = subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True)
    parent.stdout.readline()
    time.sleep(15)  # both workers train
    parent.kill()
    parent.wait()
    left = not ends(parent.pid)
    if left:
        os.killpg(parent.pid, signal.SIGKILL)
    assert not left


def test_a_worker_whose_parent_has_ended_before_it_began_ends_too():
    gone = subprocess.Popen([sys.executable, "-c", ""])
    zombie = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    os.waitid(os.P_PID, zombie.pid, os.WEXITED | os.WNOWAIT)  # it stays until it is waited for
    code = "import sys; from sklflat._workers import _end_with_parent as end; "
    code += "end(int(sys.argv[1]), sys.argv[2])"
    host = socket.gethostname()
    found = [
        subprocess.call([sys.executable, "-c", code, str(owner), at])
        for owner, at in [(gone.pid, host), (zombie.pid, host), (gone.pid, "other"), (1, host)]
    ]
    zombie.wait()
    assert found == [1, 1, 0, 0]
