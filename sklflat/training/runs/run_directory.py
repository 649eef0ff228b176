"""Trainings that are kept in a directory, and go on from there after a crash."""

import time
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from skorch import NeuralNet
from skorch.history import History

from sklflat.exceptions import CheckpointError
from sklflat.storage import RunStore, fingerprint
from sklflat.training.engine.epochs import Record
from sklflat.training.engine.loader import SampleOrder, TensorLoader
from sklflat.training.estimators.base import PerturbedEstimator
from sklflat.training.runs.training import Training

#: of what a key stands for; raised when equal parameters come to mean another training
SCHEMA = 1
#: seconds between checkpoints of trainings under way
EVERY = 2.0

Arrays = dict[str, np.ndarray]
_COUNTS = ("t", "n_begun", "n_gradient_evaluations", "n_skipped_steps")
#: parameters that do not change what is trained
_SILENT = {"verbose"}


class Checkpoint:
    """Where a training is after an epoch: all that the next one depends on.

    Weights, buffers, the optimiser's memory, the perturbation's, random numbers, the order of
    the samples, and the record by which training stops.

    Parameters
    ----------
    arrays : dict of str to ndarray
    info : dict
        What JSON can hold.
    """

    def __init__(self, arrays: Arrays, info: dict[str, Any]) -> None:
        self.arrays = arrays
        self.info = info

    @classmethod
    def of(cls, estimator: Any, order: SampleOrder | None = None) -> "Checkpoint":
        """The place where an estimator's training is between two epochs."""
        net, record = estimator.net_, estimator._record
        tensors: dict[tuple[str, ...], torch.Tensor] = {
            ("module", name): t for name, t in net.module_.state_dict().items()
        }
        parameters = net.optimizer_.param_groups[0]["params"]
        for k, p in enumerate(parameters):
            for name, value in net.optimizer_.state.get(p, {}).items():
                if isinstance(value, torch.Tensor):
                    tensors["optimizer", str(k), name] = value
        tensors |= {("steps", name): t for name, t in (net.steps_.state or {}).items()}
        tensors |= {("best", name): t for name, t in (record.best_weights or {}).items()}
        for step, taken in net.snapshots_.items():
            tensors |= {("snapshot", str(step), name): t for name, t in taken.items()}
        for k, state in enumerate(net.random_stream_.get_state()):
            tensors["generator", str(k)] = state
        arrays = {"/".join(key): t.detach().cpu().numpy() for key, t in tensors.items()}
        _, keys, *rest = estimator._random_state.get_state()
        arrays["random_state"] = keys
        if order is not None:
            arrays["order"] = order.indices
        plain = {k: v for k, v in vars(record).items() if k != "best_weights"}
        steps = net.steps_
        counts = {name: getattr(steps, name) for name in _COUNTS}
        info = {
            "record": plain,
            "random_state": rest,
            "counts": counts,
            "rate": net.optimizer_.param_groups[0]["lr"],
            # the last entry may be of the epoch that is to come
            "history": [_plain(row) for row in net.history.to_list() if "train_loss" in row],
        }
        return cls({name: np.array(a) for name, a in arrays.items()}, info)

    def _part(self, kind: str) -> Arrays:
        start = kind + "/"
        named = self.arrays.items()
        return {name[len(start) :]: a for name, a in named if name.startswith(start)}

    def restore(self, estimator: Any, loader: TensorLoader) -> None:
        """Take an estimator, whose net is new, to this place.

        Raises
        ------
        CheckpointError
            If this is no place of such a training.
        """
        try:
            self._restore(estimator, loader)
        except (AttributeError, KeyError, IndexError, TypeError, ValueError, RuntimeError) as error:
            raise CheckpointError(f"A checkpoint is of another training ({error}).") from error

    def _restore(self, estimator: Any, loader: TensorLoader) -> None:
        net, info = estimator.net_, self.info
        _check_types(info)

        def tensors(kind: str) -> dict[str, torch.Tensor]:
            return {name: torch.from_numpy(a.copy()) for name, a in self._part(kind).items()}

        net.module_.load_state_dict(tensors("module"))
        parameters = net.optimizer_.param_groups[0]["params"]
        for name, value in tensors("optimizer").items():
            k, key = name.split("/")
            p = parameters[int(k)]
            net.optimizer_.state[p][key] = value if key == "step" else value.to(p.device)
        net.optimizer_.param_groups[0]["lr"] = info["rate"]
        steps = net.steps_
        steps.state = tensors("steps") or None
        vars(steps).update({name: info["counts"][name] for name in _COUNTS})
        states = tensors("generator")
        net.random_stream_.set_state([states[str(k)] for k in range(len(states))])
        estimator._random_state.set_state(
            ("MT19937", self.arrays["random_state"], *info["random_state"])
        )
        if loader.order is not None and "order" in self.arrays:
            loader.order.indices = self.arrays["order"].copy()
        vars(estimator._record).update(vars(Record(**info["record"])))
        estimator._record.best_weights = tensors("best") or None
        for name, value in tensors("snapshot").items():
            step, _, key = name.partition("/")
            net.snapshots_.setdefault(int(step), {})[key] = value
        net.history_ = History(info["history"])


def _check_types(info: dict[str, Any]) -> None:
    """Raise TypeError where a value would be taken over that means nothing."""
    record, history = info["record"], info["history"]
    number = (int, float)
    right = (
        type(info["rate"]) is float
        and isinstance(record, dict)
        and isinstance(history, list)
        and all(isinstance(row, dict) for row in history)
        and all(type(n) is int and n >= 0 for n in info["counts"].values())
        and all(isinstance(record[name], number) for name in ("n_iter", "t", "no_improvement"))
        and all(isinstance(loss, number) for loss in record["loss_curve"])
    )
    if not right:
        raise TypeError("a value is of another kind")


def _plain(value: Any) -> Any:
    """Lists, dictionaries and Python numbers in place of their relatives."""
    if isinstance(value, dict):
        return {key: _plain(v) for key, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return value.item() if isinstance(value, (np.generic, torch.Tensor)) else value


class Runs:
    """The trainings that a directory holds.

    Ended ones are kept one by one. Those that are trained as one stack are kept together from
    time to time, so that after a crash the same stack goes on, which gives the same bits.

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
            if (key := _key(training, known)) is not None:
                self.keys[i] = key
        self._saved = time.monotonic()

    def result(self, i: int) -> Checkpoint | None:
        """How a training ended, if that is known."""
        key = self.keys.get(i)
        return None if key is None else _read(self.ended.get(key))

    def keep(self, i: int, training: Training) -> None:
        """Keep how a training ended, unless by an error."""
        if i in self.keys and training.error is None:
            ended = Checkpoint.of(training.estimator)
            self.ended.put(self.keys[i], ended.arrays, ended.info)

    def stacks(self) -> Iterator[tuple[str, dict[int, Checkpoint]]]:
        """Stacks that were under way: a name, and the place of each member that was.

        Only those all of whose members are wanted now.
        """
        if not self.keys:
            return
        positions = {key: i for i, key in self.keys.items()}
        for name in list(self.running.keys()):
            kept = self.running.get(name)
            if kept is None:
                continue
            arrays, info = kept
            try:
                members, infos = info["members"], info["infos"]
                places = {
                    positions[key]: Checkpoint(_of_row(arrays, row), infos[row])
                    for row, key in enumerate(members)
                }
            except (KeyError, TypeError, IndexError):
                continue
            yield name, places

    @property
    def is_due(self) -> bool:
        """Whether it is time to keep what is under way."""
        return bool(self.keys) and time.monotonic() - self._saved >= EVERY

    def keep_stack(
        self, members: Sequence[tuple[int, Training, SampleOrder | None]], name: str | None
    ) -> str | None:
        """Keep where a stack is; returns its name once it has one."""
        if not all(i in self.keys for i, *_ in members):
            return name
        places = [Checkpoint.of(training.estimator, order) for _, training, order in members]
        arrays = {f"{row}/{n}": a for row, p in enumerate(places) for n, a in p.arrays.items()}
        keys = [self.keys[i] for i, *_ in members]
        name = name or fingerprint(keys)
        self.running.put(name, arrays, {"members": keys, "infos": [p.info for p in places]})
        self._saved = time.monotonic()
        return name

    def forget_stack(self, name: str | None) -> None:
        """Delete what was kept of a stack."""
        if name is not None:
            self.running.delete(name)


def _of_row(arrays: Arrays, row: int) -> Arrays:
    start = f"{row}/"
    return {name[len(start) :]: a for name, a in arrays.items() if name.startswith(start)}


def _read(kept: Any) -> Checkpoint | None:
    return None if kept is None else Checkpoint(*kept)


def _key(training: Training, known: dict[int, str]) -> str | None:
    """The name of a training; None if it cannot be repeated, so that there is none."""
    estimator = training.estimator
    if not isinstance(estimator, PerturbedEstimator) or isinstance(estimator.net, NeuralNet):
        return None
    parameters = {k: v for k, v in estimator.get_params(deep=False).items() if k not in _SILENT}
    if parameters.get("random_state") is None or parameters.get("callbacks"):
        return None
    if parameters.get("warm_start") and hasattr(estimator, "net_"):
        return None

    def data(value: Any) -> str:
        if id(value) not in known:
            known[id(value)] = fingerprint(value)
        return known[id(value)]

    try:
        own = [training.fit_params, training.mask, training.initial, training.snapshots_at]
        return fingerprint(
            SCHEMA, type(estimator), parameters, data(training.X), data(training.y), own
        )
    except TypeError as error:
        warnings.warn(str(error), stacklevel=2)
        return None
