"""Whether confusions tell more of pairs of classes than how hard each class is by itself."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["pair_effects", "reproduced_p_value"]

#: classes that are looked at, and rounds of the fit
_MAX_CLASSES, _N_ROUNDS = 40, 50

#: rows added to the expected number that differences are divided by, so that rare pairs do not rule
_LEAST = 0.5


def pair_effects(N: NDArray) -> NDArray:
    r"""What confusions say of pairs beyond an effect of each class.

    Where a class is confused with all others alike, the expected numbers off the diagonal are
    :math:`E_{ab} = r_a c_b`: rows and columns are quasi-independent. That is fitted by matching
    the sums of rows and columns in turn, and these are its relative residuals :math:`(N_{ab} -
    E_{ab}) / (E_{ab} + 0.5)`, symmetrised. No logarithm is taken, so that 0 is expected of them for
    rare pairs, too, and whatever the numbers of rows.

    Parameters
    ----------
    N : ndarray of shape (..., n_classes, n_classes)
        Numbers of the rows of one class that are taken for another; they may be shares of rows.

    Returns
    -------
    R : ndarray of the same shape
        Symmetric, with zeros on the diagonal.

    References
    ----------
    .. [1] L. A. Goodman, "The analysis of cross-classified data: independence, quasi-independence,
       and interactions in contingency tables", Journal of the American Statistical Association 63,
       1968. https://doi.org/10.1080/01621459.1968.10480916

    Examples
    --------
    >>> import numpy as np
    >>> from sklflat.temperature.reproducibility import pair_effects
    >>> r, c = np.array([1.0, 2.0, 3.0, 0.5]), np.array([1.0, 2.0, 1.0, 3.0])
    >>> np.abs(pair_effects(np.outer(r, c))).max() < 1e-6
    np.True_
    """
    off = 1 - np.eye(N.shape[-1])
    N = N * off
    rows, columns = N.sum(axis=-1), N.sum(axis=-2)
    r, c = rows, columns
    for _ in range(_N_ROUNDS):
        r = _share(rows, c)
        c = _share(columns, r)
    expected = r[..., :, None] * c[..., None, :] * off
    R = (N - expected) / (expected + _LEAST)
    return np.asarray((R + np.swapaxes(R, -1, -2)) / 2)


def _share(sums: NDArray, effects: NDArray) -> NDArray:
    """Sums (..., n) over the others' effects (..., n); 0 where these have none."""
    others = np.maximum(effects.sum(axis=-1, keepdims=True) - effects, 0.0)
    return np.divide(sums, others, out=np.zeros_like(sums), where=others > 0)


def reproduced_p_value(
    first: NDArray, second: NDArray, n_rows: NDArray, n_draws: int, rng: np.random.RandomState
) -> float:
    """Whether what one half of the rows says of pairs of classes comes back in the other half.

    Mantel's test: the statistic is the correlation between the pair effects of both halves, and
    under the null the classes of the second half are any others. Classes that differ only in how
    hard they are have no pair effects. A tree that looks the same after exchanging classes, as a
    balanced one does, limits how small the p-value can be.

    Parameters
    ----------
    first, second : ndarray of shape (n_halves, n_classes, n_classes)
        Similarities of classes by disjoint halves of the rows.
    n_rows : ndarray of shape (n_classes,)
        Rows of each class. Those with one row are left out, and of more than forty classes a
        random choice is looked at.
    n_draws : int
    rng : RandomState

    Returns
    -------
    p : float
        1 where fewer than four classes are left, or nothing varies.

    References
    ----------
    .. [1] N. Mantel, "The detection of disease clustering and a generalized regression approach",
       Cancer Research 27, 1967.
    """
    chosen = np.flatnonzero(n_rows > 1)
    chosen = rng.permutation(chosen)[:_MAX_CLASSES]
    n = len(chosen)
    if n < 4:
        return 1.0
    numbers = n_rows[chosen, None] / 2
    A, B = (_unit(pair_effects(numbers * S[:, chosen][:, :, chosen])) for S in (first, second))
    G = np.einsum("iab,icd->abcd", A, B, optimize=True)
    own = np.arange(n)

    def statistic(order: NDArray) -> float:
        return float(G[own[:, None], own, order[:, None], order].sum())

    observed = statistic(own)
    drawn = [statistic(rng.permutation(n)) for _ in range(n_draws)]
    return (1 + int((np.array(drawn) >= observed - 1e-12).sum())) / (1 + n_draws)


def _unit(R: NDArray) -> NDArray:
    length = np.linalg.norm(R, axis=(1, 2), keepdims=True)
    return np.divide(R, length, out=np.zeros_like(R), where=length > 1e-9)
