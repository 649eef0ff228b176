"""Spectral densities by stochastic Lanczos quadrature."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr
from torch import Tensor

from sklflat.curvature.lanczos import lanczos_quadrature
from sklflat.curvature.operator import CurvatureOperator


@dataclass(frozen=True)
class SpectralDensity:
    r"""The distribution of a matrix's eigenvalues, as atoms.

    .. math:: \mu = \frac{1}{p}\left(\sum_{i \le k} \delta_{\lambda_i}
        + (p - k) \frac{1}{m} \sum_{r=1}^{m} \mu_r \right)

    with the eigenvalues that are known and, for the others, the quadratures :math:`\mu_r` of m
    random vectors. Their spread gives the error bars. These do not contain the quadrature's
    resolution: what is finer than a step between its nodes is not seen, so smooth by at least that.

    Parameters
    ----------
    known : ndarray of shape (k,)
    probes : sequence of (nodes, weights)
        Each a pair of ndarrays of shape (n_steps,); the weights add up to 1.
    size : int
        The number p of eigenvalues.

    Attributes
    ----------
    nodes, weights : ndarray of shape (n_atoms,)
        All atoms in ascending order, weights adding up to 1.

    Examples
    --------
    >>> import numpy as np
    >>> from sklflat.curvature import SpectralDensity
    >>> density = SpectralDensity(
    ...     np.array([4.0]), [(np.array([0.0, 1.0]), np.array([0.5, 0.5]))], 5
    ... )
    >>> density.nodes, density.weights
    (array([0., 1., 4.]), array([0.4, 0.4, 0.2]))
    >>> round(density.mean * 5, 9)  # the trace
    6.0
    """

    known: NDArray
    probes: Sequence[tuple[NDArray, NDArray]]
    size: int

    @property
    def nodes(self) -> NDArray:
        """Positions of the atoms, ascending."""
        return self._atoms()[0]

    @property
    def weights(self) -> NDArray:
        """Weights of the atoms."""
        return self._atoms()[1]

    def _atoms(self) -> tuple[NDArray, NDArray]:
        rest = self._rest / max(len(self.probes), 1)
        nodes = np.concatenate([self.known, *(n for n, _ in self.probes)])
        weights = np.concatenate(
            [np.full(len(self.known), 1 / self.size), *(rest * w for _, w in self.probes)]
        )
        order = np.argsort(nodes, kind="stable")
        return nodes[order], weights[order]

    @property
    def _rest(self) -> float:
        return 1 - len(self.known) / self.size

    @property
    def mean(self) -> float:
        """Mean eigenvalue: the trace divided by p."""
        nodes, weights = self._atoms()
        return float(nodes @ weights)

    def cdf(self, values: ArrayLike) -> tuple[NDArray, NDArray]:
        """Share of the eigenvalues up to some values, and its standard error.

        Parameters
        ----------
        values : array-like of shape (m,)

        Returns
        -------
        share, std_error : ndarray of shape (m,)
        """
        x = np.asarray(values, dtype=float)
        return self._over_probes(lambda nodes: (nodes[:, None] <= x).astype(float))

    def pdf(self, values: ArrayLike, width: float) -> tuple[NDArray, NDArray]:
        """The density, smoothed by a normal distribution, and its standard error.

        Parameters
        ----------
        values : array-like of shape (m,)
        width : float
            Standard deviation of the smoothing, in units of the eigenvalues.

        Returns
        -------
        density, std_error : ndarray of shape (m,)
        """
        x = np.asarray(values, dtype=float)
        norm = 1 / (width * np.sqrt(2 * np.pi))
        return self._over_probes(
            lambda nodes: norm * np.exp(-0.5 * ((x - nodes[:, None]) / width) ** 2)
        )

    def histogram(self, edges: ArrayLike, width: float = 0.0) -> tuple[NDArray, NDArray]:
        """Number of eigenvalues between successive edges, and its standard error.

        Parameters
        ----------
        edges : array-like of shape (m + 1,)
        width : float, default=0.0
            Standard deviation of a smoothing by a normal distribution.

        Returns
        -------
        count, std_error : ndarray of shape (m,)
        """
        e = np.asarray(edges, dtype=float)

        def share(nodes: NDArray) -> NDArray:
            below = ndtr((e - nodes[:, None]) / width) if width else nodes[:, None] < e
            return np.diff(below.astype(float), axis=1)

        count, error = self._over_probes(share)
        return self.size * count, self.size * error

    def _over_probes(self, function: Callable[[NDArray], NDArray]) -> tuple[NDArray, NDArray]:
        fixed = function(self.known).sum(0) / self.size
        if not self.probes:
            return fixed, np.zeros_like(fixed)
        parts = np.stack([weights @ function(nodes) for nodes, weights in self.probes])
        n = len(parts)
        error = (
            parts.std(axis=0, ddof=1) / np.sqrt(n) if n > 1 else np.full(parts.shape[1:], np.nan)
        )
        return fixed + self._rest * parts.mean(0), self._rest * error


def spectral_density(
    operator: CurvatureOperator,
    n_probes: int = 10,
    n_steps: int = 40,
    *,
    known: tuple[NDArray, Tensor] | None = None,
    probes: Sequence[tuple[NDArray, NDArray]] = (),
    seed: int = 0,
) -> SpectralDensity:
    """The density of the eigenvalues by stochastic Lanczos quadrature [1]_, [2]_.

    Parameters
    ----------
    operator : CurvatureOperator
    n_probes : int, default=10
        Random vectors.
    n_steps : int, default=40
        Products for each.
    known : (ndarray of shape (k,), Tensor of shape (k, p)), default=None
        Known eigenpairs: they become exact atoms, and the rest is estimated.
    probes : sequence of (nodes, weights), default=()
        Known quadratures of the rest, as from the run that found the eigenpairs.
    seed : int, default=0

    Returns
    -------
    SpectralDensity

    References
    ----------
    .. [1] S. Ubaru, J. Chen, Y. Saad, "Fast estimation of tr(f(A)) via stochastic Lanczos
       quadrature", SIAM J. Matrix Anal. Appl. 38, 2017.
    .. [2] B. Ghorbani, S. Krishnan, Y. Xiao, "An investigation into neural net optimization via
       Hessian eigenvalue density", ICML 2019. https://arxiv.org/abs/1901.10159
    """
    generator = torch.Generator().manual_seed(seed)
    values, V = (np.zeros(0), None) if known is None else known
    all_probes = list(probes)
    if len(values) < operator.size:
        all_probes += [
            lanczos_quadrature(
                operator, operator.random(1, generator)[0], n_steps, generator, locked=V
            )
            for _ in range(n_probes)
        ]
    return SpectralDensity(np.asarray(values, dtype=float), all_probes, operator.size)


def rest_of_quadrature(
    krylov: tuple[NDArray, NDArray], values: NDArray
) -> tuple[NDArray, NDArray] | None:
    """A quadrature without its nodes at known eigenvalues: that of the start's other part."""
    nodes, weights = krylov
    span = max(float(np.abs(nodes).max()), np.finfo(float).tiny)
    keep = (np.abs(nodes[:, None] - values) > 1e-3 * span).all(1)
    mass = weights[keep].sum()
    return (nodes[keep], weights[keep] / mass) if mass > 0.5 else None
