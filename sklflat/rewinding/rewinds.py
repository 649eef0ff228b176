"""Children of a training: copies that go on from one of its steps, and how they compare."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sklflat.networks.units import Units
from sklflat.probing.resolve import resolve
from sklflat.rewinding.consistency import Group, mean_of_live
from sklflat.rewinding.onset import Instability, OnsetCurve, find_onset
from sklflat.rewinding.recipe import Recipe
from sklflat.rewinding.resampling import Resampling
from sklflat.rewinding.segments import segment_barriers
from sklflat.training.estimators.trained_network import TrainedNetwork
from sklflat.training.runs import Training
from sklflat.training.runs.checkpoint import Checkpoint
from sklflat.training.runs.start import Start

#: rows that barriers are taken on, and that units are matched on
MAX_ROWS = 2048


@dataclass(frozen=True)
class Comparison:
    """The rows that networks of one architecture are compared on, as the last estimator takes them.

    Parameters
    ----------
    recipe : Recipe
    units : Units
        Of any of the networks.
    match : array-like of shape (n, ...)
        To match units on.
    score : array-like of shape (m, ...)
        To score them on.
    weights : ndarray of shape (m,) or None
    """

    recipe: Recipe
    units: Units
    match: Any
    score: Any
    weights: NDArray | None

    @cached_property
    def _trained_on(self) -> tuple[Any, NDArray, Tensor | None]:
        numbers = self.recipe.some(MAX_ROWS)
        weight = self.recipe.rows.weight
        own = None if weight is None else weight[torch.as_tensor(numbers)]
        return self.recipe.inputs(numbers), self.recipe.rows.y[numbers], own

    def barriers(self, trainings: Sequence[Training]) -> NDArray:
        """Barriers of the training error between all pairs; NaN with one that failed."""
        if any(t.error is not None for t in trainings):
            return np.full(1, np.nan)
        X, y, weight = self._trained_on
        networks = [resolve(t.estimator) for t in trainings]
        first = networks[0]
        return segment_barriers(networks, first.to_input(X), first.to_target(y), weight)

    def group(self, networks: Sequence[TrainedNetwork]) -> Group:
        """Their units' activations, to be matched and scored."""
        parts = []
        for rows in (self.match, self.score):
            X = networks[0].to_input(rows)
            parts.append(
                np.stack(
                    [self.units.activations(t.network.module, X).double().numpy() for t in networks]
                )
            )
        return Group(parts[0], parts[1], self.units.layer_of, self.weights)


def onset_curve(
    comparison: Comparison,
    parent: Training,
    *,
    tol: float,
    seeds: Sequence[int],
) -> OnsetCurve:
    """Bisection over the steps whose state the parent has; the parent is one of the copies.

    Parameters
    ----------
    comparison : Comparison
    parent : Training
    tol : float
    seeds : sequence of int
        Of the orders of the rows of the other copies, the same at every step. All pairs of copies
        are compared.
    """
    grid = sorted(parent.states)

    def instability(step: int) -> Instability:
        return instability_at(comparison, parent, step, seeds)

    return find_onset(instability, grid, tol)


def instability_at(
    comparison: Comparison, parent: Training, step: int, seeds: Sequence[int]
) -> Instability:
    """Train copies from one step, as one stack, and compare them with the parent and each other."""
    recipe = comparison.recipe
    copies = [recipe.training(start=Start(parent.states[step], seed)) for seed in seeds]
    recipe.run(copies)
    together = [parent, *copies]
    barriers = comparison.barriers(together)
    consistency = float("nan")
    if np.isfinite(barriers).all():
        group = comparison.group([resolve(t.estimator) for t in together])
        scores, lives = group.scores()
        consistency = mean_of_live(scores, lives)
    n_trained = sum(int(t.estimator.net_.steps_.n_begun) - step for t in copies)
    return Instability(step, barriers, consistency, n_trained)


def children(
    recipe: Recipe,
    parent: Training,
    step: int,
    mask: Tensor,
    n: int,
    *,
    resampling: Resampling,
    rng: np.random.RandomState,
    weights_of: Checkpoint | None = None,
    order: NDArray | None = None,
    **own: Any,
) -> list[Training]:
    """Copies of the ticket that go on from a step of its parent in other orders, not yet trained.

    ``weights_of`` is what :class:`~sklflat.training.runs.start.Start` takes; ``order``, of shuffled
    targets, and ``own`` go to :meth:`Recipe.training`.
    """
    made = []
    for k in range(n):
        start = Start(parent.states[step], int(rng.randint(2**31 - 1)), weights_of)
        numbers = resampling.draw(recipe, k, rng, order)
        made.append(recipe.training(mask=mask, start=start, numbers=numbers, order=order, **own))
    return made
