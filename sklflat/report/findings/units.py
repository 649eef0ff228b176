"""Findings about units.

Each is a pure function of numbers, so that both sides of its threshold are tested.
"""

from functools import partial
from math import isinf, isnan

from sklflat.report.findings.thresholds import FEW, FEWEST_ROWS, MOST, RETURN, too_few
from sklflat.report.parts import ATTENTION, INCONCLUSIVE, PASSED, Finding
from sklflat.report.wording import number

#: what the difference of two equal scores leaves
_ROUNDING = 1e-14


def dead_units(estimator: str, n_dead: int, n_units: int, n_rows: int) -> Finding:
    """SKF003.

    Parameters
    ----------
    estimator : str
    n_dead, n_units, n_rows : int
    """
    if n_dead:
        does = "does" if n_dead == 1 else "do"
        said = f"{n_dead} of {n_units} units {does} the same for all of {n_rows:,} rows."
        return Finding("SKF003", estimator, ATTENTION, said)
    return Finding("SKF003", estimator, PASSED, f"All {n_units} units do something.")


def needed_units(
    estimator: str,
    n_needed: int,
    n_negligible: int,
    n_living: int,
    rows_for_half: float,
    n_rows: int = 0,
) -> Finding:
    """SKF004, from what held-out rows decide of every unit.

    Parameters
    ----------
    estimator : str
    n_needed, n_negligible, n_living : int
    rows_for_half : float
        About how many rows would decide half of the undecided; NaN or infinite if not known.
    n_rows : int, default=0
        Rows that have not decided them.
    """
    finding = partial(Finding, "SKF004", estimator)
    more = ""
    if rows_for_half <= n_rows:
        more = " Few more held-out rows would decide half of those that are open."
    elif rows_for_half == rows_for_half and rows_for_half != float("inf"):
        more = f" About {number(round(rows_for_half, -2) or rows_for_half)} held-out rows would "
        more += "decide half of those that are open."
    if n_needed:
        said = f"{n_needed} of {n_living} living units are shown to be needed.{more}"
        return finding(PASSED, said)
    if n_living and n_negligible == n_living:
        said = (
            f"All of {n_living} living units are negligible one by one: each can be done without."
        )
        return finding(ATTENTION, said)
    said = f"No unit of {n_living} is shown to be needed; that is no proof that none is.{more}"
    return finding(INCONCLUSIVE, said)


def harmful_units(estimator: str, n_harmful: int, n_undecided: int, n_living: int) -> Finding:
    """SKF005.

    Parameters
    ----------
    estimator : str
    n_harmful, n_undecided, n_living : int
    """
    finding = partial(Finding, "SKF005", estimator)
    if n_harmful:
        each = ", each alone," if n_harmful > 1 else ""
        said = f"Without {n_harmful} of {n_living} units{each} the held-out loss falls."
        return finding(ATTENTION, said)
    if n_undecided > n_living / 2:
        said = f"No unit is shown to harm, but {n_undecided} of {n_living} are undecided."
        return finding(INCONCLUSIVE, said)
    return finding(PASSED, f"No unit of {n_living} is shown to harm, and most are decided.")


def units_know_target(estimator: str, n_tied: int, n_living: int) -> Finding:
    """SKF006.

    Parameters
    ----------
    estimator : str
    n_tied, n_living : int
    """
    if n_tied:
        said = f"{n_tied} of {n_living} living units vary with the target beyond chance."
        return Finding("SKF006", estimator, PASSED, said)
    said = f"None of {n_living} living units is shown to vary with the target beyond chance; "
    said += "that is no proof that none does."
    return Finding("SKF006", estimator, INCONCLUSIVE, said)


def units_come_back(
    estimator: str, n_universal: int, n_living: int, n_models: int, n_rows: int, bound: float
) -> Finding:
    """SKF011, from the units that return in other trainings above chance.

    Parameters
    ----------
    estimator : str
    n_universal, n_living, n_models, n_rows : int
    bound : float
        Upper 95 % bound of the mean correlation above chance of living units with their partners.
    """
    finding = partial(Finding, "SKF011", estimator)
    if n_rows < FEWEST_ROWS:
        return finding(INCONCLUSIVE, f"{too_few(n_rows)} what comes back.")
    numbers = (
        f"{n_universal} of {n_living} living units are shown to come back in {n_models} further "
        "trainings."
    )
    share = n_universal / max(n_living, 1)
    if share >= MOST:
        return finding(PASSED, f"Another training finds at least half of the same units: {numbers}")
    if share >= FEW:
        return finding(INCONCLUSIVE, f"Another training finds some of the same units: {numbers}")
    few = "few of the same" if n_universal else "none of the same"
    most = f"units correlate with their partners by at most {bound:.2f} above chance on average"
    rule = f"(95 % bound; no more than chance is at most {RETURN:g})"
    if bound <= RETURN:
        said = f"Another training finds {few} units: {numbers} Living {most} {rule}."
        return finding(ATTENTION, said)
    shown = "Few units are" if n_universal else "No unit is"
    rest = "others do not" if n_universal else "none does"
    if isinf(bound):
        return finding(INCONCLUSIVE, f"{shown} shown to come back: {numbers}")
    said = (
        f"{shown} shown to come back in another training, which is no proof that {rest}: "
        f"{numbers} What these rows and trainings do say is that {most} {rule}."
    )
    return finding(INCONCLUSIVE, said)


def more_units_than_needed(
    estimator: str, n_kept: int, n_living: int, drop: tuple[float, float, float], tol: float
) -> Finding:
    """SKF015, from the smallest number of units that is shown to be enough.

    Parameters
    ----------
    estimator : str
    n_kept, n_living : int
    drop : (float, float, float)
        Of accuracy or R²: value, low, high.
    tol : float
    """
    finding = partial(Finding, "SKF015", estimator)
    value, low, high = (0.0 if abs(v) < _ROUNDING else v for v in drop)
    if isnan(value):
        said = "The held-out rows are too few to say whether fewer units would be enough."
        return finding(INCONCLUSIVE, said)
    apart = f"{number(abs(value))} {'lower' if value > 0 else 'higher'} than"
    numbers = (
        f"{n_kept} of {n_living} units score {apart if value else 'the same as'} all. "
        f"{_loss_between(low, high)} is compatible with the held-out rows (95 % interval); a loss "
        f"of {tol:g} is allowed."
    )
    if n_kept < n_living / 2 and high <= tol:
        return finding(ATTENTION, f"More than half of the units can go together: {numbers}")
    if n_kept < n_living and high <= tol:
        return finding(PASSED, f"Some of the units can go together: {numbers}")
    return finding(INCONCLUSIVE, f"No smaller number of units is shown to be enough: {numbers}")


def _loss_between(low: float, high: float) -> str:
    """An interval of a loss of score in words: what is negative is a gain."""
    if low == high == 0:
        return "No difference"
    if isinf(high):
        return "Any loss"
    if low < 0 < high:
        return f"Anything from a gain of {number(-low)} to a loss of {number(high)}"
    kind, (one, other) = ("loss", (low, high)) if high > 0 else ("gain", (-high, -low))
    if one == 0:
        return f"A {kind} of at most {number(other)}"
    return f"A {kind} of {number(one)} to {number(other)}"
