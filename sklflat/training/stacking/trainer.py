"""Many trainings at once: as one stacked training where the networks allow it."""

import copy
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from joblib import effective_n_jobs
from skorch import NeuralNet
from torch.utils.data import Dataset
from tqdm import tqdm

from sklflat.exceptions import (
    CheckpointError,
    DamagedFileWarning,
    DivergenceError,
    UnsupportedNetworkError,
)
from sklflat.training.engine.epochs import Epoch, Fitting
from sklflat.training.estimators.base import PerturbedEstimator
from sklflat.training.runs.dispatch import dispatch
from sklflat.training.runs.run_directory import Checkpoint, Runs
from sklflat.training.runs.training import Training
from sklflat.training.stacking.data import SharedData
from sklflat.training.stacking.stack import CannotStackError, EpochSum, Stack
from sklflat.training.stacking.stackable import replicas_at_once, stack_key, why_not_stacked

#: share of the rows below which a stack is rebuilt without those that have ended
_LIVE = 0.7


@dataclass
class _Running:
    """A training under way, and the epoch that it waits for."""

    i: int
    training: Training
    fitting: Fitting
    request: Epoch
    random_state: Any
    key: Any = None
    watched: bool = False

    @property
    def net(self) -> Any:
        return self.request.net

    @property
    def place(self) -> tuple[int, Training, Any]:
        """What a checkpoint is made of."""
        return self.i, self.training, self.request.batches.order

    def advance(self, sums: EpochSum | None) -> bool:
        """Go on to the next epoch; whether there is one. None runs the epoch alone."""
        try:
            try:
                if sums is None:
                    self.request.run()
                else:
                    self.net.fast_path_ = "stacked"
                    self.net.record_epoch(sums.loss, sums.n_samples, sums.n_batches, sums.n_skipped)
            except DivergenceError as error:
                self.request = self.fitting.throw(error)
            else:
                self.request = next(self.fitting)
        except StopIteration:
            return False
        except Exception as error:
            self.training.error = error
            return False
        return True

    def start_again(self) -> None:
        """Forget all that was done."""
        self.fitting.close()
        self.training.estimator.random_state = self.random_state


def train(
    trainings: Sequence[Training],
    *,
    stack: bool | str = True,
    n_jobs: int | None = None,
    max_replicas: int | None = None,
    cache_dir: Any = None,
    verbose: int = 0,
) -> Iterator[int]:
    """Train estimators, and yield the position of each when it has ended.

    Estimators whose networks differ in numbers only (seed, data, ``rho``, learning rate, ...)
    are trained as one stack, each as it would be trained alone; the others by joblib.

    Parameters
    ----------
    trainings : sequence of Training
    stack : bool or "force", default=True
        False trains each alone; with ``"force"`` a training that cannot be stacked raises.
    n_jobs : int, default=None
        Of joblib. Several workers get a part of the trainings each, and stack it.
    max_replicas : int, default=None
        How many are stacked at most; None chooses by memory.
    cache_dir : path, default=None
        A directory that keeps ended trainings, and those under way every two seconds. What it
        holds is not trained again; what was cut off goes on, to the same bits. Trainings with
        callbacks or without a ``random_state`` are not kept.
    verbose : int, default=0
        1 shows a progress bar, 2 also says why a training is not stacked.

    Yields
    ------
    i : int

    Raises
    ------
    UnsupportedNetworkError
        With ``stack="force"``; says what cannot be stacked and why.
    """
    with tqdm(total=len(trainings), unit="fit", disable=not verbose, delay=1.0) as bar:
        for i in _finished(trainings, stack, n_jobs, max_replicas, cache_dir, verbose):
            bar.update()
            yield i


def _finished(
    trainings: Sequence[Training],
    stack: bool | str,
    n_jobs: int | None,
    max_replicas: int | None,
    cache_dir: Any,
    verbose: int,
) -> Iterator[int]:
    n_workers = effective_n_jobs(n_jobs)
    if stack and n_workers > 1 and len(trainings) >= 2 * n_workers:
        # neighbours are alike, as in a grid, and half a stack on one core beats all on two
        units = [part.tolist() for part in np.array_split(range(len(trainings)), n_workers)]
        settings = {"stack": stack, "max_replicas": max_replicas, "cache_dir": cache_dir}
        work = partial(_train_here, verbose=max(verbose - 1, 0), **settings)
        yield from dispatch(trainings, units, n_jobs, work)
        return
    runs = Runs(cache_dir, trainings)
    together = _Together(trainings, stack, max_replicas, verbose, runs)
    yield from together.run()
    for i in dispatch(trainings, [[i] for i in sorted(together.alone)], n_jobs):
        runs.keep(i, trainings[i])
        yield i


def _train_here(unit: Sequence[Training], **settings: Any) -> None:
    """Train a unit in this process, as one stack where that is possible."""
    for _ in train(unit, n_jobs=1, **settings):
        pass


class _Together:
    """Puts trainings into stacks and runs these; what is left is ``alone``."""

    def __init__(
        self,
        trainings: Sequence[Training],
        stack: bool | str,
        max_replicas: int | None,
        verbose: int,
        runs: Runs,
    ) -> None:
        self.runs = runs
        self.trainings = trainings
        self.stack = stack
        self.max_replicas = max_replicas
        self.verbose = verbose
        self.alone: list[int] = []
        self.shared = SharedData()

    def run(self) -> Iterator[int]:
        waiting: dict[Any, list[_Running]] = {}
        resumed: set[int] = set()
        for name, places in self.runs.stacks():
            if self.stack and not resumed & set(places):
                resumed |= set(places)
                yield from self._resume(name, places)
        for i, training in enumerate(self.trainings):
            if i in resumed:
                continue
            result = self.runs.result(i)
            reason = "stack=False" if not self.stack else _why_not_started(training)
            if reason is not None and result is None:
                self._leave(i, reason)
                continue
            running = self._start(i, training, result)
            if result is not None and running is None and training.error is None:
                training.why_alone = "it was kept"
            if running is None:
                if i not in self.alone:
                    yield i
                continue
            group = waiting.setdefault(running.key, [])
            group.append(running)
            if len(group) >= self._limit(running):
                yield from self._run_group(waiting.pop(running.key))
        for group in waiting.values():
            yield from self._run_group(group)

    def _resume(self, name: str, places: dict[int, Checkpoint]) -> Iterator[int]:
        """Go on with a stack that was cut off."""
        group = []
        for i, place in places.items():
            running = self._start(i, self.trainings[i], place)
            if running is not None:
                group.append(running)
            elif i not in self.alone:
                self.runs.keep(i, self.trainings[i])
                yield i
        if group:
            yield from self._run_group(group, name)

    def _limit(self, running: _Running) -> int:
        if self.max_replicas is not None:
            return self.max_replicas
        return replicas_at_once(running.net, running.request.batches.batch_size)

    def _leave(self, i: int, reason: str) -> None:
        if self.stack == "force":
            raise UnsupportedNetworkError(
                f"stack='force', but training {i} cannot be stacked: {reason}. Use stack=True to "
                "train it alone."
            )
        if self.verbose > 1:
            print(f"Training {i} is not stacked: {reason}")
        self.trainings[i].why_alone = reason
        self.alone.append(i)

    def _start(
        self, i: int, training: Training, place: Checkpoint | None = None
    ) -> _Running | None:
        """Begin a training, or go on; None if it has ended or is to be trained alone."""
        random_state = copy.deepcopy(training.estimator.random_state)
        try:
            fitting = training.fitting(lambda net: place)
            request = next(fitting)
        except StopIteration:
            return None
        except CheckpointError as error:
            training.estimator.random_state = random_state
            message = f"{error} It is trained anew."
            warnings.warn(message, DamagedFileWarning, stacklevel=2)
            return self._start(i, training)
        except Exception as error:
            training.error = error
            return None
        running = _Running(i, training, fitting, request, random_state)
        reason = why_not_stacked(request.net)
        if reason is not None:
            running.start_again()
            self._leave(i, reason)
            return None
        loader = request.batches
        loader.share(self.shared.one_of)
        running.key = stack_key(request.net), loader.batch_size
        running.watched = bool(training.estimator.callbacks)
        return running

    def _run_group(self, group: list[_Running], name: str | None = None) -> Iterator[int]:
        if name is None:
            group = _in_order(group)
        if len(group) == 1 and name is None:
            yield self._finish_alone(group[0], "there is no other like it")
            return
        stack = Stack([r.net for r in group])
        try:
            stack.check([r.request.batches for r in group])
        except CannotStackError as refusal:
            stack.release_all()
            for r in group:
                r.start_again()
                self._leave(r.i, str(refusal))
            return
        live = dict(enumerate(group))
        try:
            yield from self._epochs(stack, live, name)
        except BaseException:
            for r in live.values():
                r.fitting.close()
            raise
        finally:
            stack.release_all()

    def _epochs(self, stack: Stack, live: dict[int, _Running], name: str | None) -> Iterator[int]:
        while live:
            if self.runs.is_due:
                stack.push_states()
                name = self.runs.keep_stack([r.place for r in live.values()], name)
            start = time.perf_counter()
            sums = stack.run_epoch({row: r.request.batches for row, r in live.items()})
            share = (time.perf_counter() - start) / len(live)
            for row, r in list(live.items()):
                r.training.seconds += share
                if not r.advance(sums[row]):
                    stack.release(row)
                    del live[row]
                    self.runs.keep(r.i, r.training)
                    yield r.i
                elif r.watched and stack_key(r.net) != r.key[0]:
                    stack.release(row)
                    del live[row]
                    yield self._finish_alone(r, "a callback changed the network")
            if live and len(live) < _LIVE * len(stack.nets):
                stack.release_all()
                rest = list(live.values())
                live.clear()
                live.update(enumerate(rest))
                stack = Stack([r.net for r in rest])
        self.runs.forget_stack(name)

    def _finish_alone(self, running: _Running, reason: str | None) -> int:
        start = time.perf_counter()
        while running.advance(None):
            pass
        running.training.seconds += time.perf_counter() - start
        running.training.why_alone = reason
        self.runs.keep(running.i, running.training)
        return running.i


def _in_order(group: list[_Running]) -> list[_Running]:
    """Neighbours with equal options take their optimiser's step, and get their data, at once."""
    seen: dict[int, int] = {}
    data = [seen.setdefault(id(r.request.batches.data[-1]), len(seen)) for r in group]
    kinds = [(repr(r.net.optimizer_.defaults), k) for r, k in zip(group, data, strict=True)]
    return [group[k] for k in sorted(range(len(group)), key=kinds.__getitem__)]


def _why_not_started(training: Training) -> str | None:
    """Why a training has no epochs of its own to be stacked."""
    estimator = training.estimator
    if not isinstance(estimator, PerturbedEstimator):
        return f"{type(estimator).__name__} is not trained by this package"
    if isinstance(estimator.net, NeuralNet):
        return "a skorch net runs its own epochs"
    if isinstance(training.X, Dataset):
        return "a torch Dataset is read by its own loader"
    if estimator.warm_start and hasattr(estimator, "net_"):
        return "warm_start goes on from an earlier fit"
    return None
