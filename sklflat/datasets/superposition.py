"""Sparse features superposed in fewer dimensions."""

from numbers import Real
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_random_state

from sklflat._compat import Interval
from sklflat.datasets.draws import AT_LEAST_1, Seed, validated
from sklflat.datasets.truth import Truth

__all__ = ["make_superposition"]


@validated(
    n_components=[AT_LEAST_1],
    sparsity=[Interval(Real, 0, 1, closed="left")],
    decay=[Interval(Real, 0, 1, closed="right")],
)
def make_superposition(
    n_samples: int = 1000,
    *,
    n_components: int = 20,
    n_features: int = 10,
    n_relevant: int = 10,
    sparsity: float = 0.8,
    decay: float = 0.8,
    task: Literal["regression", "classification"] = "regression",
    noise: float = 0.0,
    random_state: Seed = None,
) -> tuple[NDArray, NDArray, Truth]:
    r"""Generate sparse features that are observed through fewer dimensions.

    The features :math:`F_i` are 0 with probability `sparsity`, else uniform on [0, 1], as in the
    toy model of [1]_. Each has a random unit vector :math:`W_i` in the space of the inputs, and
    `n_relevant` of them a coefficient of decaying size and alternating sign in the target:

    .. math:: X = F W, \qquad y = \sum_r (-\mathrm{decay})^r F_{i_r}, \quad
              r = 0, \dots, n_\mathrm{relevant} - 1

    Parameters
    ----------
    n_samples : int, default=1000
        Number of samples.
    n_components : int, default=20
        Number of features :math:`F_i`; more than `n_features` of them are in superposition.
    n_features : int, default=10
        Number of inputs.
    n_relevant : int, default=10
        Features that determine the target, at most `n_components`.
    sparsity : float, default=0.8
        Probability in [0, 1) that a feature is 0.
    decay : float, default=0.8
        Ratio of the importances of successive features, in (0, 1].
    task : {"regression", "classification"}, default="regression"
        Whether `y` is the sum above or whether that is positive. To reconstruct the features fit
        ``truth.latent`` in place of `y`.
    noise : float, default=0.0
        Standard deviation of what is added to the sum, before it is compared with 0.
    random_state : int, RandomState instance or None, default=None
        Pass an int for the same data again. One int plants the same dictionary at every
        `n_samples`, `sparsity`, `decay`, `task` and `noise`.

    Returns
    -------
    X : ndarray of shape (n_samples, n_features)
        Superposed features.
    y : ndarray of shape (n_samples,)
        Weighted sum of the features, or labels 0 and 1, which need not be balanced.
    truth : Truth
        ``latent``: the features, (n_samples, n_components); ``dictionary``: their directions,
        (n_components, n_features); ``importances`` and ``coef``: without and with sign;
        ``atoms``: the features that determine the target. ``truth.real_units(activations)``
        labels the units of a network by those.

    Raises
    ------
    ValueError
        If a parameter is out of range, or `n_relevant` exceeds `n_components`.

    References
    ----------
    .. [1] N. Elhage et al., "Toy models of superposition", Transformer Circuits Thread, 2022.
       https://arxiv.org/abs/2209.10652

    Examples
    --------
    >>> import numpy as np
    >>> from sklflat.datasets import make_superposition
    >>> X, y, truth = make_superposition(n_relevant=3, decay=0.5, random_state=0)
    >>> sorted(truth.importances[truth.atoms].tolist())
    [0.25, 0.5, 1.0]
    >>> bool(np.allclose(truth.latent @ truth.dictionary, X))
    True
    >>> truth.auc(truth.importances, of="atoms")
    1.0
    """
    if n_relevant > n_components:
        raise ValueError(f"n_relevant={n_relevant} must be at most n_components={n_components}.")
    rng = check_random_state(random_state)
    rank = rng.permutation(n_components)
    dictionary = rng.normal(size=(n_components, n_features))
    dictionary /= np.linalg.norm(dictionary, axis=1, keepdims=True)
    atoms = rank < n_relevant
    coef = np.where(atoms, (-float(decay)) ** rank, 0.0)
    present = rng.uniform(size=(n_samples, n_components)) >= sparsity
    latent = present * rng.uniform(size=(n_samples, n_components))
    y = latent @ coef + noise * rng.normal(size=n_samples)
    truth = Truth(
        latent=latent, dictionary=dictionary, atoms=atoms, coef=coef, importances=np.abs(coef)
    )
    return latent @ dictionary, y if task == "regression" else (y > 0).astype(np.int64), truth
