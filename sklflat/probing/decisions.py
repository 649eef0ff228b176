"""Needed, harmful, negligible or undecided: what held-out rows show of each unit."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from sklflat.metrics import benjamini_hochberg, mean_bounds, mean_test
from sklflat.probing.false_discovery import FDR

__all__ = ["Decisions", "decide"]

#: with fewer rows nothing is decided
MIN_ROWS = 20
VERDICTS = ("needed", "harmful", "negligible", "undecided")


@dataclass(frozen=True, repr=False)
class Decisions:
    """What the rows decide about every unit; ``print`` it.

    The rise of a unit is how much the expected loss on rows like these rises when the unit is
    fixed at its mean.

    Attributes
    ----------
    verdict : ndarray of shape (n_units,), str
        ``"needed"``: the rise is shown to be above 0. ``"harmful"``: below 0. ``"negligible"``:
        within ``margin`` on both sides. ``"undecided"``: none of these is shown.
    rise : ndarray of shape (n_units,)
        In the unit of the loss.
    low, high : ndarray of shape (n_units,)
        Ends of its 95 % interval over rows, for each unit alone.
    p_needed, p_harmful, p_negligible : ndarray of shape (n_units,)
        A small one rejects that the rise is at most 0, at least 0, outside of the margin.
    margin : float
        In the unit of the loss.
    n_rows : int
        Rows of positive weight.
    rows_for_half : float
        About how many rows would decide half of the units that are undecided; NaN where none is.
    n_groups : int or None
        Groups of rows, or blocks of a series, each of which decides as one; None without any.
    parts : {"groups", "blocks"}
        What these are.
    n_effective : float
        How many rows (or groups) of equal weight are worth as much.
    """

    verdict: NDArray
    rise: NDArray
    low: NDArray
    high: NDArray
    p_needed: NDArray
    p_harmful: NDArray
    p_negligible: NDArray
    margin: float
    n_rows: int
    rows_for_half: float
    n_groups: int | None = None
    parts: str = "groups"
    n_effective: float = np.inf

    def count(self, verdict: str) -> int:
        """How many units have this verdict."""
        return int((self.verdict == verdict).sum())

    def finding(self, u: int) -> str:
        """What is decided about unit u, in a line."""
        ends = f"{self.low[u]:.4g} to {self.high[u]:.4g}"
        said = f"{self.verdict[u]}: rise of the loss {self.rise[u]:.4g}, 95 % interval {ends}"
        if self.verdict[u] in ("negligible", "undecided"):
            said += f" (negligible are {self.margin:.2g} and less)"
        return said

    def _counts(self) -> str:
        counts = ", ".join(f"{self.count(v)} {v}" for v in VERDICTS)
        rows = f"{self.n_rows} rows"
        rows += "" if self.n_groups is None else f" in {self.n_groups} {self.parts}"
        return f"{rows}, {len(self.verdict)} units: {counts}"

    def __repr__(self) -> str:
        return f"Decisions({self._counts()})"

    def __str__(self) -> str:
        text = f"{self._counts()}."
        if not self.count("undecided"):
            return text
        if (self.n_groups or self.n_rows) < MIN_ROWS:
            what = "rows" if self.n_groups is None else self.parts
            text += f" Fewer than {MIN_ROWS} {what} decide nothing."
        elif self.n_effective < MIN_ROWS:
            text += f" By their weights they are worth {self.n_effective:.0f} of equal weight"
            text += f": fewer than {MIN_ROWS} decide nothing."
        if not np.isfinite(self.rows_for_half):
            return text
        if self.rows_for_half <= self.n_rows:
            return text + " Few more would decide half of the undecided."
        if self.rows_for_half > 1000 * self.n_rows:
            return text + " More than 1,000 times as many rows would decide half of the undecided."
        return text + f" About {_rounded(self.rows_for_half):,} would decide half of the undecided."


def decide(
    rises: NDArray,
    *,
    margin: float,
    n_effective: float,
    constant: NDArray | None = None,
    n_rows: int | None = None,
    parts: str = "groups",
) -> Decisions:
    """Decisions from the rise of the loss of every row.

    Each is the rejection of its complement by :func:`~sklflat.metrics.mean_test`. Of those that
    are said to be negligible, and of those that are said to be needed or harmful together, at
    most 5 % are expected to be false (Benjamini-Hochberg). What is shown to be negligible is
    called neither needed nor harmful, however sure its sign.

    Parameters
    ----------
    rises : ndarray of shape (n_rows, n_units)
        Paired differences of the loss, whose means are the rises.
    margin : float
        Rises up to this are negligible.
    n_effective : float
        How many rows of equal weight are worth as much; fewer than 20 decide nothing.
    constant : ndarray of shape (n_units,), bool, default=None
        Units whose rise is 0 whatever the rows.
    n_rows : int, default=None
        Rows, where those of ``rises`` are groups or blocks of them.
    parts : {"groups", "blocks"}, default="groups"
        What these are.

    Returns
    -------
    Decisions

    Examples
    --------
    >>> import numpy as np
    >>> from sklflat.probing.decisions import decide
    >>> noise = np.random.RandomState(0).normal(size=(400, 3))
    >>> found = decide(noise + [1, 0, 0.1], margin=0.3, n_effective=400)
    >>> found.verdict.tolist()
    ['needed', 'negligible', 'negligible']
    >>> found
    Decisions(400 rows, 3 units: 1 needed, 0 harmful, 2 negligible, 0 undecided)
    """
    n, k = rises.shape
    rows_each = 1.0 if n_rows is None else n_rows / max(1, n)
    constant = np.zeros(k, dtype=bool) if constant is None else constant
    x = np.where(constant, 0.0, rises)
    n_groups = None if n_rows is None or n_rows == n else n
    if n < 2:
        return _nothing(x, constant, margin, n_rows or n, n_groups, parts)
    above, below = mean_test(x)
    outside = np.maximum(mean_test(x, margin).less, mean_test(x, -margin).greater)
    p = np.stack([np.atleast_1d(q) for q in (above, below, outside)])
    p[:, constant] = np.array([1.0, 1.0, 0.0])[:, None]
    low, high = mean_bounds(x)
    verdict, threshold = _verdicts(p, n_effective)
    missing = _rows_for_half(x, verdict, margin, threshold)
    return Decisions(
        verdict, x.mean(axis=0), np.atleast_1d(low), np.atleast_1d(high),
        p[0], p[1], p[2], margin, n_rows or n, missing * rows_each,
        n_groups, parts, n_effective,
    )  # fmt: skip


def _nothing(
    x: NDArray, constant: NDArray, margin: float, n_rows: int, n_groups: int | None, parts: str
) -> Decisions:
    """Of a single row: nothing, but of units whose rise is 0 whatever the rows."""
    k = x.shape[1]
    verdict = np.where(constant, "negligible", "undecided")
    end = np.where(constant, 0.0, np.inf)
    p, ones = np.where(constant, 0.0, 1.0), np.ones(k)
    rise = x.mean(axis=0) if len(x) else np.zeros(k)
    return Decisions(
        verdict, rise, -end, end, ones, ones, p, margin, n_rows, np.nan, n_groups, parts
    )


def _verdicts(p: NDArray, n_effective: float) -> tuple[NDArray, float]:
    """What is decided, and the p-value that would decide half of the rest, too."""
    above, below, outside = p
    verdict = np.full(len(above), "undecided", dtype="<U10")
    level = FDR if n_effective >= MIN_ROWS else 0.0
    verdict[benjamini_hochberg(outside) <= level] = "negligible"
    known = verdict == "negligible"
    # p-values that are raised stay valid
    both = np.concatenate([np.where(known, 1.0, above), np.where(known, 1.0, below)])
    found = benjamini_hochberg(both).reshape(2, -1) <= level
    verdict[found[0]], verdict[found[1]] = "needed", "harmful"
    left = (verdict == "undecided").sum()
    return verdict, FDR * max(1.0, found.sum() + left / 2) / len(both)


def _rows_for_half(x: NDArray, verdict: NDArray, margin: float, threshold: float) -> float:
    """About how many rows would decide half of the units that are undecided.

    The square of a rise is taken less what its own error adds to it.
    """
    left = verdict == "undecided"
    if not left.any():
        return np.nan
    variance = x[:, left].var(axis=0, ddof=1)
    size = np.sqrt(np.maximum(x[:, left].mean(axis=0) ** 2 - variance / len(x), 0))
    distance = np.maximum(size, margin - size)  # to the nearer claim that may be true
    with np.errstate(divide="ignore"):
        rows = norm.isf(threshold) ** 2 * variance / distance**2
    return float(np.median(np.maximum(rows, MIN_ROWS)))


def _rounded(rows: float) -> int:
    """To two digits, as more are not known."""
    scale = 10 ** max(int(np.floor(np.log10(rows))) - 1, 0)
    return int(np.ceil(rows / scale) * scale)
