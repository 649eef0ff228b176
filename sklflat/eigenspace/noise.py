"""Rise of the loss under noise on one unit's parameters, and its correlation with a score."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import norm, spearmanr
from torch import Tensor

from sklflat.networks import Blocks, Network


def noise_rises(
    network: Network,
    X: Tensor,
    y: Tensor,
    sample_weight: Tensor | None,
    blocks: Blocks,
    numbers: NDArray,
    *,
    level: float = 0.5,
    n_draws: int = 8,
    seed: int = 0,
) -> NDArray:
    r"""Mean rise of the loss when noise is added to one unit's parameters.

    .. math:: \mathrm E\, L(w + \epsilon_j) - L(w), \qquad
        \|\epsilon_j\| = \mathrm{level} \cdot \|w_{B_j}\|

    with :math:`\epsilon_j` uniform on the sphere in the unit's block. Draws come in pairs of
    opposite signs, so a gradient that is not zero cancels; ``n_draws`` is rounded up to an even
    number. ``numbers`` are those of the units whose rises (len(numbers),) are wanted.
    """
    vector = network.vector
    w = vector.read()
    generator = torch.Generator().manual_seed(seed)
    clean = float(network.loss(X, y, sample_weight))
    rises = np.zeros(len(numbers))
    try:
        for row, u in enumerate(numbers.tolist()):
            entries = blocks.indices(u)
            if len(entries) == 0:
                continue
            for _ in range((n_draws + 1) // 2):
                noise = torch.randn(len(entries), dtype=torch.float64, generator=generator)
                noise = (noise / noise.norm()).to(w) * (level * w[entries].norm())
                for sign in (1, -1):
                    vector.write(w.index_add(0, entries, sign * noise))
                    rises[row] += float(network.loss(X, y, sample_weight)) - clean
    finally:
        vector.write(w)
    return rises / (2 * ((n_draws + 1) // 2))


@dataclass(frozen=True)
class RankCorrelation:
    """Spearman's rank correlation with a 95 % interval.

    Parameters
    ----------
    value, low, high : float
        The interval by Fisher's transformation with the standard error of Bonett and Wright [1]_.
        Ranks that are all equal, or all but one neighbouring pair, are no certainty: an end is
        then 1 (or -1), and the other is that of one such pair.

    References
    ----------
    .. [1] D. G. Bonett, T. A. Wright, "Sample size requirements for estimating Pearson, Kendall and
       Spearman correlations", Psychometrika 65, 2000.
    """

    value: float
    low: float
    high: float

    @property
    def sign(self) -> int:
        """1 or -1 if the interval lies on one side of 0, else 0."""
        return int(self.low > 0) - int(self.high < 0)


def rank_correlation(a: NDArray, b: NDArray) -> RankCorrelation:
    """Of two arrays (n,). With fewer than five values, or all equal, it says nothing: (-1, 1)."""
    if len(a) < 5 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return RankCorrelation(0.0, -1.0, 1.0)
    r = float(spearmanr(a, b).statistic)
    n = len(a)
    most = 1 - 12 / (n * (n**2 - 1))  # Spearman's, where one pair of neighbours is exchanged
    q = np.clip(r, -most, most)
    half = norm.ppf(0.975) * np.sqrt((1 + q**2 / 2) / (n - 3))
    low, high = np.tanh(np.arctanh(q) - half), np.tanh(np.arctanh(q) + half)
    return RankCorrelation(r, -1.0 if r <= -most else float(low), 1.0 if r >= most else float(high))
