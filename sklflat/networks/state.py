"""Parameters and buffers of a module, by name, as one object."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

State = dict[str, Tensor]


def read_state(module: nn.Module) -> State:
    """Copies of all parameters and buffers; a tied parameter is there once, by its first name.

    Examples
    --------
    >>> import torch
    >>> from sklflat.networks.state import read_state
    >>> sorted(read_state(torch.nn.BatchNorm1d(1, affine=False)))
    ['num_batches_tracked', 'running_mean', 'running_var']
    """
    return {name: tensor.detach().clone() for name, tensor in _named(module).items()}


@torch.no_grad()
def write_state(module: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Copy a state into a module, in place.

    Raises
    ------
    ValueError
        If the module has other tensors than the state.
    """
    own = _named(module)
    check_same_architecture(own, state)
    for name, tensor in own.items():
        tensor.copy_(state[name])


def mix(states: Sequence[Mapping[str, Tensor]], coefficients: Sequence[float] | Tensor) -> State:
    """The sum of states by coefficients; what is not floating-point is the first state's.

    A state whose coefficient is zero has no part in it, whatever its values are.

    Parameters
    ----------
    states : sequence of K states
    coefficients : sequence of float or Tensor of shape (K,)

    Examples
    --------
    >>> import torch
    >>> from sklflat.networks.state import mix
    >>> a, b = {"w": torch.tensor([1.0]), "n": torch.tensor(3)}, {"w": torch.tensor([5.0])}
    >>> mix([a, b | {"n": torch.tensor(4)}], [0.75, 0.25])
    {'w': tensor([2.]), 'n': tensor(3)}
    """
    weights = [float(c) for c in coefficients]
    if len(weights) != len(states):
        raise ValueError(f"coefficients must be {len(states)}, one for each state, got {weights}.")
    return {name: _sum([s[name] for s in states], weights) for name in states[0]}


def check_same_architecture(
    a: nn.Module | Mapping[str, Tensor], b: nn.Module | Mapping[str, Tensor]
) -> None:
    """Raise a ValueError that names the first tensor in which two modules or states differ."""
    first, second = (_named(m) if isinstance(m, nn.Module) else m for m in (a, b))
    for name in [*first, *(name for name in second if name not in first)]:
        shapes = [str(tuple(s[name].shape)) if name in s else "absent" for s in (first, second)]
        if shapes[0] != shapes[1]:
            raise ValueError(
                f"The networks differ: {name!r} is {shapes[0]} in one and {shapes[1]} in the "
                "other. Only networks of one architecture can be joined."
            )


def check_state(state: Any, name: str, *, finite: Collection[str] | None = ()) -> None:
    """Raise an error if an argument is no state, or some of its tensors are not finite.

    Parameters
    ----------
    state : object
    name : str
        Of the argument.
    finite : collection of str, default=()
        Tensors that have to be finite; None: all.

    Raises
    ------
    TypeError
        If it is no mapping.
    ValueError
        If it lacks one of the tensors, or one has NaN or infinity.
    """
    if not isinstance(state, Mapping):
        raise TypeError(
            f"{name} must be a state, as sklflat.networks.state.read_state(module) returns "
            f"one, got {type(state).__name__}."
        )
    for key in state if finite is None else finite:
        if key not in state:
            raise ValueError(f"names has {key!r}, which the state {name} does not have.")
        if not state[key].isfinite().all():
            raise ValueError(f"{key!r} of the state {name} has entries that are not finite.")


def _named(module: nn.Module) -> State:
    return dict(module.named_parameters()) | dict(module.named_buffers())


def _sum(tensors: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    if not (tensors[0].is_floating_point() or tensors[0].is_complex()):
        return tensors[0].clone()
    terms = [w * t for w, t in zip(weights, tensors, strict=True) if w]
    # not by sum(), which begins with the integer 0
    total = terms[0] if terms else torch.zeros_like(tensors[0])
    for term in terms[1:]:
        total = total + term
    return total
