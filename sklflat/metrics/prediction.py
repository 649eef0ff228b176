"""How far predictions of two models agree."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import rel_entr
from sklearn.metrics import accuracy_score, cohen_kappa_score, recall_score
from sklearn.utils import check_array, check_consistent_length, column_or_1d

__all__ = ["Fidelity", "fidelity", "prediction_disagreement"]


class Fidelity(NamedTuple):
    """How well a surrogate mimics a network; see :func:`fidelity`."""

    accuracy: float
    kappa: float
    per_class: dict[Any, float]
    kl: float | None


def prediction_disagreement(
    y_a: ArrayLike, y_b: ArrayLike, *, sample_weight: ArrayLike | None = None
) -> float:
    """Share of the samples to which two models give different labels.

    Parameters
    ----------
    y_a, y_b : array-like of shape (n_samples,)
        Predicted labels.
    sample_weight : array-like of shape (n_samples,), default=None

    Returns
    -------
    float
        In [0, 1].

    Examples
    --------
    >>> from sklflat.metrics import prediction_disagreement
    >>> prediction_disagreement(["a", "b", "b", "a"], ["a", "b", "a", "a"])
    0.25
    """
    return float(
        1 - accuracy_score(column_or_1d(y_a), column_or_1d(y_b), sample_weight=sample_weight)
    )


def fidelity(
    y_network: ArrayLike,
    y_surrogate: ArrayLike,
    *,
    p_network: ArrayLike | None = None,
    p_surrogate: ArrayLike | None = None,
) -> Fidelity:
    r"""How well a surrogate mimics the labels, and the probabilities, of a network.

    Measure it on samples that the surrogate was not fitted to, and beside a surrogate of the same
    kind that was fitted to the true labels.

    Parameters
    ----------
    y_network, y_surrogate : array-like of shape (n_samples,)
        Predicted labels.
    p_network, p_surrogate : array-like of shape (n_samples, n_classes), default=None
        Probabilities, both or none.

    Returns
    -------
    Fidelity
        Named tuple: ``accuracy`` is the share of equal labels; ``kappa`` Cohen's, corrected for
        the agreement of chance (NaN if both models know one label only); ``per_class`` the
        share of equal labels among those that the network puts into a class; ``kl`` the mean of
        :math:`\mathrm{KL}(p_\mathrm{network} \| p_\mathrm{surrogate})` in nats, None without
        probabilities and infinite where the surrogate excludes what the network does not.

    Examples
    --------
    >>> from sklflat.metrics import fidelity
    >>> result = fidelity([0, 0, 1, 1], [0, 0, 1, 0])
    >>> result.accuracy, result.kappa, result.per_class
    (0.75, 0.5, {0: 1.0, 1: 0.5})
    """
    a, b = column_or_1d(y_network), column_or_1d(y_surrogate)
    check_consistent_length(a, b)
    classes = np.unique(a)
    recalls = recall_score(a, b, labels=classes, average=None, zero_division=0.0)
    per_class = dict(zip(classes.tolist(), np.asarray(recalls).tolist(), strict=True))
    one_label = len(np.union1d(a, b)) == 1
    kappa = float("nan") if one_label else float(cohen_kappa_score(a, b))
    accuracy = float(accuracy_score(a, b))
    return Fidelity(accuracy, kappa, per_class, _mean_kl(p_network, p_surrogate, len(a)))


def _mean_kl(p: ArrayLike | None, q: ArrayLike | None, n_samples: int) -> float | None:
    if p is None and q is None:
        return None
    if p is None or q is None:
        raise ValueError("Give both p_network and p_surrogate, or none of them.")
    P, Q = _probabilities(p, "p_network"), _probabilities(q, "p_surrogate")
    if P.shape != Q.shape or len(P) != n_samples:
        raise ValueError(
            f"p_network of shape {P.shape} and p_surrogate of shape {Q.shape} must both have "
            f"{n_samples} rows and the same columns."
        )
    return float(rel_entr(P, Q).sum(axis=1).mean())


def _probabilities(p: ArrayLike, name: str) -> NDArray:
    P = check_array(p, dtype=np.float64, input_name=name)
    if P.min() < 0 or np.abs(P.sum(axis=1) - 1).max() > 1e-3:
        raise ValueError(f"The rows of {name} must be probabilities that add up to 1.")
    return P / P.sum(axis=1, keepdims=True)
