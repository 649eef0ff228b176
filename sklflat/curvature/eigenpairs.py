"""Certified eigenpairs at the ends of a spectrum."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sklflat.curvature.lanczos import KrylovBasis, eigh
from sklflat.curvature.operator import CurvatureOperator, ScaledOperator

Which = Literal["largest", "smallest", "both", "magnitude"]
Choice = Callable[[NDArray], NDArray]

#: up to this many parameters the whole matrix is formed: as fast as k pairs, and nothing missed
MAX_DENSE = 500

#: eigenvalues whose squares are within floating range
_SMALLEST = 1e-100

#: the search for missed copies is on by default up to this many pairs
_MAX_AUDITED = 20

#: steps in which a random vector would show an eigenvalue that was missed: so many, or so large a
#: share of the steps that the search took
_AUDIT_STEPS, _AUDIT_SHARE = 8, 0.15

#: fresh products at the end, by which the residuals of the run are checked
_N_CHECKS = 2


@dataclass(frozen=True)
class Eigenpairs:
    r"""Eigenvalues and eigenvectors, each with its true residual.

    An eigenvalue of the operator lies within ``residuals[i]`` of ``values[i]``, whatever the
    solver did.

    Parameters
    ----------
    values : ndarray of shape (k,)
        In descending order.
    vectors : Tensor of shape (k, p)
        Orthonormal rows.
    residuals : ndarray of shape (k,)
        :math:`\|A v_i - \lambda_i v_i\|`, computed at the end from the products that were made.
    converged : ndarray of shape (k,), bool
        Residuals of at most ``tol`` times the largest eigenvalue in magnitude, and nothing missed.
    n_matvec : int
        Those at the end included.
    krylov : tuple of (nodes, weights)
        Quadrature of the start's spectral measure, before the first restart; both ndarrays (m,).
    """

    values: NDArray
    vectors: Tensor
    residuals: NDArray
    converged: NDArray
    n_matvec: int
    krylov: tuple[NDArray, NDArray]


def eigenpairs(
    operator: CurvatureOperator,
    k: int = 10,
    which: Which = "largest",
    *,
    tol: float = 1e-4,
    max_matvec: int | None = None,
    start: Tensor | None = None,
    audit: bool | None = None,
    capacity: int | None = None,
    max_dense: int = MAX_DENSE,
    seed: int = 0,
) -> Eigenpairs:
    r"""The k eigenpairs at one end of the spectrum, or at both.

    Thick-restart Lanczos with full reorthogonalisation
    (:class:`~sklflat.curvature.lanczos.KrylovBasis`). The vectors are combinations of those that
    were multiplied, so at the end their products are the same combinations, and give the
    residuals. Two fresh products with random combinations of all vectors check that; if they are
    not as foretold to a tenth of what is accepted, every vector is multiplied anew.

    Lanczos sees one copy only of a repeated eigenvalue. The *audit* therefore starts anew from a
    random vector orthogonal to what was found, and goes on for as long as that shows an eigenvalue
    that belongs among the k. In a bulk that is denser than the accepted residual, neighbours are
    not told apart.

    Parameters
    ----------
    operator : CurvatureOperator
    k : int, default=10
    which : {"largest", "smallest", "both", "magnitude"}, default="largest"
        Largest and smallest by value. Both ends: the larger half of the pairs is from the upper
        one.
    tol : float, default=1e-4
        Accepted residual, relative to the largest eigenvalue in magnitude.
    max_matvec : int, default=None
        Products before the checking ones; None is ``max(20 k, 500)``.
    start : Tensor of shape (p,), default=None
        First Lanczos vector, such as the sum of eigenvectors of a point nearby. None is random.
    audit : bool, default=None
        Whether to look for missed copies. None does so for ``k <= 20``, and wherever the space of
        the first vector turned out to be invariant.
    capacity : int, default=None
        Lanczos vectors in memory; None is ``max(4 k, 80)``.
    max_dense : int, default=500
        Up to this many parameters the matrix is formed and diagonalised.
    seed : int, default=0
        Of random vectors.

    Returns
    -------
    Eigenpairs

    Examples
    --------
    >>> import torch
    >>> from sklflat.curvature import MatrixOperator, eigenpairs
    >>> A = MatrixOperator(torch.diag(torch.arange(1000.0).double()))
    >>> eigenpairs(A, 3).values.round(3)
    array([999., 998., 997.])
    """
    p = operator.size
    if not 1 <= k <= p:
        raise ValueError(f"k={k} pairs are asked for, but the matrix has {p} rows: 1 <= k <= {p}.")
    if which not in get_args(Which):
        raise ValueError(f"which must be one of {get_args(Which)}, got {which!r}.")
    if p <= max(max_dense, k + 2):
        return _dense(operator, k, which, tol)
    capacity = min(p, max(4 * k, 80)) if capacity is None else capacity
    if capacity < k + 2:
        raise ValueError(
            f"capacity={capacity} Lanczos vectors are not enough for k={k} pairs: at least "
            f"{k + 2}. Give more memory or ask for fewer pairs."
        )
    settings = k, which, tol, max_matvec or max(20 * k, 500), capacity, seed
    found = _Solver(operator, *settings).solve(start, audit)
    size = float(np.abs(found.values).max())
    if size == 0 or _SMALLEST <= size <= 1 / _SMALLEST:
        return found
    # squares of such numbers leave floating range, so that norms are wrong
    root = torch.full((p,), size**-0.5, dtype=operator.dtype, device=operator.device)
    return _times(_Solver(ScaledOperator(operator, root), *settings).solve(start, audit), size)


def _times(found: Eigenpairs, factor: float) -> Eigenpairs:
    nodes, weights = found.krylov
    return replace(
        found,
        values=factor * found.values,
        residuals=factor * found.residuals,
        krylov=(factor * nodes, weights),
    )


def top_and_bottom(k: int, which: str) -> tuple[int, int]:
    """How many of k pairs come from the upper end, how many from the lower one."""
    if which == "both":
        return k - k // 2, k // 2
    return (k, 0) if which == "largest" else (0, k)


def _wanted(theta: NDArray, k: int, which: str) -> NDArray:
    """Indices, descending, of k of ascending values."""
    n = len(theta)
    if which == "magnitude":
        return np.sort(np.argsort(-np.abs(theta), kind="stable")[:k])[::-1].copy()
    top, bottom = top_and_bottom(min(k, n), which)
    return np.r_[np.arange(n - 1, n - top - 1, -1), np.arange(bottom - 1, -1, -1)]


def _dense(operator: CurvatureOperator, k: int, which: str, tol: float) -> Eigenpairs:
    before = operator.n_matvec
    theta, S = torch.linalg.eigh(operator.dense().double())
    chosen = torch.as_tensor(_wanted(theta.cpu().numpy(), k, which))
    V = S.T[chosen].to(operator.dtype)
    values = theta[chosen]
    apart = operator.product(V).double() - values[:, None] * V.double()
    largest = apart.abs().amax(1, keepdim=True).clamp_min(torch.finfo(torch.float64).tiny)
    residuals = largest[:, 0] * (apart / largest).norm(dim=1)  # squares may underflow
    theta_all, r = theta.cpu().numpy(), residuals.cpu().numpy()
    good = r <= _allowed(tol, float(np.abs(theta_all).max()))
    n_matvec = operator.n_matvec - before
    weights = np.full(len(theta_all), 1 / len(theta_all))
    return Eigenpairs(values.cpu().numpy(), V, r, good, n_matvec, (theta_all, weights))


def _allowed(tol: float, scale: float) -> float:
    """The largest residual that counts as converged; at least what rounding leaves of float64."""
    return max(tol, 1e-14) * scale + np.finfo(np.float64).tiny


class _Solver:
    def __init__(
        self,
        operator: CurvatureOperator,
        k: int,
        which: Which,
        tol: float,
        max_matvec: int,
        capacity: int,
        seed: int,
    ) -> None:
        self.operator = operator
        self.k, self.which, self.tol = k, which, tol
        self.max_matvec, self.capacity = max_matvec, capacity
        self.generator = torch.Generator().manual_seed(seed)
        self._first = operator.n_matvec
        self._scale = 0.0
        self._krylov: tuple[NDArray, NDArray] | None = None

    @property
    def _spent(self) -> int:
        return self.operator.n_matvec - self._first

    def solve(self, start: Tensor | None, audit: bool | None) -> Eigenpairs:
        if start is None:
            start = self.operator.random(1, self.generator)[0]
        basis = KrylovBasis(self.operator, start, self.capacity, self.generator)
        S = self._search(basis, lambda theta: _wanted(theta, self.k, self.which), self.k)
        values, V, AV = self._rayleigh_ritz(basis.vectors(S), basis.products(S))
        complete = True
        if audit or (audit is None and (self.k <= _MAX_AUDITED or basis.broken_down)):
            self._audit_steps = max(_AUDIT_STEPS, int(_AUDIT_SHARE * self._spent))
            values, V, AV, complete = self._audit(values, V, AV)
        r = self._residuals(values, V, AV)
        good = (r <= _allowed(self.tol, self._scale)) & complete
        assert self._krylov is not None
        return Eigenpairs(values, V, r, good, self._spent, self._krylov)

    def _residuals(self, values: NDArray, V: Tensor, AV: Tensor) -> NDArray:
        """True residuals (k,); products that fail the check are computed again."""
        if not self._is_accurate(V, AV):
            AV = self.operator.product(V)
        R = AV - torch.as_tensor(values).to(V)[:, None] * V
        return R.double().norm(dim=1).cpu().numpy()

    def _is_accurate(self, V: Tensor, AV: Tensor) -> bool:
        """Whether fresh products with random sums of all vectors equal those of the run."""
        if len(V) <= _N_CHECKS:
            return False
        signs = torch.randint(2, (_N_CHECKS, len(V)), generator=self.generator).to(V) * 2 - 1
        fresh = self.operator.product(signs @ V)
        # on average over signs, the squared error is the sum of the single vectors' squared errors
        error = (fresh - signs @ AV).double().norm(dim=1).max()
        return float(error) <= 0.1 * _allowed(self.tol, self._scale)

    def _search(self, basis: KrylovBasis, choose: Choice, minimum: int) -> NDArray:
        """Coefficients (n_steps, l) of the wanted Ritz vectors, converged if time allows."""
        while True:
            basis.extend()
            over = basis.spans_all or self._spent >= self.max_matvec
            due = basis.n_steps % max(1, basis.n_steps // 32) == 0
            if not (basis.is_full or over or due):
                continue
            theta, S, estimates = basis.ritz()
            self._scale = max(self._scale, float(np.abs(theta).max()))
            wanted = choose(theta)
            allowed = 0.9 * _allowed(self.tol, self._scale)
            done = basis.n_steps >= minimum and bool((estimates[wanted] <= allowed).all())
            if self._krylov is None and (done or over or basis.is_full):
                self._krylov = theta, S[0] ** 2
            if done or over:
                return S[:, wanted]
            if basis.is_full:
                kept = self._kept(theta, wanted)
                basis.restart(theta[kept], S[:, kept])

    def _kept(self, theta: NDArray, wanted: NDArray) -> NDArray:
        """What a restart keeps: the wanted pairs and half of the rest, nearest to them."""
        n = max(len(wanted), min(len(theta) - 2, len(wanted) + (len(theta) - len(wanted)) // 2))
        return np.sort(_wanted(theta, n, self.which))

    def _rayleigh_ritz(self, V: Tensor, AV: Tensor) -> tuple[NDArray, Tensor, Tensor]:
        """The best k pairs in a space, with their products."""
        M = (V.double() @ AV.double().T).cpu().numpy()
        theta, S = eigh((M + M.T) / 2)
        chosen = _wanted(theta, self.k, self.which)
        C = torch.as_tensor(np.ascontiguousarray(S[:, chosen].T)).to(V)
        return theta[chosen], C @ V, C @ AV

    def _audit(
        self, values: NDArray, V: Tensor, AV: Tensor
    ) -> tuple[NDArray, Tensor, Tensor, bool]:
        """Add what was missed: eigenvalues of the complement beyond the last wanted ones."""
        while len(V) < self.operator.size:
            missed = self._missed(values, V)
            if missed is None:
                return values, V, AV, True
            missed = torch.linalg.qr((missed - (missed @ V.T) @ V).T)[0].T.contiguous()
            before = values
            values, V, AV = self._rayleigh_ritz(
                torch.cat([V, missed]), torch.cat([AV, self.operator.product(missed)])
            )
            if self._spent >= self.max_matvec:
                return values, V, AV, False
            gain = np.abs(np.sort(values) - np.sort(before)).max()
            if gain <= _allowed(self.tol, self._scale):
                return values, V, AV, True
        return values, V, AV, True

    def _missed(self, values: NDArray, V: Tensor) -> Tensor | None:
        margin = 0.01 * _allowed(self.tol, self._scale)
        if self.which == "magnitude":
            high = np.abs(values).min() + margin
            low = -high
        else:
            top, bottom = top_and_bottom(self.k, self.which)
            high = values[top - 1] + margin if top else np.inf
            low = values[-bottom] - margin if bottom else -np.inf
        start = self.operator.random(1, self.generator)[0]
        basis = KrylovBasis(self.operator, start, self.capacity, self.generator, locked=V)
        for _ in range(min(self._audit_steps, basis.capacity)):
            basis.extend()
            theta = basis.ritz()[0]
            if ((theta > high) | (theta < low)).any():
                beyond = lambda t: np.r_[np.flatnonzero(t < low), np.flatnonzero(t > high)]  # noqa: E731
                return basis.vectors(self._search(basis, beyond, 1))
            if basis.spans_all:
                break
        return None
