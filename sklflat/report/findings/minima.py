"""Findings about minima.

Each is a pure function of numbers, so that both sides of its threshold are tested.
"""

from functools import partial

from sklflat.report.findings.thresholds import (
    ALIKE,
    BARRIER,
    FEWEST_ROWS,
    FLAT,
    LEVEL,
    RADIUS,
    SHARP,
    TICKET,
    too_few,
)
from sklflat.report.parts import ATTENTION, INCONCLUSIVE, PASSED, Finding
from sklflat.report.wording import number


def flat_minimum(
    estimator: str,
    rise: tuple[float, float, float],
    constant_loss: float,
    certified: bool,
    are_trained_on: bool = True,
) -> Finding:
    """SKF007, from the rise of the loss in the sharpest direction.

    Parameters
    ----------
    estimator : str
    rise : (float, float, float)
        Value, low, high of the 95 % interval over rows.
    constant_loss : float
        Of the best constant prediction.
    certified : bool
        Whether the direction is shown to be the sharpest.
    are_trained_on : bool, default=True
        Whether the loss is of the rows trained on; else these are not known, and it is of others.
    """
    finding = partial(Finding, "SKF007", estimator)
    value, low, high = (r / constant_loss if constant_loss > 0 else float("nan") for r in rise)
    loss = "training loss" if are_trained_on else "loss on the rows given"
    said = (
        f"a step of {RADIUS:g} along the sharpest direction raises the {loss} by "
        f"{value:.2%} of a constant's loss (95 % interval {low:.2%} to {high:.2%}; flat is at most "
        f"{FLAT:.0%}, sharp at least {SHARP:.0%})."
    )
    if not certified:
        said = f"The sharpest direction is not certified, so flatness is open: {said}"
        return finding(INCONCLUSIVE, said)
    if high <= FLAT:
        return finding(PASSED, f"{_found('flat', are_trained_on)}: {said}")
    if low >= SHARP:
        return finding(ATTENTION, f"{_found('sharp', are_trained_on)}: {said}")
    if low > FLAT:
        return finding(ATTENTION, f"{_found('not flat', are_trained_on)}: {said}")
    return finding(INCONCLUSIVE, f"Flatness is undecided: {said}")


def _found(kind: str, is_minimum: bool) -> str:
    """A kind of flatness, of a minimum or of the loss on some rows."""
    if not is_minimum:
        return f"{kind.capitalize()} on the rows given"
    return f"Not a {kind[4:]} minimum" if kind.startswith("not ") else f"A {kind} minimum"


def at_rest(estimator: str, gradient_norm: float, constant_loss: float) -> Finding:
    """SKF008, from the gradient of the training loss.

    Parameters
    ----------
    estimator : str
    gradient_norm : float
    constant_loss : float
        Of the best constant prediction.
    """
    share = RADIUS * gradient_norm / constant_loss if constant_loss > 0 else float("nan")
    said = (
        f"along the gradient a step of {RADIUS:g} changes the training loss by {share:.2%} of a "
        f"constant's loss (at rest is at most {FLAT:.0%})."
    )
    if share <= FLAT:
        return Finding("SKF008", estimator, PASSED, f"Training has come to rest: {said}")
    return Finding("SKF008", estimator, ATTENTION, f"Training has not come to rest: {said}")


def flatter_than_first(
    estimator: str,
    first: str,
    ratio: float,
    p_value: float,
    n_pairs: int,
    least: float,
    are_trained_here: bool = True,
) -> Finding:
    """SKF009, from the top eigenvalues of trainings from the same seeds, or of networks given.

    Parameters
    ----------
    estimator, first : str
    ratio : float
        Geometric mean of this estimator's over the first's.
    p_value : float
        Two-sided, of a sign-flip test.
    n_pairs : int
    least : float
        The smallest p-value that so many pairs allow.
    are_trained_here : bool, default=True
        Whether pairs have one seed and the loss is that of training; else they are in the order
        given, and the loss is that of the rows given.
    """
    finding = partial(Finding, "SKF009", estimator)
    pairs = "trainings from the same seeds" if are_trained_here else "the networks given"
    where = "" if are_trained_here else "on the rows given "
    numbers = (
        f"{where}its top curvature is {number(ratio)} times that of {first} "
        f"(p = {p_value:.2g}, {n_pairs} pairs of {pairs})."
    )
    if p_value <= LEVEL and 1 - ALIKE <= ratio <= 1 / (1 - ALIKE):
        by = f"{'flatter' if ratio < 1 else 'sharper'} by {number(100 * abs(1 - ratio))} %"
        said = (
            f"{estimator} is {by} than {first}, which is shown, but too little to matter: "
            f"{numbers} Passed says here that there is nothing to choose by (up to {ALIKE:.0%})."
        )
        return finding(PASSED, said)
    if p_value <= LEVEL and ratio < 1:
        return finding(PASSED, f"{estimator} is flatter: {numbers}")
    if p_value <= LEVEL:
        return finding(ATTENTION, f"{estimator} is sharper: {numbers}")
    few = f" So few pairs cannot go below p = {least:.2g}." if least > LEVEL else ""
    return finding(INCONCLUSIVE, f"It is not shown that one is flatter: {numbers}{few}")


def one_valley(estimator: str, barrier: float, error: float, n_rows: int, scale: float) -> Finding:
    """SKF010, from the barrier of the held-out error along the aligned path.

    Parameters
    ----------
    estimator : str
    barrier : float
        Above the mean of the ends.
    error : float
        Standard error of the barrier.
    n_rows : int
    scale : float
        What 100 % is: 1 for shares of rows, the targets' variance for numbers.
    """
    finding = partial(Finding, "SKF010", estimator)
    share, margin = barrier / scale, 1.96 * error / scale
    said = (
        f"the largest rise of the held-out error on the straight way between two trainings with "
        f"aligned units is estimated as {share:.1%}, give or take {margin:.1%} (95 %, {n_rows:,} "
        f"rows; one valley is at most {BARRIER:.0%})."
    )
    if share != share:
        return finding(ATTENTION, "The error is not finite somewhere between two trainings.")
    if n_rows < FEWEST_ROWS:
        return finding(INCONCLUSIVE, f"{too_few(n_rows)}.")
    if share + margin <= BARRIER:
        return finding(PASSED, f"Two trainings end in one valley: {said}")
    if share - margin > BARRIER:
        return finding(ATTENTION, f"Two trainings do not end in one valley: {said}")
    return finding(INCONCLUSIVE, f"Whether two trainings end in one valley is undecided: {said}")


def ticket(estimator: str, sparsity: float, drop: float, margin: float, n_networks: int) -> Finding:
    """SKF016, from the scores of retrained tickets.

    Parameters
    ----------
    estimator : str
    sparsity : float
        Share of the weights that was pruned.
    drop : float
        Score of the whole network less that of the tickets.
    margin : float
        To both sides of it, of its 95 % interval over retrained networks and rows.
    n_networks : int
    """
    finding = partial(Finding, "SKF016", estimator)
    said = (
        f"with {sparsity:.0%} of the weights pruned and the rest retrained, the score falls by "
        f"{number(drop)} (95 % margin {number(margin)}, {n_networks} retrained networks; a ticket "
        f"loses less than {TICKET:g})."
    )
    if drop + margin < TICKET:
        return finding(PASSED, f"A ticket was found: {said}")
    if drop - margin >= TICKET:
        return finding(ATTENTION, f"No ticket at this sparsity: {said}")
    return finding(INCONCLUSIVE, f"Whether it is a ticket is open: {said}")
