"""One step of some replicas of a stack."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from sklflat.training.engine.net import INPUT, WEIGHT
from sklflat.training.engine.randomness import ReplicaGenerators
from sklflat.training.engine.step import masked_gradients, perturbed_direction, with_l2
from sklflat.training.perturbations.base import Position


class ReplicaStep:
    """One step of some replicas of a stack.

    Attributes
    ----------
    passes : list of int
        One entry for every gradient that was computed.
    after : dict of str to Tensor
        Buffers as the first pass left them.
    """

    def __init__(
        self, stack: Any, index: Tensor | None, nets: Sequence[Any], batch: list[Tensor]
    ) -> None:
        self.stack = stack
        self.nets = nets
        self.pick = (lambda t: t) if index is None else (lambda t: t[index])
        self.w = self.pick(stack.w)
        self.batch = batch
        self.weighted = len(self.batch) > 2
        self.n_rows = self.batch[0].shape[1]
        self.passes: list[int] = []
        self.after: dict[str, Tensor] = {}
        self.generators = [net.random_stream_.generator for net in nets]
        self._states = self._random_states()
        self._states_after = self._states

    def _random_states(self) -> list[Tensor]:
        return [g.get_state() for g in self.generators] if self.stack.replays.may_draw else []

    def _set_random_states(self, states: list[Tensor]) -> None:
        for g, state in zip(self.generators, states, strict=False):
            g.set_state(state)

    def direction(self) -> tuple[Tensor, Tensor, dict[str, Tensor] | None]:
        """Clean losses (R,), directions (R, p) and the next state."""
        stack = self.stack
        steps = self.nets[0].steps_
        at = Position(self.w, stack.is_weight, self.pick(stack.rates), t=steps.t)
        at.velocity = self.pick(stack.update.velocity) if steps.needs_velocity else None
        state = stack.state and {key: self.pick(v) for key, v in stack.state.items()}
        gradient_at: Any = self.gradient_at
        if stack.mask is not None:
            gradient_at = masked_gradients(gradient_at, self.pick(stack.mask))
        perturbation = stack.perturbation.of(self.pick)
        losses, direction, state = perturbed_direction(perturbation, at, state, gradient_at)
        if stack.has_l2:
            size = self.batch[1].sum(1) if self.weighted else self.n_rows
            losses, direction = with_l2(losses, direction, at, self.pick(stack.l2) / size)
        return losses, direction, state

    def gradient_at(self, w_tilde: Tensor | None) -> tuple[Tensor, Tensor]:
        """Losses (R,) and gradients (R, p) at the replicas' w, or w_tilde."""
        stack = self.stack
        if self.passes:
            self._states_after = self._random_states()
            self._set_random_states(self._states)
        self.passes.append(1)
        names = list(stack.others)
        w = self.w if w_tilde is None else self._in_stack_memory(w_tilde)
        others = [self.pick(stack.others[name]) for name in names]
        temperature = [self.pick(stack.temperatures)] if stack.tempered else []
        given = [*others, *temperature, *self.batch]
        parts = [
            self._gradients(
                [stack.rows_of(w, start, stop), *(t[start:stop] for t in given)],
                names,
                self.generators[start:stop],
            )
            for start, stop in stack.blocks(len(w), self.n_rows)
        ]
        outputs = parts[0]
        if len(parts) > 1:
            outputs = tuple(torch.cat(values) for values in zip(*parts, strict=True))
        if len(self.passes) == 1:
            self.after = dict(zip(names, outputs[2:], strict=True))
        return outputs[0], outputs[1]

    def _gradients(
        self, inputs: list[Tensor], names: list[str], generators: list[torch.Generator]
    ) -> tuple[Tensor, ...]:
        """Losses, gradients and buffers of some replicas, replayed where that can be."""
        replays, compute = self.stack.replays, partial(self._vectorised, inputs, names)
        kind = (*(tuple(t.shape) for t in inputs), self.stack.tempered)
        replay = replays.get(kind)
        if replay is not None:
            return replay(*inputs, generator=generators)
        with ReplicaGenerators(generators):  # below the recorder, which sees one operation
            if replays.why_not is None:
                return replays.record(kind, inputs, compute, generators)
            return compute()

    def _in_stack_memory(self, w_tilde: Tensor) -> Tensor:
        """The same values in memory that stays, where the views of it are known."""
        if self.w is not self.stack.w:
            return w_tilde
        return self.stack.w_tilde.copy_(w_tilde)

    def _vectorised(
        self, inputs: list[Tensor], names: list[str], recorder: object = None
    ) -> tuple[Tensor, ...]:
        net, stack = self.nets[0], self.stack

        def loss(w: Tensor, others: list[Tensor], *batch: Any) -> Any:
            X, weight, y = batch if self.weighted else (batch[0], None, batch[1])
            own = dict(zip(names, others, strict=True))
            output = stack.run(stack.vector.views(w), X, own)
            X = X if weight is None else {INPUT: X, WEIGHT: weight}
            return net.get_loss(output, y, X=X, training=True), list(own.values())

        def one(*tensors: Tensor) -> tuple[Tensor, ...]:
            w, rest = tensors[0], tensors[1 + len(names) :]
            others = [t.clone() for t in tensors[1 : 1 + len(names)]]
            if stack.tempered:
                net.criterion_.temperature, rest = rest[0], rest[1:]
            g, (value, after) = torch.func.grad_and_value(loss, has_aux=True)(w, others, *rest)
            return value, g, *after

        temperature = net.criterion_.temperature
        try:
            return torch.func.vmap(one, randomness="different")(*inputs)
        finally:
            net.criterion_.temperature = temperature

    def advance_random_states(self, taken: Sequence[bool]) -> None:
        """Leave random generators where the first pass left them.

        Where no step was taken, they go back to where they were before.
        """
        if len(self.passes) > 1:
            self._set_random_states(self._states_after)
        for g, state, good in zip(self.generators, self._states, taken, strict=False):
            if not good:
                g.set_state(state)
