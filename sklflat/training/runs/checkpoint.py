"""The checkpoint of a training, from which it is resumed: all that its next epoch depends on."""

import copy
import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from skorch.history import History

from sklflat.exceptions import CheckpointError
from sklflat.storage.decoding import expect, random_state
from sklflat.training.engine.loader import EpochSum, SampleOrder, TensorLoader
from sklflat.training.runs.checkpoint_checks import (
    COUNTS,
    check_module_state,
    order_of,
    part_of_epoch,
    record_of,
    restore_generators,
    restore_optimizer,
    restore_steps,
)

Arrays = dict[str, np.ndarray]


def with_prefix(arrays: Arrays, prefix: str) -> Arrays:
    """The arrays whose names begin with ``prefix/``, by the rest of their names."""
    start = prefix + "/"
    return {name[len(start) :]: a for name, a in arrays.items() if name.startswith(start)}


class Checkpoint:
    """The state of a training between two epochs, or between two steps of one.

    Weights, buffers, the states of optimiser, perturbation and random generators, the order of
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
    def of(
        cls, estimator: Any, order: SampleOrder | None = None, done: EpochSum | None = None
    ) -> "Checkpoint":
        """The checkpoint of an estimator whose training is between two epochs.

        Within one, ``done`` is what has been done of it.
        """
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
        plain = {k: _plain(v) for k, v in vars(record).items() if k != "best_weights"}
        steps = net.steps_
        counts = {name: getattr(steps, name) for name in COUNTS}
        info = {
            "record": plain,
            "random_state": rest,
            "counts": counts,
            "rate": net.optimizer_.param_groups[0]["lr"],
            # the last entry may be of the epoch that is to come
            "history": [_plain(row) for row in net.history.to_list() if "train_loss" in row],
        }
        if done is not None:
            info["done"] = dataclasses.asdict(done)
        return cls({name: np.array(a) for name, a in arrays.items()}, info)

    def with_states(self, states: Mapping[int, "Checkpoint"]) -> "Checkpoint":
        """The same, with the states of earlier steps of the training beside it."""
        if not states:
            return self
        arrays = {f"state/{n}/{k}": a for n, c in states.items() for k, a in c.arrays.items()}
        infos = {str(n): c.info for n, c in states.items()}
        return Checkpoint(self.arrays | arrays, self.info | {"states": infos})

    def states(self) -> dict[int, "Checkpoint"]:
        """Those that :meth:`with_states` has put beside it, by the number of the step."""
        infos = self.info.get("states", {})
        return {
            int(n): Checkpoint(with_prefix(self.arrays, f"state/{n}"), info)
            for n, info in infos.items()
        }

    def restore(self, estimator: Any, loader: TensorLoader) -> None:
        """Resume the training of an estimator whose net is new.

        Raises
        ------
        CheckpointError
            If this is no checkpoint of such a training.
        """
        try:
            self._restore(estimator, loader)
        except CheckpointError:
            raise
        except Exception as error:  # whatever a forged checkpoint leads to
            what = type(error).__name__
            raise CheckpointError(f"A checkpoint is of another training ({what}).") from error

    def _restore(self, estimator: Any, loader: TensorLoader) -> None:
        # a copy, as the training goes on to extend what it is given
        net, info = estimator.net_, copy.deepcopy(self.info)
        record = record_of(info["record"], estimator)

        def tensors(kind: str) -> dict[str, torch.Tensor]:
            named = with_prefix(self.arrays, kind).items()
            return {name: torch.from_numpy(a.copy()) for name, a in named}

        weights, best = tensors("module"), tensors("best")
        snapshots: dict[int, dict[str, torch.Tensor]] = {}
        for name, value in tensors("snapshot").items():
            step, _, key = name.partition("/")
            snapshots.setdefault(int(step), {})[key] = value
        for state in (weights, *([best] if best else []), *snapshots.values()):
            check_module_state(net.module_, state)
        net.module_.load_state_dict(weights)
        net.snapshots_.update(snapshots)
        memory: list[dict[str, torch.Tensor]] = [
            {} for _ in net.optimizer_.param_groups[0]["params"]
        ]
        for name, value in tensors("optimizer").items():
            k, key = name.split("/")
            memory[int(k)][key] = value
        restore_optimizer(net.optimizer_, {"lr": info["rate"]}, memory)
        restore_steps(net, info["counts"], tensors("steps") or None)
        states = tensors("generator")
        restore_generators(net.random_stream_, [states[str(k)] for k in range(len(states))])
        found = random_state((self.arrays["random_state"], *info["random_state"]))
        estimator._random_state.set_state(found.get_state())
        if loader.order is not None and "order" in self.arrays:
            loader.order.indices = order_of(self.arrays["order"], len(loader.order.indices))
        if "done" in info:
            loader.done = part_of_epoch(info["done"], len(loader.dataset))
        vars(estimator._record).update(vars(record))
        estimator._record.best_weights = best or None
        expect(isinstance(info["history"], list), "a history is none")
        expect(all(isinstance(row, dict) for row in info["history"]), "a history is none")
        net.history_ = History(info["history"])


def _plain(value: Any) -> Any:
    """Lists, dictionaries and Python numbers in place of their relatives."""
    if isinstance(value, dict):
        return {key: _plain(v) for key, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return value.item() if isinstance(value, (np.generic, torch.Tensor)) else value
