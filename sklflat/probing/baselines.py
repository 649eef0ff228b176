"""Simple unit scores that every probe has to beat."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.preprocessing import StandardScaler
from sklearn.utils import check_random_state

from sklflat.networks import ParameterVector
from sklflat.probing.ablated_outputs import ablation_losses
from sklflat.probing.activation import activation_variance
from sklflat.probing.attribution import integrated_gradients, optimal_activation
from sklflat.probing.sample import Sample
from sklflat.probing.unit_card import card_rows, input_sensitivity

__all__ = [
    "BASELINES",
    "ablation",
    "activation_variance",
    "baseline_scores",
    "input_permutation",
    "integrated_gradients",
    "linear_probing",
    "optimal_activation",
    "random_scores",
    "weight_norm",
]


def weight_norm(sample: Sample) -> NDArray:
    r"""Product of the norms of what a unit reads and what reads it.

    .. math:: \|w_\mathrm{in}\| \, \|w_\mathrm{out}\|

    over its incoming parameters, biases included, and its outgoing ones. ReLU rescaling does not
    change it; two copies that share the outgoing weights have half the score each.

    Parameters
    ----------
    sample : Sample

    Returns
    -------
    ndarray of shape (n_units,)
    """
    vector = ParameterVector.of(sample.network.module)
    squares = vector.read().square()
    incoming = sample.units.incoming(vector).sum(squares)
    outgoing = sample.units.outgoing(vector).sum(squares)
    return _living(sample, (incoming * outgoing).sqrt().double().cpu().numpy())


def ablation(sample: Sample) -> NDArray:
    """Rise of the loss under mean-ablation: the score of :class:`~sklflat.AblationProbe`.

    Parameters
    ----------
    sample : Sample

    Returns
    -------
    ndarray of shape (n_units,)
    """
    return ablation_losses(sample, np.arange(sample.n_samples)[None])[0]


def linear_probing(sample: Sample) -> NDArray:
    """Norm of a unit's coefficients in a linear model of the target on all units.

    The units are standardised; the model is scikit-learn's ``LogisticRegression`` for classes and
    ``Ridge`` for real or multilabel targets, at their defaults. ReLU rescaling does not change
    it; copies of a unit share its coefficient.

    Parameters
    ----------
    sample : Sample

    Returns
    -------
    ndarray of shape (n_units,)
    """
    s = sample.weights * sample.n_samples
    Z = StandardScaler().fit(sample.activations, sample_weight=s).transform(sample.activations)
    classifies = sample.trained.classes is not None and sample.y.ndim == 1
    model = LogisticRegression(max_iter=1000) if classifies else Ridge()
    coef = np.atleast_2d(model.fit(Z, sample.y, sample_weight=s).coef_)
    return _living(sample, np.linalg.norm(coef, axis=0))


def input_permutation(sample: Sample, *, n_repeats: int = 5, random_state: Any = None) -> NDArray:
    r"""Importance of the inputs, carried to the units that read them.

    .. math:: s_u = \sum_j I_j \frac{S_{uj}}{\sum_k S_{uk}}

    with :math:`I_j` the rise of the loss when input j is shuffled among the samples (not below 0)
    and :math:`S_{uj}` how far input j moves unit u
    (:func:`~sklflat.probing.unit_card.input_sensitivity`). ReLU rescaling and duplication do not
    change it. One pass over the data for every input and repeat.

    Parameters
    ----------
    sample : Sample
        Its network reads floating-point numbers.
    n_repeats : int, default=5
    random_state : int, RandomState instance or None, default=None
        Of the shuffling.

    Returns
    -------
    ndarray of shape (n_units,)

    References
    ----------
    L. Breiman, "Random forests", Machine Learning 45, 2001.
    """
    rng = check_random_state(random_state)
    X, network = sample.X.flatten(1), sample.network
    plain = network.loss(sample.X, sample.target, sample.weight)
    importance = np.zeros(X.shape[1])
    for j in range(X.shape[1]):
        for _ in range(n_repeats):
            shuffled = X.clone()
            shuffled[:, j] = X[rng.permutation(len(X)), j]
            loss = network.loss(shuffled.view(sample.X.shape), sample.target, sample.weight)
            importance[j] += float(loss - plain) / n_repeats
    rows = card_rows(sample)
    S = input_sensitivity(network, sample.units, sample.X[rows])
    if S.shape[1] != len(importance):
        raise ValueError("input_permutation needs inputs that are numbers, not token ids.")
    total = S.sum(axis=1, keepdims=True)
    shares = np.divide(S, total, out=np.zeros_like(S), where=total > 0)
    return _living(sample, shares @ np.maximum(importance, 0))


def random_scores(sample: Sample, *, random_state: Any = None) -> NDArray:
    """Uniform random numbers: what a score is worth that knows nothing.

    Parameters
    ----------
    sample : Sample
    random_state : int, RandomState instance or None, default=None

    Returns
    -------
    ndarray of shape (n_units,)
    """
    return check_random_state(random_state).uniform(size=len(sample.units))


def _living(sample: Sample, scores: NDArray) -> NDArray:
    return np.where(sample.dead, 0.0, scores)


#: all of them by name
BASELINES: dict[str, Callable[..., NDArray]] = {
    "weight norm": weight_norm,
    "activation variance": activation_variance,
    "ablation": ablation,
    "linear probing": linear_probing,
    "integrated gradients": integrated_gradients,
    "input permutation": input_permutation,
    "optimal activation": optimal_activation,
    "random": random_scores,
}

_RANDOM = (input_permutation, random_scores)


def baseline_scores(
    estimator: Any, X: Any, y: Any, *, layers: Any = "hidden", random_state: Any = None
) -> dict[str, NDArray]:
    """Scores of the units of a fitted network by all baselines.

    Parameters
    ----------
    estimator : estimator
        Fitted: see :func:`~sklflat.probing.resolve`.
    X : array-like of shape (n_samples, ...)
        Preferably data that the network was not trained on.
    y : array-like of shape (n_samples, ...)
    layers : "hidden" or tuple of str, default="hidden"
    random_state : int, RandomState instance or None, default=None

    Returns
    -------
    dict of str to ndarray of shape (n_units,)
        Higher means more likely to be real. The keys are those of ``BASELINES``.

    Examples
    --------
    >>> import numpy as np, torch
    >>> from sklflat import from_module
    >>> from sklflat.probing.baselines import baseline_scores
    >>> module = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Tanh(), torch.nn.Linear(3, 2))
    >>> X = np.random.RandomState(0).normal(size=(20, 2))
    >>> scores = baseline_scores(from_module(module, classes=[0, 1]), X, (X[:, 0] > 0).astype(int))
    >>> {name: len(values) for name, values in scores.items()}["weight norm"]
    3
    """
    sample = Sample.of(estimator, X, y, layers=layers)
    rng = check_random_state(random_state)
    return {
        name: score(sample, **({"random_state": rng} if score in _RANDOM else {}))
        for name, score in BASELINES.items()
    }
