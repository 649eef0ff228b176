"""Stochastic estimates of a trace, with their standard errors."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sklflat.curvature.operator import CurvatureOperator


@dataclass(frozen=True)
class TraceEstimate:
    """An estimate of a trace with its standard error.

    Parameters
    ----------
    value : float
    std_error : float
        Estimated from the spread of the parts that the value is a mean of; 0 if it is exact.
    n_matvec : int
    """

    value: float
    std_error: float
    n_matvec: int


def hutchinson(
    operator: CurvatureOperator,
    n_matvec: int = 30,
    *,
    known: tuple[NDArray, Tensor] | None = None,
    seed: int = 0,
) -> TraceEstimate:
    r"""Hutchinson's estimator: the mean of :math:`z^\top A z` over random signs z [1]_.

    Parameters
    ----------
    operator : CurvatureOperator
    n_matvec : int, default=30
    known : (ndarray of shape (k,), Tensor of shape (k, p)), default=None
        Known eigenpairs: their values are added up, and only the rest is estimated.
    seed : int, default=0

    Returns
    -------
    TraceEstimate

    References
    ----------
    .. [1] M. F. Hutchinson, "A stochastic estimator of the trace of the influence matrix for
       Laplacian smoothing splines", 1990.

    Examples
    --------
    For a diagonal matrix one product is exact:

    >>> import torch
    >>> from sklflat.curvature import MatrixOperator, hutchinson
    >>> hutchinson(MatrixOperator(torch.diag(torch.tensor([1.0, 2.0]))), 2).value
    3.0
    """
    _check(n_matvec, 1)
    known_sum, V = _known(operator, known)
    Z = _without(_signs(operator, n_matvec, seed), V)
    samples = _quadratic(Z, operator.product(Z))
    return TraceEstimate(known_sum + float(samples.mean()), _error_of_mean(samples), n_matvec)


def hutch_plus_plus(
    operator: CurvatureOperator,
    n_matvec: int = 30,
    *,
    known: tuple[NDArray, Tensor] | None = None,
    seed: int = 0,
) -> TraceEstimate:
    """Hutch++: the trace on a sketched range, and Hutchinson's estimator on the rest [1]_.

    Parameters
    ----------
    operator : CurvatureOperator
    n_matvec : int, default=30
        A third for the sketch, a third for the trace on it, a third for the rest.
    known, seed
        As of :func:`hutchinson`.

    Returns
    -------
    TraceEstimate

    References
    ----------
    .. [1] R. A. Meyer, C. Musco, C. Musco, D. P. Woodruff, "Hutch++: optimal stochastic trace
       estimation", SOSA 2021. https://arxiv.org/abs/2010.09649

    Examples
    --------
    A matrix of rank 2 is caught by the sketch:

    >>> import torch
    >>> from sklflat.curvature import MatrixOperator, hutch_plus_plus
    >>> A = MatrixOperator(torch.diag(torch.tensor([2.0, 3.0, 0.0, 0.0]).double()))
    >>> round(hutch_plus_plus(A, 6).value, 9)
    5.0
    """
    _check(n_matvec, 3)
    m = min(n_matvec // 3, operator.size)
    Z = _signs(operator, n_matvec - m, seed)
    sketch, probes = Z[:m], Z[m : n_matvec - m]
    known_sum, V = _known(operator, known)
    Q = _basis(_without(operator.product(_without(sketch, V)), V))
    on_sketch = float(_quadratic(Q, operator.product(Q)).sum()) if len(Q) else 0.0
    rest = _without(_without(probes, V), Q)
    samples = _quadratic(rest, operator.product(rest))
    value = known_sum + on_sketch + float(samples.mean())
    return TraceEstimate(value, _error_of_mean(samples), 2 * m + len(probes))


def xtrace(
    operator: CurvatureOperator,
    n_matvec: int = 30,
    *,
    known: tuple[NDArray, Tensor] | None = None,
    seed: int = 0,
) -> TraceEstimate:
    r"""XTrace: each probe estimates the rest of the trace that the others' sketch leaves [1]_.

    With :math:`Q_i` an orthonormal basis of the sketch without probe i,

    .. math:: \widehat{\mathrm{tr}}_i = \mathrm{tr}(Q_i^\top A Q_i)
        + z_i^\top (I - Q_i Q_i^\top) A (I - Q_i Q_i^\top) z_i

    are exchangeable unbiased estimates; the result is their mean.

    Parameters
    ----------
    operator : CurvatureOperator
    n_matvec : int, default=30
        Half for the sketch, half for the trace on it.
    known, seed
        As of :func:`hutchinson`.

    Returns
    -------
    TraceEstimate
        Its standard error is that of independent estimates times 1.5: they share most of their
        sketches, and in simulations the plain one was 10 to 30 % too small.

    References
    ----------
    .. [1] E. N. Epperly, J. A. Tropp, R. J. Webber, "XTrace: making the most of every sample in
       stochastic trace estimation", SIAM J. Matrix Anal. Appl. 45, 2024.
       https://arxiv.org/abs/2301.07825

    Examples
    --------
    >>> import torch
    >>> from sklflat.curvature import MatrixOperator, xtrace
    >>> A = MatrixOperator(torch.diag(torch.tensor([2.0, 3.0, 0.0, 0.0, 0.0, 0.0]).double()))
    >>> round(xtrace(A, 8).value, 9)
    5.0
    """
    _check(n_matvec, 4)
    m = min(n_matvec // 2, operator.size)
    known_sum, V = _known(operator, known)
    Z = _without(_signs(operator, m, seed), V)
    Y = _without(operator.product(Z), V)
    Q = _basis(Y)
    AQ = _without(operator.product(Q), V) if len(Q) else Q
    H = (Q @ AQ.T).double().cpu().numpy()
    if len(Q) < m:  # the sketch spans the whole range
        return TraceEstimate(known_sum + float(np.trace(H)), 0.0, m + len(Q))
    R = (Q @ Y.T).double().cpu().numpy()  # Y' = Q'R, in columns
    # Downdating the basis: the sketch without probe i is Q'Q - q q' with q = Q's_i, where s_i is
    # orthogonal to all columns of R but the i-th, which holds for the i-th column of R^-T.
    S = np.linalg.inv(R).T
    S /= np.linalg.norm(S, axis=0)
    # First term, tr(Q_i'A Q_i): one direction less in the trace, tr(H) - s_i'H s_i.
    traces = np.trace(H) - (S * (H @ S)).sum(0)
    # Second term, with c_i the coordinates of z_i in the basis without s_i:
    # z'(I - Q_i Q_i')A(I - Q_i Q_i')z = z'Az - 2 c'(Q'A)z + c'Hc.
    W = (Q @ Z.T).double().cpu().numpy()
    C = W - S * (S * W).sum(0)
    T = (AQ @ Z.T).double().cpu().numpy()
    zAz = _quadratic(Z, Y).cpu().numpy()
    estimates = traces + zAz - 2 * (C * T).sum(0) + (C * (H @ C)).sum(0)
    error = 1.5 * float(estimates.std(ddof=1) / np.sqrt(m))
    return TraceEstimate(known_sum + float(estimates.mean()), error, 2 * m)


def _check(n_matvec: int, least: int) -> None:
    if n_matvec < least:
        raise ValueError(f"n_matvec={n_matvec} is too few: at least {least}.")


def _signs(operator: CurvatureOperator, n: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    Z = torch.randint(2, (n, operator.size), generator=generator) * 2 - 1
    return Z.to(operator.device, operator.dtype)


def _known(
    operator: CurvatureOperator, known: tuple[NDArray, Tensor] | None
) -> tuple[float, Tensor]:
    if known is None:
        return 0.0, torch.zeros(0, operator.size, dtype=operator.dtype, device=operator.device)
    return float(np.sum(known[0])), known[1]


def _without(Z: Tensor, V: Tensor) -> Tensor:
    """Rows of Z less their parts in the orthonormal rows of V."""
    return Z - (Z @ V.T) @ V if len(V) else Z


def _basis(Y: Tensor) -> Tensor:
    """Orthonormal rows of the same span; fewer if the rows are dependent."""
    _, s, Vt = torch.linalg.svd(Y, full_matrices=False)
    rounding = max(1e-12, torch.finfo(s.dtype).eps) * max(Y.shape)
    return Vt[s > rounding * s.max().clamp_min(torch.finfo(s.dtype).tiny)]


def _quadratic(Z: Tensor, AZ: Tensor) -> Tensor:
    return (Z * AZ).double().sum(1)


def _error_of_mean(samples: Tensor) -> float:
    n = len(samples)
    return float(samples.std() / n**0.5) if n > 1 else float("nan")
