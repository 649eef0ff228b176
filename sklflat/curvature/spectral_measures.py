"""Spectral measures of single directions, also known as local densities of states."""

from dataclasses import dataclass

import torch
from numpy.typing import NDArray
from torch import Tensor

from sklflat.curvature.gauss_newton_factor import GaussNewtonFactor
from sklflat.networks import Blocks

#: eigenvalues below this share of the largest are rounding errors of zeros: in float64, and in
#: roundings of a lower precision
_CUTOFF, _ROUNDINGS = 1e-10, 64


@dataclass(frozen=True)
class SpectralMeasures:
    r"""Spectral measures of unit vectors: their squared components by eigenvalue.

    .. math:: \mu_j(\lambda) = \sum_i (u_j \cdot v_i)^2\, \delta(\lambda - \lambda_i)

    Parameters
    ----------
    nodes : ndarray of shape (r,)
        Eigenvalues, ascending.
    weights : ndarray of shape (n_vectors, r)
        Rows add up to 1, or to 0 for a vector of length zero.
    n_samples : int
        On how many samples the matrix was taken.

    Examples
    --------
    >>> import numpy as np
    >>> from sklflat.curvature import SpectralMeasures
    >>> measures = SpectralMeasures(np.array([0.0, 2.0]), np.array([[0.25, 0.75]]), 10)
    >>> measures.mean
    array([1.5])
    >>> measures.share_below(1.0)
    array([0.25])
    """

    nodes: NDArray
    weights: NDArray
    n_samples: int

    @property
    def mean(self) -> NDArray:
        """Curvature along each vector (n_vectors,): ``u_j' A u_j``."""
        return self.weights @ self.nodes

    def share_below(self, value: float) -> NDArray:
        """Share (n_vectors,) of each vector in the eigenspaces below a value."""
        return self.weights[:, self.nodes < value].sum(axis=1)


def block_measures(factor: GaussNewtonFactor, blocks: Blocks, d: Tensor) -> SpectralMeasures:
    r"""Spectral measures of the Gauss-Newton matrix at the parts of d in each block, all at once.

    With the eigenpairs :math:`(\lambda_i, q_i)` of :math:`F F^\top` and unit vectors u,

    .. math:: (u_j \cdot v_i)^2 = (q_i^\top F u_j)^2 / \lambda_i ;

    what is missing to 1 belongs to the eigenvalue 0.

    Parameters
    ----------
    factor : GaussNewtonFactor
    blocks : Blocks
        Of U units.
    d : Tensor of shape (p,)

    Returns
    -------
    SpectralMeasures
        Of U vectors.
    """
    gram = factor.gram()
    cutoff = max(_CUTOFF, _ROUNDINGS * torch.finfo(gram.dtype).eps)
    values, Q = torch.linalg.eigh(gram.double())
    real = values > cutoff * values.max().clamp_min(torch.finfo(values.dtype).tiny)
    values, Q = values[real], Q[:, real]
    norms = blocks.sum(d.square()).double().sqrt()
    A = factor.along(blocks, d).double() / norms.clamp_min(torch.finfo(norms.dtype).tiny)
    weights = ((Q.T @ A).square() / values[:, None]).T
    rest = ((norms > 0).double() - weights.sum(1)).clamp_min(0)
    nodes = torch.cat([values.new_zeros(1), values])
    return SpectralMeasures(
        nodes.cpu().numpy(),
        torch.cat([rest[:, None], weights], dim=1).cpu().numpy(),
        len(factor.operator.data[0]),
    )
