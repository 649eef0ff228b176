"""Logits of any classifier, and their softmax at a temperature."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import log_softmax, softmax

#: is added to a probability before its logarithm is taken, as scikit-learn's calibration does
SMALLEST_PROBABILITY = 1e-12


def logits_of(estimator: Any, X: Any) -> NDArray[np.float64]:
    r"""One logit a class, of any fitted classifier.

    They come from ``decision_function`` if there is one, as in scikit-learn's calibration. The
    margin :math:`f` of two classes becomes :math:`(-f/2, f/2)`: their difference is the margin, so
    :math:`\mathrm{softmax}(\mathrm{logits}/T)_1 = 1/(1 + e^{-f/T})`, and they are centred.
    (scikit-learn writes :math:`\beta(-f, f)`, so :math:`T = 1/(2\beta)` for two classes with a
    margin, and :math:`T = 1/\beta` in all other cases.) Probabilities become :math:`\log(p +
    10^{-12})`, so that one of exactly 0 has a logit. What is a probability is told by the method
    that gave it and not by its values.

    Parameters
    ----------
    estimator : fitted classifier
        With ``classes_``, and with ``decision_function`` or ``predict_proba``.
    X : array-like of shape (n_samples, n_features)
        What the estimator accepts.

    Returns
    -------
    logits : ndarray of shape (n_samples, n_classes), float64
        Columns in the order of ``classes_``.

    Raises
    ------
    TypeError
        If the estimator gives neither.
    ValueError
        If what it gives is not finite, has not one column a class, or is a negative probability.

    Examples
    --------
    >>> from sklearn.dummy import DummyClassifier
    >>> prior = DummyClassifier().fit([[0]] * 4, ["a", "b", "b", "b"])
    >>> logits_of(prior, [[0]]).round(3).tolist()  # log(1/4), log(3/4)
    [[-1.386, -0.288]]
    """
    method = method_of(estimator)
    values = np.asarray(getattr(estimator, method)(X), dtype=np.float64)
    source = f"{method} of estimator={type(estimator).__name__}(...)"
    if not np.isfinite(values).all():
        raise ValueError(f"{source} is NaN or infinite: its logits have to be finite numbers.")
    if method == "predict_proba":
        if (values <= -SMALLEST_PROBABILITY).any():
            raise ValueError(f"{source} has negative numbers: these are no probabilities.")
        values = np.log(values + SMALLEST_PROBABILITY)
    elif values.ndim == 1 or values.shape[1:] == (1,):
        values = logits_of_margin(values)
    n_classes = len(estimator.classes_)
    # of three classes there are three pairs, so that the shape says nothing
    of_pairs = method == "decision_function" and n_classes == 3 and _is_of_pairs(estimator)
    if values.ndim != 2 or values.shape[1] != n_classes or of_pairs:
        raise ValueError(
            f"{source} has shape {values.shape} for {n_classes} classes"
            + (", one column a pair" if of_pairs else "")
            + ": one column a class is needed, which SVC gives with decision_function_shape='ovr'."
        )
    return values


def method_of(estimator: Any) -> str:
    """The method that logits are taken from, ``decision_function`` before ``predict_proba``.

    Raises
    ------
    TypeError
        If there is neither.
    """
    for name in ("decision_function", "predict_proba"):
        if hasattr(estimator, name):
            return name
    raise TypeError(
        f"estimator={type(estimator).__name__}(...) has neither decision_function nor "
        "predict_proba, so there is nothing to divide by a temperature. Give a classifier that "
        "has one of them; many have it with an option such as loss='log_loss'."
    )


def _is_of_pairs(estimator: Any) -> bool:
    """Whether a support vector machine, at the end of what is around it, has a column a pair."""
    steps = getattr(estimator, "steps", None)
    if steps:
        return _is_of_pairs(steps[-1][1])
    for name in ("best_estimator_", "estimator_", "estimator"):
        if hasattr(estimator, name):
            return _is_of_pairs(getattr(estimator, name))
    return getattr(estimator, "decision_function_shape", None) == "ovo"


def logits_of_margin(f: NDArray) -> NDArray[np.float64]:
    """The centred logits (n_samples, 2) of two classes, whose difference is f of shape (n,)."""
    half = np.reshape(f, (-1, 1)) / 2
    return np.hstack([-half, half])


def softened(logits: ArrayLike, T: ArrayLike) -> NDArray[np.float64]:
    r"""Softmax at a temperature, :math:`\mathrm{softmax}(\mathrm{logits} / T)`.

    A low temperature tends to 1 for the largest logit (shared among equal ones), a high one to
    :math:`1/K + (f_k - \bar f)/(K T)` (Hinton et al. 2015, section 2.1 [1]_).

    Parameters
    ----------
    logits : array-like of shape (..., n_classes)
        Finite.
    T : float or array-like
        Positive and finite; an array is broadcast against the logits.

    Returns
    -------
    p : ndarray of shape (..., n_classes), float64
        Finite for every T, also where ``logits / T`` is not.

    Raises
    ------
    ValueError
        If a temperature is not a positive number.

    References
    ----------
    .. [1] G. Hinton, O. Vinyals, J. Dean, "Distilling the knowledge in a neural network", 2015.
       https://arxiv.org/abs/1503.02531

    Examples
    --------
    Odds of 9 to 1 become 3 to 1 at T = 2, and vanish or become even at the ends:

    >>> import numpy as np
    >>> logits = np.log([9.0, 1.0])
    >>> softened(logits, 2).round(3).tolist()
    [0.75, 0.25]
    >>> softened(logits, 1e-300).tolist(), softened(logits, 1e300).tolist()
    ([1.0, 0.0], [0.5, 0.5])
    """
    return softmax(_scaled(logits, T), axis=-1)


def log_softened(logits: ArrayLike, T: ArrayLike) -> NDArray[np.float64]:
    """The logarithm of :func:`softened`, without underflow where ``logits / T`` has none."""
    return log_softmax(_scaled(logits, T), axis=-1)


def _scaled(logits: ArrayLike, T: ArrayLike) -> NDArray[np.float64]:
    """``logits / T``, shifted so that the largest is 0: what overflows is then -inf."""
    logits = np.asarray(logits, dtype=np.float64)
    T = np.asarray(T, dtype=np.float64)
    wrong = T[~((T > 0) & np.isfinite(T))]
    if wrong.size:
        raise ValueError(f"temperature must be a positive number, got {wrong.flat[0]}.")
    with np.errstate(over="ignore"):
        return (logits - logits.max(axis=-1, keepdims=True)) / T
