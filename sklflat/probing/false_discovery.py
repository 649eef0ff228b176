"""The false discovery rate (Benjamini-Hochberg): from p-values to the units that are selected."""

from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sklflat.exceptions import NothingFoundWarning, warn
from sklflat.metrics import benjamini_hochberg

#: false discovery rate of ``n_units="auto"``
FDR = 0.05


def n_pooled_draws(n_null: int | str, n_units: int) -> int:
    """Null draws that Benjamini-Hochberg needs: with fewer, no unit could ever pass."""
    return max(2000, draws_for_one(n_units)) if n_null == "auto" else int(n_null)


def draws_for_one(n_units: int) -> int:
    """Draws with which a unit can pass that is alone among ``n_units``."""
    return int(np.ceil(n_units / FDR))


def n_to_pass(least: NDArray, dead: NDArray) -> int | None:
    """How many units would have to be beyond all draws for any of them to pass.

    1 is what one wants: a unit that is alone can be found. None, if no number is enough.

    Parameters
    ----------
    least : ndarray of shape (n_units,)
        Least p-values that the null's draws allow.
    dead : ndarray of shape (n_units,), bool

    Examples
    --------
    One of 16 units has to reach p = .05 / 16, two of them .1 / 16:

    >>> import numpy as np
    >>> from sklflat.probing.false_discovery import n_to_pass
    >>> [n_to_pass(np.full(16, p), np.zeros(16, dtype=bool)) for p in (0.003, 0.006, 0.06)]
    [1, 2, None]
    """
    best = np.sort(least[~dead])
    passing = np.flatnonzero(best <= FDR * np.arange(1, len(best) + 1) / max(1, len(best)))
    return int(passing[0]) + 1 if len(passing) else None


def q_values(p_values: NDArray, dead: NDArray) -> NDArray:
    """Benjamini-Hochberg's adjusted p-values over the units that live; 1 for dead ones."""
    q = np.ones_like(p_values)
    if not dead.all():
        q[~dead] = benjamini_hochberg(p_values[~dead])
    return q


def discovered(
    q: NDArray, dead: NDArray, scores: NDArray | None = None, level: float = FDR
) -> NDArray[np.bool_]:
    """Mask (n_units,) of living units whose null is rejected; with scores, of those above 0.

    Parameters
    ----------
    q : ndarray of shape (n_units,)
        See :func:`q_values`.
    dead : ndarray of shape (n_units,), bool
    scores : ndarray of shape (n_units,) or None
    level : float
        The false discovery rate.
    """
    found = (q <= level) & ~dead
    return found if scores is None else found & (scores > 0)


@dataclass(frozen=True)
class Discoveries:
    """Units whose null is rejected at a false discovery rate of 5 %.

    Parameters
    ----------
    found : ndarray of shape (n_units,), bool
    p_values : ndarray of shape (n_units,)
        The unit with the smallest is the best one where none is found.
    if_none : str
        A sentence that says so where no unit is found.
    warning : type of warning, default=NothingFoundWarning
        That it is said by.
    """

    found: NDArray
    p_values: NDArray
    if_none: str
    warning: type[Warning] = NothingFoundWarning


def resolution(least: NDArray, dead: NDArray) -> str:
    """A sentence where a unit that is alone could not be found; empty where it could."""
    k, n = n_to_pass(least, dead), int((~dead).sum())
    too_few = int((least[~dead] > FDR / max(1, n)).sum())
    if n == 0 or too_few == 0:
        return ""
    if k == 1:
        return (
            f" {too_few} of {n} units could not pass alone, as there are too few draws for their "
            "layers. Raise n_null, or name these layers only."
        )
    enough = f"{k} of {n} units at once" if k else f"even all {n} units at once"
    return (
        f" With so few draws a unit that is alone cannot pass, and {enough} "
        f"{'would have to' if k else 'could not'}. Raise n_null, or name fewer layers."
    )


def above_chance(
    scores: NDArray, p: NDArray, q: NDArray, least: NDArray, dead: NDArray
) -> Discoveries:
    """Units that score above 0 and above what the null draws.

    ``least`` are the p-values that the draws allow.
    """
    lowest = p.min()
    # more draws would find nothing where no unit is even beyond chance alone, though it could be
    more = resolution(least, dead) if lowest <= FDR or least.min() > FDR else ""
    return Discoveries(discovered(q, dead, scores), p, nothing_above_chance(p) + more)


def nothing_above_chance(p: NDArray) -> str:
    """A sentence that no unit scores above 0 and above chance, of the p-values (n_units,)."""
    return (
        f"No unit scores above 0 and above chance at a false discovery rate of {FDR:.0%}: the "
        f"smallest p-value of {len(p)} units is {p.min():.3g}."
    )


def select(n_units: Any, scores: NDArray, discoveries: Discoveries, dead: NDArray) -> NDArray:
    """Mask (n_units,) of the selected units; a dead one is never among them.

    ``"auto"`` takes the discoveries.
    """
    n_live = int((~dead).sum())
    if n_live == 0:
        raise ValueError(
            f"All {len(dead)} units are dead: each does the same for every sample. Check the "
            "scale of X and the training of the network, or name other layers."
        )
    if n_units is None:
        return ~dead
    if isinstance(n_units, str):
        return _found_or_best(scores, discoveries, dead)
    return _best(_count(n_units, len(dead), n_live), scores, dead)


def _count(n_units: int | float, n_all: int, n_live: int) -> int:
    if isinstance(n_units, (bool, np.bool_)):
        raise TypeError(f"n_units={n_units} is no number of units. Use n_units=None for all.")
    if not isinstance(n_units, Integral):
        return max(1, round(float(n_units) * n_live))
    if n_units > n_all:
        raise ValueError(
            f"n_units={n_units}, but the chosen layers have {n_all} units. Lower n_units, or "
            "use n_units=None for all."
        )
    if n_units > n_live:
        warn(
            f"n_units={n_units}, but only {n_live} of {n_all} units are alive; these are selected.",
            NothingFoundWarning,
        )
    return min(int(n_units), n_live)


def _found_or_best(scores: NDArray, discoveries: Discoveries, dead: NDArray) -> NDArray:
    found = discoveries.found & ~dead
    if found.any():
        return found
    warn(
        f"{discoveries.if_none} The best unit is selected so that transform returns something; "
        "nothing shows that it is real.",
        discoveries.warning,
    )
    p = discoveries.p_values
    return _best(1, np.where(p == p[~dead].min(), scores, -np.inf), dead)


def _best(n: int, scores: NDArray, dead: NDArray) -> NDArray:
    order = np.lexsort((np.arange(len(scores)), -scores, dead))
    support = np.zeros(len(scores), dtype=bool)
    support[order[:n]] = True
    return support
