"""How much a path adds to what its two ends say already."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata
from scipy.stats import t as student_t
from sklearn.utils import check_consistent_length, check_random_state

from sklflat.metrics import ConfidenceInterval

#: with fewer networks nothing is decided: intervals of skewed values cover less than .90
MIN_GROUPS = 10


@dataclass(frozen=True)
class PathGain:
    """What scores along a path say beyond the correlation of the path's ends.

    Attributes
    ----------
    rank_correlation : float
        Spearman's, of the two scores over units; 0 where one of them is constant.
    r_squared : float
        Share of the variance of the path's score that a line in the other explains.
    n_units : int
        Units that are compared.
    n_changed : int or None
        Units that one score selects and the other does not.
    auc_path, auc_ends : float or None
        Areas under the ROC curve against a known truth.
    auc_difference : float or None
        The first less the second.
    auc_interval : ConfidenceInterval or None
        Of the difference, 95 %: bootstrap percentiles, and no less than Student's interval with
        the bootstrap's standard error.
    n_groups : int or None
        Networks that were resampled; of units, None.
    """

    rank_correlation: float
    r_squared: float
    n_units: int
    n_changed: int | None = None
    auc_path: float | None = None
    auc_ends: float | None = None
    auc_difference: float | None = None
    auc_interval: ConfidenceInterval | None = None
    n_groups: int | None = None

    @property
    def adds(self) -> bool | None:
        """Whether the path was shown to find more of the truth.

        None where no truth is known, and with fewer than 10 networks, which decide nothing.
        """
        if self.auc_interval is None or (self.n_groups or MIN_GROUPS) < MIN_GROUPS:
            return None
        return self.auc_interval.low > 0

    def __str__(self) -> str:
        text = (
            f"The ends explain {self.r_squared:.1%} of the path's score over {self.n_units} units "
            f"(rank correlation {self.rank_correlation:.3f})"
        )
        if self.n_changed is not None:
            text += f"; the path changes the decision on {self.n_changed}"
        if self.auc_interval is not None:
            low, high = self.auc_interval
            text += (
                f"; AUC {self.auc_path:.3f} with the path, {self.auc_ends:.3f} without, difference "
                f"{self.auc_difference:+.3f} [{low:+.3f}, {high:+.3f}]"
            )
            if self.adds is None:
                text += f", which {self.n_groups} networks do not decide"
        return text + "."


def gain_over_endpoints(
    path_scores: ArrayLike,
    end_scores: ArrayLike,
    *,
    path_selected: ArrayLike | None = None,
    end_selected: ArrayLike | None = None,
    truth: ArrayLike | None = None,
    groups: ArrayLike | None = None,
    n_resamples: int = 1000,
    random_state: int | np.random.RandomState | None = None,
) -> PathGain:
    """Compare scores of units along a path with scores from its two ends.

    If features are nearly linear along the path (layerwise linear feature connectivity [1]_), the
    two are nearly the same and the path is not worth its price.

    Parameters
    ----------
    path_scores, end_scores : arrays of shape (n_units,)
        For example least and last correlations with the start, of
        :class:`~sklflat.connectivity.core_scores.LeastCorrelation`.
    path_selected, end_selected : bool arrays of shape (n_units,), default=None
        Which units each of them selects.
    truth : bool array of shape (n_units,), default=None
        Which units are real, where that is known.
    groups : array of shape (n_units,), default=None
        The network that each unit is of. With a truth, whole networks are resampled, as units of
        one are not independent; without groups, units are.
    n_resamples : int, default=1000
        Bootstrap samples; those without both kinds of units are drawn again.
    random_state : int, RandomState instance or None, default=None

    Returns
    -------
    PathGain

    References
    ----------
    .. [1] Z. Zhou et al., "Going beyond linear mode connectivity: the layerwise linear feature
       connectivity", NeurIPS 2023. https://arxiv.org/abs/2307.08286

    Examples
    --------
    Equal ranks, and a path that corrects nothing:

    >>> from sklflat.connectivity.core_gain import gain_over_endpoints
    >>> gain = gain_over_endpoints([0.1, 0.5, 0.9], [0.2, 0.6, 1.0], truth=[False, True, True])
    >>> gain.rank_correlation, round(gain.r_squared, 12), gain.auc_difference
    (1.0, 1.0, 0.0)
    """
    path, ends = np.asarray(path_scores, dtype=float), np.asarray(end_scores, dtype=float)
    check_consistent_length(path, ends, path_selected, end_selected, truth, groups)
    changed = None
    if path_selected is not None and end_selected is not None:
        changed = int((np.asarray(path_selected) != np.asarray(end_selected)).sum())
    rank = _correlation(rankdata(path), rankdata(ends))
    common = (rank, _correlation(path, ends) ** 2, len(path), changed)
    if truth is None:
        return PathGain(*common)
    real = np.asarray(truth, dtype=bool)
    if real.all() or not real.any():
        raise ValueError(
            f"truth marks {real.sum()} of {len(real)} units as real, so no area under a ROC curve "
            "is defined: units of both kinds are needed."
        )
    a, b = _auc(real, path), _auc(real, ends)
    parts = np.arange(len(path)) if groups is None else np.asarray(groups)
    draws = _resampled(path, ends, real, parts, n_resamples, check_random_state(random_state))
    n = len(np.unique(parts))
    low, high = np.quantile(draws, [0.025, 0.975])
    if n > 1 and np.ptp(draws) > 0:
        half = student_t.ppf(0.975, n - 1) * np.std(draws) * np.sqrt(n / (n - 1))
        low, high = min(low, a - b - half), max(high, a - b + half)
    interval = ConfidenceInterval(float(low), float(high))
    return PathGain(*common, a, b, a - b, interval, None if groups is None else n)


def _resampled(
    path: NDArray,
    ends: NDArray,
    real: NDArray,
    groups: NDArray,
    n_resamples: int,
    rng: np.random.RandomState,
) -> list[float]:
    """Differences of the two areas in bootstrap samples of groups."""
    members = [np.flatnonzero(groups == g) for g in np.unique(groups)]
    draws: list[float] = []
    while len(draws) < n_resamples:
        chosen = np.concatenate([members[k] for k in rng.randint(len(members), size=len(members))])
        r = real[chosen]
        if 0 < r.sum() < len(r):
            draws.append(_auc(r, path[chosen]) - _auc(r, ends[chosen]))
    return draws


def _correlation(a: NDArray, b: NDArray) -> float:
    if len(a) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])


def _auc(real: NDArray, scores: NDArray) -> float:
    """Area under the ROC curve by Mann and Whitney's ranks, ties counted half."""
    k = np.count_nonzero(real)
    above = rankdata(scores)[real].sum() - k * (k + 1) / 2
    return float(above / (k * (len(real) - k)))
