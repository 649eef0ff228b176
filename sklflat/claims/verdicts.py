"""From numbers of paired seeds to a verdict that can be "refuted"."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sklflat.claims.protocol import DECISION, Comparison, DecisionRule, Protocol
from sklflat.claims.statistical_power import smallest_effect_seen
from sklflat.metrics import holm, mean_bounds, sign_flip_test

__all__ = ["Finding", "Verdict", "decide", "find", "judge"]

SUPPORTED, REFUTED, INCONCLUSIVE = "supported", "refuted", "inconclusive"
REFUSED = "no verdict"

#: metrics of one seed by arm; None for what is not defined
Readings = Mapping[str, Mapping[str, float | None]]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What paired seeds say of one comparison.

    Differences are taken so that the claim is that they are positive.

    Attributes
    ----------
    comparison : Comparison
    differences : tuple of float or None
        One a seed; None for a seed that diverged, or whose metric is not defined.
    mean, low, high : float
        With the interval; NaN for fewer than two seeds.
    p_value : float
        Two-sided, by flipping signs.
    d_z : float
        Mean in standard deviations of the differences.
    p_better : float
        Share of the seeds with a positive difference, ties counting half.
    smallest_seen : float
        The smallest mean that so many seeds see with the power of the rule, from their own spread.
    accuracy_gap : float
        Mean difference of held-out accuracy (or R^2) of both arms.
    gradient_ratio : float
        Gradient evaluations of the arm for each of the other's.
    """

    comparison: Comparison
    differences: tuple[float | None, ...]
    mean: float
    low: float
    high: float
    p_value: float
    d_z: float
    p_better: float
    smallest_seen: float
    accuracy_gap: float
    gradient_ratio: float

    @property
    def n(self) -> int:
        """Seeds with a number."""
        return sum(d is not None for d in self.differences)

    @property
    def share_missing(self) -> float:
        """Of all seeds."""
        return 1 - self.n / max(len(self.differences), 1)

    @property
    def is_negligible(self) -> bool:
        """Whether the interval lies wholly inside the smallest effect of interest."""
        delta = self.comparison.smallest_effect
        return bool(-delta < self.low and self.high < delta)

    @property
    def is_reversed(self) -> bool:
        """Whether the interval lies wholly on the side that the claim denies."""
        return bool(self.high < 0)

    def unmatched(self, rule: DecisionRule = DECISION) -> str:
        """By how much the arms differ in what they were to be matched in; empty if they do not."""
        matched_in = self.comparison.matched_in
        of_what = {"accuracy": self.accuracy_gap, "gradient evaluations": self.gradient_ratio}
        if np.isnan(of_what.get(matched_in, 0.0)):
            return f"not matched: {matched_in} of some arm is not known"
        if matched_in == "accuracy" and abs(self.accuracy_gap) > rule.accuracy_tolerance:
            return f"not matched: held-out accuracy differs by {self.accuracy_gap:+.3f}"
        if matched_in == "gradient evaluations" and abs(self.gradient_ratio - 1) > 0.01:
            return f"not matched: {self.gradient_ratio:.2f} times the gradient evaluations"
        return ""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What is said of a claim on one data set.

    Attributes
    ----------
    outcome : {"supported", "refuted", "inconclusive", "no verdict"}
    sentence : str
        With the reason, and with what the evidence is.
    p_value : float
        The largest of the primary comparisons, as all must hold.
    adjusted_p_value : float
        By Holm's method, over the claims.
    findings : tuple of Finding
        The primary ones first.
    """

    outcome: str
    sentence: str
    p_value: float
    adjusted_p_value: float
    findings: tuple[Finding, ...]

    @property
    def primary(self) -> tuple[Finding, ...]:
        """Those that the verdict depends on."""
        return tuple(f for f in self.findings if f.comparison.primary)


def find(
    comparison: Comparison,
    readings: Sequence[Readings | None],
    rule: DecisionRule = DECISION,
    random_state: int = 0,
) -> Finding:
    """One comparison over paired seeds.

    Parameters
    ----------
    comparison : Comparison
    readings : sequence of readings or None
        By seed; None for a seed that diverged.
    rule : DecisionRule, default
    random_state : int, default=0
        Of the sign flips of more than 20 seeds.

    Returns
    -------
    Finding

    Examples
    --------
    Ten seeds that all differ by about 2: of 1,024 patterns of signs two are as extreme.

    >>> from sklflat.claims import Comparison, find
    >>> comparison = Comparison(
    ...     name="ours above theirs",
    ...     metric="accuracy",
    ...     arm="ours",
    ...     against="theirs",
    ...     matched_in="gradient evaluations",
    ...     smallest_effect=0.5,
    ... )
    >>> readings = [
    ...     {"ours": {"accuracy": 2 + k / 10}, "theirs": {"accuracy": 0.0}} for k in range(10)
    ... ]
    >>> finding = find(comparison, readings)
    >>> round(finding.mean, 6), finding.p_value == 2 / 1024, finding.p_better
    (2.45, True, 1.0)
    """
    arms = (comparison.arm, comparison.against)
    differences = tuple(_difference(comparison, reading) for reading in readings)
    d = np.array([x for x in differences if x is not None], dtype=float)
    gap, ratio = (_both(readings, arms, name) for name in ("accuracy", "gradients"))
    return Finding(
        comparison=comparison,
        differences=differences,
        **_statistics(d, rule, random_state),
        accuracy_gap=float(np.mean(gap[0] - gap[1])) if gap.size else float("nan"),
        gradient_ratio=float(np.mean(ratio[0]) / np.mean(ratio[1])) if ratio.size else float("nan"),
    )


def _difference(comparison: Comparison, reading: Readings | None) -> float | None:
    """Of one seed; positive where the claim holds. None where a number is missing."""
    if reading is None:
        return None
    one = reading[comparison.arm][comparison.metric]
    other: float | None = comparison.null_value
    if comparison.against is not None:
        other = reading[comparison.against][comparison.metric]
    if one is None or other is None or not np.isfinite([one, other]).all():
        return None
    sign = 1.0 if comparison.larger_is_claimed else -1.0
    return sign * (float(one) - float(other))


def _both(
    readings: Sequence[Readings | None], arms: tuple[str, str | None], metric: str
) -> NDArray[np.float64]:
    """A metric of both arms (2, n) over the seeds that have it; of one network they are equal."""
    arms = (arms[0], arms[0] if arms[1] is None else arms[1])
    found = [[r.get(a, {}).get(metric) for a in arms] for r in readings if r is not None]
    return np.array([pair for pair in found if None not in pair], dtype=float).T


def _statistics(d: NDArray, rule: DecisionRule, random_state: int) -> dict[str, float]:
    nan = float("nan")
    if len(d) < 2:
        names = ("low", "high", "d_z", "smallest_seen")
        mean = float(d.mean()) if len(d) else nan
        better = float((d > 0).mean()) if len(d) else nan
        return {"mean": mean, "p_value": 1.0, "p_better": better} | dict.fromkeys(names, nan)
    # what mean_interval gives for all but zeros and ones, which here are no proportions
    low, high = mean_bounds(d, 1 - rule.level)
    spread = float(d.std(ddof=1))
    seen = smallest_effect_seen(len(d), rule.level / rule.n_claims, rule.power)
    return {
        "mean": float(d.mean()),
        "low": float(low),
        "high": float(high),
        "p_value": sign_flip_test(d, random_state=random_state),
        "d_z": float(d.mean()) / spread if spread > 0 else nan,
        "p_better": float(np.mean((d > 0) + 0.5 * (d == 0))),
        "smallest_seen": seen * spread,
    }


def decide(
    findings: Sequence[Finding], adjusted_p_value: float, rule: DecisionRule = DECISION
) -> tuple[str, str]:
    """The outcome of a claim and the reason, from its primary comparisons, all of which must hold.

    - *no verdict* if more than a quarter of the seeds of one has no number;
    - *inconclusive* under nine seeds;
    - *refuted* if of one the interval is wholly inside the smallest effect of interest, or wholly
      on the wrong side;
    - *supported* if all means are positive and the p-value, the largest of theirs, adjusted for
      the number of claims, is at most the level;
    - *inconclusive* otherwise.

    Parameters
    ----------
    findings : sequence of Finding
    adjusted_p_value : float
    rule : DecisionRule, default

    Returns
    -------
    outcome, reason : str

    Examples
    --------
    >>> from sklflat.claims import Comparison, decide, find
    >>> comparison = Comparison(
    ...     name="ours above theirs",
    ...     metric="accuracy",
    ...     arm="ours",
    ...     against=None,
    ...     matched_in="one network",
    ...     smallest_effect=0.5,
    ... )
    >>> for effect in (2.0, 0.1, -2.0):
    ...     readings = [{"ours": {"accuracy": effect + k / 100}} for k in range(-5, 6)]
    ...     finding = find(comparison, readings)
    ...     print(decide([finding], 7 * finding.p_value)[0])
    supported
    refuted
    refuted
    """
    worst = max(findings, key=lambda f: f.share_missing)
    if worst.share_missing > rule.max_missing:
        n = len(worst.differences)
        return REFUSED, f"{n - worst.n} of {n} seeds diverged or have no number"
    fewest = min(f.n for f in findings)
    if fewest < rule.min_seeds:
        return INCONCLUSIVE, f"{fewest} seeds can decide nothing; {rule.min_seeds} may"
    for f in findings:
        if f.is_reversed:
            return REFUTED, f"it is the other way round: {_said(f)}"
    for f in findings:
        if f.is_negligible:
            delta = f.comparison.smallest_effect
            return REFUTED, f"no effect as large as {delta:g}: {_said(f)}"
    weakest = max(findings, key=lambda f: f.p_value)
    if adjusted_p_value <= rule.level and all(f.mean > 0 for f in findings):
        return SUPPORTED, f"at the least {_said(weakest)}, p = {adjusted_p_value:.2g} after Holm"
    return INCONCLUSIVE, (
        f"{_said(weakest)}, p = {adjusted_p_value:.2g} after Holm; the smallest effect that so "
        f"many seeds see is {weakest.smallest_seen:.2g}"
    )


def _said(f: Finding) -> str:
    return f"{f.comparison.name} by {f.mean:+.3f} [{f.low:+.3f}, {f.high:+.3f}]"


def judge(
    protocols: Sequence[Protocol],
    readings: Mapping[int, Sequence[Readings | None]],
    data: str,
    rule: DecisionRule = DECISION,
) -> dict[int, Verdict]:
    """Verdicts of claims on one data set, with Holm's method over all claims of the rule.

    Claims that were not run, or cannot be on these data, count as if their p-value were 1, so that
    those that were are judged no more gently than all together would be.

    Parameters
    ----------
    protocols : sequence of Protocol
    readings : dict of int to sequence of readings or None
        Of each claim, by seed.
    data : str
    rule : DecisionRule, default

    Returns
    -------
    verdicts : dict of int to Verdict
        By number of the claim.
    """
    found = {
        p.number: [find(c, readings[p.number], rule) for c in p.comparisons_on(data)]
        for p in protocols
        if p.number in readings and p.comparisons_on(data)
    }
    primary = {k: [f for f in all_ if f.comparison.primary] for k, all_ in found.items()}
    p_values = {k: max(f.p_value for f in few) for k, few in primary.items()}
    adjusted = _adjusted(list(p_values.values()), rule)
    verdicts = {}
    for (number, few), p in zip(primary.items(), adjusted, strict=True):
        protocol = next(q for q in protocols if q.number == number)
        outcome, reason = decide(few, float(p), rule)
        others = [f for f in found[number] if not f.comparison.primary]
        verdicts[number] = Verdict(
            outcome=outcome,
            sentence=_sentence(outcome, reason, few, protocol.evidence_on(data), rule),
            p_value=p_values[number],
            adjusted_p_value=float(p),
            findings=(*few, *others),
        )
    return verdicts


def _adjusted(p_values: ArrayLike, rule: DecisionRule) -> NDArray[np.float64]:
    p = np.asarray(p_values, dtype=float)
    filled = np.r_[p, np.ones(max(rule.n_claims - len(p), 0))]
    return holm(filled)[: len(p)]


def _sentence(
    outcome: str, reason: str, findings: Sequence[Finding], evidence: str, rule: DecisionRule
) -> str:
    unmatched = {text for f in findings if (text := f.unmatched(rule))}
    parts = [reason, *sorted(unmatched), f"evidence: {evidence}"]
    return f"{outcome.capitalize()}: {'; '.join(parts)}."


def as_json(finding: Finding) -> dict[str, Any]:
    """A finding as JSON can hold it, without its comparison, which the protocol has."""
    numbers = {
        name: getattr(finding, name)
        for name in ("mean", "low", "high", "p_value", "d_z", "p_better", "smallest_seen")
    }
    numbers |= {name: getattr(finding, name) for name in ("accuracy_gap", "gradient_ratio")}
    rounded = {k: float(f"{v:.6g}") if np.isfinite(v) else None for k, v in numbers.items()}
    return {
        "name": finding.comparison.name,
        "metric": finding.comparison.metric,
        "matched_in": finding.comparison.matched_in,
        "primary": finding.comparison.primary,
        "smallest_effect": finding.comparison.smallest_effect,
        "n": finding.n,
        "unmatched": finding.unmatched(),
        **rounded,
    }
