"""How far predictions of two models agree."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import rel_entr
from sklearn.metrics import accuracy_score, cohen_kappa_score, recall_score
from sklearn.utils import check_array, check_consistent_length

from sklflat.metrics._checks import check_labels, check_weights

__all__ = ["Fidelity", "fidelity", "prediction_disagreement"]


class Fidelity(NamedTuple):
    """How well a surrogate mimics a network; see :func:`fidelity`."""

    accuracy: float | None = None
    kappa: float | None = None
    per_class: dict[Any, float] | None = None
    kl: float | None = None
    r2: float | None = None


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

    Raises
    ------
    ValueError
        If there are not as many of one as of the other, or labels are numbers with a fraction.

    Examples
    --------
    >>> from sklflat.metrics import prediction_disagreement
    >>> prediction_disagreement(["a", "b", "b", "a"], ["a", "b", "a", "a"])
    0.25
    """
    a, b, s = _labels(y_a, y_b, ("y_a", "y_b"), sample_weight)
    return float(1 - accuracy_score(a, b, sample_weight=s))


def fidelity(
    y_network: ArrayLike,
    y_surrogate: ArrayLike,
    *,
    discrete: bool = True,
    p_network: ArrayLike | None = None,
    p_surrogate: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
) -> Fidelity:
    r"""How well a surrogate mimics the labels and probabilities, or the real outputs, of a network.

    Measure it on samples that the surrogate was not fitted to, and beside a surrogate of the same
    kind that was fitted to the true targets.

    Parameters
    ----------
    y_network, y_surrogate : array-like of shape (n_samples,)
        Predicted labels; or real outputs, also of shape (n_samples, n_outputs).
    discrete : bool, default=True
        Whether they are labels. Real outputs are predictions of a regressor, or logits.
    p_network, p_surrogate : array-like of shape (n_samples, n_classes), default=None
        Probabilities that go with labels, both or none.
    sample_weight : array-like of shape (n_samples,), default=None

    Returns
    -------
    Fidelity
        Named tuple; what does not apply is None.

        - ``accuracy``: the share of equal labels;
        - ``kappa``: Cohen's, corrected for the agreement of chance; NaN if both models know the
          same one label only;
        - ``per_class``: the share of equal labels among those that the network puts into a class;
        - ``kl``: the mean of :math:`\mathrm{KL}(p_\mathrm{network} \| p_\mathrm{surrogate})` in
          nats, infinite if the surrogate excludes what the network does not;
        - ``r2``: of real outputs :math:`f` and :math:`g`,
          :math:`1 - \sum_i \|f_i - g_i\|^2 / \sum_i \|f_i - \bar f\|^2`; NaN if the network's are
          constant.

    Raises
    ------
    ValueError
        If shapes do not fit, labels are numbers with a fraction, or probabilities are none.

    Examples
    --------
    >>> from sklflat.metrics import fidelity
    >>> result = fidelity([0, 0, 1, 1], [0, 0, 1, 0])
    >>> result.accuracy, result.kappa, result.per_class
    (0.75, 0.5, {0: 1.0, 1: 0.5})
    >>> fidelity([1.0, 2.0, 3.0], [1.0, 2.0, 4.0], discrete=False).r2
    0.5
    """
    if not discrete:
        if p_network is not None or p_surrogate is not None:
            raise ValueError("p_network and p_surrogate go with labels: pass discrete=True.")
        return Fidelity(r2=_r2(y_network, y_surrogate, sample_weight))
    a, b, s = _labels(y_network, y_surrogate, ("y_network", "y_surrogate"), sample_weight)
    a, b, weight = a[s > 0], b[s > 0], s[s > 0]
    classes = np.unique(a)
    recalls = recall_score(
        a, b, labels=classes, average=None, zero_division=0.0, sample_weight=weight
    )
    one_label = len(np.union1d(a, b)) == 1
    return Fidelity(
        accuracy=float(accuracy_score(a, b, sample_weight=weight)),
        kappa=float("nan") if one_label else float(cohen_kappa_score(a, b, sample_weight=weight)),
        per_class=dict(zip(classes.tolist(), np.asarray(recalls).tolist(), strict=True)),
        kl=_mean_kl(p_network, p_surrogate, s),
    )


def _labels(
    y_a: ArrayLike, y_b: ArrayLike, names: tuple[str, str], sample_weight: ArrayLike | None
) -> tuple[NDArray, NDArray, NDArray]:
    advice = "Compare real outputs with fidelity(..., discrete=False).r2."
    a, b = check_labels(y_a, names[0], advice=advice), check_labels(y_b, names[1], advice=advice)
    check_consistent_length(a, b)
    return a, b, check_weights(sample_weight, a)


def _r2(
    outputs_network: ArrayLike, outputs_surrogate: ArrayLike, weight: ArrayLike | None
) -> float:
    options = {"ensure_2d": False, "dtype": np.float64}
    f = check_array(outputs_network, input_name="y_network", **options)
    g = check_array(outputs_surrogate, input_name="y_surrogate", **options)
    if f.shape != g.shape:
        raise ValueError(
            f"y_network of shape {f.shape} and y_surrogate of shape {g.shape} must be alike."
        )
    f, g = f.reshape(len(f), -1), g.reshape(len(f), -1)
    s = check_weights(weight, f)
    total = s @ np.square(f - np.average(f, axis=0, weights=s)).sum(axis=1)
    if total <= np.square(1e-12 * np.abs(f).max()) * s.sum():
        return float("nan")
    return float(1 - s @ np.square(f - g).sum(axis=1) / total)


def _mean_kl(p: ArrayLike | None, q: ArrayLike | None, weight: NDArray) -> float | None:
    if p is None and q is None:
        return None
    if p is None or q is None:
        raise ValueError("Give both p_network and p_surrogate, or none of them.")
    P, Q = _probabilities(p, "p_network"), _probabilities(q, "p_surrogate")
    if P.shape != Q.shape or len(P) != len(weight):
        raise ValueError(
            f"p_network of shape {P.shape} and p_surrogate of shape {Q.shape} must both have "
            f"{len(weight)} rows and the same columns."
        )
    kl = np.maximum(rel_entr(P, Q).sum(axis=1), 0)  # rounding may lead a little below
    return float(np.average(kl[weight > 0], weights=weight[weight > 0]))


def _probabilities(p: ArrayLike, name: str) -> NDArray:
    P = check_array(p, dtype=np.float64, input_name=name)
    if P.min() < 0 or np.abs(P.sum(axis=1) - 1).max() > 1e-3:
        raise ValueError(f"The rows of {name} must be probabilities that add up to 1.")
    return P / P.sum(axis=1, keepdims=True)
