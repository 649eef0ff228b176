"""The invariant core: units that stay what they are on the way from one network to another."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata
from sklearn.utils import check_random_state

from sklflat.connectivity.core_scores import endpoint_agreement, path_icc, profile_agreement
from sklflat.probing.restricted import restricted_score

#: false discovery rates at which the core is looked at
LEVELS = (0.001, 0.01, 0.05, 0.1, 0.2)


@dataclass(frozen=True)
class CoreRestriction:
    """The network of its core only, beside what it is to be compared with.

    Attributes
    ----------
    estimator : fitted classifier or regressor
        The first network, all units outside of the core held at their means.
    n_units : int
    score : float
        Its accuracy, or R^2.
    random_scores : ndarray of shape (n_random,)
        Of as many random units, of the same layers and about the same variances.
    outside_scores : ndarray of shape (n_random,)
        The same, chosen outside of the core; empty if it is too large.
    end_scores : ndarray of shape (n_models,)
        Of the whole networks.
    """

    estimator: Any = field(repr=False)
    n_units: int
    score: float
    random_scores: NDArray
    outside_scores: NDArray
    end_scores: NDArray

    @property
    def p_value(self) -> float:
        """Share of random choices, this one included, that score at least as high."""
        b = np.count_nonzero(self.random_scores >= self.score)
        return float((b + 1) / (len(self.random_scores) + 1))


@dataclass(frozen=True)
class InvariantCore:
    """Units of the first network that keep their activation profiles along the path.

    Attributes
    ----------
    before, after : ndarray of shape (n_units,)
        Least correlation along the path with the profile at its start, of the path as it is and
        repaired (NaN without repair).
    icc_before, icc_after : ndarray of shape (n_units,)
        Intraclass correlation over the points of the path.
    ends : ndarray of shape (n_units,)
        Correlation of the two ends, for which no path is needed: the baseline.
    path_variance : ndarray of shape (n_units,)
        Variance along the path relative to all, as the idea was first stated; dead units have
        none, so it is no evidence.
    eligible : ndarray of shape (n_units,), bool
        Units with a signal at both ends.
    """

    before: NDArray
    after: NDArray
    icc_before: NDArray
    icc_after: NDArray
    ends: NDArray
    path_variance: NDArray
    eligible: NDArray
    _probe: Any = field(repr=False)
    _halves: tuple[NDArray, NDArray] = field(repr=False)

    @property
    def mask(self) -> NDArray:
        """The core (n_units,), bool: the units that the probe selects."""
        return self._probe.support_

    def __len__(self) -> int:
        return int(self.mask.sum())

    def restrict(
        self, X: Any, y: Any, *, n_random: int = 20, random_state: Any = None
    ) -> CoreRestriction:
        """The first network with its core only.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Data to score on, preferably not those that the core was found on.
        y : array-like of shape (n_samples,)
        n_random : int, default=20
            Choices of other units that it is compared with.
        random_state : int, RandomState instance or None, default=None

        Returns
        -------
        CoreRestriction
        """
        rng = check_random_state(random_state)
        found = self._probe.restrict(X, y, n_random=n_random, random_state=rng)
        outside = [
            restricted_score(self._probe, mask, X, y)
            for mask in (self._outside(rng) for _ in range(n_random))
            if mask is not None
        ]
        ends = [estimator.score(X, y) for estimator in self._probe.estimators_]
        return CoreRestriction(
            found.estimator,
            found.n_units,
            found.score,
            found.random_scores,
            np.array(outside),
            np.array(ends),
        )

    def _outside(self, rng: np.random.RandomState) -> NDArray | None:
        """As many live units outside of the core, layer by layer; None if there are too few."""
        probe = self._probe
        mask = np.zeros_like(self.mask)
        log_variance = np.log(np.maximum(probe.unit_variances_, np.finfo(float).tiny))
        for layer in range(len(probe.units_.layers)):
            own = probe.units_.layer_of == layer
            core = np.flatnonzero(own & self.mask)
            others = np.flatnonzero(own & ~self.mask & ~probe.dead_)
            if len(others) < len(core):
                return None
            for u in rng.permutation(core):
                free = others[~mask[others]]
                near = free[np.argsort(np.abs(log_variance[free] - log_variance[u]))[:3]]
                mask[rng.choice(near)] = True
        return mask

    def sensitivity(self) -> dict[str, list[dict[str, Any]]]:
        """How the core moves with what was chosen.

        Returns
        -------
        dict of str to list of dict
            ``"threshold"``: the size at several false discovery rates, and the share of units that
            it has in common with the core; ``"layer"``: size and mean score of each layer's part;
            ``"data"``: the rank correlation of scores from two halves of the rows, and how many
            units of the core are in the upper part in both.
        """
        probe = self._probe
        thresholds = []
        for level in LEVELS:
            mask = (probe.q_values_ <= level) & (probe.unit_scores_ > 0) & ~probe.dead_
            thresholds.append(
                {"q": level, "n_units": int(mask.sum()), "jaccard": self._jaccard(mask)}
            )
        layers = []
        for number, layer in enumerate(probe.units_.layers):
            own = probe.units_.layer_of == number
            layers.append(
                {
                    "layer": layer.name,
                    "n_units": int(own.sum()),
                    "n_core": int((own & self.mask).sum()),
                    "mean_score": float(probe.unit_scores_[own].mean()),
                }
            )
        return {"threshold": thresholds, "layer": layers, "data": [self._by_halves()]}

    def _jaccard(self, mask: NDArray) -> float:
        either = (mask | self.mask).sum()
        return float((mask & self.mask).sum() / either) if either else 1.0

    def _by_halves(self) -> dict[str, Any]:
        one, other = (half[self.eligible] for half in self._halves)
        if len(one) < 3 or np.ptp(one) == 0 or np.ptp(other) == 0:
            return {"rank_correlation": float("nan"), "jaccard": float("nan")}
        rank = float(np.corrcoef(rankdata(one), rankdata(other))[0, 1])
        n = max(1, len(self))
        tops = [set(np.argsort(-half)[:n].tolist()) for half in self._halves]
        common = len(tops[0] & tops[1])
        return {"rank_correlation": rank, "jaccard": common / (2 * n - common)}


@dataclass(frozen=True)
class PathScores:
    """Scores of all units along one path."""

    agreement: NDArray
    icc: NDArray
    ends: NDArray

    @classmethod
    def of(cls, path: list[NDArray], weight: NDArray | None) -> "PathScores":
        """From activations (n, n_units) at the points of a path."""
        return cls(
            profile_agreement(path, weight),
            path_icc(path),
            endpoint_agreement(path[0], path[-1], weight),
        )


def least(parts: list[NDArray]) -> NDArray:
    """The lowest score of each unit over several paths."""
    return np.min(parts, axis=0)
