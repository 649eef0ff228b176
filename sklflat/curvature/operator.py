"""Symmetric linear operators over a flat parameter vector."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


class CurvatureOperator:
    """A symmetric matrix A of shape (p, p) that is known by its products with vectors.

    As for a SciPy ``LinearOperator``, ``A @ v`` multiplies a vector (p,) and ``A @ V`` the columns
    of V (p, k). Vectors of parameters are stored as rows in this package: :meth:`product`
    multiplies these.

    A subclass supplies ``_product(v)``; ``_products(V)`` too, where a block of vectors can be
    multiplied faster than one after the other.

    Parameters
    ----------
    size : int
        The length p of its vectors.
    dtype : torch.dtype
    device : str or torch.device, default="cpu"

    Attributes
    ----------
    shape : tuple of int
        ``(p, p)``.
    n_matvec : int
        Products with single vectors so far.
    on_product : callable or None
        Called with the number of products, before they are made.
    """

    def __init__(
        self, size: int, dtype: torch.dtype = torch.float64, device: str | torch.device = "cpu"
    ) -> None:
        self.size = size
        self.dtype = dtype
        self.device = torch.device(device)
        self.n_matvec = 0
        self.on_product: Callable[[int], Any] | None = None

    def __len__(self) -> int:
        return self.size

    @property
    def shape(self) -> tuple[int, int]:
        """The matrix's shape (p, p)."""
        return self.size, self.size

    def __matmul__(self, V: Tensor) -> Tensor:
        """The product with a vector (p,), or with each column of V (p, k); of the same shape."""
        if V.ndim not in (1, 2) or V.shape[0] != self.size:
            raise ValueError(
                f"V has shape {tuple(V.shape)}, but this operator of shape {self.shape} multiplies "
                f"vectors of shape ({self.size},) or columns of shape ({self.size}, k)."
            )
        return self.product(V) if V.ndim == 1 else self.product(V.T).T

    def product(self, V: Tensor) -> Tensor:
        """The product with a vector (p,), or with each row of V (k, p); of the same shape."""
        if V.shape[-1] != self.size or V.ndim not in (1, 2):
            raise ValueError(
                f"V has shape {tuple(V.shape)}, but this operator multiplies vectors of shape "
                f"({self.size},) or rows of shape (k, {self.size})."
            )
        V = V.to(self.device, self.dtype)
        n = 1 if V.ndim == 1 else len(V)
        self.n_matvec += n
        if self.on_product is not None:
            self.on_product(n)
        if V.ndim == 1:
            return self._product(V)
        return self._products(V) if len(V) else torch.zeros_like(V)

    def dense(self, block: int = 64) -> Tensor:
        """The matrix (p, p), from p products; made symmetric."""
        eye = torch.eye(self.size, dtype=self.dtype, device=self.device)
        A = torch.cat([self.product(part) for part in eye.split(block)])
        return (A + A.T) / 2

    def random(self, n: int, generator: torch.Generator) -> Tensor:
        """Rows (n, p) of standard normal numbers; the same on every device."""
        V = torch.randn(n, self.size, dtype=torch.float64, generator=generator)
        return V.to(self.device, self.dtype)

    def _product(self, v: Tensor) -> Tensor:
        raise NotImplementedError

    def _products(self, V: Tensor) -> Tensor:
        return torch.stack([self._product(v) for v in V])


class MatrixOperator(CurvatureOperator):
    """An explicit matrix as an operator.

    Parameters
    ----------
    A : Tensor of shape (p, p)
        Symmetric.

    Examples
    --------
    >>> import torch
    >>> from sklflat.curvature import MatrixOperator
    >>> A = MatrixOperator(torch.diag(torch.tensor([1.0, 2.0])))
    >>> A @ torch.tensor([1.0, 1.0])
    tensor([1., 2.])
    >>> A.shape, A.n_matvec
    ((2, 2), 1)
    """

    def __init__(self, A: Tensor) -> None:
        super().__init__(len(A), A.dtype, A.device)
        self.A = A

    def _product(self, v: Tensor) -> Tensor:
        return self.A @ v

    def _products(self, V: Tensor) -> Tensor:
        return V @ self.A.T


class ScaledOperator(CurvatureOperator):
    r"""An operator scaled from both sides: :math:`T A T` with a diagonal matrix T.

    With :math:`T = \mathrm{diag}|\theta|` the spectrum does not change when units of a ReLU network
    are rescaled (Kwon et al. 2021 [1]_).

    Parameters
    ----------
    operator : CurvatureOperator
    scale : Tensor of shape (p,)
        The diagonal of T.

    References
    ----------
    .. [1] J. Kwon et al., "ASAM: adaptive sharpness-aware minimization for scale-invariant learning
       of deep neural networks", ICML 2021. https://arxiv.org/abs/2102.11600

    Examples
    --------
    >>> import torch
    >>> from sklflat.curvature import MatrixOperator, ScaledOperator
    >>> A = MatrixOperator(torch.ones(2, 2))
    >>> ScaledOperator(A, torch.tensor([1.0, 2.0])).dense()
    tensor([[1., 2.],
            [2., 4.]])
    """

    def __init__(self, operator: CurvatureOperator, scale: Tensor) -> None:
        super().__init__(operator.size, operator.dtype, operator.device)
        self.operator = operator
        self.scale = scale.to(operator.device, operator.dtype)

    def _product(self, v: Tensor) -> Tensor:
        return self.scale * (self.operator @ (self.scale * v))

    def _products(self, V: Tensor) -> Tensor:
        return self.scale * self.operator.product(self.scale * V)
