"""The checkpoint of a training: everything that its next epoch depends on."""

from typing import Any

import numpy as np
import torch
from skorch.history import History

from sklflat.exceptions import CheckpointError
from sklflat.training.engine.epochs import Record
from sklflat.training.engine.loader import SampleOrder, TensorLoader

Arrays = dict[str, np.ndarray]
_COUNTS = ("t", "n_begun", "n_gradient_evaluations", "n_skipped_steps")


def with_prefix(arrays: Arrays, prefix: str) -> Arrays:
    """The arrays whose names begin with ``prefix/``, by the rest of their names."""
    start = prefix + "/"
    return {name[len(start) :]: a for name, a in arrays.items() if name.startswith(start)}


class Checkpoint:
    """The state of a training between two epochs.

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
    def of(cls, estimator: Any, order: SampleOrder | None = None) -> "Checkpoint":
        """The checkpoint of an estimator whose training is between two epochs."""
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

    def restore(self, estimator: Any, loader: TensorLoader) -> None:
        """Resume the training of an estimator whose net is new.

        Raises
        ------
        CheckpointError
            If this is no checkpoint of such a training.
        """
        try:
            self._restore(estimator, loader)
        except (AttributeError, KeyError, IndexError, TypeError, ValueError, RuntimeError) as error:
            raise CheckpointError(f"A checkpoint is of another training ({error}).") from error

    def _restore(self, estimator: Any, loader: TensorLoader) -> None:
        net, info = estimator.net_, self.info
        _check_types(info)

        def tensors(kind: str) -> dict[str, torch.Tensor]:
            return {
                name: torch.from_numpy(a.copy())
                for name, a in with_prefix(self.arrays, kind).items()
            }

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
