"""The best small tree over a few coarse questions, by counting all triples of their answers."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sklflat.surrogate.trees.bins import Bins
from sklflat.surrogate.trees.layout import Layout
from sklflat.surrogate.trees.losses import Taught

#: features that are asked for, and coarse thresholds of each: of one output, of several, at depth 5
_FEATURES, _CUTS, _CUTS_OF_SEVERAL, _CUTS_OF_DEEP = 4, 7, 5, 4
#: principal directions of several outputs that are looked at
_DIRECTIONS = 3
#: up to this depth every question is tried as the root
_ALL_ROOTS = 5
#: rows that are looked at: a leaf of depth 5 has half of those of depth 4
_LOOK_ROWS, _LOOK_ROWS_OF_DEEP = 1500, 4000
#: fewer rows make a leaf
_MIN_ROWS = 8

#: number of a question, and the trees on its left and right; None is a leaf
Nested = tuple[int, Any, Any] | None


def look_ahead(bins: Bins, taught: Taught, importance: NDArray, depth: int) -> Layout:
    """A tree whose top splits may gain nothing by themselves, as in exclusive or.

    Greedy growth chooses a split by what it gains at once. Here the trees of depth 3 over a few
    questions (some thresholds of the most important features) are all compared, by squared error:
    the sums over the rows that give any three answers are one matrix product, and in these sums
    lies every such tree. To depth 5 each question is tried as the root of deeper ones; beyond, the
    root of the best tree of depth 3 is taken.

    Parameters
    ----------
    bins : Bins
    taught : Taught
    importance : ndarray of shape (n_features,)
    depth : int

    Returns
    -------
    tree : Layout
    """
    search = _Search.of(bins, taught, importance, depth)
    layout = Layout.empty(depth)
    if len(search.feature):
        _, found = search.best(np.arange(bins.numbers.shape[1]), depth, depth)
        _lay_out(found, 0, search, layout)
    return layout


def n_rows_to_look_at(depth: int) -> int:
    """How many rows decide between the trees of a depth; time is in proportion to them."""
    return _LOOK_ROWS_OF_DEEP if depth >= _ALL_ROOTS else _LOOK_ROWS


def _lay_out(found: Nested, node: int, search: "_Search", layout: Layout) -> None:
    if found is not None:
        question, left, right = found
        layout.feature[node] = search.feature[question]
        layout.cut[node] = search.cut[question]
        _lay_out(left, 2 * node + 1, search, layout)
        _lay_out(right, 2 * node + 2, search, layout)


def _spread(a: NDArray) -> NDArray:
    r"""Minus what is explained, :math:`\sum_k s_k^2 / w`, of sums (1 + n_outputs, ...)."""
    weight, sums = a[0], a[1:]
    return -np.square(sums).sum(axis=0) / np.maximum(weight, 1e-3)


@dataclass(frozen=True)
class _Search:
    """The questions, with their answers and the outputs of all rows.

    Attributes
    ----------
    feature, cut : ndarray of shape (m,)
    yes : ndarray of shape (m, n_samples), float32
        1 where a row goes right.
    outputs : ndarray of shape (1 + n_outputs, n_samples), float32
        Weights, and weighted outputs.
    """

    feature: NDArray
    cut: NDArray
    yes: NDArray
    outputs: NDArray

    @classmethod
    def of(cls, bins: Bins, taught: Taught, importance: NDArray, depth: int) -> "_Search":
        Y = taught.values - np.average(taught.values, axis=0, weights=taught.weight)
        if Y.shape[1] > 1:
            Y = Y @ np.linalg.svd(Y, full_matrices=False)[2][:_DIRECTIONS].T
        Y = Y[:, np.square(Y).sum(axis=0) > 1e-9 * np.square(Y).sum()]
        n_cuts = _CUTS if Y.shape[1] <= 1 else _CUTS_OF_SEVERAL
        n_cuts = _CUTS_OF_DEEP if depth == _ALL_ROOTS else n_cuts
        questions: list[tuple[int, int]] = []
        for feature in np.argsort(-importance, kind="stable"):
            numbers = bins.numbers[feature]
            shares = np.linspace(0, 1, n_cuts + 2)[1:-1]
            cuts = np.unique(np.quantile(numbers, shares, method="lower"))
            cuts = cuts[cuts < numbers.max(initial=0)]
            if len(questions) + len(cuts) > n_cuts * _FEATURES or importance[feature] <= 0:
                break
            questions += [(int(feature), int(cut)) for cut in cuts]
        feature, cut = np.array(questions, dtype=np.int64).reshape(-1, 2).T
        yes = (bins.numbers[feature] > cut[:, None]).astype(np.float32)
        weighted = np.vstack([taught.weight, (Y * taught.weight[:, None]).T])
        return cls(feature, cut, yes, weighted.astype(np.float32))

    def best(self, rows: NDArray, depth: int, whole: int) -> tuple[float, Nested]:
        """Value of the best tree on some rows, and the tree; `whole` is the depth from the root."""
        if depth == 0 or len(rows) < _MIN_ROWS:
            return float(_spread(self.outputs[:, rows].sum(axis=1))), None
        if depth <= 2:
            return self._shallow(rows, depth)
        value = self._value_of_roots(rows)
        found: tuple[float, Nested] = (np.inf, None)
        for j in self._roots(value, depth, whole):
            side = self.yes[j, rows] > 0
            v_left, left = self.best(rows[~side], depth - 1, whole)
            v_right, right = self.best(rows[side], depth - 1, whole)
            if v_left + v_right < found[0]:
                found = v_left + v_right, (int(j), left, right)
        return found

    def _roots(self, value: NDArray, depth: int, whole: int) -> NDArray:
        """Questions that are tried as roots, given the values of their trees of depth 3."""
        order = np.argsort(value, kind="stable")
        return order[:1] if depth == 3 or whole > _ALL_ROOTS else order

    def _sums(self, rows: NDArray) -> tuple[NDArray, NDArray, NDArray, NDArray]:
        """Yes to every question, and sums of the outputs: in all, of each question, of each two."""
        yes, outputs = self.yes[:, rows], self.outputs[:, rows]
        pairs = np.stack([(yes * v) @ yes.T for v in outputs])
        return yes, outputs.sum(axis=1), outputs @ yes.T, pairs

    def _shallow(self, rows: NDArray, depth: int) -> tuple[float, Nested]:
        _, total, one, two = self._sums(rows)
        if depth == 1:
            value = _spread(one) + _spread(total[:, None] - one)
            j = int(value.argmin())
            return float(value[j]), (j, None, None)
        left, right = _stumps(total, one, two)
        value = left.min(axis=-1) + right.min(axis=-1)
        j = int(value.argmin())
        below = [(int(side[j].argmin()), None, None) for side in (left, right)]
        return float(value[j]), (j, below[0], below[1])

    def _value_of_roots(self, rows: NDArray) -> NDArray:
        """Value (m,) of the best tree of depth 3 with each root."""
        yes, total, one, two = self._sums(rows)
        m = len(yes)
        a, b = np.triu_indices(m)
        both = yes[a] * yes[b]
        three = np.empty((len(self.outputs), m, m, m), dtype=np.float32)
        for sums, v in zip(three, self.outputs[:, rows], strict=True):
            of_pairs = (yes * v) @ both.T
            sums[:, a, b] = of_pairs
            sums[:, b, a] = of_pairs
        sides = [
            (one, two, three),
            (total[:, None] - one, one[:, None, :] - two, two[:, None] - three),
        ]
        value = np.zeros(m)
        for side in sides:
            left, right = _stumps(*side)
            value += (left.min(axis=-1) + right.min(axis=-1)).min(axis=-1)
        return value


def _stumps(total: NDArray, one: NDArray, two: NDArray) -> tuple[NDArray, NDArray]:
    """Values (..., m, m) of a second question on the left, and on the right, of a first.

    Parameters
    ----------
    total : ndarray of shape (1 + n_outputs, ...)
        Sums over all rows.
    one : ndarray of shape (1 + n_outputs, ..., m)
        Over those that say yes to each question.
    two : ndarray of shape (1 + n_outputs, ..., m, m)
        Over those that say yes to both.
    """
    second = one[..., None, :] - two
    right = _spread(two) + _spread(one[..., :, None] - two)
    left = _spread(second) + _spread(total[..., None, None] - one[..., :, None] - second)
    return left, right
