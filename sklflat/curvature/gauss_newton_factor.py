"""The Gauss-Newton matrix by its factor: all nonzero eigenvalues, and every unit's share."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sklflat.curvature.gauss_newton import GaussNewton
from sklflat.curvature.network_operator import exact_arithmetic
from sklflat.exceptions import UnsupportedNetworkError
from sklflat.networks import Blocks
from sklflat.networks.hooks import temporary_hooks

#: layers that are a matrix applied at positions
_KINDS = (nn.Linear, nn.Conv1d, nn.Conv2d)


class GaussNewtonFactor:
    r"""The rows of F in :math:`G = F^\top F`, one for each sample and output, never all formed.

    .. math:: F_{(x,c)} = \sum_{c'} (S_x)_{c'c}\, \frac{\partial z_{c'}(x)}{\partial w},
        \qquad S_x S_x^\top = \frac{s_x}{\sum s} \nabla_z^2 \ell

    The matrix :math:`F F^\top` of shape (n C, n C) has the same eigenvalues as G, but for zeros
    [1]_. For a linear layer with inputs a and back-propagated rows :math:`\delta` its part is
    :math:`(\Delta \Delta^\top) \circ (A A^\top)`, so no row of length p is needed. Convolutions and
    layers over positions go in slices, other parameters sample by sample.

    Parameters
    ----------
    operator : GaussNewton
        Says the network, the data and the parameters.
    max_rows : int, default=4096
        A network with more rows n C raises.

    Attributes
    ----------
    n_rows : int

    References
    ----------
    .. [1] F. Dangel, L. Tatzel, P. Hennig, "ViViT: curvature access through the generalized
       Gauss-Newton's low-rank structure", TMLR 2022. https://arxiv.org/abs/2106.02624
    """

    def __init__(self, operator: GaussNewton, max_rows: int = 4096) -> None:
        self.operator = operator
        network = operator.network
        X, y, s = operator.data
        self._x = network.prepare(X)
        targets = [network.prepare(t) for t in (y, s) if t is not None]
        self._views = operator._leaves
        with exact_arithmetic:
            with _captured(network.module, operator.vector) as calls:
                z = operator._run(self._views, self._x)
            self._prepare(z, calls, targets, max_rows)

    def _prepare(
        self, z: Tensor, calls: dict[int, list["_Call"]], targets: list[Tensor], max_rows: int
    ) -> None:
        self.n_rows = z.numel()
        if self.n_rows > max_rows:
            raise ValueError(
                f"{len(z)} samples with {self.n_rows // len(z)} outputs each are {self.n_rows} "
                f"rows of the factor, more than max_rows={max_rows}: give fewer samples."
            )
        self._roots = self._square_roots(z, *targets)
        self._layers = [layer.linked(z, self._roots) for layer in _layers(calls, self.operator, z)]
        if not self._is_right():
            self._layers = []  # a weight is used in a way that no call of a layer shows
        own = {i for layer in self._layers for i in layer.places}
        self._rest = [i for i in range(len(self._views)) if i not in own]

    def _square_roots(self, z: Tensor, y: Tensor, s: Tensor | None = None) -> Tensor:
        """S of shape (n, C, C)."""
        metric = self.operator._metric(z.detach(), y, s)
        n = len(z)
        C = z[0].numel()
        columns = [
            metric(one.expand(n, C).reshape(z.shape)).reshape(n, C)
            for one in torch.eye(C, dtype=z.dtype, device=z.device)
        ]
        A = self.operator.network.criterion.mean(torch.stack(columns, dim=2), self.operator._weight)
        values, vectors = torch.linalg.eigh((A + A.mT) / 2)
        rounding = max(1e-8, 100 * torch.finfo(values.dtype).eps)
        if values.min() < -rounding * values.abs().max():
            raise UnsupportedNetworkError(
                "The loss is not convex in the network's outputs, so its Gauss-Newton matrix has "
                "no real factor. Use its products, or the Hessian."
            )
        return vectors * values.clamp_min(0).sqrt()[:, None]

    def _is_right(self) -> bool:
        """Whether a product with a random vector is what differentiation says."""
        d = self.operator.random(1, torch.Generator().manual_seed(0))[0]
        own = {i for layer in self._layers for i in layer.places}
        views = self.operator.vector.views(d)
        _, push, _ = self.operator.jacobian(self._x)
        Jd = push([v if i in own else torch.zeros_like(v) for i, v in enumerate(views)])
        expected = (Jd.reshape(len(Jd), 1, -1) @ self._roots).reshape(-1)
        parts = [layer.times([views[i] for i in layer.places]) for layer in self._layers]
        got = torch.stack(parts).sum(0) if parts else torch.zeros_like(expected)
        scale = expected.norm().clamp_min(torch.finfo(expected.dtype).tiny)
        accuracy = 1e-9 if expected.dtype == torch.float64 else 1e-3
        return bool((got - expected).norm() <= accuracy * scale)

    # --- products ------------------------------------------------------------------------------

    def gram(self) -> Tensor:
        """F F' of shape (n_rows, n_rows)."""
        G = self._roots.new_zeros(self.n_rows, self.n_rows)
        for layer in self._layers:
            layer.add_gram(G, self.operator.memory_budget)
        for R, _ in self._rows_of_rest():
            G += R @ R.T
        return (G + G.T) / 2

    def along(self, blocks: Blocks, d: Tensor) -> Tensor:
        """F times the part of d (p,) in each of U blocks, which may overlap: (n_rows, U)."""
        out = self._roots.new_zeros(self.n_rows, len(blocks))
        views = self.operator.vector.views(d)
        for owners in _disjoint(blocks, len(d)):
            parts = self.operator.vector.views(owners)
            for layer in self._layers:
                for i in layer.places:
                    layer.add_along(out, parts[i], views[i], layer.places.index(i))
            for R, i in self._rows_of_rest():
                _scatter(out, R * views[i].reshape(-1), parts[i].reshape(-1))
        return out

    def pull(self, Q: Tensor) -> Tensor:
        """F' q (k, p) for rows Q (k, n_rows): eigenvectors of F F' become those of G."""
        z, _, pull = self.operator.jacobian(self._x)
        rows = []
        for q in Q.to(z):
            cotangent = (self._roots @ q.reshape(len(z), -1, 1)).reshape(z.shape)
            rows.append(self.operator._join(pull(cotangent)))
        return torch.stack(rows)

    def _rows_of_rest(self) -> Iterator[tuple[Tensor, int]]:
        """Rows (n_rows, size) of each parameter outside of the layers, and its number."""
        group: list[int] = []
        limit = self.operator.memory_budget // (self.n_rows * self._roots.element_size())
        sizes = self.operator.vector.sizes
        for i in self._rest:
            if group and sum(sizes[j] for j in group) + sizes[i] > limit:
                yield from zip(self._rows(group), group, strict=True)
                group = []
            group.append(i)
        if group:
            yield from zip(self._rows(group), group, strict=True)

    def _rows(self, places: list[int]) -> list[Tensor]:
        leaves = [self._views[i] for i in places]
        parts: list[list[Tensor]] = [[] for _ in places]
        for x, root in zip(self._x, self._roots, strict=True):
            with exact_arithmetic:
                z = self.operator._run(self._views, x[None])
            back = torch.autograd.grad(
                z,
                leaves,
                root.T.reshape(-1, *z.shape),
                is_grads_batched=True,
                allow_unused=True,
            )
            for part, b, leaf in zip(parts, back, leaves, strict=True):
                part.append(
                    leaf.new_zeros(len(root), leaf.numel()) if b is None else b.reshape(len(b), -1)
                )
        return [torch.cat(part) for part in parts]


@dataclass
class _Call:
    inputs: Tensor
    output: Tensor


@contextmanager
def _captured(module: nn.Module, vector: Any) -> Iterator[dict[int, list[_Call]]]:
    """Inputs and outputs of the linear layers while a network runs."""
    own = {id(p) for p in vector.parameters}
    layers = [m for m in module.modules() if isinstance(m, _KINDS) and id(m.weight) in own]
    calls: dict[int, list[_Call]] = {id(m): [] for m in layers}

    def note(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        calls[id(module)].append(_Call(inputs[0].detach().clone(), output))
        return output.clone()  # what follows may work in place

    with temporary_hooks(m.register_forward_hook(note) for m in layers):
        yield calls


def _layers(calls: dict[int, list[_Call]], operator: GaussNewton, z: Tensor) -> list["_Layer"]:
    module, vector = operator.network.module, operator.vector
    names = [id(p) for _, p in module.named_parameters(remove_duplicate=False)]
    number = {id(p): i for i, p in enumerate(vector.parameters)}
    found = []
    for part in module.modules():
        seen = calls.get(id(part), [])
        if len(seen) != 1 or names.count(id(part.weight)) != 1 or not seen[0].output.requires_grad:
            continue
        own = [p for p in (part.weight, part.bias) if p is not None and id(p) in number]
        if len(own) == 2 and names.count(id(part.bias)) != 1:
            continue
        inputs = _as_positions(part, seen[0].inputs)
        if inputs is None or len(inputs) != len(z):
            continue
        found.append(_Layer(part, inputs, seen[0].output, [number[id(p)] for p in own]))
    return found


def _as_positions(part: nn.Module, a: Tensor) -> Tensor | None:
    """Inputs (n, positions, d_in) of a layer seen as a matrix; None if it cannot be."""
    if isinstance(part, nn.Linear):
        return a.reshape(len(a), -1, a.shape[-1]) if a.ndim > 1 else None
    assert isinstance(part, (nn.Conv1d, nn.Conv2d))
    if part.groups != 1 or part.padding_mode != "zeros" or isinstance(part.padding, str):
        return None
    options = {"kernel_size": part.kernel_size, "dilation": part.dilation, "stride": part.stride}
    padding = part.padding
    if isinstance(part, nn.Conv1d):
        a = a[:, :, None]
        options = {k: (1, v[0]) for k, v in options.items()}
        padding = (0, padding[0])
    return F.unfold(a, padding=padding, **options).mT


class _Layer:
    """A matrix applied at positions: its inputs, and rows propagated back to its outputs."""

    def __init__(
        self, module: nn.Module, inputs: Tensor, output: Tensor, places: list[int]
    ) -> None:
        self.is_linear = isinstance(module, nn.Linear)
        self.inputs = inputs
        self.output = output
        self.places = places

    def linked(self, z: Tensor, roots: Tensor) -> "_Layer":
        """With its rows (n, C, positions, d_out) propagated back from the outputs z."""
        parts = []
        for c in range(roots.shape[2]):
            (back,) = torch.autograd.grad(
                z, self.output, roots[:, :, c].reshape(z.shape), retain_graph=True
            )
            channels_last = back if self.is_linear else back.movedim(1, -1)
            parts.append(channels_last.reshape(len(z), -1, channels_last.shape[-1]))
        self.deltas = torch.stack(parts, dim=1)
        del self.output  # and with it the graph
        return self

    def add_gram(self, G: Tensor, memory_budget: int) -> None:
        """Add this layer's part of F F'."""
        n, C, positions, d_out = self.deltas.shape
        has_bias = len(self.places) == 2
        if positions == 1:
            D = self.deltas.reshape(n * C, d_out)
            A = self.inputs[:, 0]
            K = (A @ A.T + (1.0 if has_bias else 0.0)).repeat_interleave(C, 0)
            G += (D @ D.T) * K.repeat_interleave(C, 1)
            return
        size = max(1, memory_budget // (n * C * self.inputs.shape[2] * G.element_size()))
        for part in self.deltas.split(size, dim=3):
            R = torch.einsum("ncto,nti->ncoi", part, self.inputs).reshape(n * C, -1)
            G += R @ R.T
        if has_bias:
            b = self.deltas.sum(2).reshape(n * C, d_out)
            G += b @ b.T

    def times(self, views: list[Tensor]) -> Tensor:
        """Its part of F d (n C,)."""
        a = self.inputs @ views[0].reshape(len(views[0]), -1).T
        if len(views) == 2:
            a = a + views[1]
        return torch.einsum("ncto,nto->nc", self.deltas, a).reshape(-1)

    def add_along(self, out: Tensor, owners: Tensor, d: Tensor, which: int) -> None:
        """Add F times the entries of d that each unit owns in the weight (0) or the bias (1)."""
        n, C = self.deltas.shape[:2]
        if not (owners >= 0).any():
            return
        rows = owners.reshape(len(owners), -1)
        if which == 1:
            _scatter(out, (self.deltas.sum(2) * d).reshape(n * C, -1), owners)
        elif (rows == rows[:, :1]).all():
            a = self.inputs @ d.reshape(len(d), -1).T
            _scatter(
                out, torch.einsum("ncto,nto->nco", self.deltas, a).reshape(n * C, -1), rows[:, 0]
            )
        else:
            D = d.reshape(len(d), -1)
            for o in range(len(D)):
                R = torch.einsum("nct,nti->nci", self.deltas[..., o], self.inputs) * D[o]
                _scatter(out, R.reshape(n * C, -1), rows[o])


def _scatter(out: Tensor, values: Tensor, owners: Tensor) -> None:
    """Add columns of values (rows, m) to the columns of out that their owners (m,) say."""
    owned = owners >= 0
    if owned.any():
        out.index_add_(1, owners[owned], values[:, owned])


def _disjoint(blocks: Blocks, p: int) -> Iterator[Tensor]:
    """Owner of each entry (p,), -1 for none; several times, if entries have several owners."""
    left_entries, left_owners = blocks.entries, blocks.owners
    while len(left_entries):
        owner = torch.full((p,), -1, dtype=torch.int64, device=left_entries.device)
        owner[left_entries] = left_owners  # of several, one
        taken = owner[left_entries] == left_owners
        yield owner
        left_entries, left_owners = left_entries[~taken], left_owners[~taken]
