"""Where a training starts, if not at its beginning: at the state of another, or at one like it."""

import json
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sklflat.training.engine.epochs import Record
from sklflat.training.engine.loader import TensorLoader
from sklflat.training.engine.optimizer import trained_parameters
from sklflat.training.runs.checkpoint import Checkpoint

#: what a record says of the best epoch so far
_OF_BEST = ("best_loss", "best_validation_score", "no_improvement")


@dataclass(frozen=True)
class Start:
    """The state of another training, from which a child of it goes on.

    Of the state are weights and buffers, the moments of the optimiser, the step and the learning
    rate that its schedule has there, the record by which training stops, random numbers and the
    order of the rows. So a child is its parent, to the bit, unless it is told to differ: by a mask,
    or by ``seed``, ``weights_of`` or ``noise``. Then it has its own best epoch: what the parent
    had reached is no result of the child's, nor are weights that early stopping would bring back.
    Loss curve and validation scores begin with the parent's in any case. On other rows than the
    parent's, give a ``seed``.

    Parameters
    ----------
    state : Checkpoint
        Of a training of an equal estimator on as many rows: one of ``Training.states``.
    seed : int, default=None
        Of another order of the rows from here on; those that the epoch under way has seen already
        do not come again in it. None keeps the parent's order. Random numbers of dropout are the
        parent's in any case.
    weights_of : Checkpoint, default=None
        Another state that weights, buffers and moments are taken from, so that the schedule of
        ``state`` begins at the weights of a later step (learning-rate rewinding).
    noise : Tensor of shape (p,), default=None
        Added to the parameters.
    """

    state: Checkpoint
    seed: int | None = None
    weights_of: Checkpoint | None = None
    noise: Tensor | None = None

    def restore(self, estimator: Any, loader: TensorLoader) -> None:
        """Take an estimator, whose net is new, to this place.

        Raises
        ------
        CheckpointError
            If the state is of another training.
        ValueError
            If there is a seed, but the rows have no order (``shuffle=False``).
        """
        net = estimator.net_
        state = self._joined()
        if net.mask is not None or self._differs:
            state = _without_best(state, estimator)
        state.restore(estimator, loader)
        if self.noise is not None:
            vector = trained_parameters(net.optimizer_, net.module_)
            vector.write(vector.read() + self.noise.to(vector.device))
        if net.mask is not None:
            _apply_mask(net)
        if self.seed is not None:
            loader.branch(estimator._random_state, self.seed)

    @property
    def n_steps(self) -> int:
        """Steps that the state's training has made."""
        return int(self.state.info["counts"]["n_begun"])

    @property
    def _differs(self) -> bool:
        return not (self.seed is None and self.weights_of is None and self.noise is None)

    def _joined(self) -> Checkpoint:
        if self.weights_of is None:
            return self.state
        other = self.weights_of.arrays
        arrays = {k: a for k, a in self.state.arrays.items() if not _is_of_weights(k)}
        arrays |= {k: a for k, a in other.items() if _is_of_weights(k)}
        return Checkpoint(arrays, self.state.info)

    def as_key(self) -> dict[str, Any]:
        """What of it a training depends on."""
        state = self._joined()
        info = {k: v for k, v in state.info.items() if k != "history"}  # which has times
        # in one order, and as copies: arrays count by memory that they share, as those of a file do
        arrays = [(name, state.arrays[name].copy()) for name in sorted(state.arrays)]
        return {"start": [arrays, json.dumps(info, sort_keys=True), self.seed, self.noise]}


def _without_best(state: Checkpoint, estimator: Any) -> Checkpoint:
    """A state whose record has no best epoch yet, as that of a training that begins."""
    begins = Record.for_early_stopping() if estimator.early_stopping else Record()
    own = {name: getattr(begins, name) for name in _OF_BEST}
    arrays = {k: a for k, a in state.arrays.items() if not k.startswith("best/")}
    return Checkpoint(arrays, state.info | {"record": state.info["record"] | own})


def _is_of_weights(name: str) -> bool:
    return name.split("/")[0] in ("module", "optimizer")


@torch.no_grad()
def _apply_mask(net: Any) -> None:
    """Set what is masked to zero, in the parameters and in what the optimiser remembers of them.

    Momentum would go on to move a weight whose gradient is zero.
    """
    vector = trained_parameters(net.optimizer_, net.module_)
    mask = net.mask.to(vector.device)
    vector.write(torch.where(mask, vector.read(), 0.0))
    for p, kept in zip(vector.parameters, vector.views(mask), strict=True):
        for value in net.optimizer_.state.get(p, {}).values():
            if isinstance(value, Tensor) and value.shape == p.shape:
                value.mul_(kept)
