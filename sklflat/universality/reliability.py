"""How well other networks again would say which units come back: reliability by split halves."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from sklflat.metrics import spearman_brown

#: random splits of the networks into halves
N_SPLITS = 50


@dataclass(frozen=True)
class Reliability:
    """Rank correlation that a score from as many other networks would have with this one.

    Attributes
    ----------
    excess, returns : float
        Of the return less chance, which is the score, and of the return itself. From random
        halves of the networks, whose Spearman correlation over a layer's units is brought to all
        of them by Spearman and Brown's formula, unless it is not above 0. NaN where no layer has
        three units that live.
    n_models : int
        Networks that units return in.
    """

    excess: float
    returns: float
    n_models: int

    def with_models(self, n_models: int) -> "Reliability":
        """What it would be with another number of networks.

        Parameters
        ----------
        n_models : int

        Returns
        -------
        reliability : Reliability

        Examples
        --------
        >>> from sklflat.universality import Reliability
        >>> Reliability(excess=0.5, returns=0.8, n_models=8).with_models(24)
        Reliability(excess=0.75, returns=0.923, n_models=24)
        """
        k = n_models / self.n_models
        excess, returns = (_lengthened(r, k) for r in (self.excess, self.returns))
        return Reliability(excess, returns, n_models)

    def __repr__(self) -> str:
        excess, returns = round(self.excess, 3), round(self.returns, 3)
        return f"Reliability(excess={excess}, returns={returns}, n_models={self.n_models})"


def split_half(
    by_network: NDArray, layer_of: NDArray, live: NDArray, rng: np.random.RandomState
) -> float:
    """Reliability of the mean over networks of what each of them says of units.

    ``by_network`` is (n_models, n_units). Halves are of ``n_models // 2`` networks each, without
    the odd one.
    """
    n = len(by_network)
    half = n // 2
    found = []
    for _ in range(N_SPLITS):
        order = rng.permutation(n)
        first, second = by_network[order[:half]], by_network[order[half : 2 * half]]
        found.append(within_layers(first.mean(axis=0), second.mean(axis=0), layer_of, live))
    if np.isnan(found).all():
        return float("nan")
    return _lengthened(float(np.nanmean(found)), n / half)


def _lengthened(reliability: float, k: float) -> float:
    """Reliability of k times as many networks; one that is not above 0 stays what it is."""
    return reliability if reliability <= 0 else float(spearman_brown(reliability, k))


def within_layers(a: NDArray, b: NDArray, layer_of: NDArray, live: NDArray) -> float:
    """Spearman correlation over units that live, of ranks within layers."""
    ranks = []
    for layer in np.unique(layer_of):
        own = (layer_of == layer) & live
        if own.sum() >= 3:
            both = np.stack([rankdata(x[own]) for x in (a, b)])
            ranks.append(both - both.mean(axis=1, keepdims=True))
    if not ranks:
        return float("nan")
    one, two = np.concatenate(ranks, axis=1)
    length = np.sqrt((one @ one) * (two @ two))
    return float(one @ two / length) if length > 0 else float("nan")
