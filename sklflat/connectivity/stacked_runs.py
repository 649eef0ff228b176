"""Outputs of one module at several states."""

import warnings
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from sklflat.connectivity.first_affine import FirstAffine
from sklflat.connectivity.state import State

#: what torch raises where it cannot vectorise, or a module where its input is not a plain tensor
_REFUSALS = (RuntimeError, ValueError, TypeError, NotImplementedError, IndexError)


class StackedRuns:
    """Forward passes at several points of a path, together or one after the other.

    Shortcuts are compared with plain forward passes on a few rows, and taken only where they agree.

    Parameters
    ----------
    module : torch.nn.Module
        In evaluation mode; private, as its layers are replaced while it runs.
    anchors : sequence of K states
    x : Tensor of shape (n, ...)
        Some rows.

    Attributes
    ----------
    first : FirstAffine or None
        Layers that need not be run.
    vectorises : bool
        Whether :func:`torch.func.vmap` works.
    """

    def __init__(
        self, module: nn.Module, anchors: Sequence[Mapping[str, Tensor]], x: Tensor
    ) -> None:
        self.module = module
        self.anchors = anchors
        self.first: FirstAffine | None = None
        C = torch.stack([torch.linspace(1, k + 1, len(anchors)) for k in (1, 2)]).to(x)
        C = C / C.sum(1, keepdim=True)
        states = stacked(anchors, C)
        self._in_place = False
        kept = x.clone()
        self._one_by_one({n: t[:1] for n, t in states.items()}, C[:1], kept, {})
        self._in_place = not torch.equal(kept, x)
        plain = self._one_by_one(states, C, x, {})
        self.first = self._first_affine(states, C, x, plain)
        self.vectorises = self._vectorises(states, C, x, plain)

    def before(self, x: Tensor) -> State:
        """What of a batch is computed once for all points."""
        return self.first.before(x, self.anchors) if self.first else {}

    def __call__(self, states: State, C: Tensor, x: Tensor, before: State) -> Tensor:
        """Outputs (T, n, ...).

        Parameters
        ----------
        states : state
            Of tensors (T, ...).
        C : Tensor of shape (T, K)
            Coefficients of the anchors.
        x : Tensor of shape (n, ...)
        before : state
            From :meth:`before`.
        """
        together = self.vectorises and len(C) > 1
        return (self._together if together else self._one_by_one)(states, C, x, before)

    def _run(self, state: State, c: Tensor, x: Tensor, before: State) -> Tensor:
        x = x.clone() if self._in_place else x
        if not before:
            return functional_call(self.module, state, (x,))
        assert self.first is not None
        mixed = {path: torch.tensordot(c, P, 1) for path, P in before.items()}
        with self.first.replaced(mixed):
            return functional_call(self.module, state, (x,))

    def _one_by_one(self, states: State, C: Tensor, x: Tensor, before: State) -> Tensor:
        rows = ({name: t[i] for name, t in states.items()} for i in range(len(C)))
        return torch.stack([self._run(row, c, x, before) for row, c in zip(rows, C, strict=True)])

    def _together(self, states: State, C: Tensor, x: Tensor, before: State) -> Tensor:
        return vmap(lambda state, c: self._run(state, c, x, before))(states, C)

    # --- which shortcuts are right -----------------------------------------------------------

    def _first_affine(
        self, states: State, C: Tensor, x: Tensor, plain: Tensor
    ) -> FirstAffine | None:
        if not all(t.isfinite().all() for anchor in self.anchors for t in anchor.values()):
            return None  # 0 times infinity is not 0
        try:
            with warnings.catch_warnings():
                # of what a module does with gradients on, which is not how it is run
                warnings.simplefilter("ignore")
                first = self.first = FirstAffine(self.module, self.anchors[0], x)
            z = self._one_by_one(states, C, x, self.before(x))
        except _REFUSALS:
            return None
        return first if first and _agree(z, plain) else None

    def _vectorises(self, states: State, C: Tensor, x: Tensor, plain: Tensor) -> bool:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                right = _agree(self._together(states, C, x, self.before(x)), plain)
            except _REFUSALS:
                return False
        # where an operation is not vectorised, torch loops over copies, and warns each time
        return right and not any("batching rule" in str(w.message) for w in caught)


def stacked(anchors: Sequence[Mapping[str, Tensor]], C: Tensor) -> State:
    """The states (T, ...) that have coefficients (T, K); integers are those of the first anchor."""
    return {name: _mixed([anchor[name] for anchor in anchors], C) for name in anchors[0]}


def _mixed(tensors: Sequence[Tensor], C: Tensor) -> Tensor:
    first = tensors[0]
    if not first.is_floating_point():
        return first.expand(len(C), *first.shape).clone()
    terms = C.to(first) @ torch.stack([t.flatten() for t in tensors])
    if not terms.isfinite().all():  # an anchor without a part in a point has none of its NaN either
        rows = [sum((c * t for c, t in zip(row, tensors, strict=True) if c)) for row in C.to(first)]
        terms = torch.stack([torch.as_tensor(row).to(first).expand(first.shape) for row in rows])
    return terms.view(len(C), *first.shape)


def _agree(z: Tensor, plain: Tensor) -> bool:
    tol = 1e3 * torch.finfo(z.dtype).eps
    return torch.allclose(z, plain, rtol=tol, atol=tol * float(plain.abs().max()))
