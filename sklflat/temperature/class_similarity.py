"""How similar classes are to a classifier: what it says of one on rows of the other."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["class_distances", "class_similarity", "merge_temperatures"]

#: distances below this are rounding, as of a classifier that says the same of all rows
_ROUNDING = 1e-13


def class_similarity(p: NDArray, y: NDArray, weight: NDArray | None = None) -> NDArray:
    r"""Mean probability of each class over the rows of each class.

    .. math:: S_{ab} = \frac{\sum_{i: y_i = a} w_i \, p_b(x_i)}{\sum_{i: y_i = a} w_i}

    With a low temperature of the softmax, S is the confusion matrix, one row a class; with a high
    one :math:`T (K S_{ab} - 1)` is the mean centred logit of class b over the rows of class a.

    Parameters
    ----------
    p : ndarray of shape (n_samples, n_classes)
    y : ndarray of shape (n_samples,), int
        Columns of p; every class has a row.
    weight : ndarray of shape (n_samples,) or (n_draws, n_samples), default=None
        Weights of the rows, or several such; of every class some weight is positive.

    Returns
    -------
    S : ndarray of shape (n_classes, n_classes) or (n_draws, n_classes, n_classes)

    Examples
    --------
    >>> import numpy as np
    >>> p = np.array([[0.9, 0.1], [0.5, 0.5], [0.2, 0.8]])
    >>> class_similarity(p, np.array([0, 0, 1])).round(12).tolist()
    [[0.7, 0.3], [0.2, 0.8]]
    """
    weight = np.ones(len(y)) if weight is None else weight
    rows = []
    for a in range(p.shape[1]):
        w = weight[..., y == a]
        rows.append(w @ p[y == a] / w.sum(axis=-1, keepdims=True))
    return np.stack(rows, axis=-2)


def class_distances(S: NDArray) -> NDArray:
    r"""Distances between classes, from how similar they are.

    .. math:: d_{ab} = \max\left(0,\; 1 - \frac{S_{ab} + S_{ba}}{S_{aa} + S_{bb}}\right)

    0 where the classifier does not tell a from b, 1 where it never takes one for the other (even
    if it never knows either, and all are 0). The
    ratio leaves out how well a class is known by itself. As the temperature grows,
    :math:`T K d_{ab}` tends to half of :math:`Z_{aa} + Z_{bb} - Z_{ab} - Z_{ba}` of the mean
    logits Z, which is a squared distance where logits are inner products.

    Parameters
    ----------
    S : ndarray of shape (..., n_classes, n_classes)

    Returns
    -------
    d : ndarray of the same shape
        Symmetric, with zeros on the diagonal.
    """
    own = np.diagonal(S, axis1=-2, axis2=-1)
    own = own[..., :, None] + own[..., None, :]
    other = S + np.swapaxes(S, -1, -2)
    with np.errstate(divide="ignore", invalid="ignore"):
        d = np.where(own > other, 1 - other / own, np.where(other > 0, 0.0, 1.0))
    d[d < _ROUNDING] = 0.0
    d[..., np.arange(S.shape[-1]), np.arange(S.shape[-1])] = 0.0
    return np.asarray(d)


def merge_temperatures(similarity: NDArray, temperatures: NDArray) -> NDArray:
    r"""Smallest temperature at which two classes are half as similar as each to itself.

    That is :math:`S_{ab} + S_{ba} \ge (S_{aa} + S_{bb}) / 2`, or :math:`d_{ab} \le 1/2`. Between
    two temperatures of the grid, the distance is taken to be linear in the logarithm of T.

    Parameters
    ----------
    similarity : ndarray of shape (n_temperatures, n_classes, n_classes)
    temperatures : ndarray of shape (n_temperatures,)
        Rising.

    Returns
    -------
    merges : ndarray of shape (n_classes, n_classes)
        The first temperature where two classes have merged there already, so that it means "at or
        below"; ``inf`` where they do at none; 0 on the diagonal.
    """
    d = class_distances(similarity)
    merged = d <= 0.5
    first = merged.argmax(axis=0)
    log_t = np.log(temperatures)
    at = np.take_along_axis(d, first[None], axis=0)[0]
    before = np.take_along_axis(d, np.maximum(first - 1, 0)[None], axis=0)[0]
    gap = np.where(before > at, before - at, 1.0)
    share = np.where(first > 0, (before - 0.5) / gap, 1.0)
    log_merge = log_t[np.maximum(first - 1, 0)] * (1 - share) + log_t[first] * share
    merges = np.where(merged.any(axis=0), np.exp(log_merge), np.inf)
    np.fill_diagonal(merges, 0.0)
    return np.asarray(merges)
