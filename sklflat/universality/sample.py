"""ReturnSample: what a UniversalityProbe scores units on."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sklflat.metrics import debiased_cka
from sklflat.metrics.streamed_correlation import StreamedCorrelation
from sklflat.probing.dead_units import rounding_of
from sklflat.probing.nulls import Null, null_by_layer
from sklflat.probing.sample import Sample
from sklflat.universality.chance import (
    MIN_EACH,
    N_ROTATIONS,
    WithUntrained,
    chance_by_network,
    excess_by_chance,
    rotated_returns,
    shuffled_pool,
)
from sklflat.universality.networks import UnitsOf
from sklflat.universality.reliability import Reliability, split_half
from sklflat.universality.returns import (
    N_FOLDS,
    Held,
    Matching,
    Pair,
    largest_with_pool,
    pairs_with,
)

UNTRAINED, SHUFFLED, ROTATION = "untrained", "shuffled_labels", "rotation"
#: rows on which the largest of many correlations says anything
MIN_ROWS = 20
#: rows that the alignment of subspaces is computed on
_N_ALIGNED = 1000
#: correlation of units that are the same but for scale and shift
_SAME = 1 - 1e-9


@dataclass(frozen=True, eq=False, kw_only=True)
class ReturnSample(Sample):
    """A network, others that its units return in, and what the return is by chance.

    All that is random follows from ``seed``.

    Parameters
    ----------
    others : list of UnitsOf
    matching : Matching
    null : {"untrained", "shuffled_labels", "rotation"}
    n_untrained : int
    n_draws : int
        Null draws, pooled over units.
    max_references : int
        Untrained networks that are scored as the first is, at most.
    settings : dict
        Of trainings on shuffled labels.
    seed : int
    """

    others: list[UnitsOf]
    matching: Matching
    null: str
    n_untrained: int
    n_draws: int
    max_references: int
    settings: dict[str, Any]
    seed: int

    @cached_property
    def first(self) -> UnitsOf:
        """The network whose units are scored."""
        return UnitsOf(self.network.module, self.units)

    @cached_property
    def held(self) -> Held:
        """The rows that units are scored on."""
        rounding = max(own.rounding for own in (self.first, *self.others))
        return Held(self.X, self.weights * self.n_samples, self.network.batch_size, rounding)

    @property
    def n_deciding(self) -> int:
        """Rows that decide: those of a group as one, and none of weight 0."""
        seen = self.weights > 0
        return int(seen.sum() if self.groups is None else len(np.unique(self.groups[seen])))

    @property
    def scoreless(self) -> NDArray:
        """Units that are constant; all where rows are too few."""
        return self.dead | (self.n_deciding < MIN_ROWS)

    def _rng(self, number: int) -> np.random.RandomState:
        """One of several independent streams."""
        return np.random.RandomState(np.random.MT19937(np.random.SeedSequence((self.seed, number))))

    # --- the first network's units, of which no row is kept -----------------------------------

    def batches(self) -> Iterator[tuple[int, NDArray]]:
        """First row, and activations, of parts of the rows."""
        start = 0
        for (A,), _ in self.held.batches([self.first]):
            yield start, A
            start += len(A)

    def _finite_or_not(self) -> NDArray:
        """As of every sample, part by part: one number a row."""
        finite = [np.isfinite(A).all(axis=1) for _, A in self.batches()]
        return np.where(np.concatenate(finite), 0.0, np.nan)[:, None]

    @cached_property
    def within(self) -> StreamedCorrelation:
        """Moments of the units with each other."""
        streamed = StreamedCorrelation(len(self.units), len(self.units), rounding_of(self.dtype))
        for start, A in self.batches():
            streamed.update(A, A, self.held.weights[start : start + len(A)])
        return streamed

    @cached_property
    def means(self) -> NDArray:
        """Weighted means (n_units,) of the activations."""
        return self.within.mean

    @cached_property
    def variances(self) -> NDArray:
        """Weighted variances (n_units,) of the activations."""
        return self.within.squares / self.within.n

    @cached_property
    def dead(self) -> NDArray:
        """Mask (n_units,) of units that do the same for all samples of positive weight."""
        return ~self.within.varying

    # --- return -------------------------------------------------------------------------------

    @cached_property
    def pairs(self) -> list[Pair]:
        """Moments with each of the others, by parts of the rows; a group is in one part."""
        groups = np.arange(self.n_samples) if self.groups is None else self.groups
        _, of_group = np.unique(groups, return_inverse=True)
        order = self._rng(0).permutation(of_group.max() + 1)
        return pairs_with(self.first, self.others, self.held, order[of_group] % N_FOLDS)

    @cached_property
    def _matched(self) -> list[tuple[NDArray, NDArray]]:
        return [
            self.matching.largest(p.together[0].correlations, p.layer_of, p.other_layer_of)
            for p in self.pairs
        ]

    @property
    def returns(self) -> NDArray:
        """Correlations (n_others, n_units) of each unit with its partner in each network."""
        return np.stack([values for values, _ in self._matched])

    @property
    def partners(self) -> NDArray:
        """Names (n_others, n_units) of the partners; empty for a unit without one."""
        names = [[*other.units.names, ""] for other in self.others]  # -1 is the last
        return np.stack(
            [np.array(n, dtype=object)[p] for n, (_, p) in zip(names, self._matched, strict=True)]
        )

    @cached_property
    def explained(self) -> NDArray:
        """Share (n_others, n_units) of each unit's variance that each network's layer explains."""
        return np.stack([pair.explained() for pair in self.pairs])

    # --- chance -------------------------------------------------------------------------------

    @cached_property
    def pool(self) -> Collection[UnitsOf]:
        """Networks that have learned nothing, as many for each of the others."""
        if self.null == UNTRAINED:
            n_each = max(MIN_EACH, int(np.ceil(self.n_untrained / len(self.others))))
            return WithUntrained((), self.others, n_each, partial(self._rng, 1))
        n = 4 * len(self.others)
        return shuffled_pool(self, n, self._rng(1), self.settings)

    @cached_property
    def _references(self) -> tuple[Collection[UnitsOf], list[int | None]]:
        """The first network and those that have learned nothing and are scored as it is.

        And where these are in the pool.
        """
        if self.null == SHUFFLED:
            return [self.first, *self.pool], list(range(len(self.pool)))
        n = int(np.ceil(self.n_draws / np.bincount(self.units.layer_of).min()))
        n = min(n, self.max_references)
        return WithUntrained([self.first], [self.first], n, partial(self._rng, 5)), [None] * n

    @cached_property
    def _with_pool(self) -> NDArray:
        """Largest correlations (1 + n_references, n_others + n_pool, n_units).

        Of the first network's units and the references', with the others' and the pool's.
        """
        pool = chain(self.others, self.pool)
        return largest_with_pool(self._references[0], pool, self.held, self.matching)

    @cached_property
    def chance(self) -> NDArray:
        """Return (n_others, n_units) by chance in the place of each of the others."""
        if self.null != ROTATION:
            return chance_by_network(self._with_pool[0, len(self.others) :], len(self.others))
        rng = self._rng(2)
        draws = [rotated_returns(p, self.matching, N_ROTATIONS, rng) for p in self.pairs]
        return np.mean(draws, axis=1)

    @property
    def scores(self) -> NDArray:
        """Return less chance, (n_units,)."""
        return (self.returns - self.chance).mean(axis=0)

    def draws(self, rng: np.random.RandomState) -> Null:
        """What scores are by chance: of networks that have learned nothing, in the first's place.

        Their units return in the same other networks. What has learned nothing returns better in
        networks that have learned something than in others of its own kind, as these lean towards
        what the rows have most of; a null of pairs that have both learned nothing would take that
        for learning.
        """
        if self.null == ROTATION:
            n = max(N_ROTATIONS, int(np.ceil(self.n_draws / len(self.units))))
            rotated = [rotated_returns(p, self.matching, n, rng) for p in self.pairs]
            excess = np.mean(rotated, axis=0) - self.chance.mean(axis=0)
            return Null("random rotations of the layers", excess)
        layer_of, n = self.units.layer_of, len(self.others)
        returns, largest = self._with_pool[1:, :n], self._with_pool[1:, n:]
        scores = excess_by_chance(returns, largest, self._references[1])
        lives = (largest != 0).any(axis=1)  # a constant unit correlates with nothing
        name = "untrained networks" if self.null == UNTRAINED else "trained on shuffled labels"
        return null_by_layer(
            name, ((s, layer_of, a) for s, a in zip(scores, lives, strict=True)), layer_of
        )

    # --- beside it ----------------------------------------------------------------------------

    def reliability(self) -> Reliability:
        """Of the scores and of the returns."""
        rng = self._rng(3)
        excess, returns = (
            split_half(by_network, self.units.layer_of, ~self.dead, rng)
            for by_network in (self.returns - self.chance, self.returns)
        )
        return Reliability(excess, returns, len(self.others))

    def alignment(self) -> dict[str, float]:
        """Debiased CKA of each layer with the others' layers, the mean over these.

        On 1,000 rows at most, none of weight 0; other weights make no difference. NaN on fewer
        than four rows, of which it is not defined.
        """
        rows = np.flatnonzero(self.weights > 0)
        if len(rows) > _N_ALIGNED:
            rows = np.sort(self._rng(4).choice(rows, _N_ALIGNED, replace=False))
        networks = [self.first, *self.others]
        if len(rows) < 4:
            return {layer.name: float("nan") for layer in self.units.layers}
        A = [n.units.activations(n.module, self.X[rows]).double().numpy() for n in networks]
        found = {}
        for k, layer in enumerate(self.units.layers):
            parts = [a[:, n.units.layer_of == k] for a, n in zip(A, networks, strict=True)]
            values = [debiased_cka(parts[0], part) for part in parts[1:]]
            found[layer.name] = float(np.mean(values))
        return found

    def duplicates(self) -> tuple[tuple[str, ...], ...]:
        """Names of units of a layer that do the same but for scale and shift."""
        n, layer_of = len(self.units), self.units.layer_of
        same = (self.within.correlations > _SAME) & (layer_of[:, None] == layer_of)
        first = np.where(same.any(axis=1), same.argmax(axis=1), np.arange(n))
        groups = [np.flatnonzero(first == u) for u in range(n)]
        return tuple(tuple(self.units.names[u] for u in g) for g in groups if len(g) > 1)
