"""What is asked of a network before a number of it is believed, each answer with what was measured.

A check compares two computations that have to agree. It returns the deviation, and
:meth:`Check.require` refuses the network with what was compared.
"""

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from sklflat.exceptions import UnsupportedNetworkError

#: rows that checks run on, at most
N_CHECKED = 8

#: roundings by which the same computation may differ, on devices that add in any order
_ROUNDINGS = 1e4

#: relative difference up to which outputs of rows alone are those of rows together: sums are cut in
#: other places then, and networks may round to single precision inside
_APART = 1e-4


@dataclass(frozen=True)
class Check:
    """Two computations that have to agree.

    Attributes
    ----------
    question : str
    compared : str
        What was compared with what.
    deviation : float
        Largest difference, relative to the largest value; NaN if it could not be compared.
    limit : float
        Up to which they count as the same.
    advice : str
        What is likely wrong where they differ, and what to do.

    Examples
    --------
    >>> from sklflat.networks.checks import Check
    >>> check = Check("Are sums sums?", "1 + 1 with 2", 0.0, 1e-9, "Add again.")
    >>> check.passed, str(check)
    (True, 'Are sums sums? Yes: 1 + 1 with 2 differ by 0.')
    """

    question: str
    compared: str
    deviation: float
    limit: float
    advice: str

    @property
    def passed(self) -> bool:
        """Whether they agree, or could not be compared."""
        return not self.deviation > self.limit

    def __bool__(self) -> bool:
        return self.passed

    def __str__(self) -> str:
        if math.isnan(self.deviation):
            return f"{self.question} Not compared: {self.advice}"
        if self.passed:
            return f"{self.question} Yes: {self.compared} differ by {self.deviation:.2g}."
        return f"{self.question} No: {self.compared} differ by {self.deviation:.2g}. {self.advice}"

    def require(self) -> None:
        """Raise an UnsupportedNetworkError unless it has passed."""
        if not self.passed:
            raise UnsupportedNetworkError(str(self))


def relative_difference(found: Tensor, right: Tensor) -> float:
    """Largest difference, relative to the largest finite entry; infinite where one is not finite.

    Examples
    --------
    >>> import torch
    >>> from sklflat.networks.checks import relative_difference
    >>> relative_difference(torch.tensor([1.0, 3.0]), torch.tensor([1.0, 4.0]))
    0.25
    """
    if found.shape != right.shape:
        return float("inf")
    if not (right.is_floating_point() or right.is_complex()):
        found, right = found.double(), right.double()
    same = (found == right) | (found.isnan() & right.isnan())
    if same.all():
        return 0.0
    if not (found[~same].isfinite() & right[~same].isfinite()).all():
        return float("inf")
    known = right.isfinite()
    scale = float(torch.maximum(right[known].abs().max(), found[known].abs().max()))
    return float((found[~same] - right[~same]).abs().max()) / scale


def require_finite(module: nn.Module, values: Tensor, what: str) -> None:
    """Raise a ValueError if what a network gives for some rows is no finite number.

    Parameters
    ----------
    module : torch.nn.Module
        Whose parameters and buffers are looked at for the reason.
    values : Tensor of shape (n_samples, ...)
    what : str
        What they are.

    Examples
    --------
    >>> import torch
    >>> from sklflat.networks.checks import require_finite
    >>> require_finite(torch.nn.Linear(1, 1), torch.ones(2, 1), "outputs")
    """
    finite = values.reshape(len(values), math.prod(values.shape[1:])).isfinite().all(dim=1)
    if finite.all():
        return
    tensors = itertools.chain(module.named_parameters(), module.named_buffers())
    broken = [name for name, t in tensors if t.isnan().any()]
    why = "Look for what overflows, such as large inputs or the logarithm of 0."
    if broken:
        why = f"{broken[0]!r} holds NaN: the training has diverged, or the file is damaged."
    count = f"{int((~finite).sum())} of {len(finite)} rows"
    raise ValueError(f"The network's {what} are not finite for {count}. {why}")


def without_graph(module: nn.Module) -> UnsupportedNetworkError:
    """The error where autograd has recorded nothing between a network's parameters and outputs."""
    return UnsupportedNetworkError(
        f"Outputs of {type(module).__name__} have no derivatives by its parameters: take "
        "torch.no_grad and detach out of its forward, and compute in PyTorch's operations."
    )


def refuse_scripted(module: nn.Module, what: str) -> None:
    """Raise an UnsupportedNetworkError if a module is compiled by torch.jit.

    Parameters
    ----------
    module : torch.nn.Module
    what : str
        What cannot be done with it.
    """
    if any(isinstance(part, torch.jit.ScriptModule) for part in module.modules()):
        raise UnsupportedNetworkError(
            f"A module compiled by torch.jit {what}: pass the one that it was made from."
        )


class LowestPrecision(TorchDispatchMode):
    """While it is entered, the lowest precision that anything of a higher one is rounded to.

    Examples
    --------
    >>> import torch
    >>> from sklflat.networks.checks import LowestPrecision
    >>> with LowestPrecision() as lowest:
    ...     _ = torch.ones(2, dtype=torch.float64).float().sum()
    >>> lowest.dtype
    torch.float32
    """

    def __enter__(self) -> "LowestPrecision":
        self.dtype = torch.float64
        return super().__enter__()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Called by PyTorch in place of every operation."""
        out = func(*args, **(kwargs or {}))
        given = [t for t in args if _has_precision(t)]
        for t in out if isinstance(out, (tuple, list)) else (out,):
            # what is made of no tensor, or of integers, is a constant
            rounds = _has_precision(t) and any(_eps(g) < _eps(t) for g in given)
            if rounds and _eps(t) > torch.finfo(self.dtype).eps:
                self.dtype = t.dtype.to_real()
        return out


def _has_precision(t: Any) -> bool:
    return isinstance(t, Tensor) and (t.is_floating_point() or t.is_complex())


def _eps(t: Tensor) -> float:
    return torch.finfo(t.dtype).eps


class _Flops(TorchDispatchMode):
    """While it is entered, the sum of floating-point operations of products and convolutions."""

    total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Called by PyTorch in place of every operation."""
        out = func(*args, **(kwargs or {}))
        count = flop_registry.get(func._overloadpacket)
        if count is not None:
            self.total += count(*args, **(kwargs or {}), out_val=out)
        return out


@torch.no_grad()
def count_flops(forward: Callable[[Tensor], Any], x: Tensor) -> int:
    """Floating-point operations of matrix products and convolutions in a forward pass.

    Those that PyTorch counts (``torch.utils.flop_counter``): recurrent layers, whose kernels are
    fused, are not among them.

    Parameters
    ----------
    forward : callable
    x : Tensor of shape (n, ...)

    Examples
    --------
    Two for each weight and row:

    >>> import torch
    >>> from sklflat.networks.checks import count_flops
    >>> count_flops(torch.nn.Linear(3, 5), torch.zeros(7, 3))
    210
    """
    with _Flops() as flops:
        forward(x)
    return flops.total


@torch.no_grad()
def precision_inside(forward: Callable[[Tensor], Any], x: Tensor) -> torch.dtype:
    """The lowest precision in which a network computes, whatever its own is.

    Parameters
    ----------
    forward : callable
    x : Tensor of shape (n, ...)
        In the network's own precision.
    """
    with LowestPrecision() as lowest:
        forward(x)
    return lowest.dtype


def checked_rows(X: Tensor, n_rows: int = N_CHECKED) -> Tensor:
    """At most so many rows, from all over the data, which may be sorted."""
    return X[torch.linspace(0, len(X) - 1, min(len(X), n_rows)).long().unique()]


def is_deterministic(forward: Callable[[Tensor], Tensor], x: Tensor) -> Check:
    """Whether the same rows have the same outputs again.

    Parameters
    ----------
    forward : callable
        Outputs (n, ...) of rows.
    x : Tensor of shape (n, ...)
    """
    first, second = forward(x), forward(x)
    roundings = _ROUNDINGS * torch.finfo(first.dtype).eps if first.is_floating_point() else 0.0
    return Check(
        "Is the network deterministic?",
        f"outputs of the same {len(x)} rows and of these rows again",
        relative_difference(second, first),
        roundings,
        "In evaluation mode it still draws random numbers, or it keeps state between calls: give "
        "training=self.training to functional dropout, draw noise only while self.training, and "
        "let state begin anew in every call.",
    )


def is_the_same_with_gradients(forward: Callable[[Tensor], Tensor], x: Tensor) -> Check:
    """Whether outputs are the same while gradients are recorded and while they are not.

    Parameters
    ----------
    forward : callable
    x : Tensor of shape (n, ...)
    """
    with torch.no_grad():
        plain = forward(x)
    with torch.enable_grad():
        recorded = forward(x).detach()
    return Check(
        "Is it the same with gradients?",
        f"outputs of {len(x)} rows with gradients recorded and without",
        relative_difference(recorded, plain),
        _APART,
        "PyTorch takes another way where no gradients are needed, so that losses and their "
        "gradients are of two functions. Padded positions of nn.TransformerEncoder do that: give "
        "it enable_nested_tensor=False.",
    )


def has_independent_rows(forward: Callable[[Tensor], Tensor], x: Tensor) -> Check:
    """Whether rows have the same outputs in two halves of a batch as in all of it.

    Parameters
    ----------
    forward : callable
    x : Tensor of shape (n, ...)
        At least two rows.
    """
    half = len(x) // 2
    # no part has a single row, which a network may take for no batch
    if half > 1:
        apart = torch.cat([forward(x[:half]), forward(x[half:])])
    elif len(x) == 3:
        apart = torch.cat([forward(x[:2])[:1], forward(x[1:])])
    else:
        apart = torch.cat([forward(row[None].expand_as(x).clone())[:1] for row in x])
    return Check(
        "Is each row's output its own?",
        f"outputs of {len(x)} rows together and in parts",
        relative_difference(apart, forward(x)),
        _APART,
        "In evaluation mode the output of a row depends on the rows beside it, so a mean over rows "
        "means nothing: let batch normalisation keep running statistics "
        "(track_running_stats=True), or normalise by layers, groups or instances.",
    )


def row_checks(
    forward: Callable[[Tensor], Tensor], x: Tensor, whole_batch: bool
) -> Iterator[Check]:
    """All checks of rows; a network that is not deterministic would fail the others by chance.

    Parameters
    ----------
    forward : callable
        Outputs (n, ...) of rows (n, ...).
    x : Tensor of shape (n, ...)
    whole_batch : bool
        Whether rows may depend on each other.
    """
    first = is_deterministic(forward, x)
    yield first
    if not first.passed:  # what follows would differ by chance
        return
    yield is_the_same_with_gradients(forward, x)
    if len(x) > 1 and not whole_batch:
        yield has_independent_rows(forward, x)
