"""Neural collapse: how far a trained classifier's last layer is a simplex."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import check_array, check_consistent_length, column_or_1d

from sklflat.metrics._checks import check_labels

__all__ = ["NeuralCollapse", "neural_collapse"]


class NeuralCollapse(NamedTuple):
    """Measures of neural collapse, all 0 when it is complete; see :func:`neural_collapse`."""

    within_class_variability: float
    equal_norms: float
    equal_angles: float
    maximal_angles: float
    self_duality: float | None
    nearest_center: float | None


def neural_collapse(
    features: ArrayLike,
    y: ArrayLike,
    weights: ArrayLike | None = None,
    bias: ArrayLike | None = None,
) -> NeuralCollapse:
    r"""Measures NC1 to NC4 of neural collapse [1]_, all 0 when it is complete.

    With class means :math:`\mu_c`, their unweighted mean :math:`\mu_G`,
    :math:`m_c = \mu_c - \mu_G`, the covariance within classes :math:`\Sigma_W` and that of the
    C class means :math:`\Sigma_B`:

    - NC1 ``within_class_variability``: :math:`\mathrm{tr}(\Sigma_W \Sigma_B^+) / C`;
    - NC2 ``equal_norms``: standard deviation over mean of :math:`\|m_c\|`; ``equal_angles``:
      standard deviation of :math:`\cos(m_c, m_{c'})` over pairs; ``maximal_angles``: mean of
      :math:`|\cos(m_c, m_{c'}) + 1/(C-1)|`;
    - NC3 ``self_duality``: :math:`\| W / \|W\|_F - M / \|M\|_F \|_F`, M with rows :math:`m_c`;
    - NC4 ``nearest_center``: share of the samples for which the class of the greatest logit is
      not that of the nearest mean.

    In NC1 to NC3 classes weigh the same, however many samples they have. Rotating features and
    weights together changes nothing; a factor of either, or a shift of the features, may change
    NC4 only.

    Parameters
    ----------
    features : array-like of shape (n_samples, n_units)
        What the last layer reads.
    y : array-like of shape (n_samples,)
        Class labels, at least two, with at least two samples each.
    weights : array-like of shape (n_classes, n_units), default=None
        Of the last layer, rows in the order of the sorted labels; None leaves NC3 and NC4 out.
    bias : array-like of shape (n_classes,), default=None
        Of the last layer; None is zero.

    Returns
    -------
    NeuralCollapse
        Named tuple.

    Raises
    ------
    ValueError
        If there are fewer than two classes, a class has one sample only or the mean of all, or
        `weights` or `bias` does not fit.

    References
    ----------
    .. [1] V. Papyan, X. Y. Han, D. Donoho, "Prevalence of neural collapse during the terminal
       phase of deep learning training", PNAS 117, 2020. https://arxiv.org/abs/2008.08186

    Examples
    --------
    >>> import numpy as np
    >>> from sklflat.metrics import neural_collapse
    >>> simplex = np.eye(3) - 1 / 3
    >>> y = [0, 0, 1, 1, 2, 2]
    >>> result = neural_collapse(simplex[y], y, weights=2 * simplex)
    >>> np.allclose(result, 0)
    True
    """
    H = check_array(features, dtype=np.float64, input_name="features")
    labels = check_labels(y, advice="Cut real targets into classes first.")
    check_consistent_length(H, labels)
    classes, indices = np.unique(labels, return_inverse=True)
    C = len(classes)
    _check_classes(classes, np.bincount(indices))
    given, size = H, np.abs(H).max()
    H = H / size if size > 0 else H  # squares of tiny numbers are 0, of huge ones infinite
    means = np.stack([H[indices == c].mean(axis=0) for c in range(C)])
    center = means.mean(axis=0)
    M = means - center
    norms = np.linalg.norm(M, axis=1)
    if norms.min() <= 1e-12 * np.linalg.norm(means, axis=1).max():
        raise ValueError(
            f"features: the mean of class {classes.tolist()[norms.argmin()]!r} is that of all, so "
            "it has no angle. Leave the class out."
        )
    cosines = ((M / norms[:, None]) @ (M / norms[:, None]).T)[np.triu_indices(C, 1)]
    dual, nearest = _last_layer(H, given, M, center, weights, bias)
    return NeuralCollapse(
        _variability(H - means[indices], M, indices, np.abs(means).max()),
        float(norms.std() / norms.mean()),
        float(cosines.std()),
        float(np.abs(cosines + 1 / (C - 1)).mean()),
        dual,
        nearest,
    )


def _check_classes(classes: NDArray, counts: NDArray) -> None:
    if len(classes) < 2:
        raise ValueError(f"y must hold at least two classes, got only {classes.tolist()[0]!r}.")
    if counts.min() < 2:
        raise ValueError(
            f"y holds class {classes.tolist()[counts.argmin()]!r} once, so nothing is known of its "
            "variability. Give two samples a class, or leave it out."
        )


def _variability(within: NDArray, M: NDArray, indices: NDArray, magnitude: float) -> float:
    """NC1, in the space that the C class means span, but for rounding of their `magnitude`."""
    C = len(M)
    counts = np.bincount(indices)[indices]
    _, sigma, Vt = np.linalg.svd(M / np.sqrt(C), full_matrices=False)
    rounding = max(M.shape) * np.finfo(float).eps * max(sigma[0], magnitude)
    real = (sigma > rounding) & (np.arange(len(sigma)) < C - 1)
    projected = within @ Vt[real].T
    spread = (np.square(projected) / counts[:, None]).sum(axis=0) / C
    return float((spread / np.square(sigma[real])).sum() / C)


def _last_layer(
    H: NDArray,
    given: NDArray,
    M: NDArray,
    center: NDArray,
    weights: ArrayLike | None,
    bias: ArrayLike | None,
) -> tuple[float | None, float | None]:
    """NC3 and NC4, of features H at unit size and as they are `given`."""
    if weights is None:
        if bias is not None:
            raise ValueError("bias is of use only together with weights: give both, or none.")
        return None, None
    W = check_array(weights, dtype=np.float64, input_name="weights")
    if W.shape != M.shape:
        raise ValueError(
            f"weights must have shape (n_classes, n_units) = {M.shape}, got {W.shape}. A network "
            "with one output for two classes has no such layer."
        )
    if not W.any():
        raise ValueError("weights are all zero, so the last layer has no direction.")
    b = np.zeros(len(W)) if bias is None else column_or_1d(bias, dtype=np.float64)
    if b.shape != (len(W),) or not np.isfinite(b).all():
        raise ValueError(f"bias must be {len(W)} finite numbers, one a class, got {b}.")
    direction = W / np.abs(W).max()
    dual = np.linalg.norm(direction / np.linalg.norm(direction) - M / np.linalg.norm(M))
    by_logit = (given @ W.T + b).argmax(axis=1)
    # |h - mu|^2 without |h|^2, which is the same for all classes
    by_distance = (np.square(M).sum(axis=1) - 2 * (H - center) @ M.T).argmin(axis=1)
    return float(dual), float(np.mean(by_logit != by_distance))
