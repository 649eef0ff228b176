"""A trained network that can be asked for outputs, losses and gradients."""

import copy
from collections.abc import Iterator
from functools import reduce
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.utils.data import DataLoader, Dataset

from sklflat.exceptions import OutputWidthError, UnsupportedNetworkError
from sklflat.networks.checks import checked_rows, row_checks, without_graph
from sklflat.networks.criterion import Criterion
from sklflat.networks.functional import ParameterVector
from sklflat.networks.token_ids import token_ids_named

_PARALLEL = (nn.DataParallel, nn.parallel.DistributedDataParallel)


def copy_module(module: nn.Module) -> nn.Module:
    """A deep copy in evaluation mode, also of a module that keeps a tensor of its last pass.

    A module with lazy layers is returned itself, as running it is what completes it.

    Raises
    ------
    TypeError
        If the module holds what cannot be copied, such as a lock or an open file.
    """
    if any(is_lazy(p) for p in module.parameters()):
        return module.eval()
    kept = [v for part in module.modules() for v in vars(part).values() if isinstance(v, Tensor)]
    try:
        copied = copy.deepcopy(module, {id(v): v.detach() for v in kept if not v.is_leaf})
        for p in copied.parameters():
            if not p.is_leaf:  # torch.jit copies parameters by an operation that is recorded
                p.detach_().requires_grad_()
        return _unwrapped(copied).eval()
    except TypeError as error:
        raise TypeError(
            f"{type(module).__name__} cannot be copied: {error}. Networks are run as copies, so "
            "that they stay as they are: make what cannot be copied where it is used, or give "
            "the module a __deepcopy__."
        ) from error


def _unwrapped(module: nn.Module) -> nn.Module:
    """A module without the wrappers of torch.compile and DataParallel around it and its parts."""
    while hasattr(module, "_orig_mod") or isinstance(module, _PARALLEL):
        module = getattr(module, "_orig_mod" if hasattr(module, "_orig_mod") else "module")
    for name, child in module.named_children():
        plain = _unwrapped(child)
        if plain is not child:
            setattr(module, name, plain)
    return module


@torch.no_grad()
def cast(module: nn.Module, dtype: torch.dtype) -> None:
    """Take a module's parameters and buffers to a precision, in place; what is complex stays so.

    Examples
    --------
    >>> import torch
    >>> from sklflat.networks.network import cast
    >>> module = torch.nn.Linear(1, 1, dtype=torch.complex64)
    >>> cast(module, torch.float64)
    >>> module.weight.dtype
    torch.complex128
    """
    complex_dtype = torch.promote_types(dtype, torch.complex32)
    for part in module.modules():
        for tensors in (part._parameters, part._buffers):
            owned: dict[str, Any] = dict(tensors)
            for name, tensor in owned.items():
                if tensor is None or is_lazy(tensor):
                    continue
                if tensor.is_floating_point() or tensor.is_complex():
                    new = tensor.to(complex_dtype if tensor.is_complex() else dtype)
                    if isinstance(tensor, nn.Parameter):
                        tensor.data = new
                    else:
                        setattr(part, name, new)


def precisions(module: nn.Module) -> Iterator[torch.dtype]:
    """Of every parameter; of a complex one, that of its parts."""
    for p in module.parameters():
        if p.is_floating_point() or p.is_complex():
            yield p.dtype.to_real() if p.is_complex() else p.dtype


def precision(module: nn.Module) -> torch.dtype:
    """Of the first parameter."""
    return next(precisions(module), torch.float32)


def working_precision(module: nn.Module) -> torch.dtype:
    """The widest of the parameters' precisions, and float32 at least.

    Half precision overflows in sums and underflows in derivatives, so nothing is computed in it.

    Examples
    --------
    >>> import torch
    >>> from sklflat.networks.network import working_precision
    >>> working_precision(torch.nn.Linear(1, 1).half())
    torch.float32
    >>> working_precision(torch.nn.Linear(1, 1).double())
    torch.float64
    """
    return reduce(torch.promote_types, precisions(module), torch.float32)


def _of_precision(error: RuntimeError, dtype: torch.dtype) -> Exception:
    """The error of a module whose own precision is another one, in words."""
    if "dtype" not in str(error) and "should be the same" not in str(error):
        return error
    name = str(dtype).removeprefix("torch.")
    return UnsupportedNetworkError(
        f"The network cannot be run in {name}, as its forward casts to another precision: {error}. "
        "Leave out dtype, if it was given; or cast to the precision of its parameters in forward, "
        "as x.to(self.layer.weight.dtype)."
    )


class Network:
    r"""A module and its criterion: outputs, losses and gradients over whole data sets.

    The module is copied, in evaluation mode, so the one that was given is not touched. The copy
    works in the module's own precision, of float32 at least; sums over samples are in float64.
    Normalisation layers use their running statistics and dropout is off, so samples do not see each
    other and

    .. math:: L(w) = \sum_i s_i\, \ell(f(x_i; w), y_i) \Big/ \sum_i s_i

    is the same for every batch size (a criterion's class weights and ignored labels are part of
    the weights :math:`s_i`).

    Parameters
    ----------
    module : torch.nn.Module
        Maps X (n, ...) to outputs (n, k) or (n,).
    criterion : torch.nn.Module
        Loss of outputs and targets, a mean or a sum over samples.
    device : str or torch.device, default="cpu"
    dtype : torch.dtype, default=None
        None is :func:`working_precision` of the module.
    batch_size : int, default=1024
        Samples that are in flight at once.
    whole_batch : bool, default=False
        Whether the output of a sample may depend on its batch, as that of batch normalisation in
        training does. All samples have to be in one batch then.

    Attributes
    ----------
    module : torch.nn.Module
        The private copy.
    criterion : Criterion
    vector : ParameterVector
        Of the trainable parameters of the copy.

    Examples
    --------
    >>> import torch
    >>> from sklflat.networks import Network
    >>> module = torch.nn.Linear(2, 1)
    >>> network = Network(module, torch.nn.MSELoss())
    >>> network.vector.write(torch.tensor([1.0, 2.0, 3.0]))
    >>> X, y = torch.tensor([[1.0, 1.0], [0.0, 1.0]]), torch.zeros(2, 1)
    >>> network.outputs(X).flatten().tolist()
    [6.0, 5.0]
    >>> float(network.loss(X, y)) == (6**2 + 5**2) / 2
    True
    """

    def __init__(
        self,
        module: nn.Module,
        criterion: nn.Module,
        *,
        device: str | torch.device = "cpu",
        dtype: torch.dtype | None = None,
        batch_size: int = 1024,
        whole_batch: bool = False,
    ) -> None:
        self.device = torch.device(device)
        self.batch_size = batch_size
        self.whole_batch = whole_batch
        #: names of what has been checked
        self.verified: set[str] = set()
        self.module = copy_module(module).to(self.device)
        for part in self.module.modules():
            if isinstance(part, (nn.Embedding, nn.EmbeddingBag)):
                part.sparse = False  # sparse gradients cannot be differentiated again
        self.criterion = Criterion(copy_module(criterion).to(self.device))
        #: precision of the module that was given
        self.native = precision(module)
        self.use(dtype or working_precision(module))

    def like(self, module: nn.Module | None = None, **changed: Any) -> "Network":
        """A network of another module, or of a copy of this one's, with the same settings.

        Parameters
        ----------
        module : torch.nn.Module, default=None
        **changed
            Settings of the constructor that are other.
        """
        settings: dict[str, Any] = {
            "criterion": self.criterion.module,
            "device": self.device,
            "dtype": self.dtype,
            "batch_size": self.batch_size,
            "whole_batch": self.whole_batch,
        }
        return Network(self.module if module is None else module, **(settings | changed))

    def use(self, dtype: torch.dtype, strictly: bool = False) -> None:
        """Work in a precision from now on; strictly: raise where the module cannot."""
        self.dtype = dtype
        if strictly:
            self.native = dtype
        for module in (self.module, self.criterion.module):
            cast(module, dtype)

    @property
    def vector(self) -> ParameterVector:
        """The trainable parameters as one vector (p,)."""
        return ParameterVector.of(self.module)

    # --- data -------------------------------------------------------------------------------

    def batches(self, X: Tensor | Dataset) -> Iterator[Tensor]:
        """The inputs in parts of ``batch_size``, as they come."""
        if isinstance(X, Tensor):
            yield from X.split(self.batch_size)
            return
        generator = torch.Generator()  # a DataLoader without one draws from the global one
        for batch in DataLoader(X, batch_size=self.batch_size, generator=generator):
            yield batch[0] if isinstance(batch, (list, tuple)) else batch

    def prepare(self, X: Tensor) -> Tensor:
        """A copy on this network's device; floating-point numbers in its precision.

        Raises
        ------
        ValueError
            If numbers are too large for its precision.
        """
        dtype = self.dtype if X.is_floating_point() else X.dtype
        # a copy, as a network may work in place
        x = X.to(self.device, dtype, copy=True)
        if X.dtype != dtype and bool(x.isinf().any()) and not bool(X.isinf().any()):
            name = str(dtype).removeprefix("torch.")
            raise ValueError(
                f"Numbers up to {float(X.abs().max()):.3g} are too large for this network's "
                f"precision, {name}: scale them, or run it in float64 (dtype='float64' of a "
                "probe, or module.double())."
            )
        return x

    # --- what it says -----------------------------------------------------------------------

    def forward(self, X: Tensor) -> Tensor:
        """Outputs (n, k) or (n,) of one batch, as the module returns them."""
        with token_ids_named(self.module):
            try:
                z = self.module(self.prepare(X))
            except RuntimeError as error:
                if self.dtype == self.native or not self._runs_natively(X):
                    raise _of_precision(error, self.dtype) from error
                self.use(self.native)  # the module itself asks for its precision
                z = self.module(self.prepare(X))
        if isinstance(z, Tensor) and z.is_inference():
            raise UnsupportedNetworkError(
                f"{type(self.module).__name__} runs in torch.inference_mode, so nothing can be "
                "derived from its outputs. Take that out of its forward, and out of decorators."
            )
        if not isinstance(z, Tensor):
            raise OutputWidthError(
                "The network must return one row of outputs per sample, as one tensor of shape "
                f"({len(X)}, k); got {type(z).__name__}. Wrap it in a module that returns the part "
                "that is meant, such as output[0] or output['logits']."
            )
        return z

    def _runs_natively(self, X: Tensor) -> bool:
        """Whether a copy runs in the precision of the module that was given."""
        own = self.like(dtype=self.native)
        try:
            own.module(own.prepare(X))
        except RuntimeError:
            return False
        return True

    @torch.no_grad()
    def check_rows(self, X: Tensor) -> None:
        """Make sure, once, that outputs are no matter of chance or of other rows in the batch.

        Raises
        ------
        UnsupportedNetworkError
            If they are.
        """
        if "rows" in self.verified or not len(X):
            return
        x = checked_rows(X)
        for check in row_checks(self.forward, x, self.whole_batch):
            check.require()
        if self.whole_batch or len(x) > 1:
            self.verified.add("rows")

    @torch.no_grad()
    def outputs(self, X: Tensor | Dataset) -> Tensor:
        """Outputs of shape (n, k), in float64 on the CPU."""
        z = torch.cat([self.forward(x).double().cpu() for x in self.batches(X)])
        return z[:, None] if z.ndim == 1 else z

    @torch.no_grad()
    def losses(self, X: Tensor, y: Tensor) -> Tensor:
        """Loss of every sample, shape (n,), on the CPU.

        A class weight of the criterion is part of a sample's loss.
        """
        parts = [
            self.criterion.terms(self.forward(x), t.to(self.device))[0].cpu()
            for x, t in self.pairs(X, y)
        ]
        return torch.cat(parts)

    @torch.no_grad()
    def loss(self, X: Tensor, y: Tensor, sample_weight: Tensor | None = None) -> Tensor:
        """Mean loss over data, a scalar.

        Parameters
        ----------
        X : Tensor of shape (n, ...)
        y : Tensor of shape (n, ...)
            Targets as the criterion wants them.
        sample_weight : Tensor of shape (n,), default=None
        """
        total = torch.zeros(2, dtype=torch.float64, device=self.device)
        for x, *targets in self.pairs(X, y, sample_weight):
            total += torch.stack(self.sums(self.forward(x), *targets))
        return self.criterion.mean(total[0], total[1])

    def loss_and_gradient(
        self, w: Tensor, X: Tensor, y: Tensor, sample_weight: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Mean loss over data, and its gradient of shape (p,), at parameters w of shape (p,)."""
        vector = self.vector
        run = vector.runner(self.module, others_fixed=True)
        views = [
            v.to(p.dtype).detach().requires_grad_()
            for v, p in zip(vector.views(w), vector.parameters, strict=True)
        ]
        sums = torch.zeros(2, dtype=torch.float64, device=w.device)
        gradient = torch.zeros_like(w)
        for x, *targets in self.pairs(X, y, sample_weight):
            z = run(views, self.prepare(x))
            if not z.requires_grad:
                raise without_graph(self.module)
            part, size = self.sums(z, *targets)
            g = torch.autograd.grad(part, views, allow_unused=True)
            gradient += vector.join(g).to(w.dtype)
            sums += torch.stack([part.detach(), size.detach()])
        return self.criterion.mean(sums[0], sums[1]), self.criterion.mean(gradient, sums[1])

    def sums(
        self, z: Tensor, y: Tensor, sample_weight: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Sum of losses and sum of weights of one batch of outputs and targets, in float64."""
        losses, weights = self.terms(z, y, sample_weight)
        return losses.double().sum(), weights.double().sum()

    def terms(
        self, z: Tensor, y: Tensor, sample_weight: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Losses (n,) and weights (n,) of one batch, sample weights multiplied in."""
        losses, weights = self.criterion.terms(z, y)
        if sample_weight is None:
            return losses, weights
        s = sample_weight.to(losses.dtype)
        return s * losses, s * weights

    def pairs(
        self, X: Tensor, *targets: Tensor | None, batch_size: int | None = None
    ) -> Iterator[tuple[Tensor, ...]]:
        """Batches of inputs with their targets and weights; what is None is left out.

        Targets are on this network's device and in its precision, inputs as they come.
        """
        self.check_rows(X)
        given = [self.prepare(t) for t in targets if t is not None]
        size = batch_size or self.batch_size
        yield from zip(X.split(size), *(t.split(size) for t in given), strict=True)
