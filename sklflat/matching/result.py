"""What a matching of two networks found."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Matching:
    """A permutation that aligns the second of two networks to the first, and how good it is.

    Attributes
    ----------
    perm : Tensor of shape (n_classes,), int
        For ``symmetry.permute(b, perm)``.
    objective : float
        Of the permutation: the larger, the better aligned. What it measures is said by the function
        that found it.
    objective_identity : float
        Of leaving the second network as it is.
    upper_bound : float
        No permutation can have a larger objective; infinity where no bound is known.
    objectives : tuple of float
        Of every restart, or every step, that was made.
    n_sweeps : int
        Passes over the groups, all restarts together.
    n_assignments : int
        Linear assignment problems that were solved, all restarts together.
    """

    perm: Tensor
    objective: float
    objective_identity: float
    upper_bound: float = float("inf")
    objectives: tuple[float, ...] = ()
    n_sweeps: int = 0
    n_assignments: int = 0
