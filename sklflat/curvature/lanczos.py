"""The Lanczos process: a basis that grows by products, and restarts in bounded memory."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sklflat.curvature.operator import CurvatureOperator

#: a new direction that lost all but this share of its length lies in the space already spanned
_BREAKDOWN = 1e-11
#: in roundings of a lower precision than float64
_ROUNDINGS = 16


def eigh(A: NDArray) -> tuple[NDArray, NDArray]:
    """Eigenvalues, ascending, and eigenvectors as columns of a small symmetric matrix.

    By torch, as NumPy's threads would wait busily beside torch's: between products of two threads
    an ``eigh`` of NumPy made each of them five times slower.
    """
    theta, S = torch.linalg.eigh(torch.as_tensor(A))
    return theta.numpy(), S.numpy()


class KrylovBasis:
    r"""Lanczos vectors with full reorthogonalisation, and the operator projected on them.

    After j steps the rows :math:`q_1 \dots q_{j+1}` are orthonormal, and

    .. math:: A Q_j^\top = Q_j^\top T_j + \beta_{j+1}\, q_{j+1} e_j^\top .

    Every new vector is orthogonalised against all others, and once more if it lost much of its
    length ("twice is enough", Parlett [1]_), so there are no ghost eigenvalues. If nothing is left
    of it, the space is invariant: the basis goes on with a random vector. A thick restart [2]_
    keeps some Ritz vectors and the last Lanczos vector, so memory stays bounded.

    The ``capacity`` is the number of steps between restarts, ``generator`` is that of the vectors
    after a breakdown, and ``locked`` (l, p) are orthonormal rows to which the basis is orthogonal.

    Attributes
    ----------
    n_steps : int
        Vectors that the operator is projected on.
    beta : float
        What couples them with the next one; 0 if they span an invariant space.
    restarted, broken_down : bool
        Whether this has happened.

    References
    ----------
    .. [1] B. N. Parlett, "The symmetric eigenvalue problem", SIAM 1998, section 6.9.
    .. [2] K. Wu, H. Simon, "Thick-restart Lanczos method for large symmetric eigenvalue problems",
       SIAM J. Matrix Anal. Appl. 22, 2000.
    """

    def __init__(
        self,
        operator: CurvatureOperator,
        start: Tensor,
        capacity: int,
        generator: torch.Generator,
        locked: Tensor | None = None,
    ) -> None:
        self.operator = operator
        self.generator = generator
        p = operator.size
        self.locked = start.new_zeros(0, p) if locked is None else locked
        self.capacity = min(capacity, p - len(self.locked))
        self._Q = torch.empty(self.capacity + 1, p, dtype=operator.dtype, device=operator.device)
        self._T = np.zeros((self.capacity, self.capacity))
        # column j: the product with q_j in the basis, as it was, rounding errors included
        self._H = np.zeros((self.capacity + 1, self.capacity))
        self.n_steps = self._kept = 0
        self.beta = 0.0
        self.restarted = self.broken_down = False
        self._breakdown = max(_BREAKDOWN, _ROUNDINGS * torch.finfo(operator.dtype).eps)
        self._scale = 0.0  # of the operator, as far as it was seen
        first = self._orthogonal(start.to(self._Q), 0)[0]
        length = float(first.norm())
        self._Q[0] = first / length if length > 0 else self._fresh(0)

    @property
    def is_full(self) -> bool:
        """Whether it has to be restarted before the next step."""
        return self.n_steps == self.capacity

    @property
    def spans_all(self) -> bool:
        """Whether there is no further direction."""
        return self.n_steps == len(self.operator) - len(self.locked)

    @property
    def T(self) -> NDArray:
        """The projected operator (n_steps, n_steps), float64."""
        return self._T[: self.n_steps, : self.n_steps]

    def extend(self) -> None:
        """One step: one product."""
        j = self.n_steps
        w = self.operator @ self._Q[j]
        length = float(w.norm())
        self._scale = max(self._scale, length)
        alpha = float(self._Q[j] @ w)
        w = w - alpha * self._Q[j]
        if j > self._kept:  # else the coupling is with several vectors
            w -= self._T[j - 1, j] * self._Q[j - 1]
        w, coefficients = self._orthogonal(w, j + 1)
        self._T[j, j] = alpha + coefficients[j]
        self._H[: j + 1, j] = coefficients
        self._H[j, j] = self._T[j, j]
        if j > self._kept:
            self._H[j - 1, j] += self._T[j - 1, j]
        self.n_steps += 1
        self.beta = float(w.norm())
        if self.beta <= self._breakdown * self._scale or self.spans_all:
            self.beta = 0.0
            self.broken_down = self.broken_down or not self.spans_all
            if not self.spans_all:
                self._Q[j + 1] = self._fresh(j + 1)
        else:
            self._Q[j + 1] = w / self.beta
        self._H[j + 1, j] = self.beta
        if not self.is_full:
            self._T[j, j + 1] = self._T[j + 1, j] = self.beta

    def ritz(self) -> tuple[NDArray, NDArray, NDArray]:
        """Ritz values ascending, coefficients in the basis as columns, and residual estimates."""
        theta, S = eigh(self.T)
        return theta, S, np.abs(self.beta * S[-1])

    def vectors(self, S: NDArray) -> Tensor:
        """Rows (k, p) with the coefficients S (n_steps, k)."""
        coefficients = torch.as_tensor(np.ascontiguousarray(S.T)).to(self._Q)
        return coefficients @ self._Q[: self.n_steps]

    def products(self, S: NDArray) -> Tensor:
        """Products (k, p) with :meth:`vectors`, combined from those of the steps.

        Only without locked vectors, whose part of the products is not stored.
        """
        n = self.n_steps
        C = self._H[: n + 1, :n] @ S
        return torch.as_tensor(np.ascontiguousarray(C.T)).to(self._Q) @ self._Q[: n + 1]

    def restart(self, theta: NDArray, S: NDArray) -> None:
        """Go on with Ritz values (k,), vectors by coefficients (n_steps, k), and the last row."""
        k, j = len(theta), self.n_steps
        coupling = self.beta * S[-1]
        products = self._H[: j + 1, :j] @ S
        self._Q[:k] = self.vectors(S)
        self._Q[k] = self._Q[j]
        self._T[:] = 0.0
        self._T[np.arange(k), np.arange(k)] = theta
        self._T[k, :k] = self._T[:k, k] = coupling
        self._H[:] = 0.0
        self._H[:k, :k] = S.T @ products[:j]
        self._H[k, :k] = products[j]
        self.n_steps = self._kept = k
        self.restarted = True

    def _orthogonal(self, w: Tensor, n: int) -> tuple[Tensor, NDArray]:
        """The part of w orthogonal to the first n and the locked vectors; what was removed."""
        coefficients = np.zeros(max(n, 1))
        before = float(w.norm())
        for _ in range(3):
            if len(self.locked):
                w = w - self.locked.T @ (self.locked @ w)
            h = self._Q[:n] @ w
            w = w - h @ self._Q[:n]
            coefficients[:n] += h.double().cpu().numpy()
            after = float(w.norm())
            if after > 0.7 * before or after <= self._breakdown * self._scale:
                break
            before = after
        return w, coefficients

    def _fresh(self, n: int) -> Tensor:
        """A random unit vector orthogonal to the first n vectors and the locked ones."""
        w = self.operator.random(1, self.generator)[0]
        for _ in range(3):
            w = self._orthogonal(w / w.norm(), n)[0]
        return w / w.norm()


def lanczos_quadrature(
    operator: CurvatureOperator,
    start: Tensor,
    n_steps: int,
    generator: torch.Generator,
    locked: Tensor | None = None,
) -> tuple[NDArray, NDArray]:
    r"""Nodes and weights of the operator's spectral measure at a vector.

    Gauss quadrature of :math:`\mu(\lambda) = \sum_i (u \cdot v_i)^2\, \delta(\lambda - \lambda_i)`
    with u the start in unit length: exact for polynomials of degree ``2 n_steps - 1`` [1]_.

    Parameters
    ----------
    operator : CurvatureOperator
    start : Tensor of shape (p,)
    n_steps : int
        Products.
    generator : torch.Generator
    locked : Tensor of shape (l, p), default=None
        Orthonormal eigenvectors, to which start is made orthogonal first.

    Returns
    -------
    nodes, weights : ndarray of shape (m,)
        ``m <= n_steps``; the weights add up to 1.

    References
    ----------
    .. [1] G. H. Golub, G. Meurant, "Matrices, moments and quadrature", 1994.

    Examples
    --------
    >>> import torch
    >>> from sklflat.curvature import MatrixOperator
    >>> from sklflat.curvature.lanczos import lanczos_quadrature
    >>> A = MatrixOperator(torch.diag(torch.tensor([1.0, 2.0, 5.0])).double())
    >>> nodes, weights = lanczos_quadrature(A, torch.tensor([1.0, 1.0, 0.0]), 3, torch.Generator())
    >>> nodes.round(6).tolist(), weights.round(6).tolist()
    ([1.0, 2.0], [0.5, 0.5])
    """
    basis = KrylovBasis(operator, start, n_steps, generator, locked)
    while not basis.is_full:
        basis.extend()
        if basis.beta == 0.0:  # the measure is known completely
            break
    theta, S, _ = basis.ritz()
    return theta, S[0] ** 2
