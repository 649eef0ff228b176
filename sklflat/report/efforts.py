"""How much a report computes: the settings of a quick one and of a full one."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Effort:
    """Settings of all techniques.

    Parameters
    ----------
    name : str
    max_iter : int
        Epochs of the networks that are trained by default.
    n_models : int
        Further trainings of each estimator.
    n_components : int
        Eigenpairs.
    density : bool
        Of all eigenvalues.
    n_bootstrap : int
        Of the temperature's trees.
    n_basin_models, n_redraws : int
        Of the surrogate.
    n_random : int
        Sets of units beside the pruning path.
    max_rows : int
        Rows that curvature and surrogate are taken on at most.
    max_held_out : int
        Held-out rows that the others are taken on at most.
    rewinds : bool
        Whether tickets are looked for.
    """

    name: str
    max_iter: int
    n_models: int
    n_components: int
    density: bool
    n_bootstrap: int
    n_basin_models: int
    n_redraws: int
    n_random: int
    max_rows: int
    max_held_out: int
    rewinds: bool


EFFORTS = {
    "quick": Effort("quick", 40, 5, 5, False, 50, 8, 3, 100, 2000, 2000, False),
    "full": Effort("full", 200, 8, 10, True, 100, 32, 10, 200, 10000, 10000, True),
}
