"""Whether confusions tell more of pairs of classes than how hard each class is by itself."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["pair_effects", "reproduced_p_value"]

#: classes that are looked at, and rounds of the additive fit
_MAX_CLASSES, _N_ROUNDS = 40, 25


def pair_effects(S: NDArray, floor: NDArray) -> NDArray:
    r"""What similarities say of pairs beyond an effect of each class.

    Where a class is confused with all others alike, :math:`S_{ab} = r_a c_b` for a other than b:
    rows and columns are quasi-independent. These are the residuals of that model in logarithms,
    symmetrised.

    Parameters
    ----------
    S : ndarray of shape (..., n_classes, n_classes)
        Similarities of classes.
    floor : ndarray of shape (n_classes, 1)
        Added to them: less than what the rows of a class can show.

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
    >>> from sklflat.temperature.reproduced import pair_effects
    >>> r, c = np.array([0.1, 0.2, 0.3, 0.05]), np.array([1.0, 2.0, 1.0, 3.0])
    >>> np.abs(pair_effects(np.outer(r, c), np.zeros((4, 1)))).max() < 1e-6
    np.True_
    """
    n = S.shape[-1]
    off = ~np.eye(n, dtype=bool)
    R = np.log(S + floor, where=off, out=np.zeros(S.shape))
    for _ in range(_N_ROUNDS):
        R -= off * (R.sum(axis=-1, keepdims=True) / (n - 1))
        R -= off * (R.sum(axis=-2, keepdims=True) / (n - 1))
    return np.asarray((R + np.swapaxes(R, -1, -2)) / 2)


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
    floor = 0.5 / n_rows[chosen, None] / len(n_rows)
    A, B = (_unit(pair_effects(S[:, chosen][:, :, chosen], floor)) for S in (first, second))
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
