"""A real and a spurious cue, whose correlation with the label differs by environment."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_random_state

from sklflat.datasets.draws import (
    AT_LEAST_0,
    AT_LEAST_1,
    CORRELATION,
    NON_NEGATIVE,
    Seed,
    balanced_labels,
    contiguous_columns,
    flip_labels,
    validated,
)
from sklflat.datasets.truth import Truth

__all__ = ["make_spurious"]


@validated(
    n_real=[AT_LEAST_1],
    n_spurious=[AT_LEAST_0],
    easiness=[NON_NEGATIVE],
    spurious_correlation=[CORRELATION, tuple, list],
)
def make_spurious(
    n_samples: int = 1000,
    *,
    n_real: int = 3,
    n_spurious: int = 1,
    n_noise: int = 6,
    easiness: float = 3.0,
    signal: float = 1.0,
    spurious_correlation: float | Sequence[float] = (0.9, 0.7),
    label_noise: float = 0.0,
    random_state: Seed = None,
) -> tuple[NDArray, NDArray, Truth]:
    r"""Generate binary labels that follow a real cue, and a spurious cue that follows the label.

    The real cue :math:`r = \pm 1` is the label up to `label_noise`. The spurious cue
    :math:`s = \pm 1` equals the label with probability :math:`(1 + \rho_e) / 2` in environment
    :math:`e`, so that :math:`\rho_e` is their correlation. Each column of a cue shows it in noise:

    .. math:: x_\mathrm{real} = \mathrm{signal} \cdot r + N(0, 1), \qquad
              x_\mathrm{spurious} = \mathrm{easiness} \cdot s + N(0, 1)

    The best rule on one column of a cue errs on the cue with probability
    :math:`\Phi(-\mathrm{easiness})`.

    Parameters
    ----------
    n_samples : int, default=1000
        Samples of all environments together; their sizes differ by one sample at most.
    n_real, n_spurious, n_noise : int, default=3, 1 and 6
        Columns that show the real cue, that show the spurious one, and of standard normal noise.
    easiness : float, default=3.0
        Signal-to-noise ratio of a column of the spurious cue; at 0 it is noise.
    signal : float, default=1.0
        Signal-to-noise ratio of a column of the real cue.
    spurious_correlation : float or sequence of float, default=(0.9, 0.7)
        Correlation in [-1, 1] of spurious cue and label in each environment: 0 removes the cue's
        use, a negative number reverses it.
    label_noise : float, default=0.0
        Probability in [0, 0.5) that the label differs from the real cue.
    random_state : int, RandomState instance or None, default=None
        Pass an int for the same data again. One int gives the same order of columns at every
        `n_samples`, `easiness`, `signal`, `spurious_correlation` and `label_noise`.

    Returns
    -------
    X : ndarray of shape (n_samples, n_real + n_spurious + n_noise)
        Columns in random order.
    y : ndarray of shape (n_samples,)
        Labels 0 and 1; the real cue is balanced.
    truth : Truth
        ``inputs``: the real columns; ``roles``: "real", "spurious" or "noise"; ``environment``:
        index into `spurious_correlation`; ``cues``: the real and the spurious cue; ``regions``:
        whether spurious cue and label are "aligned" or "conflicting".

    Raises
    ------
    ValueError
        If a parameter or one of the correlations is out of range.

    References
    ----------
    .. [1] M. Arjovsky, L. Bottou, I. Gulrajani, D. Lopez-Paz, "Invariant risk minimization", 2019.
       https://arxiv.org/abs/1907.02893
    .. [2] E. S. Lubana, E. J. Bigelow, R. P. Dick, D. Krueger, H. Tanaka, "Mechanistic mode
       connectivity", ICML 2023. https://arxiv.org/abs/2211.08422

    Examples
    --------
    A cue that gives the label away in the first environment and misleads in the second:

    >>> from sklflat.datasets import make_spurious
    >>> X, y, truth = make_spurious(spurious_correlation=(1.0, -1.0), random_state=0)
    >>> agrees = truth.cues[:, 1] == 2 * y - 1
    >>> agrees[truth.environment == 0].mean(), agrees[truth.environment == 1].mean()
    (np.float64(1.0), np.float64(0.0))
    """
    rho = _check_correlations(spurious_correlation)
    rng = check_random_state(random_state)
    roles = np.repeat(["real", "spurious", "noise"], [n_real, n_spurious, n_noise])
    order = rng.permutation(len(roles))
    # both classes equally often in every environment: pairs of environment and class in turn
    cell = balanced_labels(n_samples, 2 * len(rho), rng)
    environment, real = cell // 2, cell % 2
    y = flip_labels(real, label_noise, rng)
    agrees = rng.uniform(size=n_samples) < (1 + rho[environment]) / 2
    cues = 2.0 * np.column_stack([real, np.where(agrees, y, 1 - y)]) - 1
    columns = rng.normal(size=(n_samples, len(roles)))
    columns[:, roles == "real"] += signal * cues[:, :1]
    columns[:, roles == "spurious"] += easiness * cues[:, 1:]
    truth = Truth(
        inputs=(roles == "real")[order],
        roles=roles[order],
        environment=environment,
        cues=cues,
        regions=np.where(agrees, "aligned", "conflicting"),
    )
    return contiguous_columns([columns], order), y, truth


def _check_correlations(correlations: float | Sequence[float]) -> NDArray[np.float64]:
    rho = np.atleast_1d(np.asarray(correlations, dtype=np.float64))
    if not len(rho) or not (np.abs(rho) <= 1).all():
        raise ValueError(
            f"spurious_correlation={correlations!r} must hold one number in [-1, 1] for each "
            "environment, and at least one."
        )
    return rho
