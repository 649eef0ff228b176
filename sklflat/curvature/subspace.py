"""Subspaces of parameter space: projections, and how much two of them share."""

import torch
from torch import Tensor

from sklflat.curvature.operator import CurvatureOperator


class Subspace:
    """The span of some orthonormal vectors, such as the top eigenvectors of a Hessian.

    Parameters
    ----------
    vectors : Tensor of shape (k, p)
        Orthonormal rows.

    Examples
    --------
    >>> import torch
    >>> from sklflat.curvature import Subspace
    >>> top = Subspace(torch.tensor([[1.0, 0.0, 0.0]]))
    >>> top.complement(torch.tensor([3.0, 4.0, 5.0]))
    tensor([0., 4., 5.])
    >>> float(top.share(torch.tensor([3.0, 4.0, 0.0])))
    0.36...
    """

    def __init__(self, vectors: Tensor) -> None:
        k, p = vectors.shape
        gram = vectors @ vectors.T
        if (gram - torch.eye(k, dtype=gram.dtype, device=gram.device)).abs().max() > 1e-3:
            raise ValueError(f"vectors of shape ({k}, {p}) must be orthonormal rows.")
        self.vectors = vectors

    def __len__(self) -> int:
        return len(self.vectors)

    def project(self, V: Tensor) -> Tensor:
        """The parts of vectors (..., p) inside."""
        return (V @ self.vectors.T) @ self.vectors

    def complement(self, V: Tensor) -> Tensor:
        """The parts of vectors (..., p) in the orthogonal complement."""
        return V - self.project(V)

    def share(self, V: Tensor) -> Tensor:
        """Shares (...,) of the squared lengths of vectors (..., p) that lie inside."""
        return (V @ self.vectors.T).square().sum(-1) / V.square().sum(-1)

    def random(self, n: int, generator: torch.Generator) -> Tensor:
        """Rows (n, p), standard normal in the complement."""
        V = torch.randn(n, self.vectors.shape[1], dtype=torch.float64, generator=generator)
        return self.complement(V.to(self.vectors))


def subspace_overlap(V: Tensor, W: Tensor) -> float:
    r"""How much of one subspace lies in another, from 0 to 1.

    .. math:: \frac{\| V W^\top \|_F^2}{\min(k, l)}

    For random subspaces of dimensions k and l it is ``max(k, l) / p`` on average.

    Parameters
    ----------
    V : Tensor of shape (k, p)
    W : Tensor of shape (l, p)
        Orthonormal rows.

    Returns
    -------
    overlap : float

    References
    ----------
    G. Gur-Ari, D. A. Roberts, E. Dyer, "Gradient descent happens in a tiny subspace", 2018.
    https://arxiv.org/abs/1812.04754

    Examples
    --------
    >>> import torch
    >>> from sklflat.curvature import subspace_overlap
    >>> eye = torch.eye(4)
    >>> subspace_overlap(eye[:2], eye[1:3])
    0.5
    """
    return float((V.double() @ W.double().T).square().sum()) / min(len(V), len(W))


def principal_angles(V: Tensor, W: Tensor) -> Tensor:
    """Angles in radians between two subspaces, ascending.

    Parameters
    ----------
    V : Tensor of shape (k, p)
    W : Tensor of shape (l, p)
        Orthonormal rows.

    Returns
    -------
    angles : Tensor of shape (min(k, l),)
    """
    if len(V) > len(W):
        V, W = W, V
    V, W = V.double(), W.double()
    # the sine is exact where the cosine is not: at small angles
    sines = torch.linalg.svdvals(V - (V @ W.T) @ W)
    return sines.clamp(max=1.0).asin().flip(0)


def retained_energy(
    operator: CurvatureOperator, vectors: Tensor, values: Tensor, signs: Tensor
) -> float:
    """Share of a product's energy that stays in the subspace, from 0 to 1.

    A cheap test of whether a span still is one of eigenvectors: 1 if it is. The vectors are
    weighted by the inverses of their eigenvalues, so that all count alike if nothing changed.

    Parameters
    ----------
    operator : CurvatureOperator
    vectors : Tensor of shape (k, p)
        Orthonormal rows.
    values : Tensor of shape (k,)
        Eigenvalues, as they were.
    signs : Tensor of shape (k,)
        Random signs, with which the vectors are summed.

    Returns
    -------
    share : float

    Examples
    --------
    >>> import torch
    >>> from sklflat.curvature import MatrixOperator
    >>> from sklflat.curvature.subspace import retained_energy
    >>> one = torch.ones(1)
    >>> retained_energy(
    ...     MatrixOperator(torch.diag(torch.tensor([2.0, 1.0]))), torch.eye(2)[:1], one, one
    ... )
    1.0
    >>> retained_energy(MatrixOperator(torch.ones(2, 2)), torch.eye(2)[:1], one, one)
    0.5...
    """
    u = (signs / torch.where(values == 0, torch.inf, values)) @ vectors
    if not u.any():
        return 0.0
    Au = operator @ (u / u.norm())
    whole = float(Au.square().sum())
    return float((vectors.to(Au) @ Au).square().sum()) / whole if whole else 0.0
