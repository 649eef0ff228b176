"""What a claim is, written down before it is measured: arms, comparisons, and how one decides."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

__all__ = [
    "DECISION",
    "Comparison",
    "DecisionRule",
    "Protocol",
    "contrasts_with",
    "protocol_hash",
]

#: versions of this page's meaning: a results file of another one cannot be read as this one
SCHEMA = 1


@dataclass(frozen=True)
class DecisionRule:
    """How numbers of paired seeds become a verdict; the same for all claims.

    Parameters
    ----------
    level : float, default=0.05
        Of all claims together, by Holm's method, and of the interval (1 - level).
    n_claims : int, default=7
        Claims that Holm's method counts, whether or not all are run.
    min_seeds : int, default=9
        Fewer cannot reach ``level / n_claims`` by flipping signs, so they decide nothing.
    max_missing : float, default=0.25
        Share of the seeds that may diverge before there is no verdict.
    power : float, default=0.8
        At which the smallest effect that can be seen is stated.
    accuracy_tolerance : float, default=0.005
        Mean difference of accuracy up to which arms count as matched in it.
    """

    level: float = 0.05
    n_claims: int = 7
    min_seeds: int = 9
    max_missing: float = 0.25
    power: float = 0.8
    accuracy_tolerance: float = 0.005


DECISION = DecisionRule()


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One metric of one arm, seed by seed, less that of another arm or less a number.

    Parameters
    ----------
    name : str
        What is compared, in words.
    metric : str
    arm : str
        What the claim says is better.
    against : str or None
        The other arm; None compares with ``null_value``.
    matched_in : {"accuracy", "gradient evaluations", "one network"}
        What the arms have in common beside data, start and order of the rows. Of ``"one network"``
        both are readings, so both are matched.
    smallest_effect : float
        The smallest effect of interest, in units of the metric.
    where : {"planted", "real"}, default="planted"
        Data on which it is made.
    null_value : float, default=0.0
        Of the difference under the null.
    larger_is_claimed : bool, default=True
        Whether the claim is that the metric is larger, or smaller.
    primary : bool, default=True
        Whether the verdict depends on it; all that it depends on must hold.
    """

    name: str
    metric: str
    arm: str
    against: str | None
    matched_in: str
    smallest_effect: float
    where: str = "planted"
    null_value: float = 0.0
    larger_is_claimed: bool = True
    primary: bool = True


def contrasts_with(**common: Any) -> Callable[..., Comparison]:
    """Comparisons ``(name, metric, arm, against, **more)`` that have some fields in common.

    Parameters
    ----------
    **common
        Fields of :class:`Comparison`; ``more`` are others, or others than these.

    Examples
    --------
    >>> from sklflat.claims.protocol import contrasts_with
    >>> contrast = contrasts_with(smallest_effect=0.1, matched_in="accuracy")
    >>> found = contrast("ours above theirs", "recovery", "ours", "theirs", primary=False)
    >>> found.smallest_effect, found.primary
    (0.1, False)
    """

    def contrast(name: str, metric: str, arm: str, against: str | None, **more: Any) -> Comparison:
        return Comparison(name=name, metric=metric, arm=arm, against=against, **common | more)

    return contrast


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """A claim as a hypothesis that can fail, and how it is measured.

    Parameters
    ----------
    number : int
    title : str
    hypothesis : str
        One sentence.
    arms : tuple of (str, str)
        Name of each arm, and what it is.
    metric : str
        The primary metric, in words.
    null : str
        What is expected if the claim is wrong.
    planted : str
        What the evidence on planted data is.
    real : str
        What it is on real data; says so where it is a proxy.
    comparisons : tuple of Comparison
    settings : tuple of (str, float)
        Sizes of data, networks and trainings.
    data : tuple of str
        Names of the data sets on which it can be measured.
    mediators : tuple of (str, str, str), default=()
        Arm, other arm and mediator, of which it is said how much of the primary metric's
        difference goes with the mediator's.
    """

    number: int
    title: str
    hypothesis: str
    arms: tuple[tuple[str, str], ...]
    metric: str
    null: str
    planted: str
    real: str
    comparisons: tuple[Comparison, ...]
    settings: tuple[tuple[str, float], ...]
    data: tuple[str, ...]
    mediators: tuple[tuple[str, str, str], ...] = ()

    def comparisons_on(self, data: str) -> tuple[Comparison, ...]:
        """Those that are made on a data set, by its name."""
        where = "planted" if data == "planted" else "real"
        return tuple(c for c in self.comparisons if c.where == where)

    def primary_metric_on(self, data: str) -> str:
        """Name of the metric of the first comparison on a data set."""
        return self.comparisons_on(data)[0].metric

    def evidence_on(self, data: str) -> str:
        """What the evidence on a data set is."""
        return self.planted if data == "planted" else self.real

    def setting(self, name: str) -> float:
        """The value of a setting."""
        return dict(self.settings)[name]

    def count(self, name: str) -> int:
        """The value of a setting that is a whole number."""
        return int(self.setting(name))


def protocol_hash(protocols: Sequence[Protocol], rule: DecisionRule = DECISION) -> str:
    """A hash of all that protocols and the rule say: another word, number or arm changes it.

    Parameters
    ----------
    protocols : sequence of Protocol
    rule : DecisionRule, default=DECISION

    Returns
    -------
    hash : str
        16 hexadecimal digits.

    Examples
    --------
    >>> from dataclasses import replace
    >>> from sklflat.claims import DecisionRule, protocol_hash
    >>> from sklflat.claims.registry import protocols
    >>> (fourth,) = protocols([4])
    >>> protocol_hash([fourth]) == protocol_hash([replace(fourth, null="another")])
    False
    >>> protocol_hash([fourth]) == protocol_hash([fourth], DecisionRule(level=0.1))
    False
    """
    said = {"schema": SCHEMA, "rule": asdict(rule), "claims": [asdict(p) for p in protocols]}
    text = json.dumps(said, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
