"""Children of a training: copies that go on from one of its steps, and how they compare."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sklflat.metrics.consistency import mean_of_live
from sklflat.networks.units import Units
from sklflat.probing.resolve import resolve
from sklflat.probing.split import Rows
from sklflat.rewinding.consistency import Group
from sklflat.rewinding.onset import Instability, OnsetCurve
from sklflat.rewinding.onset_search import find_onset
from sklflat.rewinding.recipe import Recipe, n_trained, some_of
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

    @classmethod
    def of(
        cls, recipe: Recipe, parent: Training, match: Rows, scored: Rows, layers: Any
    ) -> "Comparison":
        """What a trained network's copies are compared on: rows as estimators take them."""
        trained = resolve(recipe.fitted(parent))
        few = match.take(some_of(match, MAX_ROWS))
        weight = None if scored.weight is None else scored.weight.double().numpy()
        units = Units.find(trained.network.module, trained.to_input(few.X)[:5], layers)
        inputs = [recipe.transformed(rows.X) for rows in (few, scored)]
        return cls(recipe, units, inputs[0], inputs[1], weight)

    @cached_property
    def trained_on(self) -> tuple[Any, NDArray, Tensor | None]:
        """At most so many rows that networks were trained on, targets and weights."""
        numbers = self.recipe.some(MAX_ROWS)
        weight = self.recipe.rows.weight
        own = None if weight is None else weight[torch.as_tensor(numbers)]
        return self.recipe.inputs(numbers), self.recipe.rows.y[numbers], own

    def barriers(self, trainings: Sequence[Training], known: NDArray | None = None) -> NDArray:
        """Barriers of the training error between all pairs; NaN with one that failed.

        ``known`` are those of the first few trainings.
        """
        if any(t.error is not None for t in trainings):
            return np.full(1, np.nan)
        X, y, weight = self.trained_on
        networks = [resolve(t.estimator) for t in trainings]
        first = networks[0]
        return segment_barriers(networks, first.to_input(X), first.to_target(y), weight, known)

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
        dtype = str(networks[0].network.dtype).removeprefix("torch.")
        return Group(parts[0], parts[1], self.units.layer_of, self.weights, dtype)


def onset_curve(
    comparison: Comparison,
    parent: Training,
    *,
    tol: float,
    seeds: Sequence[int],
    looked: Callable[[Instability], None] = lambda found: None,
) -> OnsetCurve:
    """Bisection over the steps whose state the parent has; the parent is one of the copies.

    Parameters
    ----------
    comparison : Comparison
    parent : Training
    tol : float
    seeds : sequence of int
        Of the orders of the rows of the other copies, the same at every step; those of further
        copies, where a step is looked at again, follow from them. All pairs of copies are compared.
    looked : callable
        Called with what every look has found.
    """
    grid, n, recipe = sorted(parent.states), len(seeds), comparison.recipe
    copies: dict[int, list[Training]] = {step: [] for step in grid}
    barriers: dict[int, NDArray] = {}

    def instability(step: int) -> Instability:
        known = copies[step]
        further = np.random.RandomState(seeds[-1] + len(known) // n)
        own = [int(further.randint(2**31 - 1)) for _ in seeds] if known else seeds
        new = [recipe.training(start=Start(parent.states[step], seed)) for seed in own]
        recipe.run(new)
        known += new
        found = instability_of(comparison, parent, step, known, barriers.get(step))
        barriers[step] = found.barriers
        looked(found)
        return found

    n_steps = parent.estimator.net_.steps_.n_begun
    return find_onset(instability, grid, tol, cost=lambda step: n * (n_steps - step))


def instability_of(
    comparison: Comparison,
    parent: Training,
    step: int,
    copies: Sequence[Training],
    known: NDArray | None = None,
) -> Instability:
    """How far apart the parent and trained copies from one of its steps are.

    ``known`` are the barriers between the parent and the first few copies.
    """
    together = [parent, *copies]
    barriers = comparison.barriers(together, known)
    consistency = float("nan")
    if np.isfinite(barriers).all():
        group = comparison.group([resolve(t.estimator) for t in together])
        scores, lives = group.scores()
        consistency = mean_of_live(scores, lives)
    return Instability(step, barriers, consistency, sum(map(n_trained, copies)))


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
