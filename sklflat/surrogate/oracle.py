"""Oracle samples: inputs like the data, for which the network is asked what it says."""

import numpy as np
from numpy.typing import NDArray
from sklearn.neighbors import NearestNeighbors

from sklflat.surrogate.columns import Columns, filled

#: standard deviation of the noise, in those of the columns
BANDWIDTH = 0.35
#: share of the noise's variance that is independent between columns
INDEPENDENT = 0.3
#: how often a value is there, in the mean, in a column that takes no others
_REPEATED = 5
#: rows among which discrete values are exchanged
N_NEIGHBOURS = 5
#: oracle samples a row, and of all rows together
_EACH, _ALL = 40, 10_000


def n_oracle_samples(asked: int | str, n_rows: int) -> int:
    """How many samples are drawn: ``"auto"`` is 40 for each row, but 10,000 at most."""
    return min(_EACH * n_rows, _ALL) if asked == "auto" else int(asked)


def draw_oracle_samples(
    codes: NDArray,
    columns: Columns,
    n_samples: int,
    rng: np.random.RandomState,
    weight: NDArray | None = None,
) -> NDArray[np.float64]:
    r"""Samples that stay on the distribution of the data and keep its dependence.

    A smoothed bootstrap [1]_: a row of the data is drawn, and noise with the data's own covariance
    :math:`\Sigma`, drawn a little to its diagonal, is added to its numbers,

    .. math:: x = x_i + h \big(\sqrt{1 - \lambda}\, \Sigma^{1/2} z +
              \sqrt{\lambda}\, \mathrm{diag}(\Sigma)^{1/2} z'\big),

    so that columns that move together go on doing so. With :math:`h = 0.35` and
    :math:`\lambda = 0.3` the variance is 12 % above that of the data. No value leaves the range
    that its column has in the data, whole numbers stay whole, and a missing value stays missing.
    Columns whose values are there five times and more in the mean take the nearest of these, as
    numbers may be codes, and an encoder of categories knows no others.
    Binary and categorical columns take, in half of the samples, all their values from one of the
    five rows whose numbers are next to those of the row, so that no combination of them is made up.

    Where a decision tree was wanted in place of a network, Craven and Shavlik [2]_ drew samples
    from the marginal distributions in each node. Dependence between columns is lost by that, and a
    network's answers far from its data mean nothing.

    Parameters
    ----------
    codes : ndarray of shape (n_rows, n_columns)
        The data: see :class:`~sklflat.surrogate.columns.Columns`.
    columns : Columns
    n_samples : int
    rng : RandomState
    weight : ndarray of shape (n_rows,), default=None
        Rows are drawn in proportion to it.

    Returns
    -------
    samples : ndarray of shape (n_samples, n_columns)
        Codes.

    References
    ----------
    .. [1] B. Silverman, G. Young, "The bootstrap: to smooth or not to smooth?", Biometrika 1987.
    .. [2] M. Craven, J. Shavlik, "Extracting tree-structured representations of trained networks",
       NIPS 1995.

    Examples
    --------
    Two equal columns stay nearly equal, as far as noise of their own lets them:

    >>> import numpy as np
    >>> from sklflat.surrogate.columns import Columns
    >>> from sklflat.surrogate.oracle import draw_oracle_samples
    >>> rng = np.random.RandomState(0)
    >>> X = np.repeat(rng.normal(size=(500, 1)), 2, axis=1)
    >>> samples = draw_oracle_samples(X, Columns.of(X), 5000, rng)
    >>> round(float(np.corrcoef(samples.T)[0, 1]), 2)
    0.97
    """
    p = None if weight is None else weight / weight.sum()
    rows = rng.choice(len(codes), size=n_samples, p=p)
    samples = codes[rows].copy()
    numeric = ~columns.discrete
    if numeric.any():
        values = codes[:, numeric]
        moved = samples[:, numeric] + _noise(values, n_samples, rng)
        moved = np.where(columns.whole[numeric], np.round(moved), moved)
        for j, column in enumerate(values.T):
            seen, count = np.unique(column[np.isfinite(column)], return_counts=True)
            if count.mean() >= _REPEATED:
                moved[:, j] = _nearest(moved[:, j], seen)
        samples[:, numeric] = np.clip(moved, np.nanmin(values, axis=0), np.nanmax(values, axis=0))
    if columns.discrete.any():
        donors = _neighbours(codes[:, numeric], rng)[
            rows, rng.randint(N_NEIGHBOURS, size=len(rows))
        ]
        exchanged = rng.uniform(size=n_samples) < 0.5
        own = np.ix_(exchanged, columns.discrete)
        samples[own] = codes[np.ix_(donors[exchanged], columns.discrete)]
    return samples


def _noise(values: NDArray, n_samples: int, rng: np.random.RandomState) -> NDArray:
    """Noise (n_samples, n_columns) with the covariance of the values, drawn to its diagonal."""
    known = filled(values)
    centred = known - known.mean(axis=0)
    scale = centred.std(axis=0)
    # of the standardised values, so that columns of any size are alike
    Z = centred / np.where(scale > 0, scale, 1)
    variances, axes = np.linalg.eigh(Z.T @ Z / len(Z))
    root = axes * np.sqrt(np.maximum(variances, 0))
    together = rng.normal(size=(n_samples, len(scale))) @ root.T
    alone = rng.normal(size=together.shape)
    noise = np.sqrt(1 - INDEPENDENT) * together + np.sqrt(INDEPENDENT) * alone
    return BANDWIDTH * scale * noise


def _nearest(moved: NDArray, seen: NDArray) -> NDArray:
    """For each number (n_samples,) the nearest of some rising ones; NaN for NaN."""
    found = seen[np.searchsorted((seen[1:] + seen[:-1]) / 2, moved)]
    return np.where(np.isnan(moved), np.nan, found)


def _neighbours(values: NDArray, rng: np.random.RandomState) -> NDArray[np.int64]:
    """For each row, ``N_NEIGHBOURS`` rows next to it; any at all, where there are no numbers."""
    n = len(values)
    if values.shape[1] == 0 or n <= N_NEIGHBOURS:
        return rng.randint(n, size=(n, N_NEIGHBOURS))
    known = filled(values)
    scale = known.std(axis=0)
    Z = (known - known.mean(axis=0)) / np.where(scale > 0, scale, 1)
    found = NearestNeighbors(n_neighbors=N_NEIGHBOURS + 1).fit(Z)
    return found.kneighbors(Z, return_distance=False)[:, 1:]
