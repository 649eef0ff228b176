"""Gaussian displacements of parameters: their size in each filter, and their subspace."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

_MASK64 = (1 << 64) - 1


def normal(seeds: Sequence[int], like: Tensor) -> Tensor:
    """Standard normal numbers, the same for the same seeds on every device.

    They are drawn in single precision, which takes a quarter of the time of double.

    Parameters
    ----------
    seeds : sequence of int
        Such as the seed of a training and the number of a step.
    like : Tensor of shape (p,)
        Says length, dtype and device.

    Returns
    -------
    numbers : Tensor of shape (p,)
    """
    mixed = 0
    for seed in seeds:  # splitmix64, so that neighbouring seeds share nothing
        mixed = (mixed ^ seed) + 0x9E3779B97F4A7C15 & _MASK64
        mixed = (mixed ^ mixed >> 30) * 0xBF58476D1CE4E5B9 & _MASK64
        mixed = (mixed ^ mixed >> 27) * 0x94D049BB133111EB & _MASK64
        mixed ^= mixed >> 31
    generator = torch.Generator().manual_seed(mixed >> 1)
    return torch.randn(len(like), generator=generator, dtype=torch.float32).to(like)


def orthonormal(k: int, seeds: Sequence[int], like: Tensor) -> Tensor:
    """Orthonormal rows of a random subspace.

    Parameters
    ----------
    k : int
    seeds : sequence of int
    like : Tensor of shape (p,)
        Says length, dtype and device.

    Returns
    -------
    rows : Tensor of shape (k, p)
    """
    V = torch.stack([normal((*seeds, i), like) for i in range(k)]).double()
    return torch.linalg.qr(V.T)[0].T.to(like.dtype).contiguous()


class Projection(Protocol):
    """A symmetric matrix B that is applied to rows."""

    def apply(self, A: Tensor) -> Tensor:
        """B a for all rows a of A (..., p)."""

    def trace(self, spread: "Spread") -> Tensor:
        """The trace of B C B, with C the covariance of a spread."""


@dataclass(frozen=True)
class Spread:
    r"""Independent noise of every parameter, as large as its filter.

    The covariance is :math:`C = T D^2 T` with the standard deviations D of single parameters, and
    T projecting out the lengths of filters on which the output does not depend.

    Parameters
    ----------
    deviation : Tensor of shape (p,)
        The diagonal of D; the same within each filter of ``radial``.
    filters : Tensor of shape (p,), int
        Number of the filter that a parameter is in.
    radial : Tensor of shape (p,) or None
        Filters of free length, each in unit length; zero elsewhere.
    """

    deviation: Tensor
    filters: Tensor
    radial: Tensor | None = None

    def root(self, Z: Tensor) -> Tensor:
        """``C^(1/2) z`` for all rows z of Z (..., p); noise, if these are standard normal."""
        A = Z * self.deviation
        if self.radial is None:
            return A
        n = int(self.filters.max()) + 1
        along = A.new_zeros(*A.shape[:-1], n).index_add(-1, self.filters, A * self.radial)
        return A - along[..., self.filters] * self.radial

    def trace(self) -> Tensor:
        """The trace of C, the expected squared length."""
        variance = self.deviation.square()
        if self.radial is not None:
            variance = variance - variance * self.radial.square()
        return variance.sum()


@dataclass(frozen=True)
class InSubspace:
    r"""Factors inside and outside of the span of orthonormal vectors V.

    .. math:: B = b\,(I - V^\top V) + V^\top \mathrm{diag}(s)\, V

    Parameters
    ----------
    vectors : Tensor of shape (k, p)
        Orthonormal rows; rows of zeros count as none.
    inside : Tensor of shape (k,)
        The factors s.
    outside : float
        The factor b.
    """

    vectors: Tensor
    inside: Tensor
    outside: float

    def apply(self, A: Tensor) -> Tensor:
        """B a for all rows a of A (..., p)."""
        V = self.vectors
        part = ((A @ V.T) * (self.inside - self.outside)) @ V
        return part.add_(A, alpha=self.outside) if self.outside else part

    def trace(self, spread: Spread) -> Tensor:
        """The trace of B C B, with C the covariance of the spread."""
        q = spread.root(self.vectors).square().sum(-1)
        b2 = self.outside**2
        return b2 * (spread.trace() - q.sum()) + (self.inside.square() * q).sum()


@dataclass(frozen=True)
class NullOfInputs:
    """Projection onto the null space of layers' inputs, on which no output depends.

    Parameters
    ----------
    indices : sequence of Tensor of shape (n_rows, width), int
        For each layer, where the entries of its rows (weights, then the bias) are in a vector.
    bases : sequence of Tensor of shape (width, r)
        Orthonormal columns, orthogonal to all inputs of the layer (with a one for the bias).
    """

    indices: Sequence[Tensor]
    bases: Sequence[Tensor]

    def apply(self, A: Tensor) -> Tensor:
        """B a for all rows a of A (..., p)."""
        out = torch.zeros_like(A)
        for index, N in zip(self.indices, self.bases, strict=True):
            out[..., index.flatten()] = (A[..., index] @ N @ N.T).flatten(-2)
        return out

    def trace(self, spread: Spread) -> Tensor:
        """The trace of B C B, with C the covariance of the spread."""
        total = spread.deviation.new_zeros(())
        for index, N in zip(self.indices, self.bases, strict=True):
            total = total + (spread.deviation[index].square() @ N.square().sum(1)).sum()
        if spread.radial is not None:
            variance = spread.deviation.square()
            total = total - (variance * spread.radial * self.apply(spread.radial)).sum()
        return total


@dataclass(frozen=True)
class Displacements:
    r"""Gaussian displacements :math:`\xi = c\, B\, C^{1/2} z` of the parameters.

    Parameters
    ----------
    spread : Spread
        Says C.
    projection : InSubspace or NullOfInputs
        Says B.
    scale : float
        The factor c.

    Examples
    --------
    >>> import torch
    >>> from sklflat.curvature import Displacements, InSubspace, Spread
    >>> spread = Spread(torch.ones(3), torch.arange(3))
    >>> flat = InSubspace(torch.tensor([[1.0, 0.0, 0.0]]), torch.zeros(1), 1.0)
    >>> noise = Displacements(spread, flat, 2.0)
    >>> noise(torch.tensor([1.0, 2.0, 3.0]))
    tensor([0., 4., 6.])
    >>> float(noise.length())  # the root of 8
    2.828...
    """

    spread: Spread
    projection: Projection
    scale: float = 1.0

    def __call__(self, Z: Tensor) -> Tensor:
        """Displacements (..., p) made of standard normal numbers Z (..., p)."""
        return self.scale * self.projection.apply(self.spread.root(Z))

    def length(self) -> Tensor:
        """Root of the expected squared length."""
        return self.scale * self.projection.trace(self.spread).clamp(min=0).sqrt()

    def scaled(self, scale: float) -> "Displacements":
        """The same with another factor c."""
        return Displacements(self.spread, self.projection, scale)

    def expected_rise(self, values: Tensor, vectors: Tensor) -> float:
        r"""The mean of :math:`\tfrac12 \xi^\top H \xi` for H with k eigenpairs and no others."""
        variance = self.spread.root(self.projection.apply(vectors)).square().sum(-1)
        return 0.5 * self.scale**2 * float((values * variance).sum())
