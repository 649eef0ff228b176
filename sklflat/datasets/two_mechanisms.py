"""A label that can be read from either of two sets of inputs."""

from collections.abc import Sequence
from numbers import Real

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_random_state

from sklflat.datasets.draws import (
    AT_LEAST_1,
    Seed,
    balanced_labels,
    contiguous_columns,
    flip_labels,
    validated,
)
from sklflat.datasets.truth import Truth

__all__ = ["make_two_mechanisms"]

_REGIONS = np.array(["a", "b", "both"])


@validated(n_a=[AT_LEAST_1], n_b=[AT_LEAST_1], proportions=[tuple, list])
def make_two_mechanisms(
    n_samples: int = 1000,
    *,
    n_a: int = 2,
    n_b: int = 2,
    n_noise: int = 4,
    signal: float = 3.0,
    proportions: Sequence[float] = (1 / 3, 1 / 3, 1 / 3),
    label_noise: float = 0.0,
    random_state: Seed = None,
) -> tuple[NDArray, NDArray, Truth]:
    r"""Generate labels that can be read from inputs a, from inputs b, or from both.

    With the cue :math:`c = \pm 1`, which is the label up to `label_noise`, the inputs of mechanism
    :math:`m` are

    .. math:: x_m = \mathrm{signal} \cdot c \cdot [m \text{ is not masked}] + N(0, 1)

    In region "a" the inputs of b are masked, in region "b" those of a, and in region "both" none:
    there the mechanisms are interchangeable, and which one a model uses is its own choice.

    Parameters
    ----------
    n_samples : int, default=1000
        Number of samples.
    n_a, n_b : int, default=2
        Inputs of each mechanism.
    n_noise : int, default=4
        Inputs of standard normal noise.
    signal : float, default=3.0
        Signal-to-noise ratio of an input that is not masked.
    proportions : sequence of three floats, default=(1/3, 1/3, 1/3)
        Probabilities of the regions "a", "b" and "both". ``(0, 0, 1)`` masks nothing;
        neither "a" nor "b" may have all samples, since the other mechanism would not exist.
    label_noise : float, default=0.0
        Probability in [0, 0.5) that the label differs from the cue.
    random_state : int, RandomState instance or None, default=None
        Pass an int for the same data again.

    Returns
    -------
    X : ndarray of shape (n_samples, n_a + n_b + n_noise)
        Inputs in random order.
    y : ndarray of shape (n_samples,)
        Labels 0 and 1; the cue is balanced.
    truth : Truth
        ``inputs``: those of both mechanisms; ``roles``: "a", "b" or "noise"; ``groups``: 0, 1 or
        -1 alike; ``regions``: "a", "b" or "both".

    Raises
    ------
    ValueError
        If a parameter is out of range, or `proportions` are not three probabilities, or mask one
        mechanism everywhere.

    Examples
    --------
    At a high ratio of signal to noise each mechanism alone gives the label wherever it is open:

    >>> from sklflat.datasets import make_two_mechanisms
    >>> X, y, truth = make_two_mechanisms(signal=20, random_state=0)
    >>> reads_a = (X[:, truth.roles == "a"].mean(axis=1) > 0) == y
    >>> float(reads_a[truth.regions != "b"].mean())
    1.0
    """
    p = _check_proportions(proportions)
    rng = check_random_state(random_state)
    counts = [n_a, n_b, n_noise]
    roles = np.repeat(["a", "b", "noise"], counts)
    order = rng.permutation(len(roles))
    cue = balanced_labels(n_samples, 2, rng)
    regions = rng.choice(_REGIONS, size=n_samples, p=p)
    y = flip_labels(cue, label_noise, rng)
    columns = rng.normal(size=(n_samples, len(roles)))
    for mechanism, other in ("ab", "ba"):
        shown = np.where(regions == other, 0.0, signal * (2 * cue - 1))
        columns[:, roles == mechanism] += shown[:, None]
    truth = Truth(
        inputs=(roles != "noise")[order],
        roles=roles[order],
        groups=np.repeat([0, 1, -1], counts)[order],
        regions=regions,
    )
    return contiguous_columns([columns], order), y, truth


def _check_proportions(proportions: Sequence[float]) -> NDArray[np.float64]:
    """Three probabilities, made to add up to one exactly."""
    numbers = all(isinstance(p, Real) and 0 <= p <= 1 for p in proportions)
    if len(proportions) != 3 or not numbers or abs(sum(proportions) - 1) > 1e-6:
        raise ValueError(
            f"proportions={proportions!r} must be the probabilities of regions 'a', 'b' and "
            "'both': three numbers in [0, 1] that add up to 1."
        )
    p = np.array(proportions, dtype=np.float64)
    if max(p[0], p[1]) == 1:
        raise ValueError(
            f"proportions={proportions!r} masks one mechanism everywhere; give two regions a share."
        )
    return np.asarray(p / p.sum())
