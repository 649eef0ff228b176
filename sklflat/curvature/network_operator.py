"""Operators of a network's loss: streamed over batches, linearised once where memory allows."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.attention import SDPBackend, sdpa_kernel

from sklflat.curvature.derivative_checks import (
    WrittenOut,
    autograd_nodes,
    check_products,
)
from sklflat.curvature.operator import CurvatureOperator
from sklflat.exceptions import UnsupportedNetworkError
from sklflat.networks import Network, ParameterVector
from sklflat.networks.checks import precision_inside, refuse_scripted, without_graph

Views = Sequence[Tensor]
#: the product with a vector, as tensors of the parameters' shapes; None stands for zeros
Linear = Callable[[Views], Sequence[Tensor | None]]

#: rows on which the memory of a linearisation is measured
_N_MEASURED = 32

#: up to this many entries of activations and parameters a batch, the dispatch of operations costs
#: more than their arithmetic, and a block of vectors is faster than one vector after another
_SMALL = 60_000


class _SharedSettings:
    """Settings of the whole process, which threads need at the same time.

    Made by the first that enters and taken back by the last that leaves: if each thread restored
    what it found, one would restore the other's settings.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._n_inside = 0
        self._stack = ExitStack()

    def __enter__(self) -> None:
        with self._lock:
            if self._n_inside == 0:
                self._stack.enter_context(sdpa_kernel(SDPBackend.MATH))
                if torch.cuda.is_available():
                    backends: list[Any] = [torch.backends.cuda.matmul, torch.backends.cudnn]
                    for backend in backends:
                        self._stack.callback(setattr, backend, "allow_tf32", backend.allow_tf32)
                        backend.allow_tf32 = False
            self._n_inside += 1

    def __exit__(self, *exception: object) -> None:
        with self._lock:
            self._n_inside -= 1
            if self._n_inside == 0:
                self._stack.close()


#: IEEE arithmetic, and attention that can be differentiated twice; afterwards all as before
exact_arithmetic = _SharedSettings()


def differentiable_again(first: Sequence[Tensor | None]) -> dict[int, Tensor]:
    """Those of some first derivatives that depend on what they are taken at, by their position.

    An UnsupportedNetworkError if one passed through a function that can be differentiated only
    once: PyTorch cuts the graph there, so a second derivative would not fail, but miss that part.
    """
    outputs = {i: g for i, g in enumerate(first) if g is not None and g.requires_grad}
    if any("Error" in node.name() for node in autograd_nodes(outputs.values())):
        raise UnsupportedNetworkError(
            "The loss cannot be differentiated twice: it runs through a function that is "
            "marked once_differentiable."
        )
    return outputs


class NetworkOperator(CurvatureOperator):
    r"""A matrix of a network's loss, summed over batches of any sizes and divided once.

    .. math:: A v = \frac{1}{\sum_i s_i} \sum_i s_i\, A_i v

    A subclass supplies ``_linearise``, which prepares the products :math:`\sum_i s_i A_i v` of one
    batch. What it prepares is kept between products, for as many batches as the memory budget
    allows, and prepared anew for the others at each product.

    Parameters
    ----------
    network : Network
        Evaluation mode and a private copy, so nothing of the user's module changes.
    X : Tensor of shape (n, ...)
    y : Tensor of shape (n, ...)
        Targets as the criterion wants them.
    sample_weight : Tensor of shape (n,), default=None
    vector : ParameterVector, default=None
        The parameters of ``network.module`` that the matrix is over; None means all trainable
        ones. The others are constants.
    batch_size : int, default=None
        Rows at once; None takes the network's, or less where the budget demands it.
    memory_budget : int, default=2**30
        Bytes for what is kept between products.

    Attributes
    ----------
    loss : float
        At the present parameters.
    gradient : Tensor of shape (p,)
    n_kept : int
        Batches whose linearisation is kept.
    bytes_per_row : int
        What the linearisation keeps of each row.
    """

    def __init__(
        self,
        network: Network,
        X: Tensor,
        y: Tensor,
        sample_weight: Tensor | None = None,
        *,
        vector: ParameterVector | None = None,
        batch_size: int | None = None,
        memory_budget: int = 2**30,
    ) -> None:
        refuse_scripted(network.module, "cannot be run at other parameters")
        with torch.no_grad():
            network.forward(X[:2])  # a module may insist on its own precision
        self.vector = network.vector if vector is None else vector
        super().__init__(len(self.vector), network.dtype, network.device)
        self.network = network
        self.data = X, y, sample_weight
        self.memory_budget = memory_budget
        self._runner: Callable[[Views, Tensor], Tensor] = self.vector.runner(
            network.module, others_fixed=True
        )
        # native dtypes may differ from the vector's, which is never a half
        self._leaves = [p.detach().clone().requires_grad_() for p in self.vector.parameters]
        self.bytes_per_row = self._measure(X, y, sample_weight)
        fits = self.memory_budget // self.bytes_per_row
        most = max(1, min(network.batch_size, len(X), fits))
        self.batch_size = most if batch_size is None else batch_size
        self._kept: list[Linear] = []
        self._start()
        if self.derivative not in self.network.verified:
            check_products(self).require()
            self.network.verified.add(self.derivative)

    # --- what a subclass says -----------------------------------------------------------------

    def _linearise(self, x: Tensor, y: Tensor, s: Tensor | None) -> Linear:
        """Products of one batch, as sums over its rows."""
        raise NotImplementedError

    #: what its products are derivatives of, and how often
    derivative = "second derivatives of the loss"

    def derivative_along(self, v: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """The derivative that products are made of along v (p,), and the function that it is of."""
        return self.product(v), self.gradient_at

    def gradient_at(self, w: Tensor) -> Tensor:
        """The gradient (p,) at parameters w (p,), which the operator is left at."""
        self._place_at(w)
        self._start(linearise=False)
        return self.gradient

    # --- preparing ----------------------------------------------------------------------------

    def _run(self, views: Views, x: Tensor) -> Tensor:
        with WrittenOut():
            return self._runner(views, x)

    def outputs_at(self, x: Tensor) -> Tensor:
        """Outputs (n, ...) of a batch, to be differentiated by the parameters."""
        return self._run(self._leaves, self.network.prepare(x))

    def move_to(self, w: Tensor) -> None:
        """Linearise anew at other parameters w (p,), which the network's own are set to."""
        self._place_at(w)
        self._start()

    def _place_at(self, w: Tensor) -> None:
        """Set the parameters, and forget what was linearised at others."""
        self.vector.write(w)
        self._leaves = [p.detach().clone().requires_grad_() for p in self.vector.parameters]
        self._kept, self.n_kept = [], 0

    def _measure(self, X: Tensor, y: Tensor, s: Tensor | None) -> int:
        """Bytes that the linearisation of a row keeps alive."""
        n = min(_N_MEASURED, len(X))
        own = {p.untyped_storage().data_ptr() for p in self._leaves}
        seen: dict[int, int] = {}

        def note(t: Tensor) -> Tensor:
            storage = t.untyped_storage()
            if storage.data_ptr() not in own:
                seen[storage.data_ptr()] = storage.nbytes()
            return t.detach()  # the tensor itself would keep its own graph alive

        weight = None if s is None else s[:n]
        alive = []  # storages are told apart by their addresses, so none may be freed meanwhile
        with saved_tensors_hooks(note, lambda t: t):
            for x, *targets in self.network.pairs(X[:n], y[:n], weight):
                alive.append(self._linear(x, targets))
        return max(1, sum(seen.values()) // n)

    def _batches(self) -> Iterator[tuple[Tensor, list[Tensor]]]:
        for x, *targets in self.network.pairs(*self.data, batch_size=self.batch_size):
            yield x, targets

    def _start(self, *, linearise: bool = True) -> None:
        """One pass over the data: loss, gradient, and the linearisations that are kept."""
        n_batches = -(-len(self.data[0]) // self.batch_size)
        fits = self.memory_budget // (self.bytes_per_row * self.batch_size) if linearise else 0
        self.n_kept = min(fits, n_batches)
        sums = torch.zeros(2, dtype=self.dtype, device=self.device)
        total = torch.zeros(self.size, dtype=self.dtype, device=self.device)
        for i, (x, targets) in enumerate(self._batches()):
            with exact_arithmetic:
                part, gradient = self._loss_and_gradient(x, targets)
            sums += part
            total += gradient
            if i < self.n_kept:
                self._kept.append(self._linear(x, targets))
        self._weight = sums[1]
        if float(self._weight) <= 0:
            raise ValueError("The weights of all samples are zero, so there is no loss.")
        mean = self.network.criterion.mean
        self.loss = float(mean(sums[0], sums[1]))
        self.gradient = mean(total, sums[1])
        if not (torch.isfinite(sums).all() and torch.isfinite(self.gradient).all()):
            raise ValueError(
                f"The loss is {self.loss:.6g} with a gradient of norm "
                f"{float(self.gradient.norm()):.6g} at this point: curvature needs finite ones. "
                "Check X and y for extreme values, and whether the training diverged."
            )

    def _loss_and_gradient(self, x: Tensor, targets: list[Tensor]) -> tuple[Tensor, Tensor]:
        z = self._run(self._leaves, self.network.prepare(x))
        loss, weight = self.network.sums(z, *targets)
        gradient = torch.autograd.grad(loss, self._leaves, allow_unused=True)
        return torch.stack([loss.detach(), weight.detach()]), self._join(gradient)

    def _linear(self, x: Tensor, targets: list[Tensor]) -> Linear:
        y, s = (*targets, None)[:2]
        assert y is not None
        try:
            with exact_arithmetic:
                return self._linearise(self.network.prepare(x), y, s)
        except RuntimeError as error:
            raise self._explained(error) from error

    def _explained(self, error: RuntimeError) -> Exception:
        if "does not require grad" in str(error):
            return without_graph(self.network.module)
        if "derivative" not in str(error) and "backward" not in str(error):
            return error
        return UnsupportedNetworkError(
            f"The loss of {type(self.network.module).__name__} cannot be differentiated twice: "
            f"{str(error).splitlines()[0]}"
        )

    def rounding_error(self, n_rows: int = 64, seed: int = 0) -> float:
        """Relative error of a product with a random vector, against float64 on some rows.

        0 in float64; NaN for a module that cannot run in it. Where a module in float64 works in a
        lower precision inside, what a rounding of its weights to that precision changes.
        """
        generator = torch.Generator().manual_seed(seed)
        v = self.random(1, generator)[0]
        rows: list[Any] = [t if t is None else t[:n_rows] for t in self.data]
        if self.dtype == torch.float64:
            return self._rounding_inside(rows, v, generator)
        products = []
        for dtype in (self.dtype, torch.float64):
            copy = self.copy_on(rows, dtype)
            products.append((copy @ v).double())
            if copy.dtype != dtype:
                return float("nan")
        scale = products[1].norm().clamp_min(torch.finfo(torch.float64).tiny)
        return float((products[0] - products[1]).norm() / scale)

    def _rounding_inside(self, rows: list[Any], v: Tensor, generator: torch.Generator) -> float:
        x = self.network.prepare(rows[0][:2])
        inside = precision_inside(self.network.forward, x)
        if inside == torch.float64:
            return 0.0
        copy, w = self.copy_on(rows, self.dtype), self.vector.read()
        plain = copy.product(v)
        unit = torch.finfo(inside).eps
        copy.move_to(w * (1 + unit * copy.random(1, generator)[0].clamp(-1, 1)))
        return float((copy.product(v) - plain).norm() / plain.norm())

    def copy_on(self, rows: Sequence[Any], dtype: torch.dtype) -> "NetworkOperator":
        """An operator like this on other data (X, y, sample_weight), over the same parameters."""
        network = self.network.like(dtype=dtype)
        network.verified |= {*self.network.verified, self.derivative}
        places = {id(p): i for i, p in enumerate(self.network.module.parameters())}
        parameters = list(network.module.parameters())
        vector = ParameterVector(
            (name, parameters[places[id(p)]])
            for name, p in zip(self.vector.names, self.vector.parameters, strict=True)
        )
        return type(self)(network, *rows, vector=vector, **self._options())

    def _options(self) -> dict[str, Any]:
        """Further constructor arguments for a copy of this operator."""
        return {}

    # --- products -----------------------------------------------------------------------------

    def _product(self, v: Tensor) -> Tensor:
        views = self.vector.views(v)
        total = torch.zeros(self.size, dtype=self.dtype, device=self.device)
        for linear in self._linears():
            total += self._applied(linear, views)
        return self.network.criterion.mean(total, self._weight)

    def _applied(self, linear: Linear, views: Views) -> Tensor:
        try:
            return self._join(linear(views))
        except RuntimeError as error:
            raise self._explained(error) from error

    def _linears(self) -> Iterator[Linear]:
        yield from self._kept
        for i, (x, targets) in enumerate(self._batches()):
            if i >= self.n_kept:
                yield self._linear(x, targets)

    def _join(self, tensors: Sequence[Tensor | None]) -> Tensor:
        return self.vector.join(t if t is None else t.detach() for t in tensors).to(self.dtype)

    def _products(self, V: Tensor) -> Tensor:
        per_vector = self.size + self.bytes_per_row * self.batch_size // V.element_size()
        if per_vector > _SMALL or len(V) == 1:
            return super()._products(V)
        views = [
            t.reshape(len(V), *shape)
            for t, shape in zip(V.split(self.vector.sizes, dim=1), self.vector.shapes, strict=True)
        ]
        total = torch.zeros_like(V)
        for linear in self._linears():
            total += torch.func.vmap(lambda *v, of=linear: self._applied(of, v))(*views)
        return self.network.criterion.mean(total, self._weight)
