"""The invariant core: units that stay what they are on the path from one network to another."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata
from sklearn.utils import check_random_state

from sklflat.connectivity.core_scores import PathScores
from sklflat.probing.false_discovery import FDR, discovered
from sklflat.probing.restricted import Restriction, random_choice, restrict, restricted_score
from sklflat.training.estimators.containers import own_copy

#: false discovery rates at which the core is looked at
LEVELS = (0.001, 0.01, 0.05, 0.1, 0.2)


@dataclass(frozen=True, eq=False)
class CoreRestriction(Restriction):
    """The network of its core only, beside what it is to be compared with.

    Attributes
    ----------
    estimator : fitted classifier or regressor
        The first network, all units outside of the core mean-ablated.
    n_units : int
    score : float
        Its accuracy, or R^2.
    full_score : float
        Of the whole network.
    random_scores : ndarray of shape (n_random,)
        Of as many random units, of the same layers and about the same variances.
    outside_scores : ndarray of shape (n_random,)
        The same, chosen outside of the core; empty if it is too large.
    end_scores : ndarray of shape (n_models,)
        Of the whole networks.
    """

    outside_scores: NDArray
    end_scores: NDArray


@dataclass(frozen=True, eq=False)
class InvariantCore:
    """Units of the first network that keep their activation profiles along the path.

    Attributes
    ----------
    mask : ndarray of shape (n_units,), bool
        The core: units above all nulls at a false discovery rate of 5 %, however many the probe
        selects. It may be empty.
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
    _halves: tuple[NDArray, ...] = field(repr=False)

    @classmethod
    def of(cls, plain: PathScores, repaired: PathScores | None, probe: Any) -> "InvariantCore":
        """The core of a fitted probe.

        Parameters
        ----------
        plain, repaired : PathScores
            Of the path as it is, and repaired; None without repair.
        probe : ModeConnectivityProbe
            Fitted.
        """
        scored = repaired or plain
        nothing = np.full(len(plain.eligible), np.nan)
        return cls(
            plain.correlation,
            nothing if repaired is None else repaired.correlation,
            plain.icc,
            nothing if repaired is None else repaired.icc,
            plain.ends,
            plain.variance,
            plain.eligible,
            probe,
            tuple(np.where(plain.eligible, half, 0.0) for half in scored.halves),
        )

    @property
    def mask(self) -> NDArray:
        """The core (n_units,), bool."""
        return self._at_level(FDR)

    def _at_level(self, level: float) -> NDArray:
        probe = self._probe
        return discovered(probe.q_values_, probe.dead_, probe.unit_scores_, level)

    def __len__(self) -> int:
        return int(self.mask.sum())

    def __repr__(self) -> str:
        n = len(self.eligible)
        return (
            f"<InvariantCore: {len(self)} of {n} units at a false discovery rate of {FDR:.0%}; "
            f"{n - int(self.eligible.sum())} have no signal at both ends>"
        )

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

        Raises
        ------
        ValueError
            If the core is empty. ``probe.restrict`` takes the units that the probe selects.
        """
        mask, probe = self.mask, self._probe
        if not mask.any():
            raise ValueError(
                "The core is empty: no unit is above chance. probe.restrict(X, y) reduces the "
                "network to the units that were selected all the same."
            )
        rng = check_random_state(random_state)
        found = restrict(probe, X, y, n_random, rng, mask)
        live = ~probe.dead_ & ~mask
        choices = [random_choice(probe, mask, live, rng) for _ in range(n_random)]
        outside = [
            restricted_score(probe, choice, X, y) for choice in choices if choice is not None
        ]
        ends = [estimator.score(own_copy(X), y) for estimator in probe.estimators_]
        return CoreRestriction(
            found.estimator,
            found.n_units,
            found.score,
            found.full_score,
            found.random_scores,
            np.array(outside),
            np.array(ends),
        )

    def sensitivity(self) -> dict[str, list[dict[str, Any]]]:
        """How the core depends on what was chosen.

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
            mask = self._at_level(level)
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
