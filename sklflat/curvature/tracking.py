"""Top eigenpairs of a matrix that changes slowly, each time from those before."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sklflat.curvature.lanczos import KrylovBasis
from sklflat.curvature.operator import CurvatureOperator


class TopPairs(NamedTuple):
    """Approximate eigenpairs, largest magnitude first.

    Attributes
    ----------
    values : Tensor of shape (k,)
    vectors : Tensor of shape (k, p)
        Orthonormal rows.
    retained : float
        Share of a product with vectors of the old subspace that still lies inside it; NaN where
        there was none.
    """

    values: Tensor
    vectors: Tensor
    retained: float


def follow_top(
    operator: CurvatureOperator,
    most: int,
    before: tuple[Tensor, Tensor] | None = None,
    *,
    tol: float = 0.005,
    seed: int = 0,
) -> TopPairs:
    r"""Eigenpairs of largest magnitude, in at most ``max(2 most, most + 3)`` products.

    Lanczos starts from the old eigenvectors, summed with random signs and the inverses of their
    eigenvalues, so that all of them count alike in the first product. Which of the vectors found
    are the subspace is decided by the largest ratio of consecutive magnitudes: a cut between equal
    eigenvalues would be one of many, and another one after the next step.

    Parameters
    ----------
    operator : CurvatureOperator
    most : int
        Pairs at the most, fewer than parameters; at the least are a third of them, rounded up.
    before : tuple of (values (k,), vectors (k, p)), default=None
        Pairs of the matrix as it was. None begins with a random vector.
    tol : float, default=0.005
        Residual, relative to the largest eigenvalue, at which no further product is made.
    seed : int, default=0

    Returns
    -------
    TopPairs

    Examples
    --------
    >>> import torch
    >>> from sklflat.curvature import MatrixOperator
    >>> from sklflat.curvature.tracking import follow_top
    >>> A = MatrixOperator(torch.diag(torch.tensor([9.0, -6.0, 5.0, 0.2, 0.1, 0.0])).double())
    >>> [round(value) for value in follow_top(A, 4).values.tolist()]
    [9, -6, 5]
    """
    generator = torch.Generator().manual_seed(seed)
    p = operator.size
    least = -(-most // 3)
    known = before is not None and bool(before[1].any())
    n_steps = min(p, max(2 * most, most + 3))
    if not known:
        start = operator.random(1, generator)[0]
    else:
        values, V = before  # type: ignore[misc]
        signs = torch.randint(2, (len(V),), generator=generator).to(values) * 2 - 1
        start = (signs / torch.where(values == 0, torch.inf, values)) @ V
    basis = KrylovBasis(operator, start, n_steps, generator)
    retained = float("nan")
    while not (basis.is_full or basis.spans_all):
        basis.extend()
        if basis.n_steps == 1 and before is not None:
            retained = _inside(basis.products(np.eye(1))[0], before[1])
        if basis.n_steps > most and _is_converged(basis, most, tol):
            break
    theta, S, _ = basis.ritz()
    order = np.argsort(-np.abs(theta), kind="stable")
    k = _at_the_gap(np.abs(theta[order]), least, most)
    chosen = order[:k]
    return TopPairs(
        torch.as_tensor(theta[chosen]).to(basis.vectors(S)), basis.vectors(S[:, chosen]), retained
    )


def _inside(product: Tensor, V: Tensor) -> float:
    """The share of a product's squared length inside the span of orthonormal rows V."""
    whole = float(product.square().sum())
    return float((V.to(product) @ product).square().sum()) / whole if whole else 0.0


def _is_converged(basis: KrylovBasis, most: int, tol: float) -> bool:
    theta, _, residuals = basis.ritz()
    magnitude = np.abs(theta)
    wanted = np.argsort(-magnitude)[:most]
    return bool((residuals[wanted] <= tol * magnitude.max()).all())


def _at_the_gap(magnitudes: NDArray, least: int, most: int) -> int:
    """How many of descending magnitudes are ahead of the largest relative gap."""
    most = min(most, len(magnitudes))
    least = min(least, most)
    if most == len(magnitudes):  # what follows is not known
        most = max(least, most - 1)
    after = np.maximum(magnitudes[least : most + 1], np.finfo(float).tiny)
    return least + int(np.argmax(magnitudes[least - 1 : most] / after)) if len(after) else most
