"""Many trainings at once: as one stacked training where the networks allow it."""

import copy
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from joblib import effective_n_jobs
from sklearn.pipeline import Pipeline
from skorch import NeuralNet
from torch.utils.data import Dataset
from tqdm import tqdm

from sklflat.exceptions import (
    DivergenceError,
    UnsupportedNetworkError,
)
from sklflat.training.engine.epochs import Epoch, Fitting
from sklflat.training.engine.interrupts import deferred_interrupt
from sklflat.training.engine.loader import EpochSum
from sklflat.training.estimators.base import PerturbedEstimator
from sklflat.training.runs.alone import finish, train_alone
from sklflat.training.runs.checkpoint import Checkpoint
from sklflat.training.runs.dispatch import dispatch
from sklflat.training.runs.run_directory import RunDirectory
from sklflat.training.runs.training import Training
from sklflat.training.stacking.data import SharedData
from sklflat.training.stacking.stack import CannotStackError, Stack
from sklflat.training.stacking.stackable import (
    replicas_at_once,
    stack_key,
    why_not_faster,
    why_not_stacked,
)

#: share of the replicas below which a stack is rebuilt without those that have ended
_LIVE = 0.7


@dataclass
class _StartedTraining:
    """A training under way, and the epoch that it waits for."""

    i: int
    training: Training
    fitting: Fitting
    request: Epoch
    random_state: Any
    key: Any = None
    has_callbacks: bool = False

    @property
    def net(self) -> Any:
        return self.request.net

    @property
    def member(self) -> tuple[int, Training, Any]:
        """What the checkpoint of a stack needs to know of it."""
        return self.i, self.training, self.request.batches.order

    def advance(self, sums: EpochSum) -> bool:
        """Go on after an epoch of the stack to the next; whether there is one."""
        try:
            try:
                self.net.fast_path_ = "stacked"
                self.net.record_epoch(sums.loss, sums.n_samples, sums.n_batches, sums.n_skipped)
            except DivergenceError as error:
                self.request = self.fitting.throw(error)
            else:
                self.request = next(self.fitting)
        except StopIteration:
            self.training.check_interrupted()
            return False
        except Exception as error:
            self.training.error = error
            return False
        return True

    def reset(self) -> None:
        """Undo the start, so that the training can be run alone."""
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
    are trained as one stack, identical to training alone up to rounding; the others by joblib.

    Parameters
    ----------
    trainings : sequence of Training
    stack : bool or "force", default=True
        False trains each alone; with ``"force"`` a training that cannot be stacked raises. Large
        networks are trained alone on a CPU, where a stack of them is not faster, unless it is
        ``"force"`` or ``max_replicas`` is given.
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
        for i in _train_all(trainings, stack, n_jobs, max_replicas, cache_dir, verbose):
            bar.update()
            yield i


def _train_all(
    trainings: Sequence[Training],
    stack: bool | str,
    n_jobs: int | None,
    max_replicas: int | None,
    cache_dir: Any,
    verbose: int,
) -> Iterator[int]:
    _draw_seeds(trainings)
    directory = RunDirectory(cache_dir, trainings)
    n_workers = effective_n_jobs(n_jobs)
    if stack and n_workers > 1 and len(trainings) >= 2 * n_workers:
        # neighbours are alike, as in a grid, and half a stack on one core beats all on two
        units = [part.tolist() for part in np.array_split(range(len(trainings)), n_workers)]
        settings = {"stack": stack, "max_replicas": max_replicas, "cache_dir": cache_dir}
        work = partial(_train_here, verbose=max(verbose - 1, 0), **settings)
        yield from dispatch(trainings, units, n_jobs, work)
        return
    stacked = _StackTrainer(trainings, stack, max_replicas, verbose, directory, n_workers)
    yield from stacked.run()
    alone = [[i] for i in sorted(stacked.alone)]
    yield from dispatch(trainings, alone, n_jobs, partial(train_alone, cache_dir=cache_dir))


def _draw_seeds(trainings: Sequence[Training]) -> None:
    """Give trainings that share a generator of random numbers a seed of it each, in order.

    What they draw would otherwise depend on which of them is trained when.
    """
    states = [
        training.estimator.get_params(deep=False).get("random_state") for training in trainings
    ]
    shared = Counter(id(state) for state in states if isinstance(state, np.random.RandomState))
    for training, state in zip(trainings, states, strict=True):
        if shared[id(state)] > 1:
            training.estimator.set_params(random_state=int(state.randint(np.iinfo(np.int32).max)))


def _train_here(unit: Sequence[Training], **settings: Any) -> None:
    """Train a unit in this process, as one stack where that is possible."""
    for _ in train(unit, n_jobs=1, **settings):
        pass


@dataclass
class _StackTrainer:
    """Trains what can be stacked, group by group; the positions of all others are in ``alone``."""

    trainings: Sequence[Training]
    stack: bool | str
    max_replicas: int | None
    verbose: int
    directory: RunDirectory
    n_workers: int = 1
    alone: list[int] = field(default_factory=list)
    shared: SharedData = field(default_factory=SharedData)

    def run(self) -> Iterator[int]:
        """Resume the stacks that were cut off; plan the others and train them in groups."""
        resumed: set[int] = set()
        for name, checkpoints in self.directory.unfinished_stacks():
            if self.stack and not resumed & set(checkpoints):
                resumed |= set(checkpoints)
                yield from self._resume_stack(name, checkpoints)
        groups: dict[Any, list[_StartedTraining]] = {}
        for i in range(len(self.trainings)):
            if i in resumed:
                continue
            started = self._plan(i)
            reason = self._why_not_faster(started)
            if started is not None and reason is not None:
                yield from self._train_large(started, reason)
            elif started is not None:
                group = groups.setdefault(started.key, [])
                group.append(started)
                if len(group) >= self._limit(started):
                    yield from self._train_group(groups.pop(started.key))
            elif i not in self.alone:
                yield i
        for group in groups.values():
            yield from self._train_group(group)

    def _plan(self, i: int) -> _StartedTraining | None:
        """Start a training that can be stacked; None if it has ended or is to be trained alone."""
        training, result = self.trainings[i], self.directory.result(i)
        reason = _why_not_started(training) if self.stack else "stack=False"
        if reason is not None and result is None:
            self._leave_alone(i, reason)
            return None
        started = self._start(i, training, result)
        if result is not None and started is None and training.error is None:
            training.why_alone = "it was kept"
        return started

    def _train_large(self, started: _StartedTraining, reason: str) -> Iterator[int]:
        """Train alone what would not be faster in a stack: here, or by a worker if there are."""
        if self.n_workers == 1:
            self._say(started.i, reason)
            yield self._finish_alone(started, reason)
        else:
            started.reset()
            self._leave_alone(started.i, reason)

    def _resume_stack(self, name: str, checkpoints: dict[int, Checkpoint]) -> Iterator[int]:
        """Go on with a stack that was cut off."""
        group = []
        for i, checkpoint in checkpoints.items():
            started = self._start(i, self.trainings[i], checkpoint)
            if started is not None:
                group.append(started)
            elif i not in self.alone:
                self.directory.save_result(i, self.trainings[i])
                yield i
        if group:
            yield from self._train_group(group, name)

    def _why_not_faster(self, started: _StartedTraining | None) -> str | None:
        if started is None or self.stack == "force" or self.max_replicas is not None:
            return None
        return why_not_faster(started.net)

    def _limit(self, started: _StartedTraining) -> int:
        if self.max_replicas is not None:
            return self.max_replicas
        return replicas_at_once(started.net, started.request.batches.batch_size)

    def _leave_alone(self, i: int, reason: str) -> None:
        if self.stack == "force":
            raise UnsupportedNetworkError(
                f"stack='force', but training {i} cannot be stacked: {reason}. Use stack=True to "
                "train it alone."
            )
        self._say(i, reason)
        self.trainings[i].why_alone = reason
        self.alone.append(i)

    def _say(self, i: int, reason: str) -> None:
        if self.verbose > 1:
            print(f"Training {i} is not stacked: {reason}")

    def _start(
        self, i: int, training: Training, checkpoint: Checkpoint | None = None
    ) -> _StartedTraining | None:
        """Begin or resume a training; None if it has ended or is to be trained alone."""
        random_state = copy.deepcopy(training.estimator.random_state)
        try:
            fitting, request = training.begin(checkpoint)
        except Exception as error:
            training.error = error
            return None
        if request is None:
            training.check_interrupted()
            return None
        started = _StartedTraining(i, training, fitting, request, random_state)
        reason = why_not_stacked(request.net)
        if reason is not None:
            started.reset()
            self._leave_alone(i, reason)
            return None
        loader = request.batches
        loader.share(self.shared.one_of)
        started.key = stack_key(request.net), loader.batch_size, loader.row_format()
        started.has_callbacks = bool(training.estimator.callbacks)
        return started

    def _train_group(self, group: list[_StartedTraining], name: str | None = None) -> Iterator[int]:
        if name is None:
            group = _in_order(group)
        if len(group) == 1 and name in (None, self.directory.name_alone(group[0].i)):
            reason = self._why_not_faster(group[0]) or "there is no other like it"
            yield self._finish_alone(group[0], reason)
            return
        stack = Stack([r.net for r in group])
        try:
            stack.check([r.request.batches for r in group])
        except CannotStackError as refusal:
            stack.release_all()
            for r in group:
                r.reset()
                self._leave_alone(r.i, str(refusal))
            return
        live = dict(enumerate(group))
        try:
            yield from self._train_stack(stack, live, name)
        except BaseException:
            for r in live.values():
                r.fitting.close()
            raise
        finally:
            stack.release_all()

    def _train_stack(
        self, stack: Stack, live: dict[int, _StartedTraining], name: str | None
    ) -> Iterator[int]:
        while live:
            if self.directory.is_save_due:
                stack.copy_states()
                name = self.directory.save_stack([r.member for r in live.values()], name)
            with deferred_interrupt() as interrupt:
                start = time.perf_counter()
                sums = stack.run_epoch({row: r.request.batches for row, r in live.items()})
                share = (time.perf_counter() - start) / len(live)
                goes_on = {row: r.advance(sums[row]) for row, r in live.items()}
                for row, r in live.items():
                    r.training.seconds += share
                    if not goes_on[row]:
                        stack.release(row)
                        self.directory.save_result(r.i, r.training)
            if interrupt.is_pending:
                left = [r.member for row, r in live.items() if goes_on[row]]
                stack.copy_states()
                if left:
                    self.directory.save_stack(left, name)
                else:
                    self.directory.delete_stack(name)
                raise KeyboardInterrupt
            for row, r in list(live.items()):
                if not goes_on[row]:
                    del live[row]
                    yield r.i
                elif r.has_callbacks and stack_key(r.net) != r.key[0]:
                    stack.release(row)
                    del live[row]
                    yield self._finish_alone(r, "a callback changed the network")
            if live and len(live) < _LIVE * len(stack.nets):
                stack.release_all()
                rest = list(live.values())
                live.clear()
                live.update(enumerate(rest))
                stack = Stack([r.net for r in rest])
        self.directory.delete_stack(name)

    def _finish_alone(self, started: _StartedTraining, reason: str | None) -> int:
        start, training = time.perf_counter(), started.training
        training.why_alone = reason
        try:
            finish(started.i, training, started.fitting, started.request, self.directory)
        except Exception as error:
            training.error = error
        training.seconds += time.perf_counter() - start
        return started.i


def _in_order(group: list[_StartedTraining]) -> list[_StartedTraining]:
    """Neighbours with equal options take their optimiser's step, and get their data, at once."""
    seen: dict[int, int] = {}
    data = [seen.setdefault(id(r.request.batches.data[-1]), len(seen)) for r in group]
    kinds = [(repr(r.net.optimizer_.defaults), k) for r, k in zip(group, data, strict=True)]
    return [group[k] for k in sorted(range(len(group)), key=kinds.__getitem__)]


def _why_not_started(training: Training) -> str | None:
    """Why a training has no epochs of its own to be stacked."""
    estimator = training.estimator
    if isinstance(estimator, Pipeline):
        return "a pipeline with memory=, routed metadata or parameters of other steps is one piece"
    if not isinstance(estimator, PerturbedEstimator):
        return f"{type(estimator).__name__} is not trained by this package"
    if isinstance(estimator.net, NeuralNet):
        return "a skorch net runs its own epochs"
    if isinstance(training.X, Dataset):
        return "a torch Dataset is read by its own loader"
    if estimator.warm_start and hasattr(estimator, "net_"):
        return "warm_start goes on from an earlier fit"
    return None
