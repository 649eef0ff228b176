"""How consistent units are by chance: fresh initialisations, shuffled labels, untrained twins."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from sklflat.exceptions import RewindingWarning, warn
from sklflat.networks import ParameterVector
from sklflat.probing.nulls import Null, Scored, null_by_layer, untrained_twins
from sklflat.probing.resolve import resolve
from sklflat.rewinding.consistency import Consistency, Group
from sklflat.rewinding.rewinds import children
from sklflat.rewinding.rewound_sample import AFTER, RewoundSample
from sklflat.training.runs import Training
from sklflat.training.runs.start import Start

FRESH, SHUFFLED = "fresh initialisations", "shuffled labels"
#: states kept of a parent with shuffled labels, up to the step that it is rewound to
N_KEPT = 9


def rewinding_nulls(sample: RewoundSample, n_draws: int, rng: np.random.RandomState) -> list[Null]:
    """Three nulls of as many networks as there are children, matched and scored like these.

    - *fresh initialisations*: trainings on the same data that share no ancestor. What beats them is
      more than what the data give to everybody;
    - *shuffled labels*: children of a parent that was trained on shuffled labels, rewound to the
      same step. What beats them is more than having an ancestor in common;
    - *untrained twins*: what data and architecture give.

    All have the ticket's mask, and rows by the children's rule. In each set every network in turn
    is the reference, so a set gives as many draws as it has units; they depend on each other, but
    follow one law.
    """
    n = len(sample.experiments[AFTER].good)
    fresh, shuffled = _trained(sample, n, rng)
    n_sets = int(np.ceil(n_draws / (n * len(sample.units))))
    layer_of = sample.units.layer_of
    nulls = [
        null_by_layer(name, _scored(sample, own), layer_of)
        for name, own in ((FRESH, fresh), (SHUFFLED, shuffled))
        if len(own) > 1
    ]
    twins = (s for _ in range(n_sets) for s in _references(_twins(sample, n, rng)))
    return [*nulls, null_by_layer("untrained twins", twins, layer_of)]


def beside_chance(
    found: Mapping[str, Consistency], nulls: Sequence[Null]
) -> dict[str, Consistency]:
    """What came back, with the mean score under the nulls, which are of the ticket alone."""
    by_chance = {null.name: float(np.mean(null.draws)) for null in nulls}
    return dict(found) | {AFTER: replace(found[AFTER], by_chance=by_chance)}


def _trained(
    sample: RewoundSample, n: int, rng: np.random.RandomState
) -> tuple[list[Training], list[Training]]:
    """Fresh networks, and children of one that was trained on shuffled labels."""
    recipe, resampling = sample.recipe, sample.resampling
    mask, step = sample.rounds[-1].mask, sample.experiments[AFTER].step
    seeds = [int(rng.randint(2**31 - 1)) for _ in range(n + 1)]
    order = resampling.shuffled(recipe, rng)
    rows = [None, *(resampling.draw(recipe, k, rng) for k in range(n - 1))]
    fresh = [
        recipe.training(seed=seed, mask=mask, numbers=numbers)
        for seed, numbers in zip(seeds[1:], rows, strict=True)
    ]
    kept = np.linspace(0, step, N_KEPT).astype(int).tolist()
    parent = recipe.training(seed=seeds[0], order=order, states_at=tuple(sorted({*kept, step})))
    recipe.run([parent, *fresh])
    shuffled = _of_shuffled(sample, parent, n, order, rng) if parent.error is None else []
    recipe.run(shuffled)
    return _good(FRESH, fresh, n), _good(SHUFFLED, shuffled, n)


def _of_shuffled(
    sample: RewoundSample, parent: Training, n: int, order: NDArray, rng: np.random.RandomState
) -> list[Training]:
    """Copies of a parent as those of the ticket are, the first with its own rows in its order."""
    recipe, mask, step = sample.recipe, sample.rounds[-1].mask, sample.experiments[AFTER].step
    at = max(parent.states)
    if at < step:
        warn(
            f"The parent with shuffled labels stopped training before step {step}, so the null "
            f"{SHUFFLED!r} is rewound to step {at}.",
            RewindingWarning,
        )
    weights = None if sample.rewinds_weights else parent.checkpoint()
    same: dict[str, Any] = {"seed": parent.estimator.random_state, "order": order}
    first = recipe.training(mask=mask, start=Start(parent.states[at], weights_of=weights), **same)
    own: dict[str, Any] = {"resampling": sample.resampling, "rng": rng, "weights_of": weights}
    return [first, *children(recipe, parent, at, mask, n - 1, **own, **same)]


def _good(name: str, own: list[Training], n: int) -> list[Training]:
    """Networks of a null that have not failed; says how many have."""
    good = [t for t in own if t.error is None]
    if len(good) < 2:
        warn(
            f"The null {name!r} is missing from nulls_, as {n - len(good)} of its {n} networks "
            "failed: p-values are against the other nulls alone.",
            RewindingWarning,
        )
    elif len(good) < n:
        warn(
            f"{n - len(good)} of {n} networks of the null {name!r} failed; it is drawn from the "
            "others.",
            RewindingWarning,
        )
    return good


def _scored(sample: RewoundSample, trainings: list[Training]) -> Iterator[Scored]:
    yield from _references(sample.comparison.group([resolve(t.estimator) for t in trainings]))


def _references(group: Group) -> Iterator[Scored]:
    """Scores with every network in turn for the reference."""
    for reference in range(len(group.score)):
        scores, lives = group.scores(reference)
        yield scores, group.layer_of, lives


def _twins(sample: RewoundSample, n: int, rng: np.random.RandomState) -> Group:
    """Networks of fresh random weights, masked as the ticket is."""
    first = resolve(sample.rounds[-1].ticket.estimator)
    mask = sample.rounds[-1].mask
    comparison, units = sample.comparison, sample.units
    rows = [first.to_input(X) for X in (comparison.match, comparison.score)]
    found: list[list[np.ndarray]] = [[], []]
    for module in untrained_twins(first.network.module, n, rng):
        _mask(module, mask)
        for own, X in zip(found, rows, strict=True):
            own.append(units.activations(module, X).double().numpy())
    dtype = str(first.network.dtype).removeprefix("torch.")
    return Group(np.stack(found[0]), np.stack(found[1]), units.layer_of, comparison.weights, dtype)


@torch.no_grad()
def _mask(module: nn.Module, mask: torch.Tensor) -> None:
    vector = ParameterVector.of(module)
    vector.write(torch.where(mask, vector.read(), 0.0))
