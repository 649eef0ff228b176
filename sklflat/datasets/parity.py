"""The parity of a few bits among many."""

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_random_state

from sklflat.datasets.draws import Seed, flip_labels, validated
from sklflat.datasets.truth import Truth

__all__ = ["make_sparse_parity"]


@validated()
def make_sparse_parity(
    n_samples: int = 1000,
    *,
    n_features: int = 20,
    n_relevant: int = 3,
    label_noise: float = 0.0,
    random_state: Seed = None,
) -> tuple[NDArray, NDArray, Truth]:
    r"""Generate labels that are the parity of a few bits.

    .. math:: 2 y - 1 = \prod_{i \in S} x_i, \qquad x_i = \pm 1

    with the support :math:`S` of `n_relevant` inputs drawn at random. The label is independent of
    every set of inputs that leaves out one of the support.

    Parameters
    ----------
    n_samples : int, default=1000
        Number of samples.
    n_features : int, default=20
        Number of bits.
    n_relevant : int, default=3
        Size of the support, at most `n_features`.
    label_noise : float, default=0.0
        Probability in [0, 0.5) that a label is flipped.
    random_state : int, RandomState instance or None, default=None
        Pass an int for the same data again. One int gives the same support at every `n_samples`
        and `label_noise`.

    Returns
    -------
    X : ndarray of shape (n_samples, n_features)
        Independent, balanced bits, -1 or 1.
    y : ndarray of shape (n_samples,)
        Labels: 1 where an even number of the support is -1, else 0.
    truth : Truth
        ``inputs``: the support.

    Raises
    ------
    ValueError
        If a parameter is out of range, or `n_relevant` exceeds `n_features`.

    References
    ----------
    .. [1] B. Barak, B. L. Edelman, S. Goel, S. Kakade, E. Malach, C. Zhang, "Hidden progress in
       deep learning: SGD learns parities near the computational limit", NeurIPS 2022.
       https://arxiv.org/abs/2207.08799

    Examples
    --------
    >>> from sklflat.datasets import make_sparse_parity
    >>> X, y, truth = make_sparse_parity(random_state=0)
    >>> bool((X[:, truth.inputs].prod(axis=1) == 2 * y - 1).all())
    True
    """
    if n_relevant > n_features:
        raise ValueError(f"n_relevant={n_relevant} must be at most n_features={n_features}.")
    rng = check_random_state(random_state)
    support = rng.permutation(n_features) < n_relevant
    X = rng.choice([-1.0, 1.0], size=(n_samples, n_features))
    y = (X[:, support].prod(axis=1) > 0).astype(np.int64)
    return X, flip_labels(y, label_noise, rng), Truth(inputs=support)
