"""Products with curvature, compared with differences of what they are derivatives of."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from sklflat.networks import Network, ParameterVector
from sklflat.networks.checks import Check, count_flops, precision_inside
from sklflat.networks.criterion import label_weights
from sklflat.networks.network import copy_module

#: rows on which products are compared, at most, and floating-point operations of their forward
#: pass, at most; at least two rows
N_ROWS, _MAX_FLOPS = 16, 3e7

#: relative deviation up to which a product agrees, by the lowest precision inside the network; and
#: steps of differences, relative to the size of each parameter: each crosses fewer kinks
_AGREES = {torch.float64: 1e-4, torch.float32: 1e-3}
_STEPS = (1e-6, 3e-8, 1e-9)

#: error of a value, relative to it
_ROUNDING = 50 * torch.finfo(torch.float64).eps

#: how far from the parameters products are compared, so that no unit is just at its kink
_ASIDE = 1e-2


class WrittenOut(TorchFunctionMode):
    """While it is entered, operations whose second derivative PyTorch gets wrong are written out.

    Weight normalisation is ``g v / |v|``. The double backward of its fused form misses a part
    (torch 2.13; ``torch.autograd.gradgradcheck`` says so).
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Called by PyTorch in place of every operation."""
        if func is torch._weight_norm:
            return _weight_norm(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def _weight_norm(v: Tensor, g: Tensor, dim: int = 0) -> Tensor:
    return v * (g / torch.norm_except_dim(v, 2, dim))


class Differentiated(Protocol):
    """An operator of a network's loss: see :class:`NetworkOperator`."""

    network: Network
    vector: ParameterVector
    data: tuple[Tensor, Tensor, Tensor | None]
    dtype: torch.dtype
    derivative: str

    def copy_on(self, rows: Sequence[Any], dtype: torch.dtype) -> "Differentiated":
        """The same on other data."""

    def move_to(self, w: Tensor) -> None:
        """Go to other parameters w (p,)."""

    def derivative_along(self, v: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """A derivative along v (p,), and the function that it is of."""

    def product(self, V: Tensor) -> Tensor:
        """The product with a vector (p,)."""

    def random(self, n: int, generator: torch.Generator) -> Tensor:
        """Rows (n, p)."""

    def outputs_at(self, x: Tensor) -> Tensor:
        """Outputs (n, ...), with their graph."""


def check_products(operator: Differentiated) -> Check:
    """Whether a product with a random vector is the derivative that it stands for.

    On at most :data:`N_ROWS` rows, fewer where a row takes long, in float64, slightly aside of the
    operator's parameters. Where the network insists on another precision, or works in half
    precision inside, the deviation is NaN.
    """
    rows = _counted_rows(operator)
    copy = operator.copy_on(rows, torch.float64)
    inside = precision_inside(copy.outputs_at, copy.network.prepare(rows[0][:2]))
    deviation, limit = float("nan"), _AGREES.get(inside, float("nan"))
    advice = "the network insists on a precision in which differences say nothing."
    if copy.dtype == torch.float64 and inside in _AGREES:
        deviation = _deviation(copy, inside)
    if deviation > limit:
        advice = f"{_suspects(copy)} Write it in PyTorch's operations, and detach nothing in it."
    return Check(
        "Are the derivatives right?",
        f"{copy.derivative} along a random direction and differences on {len(rows[0])} rows",
        deviation,
        limit,
        advice,
    )


def _counted_rows(operator: Differentiated) -> list[Any]:
    """Data (X, y, sample_weight) of some rows, from all over them, that have a weight."""
    X, y, s = operator.data
    weight = torch.ones(len(X)) if s is None else s.cpu()
    own = label_weights(operator.network.criterion.module, y)
    if own is not None:
        weight = weight * own.cpu().reshape(len(own), -1).sum(1)
    known = torch.nonzero(weight > 0)[:, 0]
    # of a copy, whose buffers nobody needs; of two rows, as statistics of one row say nothing
    network, two = operator.network, X[:2]
    flops_per_row = count_flops(copy_module(network.module), network.prepare(two)) / len(two)
    n_rows = min(len(known), N_ROWS, max(2, int(_MAX_FLOPS / max(flops_per_row, 1))))
    chosen = known[torch.linspace(0, len(known) - 1, n_rows).long().unique()]
    return [t if t is None else t[chosen.to(t.device)] for t in operator.data]


def _deviation(copy: Differentiated, inside: torch.dtype) -> float:
    """The smallest deviation over some directions and steps, for a network of some precision.

    Differences need steps that no kink is within, so where a network rounds to a lower precision
    only symmetry is asked.
    """
    generator = torch.Generator().manual_seed(0)
    w = copy.vector.read().double()
    scale = _scales(copy.vector, w) * _with_derivatives(copy)
    least = float("inf")
    for step in _STEPS:
        aside, v, u = (scale * noise for noise in copy.random(3, generator))
        at = _moved(copy, w, w + _ASIDE * aside)
        product, along = copy.derivative_along(v)
        Av, Au = copy.product(v), copy.product(u)
        size = _norm(u) * _norm(Av) + _norm(v) * _norm(Au)
        deviation = abs(float(u @ Av - v @ Au)) / size if size else 0.0
        if inside == torch.float64:
            after, before = along(at + step * v), along(at - step * v)
            difference = (after - before) / (2 * step)
            largest = max(_norm(product), _norm(difference))
            # what the rounding of the values alone makes of the difference
            noise = _ROUNDING * _norm(after) / step
            apart = max(_norm(product - difference) - noise, 0.0)
            deviation = max(deviation, apart / largest if largest else 0.0)
        least = min(least, deviation)
        if least <= _AGREES[inside]:
            return least
    copy.move_to(w)
    return least


def _with_derivatives(operator: Differentiated) -> Tensor:
    """1 (p,), but 0 for the rows of padding, which ``nn.Embedding`` gives no derivative by intent.

    They are read, and training leaves them as they are, so curvature counts them as constants.
    """
    vector = operator.vector
    known = torch.ones(sum(vector.sizes), dtype=torch.float64, device=operator.network.device)
    for part in operator.network.module.modules():
        if isinstance(part, nn.Embedding) and part.padding_idx is not None:
            for own, p in zip(vector.views(known), vector.parameters, strict=True):
                if p is part.weight:
                    own[part.padding_idx] = 0.0
    return known


def _scales(vector: ParameterVector, w: Tensor) -> Tensor:
    """The root mean square (p,) of the parameter that each entry belongs to; of all, for zeros."""
    typical = _norm(w) / max(len(w), 1) ** 0.5 or 1.0
    own = [_norm(v.flatten()) / max(v.numel(), 1) ** 0.5 or typical for v in vector.views(w)]
    sizes = torch.tensor(vector.sizes)
    return torch.repeat_interleave(torch.tensor(own, dtype=w.dtype), sizes).to(w.device)


def _moved(copy: Differentiated, w: Tensor, aside: Tensor) -> Tensor:
    """Go aside of the parameters w (p,), unless there the loss is not finite."""
    try:
        copy.move_to(aside)
    except ValueError:
        copy.move_to(w)
        return w
    return aside


def _norm(v: Tensor) -> float:
    """The Euclidean norm, also where squares leave floating range."""
    largest = float(v.abs().max()) if len(v) else 0.0
    return largest * float((v / largest).norm()) if 0 < largest < float("inf") else largest


def autograd_nodes(outputs: Iterable[Tensor]) -> set[Any]:
    """All functions between leaves and some tensors, as autograd has recorded them."""
    found: set[Any] = set()
    ahead = [t.grad_fn for t in outputs]
    while ahead:
        node = ahead.pop()
        if node is not None and node not in found:
            found.add(node)
            ahead += [following for following, _ in node.next_functions]
    return found


def _suspects(operator: Differentiated) -> str:
    """Names of the functions of the user's own on the way to the loss."""
    x, *targets = next(iter(operator.network.pairs(*operator.data)))
    loss, _ = operator.network.sums(operator.outputs_at(x), *targets)
    nodes = autograd_nodes([loss])
    own = [node for node in nodes if isinstance(node, torch.autograd.function.BackwardCFunction)]
    names = {type(node).__name__.removesuffix("Backward") for node in own}
    if names:
        return f"Of the functions {sorted(names)}, one has no right derivative."
    operations = sorted({node.name().removesuffix("0").removesuffix("Backward") for node in nodes})
    return f"One of {operations} has no right derivative."
