"""Robust rank aggregation: how surprising it is that several orders put a unit first."""

import numpy as np
from numpy.typing import NDArray
from scipy.special import betainc
from scipy.stats import rankdata

__all__ = ["midranks", "permuted_shares", "rho_scores"]


def midranks(
    scores: NDArray, ranked: NDArray[np.bool_], rounding: float = 1e-12
) -> NDArray[np.float64]:
    """Rank of every score in its row, 1 for the highest; equal ones share the mean of theirs.

    Parameters
    ----------
    scores : ndarray of shape (n_probes, n_units)
    ranked : ndarray of shape (n_units,), bool
        Units that take part; the others have no rank (NaN).
    rounding : float, default=1e-12
        Neighbours in the order count as equal whose difference is at most this share of the larger
        one, without sign: copies of a unit differ by rounding.

    Returns
    -------
    ranks : ndarray of shape (n_probes, n_units)

    Examples
    --------
    >>> import numpy as np
    >>> from sklflat.consensus.rank_aggregation import midranks
    >>> midranks(np.array([[5.0, 9.0, 5.0, 7.0]]), np.array([True, True, True, False]))
    array([[2.5, 1. , 2.5, nan]])
    """
    ranks = np.full(scores.shape, np.nan)
    for row, own in zip(ranks, scores[:, ranked], strict=True):
        own = np.clip(own, -1e300, 1e300)  # infinities have no difference
        order = np.argsort(-own, kind="stable")
        high = own[order]
        size = np.maximum(np.abs(high[:-1]), np.abs(high[1:]))
        apart = high[:-1] - high[1:] > rounding * size
        place = np.empty(len(own))
        place[order] = np.concatenate([[0], np.cumsum(apart)])[: len(own)]
        row[ranked] = rankdata(place)
    return ranks


def rho_scores(shares: NDArray) -> NDArray[np.float64]:
    r"""The rho scores of robust rank aggregation [1]_.

    With :math:`r_1 \le \dots \le r_K` a unit's ranks by K probes, divided by the number of units
    and sorted,

    .. math:: \rho = \min_k \; P(U_{(k)} \le r_k), \qquad U_{(k)} \sim \mathrm{Beta}(k, K - k + 1)

    is the smallest probability, over k, that of K independent random orders at least k put the
    unit as far up. It is a score and no p-value, as it is the smallest of K.

    Parameters
    ----------
    shares : ndarray of shape (..., n_probes, n_units)
        Ranks divided by the number of units that are ranked, in (0, 1].

    Returns
    -------
    rho : ndarray of shape (..., n_units)
        In (0, 1], low for units that several probes put first.

    References
    ----------
    .. [1] R. Kolde, S. Laur, P. Adler, J. Vilo, "Robust rank aggregation for gene list integration
       and meta-analysis", Bioinformatics 28, 2012. https://doi.org/10.1093/bioinformatics/btr709

    Examples
    --------
    First of four in both of two orders has the probability 1/16. First in one and last in the
    other: that one of two orders or both put it first has 1 - (3/4)^2 = 7/16.

    >>> import numpy as np
    >>> from sklflat.consensus.rank_aggregation import rho_scores
    >>> rho = rho_scores(np.array([[1, 2, 3, 4], [1, 3, 2, 4]]) / 4)
    >>> float(rho[0]), float(rho_scores(np.array([[1, 2, 3, 4], [4, 3, 2, 1]]) / 4)[0])
    (0.0625, 0.4375)
    """
    n_probes = shares.shape[-2]
    r = np.sort(shares, axis=-2)
    k = np.arange(1, n_probes + 1)[:, None]
    return np.asarray(betainc(k, n_probes - k + 1, r).min(axis=-2))


def permuted_shares(
    shares: NDArray, layer_of: NDArray, n_draws: int, rng: np.random.RandomState
) -> NDArray[np.float64]:
    """Shares (n_draws, n_probes, n_units), those of each probe in random orders within layers.

    Ties stay as they are. The draws do not depend on the order of a layer's units.

    Examples
    --------
    >>> import numpy as np
    >>> from sklflat.consensus.rank_aggregation import permuted_shares
    >>> rng, layer_of = np.random.RandomState(0), np.array([0, 0, 0, 1])
    >>> permuted_shares(np.array([[0.3, 0.8, 0.8, 1.0]]), layer_of, 2, rng)
    array([[[0.3, 0.8, 0.8, 1. ]],
    <BLANKLINE>
           [[0.8, 0.3, 0.8, 1. ]]])
    """
    draws = np.empty((n_draws, *shares.shape))
    for layer in np.unique(layer_of):
        own = layer_of == layer
        ordered = np.broadcast_to(
            np.sort(shares[:, own], axis=1), (n_draws, len(shares), own.sum())
        )
        orders = rng.random_sample(ordered.shape).argsort(axis=-1)
        draws[:, :, own] = np.take_along_axis(ordered, orders, axis=-1)
    return draws
