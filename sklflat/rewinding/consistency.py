"""How consistently units come back in the children of a rewind point."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from sklflat.metrics import debiased_cka, spearman_brown
from sklflat.metrics._checks import standardised, varying
from sklflat.metrics.consistency import (
    bootstrap_interval,
    mean_correlation,
    mean_of_live,
    partners,
)
from sklflat.probing.dead_units import dead_units


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
    by_chance : dict of str to float
        What the mean score is under each null; empty where none was drawn.
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
    by_chance: dict[str, float] = field(default_factory=dict)

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
        nulls = ", ".join(f"{value:.2f} by {name}" for name, value in self.by_chance.items())
        beside = f"; beside it {nulls}" if nulls else ""
        cka = ", ".join(f"{name} {value:.2f}" for name, value in self.cka.items())
        return (
            f"rewound to step {self.step}: {self.n_children - self.n_failed} children, mean "
            f"consistency of {(~self.dead).sum()} units {self.mean:.2f} ({self.dead.sum()} more "
            f"are dead{beside}), instability {self.instability:.3f}, CKA by layer: {cka}"
        )


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
    dtype : str
        Precision in which activations were computed.
    """

    match: NDArray
    score: NDArray
    layer_of: NDArray
    weights: NDArray | None = None
    dtype: str = "float64"

    @cached_property
    def _to_match(self) -> list[NDArray]:
        """Standardised activations (n, n_units) of each network, once for all its partners."""
        return [standardised(A) for A in self.match]

    @cached_property
    def _to_score(self) -> list[NDArray]:
        """Standardised activations (m, n_units) of each network, once for all references."""
        return [standardised(A, self.weights) for A in self.score]

    def _orders(self, reference: int) -> list[NDArray]:
        """Of each network the units (n_units,) that a reference's are matched with."""
        z, same = self._to_match, np.arange(len(self.layer_of))
        return [
            same if k == reference else partners(z[reference], z[k], self.layer_of)
            for k in range(len(z))
        ]

    def aligned(self, reference: int = 0) -> NDArray:
        """Activations (R, n, n_units) to score, units in the order of a reference."""
        orders = self._orders(reference)
        return np.stack([A[:, order] for A, order in zip(self.score, orders, strict=True)])

    def scores(self, reference: int = 0) -> tuple[NDArray, NDArray]:
        """Consistency (n_units,) of the reference's units, and which of them live."""
        seen = slice(None) if self.weights is None else self.weights > 0
        lives = ~dead_units(self.score[reference][seen], self.dtype)
        orders = self._orders(reference)
        aligned = [z[:, order] for z, order in zip(self._to_score, orders, strict=True)]
        return np.where(lives, mean_correlation(aligned), 0.0), lives

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
