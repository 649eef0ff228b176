"""Recurrent layers: the channels of their hidden state over time are units."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

#: calls that are known: those of ``nn.LSTM``, ``nn.GRU`` and ``nn.RNN`` on sequences
LAYERS = frozenset({"lstm", "gru", "rnn_tanh", "rnn_relu"})

#: weights and biases of a layer in one direction, or weights alone
_WITH_BIAS, _WITHOUT = 4, 2


@dataclass(frozen=True)
class RecurrentCall:
    """What one call of a recurrent layer computes.

    Attributes
    ----------
    weights : list of (Tensor, int)
        Those of the last layer whose rows make the hidden state, each with the number of its
        direction.
    n_directions : int
    batch_first : bool
    """

    weights: list[tuple[Tensor, int]]
    n_directions: int
    batch_first: bool

    @property
    def rows_axis(self) -> int:
        """The axis of the output along which rows of data are."""
        return 0 if self.batch_first else 1


def described(name: str, args: Sequence[Any]) -> RecurrentCall | None:
    """A call on sequences of one length; None for packed ones and projected states."""
    if name not in LAYERS or len(args) != 9 or not isinstance(args[3], bool):
        return None
    flat, has_bias, n_layers, bidirectional, batch_first = (args[i] for i in (2, 3, 4, 7, 8))
    n_directions = 2 if bidirectional else 1
    size = _WITH_BIAS if has_bias else _WITHOUT
    if len(flat) != size * n_layers * n_directions or args[0].ndim != 3:
        return None
    last = flat[-size * n_directions :]
    weights = [(w, d) for d in range(n_directions) for w in last[d * size : (d + 1) * size]]
    return RecurrentCall(weights, n_directions, bool(batch_first))


def units_of_rows(weight: Tensor, direction: int, n_units: int, n_directions: int) -> Tensor:
    """The unit of each entry of a weight or bias, whose rows are those of all gates."""
    width = n_units // n_directions
    units = direction * width + torch.arange(len(weight)) % width
    return units.view(-1, *[1] * (weight.ndim - 1)).expand(weight.shape)


def last_states(output: Tensor, state: Tensor, call: RecurrentCall) -> Tensor:
    """The hidden states (layers * directions, n, h), those of the last layer from the output."""
    time = 1 if call.batch_first else 0
    forward, *backward = output.chunk(call.n_directions, -1)
    ends = [forward.select(time, -1), *(b.select(time, 0) for b in backward)]
    return torch.cat([state[: -call.n_directions], torch.stack(ends)])


def replaced(out: tuple[Tensor, ...], new: Tensor, call: RecurrentCall) -> tuple[Tensor, ...]:
    """The outputs of a call with another hidden state over time."""
    return new, last_states(new, out[1], call), *out[2:]
