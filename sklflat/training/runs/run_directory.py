"""The cache_dir of trainings: their keys, kept results and the checkpoints of those under way."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any

from skorch import NeuralNet

from sklflat.exceptions import warn
from sklflat.storage import RunStore, fingerprint
from sklflat.storage.outside import UnkeyableError
from sklflat.training.engine.loader import SampleOrder
from sklflat.training.estimators.base import PerturbedEstimator
from sklflat.training.runs.checkpoint import Checkpoint, with_prefix
from sklflat.training.runs.settings import settings
from sklflat.training.runs.side_effects import SideEffects
from sklflat.training.runs.training import Training

#: of what a key stands for; raised when equal parameters come to mean another training
SCHEMA = 1
#: seconds between checkpoints of trainings under way
EVERY = 2.0
#: stands for torch's settings, which are looked at once for all keys
_SETTINGS = object()
#: parameters that do not change what is trained
_NOT_IN_KEY = {"verbose"}


class RunDirectory:
    """Results and checkpoints of trainings in a directory.

    Ended trainings have a file each. A stack under way has one file with the checkpoints of all
    its members, so that after a crash the same stack goes on, to the same bits.

    Parameters
    ----------
    cache_dir : path or None
        None keeps nothing.
    trainings : sequence of Training
    """

    def __init__(self, cache_dir: Any, trainings: Sequence[Training]) -> None:
        self.keys: dict[int, str] = {}
        if cache_dir is None:
            return
        self.ended = RunStore(cache_dir)
        self.running = RunStore(self.ended.directory / "running")
        known: dict[int, str] = {}
        for i, training in enumerate(trainings):
            if training.key is None:  # a worker is given it
                training.key = _key(training, known) or ""
            if training.key:
                self.keys[i] = training.key
                training.side_effects = SideEffects(training.estimator.net, known)
        self._saved = time.monotonic()

    def result(self, i: int) -> Checkpoint | None:
        """How a training ended, if that is known."""
        key = self.keys.get(i)
        found = None if key is None else self.ended.get(key)
        return None if found is None else Checkpoint(*found)

    def save_result(self, i: int, training: Training) -> None:
        """Save how a training ended, if it ended as it was asked to."""
        if training.is_kept and self._can_keep(i, training, {}):
            ended = training.checkpoint()
            self.ended.put(self.keys[i], ended.arrays, ended.info)

    def _can_keep(self, i: int, training: Training, known: dict[int, str]) -> bool:
        """Whether a training has a key, and has changed nothing but weights."""
        effects, estimator = training.side_effects, training.estimator
        if i not in self.keys or effects is None:
            return False
        changed = effects.changed(estimator.net, estimator.module_, known)
        if changed is not None:
            warn(f"A training is not kept in cache_dir: it changes {changed}, which is no weight.")
            del self.keys[i]
        return changed is None

    def checkpoint_alone(self, i: int) -> Checkpoint | None:
        """The checkpoint of a training that was cut off while it was trained alone."""
        name = self.name_alone(i)
        return None if name is None else dict(self._members(name)).get(self.keys[i])

    def name_alone(self, i: int) -> str | None:
        """The name of the checkpoint of a training alone, which no stack has; None without key."""
        return fingerprint(["alone", self.keys[i]]) if i in self.keys else None

    def _members(self, name: str) -> Iterator[tuple[str, Checkpoint]]:
        """Keys and checkpoints of a stack; none if it is not there or is not one."""
        kept = self.running.get(name)
        if kept is None:
            return
        arrays, info = kept
        with suppress(KeyError, TypeError, IndexError):
            for row, key in enumerate(info["members"]):
                yield key, Checkpoint(with_prefix(arrays, str(row)), info["infos"][row])

    def unfinished_stacks(self) -> Iterator[tuple[str, dict[int, Checkpoint]]]:
        """Stacks that were cut off: a name, and a checkpoint for each member under way.

        Only those all of whose members are wanted now.
        """
        if not self.keys:
            return
        positions = {key: i for i, key in self.keys.items()}
        for name in list(self.running.keys()):
            found = list(self._members(name))
            if found and all(key in positions for key, _ in found):
                yield name, {positions[key]: checkpoint for key, checkpoint in found}

    @property
    def is_save_due(self) -> bool:
        """Whether it is time to save the checkpoints of a stack."""
        return bool(self.keys) and time.monotonic() - self._saved >= EVERY

    def save_stack(
        self, members: Sequence[tuple[int, Training, SampleOrder | None]], name: str | None
    ) -> str | None:
        """Save the checkpoints of a stack; returns its name once it has one."""
        known: dict[int, str] = {}
        if not all(self._can_keep(i, training, known) for i, training, _ in members):
            return name
        checkpoints = [training.checkpoint(order) for _, training, order in members]
        arrays = {f"{row}/{n}": a for row, c in enumerate(checkpoints) for n, a in c.arrays.items()}
        keys = [self.keys[i] for i, *_ in members]
        name = name or fingerprint(keys)
        self.running.put(name, arrays, {"members": keys, "infos": [c.info for c in checkpoints]})
        self._saved = time.monotonic()
        return name

    def delete_stack(self, name: str | None) -> None:
        """Delete the checkpoints of a stack."""
        if name is not None:
            self.running.delete(name)


def _key(training: Training, known: dict[int, str]) -> str | None:
    """The name of a training; None if it cannot be repeated, so that there is none."""
    estimator = training.estimator
    if not isinstance(estimator, PerturbedEstimator) or isinstance(estimator.net, NeuralNet):
        return None
    parameters = {k: v for k, v in estimator.get_params(deep=False).items() if k not in _NOT_IN_KEY}
    if parameters.get("random_state") is None or parameters.get("callbacks"):
        return None
    if parameters.get("warm_start") and hasattr(estimator, "net_"):
        return None

    def once(value: Any, of: Callable[[Any], Any] = lambda value: value) -> str:
        if id(value) not in known:
            known[id(value)] = fingerprint(of(value))
        return known[id(value)]

    try:
        return fingerprint(
            {
                "schema": SCHEMA,
                "settings": once(_SETTINGS, lambda _: settings()),
                type(estimator).__name__: type(estimator),
                "parameters": parameters,
                "data": [once(training.X), once(training.y)],
                "fit_params": training.fit_params,
                "mask": training.mask,
                "initial": training.initial,
                "snapshots_at": training.snapshots_at,
                **(training.start.as_key() if training.start else {}),
                **({"states_at": training.states_at} if training.states_at else {}),
            }
        )
    except UnkeyableError as error:
        warn(f"A training is not kept in cache_dir: {error}")
        return None
