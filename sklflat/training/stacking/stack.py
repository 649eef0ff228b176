"""A stack: networks of one architecture, each with its own data and seed, trained by one step."""

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sklflat.networks.functional import ParameterVector
from sklflat.training.engine.known_calls import leaves
from sklflat.training.engine.loader import EpochSum, TensorLoader
from sklflat.training.engine.optimizer import trained_parameters
from sklflat.training.engine.passes import SideEffects
from sklflat.training.engine.replays import (
    Replays,
    python_state,
    tensors_kept_apart,
    why_not_recorded,
)
from sklflat.training.engine.step import ascends_at_all
from sklflat.training.engine.vector_engine import (
    MAX_RECORDED_PARAMETERS,
    CannotUseVector,
    gradient_by_autograd,
)
from sklflat.training.stacking.data import StackedBatches
from sklflat.training.stacking.perturbation import StackedPerturbation, phase
from sklflat.training.stacking.replicas import ReplicaStep
from sklflat.training.stacking.update import StackedUpdate

#: trials of a forward pass: other threads, as those of dask, draw random numbers in between
_N_TRIALS = 3
#: bytes of a block's activations that stay in the second cache of a processor's core
_CACHE = 2**20


class CannotStackError(Exception):
    """Networks cannot be trained by one step; says why."""


class Stack:
    """Networks of one architecture whose parameters are the rows of a matrix.

    While the stack lives, the networks' parameters, buffers and optimiser states are views of
    its rows, so that whatever looks at a network sees where it is. Every replica has its own
    data, random numbers, learning rate, radius, L2 penalty, temperature, mask and state of the
    perturbation, and is identical to training alone up to rounding. The networks are initialised
    and have equal ``stack_key``.

    Attributes
    ----------
    w : Tensor of shape (E, p)
    others : dict of str to Tensor of shape (E, ...)
        Buffers and untrained parameters.
    """

    def __init__(self, nets: Sequence[Any]) -> None:
        self.nets = list(nets)
        net = nets[0]
        vectors = [trained_parameters(n.optimizer_, n.module_) for n in nets]
        self.vector = vectors[0]
        self.is_weight = self.vector.is_weight
        self.w = torch.stack([v.read() for v in vectors])
        self.w_tilde = torch.empty_like(self.w)
        for v, row in zip(vectors, self.w, strict=True):
            _use_memory(v.parameters, v.views(row))
        owned = [_other_tensors(n, v.parameters) for n, v in zip(nets, vectors, strict=True)]
        self.others = {name: torch.stack([own[name].data for own in owned]) for name in owned[0]}
        for i, own in enumerate(owned):
            _use_memory(own.values(), [rows[i] for rows in self.others.values()])
        self._parts = [_parts(n) for n in nets]
        self.update = StackedUpdate([n.optimizer_ for n in nets], self.w)
        self.perturbation = StackedPerturbation(nets[0].steps_.perturbation)
        self.state = self._join_states()
        masks = [n.steps_.mask for n in nets]
        self.mask = None
        if any(m is not None for m in masks):
            ones = torch.ones_like(self.is_weight)
            mask = torch.stack([ones if m is None else m.to(ones.device) for m in masks])
            self.mask = mask.to(self.w.dtype)  # a product with booleans takes far longer
        large = len(self.vector) > MAX_RECORDED_PARAMETERS
        modules = (net.module_, net.criterion_)
        reason = "the network is large" if large else None
        self.replays = Replays(modules, reason, stacked=True, lasting=1)
        self.replays.why_not = self.replays.why_not or why_not_recorded(modules, net.user_classes())
        self.run = self.vector.runner(net.module_)
        self._n_units = max(1, sum(len(q) for q in self.vector.parameters if q.ndim > 1))
        self._rows_of: dict[tuple[bool, int, int], Tensor] = {}
        self._released: set[int] = set()
        self._all = list(range(len(self.nets)))
        template = self.perturbation.template
        self._has_phases = template is not None and ascends_at_all(template)

    def _join_states(self) -> dict[str, Tensor] | None:
        first = self.nets[0].steps_.perturbation
        if first is None:
            return None
        rows = zip((n.steps_.state for n in self.nets), self.w, strict=True)
        states = [first.init(w) if state is None else state for state, w in rows]
        return {key: torch.stack([s[key].to(self.w.device) for s in states]) for key in states[0]}

    # --- blocks -------------------------------------------------------------------------------

    def blocks(self, n_replicas: int, n_rows: int) -> list[tuple[int, int]]:
        """First and last of the replicas whose activations for so many rows fit into a cache.

        A pass over some of the replicas after the other reads and writes memory that is near. With
        more parameters than activations there would be less of that than of gradients to join.
        """
        n_values = n_rows * self._n_units
        if self.w.device.type != "cpu" or len(self.vector) > n_values:
            return [(0, n_replicas)]
        near = _CACHE * torch.get_num_threads() // self.w.element_size()
        at_once = max(1, near // n_values)
        n_blocks = -(-n_replicas // at_once)
        edges = [k * n_replicas // n_blocks for k in range(n_blocks + 1)]
        return list(pairwise(edges))

    def rows_of(self, w: Tensor, start: int, stop: int) -> Tensor:
        """Some rows of parameters; of the stack's own memory always the same tensor."""
        if w is not self.w and w is not self.w_tilde:
            return w[start:stop]
        key = (w is self.w, start, stop)
        if key not in self._rows_of:
            self._rows_of[key] = w[start:stop]
        return self._rows_of[key]

    # --- releasing --------------------------------------------------------------------------

    def release(self, i: int) -> None:
        """Give the i-th network tensors of its own; the stack does not train it any more."""
        if i in self._released:
            return
        self._released.add(i)
        net = self.nets[i]
        vector = trained_parameters(net.optimizer_, net.module_)
        own = [*vector.parameters, *_other_tensors(net, vector.parameters).values()]
        _use_memory(own, [t.detach().clone() for t in own])
        self.update.release(i)
        self._copy_state(i)

    def _copy_state(self, i: int) -> None:
        """Give the i-th network a copy of its perturbation's state."""
        steps = self.nets[i].steps_
        if self.state is not None and (steps.t or steps.n_skipped_steps):
            steps.state = {key: rows[i].clone() for key, rows in self.state.items()}

    def copy_states(self) -> None:
        """Give every network a copy of its perturbation's state, which is no view of a row."""
        for i in set(range(len(self.nets))) - self._released:
            self._copy_state(i)

    def release_all(self) -> None:
        """Give every network tensors of its own."""
        for i in range(len(self.nets)):
            self.release(i)

    # --- the epoch --------------------------------------------------------------------------

    def run_epoch(self, loaders: dict[int, Any]) -> dict[int, EpochSum]:
        """Train some of the replicas for one pass over their data."""
        for i in loaders:
            parts = self._parts[i]
            if parts is None or not all(part.training for part in parts):
                self.nets[i]._set_training(True)
        self.update.begin_epoch()
        self._read_parameters()
        self._losses = self.w.new_zeros(len(self.nets), dtype=torch.float64)
        self._counts = np.zeros((len(self.nets), 4), dtype=int)
        self._recording = {
            i for i in loaders if self.nets[i].snapshots_at or self.nets[i]._states_at
        }
        batches = StackedBatches(loaders)
        self._loaders, sums = loaders, batches.done
        for i, done in sums.items():
            self._losses[i] = done.loss
        try:
            with tensors_kept_apart(self.nets[0].module_):
                for groups in batches.steps():
                    for _, start, stop, members in groups:
                        for rows in self._partition(members):
                            self._step(rows, batches.batch(rows, start, stop), sums)
        finally:
            self._count(loaders, sums)
        for i, loss in enumerate(self._losses.tolist()):
            if i in sums:
                sums[i].loss = loss / max(sums[i].n_samples, 1)
        return sums

    def _read_parameters(self) -> None:
        """Take over what may be different for each replica and change between epochs."""
        self.rates = self.update.rates()
        self.perturbation.read([n.steps_.perturbation for n in self.nets], self.w)
        self.l2 = self.w.new_tensor([float(n.steps_.l2) for n in self.nets])
        self.has_l2 = bool(self.l2.any())
        temperatures = [float(n.criterion_.temperature) for n in self.nets]
        self.temperatures = self.w.new_tensor(temperatures)
        self.tempered = any(t != 1.0 for t in temperatures)

    def _partition(self, members: list[int]) -> Iterable[list[int]]:
        """Replicas in the same phase of the perturbation."""
        if not self._has_phases:
            return [members]
        steps = {i: self.nets[i].steps_.t for i in members}
        if len(set(steps.values())) == 1:
            return [members]
        phases = {t: phase(self.perturbation.template, t) for t in set(steps.values())}
        groups: dict[Hashable, list[int]] = {}
        for i, t in steps.items():
            groups.setdefault(phases[t], []).append(i)
        return groups.values()

    def _step(self, rows: list[int], batch: list[Tensor], sums: dict[int, EpochSum]) -> None:
        nets = [self.nets[i] for i in rows]
        for i in self._recording.intersection(rows):
            self._count([i], sums)
            under_way = partial(self._under_way, i, sums[i])
            self.nets[i].begin_step(partial(self._copy_state, i), under_way)
        whole = rows == self._all
        index: Any = None if whole else torch.as_tensor(rows, device=self.w.device)
        some = ReplicaStep(self, index, nets, batch)
        losses, direction, state = some.direction()
        ok = (direction.sum(1) + losses).isfinite()
        taken = ok.tolist()
        self._losses[slice(None) if index is None else index] += losses.double() * some.n_rows
        own: Any = slice(None) if whole else rows
        self._counts[own] += (1, some.n_rows, len(some.passes), 0)
        self._counts[own, 3] += taken
        if self._has_phases:  # which depend on the steps taken
            self._count(rows, sums)
        some.advance_random_states(taken)
        if not all(taken):
            index = torch.as_tensor(rows, device=self.w.device)[ok]
            rows = [i for i, good in zip(rows, taken, strict=True) if good]
            direction = direction[ok]
            state = state and {key: value[ok] for key, value in state.items()}
            some.after = {key: value[ok] for key, value in some.after.items()}
        if rows:
            self.update.step(rows, direction)
            _write(self.others, index, some.after)
            if self.state is not None and state is not None:
                _write(self.state, index, state)

    def _count(self, rows: Iterable[int], sums: dict[int, EpochSum]) -> None:
        """Hand what was counted of some replicas to them; step by step it takes its time."""
        for i in rows:
            n_steps, n_rows, n_passes, n_taken = self._counts[i].tolist()
            steps, done = self.nets[i].steps_, sums[i]
            steps.n_begun += 0 if i in self._recording else n_steps  # these count for themselves
            steps.n_gradient_evaluations += n_passes
            steps.t += n_taken
            steps.n_skipped_steps += n_steps - n_taken
            done.n_samples += n_rows
            done.n_batches += n_steps
            done.n_skipped += n_steps - n_taken
            self._counts[i] = 0

    def _under_way(self, i: int, done: EpochSum) -> tuple[TensorLoader, EpochSum]:
        """The loader of a replica, and what is done of its epoch."""
        return self._loaders[i], replace(done, loss=float(self._losses[i]))

    # --- verification -----------------------------------------------------------------------

    def check(self, loaders: Sequence[TensorLoader]) -> None:
        """Raise CannotStackError unless the first replica has the gradient that it has alone."""
        net = self.nets[0]
        for n in self.nets:
            n._set_training(True)
        self._read_parameters()
        why_not, self.replays.why_not = self.replays.why_not, "it is a trial"
        firsts = [loader.first() for loader in loaders]
        size = min(len(first[1]) for first in firsts)
        batch = [
            torch.stack([t[:size] for t in ts]) for ts in zip(*map(leaves, firsts), strict=True)
        ]
        try:
            with tensors_kept_apart(net.module_):
                g = self._gradients(batch)
        finally:
            self.replays.why_not = why_not
        alone = _gradient_alone(net, self.vector, loaders[0].first(size))
        tolerance = torch.finfo(self.w.dtype).eps ** 0.6 * float(alone.norm())
        if not float((alone - g[0]).norm()) <= tolerance and bool(alone.isfinite().all()):
            raise CannotStackError("vectorised, the network has another gradient")

    def _gradients(self, batch: list[Tensor]) -> Tensor:
        """Gradients (n_replicas, p) on a batch, if computing them changes nothing else."""
        for _ in range(_N_TRIALS):
            some = ReplicaStep(self, None, self.nets, batch)
            before = python_state(self.replays.modules)
            try:
                _, g = some.gradient_at(None)
            except Exception as error:  # whatever vectorising a user's code may raise
                raise CannotStackError(f"the network cannot be vectorised ({error})") from error
            finally:
                some.advance_random_states([False] * len(self.nets))
            if python_state(self.replays.modules) == before:
                return g
        raise CannotStackError("the forward pass changes Python state")


def _gradient_alone(net: Any, vector: ParameterVector, batch: Any) -> Tensor:
    """A network's gradient (p,) on a batch, by autograd; leaves nothing behind."""
    stream = net.random_stream_
    effects = SideEffects((net.module_, net.criterion_), stream.generators)
    effects.begin_pass()
    try:
        with stream.as_global():
            return gradient_by_autograd(net, vector, batch)[1]
    except CannotUseVector as refusal:
        raise CannotStackError(str(refusal)) from refusal
    finally:
        effects.undo()


def _other_tensors(net: Any, trained: Sequence[Tensor]) -> dict[str, Tensor]:
    """Buffers and untrained parameters of a net's module by name."""
    own = {id(p) for p in trained}
    named = [*net.module_.named_parameters(), *net.module_.named_buffers()]
    return {name: t for name, t in named if id(t) not in own}


def _parts(net: Any) -> list[nn.Module] | None:
    """All parts of a net's module and loss; None if one has a ``train`` of its own."""
    parts = [*net.module_.modules(), *net.criterion_.modules()]
    return parts if all(type(part).train is nn.Module.train for part in parts) else None


def _use_memory(tensors: Iterable[Tensor], views: Iterable[Tensor]) -> None:
    """Let tensors be other memory."""
    for tensor, view in zip(tensors, views, strict=True):
        tensor.data = view


def _write(rows: dict[str, Tensor], index: Tensor | None, values: dict[str, Tensor]) -> None:
    for key, value in values.items():
        rows[key][slice(None) if index is None else index] = value
