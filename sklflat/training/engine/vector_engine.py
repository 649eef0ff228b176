"""Training steps on one vector, replayed from a recording where that gives the same."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor

from sklflat.networks.functional import ParameterVector
from sklflat.training.engine.known_calls import leaves
from sklflat.training.engine.optimizer import maximizes, trained_parameters
from sklflat.training.engine.passes import SideEffects
from sklflat.training.engine.per_sample_gradients import squared_gradients
from sklflat.training.engine.protocols import Batch, TrainedNet
from sklflat.training.engine.replays import Replays, attributes, why_not_recorded
from sklflat.training.engine.tape import Recorder, copies
from sklflat.training.engine.updates import VectorUpdate
from sklflat.training.perturbations.base import Position

# beyond this size arithmetic dominates, and a recording would only hold memory
MAX_RECORDED_PARAMETERS = 2_000_000


class CannotUseVector(Exception):
    """A batch needs skorch's own step; says why."""


class VectorEngine:
    """Runs training batches of a net with all parameters in one vector.

    The first passes of the first two batches of every shape are recorded while they run. If
    both recordings are the same, later passes over that shape replay them; otherwise they are
    run by autograd. The numbers are the same in all cases. Only modules and losses made of
    torch's and this package's own classes are recorded: what a user's own ``forward`` does in
    Python cannot be seen, so it is run each time. Recordings last until an attribute changes.
    """

    def __init__(self, net: TrainedNet) -> None:
        self.net = net
        self.vector = trained_parameters(net.optimizer_, net.module_)
        self.is_weight = self.vector.is_weight
        self.w = self.vector.read()
        self.w_tilde = torch.empty_like(self.w)
        self._views = self.vector.views(self.w)
        self._views_tilde = self.vector.views(self.w_tilde)
        self._modules = (net.module_, net.criterion_)
        self._has_buffers = any(True for m in self._modules for _ in m.buffers())
        self._known_attributes: list[tuple[str, Any]] | None = None
        #: the epoch's loader, and what is done of it, where that is known
        self.under_way: Any = None
        self._new_recordings()

    @staticmethod
    def why_not(net: TrainedNet) -> str | None:
        """Why a net cannot be trained on a vector; None if it can."""
        if not VectorUpdate.supports(net.optimizer_):
            return f"optimizer {type(net.optimizer_).__name__} needs single parameters"
        if not VectorUpdate.has_one_history(net.optimizer_):
            return "the parameters of a group have different histories"
        vector = trained_parameters(net.optimizer_, net.module_)
        if any(p.dtype != vector.dtype for p in vector.parameters):
            return f"not all parameters are of dtype {vector.dtype}"
        return None

    def fits(self, net: TrainedNet) -> bool:
        """Whether the net still trains the parameters that it trained when this was made."""
        now = trained_parameters(net.optimizer_, net.module_).parameters
        return (
            net is self.net
            and len(now) == len(self.vector.parameters)
            and all(a is b for a, b in zip(now, self.vector.parameters, strict=True))
            and self._modules == (net.module_, net.criterion_)
        )

    def _new_recordings(self) -> None:
        small = len(self.vector) <= MAX_RECORDED_PARAMETERS
        self.replays = Replays(self._modules, None if small else "the network is large")

    @contextmanager
    def epoch(self) -> Iterator[None]:
        """Take over parameters and optimiser state; hand them back whatever happens."""
        self.net._set_training(True)
        known, self._known_attributes = self._known_attributes, attributes(self._modules)
        if known != self._known_attributes:
            self._new_recordings()
        reason = why_not_recorded(self._modules, self.net.user_classes())
        if reason is not None:
            self.replays.why_not = reason
        self.w.copy_(self.vector.read())
        self.update = VectorUpdate(self.net.optimizer_)
        try:
            with torch.no_grad():
                yield
        finally:
            self.write_back()
            self.under_way = None

    def write_back(self) -> None:
        """Hand parameters and optimiser state to the net."""
        self.vector.write(self.w)
        self.update.push()

    def step(self, batch: Batch) -> float:
        """Train on one batch; returns the clean loss."""
        net = self.net
        net.begin_step(self.write_back, self.under_way)
        modules = self._modules if self._has_buffers else ()
        generators = net.random_stream_.generators if self.replays.may_draw else ()
        effects = SideEffects(modules, generators)

        def gradient_at(w_tilde: Tensor | None) -> tuple[Tensor, Tensor]:
            if w_tilde is not None and w_tilde is not self.w_tilde:
                self.w_tilde.copy_(w_tilde)
            effects.begin_pass()
            return self.gradient(batch, w_tilde is not None, first=effects.n_passes == 1)

        at = Position(self.w, self.is_weight, self.update.learning_rate, scratch=self.w_tilde)
        at.maximizes = maximizes(net.optimizer_)
        if net.steps_.needs_velocity:
            at.velocity = self.update.velocity
        if net.steps_.needs_samples:
            at.squared_gradients = lambda labels: squared_gradients(
                net, self.vector, self.w, batch, labels
            )
        try:
            loss, direction = net.steps_.take(at, gradient_at, net.batch_weight(batch))
        except CannotUseVector:
            effects.undo()
            net.steps_.n_gradient_evaluations -= effects.n_passes  # the batch comes again
            net.steps_.n_begun -= 1
            raise
        except BaseException:
            effects.undo() if effects.n_passes < 2 else effects.keep_first_pass()
            raise
        effects.keep_first_pass()
        if direction is None:
            effects.undo()
        else:
            self.update.step(self.w, direction)
        return float(loss)

    def gradient(self, batch: Batch, tilde: bool, first: bool) -> tuple[Tensor, Tensor]:
        """Loss and gradient (p,) at w, or at w_tilde; ``first`` for the batch's first pass."""
        inputs = leaves(batch)
        shapes = tuple((x.shape, x.dtype) if isinstance(x, Tensor) else None for x in inputs)
        replay = self.replays.get(shapes)
        if replay is not None:
            views = self._views_tilde if tilde else self._views
            loss, g = replay(*views, *inputs, generator=self.net.random_stream_.generator)
            return loss, g
        self.vector.write(self.w_tilde if tilde else self.w)
        batch = copies(batch)  # a forward pass may work in place
        # a network that draws nothing needs no lock, so other threads can train beside it
        stream = self.net.random_stream_
        with stream.as_global() if self.replays.may_draw else nullcontext():
            if self.replays.why_not is None and None not in shapes and first:
                inputs = [*self.vector.parameters, *leaves(batch)]
                compute = partial(gradient_by_autograd, self.net, self.vector, batch)
                loss, g = self.replays.record(shapes, inputs, compute)
            else:
                loss, g = gradient_by_autograd(self.net, self.vector, batch)
        if first and not tilde:
            self.w.copy_(self.vector.read())  # the forward pass may have projected its weights
        return loss, g


def gradient_by_autograd(
    net: TrainedNet, vector: ParameterVector, batch: Batch, recorder: Recorder | None = None
) -> tuple[Tensor, Tensor]:
    """Loss and gradient (p,) of a net on a batch, at its parameters as they are."""
    X, y = batch
    with torch.enable_grad():
        loss = net.get_loss(net.infer(X), y, X=X, training=True)
        if recorder is not None:
            recorder.mark_backward()
        gradients = torch.autograd.grad(loss, vector.parameters, allow_unused=True)
    if any(g is None for g in gradients):
        raise CannotUseVector("some parameters are not used in every batch")
    return loss.detach(), vector.join(gradients)
