"""The best small tree over a few coarse questions, by counting all triples of their answers."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sklflat.surrogate.trees.bins import Bins
from sklflat.surrogate.trees.layout import Layout
from sklflat.surrogate.trees.losses import Taught

#: features that are asked for, and coarse thresholds of each: of one output, of several
_FEATURES, _CUTS, _CUTS_OF_SEVERAL = 4, 7, 5
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
    search = _Search.of(bins, taught, importance)
    layout = Layout.empty(depth)
    if len(search.feature):
        ahead = depth if depth <= _ALL_ROOTS else 3
        found = search.best(np.arange(bins.numbers.shape[1]), depth, ahead)
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
    def of(cls, bins: Bins, taught: Taught, importance: NDArray) -> "_Search":
        Y = taught.main_directions()
        n_cuts = _CUTS if Y.shape[1] <= 1 else _CUTS_OF_SEVERAL
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

    def best(self, rows: NDArray, depth: int, ahead: int) -> Nested:
        """The best tree on some rows, whose roots are chosen by the best trees so far ahead."""
        if depth == 0 or len(rows) < _MIN_ROWS:
            return None
        if depth <= 2:
            return self._shallow(rows, depth)
        j = int(self._values(rows, min(depth, ahead)).argmin())
        no, yes = (rows[self.yes[j, rows] == side] for side in (0, 1))
        return j, self.best(no, depth - 1, ahead), self.best(yes, depth - 1, ahead)

    def _values(self, rows: NDArray, depth: int) -> NDArray[np.float64]:
        """Value (m,) of the best tree of depth 3 to 5 with each root."""
        if depth == 3:
            return self._sums(rows).values_of_roots()
        whole = self._sums(rows) if depth == 4 else None
        found = []
        for answer in self.yes[:, rows]:
            no, yes = rows[answer == 0], rows[answer == 1]
            if whole is None:
                found.append(sum(self._values(side, 4).min() for side in (no, yes)))
            else:  # what is not on the smaller side is on the other
                few = self._sums(min(no, yes, key=len))
                found.append(sum(sums.values_of_roots().min() for sums in (few, whole.less(few))))
        return np.array(found)

    def _pairs(self, rows: NDArray) -> tuple[NDArray, NDArray, NDArray]:
        yes, outputs = self.yes[:, rows], self.outputs[:, rows]
        return yes, outputs, np.stack([(yes * v) @ yes.T for v in outputs])

    def _sums(self, rows: NDArray) -> "_Sums":
        yes, outputs, pairs = self._pairs(rows)
        m = len(yes)
        a, b = np.triu_indices(m)
        both = yes[a] * yes[b]
        triples = np.empty((len(outputs), m, m, m), dtype=np.float32)
        for sums, v in zip(triples, outputs, strict=True):
            of_pairs = (yes * v) @ both.T
            sums[:, a, b] = of_pairs
            sums[:, b, a] = of_pairs
        return _Sums(outputs.sum(axis=1), outputs @ yes.T, pairs, triples)

    def _shallow(self, rows: NDArray, depth: int) -> Nested:
        yes, outputs, two = self._pairs(rows)
        total, one = outputs.sum(axis=1), outputs @ yes.T
        if depth == 1:
            return int((_spread(one) + _spread(total[:, None] - one)).argmin()), None, None
        left, right = _stumps(total, one, two)
        j = int((left.min(axis=-1) + right.min(axis=-1)).argmin())
        return j, (int(left[j].argmin()), None, None), (int(right[j].argmin()), None, None)


@dataclass(frozen=True)
class _Sums:
    """Sums of weights and outputs over some rows, by their answers to one, two, three questions.

    Attributes
    ----------
    total : ndarray of shape (1 + n_outputs,)
    one, two, three : ndarray of shape (1 + n_outputs, m), (..., m, m) and (..., m, m, m)
        Over those that say yes to each question, to both, to all three.
    """

    total: NDArray
    one: NDArray
    two: NDArray
    three: NDArray

    def less(self, others: "_Sums") -> "_Sums":
        """The sums over the rows that are not those of `others`."""
        return _Sums(
            self.total - others.total,
            self.one - others.one,
            self.two - others.two,
            self.three - others.three,
        )

    def values_of_roots(self) -> NDArray[np.float64]:
        """Value (m,) of the best tree of depth 3 with each root."""
        total, one, two, three = self.total, self.one, self.two, self.three
        value = np.zeros(one.shape[1])
        for side in (
            (one, two, three),
            (total[:, None] - one, one[:, None, :] - two, two[:, None] - three),
        ):
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
