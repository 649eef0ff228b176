"""Power iteration: the textbook's way to eigenpairs, kept as a reference."""

from collections.abc import Sequence

import numpy as np
import torch

from sklflat.curvature.eigenpairs import Eigenpairs
from sklflat.curvature.operator import CurvatureOperator


def power_iteration(
    operator: CurvatureOperator,
    k: int = 1,
    *,
    tol: float = 1e-4,
    max_iter: int = 1000,
    seed: int = 0,
) -> Eigenpairs:
    """The k eigenpairs largest in magnitude, one after the other, with deflation.

    Needs many more products than :func:`~sklflat.curvature.eigenpairs`: the error falls by
    ``|lambda_2 / lambda_1|`` a product. Converged means here what it means there: a true residual.

    Parameters
    ----------
    operator : CurvatureOperator
    k : int, default=1
    tol : float, default=1e-4
        Accepted residual, relative to the largest eigenvalue in magnitude.
    max_iter : int, default=1000
        Products for each pair.
    seed : int, default=0

    Returns
    -------
    Eigenpairs
        In descending order of the values.
    """
    return stochastic_power_iteration(
        [operator], k, operator, tol=tol, max_iter=max_iter, seed=seed
    )


def stochastic_power_iteration(
    batches: Sequence[CurvatureOperator],
    k: int,
    operator: CurvatureOperator,
    *,
    tol: float = 1e-4,
    max_iter: int = 1000,
    seed: int = 0,
) -> Eigenpairs:
    """Power iteration whose products take turns over mini-batches.

    It does not settle on the eigenvectors of the whole loss, only near them, at a distance that
    grows with the differences between batches: the residuals say how far.

    Parameters
    ----------
    batches : sequence of CurvatureOperator
        The same matrix on parts of the data, used in turn.
    k : int
    operator : CurvatureOperator
        On all data: values and residuals are its.
    tol, max_iter, seed
        As of :func:`power_iteration`.

    Returns
    -------
    Eigenpairs
    """
    generator = torch.Generator().manual_seed(seed)
    operators = {id(op): op for op in (*batches, operator)}.values()
    first = sum(op.n_matvec for op in operators)
    V = torch.zeros(0, operator.size, dtype=operator.dtype, device=operator.device)
    values, residuals, scale = [], [], 0.0
    for _ in range(k):
        v = operator.random(1, generator)[0]
        for i in range(max_iter):
            v = v - V.T @ (V @ v)
            v = v / v.norm()
            w = batches[i % len(batches)] @ v
            value = float(v @ w)
            scale = max(scale, abs(value))
            u = w - V.T @ (V @ w)
            if float((u - value * v).norm()) <= tol * scale or not float(u.norm()):
                break
            v = u
        v = v / v.norm()
        w = operator @ v
        values.append(float(v @ w))
        residuals.append(float((w - values[-1] * v).norm()))
        V = torch.cat([V, v[None]])
    order = np.argsort(values)[::-1].copy()
    r = np.array(residuals)[order]
    return Eigenpairs(
        np.array(values)[order],
        V[torch.as_tensor(order)],
        r,
        r <= tol * max(np.abs(values).max(), np.finfo(float).tiny),
        sum(op.n_matvec for op in operators) - first,
        (np.zeros(0), np.zeros(0)),
    )
