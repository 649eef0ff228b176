"""Whether disagreement of surrogate and network shows where the models of the basin differ."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata
from sklearn.metrics import roc_auc_score
from sklearn.utils import check_random_state

from sklflat.metrics import monte_carlo_p_values
from sklflat.surrogate.teacher import Answers

#: strata of equal margin, at least; and rows of one, at most
_N_STRATA, _STRATUM_ROWS = 10, 20
#: of the polynomial of the margin that is taken off
_DEGREE = 5
_LEVEL = 0.05


@dataclass(frozen=True)
class DegeneracyTest:
    """Whether the rows on which surrogate and network differ are those that the basin leaves free.

    Attributes
    ----------
    source : str
        Where the models come from.
    n_models : int
    auc : float
        Probability that of two rows of equal margin, of which surrogate and network differ on one,
        the models of the basin vary more on that one (than its margin lets expect); 0.5 is chance.
        NaN if there is no such pair.
    p_value : float
        Of the area, by permutation among rows of equal margin.
    correlation : float
        Of the ranks, within strata of equal margin, of how far surrogate and network are apart and
        of how much the models vary.
    correlation_p_value : float
    auc_all : float
        As `auc`, but of any two rows: what the margin explains is in it.
    auc_margin : float
        Of the margin alone: how often it is the smaller where surrogate and network differ.
    """

    source: str
    n_models: int
    auc: float
    p_value: float
    correlation: float
    correlation_p_value: float
    auc_all: float
    auc_margin: float

    @property
    def verdict(self) -> str:
        """What the test allows to say, in words."""
        if np.isnan(self.auc):
            return "undecided: no two rows of equal margin differ in whether they agree"
        if self.p_value <= _LEVEL:
            return "disagreement shows where the basin varies, beyond the margin"
        return "not supported: disagreement says nothing of the basin beyond the margin"

    def __str__(self) -> str:
        numbers = f"{self.n_models} models, AUC {self.auc:.2f}, p = {self.p_value:.2g}"
        return f"{self.source}: {self.verdict} ({numbers})"


def output_variance(members: Sequence[Answers]) -> NDArray[np.float64]:
    """Variance (n_samples,) over models of their outputs, summed over outputs.

    Examples
    --------
    >>> import numpy as np
    >>> from sklflat.surrogate.degeneracy import output_variance
    >>> from sklflat.surrogate.teacher import Answers
    >>> output_variance([Answers(np.array([[1.0], [2.0]]), None), Answers(np.zeros((2, 1)), None)])
    array([0.25, 1.  ])
    """
    return np.stack([answers.values for answers in members]).var(axis=0).sum(axis=1)


def apart(network: Answers, surrogate: Answers) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Whether two models differ on each row, and by how much.

    Of classes: in the label, and by the total variation distance of the probabilities. Of
    predictions: by more than the median row, and by the distance itself.
    """
    if network.classes is not None:
        distance = np.abs(network.proba - surrogate.proba).sum(axis=1) / 2
        return network.codes != surrogate.codes, distance
    distance = np.linalg.norm(network.values - surrogate.values, axis=1)
    return distance > np.median(distance), distance


def strata_of(margin: NDArray) -> NDArray[np.int64]:
    """Strata (n_samples,) of about equal margin: deciles, or smaller ones of at most 20 rows.

    In a decile of thousands of rows the margin still varies, and all that depends on it.
    """
    n = len(margin)
    n_strata = max(1, min(max(_N_STRATA, int(np.ceil(n / _STRATUM_ROWS))), n // 2))
    order = np.argsort(np.argsort(margin, kind="stable"), kind="stable")
    return order * n_strata // n


def beyond_margin(values: NDArray, margin: NDArray) -> NDArray[np.float64]:
    """What is left of the ranks of values (n_samples,) by the ranks of the margin.

    Their best polynomial of degree 5 (less, for few rows) is taken off: rows of a decile still
    differ in margin, and whatever depends on it would be correlated in all deciles.
    """
    n = len(values)
    ranks, at = rankdata(values) / n, 2 * rankdata(margin) / n - 1
    P = np.polynomial.legendre.legvander(at, min(_DEGREE, n // _STRATUM_ROWS))
    left = ranks - P @ np.linalg.lstsq(P, ranks, rcond=None)[0]
    return np.asarray(np.round(left, 12))  # ties stay ties


def degeneracy_test(
    differs: NDArray,
    distance: NDArray,
    variance: NDArray,
    margin: NDArray,
    *,
    source: str = "given",
    n_models: int = 0,
    n_permutations: int = 999,
    random_state: int | np.random.RandomState | None = None,
) -> DegeneracyTest:
    """Test whether disagreement predicts the variance over the basin, at equal margin.

    Both are greatest near the decision boundary, so rows are compared with rows of about the same
    margin only, in deciles (or smaller strata, where these would have more than 20 rows), after
    what the margin explains was taken off: see :func:`beyond_margin`. Under the null the variances
    of a stratum's rows are in random order.

    Parameters
    ----------
    differs : ndarray of shape (n_samples,), bool
        Whether surrogate and network differ.
    distance : ndarray of shape (n_samples,)
        By how much.
    variance : ndarray of shape (n_samples,)
        Of the outputs, over the models of the basin.
    margin : ndarray of shape (n_samples,)
        Of the network.
    source : str, default="given"
    n_models : int, default=0
    n_permutations : int, default=999
    random_state : int, RandomState instance or None, default=None

    Returns
    -------
    test : DegeneracyTest

    Examples
    --------
    Where the variance is 1 on just the rows that differ, every pair is in order:

    >>> import numpy as np
    >>> from sklflat.surrogate.degeneracy import degeneracy_test
    >>> differs = np.arange(100) % 4 == 0
    >>> test = degeneracy_test(
    ...     differs, differs * 1.0, differs * 1.0, np.arange(100), random_state=0
    ... )
    >>> test.auc, test.p_value
    (1.0, 0.001)
    """
    rng = check_random_state(random_state)
    stratum = strata_of(margin)
    left = [beyond_margin(values, margin) for values in (distance, variance)]
    d, v = (_ranks(values, stratum) for values in left)
    positive = np.asarray(differs, dtype=float)
    pairs, smallest = _pairs(positive, stratum)
    norm = float(np.sqrt(np.square(d).sum() * np.square(v).sum()))
    # ranks from 1 in each stratum give the count of pairs in order
    ranks = _ranks(left[1], stratum, centred=False)
    in_order = float(positive @ ranks - smallest)
    drawn = np.empty((n_permutations, 2))
    for i in range(n_permutations):
        order = _shuffled(stratum, rng)
        drawn[i] = ranks[order] @ positive - smallest, v[order] @ d
    p_auc = p_correlation = 1.0
    if pairs:
        p_auc = _p(in_order, drawn[:, 0])
    if norm > 0:
        p_correlation = _p(float(d @ v), drawn[:, 1])
    both = 0 < positive.sum() < len(positive)
    return DegeneracyTest(
        source,
        n_models,
        float(in_order / pairs) if pairs else float("nan"),
        p_auc,
        float(d @ v / norm) if norm > 0 else float("nan"),
        p_correlation,
        float(roc_auc_score(positive, variance)) if both else float("nan"),
        float(roc_auc_score(positive, -np.asarray(margin))) if both else float("nan"),
    )


def _p(observed: float, drawn: NDArray) -> float:
    return float(monte_carlo_p_values(np.array([observed]), drawn)[0])


def _ranks(values: NDArray, stratum: NDArray, centred: bool = True) -> NDArray[np.float64]:
    """Ranks within strata, from 1; or centred, and relative to the stratum's size."""
    ranks = np.empty(len(values))
    for s in np.unique(stratum):
        own = stratum == s
        r = rankdata(values[own])
        ranks[own] = (r - r.mean()) / len(r) if centred else r
    return ranks


def _pairs(positive: NDArray, stratum: NDArray) -> tuple[float, float]:
    """Pairs of a positive and a negative in one stratum; the least sum of the positives' ranks."""
    n_positive = np.bincount(stratum, weights=positive)
    n_negative = np.bincount(stratum) - n_positive
    return float(n_positive @ n_negative), float((n_positive * (n_positive + 1) / 2).sum())


def _shuffled(stratum: NDArray, rng: np.random.RandomState) -> NDArray[np.int64]:
    """An order of the rows in which each is replaced by one of its own stratum."""
    by_stratum = np.argsort(stratum, kind="stable")
    shuffled = np.lexsort((rng.uniform(size=len(stratum)), stratum))
    order = np.empty(len(stratum), dtype=np.int64)
    order[by_stratum] = shuffled
    return order
