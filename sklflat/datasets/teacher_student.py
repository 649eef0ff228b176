"""A narrow ReLU teacher, and an over-wide network that computes the same function."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm
from sklearn.utils import check_random_state

from sklflat.datasets.draws import AT_LEAST_0, AT_LEAST_1, Seed, validated
from sklflat.datasets.network import PlantedNetwork
from sklflat.datasets.truth import Truth

__all__ = ["make_teacher_student"]

_DEAD = -12.0  # bias of a dead unit, in standard deviations of its input: never reached


@validated(n_teacher=[AT_LEAST_1], n_redundant=[AT_LEAST_0], n_dead=[AT_LEAST_0])
def make_teacher_student(
    n_samples: int = 1000,
    *,
    n_features: int = 10,
    n_teacher: int = 5,
    task: Literal["regression", "classification"] = "regression",
    noise: float = 0.0,
    n_redundant: int = 12,
    n_dead: int = 10,
    n_unused: int = 15,
    random_state: Seed = None,
) -> tuple[NDArray, NDArray, Truth]:
    r"""Generate data from a few hidden ReLU units, with an over-wide student of known units.

    .. math:: f(x) = \sum_j a_j \max(w_j^\top x + b_j, 0) + c, \qquad x \sim N(0, I)

    with orthonormal :math:`w_j`, so that the hidden features are independent. The :math:`a_j` have
    random signs and such sizes that every feature explains the same share of a variance of
    :math:`f` of 1, and :math:`c` makes its mean 0.

    Beside the teacher a wider *planted student* computes the same function. About half of the
    teacher's units are shared by `n_redundant` units: copies whose outgoing weights are parts of
    the teacher's. All units are rescaled as a ReLU allows (incoming weights times
    :math:`\alpha`, outgoing ones by :math:`\alpha`) and come in random order.

    Parameters
    ----------
    n_samples : int, default=1000
        Number of samples.
    n_features : int, default=10
        Number of inputs, at least `n_teacher`.
    n_teacher : int, default=5
        Hidden units of the teacher.
    task : {"regression", "classification"}, default="regression"
        Whether `y` is the teacher's output or whether that is positive.
    noise : float, default=0.0
        Standard deviation of what is added to the output, which has standard deviation 1; added
        before it is compared with 0.
    n_redundant : int, default=12
        Units of the student that share ``min(max(1, n_teacher // 2), n_redundant // 2)`` of the
        teacher's features; 0, or at least 2. The other features have one live unit each.
    n_dead : int, default=10
        Units of the student that are never active, their outgoing weights not zero.
    n_unused : int, default=15
        Units of the student that are active, with outgoing weight zero.
    random_state : int, RandomState instance or None, default=None
        Pass an int for the same data again. One int plants the same networks at every
        `n_samples`, `task` and `noise`.

    Returns
    -------
    X : ndarray of shape (n_samples, n_features)
        Standard normal inputs.
    y : ndarray of shape (n_samples,)
        Output of the teacher, or labels 0 and 1.
    truth : Truth
        ``latent``: the teacher's hidden features, (n_samples, n_teacher); ``teacher``, ``network``
        (the planted student) and its mask ``units``. ``truth.real_units(activations)`` labels the
        units of any other student.

    Raises
    ------
    ValueError
        If a parameter is out of range, `n_teacher` exceeds `n_features`, or `n_redundant` is 1.

    References
    ----------
    .. [1] D. Saad, S. A. Solla, "On-line learning in soft committee machines", Physical Review E
       52, 1995. https://doi.org/10.1103/PhysRevE.52.4225

    Examples
    --------
    >>> import numpy as np
    >>> from sklflat.datasets import make_teacher_student
    >>> X, y, truth = make_teacher_student(random_state=0)
    >>> truth.teacher, truth.network
    (PlantedNetwork(10 inputs; units: 5 live),
     PlantedNetwork(10 inputs; units: 10 dead, 3 live, 12 redundant, 15 unused))
    >>> bool(np.allclose(truth.network.output(X), y))
    True

    What moves the function: 11 dimensions a feature, a weight an unused unit, and the bias, or
    5 * 11 + 15 + 1:

    >>> truth.network.n_parameters - truth.network.flat_dimension
    71
    """
    if n_redundant == 1:
        raise ValueError("n_redundant=1 leaves nothing to share with: use 0, or at least 2.")
    rng = check_random_state(random_state)
    teacher = plant_teacher(n_features, n_teacher, rng, "n_teacher")
    student = _student(teacher, n_redundant, n_dead, n_unused, rng)
    X, y = taught(teacher, n_samples, task, noise, rng)
    return X, y, Truth(latent=teacher.hidden(X), teacher=teacher, network=student)


def taught(
    teacher: PlantedNetwork, n_samples: int, task: str, noise: float, rng: np.random.RandomState
) -> tuple[NDArray, NDArray]:
    """Standard normal inputs, and a teacher's noisy output or its sign as labels."""
    X = rng.normal(size=(n_samples, len(teacher.W1)))
    y = teacher.output(X) + noise * rng.normal(size=n_samples)
    return X, y if task == "regression" else (y > 0).astype(np.int64)


def plant_teacher(
    n_features: int, n_teacher: int, rng: np.random.RandomState, name: str
) -> PlantedNetwork:
    """The teacher of :func:`make_teacher_student`: orthonormal directions, output variance 1."""
    if n_teacher > n_features:
        raise ValueError(
            f"{name}={n_teacher} must be at most n_features={n_features}, since the directions "
            "of the teacher's units are orthonormal."
        )
    W = np.linalg.qr(rng.normal(size=(n_features, n_teacher)))[0]
    b = plant_biases(n_teacher, rng)
    mean, variance = relu_moments(b)
    a = rng.choice([-1.0, 1.0], size=n_teacher) / np.sqrt(n_teacher * variance)
    return PlantedNetwork(
        W1=W,
        b1=b,
        W2=a[:, None],
        b2=-(mean @ a)[None],
        status=np.full(n_teacher, "live"),
        group=np.arange(n_teacher),
    )


def relu_moments(b: NDArray) -> tuple[NDArray, NDArray]:
    """Mean and variance of ``max(z + b, 0)`` for standard normal z."""
    mean = b * norm.cdf(b) + norm.pdf(b)
    return mean, (b**2 + 1) * norm.cdf(b) + b * norm.pdf(b) - mean**2


def plant_biases(n_units: int, rng: np.random.RandomState) -> NDArray:
    """Biases of units that are active on a third to two thirds of the samples."""
    return rng.uniform(-0.5, 0.5, size=n_units)


def _student(
    teacher: PlantedNetwork,
    n_redundant: int,
    n_dead: int,
    n_unused: int,
    rng: np.random.RandomState,
) -> PlantedNetwork:
    n_features, n_teacher = teacher.W1.shape
    n_shared = min(max(1, n_teacher // 2), n_redundant // 2)
    copies = np.arange(n_redundant) % max(n_shared, 1)
    of = np.concatenate([np.arange(n_shared, n_teacher), copies])
    n_idle = n_dead + n_unused
    directions = rng.normal(size=(n_features, n_idle))
    directions /= np.linalg.norm(directions, axis=0)
    idle_biases = np.concatenate([np.full(n_dead, _DEAD), plant_biases(n_unused, rng)])
    typical = np.abs(teacher.W2).mean()
    dead_weights = typical * rng.choice([-1.0, 1.0], n_dead) * rng.uniform(0.5, 1.5, n_dead)
    shares = rng.uniform(0.5, 1.5, size=len(of))  # of the teacher's outgoing weight
    outgoing = teacher.W2[of, 0] * shares / np.bincount(of, weights=shares)[of]
    counts = [n_teacher - n_shared, n_redundant, n_dead, n_unused]
    units = rng.permutation(sum(counts))
    alpha = np.exp(rng.uniform(-1, 1, size=len(units)))
    return PlantedNetwork(
        W1=(np.hstack([teacher.W1[:, of], directions]) * alpha)[:, units],
        b1=(np.concatenate([teacher.b1[of], idle_biases]) * alpha)[units],
        W2=(np.concatenate([outgoing, dead_weights, np.zeros(n_unused)]) / alpha)[units, None],
        b2=teacher.b2,
        status=np.repeat(["live", "redundant", "dead", "unused"], counts)[units],
        group=np.concatenate([of, np.full(n_idle, -1)])[units],
    )
