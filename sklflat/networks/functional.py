"""A network as a function of one vector."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sklflat.exceptions import UnsupportedNetworkError


def is_bias(name: str) -> bool:
    """Whether a parameter's own name says that it is an additive bias."""
    return "bias" in name.rpartition(".")[2]


class ParameterVector:
    """Parameters of a network seen as one vector w of length p.

    A parameter that occurs several times (weight tying) counts once, a non-trainable one
    (``requires_grad=False``) not at all.

    Parameters
    ----------
    named_parameters : iterable of (str or None, torch.nn.Parameter)
        In the order in which they make up the vector. A parameter whose name is None counts
        as a bias if it has fewer than two dimensions.

    Attributes
    ----------
    names : list of str or None
    parameters : list of torch.nn.Parameter
    is_weight : Tensor of shape (p,), bool
        False at the entries of additive biases.

    Examples
    --------
    >>> import torch
    >>> from sklflat.networks import ParameterVector
    >>> vector = ParameterVector.of(torch.nn.Linear(2, 1))
    >>> vector.write(torch.tensor([1.0, 2.0, 3.0]))
    >>> vector.read()
    tensor([1., 2., 3.])
    >>> vector.is_weight
    tensor([ True,  True, False])
    """

    def __init__(self, named_parameters: Iterable[tuple[str | None, nn.Parameter]]) -> None:
        unique = {id(p): (name, p) for name, p in named_parameters if p.requires_grad}
        if not unique:
            raise ValueError(
                "The network has no parameter with requires_grad=True: nothing can be trained, and "
                "there is no gradient. Call requires_grad_(True) on those that are meant."
            )
        self.names = [name for name, _ in unique.values()]
        self.parameters = [p for _, p in unique.values()]
        for name, p in unique.values():
            if p.is_complex():
                raise UnsupportedNetworkError(
                    f"The parameter {name or tuple(p.shape)} is complex. Lengths, perturbations "
                    "and curvature are defined here for real parameters: keep pairs of real "
                    "numbers, and use torch.view_as_complex in forward."
                )
        devices = {str(p.device) for p in self.parameters}
        if len(devices) > 1:
            raise ValueError(
                f"All parameters must be on one device, got {sorted(devices)}: "
                "norms are taken over all of them."
            )
        self.shapes = [p.shape for p in self.parameters]
        self.sizes = [p.numel() for p in self.parameters]
        self.device = self.parameters[0].device
        # half precision overflows in norms and underflows in rho * g, so vectors never are
        self.dtype = torch.float32
        for p in self.parameters:
            self.dtype = torch.promote_types(self.dtype, p.dtype)

    @classmethod
    def of(cls, module: nn.Module) -> "ParameterVector":
        """The vector of all trainable parameters of a module."""
        return cls(module.named_parameters())

    def __len__(self) -> int:
        return sum(self.sizes)

    @property
    def is_weight(self) -> Tensor:
        """Mask of shape (p,) that is False at the entries of additive biases."""
        flags = [
            p.ndim > 1 if name is None else not is_bias(name)
            for name, p in zip(self.names, self.parameters, strict=True)
        ]
        sizes = torch.tensor(self.sizes)
        return torch.repeat_interleave(torch.tensor(flags), sizes).to(self.device)

    def views(self, vector: Tensor) -> list[Tensor]:
        """Split a vector of shape (p,) into views of the parameters' shapes."""
        return [v.view(s) for v, s in zip(vector.split(self.sizes), self.shapes, strict=True)]

    def join(self, tensors: Iterable[Tensor | None]) -> Tensor:
        """One new vector (p,) from tensors shaped like the parameters; None counts as zeros."""
        parts = [
            torch.zeros(size, dtype=self.dtype, device=self.device)
            if t is None
            else (t.to_dense() if t.is_sparse else t).reshape(-1).to(self.dtype)
            for t, size in zip(tensors, self.sizes, strict=True)
        ]
        return torch.cat(parts)

    @torch.no_grad()
    def read(self) -> Tensor:
        """A copy of the parameters as a vector of shape (p,)."""
        return self.join(self.parameters)

    @torch.no_grad()
    def write(self, vector: Tensor) -> None:
        """Copy a vector of shape (p,) into the parameters, in place."""
        torch._foreach_copy_([p.detach() for p in self.parameters], self.views(vector))

    def function(self, module: nn.Module, loss: Callable[..., Any]) -> Callable[..., Any]:
        """``loss(module(X), *targets)`` as a function ``f(w, X, *targets)`` of the vector.

        Every use of a tied parameter sees the same entries of w. Buffers are the module's own.
        The function can be differentiated and vectorised by :mod:`torch.func`.
        """
        run = self.runner(module)

        def f(w: Tensor, X: Tensor, *targets: Tensor) -> Any:
            return loss(run(self.views(w), X), *targets)

        return f

    def runner(self, module: nn.Module, *, others_fixed: bool = False) -> Callable[..., Tensor]:
        """The function ``run(tensors, X, others=None)``: the module's output with these parameters.

        Parameters
        ----------
        module : torch.nn.Module
        others_fixed : bool, default=False
            Whether parameters of the module that are not in the vector are taken as constants.

        Returns
        -------
        callable
            Its tensors have the parameters' shapes and order. ``others`` are buffers and untrained
            parameters by name; what the module put in their place is written back.
        """
        own = {id(p): i for i, p in enumerate(self.parameters)}
        named = list(module.named_parameters(remove_duplicate=False))
        places = [(name, own[id(p)]) for name, p in named if id(p) in own]
        rest = {name: p.detach() for name, p in named if id(p) not in own} if others_fixed else {}

        def run(
            tensors: Sequence[Tensor], X: Tensor, others: dict[str, Tensor] | None = None
        ) -> Tensor:
            swapped = {name: tensors[i] for name, i in places}
            given = rest | swapped | (others or {})
            output = torch.func.functional_call(module, given, (X,), tie_weights=False)
            if others is not None:
                others.update({name: given[name] for name in others})
            return output

        return run
