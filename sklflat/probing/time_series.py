"""Rows in time: how long a series remembers, and what is left to test when neighbours are alike."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import TimeSeriesSplit

__all__ = ["blocks", "check_in_time", "is_in_time", "memory", "shifted_orders", "too_short"]

#: independent rows that a series has to be worth before anything is tested on it
MIN_INDEPENDENT = 20
#: fewest rows of a series that can be shifted against its targets
MIN_ROWS = 5
#: a sum of autocorrelations ends at so many times itself (Sokal's window)
_WINDOW = 5
#: sums over all lags that are so many times greater are of trends and seasons
_LONG = 2
#: blocks of so many times the memory are as good as independent
_MEMORIES_A_BLOCK = 5


def is_in_time(holdout: Any) -> bool:
    """Whether a probe's ``holdout`` says that rows are one series, in the order of time."""
    return isinstance(holdout, TimeSeriesSplit)


def memory(first: NDArray, second: NDArray | None = None) -> float:
    r"""Rows of a series that are worth one independent row: its integrated autocorrelation time.

    .. math:: \tau = 1 + 2 \sum_{k=1}^{w} \rho_k, \qquad w = \min \{k : k \ge 5 \tau(k)\}

    With two sets of columns, :math:`\rho_k` is the product of the autocorrelations of one column
    of each, and the sum what the variance of their covariance grows by where they have nothing to
    do with each other [1]_. The sum ends at Sokal's window [2]_; of two sets the sum over all lags
    counts too, if it is greater. Where it is more than twice as great, both have a trend or a
    season that reaches through all of the series, and shifts do not leave it as it was.

    Parameters
    ----------
    first : ndarray of shape (n, k)
        Series, in the order of time.
    second : ndarray of shape (n, m), default=None

    Returns
    -------
    tau : float
        The greatest of all columns (or pairs), at least 1. Infinite where the series is not long
        enough to tell, both have a trend or a season, or no column varies.

    References
    ----------
    .. [1] M. S. Bartlett, "Some aspects of the time-correlation problem in regard to tests of
       significance", Journal of the Royal Statistical Society 98, 1935.
    .. [2] A. Sokal, "Monte Carlo methods in statistical mechanics: foundations and new
       algorithms", 1997.

    Examples
    --------
    Of an autoregressive series with coefficient r it is (1 + r) / (1 - r), here 9:

    >>> import numpy as np
    >>> from sklflat.probing.time_series import memory
    >>> x = np.random.RandomState(0).normal(size=(100_000, 1))
    >>> for i in range(1, len(x)):
    ...     x[i] += 0.8 * x[i - 1]
    >>> bool(8 < memory(x) < 10)
    True
    """
    a = _varying(first)
    b = a[:, :0] if second is None else _varying(second)
    if not a.size or (second is not None and not b.size):
        return np.inf
    r = _autocorrelations(a)
    if second is None:
        return float(_times(r).max())
    around, longest = _autocorrelations(a, around=True), 0.0
    for column in b.T:
        tau = _times(r * _autocorrelations(column[:, None]))
        of_all = (around * _autocorrelations(column[:, None], around=True)).sum(axis=0)
        tau = np.where(of_all > _LONG * tau, np.inf, np.maximum(tau, of_all))
        longest = max(longest, float(tau.max()))
    return longest


def _varying(columns: NDArray) -> NDArray:
    """The columns (n, k) that vary, less their means, on a scale on which squares are finite."""
    size = np.abs(columns).max(axis=0, initial=0.0)
    x = columns / np.where(size > 0, size, 1.0)
    x = x[:, np.ptp(x, axis=0) > 1e-12] if len(x) else x
    return x - x.mean(axis=0) if x.size else x


def _autocorrelations(x: NDArray, *, around: bool = False) -> NDArray:
    """At lags 0 to n - 1, of columns (n, k) that end where they begin (`around`) or do not."""
    n = len(x)
    length = n if around else 2 * n
    power = np.abs(np.fft.rfft(x, length, axis=0)) ** 2
    covariances = np.fft.irfft(power, length, axis=0)[:n]
    return covariances / covariances[0]


def _times(r: NDArray) -> NDArray:
    """Autocorrelation times (k,) of autocorrelations (n, k); infinite where no window ends."""
    tau = 2 * np.cumsum(r, axis=0) - 1
    past = np.arange(len(r))[:, None] >= _WINDOW * np.maximum(tau, 1)
    ends = past.argmax(axis=0)
    found = np.maximum(tau[ends, np.arange(r.shape[1])], 1.0)
    return np.where(past.any(axis=0), found, np.inf)


def shifted_orders(n_samples: int, n_orders: int, rng: np.random.RandomState) -> NDArray:
    """Orders of targets that are shifted in time, the end to the start: no shift twice, nor 0.

    A shift leaves the memory of the targets as it is, but for one place.

    Parameters
    ----------
    n_samples, n_orders : int
    rng : RandomState

    Returns
    -------
    orders : ndarray of shape (min(n_orders, n_samples - 1), n_samples), int

    Examples
    --------
    >>> import numpy as np
    >>> from sklflat.probing.time_series import shifted_orders
    >>> shifted_orders(4, 10, np.random.RandomState(0))
    array([[3, 0, 1, 2],
           [2, 3, 0, 1],
           [1, 2, 3, 0]])
    """
    n = min(n_orders, n_samples - 1)
    shifts = 1 + rng.choice(n_samples - 1, n, replace=False)
    return (np.arange(n_samples) + shifts[:, None]) % n_samples


def blocks(series: NDArray) -> NDArray:
    """Blocks (n,) of neighbouring rows, five times as long as the series (n, k) remember.

    All rows are one block where the series are too short to tell.

    Examples
    --------
    >>> import numpy as np
    >>> from sklflat.probing.time_series import blocks
    >>> noise = np.random.RandomState(0).normal(size=(400, 1))
    >>> int(blocks(noise).max()) + 1
    66
    """
    n, tau = len(series), memory(series)
    length = int(np.ceil(_MEMORIES_A_BLOCK * tau)) if np.isfinite(tau) else n
    return np.arange(n) * max(1, n // max(length, 1)) // max(n, 1)


def check_in_time(holdout: Any, groups: Any, takes_series: bool, name: str) -> None:
    """Raise a ValueError where rows in time are given to what compares rows in any order.

    ``name`` is that of the class that has ``holdout``, ``takes_series`` whether it knows time.
    """
    if isinstance(holdout, str):  # which has a method split, too
        raise ValueError(
            f"The 'holdout' parameter of {name} must be a share of the rows in (0, 1), a "
            f"cross-validator or None. Got {holdout!r} instead."
        )
    if not is_in_time(holdout):
        return
    if not takes_series:
        raise ValueError(
            f"{name} compares rows as if their order said nothing, so it takes no "
            f"holdout={holdout!r}. AblationProbe, ActivationProbe and PruningPath do; or train on "
            "the start of the series and give the network as FrozenEstimator."
        )
    if groups is not None:
        raise ValueError(
            f"groups= and holdout={holdout!r} are two descriptions of how rows depend on each "
            "other. Give groups= for several series, and holdout=TimeSeriesSplit() for one."
        )


def too_short(n_samples: int, n_independent: float) -> str:
    """A sentence where a series is worth too few independent rows; empty where it is not.

    A ValueError for a series with too few shifts to draw from.
    """
    if n_samples < MIN_ROWS:
        raise ValueError(
            f"The series that units are scored on has {n_samples} rows, and at least {MIN_ROWS} "
            "are needed: give a longer series, or a splitter that tests on more rows."
        )
    if n_independent >= MIN_INDEPENDENT:
        return ""
    if n_independent < 1:
        return (
            f"The series of {n_samples} rows and its targets have a trend or a season, or a memory "
            "as long as they are, so nothing can be shown. Remove trends and seasons, or give a "
            "longer series."
        )
    return (
        f"The series of {n_samples} rows is worth about {n_independent:.0f} independent ones, as "
        f"neighbours are alike: fewer than {MIN_INDEPENDENT} show nothing. Give a longer series."
    )
