"""Affine layers that read the data themselves: linear in the anchors of a path."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call

from sklflat.networks.state import State

#: of exactly these classes: a subclass may do anything
AFFINE = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)

#: how far parameters are moved to see what depends on them
_SHIFT = 0.1


class DependentError(RuntimeError):
    """A layer was called with something else than it was thought to be, or again."""


@dataclass(frozen=True)
class FirstOutputs:
    """What first affine layers make of one batch.

    Attributes
    ----------
    inputs : state
        What each of them is called with.
    outputs : state
        What it returns at K anchors, (K, n, ...).
    """

    inputs: State
    outputs: State

    @property
    def nbytes(self) -> int:
        """Memory, if it is kept."""
        return sum(t.nbytes for t in (*self.inputs.values(), *self.outputs.values()))


class FirstAffine:
    r"""Layers that are called once, with an input that no parameter has a part in.

    On a path :math:`\theta(t) = \sum_k c_k(t) \theta_k` the output of such a layer is
    :math:`\sum_k c_k(t) P_k`, with its outputs :math:`P_k` at the anchors: K computations serve
    all points. (Coefficients add up to 1, so biases are no exception.)

    Parameters
    ----------
    module : torch.nn.Module
        In evaluation mode.
    state : state
        Finite parameters and buffers, in whose neighbourhood the module is looked at.
    x : Tensor of shape (n, ...)
        Some rows.

    Attributes
    ----------
    layers : dict of str to torch.nn.Module
        By their paths.

    Examples
    --------
    >>> import torch
    >>> from sklflat.paths.first_affine import FirstAffine
    >>> from sklflat.networks.state import read_state
    >>> from sklflat.networks import MLP
    >>> module = MLP(2, 1, hidden_layer_sizes=(3,))
    >>> list(FirstAffine(module, read_state(module), torch.randn(4, 2)).layers)
    ['hidden.linear_0']
    """

    def __init__(self, module: nn.Module, state: Mapping[str, Tensor], x: Tensor) -> None:
        self.module = module
        self._names = {id(p): name for name, p in module.named_parameters()}
        self.layers: dict[str, nn.Module] = {
            path: part for path, part in module.named_modules() if self._is_plain(part)
        }
        if self.layers:
            self._keep_independent(state, x)

    def __bool__(self) -> bool:
        return bool(self.layers)

    def _is_plain(self, part: nn.Module) -> bool:
        # hooks may make weights from other parameters, or change what comes in and out
        hooked = part._forward_pre_hooks or part._forward_hooks or "forward" in vars(part)
        own = [p for p in part._parameters.values() if p is not None]
        return type(part) in AFFINE and not hooked and all(id(p) in self._names for p in own)

    def _keep_independent(self, state: Mapping[str, Tensor], x: Tensor) -> None:
        generator = torch.Generator().manual_seed(0)
        moved = {
            name: t + _SHIFT * torch.rand(t.shape, generator=generator).to(t)
            if t.is_floating_point()
            else t
            for name, t in state.items()
        }
        seen = [self._first_inputs(s, x) for s in (state, moved)]
        self.layers = {
            path: part
            for path, part in self.layers.items()
            if all(len(calls.get(path, ())) == 1 for calls in seen)
            and not any(calls[path][0].requires_grad for calls in seen)
            and torch.equal(seen[0][path][0], seen[1][path][0])
        }

    def _first_inputs(self, state: Mapping[str, Tensor], x: Tensor) -> dict[str, list[Tensor]]:
        """What each layer is called with, where gradients say what depends on the state."""
        calls: dict[str, list[Tensor]] = {}
        parameters = set(self._names.values())  # no gradient flows to running statistics
        leaves = {
            name: t.detach().clone().requires_grad_(name in parameters and t.is_floating_point())
            for name, t in state.items()
        }
        with torch.enable_grad(), _watched(self.layers, lambda path, v: _append(calls, path, v)):
            functional_call(self.module, leaves, (x.clone(),))
        return calls

    def before(self, x: Tensor, anchors: Sequence[Mapping[str, Tensor]]) -> FirstOutputs:
        """Inputs and outputs of every layer that one batch reaches, the latter at K anchors."""
        inputs: State = {}

        def keep(path: str, value: Tensor) -> None:
            inputs[path] = value if _shares(value, x) else value.clone()
            if len(inputs) == len(self.layers):
                raise _AllSeen

        try:
            with _watched(self.layers, keep):
                functional_call(self.module, dict(anchors[0]), (x,))
        except _AllSeen:
            pass
        return FirstOutputs(
            inputs, {path: self._outputs(path, value, anchors) for path, value in inputs.items()}
        )

    def _outputs(self, path: str, x: Tensor, anchors: Sequence[Mapping[str, Tensor]]) -> Tensor:
        layer = self.layers[path]
        named = {n: self._names[id(p)] for n, p in layer.named_parameters(recurse=False, prefix="")}
        rows = [
            functional_call(layer, {n: anchor[name] for n, name in named.items()}, (x,))
            for anchor in anchors
        ]
        return torch.stack(rows)

    @contextmanager
    def replaced(
        self, inputs: Mapping[str, Tensor], outputs: Mapping[str, Tensor]
    ) -> Iterator[None]:
        """While it is entered, the layers return these outputs.

        Which layers are independent was seen on some rows only. So a layer that is called with
        another input than this one, or a second time, raises a :class:`DependentError`.
        """
        parts = [self.layers[path] for path in outputs]
        try:
            for part, (path, value) in zip(parts, outputs.items(), strict=True):
                part.forward = _stand_in(inputs[path], value)
            yield
        finally:
            for part in parts:
                vars(part).pop("forward", None)


def _stand_in(expected: Tensor, value: Tensor) -> Callable[[Tensor], Tensor]:
    left = [value]

    def forward(x: Tensor) -> Tensor:
        if not left or not _same(x, expected):
            raise DependentError("The input of a layer depends on the parameters for some rows.")
        return left.pop()

    return forward


def _same(x: Tensor, expected: Tensor) -> bool:
    """Whether they have the same values; not read, where they are the same memory."""
    if x.shape != expected.shape or x.dtype != expected.dtype:
        return False
    try:
        same_place = x.data_ptr() == expected.data_ptr() and x.stride() == expected.stride()
        return same_place or torch.equal(x, expected)
    except RuntimeError:  # it is stacked by vmap: another one for each point
        return False


def _shares(value: Tensor, x: Tensor) -> bool:
    return value.untyped_storage().data_ptr() == x.untyped_storage().data_ptr()


class _AllSeen(Exception):
    """All that was looked for has been computed."""


def _append(calls: dict[str, list[Tensor]], path: str, value: Tensor) -> None:
    kept = value.detach().clone()
    kept.requires_grad_(value.requires_grad and kept.is_floating_point())
    calls.setdefault(path, []).append(kept)


@contextmanager
def _watched(layers: Mapping[str, nn.Module], see: Callable[[str, Tensor], None]) -> Iterator[None]:
    """Call ``see(path, input)`` whenever a layer is about to run."""
    handles = [
        part.register_forward_pre_hook(lambda _, args, path=path: see(path, args[0]))
        for path, part in layers.items()
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
