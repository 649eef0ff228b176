"""Networks that share some units and have others of their own."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_random_state

from sklflat.datasets.draws import AT_LEAST_0, AT_LEAST_1, NON_NEGATIVE, Seed, validated
from sklflat.datasets.network import PlantedNetwork
from sklflat.datasets.teacher_student import plant_biases, plant_teacher, relu_moments, taught
from sklflat.datasets.truth import Truth

__all__ = ["make_shared_private"]


@validated(
    n_shared=[AT_LEAST_1],
    n_private=[AT_LEAST_0],
    n_cancelling=[AT_LEAST_0],
    n_students=[AT_LEAST_1],
    weight_noise=[NON_NEGATIVE],
    private_scale=[NON_NEGATIVE],
)
def make_shared_private(
    n_samples: int = 1000,
    *,
    n_features: int = 20,
    n_shared: int = 10,
    n_private: int = 6,
    n_cancelling: int = 4,
    n_unused: int = 6,
    n_students: int = 2,
    weight_noise: float = 0.2,
    private_scale: float = 0.2,
    task: Literal["regression", "classification"] = "regression",
    noise: float = 0.0,
    random_state: Seed = None,
) -> tuple[NDArray, NDArray, Truth]:
    r"""Generate students of one teacher, with the teacher's units and with units of their own.

    The teacher is that of :func:`make_teacher_student`, with `n_shared` hidden units. Every student
    has these units, its incoming weights :math:`w_j + \sigma \|w_j\| g_j / \sqrt{d}` with
    standard normal :math:`g_j` of its own (:math:`\sigma` is `weight_noise`), and beside them
    units that read random directions and are as active as the teacher's:

    - *private* units change the student's function a little, each student's in its own way;
    - *cancelling* units come in pairs that compute the same and are read with opposite signs;
    - *unused* units are not read.

    All units are rescaled as a ReLU allows and come in random order. What two students have in
    common is what the teacher planted, whatever is done to find it: it is the truth for an
    invariant core.

    Parameters
    ----------
    n_samples : int, default=1000
        Number of samples.
    n_features : int, default=20
        Number of inputs d, at least `n_shared`. With few, random directions are similar.
    n_shared : int, default=10
        Units of the teacher, and of every student.
    n_private : int, default=6
        Units of each student that it alone has and uses.
    n_cancelling : int, default=4
        Units of each student whose outputs cancel in pairs; an even number.
    n_unused : int, default=6
        Units of each student with outgoing weight zero.
    n_students : int, default=2
        Number of students.
    weight_noise : float, default=0.2
        Length of the noise on a shared unit's incoming weights, relative to theirs.
    private_scale : float, default=0.2
        Standard deviation of what private units add to a student's output, where the teacher's has
        1; they share it equally.
    task : {"regression", "classification"}, default="regression"
        Whether `y` is the teacher's output or whether that is positive.
    noise : float, default=0.0
        Standard deviation of what is added to the output.
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
        ``students``: planted networks, of which ``network`` is the first and ``units`` its mask
        of shared units. Units of two students with the same ``group``, not -1, are the same unit
        of the ``teacher``. ``latent``: the teacher's hidden features, by which
        ``truth.real_units(activations)`` labels the units of students that are trained.

    Raises
    ------
    ValueError
        If a parameter is out of range, `n_shared` exceeds `n_features`, or `n_cancelling` is odd.

    Examples
    --------
    >>> from sklflat.datasets import make_shared_private
    >>> X, y, truth = make_shared_private(random_state=0)
    >>> truth.students[0]
    PlantedNetwork(20 inputs; units: 4 cancelling, 10 live, 6 private, 6 unused)
    >>> int(truth.units.sum())
    10

    Without noise and private units all students compute the teacher's function:

    >>> X, y, truth = make_shared_private(weight_noise=0, n_private=0, random_state=0)
    >>> float(abs(truth.students[1].output(X) - y).max()) < 1e-12
    True
    """
    if n_cancelling % 2:
        raise ValueError(f"n_cancelling={n_cancelling} must be even: its units come in pairs.")
    rng = check_random_state(random_state)
    teacher = plant_teacher(n_features, n_shared, rng, "n_shared")
    counts = (n_private, n_cancelling, n_unused)
    students = tuple(
        _student(teacher, counts, weight_noise, private_scale, rng) for _ in range(n_students)
    )
    X, y = taught(teacher, n_samples, task, noise, rng)
    truth = Truth(latent=teacher.hidden(X), teacher=teacher, network=students[0], students=students)
    return X, y, truth


def _student(
    teacher: PlantedNetwork,
    counts: tuple[int, int, int],
    weight_noise: float,
    private_scale: float,
    rng: np.random.RandomState,
) -> PlantedNetwork:
    """The teacher's units, disturbed, and the student's own, in random order."""
    n_features, n_shared = teacher.W1.shape
    n_private, n_cancelling, n_unused = counts
    shared = teacher.W1 + weight_noise * rng.normal(size=teacher.W1.shape) / np.sqrt(n_features)
    n_own = n_private + n_cancelling // 2 + n_unused
    W = rng.normal(size=(n_features, n_own))
    W /= np.linalg.norm(W, axis=0)
    b = plant_biases(n_own, rng)
    mean, variance = relu_moments(b[:n_private])
    a = rng.choice([-1.0, 1.0], n_private) * private_scale / np.sqrt(max(n_private, 1) * variance)
    pair = np.full(n_cancelling // 2, np.abs(teacher.W2).mean())
    pairs = np.arange(n_private, n_private + len(pair))  # each of them twice
    own = np.concatenate([np.arange(n_own), pairs])
    outgoing = np.concatenate([teacher.W2[:, 0], a, pair, np.zeros(n_unused), -pair])
    names = ["live", "private", "cancelling", "unused", "cancelling"]
    status = np.repeat(names, [n_shared, n_private, len(pair), n_unused, len(pair)])
    order = rng.permutation(len(status))
    alpha = np.exp(rng.uniform(-1, 1, size=len(status)))
    return PlantedNetwork(
        W1=(np.hstack([shared, W[:, own]]) * alpha)[:, order],
        b1=(np.concatenate([teacher.b1, b[own]]) * alpha)[order],
        W2=(outgoing / alpha)[order, None],
        b2=teacher.b2 - mean @ a,
        status=status[order],
        group=np.concatenate([np.arange(n_shared), np.full(len(own), -1)])[order],
    )
