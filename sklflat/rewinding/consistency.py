"""How consistently units come back in several trainings."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from sklflat.metrics import debiased_cka, spearman_brown
from sklflat.metrics._checks import varying
from sklflat.probing.dead_units import dead_units

#: resamples of rows and children
N_BOOTSTRAP = 100


def standardised(A: NDArray, weights: NDArray | None = None) -> NDArray:
    """Columns of weighted mean 0 and sum of squares 1, weights multiplied in; 0 where constant.

    ``A`` is (..., n, n_units), ``weights`` (n,). The product of two such columns is their
    correlation.
    """
    n = A.shape[-2]
    s = np.full(n, 1 / n) if weights is None else weights / weights.sum()
    seen = s > 0
    A, s = A[..., seen, :], s[seen]
    centred = A - np.einsum("n,...nu->...u", s, A)[..., None, :]
    centred *= np.sqrt(s)[:, None]
    length = np.sqrt(np.square(centred).sum(axis=-2, keepdims=True))
    scale = np.abs(A).max(axis=-2, keepdims=True)
    return np.where(length > 1e-12 * scale, centred / np.where(length > 0, length, 1.0), 0.0)


def matched(first: NDArray, other: NDArray, layer_of: NDArray) -> NDArray:
    """For each unit of one network its partner in the other, within layers.

    The sum of correlations on these rows is greatest; constant units are matched last.

    Parameters
    ----------
    first, other : ndarray of shape (n, n_units)
    layer_of : ndarray of shape (n_units,), int

    Examples
    --------
    >>> import numpy as np
    >>> from sklflat.rewinding.consistency import matched
    >>> A = np.random.RandomState(0).normal(size=(20, 3))
    >>> matched(A, 5 * A[:, [2, 0, 1]], np.zeros(3, dtype=int)).tolist()
    [1, 2, 0]
    """
    order = np.empty(len(layer_of), dtype=int)
    a, b = standardised(first), standardised(other)
    for layer in np.unique(layer_of):
        own = np.flatnonzero(layer_of == layer)
        rows, columns = linear_sum_assignment(a[:, own].T @ b[:, own], maximize=True)
        order[own[rows]] = own[columns]
    return order


def correlations(A: NDArray, weights: NDArray | None = None) -> NDArray:
    """Correlations (n_units, R, R) of each unit between R networks, of A (R, n, n_units)."""
    z = standardised(A, weights).transpose(2, 0, 1)
    return z @ z.transpose(0, 2, 1)


def mean_of_pairs(C: NDArray, counts: NDArray | None = None) -> NDArray:
    r"""Mean correlation (n_units,) over pairs of different networks.

    It is the intraclass correlation ICC(C,1) of activations that have been brought to one scale in
    each network, so factors and shifts of single units, which ReLU networks are free to choose, do
    not count.

    Parameters
    ----------
    C : ndarray of shape (n_units, R, R)
    counts : ndarray of shape (R,), default=None
        How often each network counts; it makes no pair with itself, however often.
    """
    m = np.ones(C.shape[1]) if counts is None else counts
    pairs = np.outer(m, m)
    np.fill_diagonal(pairs, 0.0)
    total = pairs.sum()
    if total == 0:
        return np.full(len(C), np.nan)
    return (C * pairs).sum(axis=(1, 2)) / total


def bootstrap_interval(
    A: NDArray,
    weights: NDArray | None,
    rng: np.random.RandomState,
    n_bootstrap: int = N_BOOTSTRAP,
    level: float = 0.95,
) -> tuple[NDArray, NDArray]:
    """Ends (n_units,) of the percentile interval over resampled rows and networks at once.

    A network that was drawn twice makes no pair with itself, which would correlate by 1.
    """
    R, n, _ = A.shape
    s = np.ones(n) if weights is None else weights
    draws = []
    for _ in range(n_bootstrap):
        rows = np.bincount(rng.randint(n, size=n), minlength=n)
        networks = np.bincount(rng.randint(R, size=R), minlength=R)
        while (networks > 0).sum() < 2:
            networks = np.bincount(rng.randint(R, size=R), minlength=R)
        draws.append(mean_of_pairs(correlations(A, s * rows), networks.astype(float)))
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return low, high


@dataclass(frozen=True)
class Consistency:
    """What came back in the children of one rewind point.

    Attributes
    ----------
    step : int
        The rewind point.
    scores : ndarray of shape (n_units,) or None
        Intraclass correlation of each unit over the network itself and its children, on rows that
        neither training nor matching has seen (with ``holdout=None`` on rows trained on); 0 for
        dead units. None where too many failed.
    dead : ndarray of shape (n_units,), bool, or None
        Units of the reference that are constant there.
    low, high : ndarray of shape (n_units,) or None
        Ends of the 95 % interval over rows and networks.
    reliability : ndarray of shape (n_units,) or None
        Of the mean over all of them, by Spearman and Brown's formula, in [0, 1]; a score below 0
        counts as 0.
    cka : dict of str to float
        Debiased CKA of each layer, mean over pairs: subspaces may come back where units do not.
        Rows of weight 0 are left out; other weights are not used.
    instability : float
        Mean barrier of the training error between them; infinite if too few are left.
    n_children, n_failed : int
        How many were trained, and how many of them failed (diverged).
    child_scores : ndarray of shape (n_children - n_failed,)
        Held-out accuracies (or R²), with ``holdout=None`` on rows trained on.
    reference_failed : bool
        Whether the child with the parent's own order of the rows failed.
    """

    step: int
    scores: NDArray | None = field(repr=False)
    dead: NDArray | None = field(repr=False)
    low: NDArray | None = field(repr=False)
    high: NDArray | None = field(repr=False)
    reliability: NDArray | None = field(repr=False)
    cka: dict[str, float]
    instability: float
    n_children: int
    n_failed: int
    child_scores: NDArray = field(repr=False)
    reference_failed: bool = False

    @classmethod
    def refused(cls, **known: Any) -> Self:
        """Nothing but what is known of the children."""
        known |= {"cka": {}, "instability": np.inf}
        return cls(scores=None, dead=None, low=None, high=None, reliability=None, **known)

    @property
    def is_refused(self) -> bool:
        """Whether the reference or more than a quarter of the children failed: nothing is said."""
        return self.scores is None

    @property
    def mean(self) -> float:
        """The mean score over units that live; NaN without one, or where nothing is said."""
        if self.scores is None or self.dead is None:
            return float("nan")
        return mean_of_live(self.scores, ~self.dead)

    def __str__(self) -> str:
        if self.reference_failed:
            return (
                f"rewound to step {self.step}: the reference, which has the parent's own order of "
                f"the rows, failed, as did {self.n_failed} of {self.n_children} children, so that "
                "nothing is said of what comes back"
            )
        if self.scores is None or self.dead is None:
            return (
                f"rewound to step {self.step}: {self.n_failed} of {self.n_children} children "
                "failed, which is too many to say what comes back"
            )
        cka = ", ".join(f"{name} {value:.2f}" for name, value in self.cka.items())
        return (
            f"rewound to step {self.step}: {self.n_children - self.n_failed} children, mean "
            f"consistency of {(~self.dead).sum()} units {self.mean:.2f} ({self.dead.sum()} more "
            f"are dead), instability {self.instability:.3f}, CKA by layer: {cka}"
        )


def mean_of_live(scores: NDArray, lives: NDArray) -> float:
    """The mean score over units that live; NaN if there is none."""
    return float(scores[lives].mean()) if lives.any() else float("nan")


def too_many_failed(n_failed: int, n_children: int) -> bool:
    """Whether more than a quarter failed, or too few are left for a pair."""
    return 4 * n_failed > n_children or n_failed >= n_children


@dataclass(frozen=True)
class Group:
    """Activations of the same units in several networks, the first of which is the reference.

    Parameters
    ----------
    match, score : ndarray of shape (R, n_rows, n_units)
        On the rows that units are matched on, and on those that they are scored on.
    layer_of : ndarray of shape (n_units,), int
    weights : ndarray of shape (n_rows,) or None
        Of the rows that they are scored on.
    """

    match: NDArray
    score: NDArray
    layer_of: NDArray
    weights: NDArray | None = None

    def aligned(self, reference: int = 0) -> NDArray:
        """Activations (R, n, n_units) to score, units in the order of a reference, it first."""
        others = [k for k in range(len(self.score)) if k != reference]
        orders = [matched(self.match[reference], self.match[k], self.layer_of) for k in others]
        parts = [self.score[k][:, order] for k, order in zip(others, orders, strict=True)]
        return np.stack([self.score[reference], *parts])

    def scores(self, reference: int = 0) -> tuple[NDArray, NDArray]:
        """Consistency (n_units,) of the reference's units, and which of them live."""
        A = self.aligned(reference)
        seen = slice(None) if self.weights is None else self.weights > 0
        lives = ~dead_units(A[0][seen])
        found = mean_of_pairs(correlations(A, self.weights))
        return np.where(lives, found, 0.0), lives

    def cka(self, layers: Sequence[Any]) -> dict[str, float]:
        """Debiased CKA of each layer, mean over pairs; no matching is needed for it.

        Rows of weight 0 are left out; other weights make no difference. NaN on fewer than four
        rows, of which it is not defined.
        """
        found = {}
        score = self.score if self.weights is None else self.score[:, self.weights > 0]
        if score.shape[1] < 4:
            return {layer.name: float("nan") for layer in layers}
        for index, layer in enumerate(layers):
            own = self.layer_of == index
            values = [
                debiased_cka(score[i][:, own], score[j][:, own])
                for i, j in combinations(range(len(score)), 2)
                if varying(score[i][:, own]).any() and varying(score[j][:, own]).any()
            ]
            found[layer.name] = float(np.nanmean(values)) if values else float("nan")
        return found

    def consistency(
        self, layers: Sequence[Any], rng: np.random.RandomState, n_bootstrap: int, **known: Any
    ) -> Consistency:
        """All that is said of the reference's units; ``known`` are the other attributes."""
        scores, lives = self.scores()
        low, high = bootstrap_interval(self.aligned(), self.weights, rng, n_bootstrap)
        reliability = np.asarray(spearman_brown(np.clip(scores, 0.0, 1.0), len(self.score)))
        return Consistency(
            scores=scores,
            dead=~lives,
            low=low,
            high=high,
            reliability=reliability,
            cka=self.cka(layers),
            **known,
        )
