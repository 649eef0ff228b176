"""The loss around a point in parameter space: its values, Hessian and null spaces."""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from sklflat.curvature.displacements import Spread, normal
from sklflat.curvature.hessian import Hessian
from sklflat.curvature.operator import CurvatureOperator, ScaledOperator
from sklflat.networks import Network, ParameterVector
from sklflat.networks.hooks import temporary_hooks

#: outputs that change by less than this share of their spread do not depend on a parameter's length
_UNCHANGED = 0.01
#: singular values of a layer's inputs below this share of the largest are zero: in float64, and
#: in roundings of a lower precision
_RANK_TOL, _ROUNDINGS = 1e-12, 32


class Landscape:
    """Loss, Hessian and insensitive directions of a network on fixed data, at any parameters.

    Batch normalisation uses the statistics of these data, as it does in training, so that what a
    filter's length cannot change is not changed here either. Dropout is off.

    Parameters
    ----------
    network : Network
        It is copied.
    X : Tensor of shape (n, ...)
    y : Tensor of shape (n, ...)
        Targets as the criterion wants them.
    sample_weight : Tensor of shape (n,), default=None
    order : sequence of int, default=None
        Positions of the parameters that make up w among the module's; None for all that are
        trainable.
    inputs : Tensor or Dataset, default=None
        All inputs on which a null space must leave the outputs alone; None for X.
    score : callable, default=None
        The score of outputs (n, k), a float64 array, such as their accuracy.
    dtype : torch.dtype, default=None
        Of the copy; None is the network's.

    Attributes
    ----------
    n_passes : int
        Forward passes over the data.
    n_matvec : int
        Products with the Hessian.
    filters : Tensor of shape (p,), int
        The filter of every parameter: a row of weights (an output channel), or all of a vector.
    free_length : Tensor of shape (p,), bool
        Weights of layers whose rows may have any length, as a normalisation follows.
    inert : Tensor of shape (p,), bool
        Vectors of which the outputs do not depend at all, such as biases before a normalisation.

    Examples
    --------
    >>> import torch
    >>> from sklflat.curvature import Landscape
    >>> from sklflat.networks import Network
    >>> network = Network(torch.nn.Linear(2, 1, bias=False), torch.nn.MSELoss())
    >>> land = Landscape(network, torch.tensor([[1.0, 0.0]]), torch.zeros(1, 1))
    >>> land.loss(torch.tensor([3.0, 5.0]))
    9.0
    >>> land.hessian(torch.tensor([3.0, 5.0])).dense()
    tensor([[2., 0.],
            [0., 0.]])
    """

    def __init__(
        self,
        network: Network,
        X: Tensor,
        y: Tensor,
        sample_weight: Tensor | None = None,
        *,
        order: Sequence[int] | None = None,
        inputs: Any = None,
        score: Callable[[np.ndarray], float] | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        self.network = network.like(
            dtype=dtype or network.dtype,
            batch_size=max(len(X), network.batch_size),
            whole_batch=True,
        )
        for module in self.network.module.modules():
            if isinstance(module, _BatchNorm):  # without a memory it normalises by the batch
                module.track_running_stats = False
                module.running_mean = module.running_var = module.num_batches_tracked = None
        self.data = X, y, sample_weight
        self._prepared: tuple[torch.dtype, list[Tensor]] | None = None
        self.inputs = X if inputs is None else inputs
        self.score = score
        parameters = list(self.network.module.parameters())
        chosen = [p for p in parameters if p.requires_grad]
        if order is not None:
            chosen = [parameters[i] for i in order]
        self.vector = ParameterVector((None, p) for p in chosen)
        self.n_passes = 0
        self.n_matvec = 0
        self.filters = _filters(self.vector)

    def __len__(self) -> int:
        return len(self.vector)

    # --- the loss ---------------------------------------------------------------------------

    def outputs(self, w: Tensor) -> Tensor:
        """Outputs (n, k) on the data at parameters w (p,)."""
        self.vector.write(w)
        self.n_passes += 1
        return self.network.outputs(self.data[0])

    def loss(self, w: Tensor) -> float:
        """Mean loss over the data at parameters w (p,)."""
        self.vector.write(w)
        self.n_passes += 1
        with torch.no_grad():
            z = self.network.forward(self.data[0])
            total, size = self.network.sums(z, *self._targets())
            return float(self.network.criterion.mean(total, size))

    def _targets(self) -> list[Tensor]:
        """Targets, and weights if any, prepared once: a pass is mostly what surrounds it."""
        dtype = self.network.dtype  # a module that insists on its own precision changes it
        if self._prepared is None or self._prepared[0] != dtype:
            given = [self.network.prepare(t) for t in self.data[1:] if t is not None]
            self._prepared = dtype, given
        return self._prepared[1]

    def score_at(self, w: Tensor) -> float:
        """The score of the outputs at parameters w (p,)."""
        if self.score is None:
            raise ValueError("This landscape was made without a score.")
        z = self.outputs(w).numpy()
        return self.score(z) if np.isfinite(z).all() else -np.inf

    def hessian(self, w: Tensor, mask: Tensor | None = None) -> CurvatureOperator:
        """The Hessian of the loss at parameters w (p,), among those that a mask lets move."""
        self.vector.write(w)
        with torch.enable_grad():
            operator: CurvatureOperator = Hessian(self.network, *self.data, vector=self.vector)
        if mask is None:
            return operator
        return ScaledOperator(operator, mask.to(operator.dtype))

    # --- noise ------------------------------------------------------------------------------

    def spread(self, w: Tensor, by_filter: bool = True, mask: Tensor | None = None) -> Spread:
        """Independent noise of every parameter at w (p,).

        Parameters
        ----------
        w : Tensor of shape (p,)
        by_filter : bool, default=True
            Each filter's noise is as long, on average, as the filter, and 0 along lengths and in
            vectors on which the outputs do not depend; else all deviations are 1.
        mask : Tensor of shape (p,), bool, default=None
            False where there is no noise.
        """
        if not by_filter:
            deviation = torch.ones_like(w)
            return Spread(deviation if mask is None else deviation * mask, self.filters)
        n = int(self.filters.max()) + 1
        size = w.new_zeros(n).index_add(0, self.filters, torch.ones_like(w))
        length = w.new_zeros(n).index_add(0, self.filters, w.square()).sqrt()
        deviation = (length / size.sqrt())[self.filters] * ~self.inert
        if mask is not None:
            deviation = deviation * mask
        free = self.free_length & (length > 0)[self.filters]
        radial = torch.where(free, w / length[self.filters], 0.0) if free.any() else None
        return Spread(deviation, self.filters, radial)

    # --- what the outputs do not depend on --------------------------------------------------

    @property
    def free_length(self) -> Tensor:
        """Weights (p,) of layers whose rows may have any length."""
        return self._insensitive[0]

    @property
    def inert(self) -> Tensor:
        """Vectors (p,) on which the outputs do not depend at all."""
        return self._insensitive[1]

    @cached_property
    def _insensitive(self) -> tuple[Tensor, Tensor]:
        """Change one parameter tensor at a time, and see whether the outputs change."""
        w = self.vector.read()
        z = self.outputs(w)
        allowed = _UNCHANGED * float((z - z.mean()).norm())
        marks: list[list[Tensor]] = [[], []]
        random = normal((len(w),), w)
        for i, view in enumerate(self.vector.views(w)):
            changed = w.clone()
            part, r = self.vector.views(changed)[i], self.vector.views(random)[i]
            is_vector = part.ndim < 2
            if is_vector:
                part += r
            else:  # every row by a factor of its own
                part *= (0.5 + 1.5 * r.flatten(1)[:, 0].sigmoid()).view(-1, *[1] * (part.ndim - 1))
            same = float((self.outputs(changed) - z).norm()) <= allowed
            for kind, mark in zip((not is_vector, is_vector), marks, strict=True):
                mark.append(torch.full((view.numel(),), same and kind, device=w.device))
        self.vector.write(w)
        return torch.cat(marks[0]), torch.cat(marks[1])

    def null_spaces(self, w: Tensor) -> list[tuple[str, Tensor, Tensor]]:
        """The null space of each affine layer's inputs, at parameters w (p,).

        Returns
        -------
        list of (name, indices, basis)
            Of the layer; ``indices`` (n_rows, width) says where the entries of its rows, the bias
            at the end, are in a vector; the columns of ``basis`` (width, r) are orthonormal and
            orthogonal to all inputs, to about 1e-12 of their length (1e-6 in float32).

        References
        ----------
        S. Wang et al., "Training networks in null space of feature covariance for continual
        learning", CVPR 2021. https://arxiv.org/abs/2103.07113
        """
        self.vector.write(w)
        layers = self.affine_layers
        triangles: dict[str, Tensor] = {}
        handles = []
        for name, module, _ in layers:

            def see(m: Any, given: tuple[Tensor, ...], out: Any, name: str = name) -> None:
                rows = _input_rows(m, given[0]).double()
                known = triangles.get(name)
                rows = rows if known is None else torch.cat([known, rows])
                # R of a QR decomposition has the singular values of all rows so far; a Gram
                # matrix would square them, and lose those below 1e-8
                triangles[name] = torch.linalg.qr(rows, mode="r")[1]

            handles.append(module.register_forward_hook(see))
        with temporary_hooks(handles), torch.no_grad():
            for x in self.network.batches(self.inputs):
                self.network.forward(x)
        self.n_passes += 1
        unseen = w.new_zeros(0, 0)
        tol = max(_RANK_TOL, _ROUNDINGS * torch.finfo(self.network.dtype).eps)
        return [
            (name, indices, _null(triangles.get(name, unseen), indices.shape[1], tol).to(w))
            for name, _, indices in layers
        ]

    @property
    def affine_indices(self) -> list[Tensor]:
        """Where the rows of each affine layer are in a vector, as :meth:`null_spaces` says."""
        return [indices for _, _, indices in self.affine_layers]

    @cached_property
    def affine_layers(self) -> list[tuple[str, nn.Module, Tensor]]:
        """Layers whose null space is known, and where their rows are in a vector."""
        numbers = self.vector.views(torch.arange(len(self), device=self.vector.device))
        own = {id(p): v for p, v in zip(self.vector.parameters, numbers, strict=True)}
        found = []
        for name, m in self.network.module.named_modules():
            known = isinstance(m, nn.Linear) or (
                isinstance(m, nn.Conv2d)
                and m.groups == 1
                and m.padding_mode == "zeros"
                and not isinstance(m.padding, str)
            )
            if not known or id(m.weight) not in own:
                continue
            indices = own[id(m.weight)].flatten(1)
            if m.bias is not None and id(m.bias) in own:
                indices = torch.cat([indices, own[id(m.bias)][:, None]], 1)
            found.append((name, m, indices))
        return found


def _filters(vector: ParameterVector) -> Tensor:
    """Number (p,) of the filter that a parameter is in."""
    numbers = []
    n = 0
    for shape, size in zip(vector.shapes, vector.sizes, strict=True):
        rows = shape[0] if len(shape) > 1 else 1
        numbers.append(torch.arange(rows).repeat_interleave(size // max(rows, 1)) + n)
        n += rows
    return torch.cat(numbers).to(vector.device)


def _input_rows(m: Any, x: Tensor) -> Tensor:
    """All vectors (rows, width) that a layer multiplies by its rows, a one for the bias added."""
    if isinstance(m, nn.Conv2d):
        x = x if x.ndim == 4 else x[None]
        x = F.unfold(x, m.kernel_size, m.dilation, cast(Any, m.padding), m.stride).transpose(1, 2)
    rows = x.reshape(-1, x.shape[-1])
    if m.bias is not None and m.bias.requires_grad:
        rows = torch.cat([rows, rows.new_ones(len(rows), 1)], 1)
    return rows


def _null(R: Tensor, width: int, tol: float) -> Tensor:
    """An orthonormal basis (width, r) of the null space of R; none if nothing was seen."""
    if not len(R):
        return R.new_zeros(width, 0)
    _, s, Vh = torch.linalg.svd(R, full_matrices=True)
    rank = int((s > tol * s.max()).sum()) if len(s) and float(s.max()) > 0 else 0
    return Vh[rank:].T
