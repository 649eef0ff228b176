"""Parent: one training whose states are kept, and what is asked of its steps."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import Any, Self

import numpy as np
from sklearn.base import is_classifier
from sklearn.utils import check_random_state, indexable

from sklflat._compat import Interval, validate_parameter_constraints
from sklflat.probing.nulls import seeded
from sklflat.probing.resolve import is_frozen, unfitted
from sklflat.probing.split import Rows, check_classes, with_column_as_vector
from sklflat.rewinding.basin_size import RADII, BasinSize, basin_size
from sklflat.rewinding.curvature_plateau import FACTOR, CurvaturePlateau, curvature_plateau
from sklflat.rewinding.dose_response import dose_response
from sklflat.rewinding.onset import OnsetCurve, step_grid
from sklflat.rewinding.recipe import (
    Recipe,
    check_rewindable,
    split_in_three,
    trained_parent,
)
from sklflat.rewinding.rewinds import Comparison
from sklflat.training.runs import Training

_CONSTRAINTS = {
    "n_grid": [Interval(Integral, 1, None, closed="left")],
    "holdout": [Interval(Real, 0, 1, closed="neither"), None],
    "n_jobs": [Integral, None],
    "verbose": ["verbose"],
    "n_copies": [Interval(Integral, 2, None, closed="left")],
    "stability_tol": [Interval(Real, 0, None, closed="left")],
}


@dataclass(frozen=True, eq=False)
class Parent:
    """A training whose states at some steps are kept, so that copies can go on from there.

    Make one by :meth:`train`. It is the whole network: nothing is pruned.

    Parameters
    ----------
    training : Training
        The parent, with its ``states``.
    comparison : Comparison
        The rows that copies are compared on.
    seed : int
        Of the orders of the rows of copies, and of noise.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklflat import SAMClassifier
    >>> from sklflat.rewinding import Parent
    >>> X, y = load_iris(return_X_y=True)
    >>> network = SAMClassifier((8,), max_iter=5, batch_size=20, learning_rate_init=0.02)
    >>> parent = Parent.train(network, X, y, n_grid=2, random_state=0)
    >>> parent.steps
    (0, 1, 29)
    >>> curve = parent.dose_response(n_copies=2)
    >>> [point.step for point in curve.points]
    [0, 1, 29]
    """

    training: Training = field(repr=False)
    comparison: Comparison = field(repr=False)
    seed: int

    @classmethod
    def train(
        cls,
        estimator: Any,
        X: Any,
        y: Any,
        *,
        n_grid: int = 32,
        steps: Sequence[int] | None = None,
        layers: Any = "hidden",
        holdout: float | None = 0.25,
        n_jobs: int | None = None,
        cache_dir: Any = None,
        random_state: Any = None,
        verbose: int = 0,
        **fit_params: Any,
    ) -> Self:
        """Train an estimator, and keep its states.

        Parameters
        ----------
        estimator : estimator
            As :class:`~sklflat.BasinRewinder` takes it.
        X : array-like of shape (n_samples, ...)
        y : array-like of shape (n_samples,)
        n_grid : int, default=32
            Steps to keep beside the first, at equal ratios.
        steps : sequence of int, default=None
            Steps to keep, in place of those.
        layers, holdout
            As of every probe: units are compared on rows held out.
        n_jobs, cache_dir, random_state, verbose
            As of :class:`~sklflat.BasinRewinder`.
        **fit_params
            Of the estimator's ``fit``, such as ``sample_weight``.

        Raises
        ------
        UnsupportedNetworkError
            If there is no training of the network that could be rewound.
        ValueError
            If a step is after the end of training.
        """
        given = {"n_grid": n_grid, "holdout": holdout, "n_jobs": n_jobs, "verbose": verbose}
        validate_parameter_constraints(_CONSTRAINTS, given, caller_name="Parent.train")
        rng = check_random_state(random_state)
        if is_frozen(estimator):
            check_rewindable(estimator)  # raises
        X, y = indexable(X, np.asarray(y))
        rows = with_column_as_vector(Rows(X, y, fit_params))
        fresh = seeded(unfitted(estimator), rng)
        check_rewindable(fresh)
        if is_classifier(fresh):
            check_classes(rows, cls.__name__)
        fitted, match, scored = split_in_three(rows, holdout, is_classifier(fresh), rng)
        recipe = Recipe.of(fresh, fitted, rng, verbose, n_jobs=n_jobs, cache_dir=cache_dir)
        kept = step_grid(recipe.n_steps, n_grid) if steps is None else _checked(steps, recipe)
        training = trained_parent(recipe, kept)
        comparison = Comparison.of(recipe, training, match, scored, layers)
        return cls(training, comparison, int(rng.randint(2**31 - 1)))

    @property
    def steps(self) -> tuple[int, ...]:
        """Steps whose state is kept; those after an early end of training are not."""
        return tuple(sorted(self.training.states))

    def dose_response(self, *, n_copies: int = 4, stability_tol: float = 0.02) -> OnsetCurve:
        """Instability and consistency at all steps: see :func:`~.dose_response.dose_response`."""
        _check_copies(n_copies, stability_tol)
        return dose_response(self.comparison, self.training, n_copies, stability_tol, self.seed)

    def basin_size(
        self,
        step: int,
        *,
        radii: Sequence[float] = RADII,
        n_copies: int = 4,
        stability_tol: float = 0.02,
    ) -> BasinSize:
        """How far from a step copies may start: see :func:`~.basin_size.basin_size`."""
        _check_copies(n_copies, stability_tol)
        if step not in self.training.states:
            raise ValueError(f"step={step} is not kept. Choose one of {self.steps}.")
        return basin_size(
            self.comparison, self.training, step, radii, n_copies, stability_tol, self.seed
        )

    def curvature_plateau(self, *, factor: float = FACTOR) -> CurvaturePlateau:
        """Where curvature settles: see :func:`~.curvature_plateau.curvature_plateau`."""
        return curvature_plateau(self.comparison, self.training, factor)


def _check_copies(n_copies: int, stability_tol: float) -> None:
    """Raise unless there is a pair to compare, and a number to compare it with."""
    given = {"n_copies": n_copies, "stability_tol": stability_tol}
    validate_parameter_constraints(_CONSTRAINTS, given, caller_name="Parent")


def _checked(steps: Sequence[int], recipe: Recipe) -> tuple[int, ...]:
    chosen = tuple(sorted({int(s) for s in steps}))
    if not chosen or chosen[0] < 0 or chosen[-1] >= recipe.n_steps:
        raise ValueError(
            f"steps={list(steps)} must be some of 0 to {recipe.n_steps - 1}: the training has "
            f"{recipe.n_steps} steps ({recipe.n_steps_an_epoch} an epoch)."
        )
    return chosen
