"""How well units correlate along a path by chance: four nulls for the invariant core."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from sklflat.connectivity.aligned_networks import AlignedNetworks
from sklflat.connectivity.core_scores import PathScores
from sklflat.metrics import matched_correlation
from sklflat.metrics._checks import varying
from sklflat.networks.state import check_same_architecture
from sklflat.paths.paths import LinearPath
from sklflat.probing.false_discovery import draws_for_one
from sklflat.probing.nulls import (
    Null,
    Scored,
    null_by_layer,
    random_rotations,
    untrained_twins,
)
from sklflat.probing.resolve import resolve
from sklflat.probing.training_set import TrainingSet

Pair = tuple[Any, Any]

#: draws of each unit, for those nulls that belong to single units
_MIN_DRAWS = 30
#: pairs of networks at least
_MIN_PAIRS = 2
#: points of the paths of these. Fewer points have a higher minimum, so chance is not made easy
_N_POINTS = 5
#: pairs of untrained networks at most
_MAX_UNTRAINED = 100
#: pairs of networks to train at most, unless more are asked for
_MAX_TRAINED = 22


def connectivity_nulls(
    sample: AlignedNetworks,
    n_draws: int,
    asked: bool,
    settings: Mapping[str, Any],
    rng: np.random.RandomState,
) -> list[Null]:
    """What scores would be by chance: four nulls, or three where nothing can be trained.

    ``n_draws`` of each null; if ``asked``, even where networks have to be trained for them, with
    the ``settings`` of :func:`~sklflat.training.stacking.train`.
    """
    builder, units, layer_of = sample.builder, sample.units, sample.units.layer_of
    module = sample.network.module
    few = builder.few.X
    X = torch.cat([few, sample.X])
    halves = np.arange(len(few)), np.arange(len(few), len(X))
    weight = own = None
    if sample.weight is not None:
        own = sample.weights
        weight = np.concatenate([np.ones(len(few)), own])
    line = LinearPath(sample.states[0], sample.aligned[0])
    first, last = builder.activations(line, np.array([0.0, 1.0]), units, X)
    ts = np.linspace(0, 1, _N_POINTS)

    def score(pair: tuple[nn.Module, nn.Module]) -> Scored:
        found = PathScores.of(builder.joined(pair, units, sample.X, ts, rng), own)
        return found.correlation, layer_of, found.eligible

    # every layer gets the draws that one unit needs to pass
    for_one = draws_for_one(len(layer_of)) * len(np.unique(layer_of))
    n_untrained = n_pairs(n_draws if asked else for_one, layer_of, _MAX_UNTRAINED)
    untrained = untrained_pairs((module, module), n_untrained, rng)
    nulls = [
        split_null(first, last, halves, layer_of, n_draws, rng, weight),
        rotation_null(first, last, halves, layer_of, n_draws, rng, weight),
        paired_null("untrained twins", untrained, score, layer_of),
    ]
    if sample.training is not None:
        n_trained = n_pairs(n_draws, layer_of, n_draws if asked else _MAX_TRAINED)
        trained = shuffled_label_pairs(sample.training, n_trained, rng, **settings)
        pairs = _modules(module, trained)
        nulls.append(paired_null("trained on shuffled labels", pairs, score, layer_of))
    return nulls


def _modules(like: nn.Module, pairs: Iterator[Pair]) -> Iterator[tuple[nn.Module, nn.Module]]:
    """The modules of pairs of estimators; not those of a search that chose other sizes."""
    for pair in pairs:
        first, second = (resolve(estimator).network.module for estimator in pair)
        try:
            for module in (first, second):
                check_same_architecture(like, module)
        except ValueError:
            continue
        yield first, second


def split_null(
    first: NDArray,
    last: NDArray,
    halves: tuple[NDArray, NDArray],
    layer_of: NDArray,
    n_draws: int,
    rng: np.random.RandomState,
    weight: NDArray | None = None,
) -> Null:
    r"""Correlations of units that have nothing to do with each other, matched all the same.

    A matching maximises what it is judged by. Here the rows of one network are shuffled, so that
    nothing is left to match; the units are matched anew on the first half and judged on the
    second. What a score exceeds is then neither the choice of partners nor the number of rows.
    A draw is the correlation of the ends, which no score along a path exceeds, so the null is not
    too easy for a path.

    ``first`` and ``last`` (n_samples, n_units) are the activations of the two networks, units in
    the same order of layers, within which they are matched; ``halves`` the rows to match on and
    those to judge on; ``n_draws`` those in all, of which every unit gets 30 at least. The null is
    matched: a draw belongs to the unit of the first network.
    """

    def shuffled(B: NDArray) -> NDArray:
        B = B.copy()
        for rows in halves:
            seen = rows if weight is None else rows[weight[rows] > 0]
            B[seen] = B[rng.permutation(seen)]
        return B

    draws = np.zeros((_draws_a_unit(n_draws, first), first.shape[1]))
    for draw in draws:
        unrelated = shuffled(last)
        for layer in np.unique(layer_of):
            units = layer_of == layer
            draw[units] = _matched(first[:, units], unrelated[:, units], halves, weight)
    return Null("unrelated units, matched on other rows", draws)


def rotation_null(
    first: NDArray,
    last: NDArray,
    halves: tuple[NDArray, NDArray],
    layer_of: NDArray,
    n_draws: int,
    rng: np.random.RandomState,
    weight: NDArray | None = None,
) -> Null:
    """Correlations of units with random directions of the other network's layers [1]_.

    Every layer of the second network, its units at unit variance, is read in a random orthonormal
    basis, the directions are matched to the units on the first half, and judged on the second. (The
    scale of a ReLU unit is arbitrary, and a large one would be in every direction.) A unit that
    correlates no better with its partner than with these is in a subspace that both networks have,
    but is no unit that both have.

    Parameters, and the matched null, as of :func:`split_null`.

    References
    ----------
    .. [1] W. Gurnee et al., "Universal neurons in GPT2 language models", 2024.
       https://arxiv.org/abs/2401.12181
    """
    n = _draws_a_unit(n_draws, first)
    draws = np.zeros((n, first.shape[1]))
    w = np.ones(len(last)) if weight is None else weight
    a, s = last[w > 0], w[w > 0] / w.sum()
    deviation = np.where(varying(a), np.sqrt(s @ np.square(a - s @ a)), 0.0)
    last = np.divide(last, deviation, out=np.zeros_like(last), where=deviation > 0)
    for layer in np.unique(layer_of):
        units = np.flatnonzero(layer_of == layer)
        for k, B in enumerate(random_rotations(last[:, units], n, rng)):
            draws[k, units] = _matched(first[:, units], B, halves, weight)
    return Null("random rotations of the layers", draws)


def paired_null(
    name: str,
    pairs: Iterable[Pair],
    score: Callable[[Pair], Scored],
    layer_of: NDArray,
) -> Null:
    """Scores of pairs of networks that are aligned and judged like the pair in question.

    ``score`` aligns a pair on the rows to match on, and returns on the others the units' scores,
    layers and which of them live.
    """
    return null_by_layer(name, map(score, pairs), layer_of)


def untrained_pairs(
    pair: tuple[nn.Module, nn.Module], n_pairs: int, rng: np.random.RandomState
) -> Iterator[tuple[nn.Module, nn.Module]]:
    """Twins of two modules with fresh random weights: what the data and the architecture give."""
    twins = [untrained_twins(module, n_pairs, rng) for module in pair]
    yield from zip(*twins, strict=True)


def n_pairs(n_draws: int, layer_of: NDArray, most: int) -> int:
    """Pairs of networks that give every layer its share of draws, at least two and at most `most`.

    Units are compared with draws of their own layer, so a narrow layer needs more pairs.
    ``n_draws`` are over all layers.
    """
    sizes = np.unique(layer_of, return_counts=True)[1]
    return int(np.clip(np.ceil(n_draws / len(sizes) / sizes.min()), _MIN_PAIRS, most))


def shuffled_label_pairs(
    training: TrainingSet, n_pairs: int, rng: np.random.RandomState, **settings: Any
) -> Iterator[Pair]:
    """Pairs of estimators trained on shuffled labels, from which nothing is to be learned.

    Both of a pair are given the same shuffled labels, as the pair in question was given the same
    true ones: if labels have nothing to do with the inputs, the pairs are exchangeable. Networks
    that can be stacked are trained as one stack, with the settings of
    :func:`~sklflat.training.stacking.train`. A pair of which one diverges is left out.
    """
    twins = training.train_on_shuffled_labels(n_pairs, 2, rng, **settings)
    yield from zip(twins[::2], twins[1::2], strict=True)


def _draws_a_unit(n_draws: int, A: NDArray) -> int:
    return max(_MIN_DRAWS, int(np.ceil(n_draws / A.shape[1])))


def _matched(
    A: NDArray, B: NDArray, halves: tuple[NDArray, NDArray], weight: NDArray | None
) -> NDArray:
    match, judge = halves
    rows = np.concatenate([match, judge])
    fit_on = np.arange(len(rows)) < len(match)
    own = None if weight is None else weight[rows]
    return matched_correlation(A[rows], B[rows], fit_on=fit_on, sample_weight=own).correlations
