"""The best of several starts, each improved by alternation."""

import numpy as np
from numpy.typing import NDArray

from sklflat.surrogate.trees.alternating import alternate
from sklflat.surrogate.trees.bins import Bins
from sklflat.surrogate.trees.greedy import grow, importance_of
from sklflat.surrogate.trees.layout import Layout
from sklflat.surrogate.trees.lookahead import look_ahead, n_rows_to_look_at
from sklflat.surrogate.trees.losses import Taught

#: rows times features that are compared, and rows at least
_MAX_ENTRIES, _MIN_ROWS = 150_000, 1500


def search(
    bins: Bins, taught: Taught, depth: int, n_restarts: int, rng: np.random.RandomState
) -> Layout:
    """The tree that loses least.

    Starts are the tree that is grown greedily, the one of :func:`look_ahead`, and random questions
    of the features that matter. Of many rows some are drawn that all starts are compared on.

    Parameters
    ----------
    bins : Bins
    taught : Taught
    depth : int
    n_restarts : int
        Random starts.
    rng : RandomState
    """
    n_features, n = bins.numbers.shape
    most = max(_MIN_ROWS, _MAX_ENTRIES // max(n_features, 1))
    if n > most:
        rows = rng.choice(n, most, replace=False)
        bins, taught, n = bins.take(rows), taught.take(rows), most
    importance = importance_of(bins, taught)
    look = rng.choice(n, min(n, n_rows_to_look_at(depth)), replace=False)
    starts = [
        grow(bins, taught, depth)[0],
        look_ahead(bins.take(look), taught.take(look), importance, depth),
    ]
    starts += [_random(importance, bins, depth, rng) for _ in range(n_restarts)]
    found = [alternate(start, bins, taught) for start in starts]
    return min(found, key=lambda pair: pair[1])[0]


def _random(importance: NDArray, bins: Bins, depth: int, rng: np.random.RandomState) -> Layout:
    """Random thresholds of features drawn by their importance."""
    layout = Layout.empty(depth)
    sizes = np.array([len(cuts) for cuts in bins.cuts])
    p = (importance + importance.mean()) * (sizes > 0)
    if p.sum() <= 0:
        p = (sizes > 0) * 1.0
    if p.sum() > 0:
        layout.feature[:] = rng.choice(len(p), size=len(layout.feature), p=p / p.sum())
        layout.cut[:] = (rng.uniform(0.1, 0.9, len(layout.cut)) * sizes[layout.feature]).astype(int)
    return layout
