"""How far the orders of several probes agree, against orders that have nothing in common."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sklflat.consensus.rank_aggregation import permuted_shares
from sklflat.metrics import holm

__all__ = ["RankAgreement", "rank_agreement"]

#: random orders, and how many are in memory at once
_N_ORDERS, _AT_ONCE = 1999, 100


@dataclass(frozen=True)
class RankAgreement:
    """Rank correlations of probes over the units of one network: ``print`` it.

    Attributes
    ----------
    names : tuple of str
        Of the probes.
    n_units : int
        Units that have ranks.
    correlations : ndarray of shape (n_probes, n_probes)
        Spearman's, with midranks for ties, of ranks within layers; NaN for a probe that scores all
        units the same.
    p_values : ndarray of shape (n_probes, n_probes)
        Two-sided, against 1,999 independent random orders, by Holm's method adjusted for the number
        of pairs; 1 on the diagonal.
    mean : float
        Mean correlation of the pairs.
    p_value : float
        Of a mean as large, among the same random orders.
    """

    names: tuple[str, ...]
    n_units: int
    correlations: NDArray = field(repr=False)
    p_values: NDArray = field(repr=False)
    mean: float
    p_value: float

    def to_frame(self) -> Any:
        """The correlations as a DataFrame, probes by probes.

        Returns
        -------
        frame : pandas.DataFrame
        """
        import pandas as pd

        return pd.DataFrame(self.correlations, index=list(self.names), columns=list(self.names))

    def __str__(self) -> str:
        pairs = sorted(
            zip(*np.triu_indices(len(self.names), 1), strict=True),
            key=lambda pair: -np.nan_to_num(self.correlations[pair], nan=-2.0),
        )
        lines = [
            f"mean rank correlation of {len(self.names)} probes over {self.n_units} units: "
            f"{self.mean:.2f} (p {self.p_value:.2g})"
        ]
        for a, b in pairs:
            value, p = self.correlations[a, b], self.p_values[a, b]
            said = "not defined" if np.isnan(value) else f"{value:.2f} (adjusted p {p:.2g})"
            lines.append(f"  {self.names[a]}, {self.names[b]}: {said}")
        return "\n".join(lines)


def rank_agreement(
    names: tuple[str, ...], shares: NDArray, layer_of: NDArray, rng: np.random.RandomState
) -> RankAgreement:
    """Correlations of the rows of shares (n_probes, n_units), which have no NaN, with a null.

    Shares are ranks within the layers ``layer_of`` (n_units,), divided by the number of units
    there; random orders are within layers.

    Examples
    --------
    Two equal orders and their reverse:

    >>> import numpy as np
    >>> from sklflat.consensus.agreement import rank_agreement
    >>> up, layer_of = np.arange(1.0, 9.0) / 8, np.zeros(8)
    >>> rng = np.random.RandomState(0)
    >>> shares = np.array([up, up, up[::-1] + 1 / 8])
    >>> rank_agreement(("a", "b", "c"), shares, layer_of, rng).correlations.round(6)
    array([[ 1.,  1., -1.],
           [ 1.,  1., -1.],
           [-1., -1.,  1.]])
    """
    pairs = np.triu_indices(len(shares), 1)
    found = _correlations(shares)
    own = found[pairs]
    said = ~np.isnan(own)
    beyond, above = np.zeros(len(own)), 0
    mean = float(own[said].mean()) if said.any() else np.nan
    for start in range(0, _N_ORDERS, _AT_ONCE):
        orders = permuted_shares(shares, layer_of, min(_AT_ONCE, _N_ORDERS - start), rng)
        draws = _correlations(orders)[:, *pairs]
        beyond += (np.abs(draws) >= np.abs(own) - 1e-12).sum(axis=0)
        if said.any():
            above += int((draws[:, said].mean(axis=1) >= mean - 1e-12).sum())
    p = (beyond + 1) / (_N_ORDERS + 1)
    p_values = np.eye(len(shares))
    p_values[pairs] = np.where(said, 1.0, np.nan)
    if said.any():
        p_values[pairs[0][said], pairs[1][said]] = holm(p[said])
    p_values = np.where(np.tri(len(shares), k=-1, dtype=bool), p_values.T, p_values)
    overall = (above + 1) / (_N_ORDERS + 1) if said.any() else 1.0
    return RankAgreement(names, shares.shape[1], found, p_values, mean, overall)


def _correlations(ranks: NDArray) -> NDArray:
    """Correlations (..., K, K) of the rows of ranks (..., K, n); NaN for constant ones."""
    centred = ranks - ranks.mean(axis=-1, keepdims=True)
    norms = np.sqrt(np.square(centred).sum(axis=-1, keepdims=True))
    with np.errstate(invalid="ignore", divide="ignore"):
        unit = centred / np.where(norms > 0, norms, np.nan)
    return np.clip(unit @ np.swapaxes(unit, -1, -2), -1.0, 1.0)
