"""A planted network of one hidden layer, with what is known of each of its units."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["PlantedNetwork"]


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class PlantedNetwork:
    r"""A ReLU network :math:`f(x) = \max(x W_1 + b_1, 0)\, W_2 + b_2` with known units.

    The arrays have the shapes of ``coefs_`` and ``intercepts_`` of scikit-learn's MLPs.

    Attributes
    ----------
    W1 : ndarray of shape (n_features, n_units)
        Incoming weights.
    b1 : ndarray of shape (n_units,)
        Hidden biases.
    W2 : ndarray of shape (n_units, 1)
        Outgoing weights.
    b2 : ndarray of shape (1,)
        Output bias.
    status : ndarray of shape (n_units,), of str
        ``"live"``: alone computes a feature of the teacher. ``"redundant"``: shares one with other
        units, which are its multiples and split its outgoing weight. ``"dead"``: never active.
        ``"unused"``: active, with outgoing weight zero. ``"private"``: computes a feature of its
        own. ``"cancelling"``: one of two multiples of each other whose outputs cancel.
    group : ndarray of shape (n_units,), of int
        The teacher's feature that a unit computes, -1 where it computes none.

    Examples
    --------
    Two units that share one teacher unit, and a third whose output nobody reads:

    >>> import numpy as np
    >>> from sklflat.datasets import PlantedNetwork
    >>> network = PlantedNetwork(
    ...     W1=np.array([[1.0, 2.0, -1.0]]),
    ...     b1=np.zeros(3),
    ...     W2=np.array([[0.5], [0.25], [0.0]]),
    ...     b2=np.zeros(1),
    ...     status=np.array(["redundant", "redundant", "unused"]),
    ...     group=np.array([0, 0, -1]),
    ... )
    >>> network.output([[3.0], [-3.0]])
    array([3., 0.])
    >>> network.units
    array([ True,  True, False])

    Of ten parameters only the slope and the kink of max(x, 0), the outgoing weight of the unused
    unit and the output bias change the function:

    >>> network.n_parameters, network.flat_dimension
    (10, 6)
    """

    W1: NDArray[np.float64]
    b1: NDArray[np.float64]
    W2: NDArray[np.float64]
    b2: NDArray[np.float64]
    status: NDArray[np.str_]
    group: NDArray[np.int64]

    def hidden(self, X: ArrayLike) -> NDArray[np.float64]:
        """Activations of the units after the ReLU, shape (n_samples, n_units)."""
        return np.maximum(np.asarray(X, dtype=np.float64) @ self.W1 + self.b1, 0)

    def output(self, X: ArrayLike) -> NDArray[np.float64]:
        """Output of the network, shape (n_samples,)."""
        return (self.hidden(X) @ self.W2 + self.b2)[:, 0]

    @property
    def units(self) -> NDArray[np.bool_]:
        """Mask of the real units, those that compute a feature of the teacher."""
        return self.group >= 0

    @property
    def n_parameters(self) -> int:
        """Number of weights and biases."""
        return self.W1.size + self.b1.size + self.W2.size + self.b2.size

    @property
    def flat_dimension(self) -> int:
        """Number of directions of the parameters in which the function does not change.

        To first order, on samples in general position and more of them than parameters: the
        number of parameters less the rank of the Jacobian of the outputs. It is the number of
        zero eigenvalues of the Hessian of the mean squared error where the network fits exactly.
        A feature has n_features + 1 directions that matter, whether one unit computes it or
        several share it: its weights, bias and outgoing weight less one for the rescaling of a
        ReLU. So has a feature of the student's own, and a cancelling pair. An unused unit has one,
        its outgoing weight; a dead one none.
        """
        n_features = len(self.W1)
        n_live = len(np.unique(self.group[self.units]))
        n_unused, n_private, n_cancelling = (
            int((self.status == name).sum()) for name in ("unused", "private", "cancelling")
        )
        n_live += n_private + n_cancelling // 2
        return self.n_parameters - (n_live * (n_features + 1) + n_unused + 1)

    def __repr__(self) -> str:
        counts = zip(*np.unique(self.status, return_counts=True), strict=True)
        units = ", ".join(f"{count} {status}" for status, count in counts)
        return f"PlantedNetwork({len(self.W1)} inputs; units: {units})"
