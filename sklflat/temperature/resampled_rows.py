"""Bootstrap samples and random halves of labelled rows: what other rows might have said."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sklflat.temperature.class_similarity import class_distances, class_similarity
from sklflat.temperature.class_tree import cophenetic, grow
from sklflat.temperature.memory import n_at_once
from sklflat.temperature.stability import condensed, correlations

__all__ = ["Distances", "ResampledRows", "bootstrap_counts", "softmax_distances"]

#: distances (n_draws, n_classes, n_classes) from weights of the rows (n_draws, n_samples)
Distances = Callable[[NDArray], NDArray]


@dataclass(frozen=True, eq=False)
class ResampledRows:
    """Weights of the rows in bootstrap samples and in random halves, drawn class by class.

    Rows that depend on each other are drawn together: as groups, of the class that most of a
    group's rows are of.

    Parameters
    ----------
    bootstrap : ndarray of shape (n_draws, n_samples)
        Of every class as many rows as it has.
    first, second : ndarray of shape (n_draws, n_samples)
        Disjoint halves of the rows of every class; but a class's only row, or the rows of its only
        group, are in both.
    n_independent : ndarray of shape (n_classes,), int
        Rows of each class, or groups that have one.
    """

    bootstrap: NDArray
    first: NDArray
    second: NDArray
    n_independent: NDArray

    @classmethod
    def drawn(
        cls,
        y: NDArray,
        weight: NDArray,
        n_draws: int,
        rng: np.random.RandomState,
        groups: NDArray | None = None,
    ) -> "ResampledRows":
        """Draw as many of both.

        Parameters
        ----------
        y : ndarray of shape (n_samples,), int
        weight : ndarray of shape (n_samples,)
            Of the rows themselves.
        n_draws : int
        rng : RandomState
        groups : ndarray of shape (n_samples,), default=None
            Rows of one group depend on each other; None for rows that do not.
        """
        group = np.arange(len(y)) if groups is None else np.unique(groups, return_inverse=True)[1]
        there = weight > 0
        n_independent = np.bincount(np.unique(np.stack([y, group])[:, there], axis=1)[0])
        main = _main_classes(y, group)
        counts = bootstrap_counts(main, n_draws, rng)[:, group]
        if groups is None:
            halves = np.stack([_halves(y, rng) for _ in range(n_draws)], axis=1)
        else:
            # groups that are the only ones of their class are halved together
            strata = np.where(np.bincount(main)[main] == 1, -1, main)
            drawn = [_halves(strata, rng, one_in_both=False)[:, group] for _ in range(n_draws)]
            halves = np.stack(drawn, axis=1)
            for weights in (counts, *halves):
                _put_back_missing_classes(weights, y)
        first, second = halves * weight
        return cls(counts * weight, first, second, n_independent)

    def trees(self, distances: Distances, method: str) -> Iterator[NDArray]:
        """Linkages of the bootstrap samples."""
        for (s,) in _few_at_once(distances, self.bootstrap):
            yield from (grow(d, method) for d in distances(s))

    def agreement(self, distances: Distances, method: str, elsewhere: Distances) -> NDArray:
        """Correlation (n_draws,) of the first halves' trees with distances on the second ones."""
        found = []
        for first, second in _few_at_once(distances, self.first, self.second):
            heights = np.stack([cophenetic(grow(d, method)) for d in distances(first)])
            found.append(correlations(heights, condensed(elsewhere(second))))
        return np.concatenate(found)


def _few_at_once(distances: Distances, *weights: NDArray) -> Iterator[tuple[NDArray, ...]]:
    """Blocks of the draws whose distances fit into memory."""
    n = n_at_once(distances(weights[0][:1]).size)
    for start in range(0, len(weights[0]), n):
        yield tuple(w[start : start + n] for w in weights)


def softmax_distances(p: NDArray, y: NDArray) -> Distances:
    """Distances between classes by probabilities (n_samples, n_classes) of rows of classes y."""
    return lambda s: class_distances(class_similarity(p, y, s))


def bootstrap_counts(y: NDArray, n_draws: int, rng: np.random.RandomState) -> NDArray:
    """How often each row (n_draws, n_samples) is drawn, as many of every class as it has."""
    counts = np.zeros((n_draws, len(y)))
    for c in np.unique(y):
        own = np.flatnonzero(y == c)
        counts[:, own] = rng.multinomial(len(own), np.full(len(own), 1 / len(own)), n_draws)
    return counts


def _main_classes(y: NDArray, group: NDArray) -> NDArray:
    """The class (n_groups,) that most rows of a group are of, the first of equals."""
    pairs, counts = np.unique(np.stack([group, y]), axis=1, return_counts=True)
    order = np.lexsort((-counts, pairs[0]))
    _, first = np.unique(pairs[0][order], return_index=True)
    return np.asarray(pairs[1][order][first])


def _put_back_missing_classes(drawn: NDArray, y: NDArray) -> None:
    """Give a draw (n_draws, n_samples) all rows of a class of which its groups hold none."""
    for c in np.unique(y):
        own = y == c
        missing = ~drawn[:, own].any(axis=1)
        drawn[np.ix_(missing, own)] = 1


def _halves(y: NDArray, rng: np.random.RandomState, one_in_both: bool = True) -> NDArray:
    """Masks (2, n_samples) of random halves of the rows of every class."""
    masks = np.zeros((2, len(y)), dtype=bool)
    for c in np.unique(y):
        rows = rng.permutation(np.flatnonzero(y == c))
        n = (len(rows) + rng.randint(2)) // 2  # an odd row goes to either half
        in_both = one_in_both and len(rows) == 1
        first, second = (rows, rows) if in_both else (rows[:n], rows[n:])
        masks[0, first] = masks[1, second] = True
    return masks
