"""How consistently units come back over several trainings: correlations, matching, failures.

What children of a rewind point and networks from other seeds have in common.
"""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from sklflat.metrics._checks import standardised

#: resamples of rows and children
N_BOOTSTRAP = 100
#: share of a mean square that is left as a variance, below which it is computed anew
_CANCELS = 1e-6
#: length relative to the largest value, below which a unit may be constant
_HARDLY = 1e-11


def matched(first: NDArray, other: NDArray, layer_of: NDArray) -> NDArray:
    """For each unit of one network its partner in the other, within layers.

    The sum of correlations on these rows is greatest; constant units are matched last.

    Parameters
    ----------
    first, other : ndarray of shape (n, n_units)
    layer_of : ndarray of shape (n_units,), int

    Examples
    --------
    >>> import numpy as np
    >>> from sklflat.metrics.consistency import matched
    >>> A = np.random.RandomState(0).normal(size=(20, 3))
    >>> matched(A, 5 * A[:, [2, 0, 1]], np.zeros(3, dtype=int)).tolist()
    [1, 2, 0]
    """
    return partners(standardised(first), standardised(other), layer_of)


def partners(a: NDArray, b: NDArray, layer_of: NDArray) -> NDArray:
    """As :func:`matched`, of activations that are ``standardised``."""
    order = np.empty(len(layer_of), dtype=int)
    for layer in np.unique(layer_of):
        own = np.flatnonzero(layer_of == layer)
        rows, columns = linear_sum_assignment(a[:, own].T @ b[:, own], maximize=True)
        order[own[rows]] = own[columns]
    return order


def correlations(A: NDArray, weights: NDArray | None = None) -> NDArray:
    """Correlations (n_units, R, R) of each unit between R networks, of A (R, n, n_units)."""
    z = standardised(A, weights).transpose(2, 0, 1)
    return z @ z.transpose(0, 2, 1)


def mean_correlation(z: Sequence[NDArray]) -> NDArray:
    """Mean correlation (n_units,) over pairs of R networks, of (n, n_units) ``standardised``.

    As :func:`mean_of_pairs`, from the length of the sum over networks.
    """
    squares = sum(np.square(own).sum(axis=0) for own in z)
    pairs = np.square(np.sum(z, axis=0)).sum(axis=0) - squares
    return np.asarray(pairs / (len(z) * (len(z) - 1)))


def mean_of_pairs(C: NDArray, counts: NDArray | None = None) -> NDArray:
    r"""Mean correlation (n_units,) over pairs of different networks.

    It is the intraclass correlation ICC(C,1) of activations that have been brought to one scale in
    each network, so factors and shifts of single units, which ReLU networks are free to choose, do
    not count.

    Parameters
    ----------
    C : ndarray of shape (n_units, R, R)
    counts : ndarray of shape (R,), default=None
        How often each network counts; it makes no pair with itself, however often.
    """
    m = np.ones(C.shape[1]) if counts is None else counts
    pairs = np.outer(m, m)
    np.fill_diagonal(pairs, 0.0)
    total = pairs.sum()
    if total == 0:
        return np.full(len(C), np.nan)
    return (C * pairs).sum(axis=(1, 2)) / total


def bootstrap_interval(
    A: NDArray,
    weights: NDArray | None,
    rng: np.random.RandomState,
    n_bootstrap: int = N_BOOTSTRAP,
) -> tuple[NDArray, NDArray]:
    """Ends (n_units,) of the 95 % percentile interval over resampled rows and networks at once.

    A network that was drawn twice makes no pair with itself, which would correlate by 1.
    """
    R, n, _ = A.shape
    rows, networks = np.empty((n_bootstrap, n)), np.empty((n_bootstrap, R))
    for b in range(n_bootstrap):
        rows[b] = np.bincount(rng.randint(n, size=n), minlength=n)
        networks[b] = np.bincount(rng.randint(R, size=R), minlength=R)
        while (networks[b] > 0).sum() < 2:
            networks[b] = np.bincount(rng.randint(R, size=R), minlength=R)
    draws = resampled_means(A, rows if weights is None else rows * weights, networks)
    low, high = np.quantile(draws, [0.025, 0.975], axis=0)
    return low, high


def resampled_means(A: NDArray, weights: NDArray, counts: NDArray) -> NDArray:
    """Mean correlations (B, n_units) over pairs of networks, for B weightings of rows and networks.

    They are ``mean_of_pairs(correlations(A, weights[b]), counts[b])``, from sums of products that
    one product of matrices forms for all b.

    Parameters
    ----------
    A : ndarray of shape (R, n, n_units)
    weights : ndarray of shape (B, n)
        Of rows.
    counts : ndarray of shape (B, R)
        Of networks.
    """
    s = weights / weights.sum(axis=1, keepdims=True)
    seen = (s > 0).any(axis=0)
    s, A = s[:, seen], A[:, seen]
    D = A - A.mean(axis=1, keepdims=True)
    mean, square = s @ D, s @ np.square(D)  # (R, B, n_units)
    variance = square - np.square(mean)
    # where nearly nothing is left of a difference, or units hardly vary, it is not known so
    scale = np.abs(A).max(axis=1)[:, None]
    cancels = variance <= np.maximum(_CANCELS * square, np.square(_HARDLY * scale))
    varies = np.ptp(A, axis=1) > 0
    length = np.sqrt(np.where(cancels, 1.0, variance))
    total = np.zeros(mean.shape[1:])
    for i, j in combinations(range(len(A)), 2):
        r = (s @ (D[i] * D[j]) - mean[i] * mean[j]) / (length[i] * length[j])
        total += (counts[:, i] * counts[:, j])[:, None] * np.where(varies[i] & varies[j], r, 0.0)
    n_pairs = (np.square(counts.sum(axis=1)) - np.square(counts).sum(axis=1)) / 2
    found = total / n_pairs[:, None]
    for b, units in enumerate((cancels & varies[:, None]).any(axis=0)):
        if units.any():
            found[b, units] = mean_of_pairs(correlations(A[:, :, units], s[b]), counts[b])
    return found


def mean_of_live(scores: NDArray, lives: NDArray) -> float:
    """The mean score over units that live; NaN if there is none."""
    return float(scores[lives].mean()) if lives.any() else float("nan")


def too_many_failed(n_failed: int, n_children: int) -> bool:
    """Whether more than a quarter failed, or too few are left for a pair."""
    return 4 * n_failed > n_children or n_failed >= n_children


def largest_correlations(
    C: NDArray,
    layer_of: NDArray,
    other_layer_of: NDArray,
    *,
    one_to_one: bool = False,
    signed: bool = True,
) -> tuple[NDArray, NDArray]:
    """For each unit of one network its partner in another, from their correlations, by layers.

    The two may have other numbers of units.

    Parameters
    ----------
    C : ndarray of shape (n_units, n_other_units)
    layer_of : ndarray of shape (n_units,), int
    other_layer_of : ndarray of shape (n_other_units,), int
        A partner is of the same layer.
    one_to_one : bool, default=False
        Whether a unit is the partner of one unit at most, and the sum over units is greatest. If
        not, each takes the unit that it correlates most with.
    signed : bool, default=True
        Whether a unit and its negative differ.

    Returns
    -------
    values : ndarray of shape (n_units,)
        Correlations with the partners, without sign if they are not `signed`; 0 without one.
    partners : ndarray of shape (n_units,), int
        -1 for a unit without one.

    Examples
    --------
    >>> import numpy as np
    >>> from sklflat.metrics.consistency import largest_correlations
    >>> C = np.array([[0.9, 0.8], [0.7, -0.95]])
    >>> layer = np.zeros(2, dtype=int)
    >>> largest_correlations(C, layer, layer)
    (array([0.9, 0.7]), array([0, 0]))
    >>> largest_correlations(C, layer, layer, one_to_one=True, signed=False)
    (array([0.9 , 0.95]), array([0, 1]))
    """
    profit = C if signed else np.abs(C)
    values, partners = np.zeros(len(C)), np.full(len(C), -1)
    for layer in np.unique(layer_of):
        own, others = np.flatnonzero(layer_of == layer), np.flatnonzero(other_layer_of == layer)
        if not len(others):
            continue
        whole = (len(own), len(others)) == profit.shape
        block = profit if whole else profit[np.ix_(own, others)]
        if one_to_one:
            rows, columns = linear_sum_assignment(block, maximize=True)
        else:
            rows, columns = np.arange(len(own)), block.argmax(axis=1)
        values[own[rows]] = block[rows, columns]
        partners[own[rows]] = others[columns]
    return values, partners
