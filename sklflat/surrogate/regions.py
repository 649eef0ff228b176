"""Where surrogate, network and all models of the basin say the same, and whether that is right."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_random_state

from sklflat.surrogate.degeneracy import strata_of
from sklflat.surrogate.fidelity import Estimate, HeldOut, bootstrap_means
from sklflat.surrogate.teacher import Answers

#: how near predictions are that count as the same, in standard deviations of the network's
TOLERANCE = 0.1

ALL, SURROGATE, MODELS, NONE = (
    "surrogate, network and all models",
    "surrogate and network only",
    "network and all models only",
    "network alone",
)


@dataclass(frozen=True)
class Regions:
    """Regions of the surrogate, by who says the same as the network there.

    Attributes
    ----------
    names : tuple of str
        Of the columns: "region" (a rule), "same" (who says the same as the network), "coverage"
        (share of the held-out rows), "support" (their number), "accuracy" of the network on these,
        and "margin", their mean one.
    columns : tuple of list
    """

    names: tuple[str, ...]
    columns: tuple[list[Any], ...]

    def to_frame(self) -> Any:
        """The regions as a pandas.DataFrame, the widest first."""
        import pandas as pd

        return pd.DataFrame(dict(zip(self.names, self.columns, strict=True)))


def who_is_same(
    network: Answers, surrogate: Answers, members: Sequence[Answers]
) -> NDArray[np.int64]:
    """Which of ALL (0), SURROGATE (1), MODELS (2) and NONE (3) holds of each row (n_samples,)."""
    with_surrogate = _same(network, surrogate)
    with_models = np.ones(len(network), dtype=bool)
    for answers in members:
        with_models &= _same(network, answers)
    return np.where(with_surrogate, np.where(with_models, 0, 1), np.where(with_models, 2, 3))


def _same(a: Answers, b: Answers) -> NDArray[np.bool_]:
    if a.classes is not None:
        return a.codes == b.codes
    scale = np.where(a.values.std(axis=0) > 0, a.values.std(axis=0), 1)
    return np.asarray((np.abs(a.values - b.values) <= TOLERANCE * scale).all(axis=1))


def regions_of(
    held_out: HeldOut, who: NDArray, region: NDArray, conditions: dict[int, str], *, common: bool
) -> Regions:
    """The table of the regions of common agreement, or of all others.

    Parameters
    ----------
    held_out : HeldOut
    who : ndarray of shape (n_samples,)
        See :func:`who_is_same`.
    region : ndarray of shape (n_samples,), of int
        Leaf of each row.
    conditions : dict of int to str
        Rule of each leaf.
    common : bool
        Whether the rows on which all say the same, or the others, are listed.
    """
    s, hits = held_out.weight, held_out.hits(held_out.answers)
    margin = held_out.answers.margin
    rows: list[list[Any]] = []
    for leaf, kind in sorted(set(zip(region.tolist(), who.tolist(), strict=True))):
        if (kind == 0) != common:
            continue
        own = (region == leaf) & (who == kind)
        share = float(s[own].sum())
        means = [float(s[own] @ v[own] / share) for v in (hits, margin)] if share else [np.nan] * 2
        words = (ALL, SURROGATE, MODELS, NONE)[kind]
        rows.append([conditions[leaf], words, share, int(own.sum()), *means])
    rows.sort(key=lambda row: -row[2])
    names = ("region", "same", "coverage", "support", "accuracy", "margin")
    return Regions(names, tuple([row[j] for row in rows] for j in range(len(names))))


def gain_at_equal_margin(
    held_out: HeldOut, common: NDArray, random_state: int | np.random.RandomState | None = None
) -> Estimate:
    r"""How much more often the network is right where all say the same, at equal margin.

    In each stratum s of the margin the accuracy of the :math:`n_s` rows of common agreement less
    that of the :math:`m_s` others, averaged with the weights :math:`n_s m_s / (n_s + m_s)` of
    Mantel and Haenszel [1]_; the interval is of a bootstrap of the rows, or of
    their groups.

    Parameters
    ----------
    held_out : HeldOut
    common : ndarray of shape (n_samples,), bool
    random_state : int, RandomState instance or None, default=None

    Returns
    -------
    gain : Estimate
        NaN if no stratum has rows of both kinds.

    References
    ----------
    .. [1] N. Mantel, W. Haenszel, "Statistical aspects of the analysis of data from retrospective
       studies of disease", JNCI 1959.
    """
    rng = check_random_state(random_state)
    stratum = strata_of(held_out.answers.margin)
    own = (stratum[:, None] == np.arange(stratum.max() + 1)).astype(float)
    hits, is_common = held_out.hits(held_out.answers), common.astype(float)
    parts = [is_common * hits, is_common, (1 - is_common) * hits, 1 - is_common]
    columns = np.hstack([own * part[:, None] for part in parts])
    found = _difference(held_out.weight @ columns)
    drawn = _difference(bootstrap_means(columns, held_out.weight, rng, held_out.groups))
    drawn = drawn[np.isfinite(drawn)]
    if np.isnan(found) or not len(drawn):
        return Estimate(float("nan"), float("nan"), float("nan"))
    return Estimate(float(found), *np.quantile(drawn, [0.025, 0.975]).tolist())


def _difference(means: NDArray) -> NDArray:
    right, n, right_others, m = np.split(means, 4, axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        weight = np.where(n * m > 0, n * m / (n + m), 0)
        difference = np.where(weight > 0, right / n - right_others / m, 0)
        return (weight * difference).sum(axis=-1) / weight.sum(axis=-1)
