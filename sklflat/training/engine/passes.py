"""Forward and backward passes at perturbed points that leave everything as one pass would."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from sklflat.networks.evaluation import BufferSnapshot
from sklflat.networks.functional import ParameterVector
from sklflat.training.engine.randomness import global_generators


class SideEffects:
    """Buffers and random state of modules that a step passes over once or twice.

    The second pass starts from what the first started from; in the end they are as the first left
    them.
    """

    def __init__(self, modules: Sequence[nn.Module], generators: Sequence[torch.Generator]) -> None:
        self._modules = modules
        self._generators = generators
        self.n_passes = 0
        self._before = self._snapshot()
        self._after: tuple[BufferSnapshot, list[Tensor]] | None = None

    def _snapshot(self) -> tuple[BufferSnapshot, list[Tensor]]:
        return BufferSnapshot(*self._modules), [g.get_state() for g in self._generators]

    def _restore(self, snapshot: tuple[BufferSnapshot, list[Tensor]]) -> None:
        snapshot[0].restore()
        for generator, state in zip(self._generators, snapshot[1], strict=True):
            generator.set_state(state)

    def begin_pass(self) -> None:
        """Call before every pass."""
        if self.n_passes:
            self._after = self._snapshot()
            self._restore(self._before)
        self.n_passes += 1

    def keep_first_pass(self) -> None:
        """Restore what the first pass left."""
        if self._after is not None:
            self._restore(self._after)

    def undo(self) -> None:
        """Restore what was there before the first pass."""
        self._restore(self._before)


class Passes:
    """Evaluates a closure, which runs forward and backward pass, at perturbed points.

    After ``restore`` the parameters are what they were, bit for bit, and the modules' buffers and
    random state what the first pass alone would have left. The closure's gradients carry the
    factor ``scale``.
    """

    def __init__(
        self,
        vector: ParameterVector,
        closure: Callable[[], Tensor],
        modules: Sequence[nn.Module] = (),
        scale: float = 1.0,
    ) -> None:
        self.vector = vector
        self.closure = closure
        self.scale = scale
        self.w = vector.read()
        self.used = [False] * len(vector.parameters)
        self.effects = SideEffects(modules, global_generators(vector.device))
        self.first_pass_done = False
        trained = {id(p) for p in vector.parameters}
        self.others = [p for m in modules for p in m.parameters() if id(p) not in trained]
        self.others_after: list[Tensor | None] = []

    def __call__(self, w_tilde: Tensor | None) -> tuple[Tensor, Tensor]:
        """Loss and gradient (p,) at w_tilde, or at w for None."""
        if w_tilde is not None:
            self.vector.write(w_tilde)
        if self.first_pass_done:
            self.others_after = [None if p.grad is None else p.grad.clone() for p in self.others]
        self.effects.begin_pass()
        for p in self.vector.parameters:
            p.grad = None
        with torch.enable_grad():
            loss = self.closure()
        if not isinstance(loss, Tensor):
            raise TypeError(
                f"The closure returned {loss!r}. It has to call loss.backward() and return the "
                "loss, a tensor."
            )
        gradients = [p.grad for p in self.vector.parameters]
        if gradients and all(g is None for g in gradients):
            raise ValueError(
                "No trained parameter has a gradient: the closure has to call loss.backward() on a "
                "loss that depends on them."
            )
        if w_tilde is None:
            self.w.copy_(self.vector.read())  # a forward pass may project its weights
        self.used = [u or g is not None for u, g in zip(self.used, gradients, strict=True)]
        self.first_pass_done = True
        return loss.detach(), self.vector.join(gradients) / self.scale

    def restore(self) -> None:
        """Bring back w, and buffers and random state as the first pass left them."""
        self.vector.write(self.w)
        if not self.first_pass_done:
            self.effects.undo()
            return
        self.effects.keep_first_pass()
        if self.others_after:  # parameters of other optimisers keep the first pass's gradient
            for p, grad in zip(self.others, self.others_after, strict=True):
                p.grad = grad

    def restore_gradients(self, earlier: Sequence[Tensor | None]) -> None:
        """Restore the gradients that were there before the step."""
        for p, grad in zip(self.vector.parameters, earlier, strict=True):
            p.grad = grad

    def set_gradients(self, direction: Tensor, earlier: Sequence[Tensor | None] = ()) -> None:
        """Give the direction to the base optimiser, added to gradients that were there before.

        Parameters that no pass used get none, as in torch.
        """
        pieces = self.vector.views(direction * self.scale if self.scale != 1 else direction)
        for i, (p, piece) in enumerate(zip(self.vector.parameters, pieces, strict=True)):
            p.grad = earlier[i] if earlier else None
            if self.used[i]:
                piece = piece.to(p.dtype)
                p.grad = piece if p.grad is None else p.grad + piece
