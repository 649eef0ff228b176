"""How much units return by chance: in networks that have learned nothing, and in rotated layers."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sklflat.metrics.streamed_correlation import StreamedCorrelation
from sklflat.networks.units import Units
from sklflat.probing.nulls import random_rotations, untrained_twins
from sklflat.probing.resolve import resolve
from sklflat.probing.sample import Sample
from sklflat.universality.networks import UnitsOf
from sklflat.universality.returns import Matching, Pair

#: rotations of a layer that chance is the mean of
N_ROTATIONS = 30
#: networks of the pool for each further network, at least: one may be the one that is scored
MIN_EACH = 2


@dataclass(frozen=True, eq=False)
class WithUntrained:
    """Some networks, and behind them untrained ones, made when they are asked for.

    So memory is that of one untrained network, and of as many as are kept.

    Parameters
    ----------
    given : sequence of UnitsOf
    templates : sequence of UnitsOf
        Of each of these, ``n_each`` networks of fresh random weights.
    n_each : int
    rng : callable
        Returns the generator of random weights, in the same state each time.
    """

    given: Sequence[UnitsOf]
    templates: Sequence[UnitsOf]
    n_each: int
    rng: Callable[[], np.random.RandomState]

    def __len__(self) -> int:
        return len(self.given) + self.n_each * len(self.templates)

    def __contains__(self, network: object) -> bool:
        return network in self.given  # those that are made anew are no others

    def __iter__(self) -> Iterator[UnitsOf]:
        yield from self.given
        rng = self.rng()
        for template in self.templates:
            for module in untrained_twins(template.module, self.n_each, rng):
                yield UnitsOf(module, template.units)


def shuffled_pool(
    sample: Sample, n_networks: int, rng: np.random.RandomState, settings: dict[str, Any]
) -> list[UnitsOf]:
    """Networks trained on labels that were shuffled anew for each; of the first's widths only."""
    if sample.training is None:
        raise ValueError(
            "null='shuffled_labels' trains networks on shuffled labels, and frozen ones cannot be "
            "trained. Use null='untrained' or 'rotation'."
        )
    names = tuple(layer.name for layer in sample.units.layers)
    fitted = sample.training.train_on_shuffled_labels(n_networks, 1, rng, **settings)
    found = [UnitsOf.find(resolve(e, sample.dtype).network.module, sample.X, names) for e in fitted]
    same = [own for own in found if _sizes(own.units) == _sizes(sample.units)]
    if len(same) < len(found):
        raise ValueError(
            f"{len(found) - len(same)} of {len(found)} networks trained on shuffled labels have "
            "other widths than the first, as the search in the estimator chose them. Use null="
            "'untrained', or an estimator of fixed widths."
        )
    return found


def _sizes(units: Units) -> list[int]:
    return [layer.n_units for layer in units.layers]


def in_groups(n_pool: int, n_others: int) -> list[NDArray]:
    """The networks of a pool, in one group of neighbours for each of the other networks."""
    return np.array_split(np.arange(n_pool), n_others)


def chance_by_network(largest: NDArray, n_others: int) -> NDArray:
    """Mean largest correlations (n_others, n_units) with the pool's part of each other network.

    ``largest`` is (n_pool, n_units).
    """
    return np.stack([largest[group].mean(axis=0) for group in in_groups(len(largest), n_others)])


def excess_by_chance(returns: NDArray, largest: NDArray, own: Sequence[int | None]) -> NDArray:
    """Scores (n_references, n_units) of networks that have learned nothing, as the first has its.

    Parameters
    ----------
    returns : ndarray of shape (n_references, n_others, n_units)
        Largest correlations of the references' units with those of the other networks.
    largest : ndarray of shape (n_references, n_pool, n_units)
        The same with the pool's.
    own : sequence of int or None
        Where a reference is itself in the pool; it is no chance of its own.
    """
    found = []
    for in_others, in_pool, itself in zip(returns, largest, own, strict=True):
        groups = in_groups(len(in_pool), len(in_others))
        chance = [in_pool[group[group != itself]].mean(axis=0) for group in groups]
        found.append(in_others.mean(axis=0) - np.mean(chance, axis=0))
    return np.stack(found)


def rotated_returns(
    pair: Pair, matching: Matching, n_draws: int, rng: np.random.RandomState
) -> NDArray:
    """Largest correlations (n_draws, n_units) with a network's layers, randomly rotated [1]_.

    They follow from the moments: of activations B and an orthogonal matrix Q, the covariance with
    B Q is that with B times Q, and the variances are the diagonal of Q' cov(B) Q.

    References
    ----------
    .. [1] W. Gurnee et al., "Universal neurons in GPT2 language models", TMLR 2024, section 3.
       https://arxiv.org/abs/2401.12181
    """
    cross, within = pair.together
    layers = [np.flatnonzero(pair.other_layer_of == k) for k in np.unique(pair.other_layer_of)]
    each: list[Iterator[NDArray]] = [
        random_rotations(np.eye(len(layer)), n_draws, rng) for layer in layers
    ]
    draws = np.empty((n_draws, len(pair.layer_of)))
    for draw, rotations in zip(draws, zip(*each, strict=True), strict=True):
        C = np.zeros_like(cross.products)
        for layer, Q in zip(layers, rotations, strict=True):
            C[:, layer] = _correlations_with(cross, within, layer, Q)
        draw[:] = matching.largest(C, pair.layer_of, pair.other_layer_of)[0]
    return draws


def _correlations_with(
    cross: StreamedCorrelation, within: StreamedCorrelation, layer: NDArray, Q: NDArray
) -> NDArray:
    """Correlations (n_units, n_directions) with a layer of the other network times Q."""
    S = within.products[np.ix_(layer, layer)]
    squares = ((S @ Q) * Q).sum(axis=0)
    total = np.trace(S)
    a = np.where(cross.varying, cross.squares, 0.0)
    lengths = np.sqrt(np.outer(a, np.where(squares > 1e-24 * total, squares, 0.0)))
    found = np.zeros((len(a), len(layer)))
    np.divide(cross.products[:, layer] @ Q, lengths, out=found, where=lengths > 0)
    return np.clip(found, -1.0, 1.0)
