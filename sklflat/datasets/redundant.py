"""Informative features that come in several collinear copies."""

from numbers import Real

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_random_state

from sklflat._compat import Interval
from sklflat.datasets.draws import (
    AT_LEAST_1,
    CORRELATION,
    NON_NEGATIVE,
    Seed,
    contiguous_columns,
    flip_labels,
    validated,
)
from sklflat.datasets.truth import Truth

__all__ = ["make_redundant_features"]


@validated(
    n_informative=[AT_LEAST_1],
    n_copies=[AT_LEAST_1],
    correlation=[Interval(Real, 0, 1, closed="right")],
    easiness=[NON_NEGATIVE, None],
    spurious_correlation=[CORRELATION],
)
def make_redundant_features(
    n_samples: int = 1000,
    *,
    n_informative: int = 3,
    n_copies: int = 3,
    n_noise: int = 5,
    correlation: float = 1.0,
    easiness: float | None = None,
    spurious_correlation: float = 0.9,
    label_noise: float = 0.0,
    random_state: Seed = None,
) -> tuple[NDArray, NDArray, Truth]:
    r"""Generate labels from a few features, each of which several collinear inputs show.

    .. math:: y = [\sum_j c_j z_j > 0], \quad c_j = \pm 1, \qquad
              x_{jm} = \pm(\sqrt{\rho}\, z_j + \sqrt{1 - \rho}\, \varepsilon_{jm})

    with independent standard normal :math:`z_j`, :math:`\varepsilon_{jm}` and random signs: two
    copies of a feature correlate by :math:`\pm\rho`, copies of different features not at all.

    Parameters
    ----------
    n_samples : int, default=1000
        Number of samples.
    n_informative : int, default=3
        Features :math:`z_j` that determine the label.
    n_copies : int, default=3
        Inputs that show each of them.
    n_noise : int, default=5
        Inputs of standard normal noise.
    correlation : float, default=1.0
        Absolute correlation :math:`\rho` in (0, 1] of the copies of one feature.
    easiness : float, default=None
        Adds one spurious input: `easiness` times a cue of -1 or 1, plus standard normal noise.
        None adds none.
    spurious_correlation : float, default=0.9
        Correlation in [-1, 1] of that cue with the label.
    label_noise : float, default=0.0
        Probability in [0, 0.5) that a label is flipped.
    random_state : int, RandomState instance or None, default=None
        Pass an int for the same data again.

    Returns
    -------
    X : ndarray of shape (n_samples, n_features)
        Inputs in random order: ``n_informative * n_copies + n_noise``, and the spurious one.
    y : ndarray of shape (n_samples,)
        Labels 0 and 1.
    truth : Truth
        ``inputs``: the informative inputs; ``roles``: "real", "spurious" or "noise"; ``groups``:
        the feature that an input shows; ``latent``: the features; ``coef``: their coefficients.

    Raises
    ------
    ValueError
        If a parameter is out of range.

    References
    ----------
    .. [1] J. M. Springer, V. Nagarajan, A. Raghunathan, "Sharpness-aware minimization enhances
       feature quality via balanced learning", ICLR 2024. https://arxiv.org/abs/2405.20439

    Examples
    --------
    >>> from sklflat.datasets import make_redundant_features
    >>> X, y, truth = make_redundant_features(n_informative=2, n_noise=3, random_state=0)
    >>> sorted(truth.groups.tolist())
    [-1, -1, -1, 0, 0, 0, 1, 1, 1]
    >>> bool((((truth.latent @ truth.coef) > 0) == y).all())
    True
    """
    rng = check_random_state(random_state)
    n_spurious = 0 if easiness is None else 1
    counts = [n_informative * n_copies, n_spurious, n_noise]
    roles = np.repeat(["real", "spurious", "noise"], counts)
    order = rng.permutation(len(roles))
    coef, signs = (rng.choice([-1.0, 1.0], n) for n in (n_informative, counts[0]))
    z = rng.normal(size=(n_samples, n_informative))
    y = flip_labels((z @ coef > 0).astype(np.int64), label_noise, rng)
    own = rng.normal(size=(n_samples, counts[0]))
    shared = np.repeat(z, n_copies, axis=1)
    copies = signs * (np.sqrt(correlation) * shared + np.sqrt(1 - correlation) * own)
    blocks = [copies, rng.normal(size=(n_samples, n_noise))]
    agrees = rng.uniform(size=n_samples) < (1 + spurious_correlation) / 2
    if easiness is not None:
        cue = 2.0 * np.where(agrees, y, 1 - y) - 1
        blocks.insert(1, (easiness * cue + rng.normal(size=n_samples))[:, None])
    groups = np.where(roles == "real", np.arange(len(roles)) // n_copies, -1)
    truth = Truth(
        inputs=(roles == "real")[order],
        roles=roles[order],
        groups=groups[order],
        latent=z,
        coef=coef,
    )
    return contiguous_columns(blocks, order), y, truth
