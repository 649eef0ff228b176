"""Small regression trees of the same factors for many targets, all of them grown at once."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: losses that are compared at a time, so that they stay in the processor's cache
_AT_ONCE = 2**20
#: gains that differ by less are the same; of these the first question is asked
_TIE = 1e-9


@dataclass(frozen=True)
class Questions:
    """Whether factors are above thresholds: the only questions that the trees may ask.

    Attributes
    ----------
    factor : ndarray of shape (n_questions,), of int
    cut : ndarray of shape (n_questions,)
    """

    factor: NDArray[np.int64]
    cut: NDArray[np.float64]

    @classmethod
    def of(cls, F: NDArray, max_cuts: int) -> "Questions":
        """Thresholds at quantiles of each factor (n_samples, n_factors), at most `max_cuts`."""
        shares = np.linspace(0, 1, max_cuts + 2)[1:-1]
        cuts = [_between(np.unique(column), column, shares) for column in F.T]
        factor = np.repeat(np.arange(len(cuts)), [len(c) for c in cuts])
        return cls(factor, np.concatenate([np.zeros(0), *cuts]))

    def answers(self, F: NDArray) -> NDArray[np.float64]:
        """1 where a row's factor is above the threshold, else 0, (n_questions, n_samples)."""
        return (F.T[self.factor] > self.cut[:, None]).astype(np.float64)


def _between(values: NDArray, column: NDArray, shares: NDArray) -> NDArray:
    """Thresholds half way between two values; of many, those at quantiles of the rows."""
    if len(values) - 1 <= len(shares):
        return (values[1:] + values[:-1]) / 2
    at = np.searchsorted(values, np.quantile(column, shares, method="lower"))
    at = np.unique(at[at < len(values) - 1])
    return (values[at] + values[at + 1]) / 2


def predict_by_trees(
    F: NDArray, A: NDArray, F_left: NDArray, max_depth: int, max_cuts: int
) -> NDArray[np.float64]:
    """Predictions (n_left, n_targets) of a tree for each column of A (n_samples, n_targets).

    The sums over the rows that answer a question with yes are one matrix product for all targets
    and nodes of a level. Of two children only one is summed up; the other has the rest.
    """
    questions = Questions.of(F, max_cuts)
    if not len(questions.factor):
        return np.tile(A.mean(axis=0), (len(F_left), 1))
    yes, yes_left = questions.answers(F), questions.answers(F_left)
    size = max(1, _AT_ONCE // (len(yes) * 2 ** (max_depth - 1)))
    parts = [
        _grown(yes, A[:, start : start + size], yes_left, max_depth)
        for start in range(0, A.shape[1], size)
    ]
    return np.hstack(parts)


def _grown(yes: NDArray, A: NDArray, yes_left: NDArray, max_depth: int) -> NDArray[np.float64]:
    n, n_targets = A.shape
    rows, targets = np.arange(n)[:, None], np.arange(n_targets)
    node = np.zeros((n, n_targets), dtype=np.int64)
    node_left = np.zeros((yes_left.shape[1], n_targets), dtype=np.int64)
    sums = _sums(yes, node, A, 1)
    for level in range(max_depth):
        asked, is_split = _best_questions(*sums)
        for of, answers in ((node, yes), (node_left, yes_left)):
            q = asked[targets, of]
            right = answers[q, np.arange(len(of))[:, None]] * is_split[targets, of]
            of[:] = 2 * of + right.astype(np.int64)
        if level + 1 < max_depth:
            first = _sums(yes, np.where(node % 2, -1, node // 2), A, 2**level)
            sums = tuple(_both(own, whole) for own, whole in zip(first, sums, strict=True))
    place = (node + targets * 2**max_depth).ravel()
    size = np.bincount(place, minlength=n_targets * 2**max_depth)
    total = np.bincount(place, A[rows, targets].ravel(), minlength=len(size))
    means = (total / np.maximum(size, 1)).reshape(n_targets, -1)
    return np.asarray(means[targets, node_left])


def _sums(yes: NDArray, node: NDArray, A: NDArray, m: int) -> tuple[NDArray, ...]:
    """Counts and sums over nodes' rows: with the answer yes (n_targets, m, n_questions), and all.

    Rows of no node have the number -1.
    """
    inside = (node.T[:, None] == np.arange(m)[:, None]).astype(np.float64)
    weighted = inside * A.T[:, None]
    shape = (*inside.shape[:2], -1)
    counts, sums = (
        (part.reshape(-1, len(node)) @ yes.T).reshape(shape) for part in (inside, weighted)
    )
    return counts, sums, inside.sum(axis=2), weighted.sum(axis=2)


def _both(first: NDArray, whole: NDArray) -> NDArray:
    """Sums of both children of each node (n_targets, 2 m, ...), from those of its first child."""
    n_targets, m = first.shape[:2]
    both = np.stack([first, whole - first], axis=2)
    return both.reshape(n_targets, 2 * m, *first.shape[2:])


def _best_questions(
    counts: NDArray, sums: NDArray, count: NDArray, total: NDArray
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """What each node of each target asks (n_targets, m), and whether that explains anything."""
    mean = total / np.maximum(count, 1)
    gain = sums - counts * mean[:, :, None]
    np.square(gain, out=gain)
    # N yes and M - N no explain S² / N + S² / (M - N) = S² M / (N (M - N)); M is all questions'
    both = count[:, :, None] - counts
    both *= counts
    gain /= np.maximum(both, 0.5, out=both)
    best = gain.max(axis=2)
    tie = _TIE / np.maximum(count, 1)
    return (gain >= (best - tie)[:, :, None]).argmax(axis=2), best > tie
