"""Outputs of one module at several states."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from sklflat.exceptions import UnsupportedNetworkError
from sklflat.networks.same_outputs import same_outputs
from sklflat.networks.state import State, mix
from sklflat.paths.first_affine import DependentError, FirstAffine, FirstOutputs

#: what torch raises where it cannot vectorise, or a module where its input is not a plain tensor
_REFUSALS = (RuntimeError, ValueError, TypeError, NotImplementedError, IndexError)


class Anchors:
    """Anchors of a path, side by side.

    Parameters
    ----------
    states : sequence of K states

    Attributes
    ----------
    tensors : state
        Of tensors (K, ...).
    finite : bool
        Whether all numbers are.

    Examples
    --------
    >>> import torch
    >>> from sklflat.paths.batched_evaluation import Anchors
    >>> anchors = Anchors([{"w": torch.tensor(0.0)}, {"w": torch.tensor(torch.inf)}])
    >>> anchors.states(torch.tensor([[1.0, 0.0], [0.5, 0.5]]))
    {'w': tensor([0., inf])}
    """

    def __init__(self, states: Sequence[Mapping[str, Tensor]]) -> None:
        self.tensors = {name: torch.stack([s[name] for s in states]) for name in states[0]}
        self.finite = all(bool(t.isfinite().all()) for t in self.tensors.values())

    def __len__(self) -> int:
        return len(next(iter(self.tensors.values())))

    def __getitem__(self, k: int) -> State:
        return {name: tensor[k] for name, tensor in self.tensors.items()}

    def states(self, C: Tensor) -> State:
        """Of tensors (T, ...), from coefficients (T, K); integers are the first anchor's."""
        if self.finite:
            return {name: _mixed(tensor, C) for name, tensor in self.tensors.items()}
        # an anchor that has no part in a point has no part of its NaN in it either
        rows = [mix([self[k] for k in range(len(self))], c) for c in C]
        return {name: torch.stack([row[name] for row in rows]) for name in self.tensors}


def _mixed(tensor: Tensor, C: Tensor) -> Tensor:
    if not tensor.is_floating_point():
        return tensor[:1].repeat(len(C), *[1] * (tensor.ndim - 1))
    return torch.tensordot(C.to(tensor), tensor, 1)


class StackedRuns:
    """Forward passes at several points of a path, together or one after the other.

    Shortcuts are compared with plain forward passes on a few rows, and taken only where they agree.
    What a network does may depend on the rows: a batch for which one turns out to be wrong is gone
    through again without it.

    Parameters
    ----------
    module : torch.nn.Module
        In evaluation mode; private, as its layers are replaced while it runs.
    anchors : Anchors
    x : Tensor of shape (n, ...)
        Some rows, spread over the data.

    Attributes
    ----------
    first : FirstAffine or None
        Layers that need not be run.
    vectorises : bool
        Whether :func:`torch.func.vmap` works.
    """

    def __init__(self, module: nn.Module, anchors: Anchors, x: Tensor) -> None:
        self.module = module
        self.anchors = anchors
        self.first: FirstAffine | None = None
        C = torch.stack([torch.linspace(1, k + 1, len(anchors)) for k in (1, 2)]).to(x.device)
        C = C / C.sum(1, keepdim=True)
        states = anchors.states(C)
        self._in_place = False
        kept = x.clone()
        self._one_by_one({n: t[:1] for n, t in states.items()}, C[:1], kept, None)
        self._in_place = not torch.equal(kept, x)
        plain = self._one_by_one(states, C, x, None)
        self.first = self._first_affine(states, C, x, plain)
        self.vectorises = self._vectorises(states, C, x, plain)

    def before(self, x: Tensor) -> FirstOutputs | None:
        """What of a batch is computed once for all points."""
        if self.first is None:
            return None
        anchors = [self.anchors[k] for k in range(len(self.anchors))]
        with self._unwritten(x):
            return self.first.before(x.clone() if self._in_place else x, anchors)

    def __call__(
        self, states: State, C: Tensor, x: Tensor, before: FirstOutputs | None = None
    ) -> Tensor:
        """Outputs (T, n, ...).

        Parameters
        ----------
        states : state
            Of tensors (T, ...).
        C : Tensor of shape (T, K)
            Coefficients of the anchors.
        x : Tensor of shape (n, ...)
        before : FirstOutputs or None
            From :meth:`before`.

        Raises
        ------
        UnsupportedNetworkError
            If the network writes on these rows, and did not on those that it was tried on.
        """
        with self._unwritten(x):
            while True:
                together = self.vectorises and len(C) > 1
                run = self._together if together else self._one_by_one
                try:
                    return run(states, C, x, before)
                except DependentError:
                    self.first = None
                except _REFUSALS:
                    if not together:
                        raise
                    self.vectorises = False

    def _run(self, state: State, c: Tensor, x: Tensor, before: FirstOutputs | None) -> Tensor:
        x = x.clone() if self._in_place else x
        if before is None or self.first is None:
            return functional_call(self.module, state, (x,))
        mixed = {path: torch.tensordot(c.to(P), P, 1) for path, P in before.outputs.items()}
        with self.first.replaced(before.inputs, mixed):
            return functional_call(self.module, state, (x,))

    @contextmanager
    def _unwritten(self, x: Tensor) -> Iterator[None]:
        version = _version(x)
        yield
        if _version(x) != version:
            raise UnsupportedNetworkError(
                f"{type(self.module).__name__} writes on its input, but for some rows only. Let it "
                "work on a copy."
            )

    def _one_by_one(
        self, states: State, C: Tensor, x: Tensor, before: FirstOutputs | None
    ) -> Tensor:
        rows = ({name: t[i] for name, t in states.items()} for i in range(len(C)))
        return torch.stack([self._run(row, c, x, before) for row, c in zip(rows, C, strict=True)])

    def _together(self, states: State, C: Tensor, x: Tensor, before: FirstOutputs | None) -> Tensor:
        return vmap(lambda state, c: self._run(state, c, x, before))(states, C)

    # --- which shortcuts are right -----------------------------------------------------------

    def _first_affine(
        self, states: State, C: Tensor, x: Tensor, plain: Tensor
    ) -> FirstAffine | None:
        if not self.anchors.finite:
            return None  # 0 times infinity is not 0
        try:
            with warnings.catch_warnings():
                # of what a module does with gradients on, which is not how it is run
                warnings.simplefilter("ignore")
                first = self.first = FirstAffine(self.module, self.anchors[0], x)
            z = self._one_by_one(states, C, x, self.before(x))
        except _REFUSALS:
            return None
        return first if first and _is_right(z, plain) else None

    def _vectorises(self, states: State, C: Tensor, x: Tensor, plain: Tensor) -> bool:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                right = _is_right(self._together(states, C, x, self.before(x)), plain)
            except _REFUSALS:
                return False
        # where an operation is not vectorised, torch loops over copies, and warns each time
        return right and not any("batching rule" in str(w.message) for w in caught)


def _version(x: Tensor) -> int:
    """How often a tensor was written on; is not counted in inference mode."""
    return 0 if x.is_inference() else x._version


def _is_right(z: Tensor, plain: Tensor) -> bool:
    """Whether outputs are the same; of such that are not finite nothing can be said."""
    return bool(plain.isfinite().any()) and same_outputs(z, plain)
