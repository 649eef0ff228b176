"""Findings about predictions and what stands for them.

Each is a pure function of numbers, so that both sides of its threshold are tested.
"""

from functools import partial

from sklflat.report.findings.thresholds import FAITHFUL, FEWEST_ROWS, too_few
from sklflat.report.parts import ATTENTION, INCONCLUSIVE, PASSED, Finding
from sklflat.report.wording import number

#: scores that differ by less are those of the same outputs, but for rounding
_SAME = 1e-6


def better_than_constant(
    estimator: str, gain: tuple[float, float, float], score: str, n_rows: int
) -> Finding:
    """SKF001, from the gain over a constant with its 95 % interval.

    Parameters
    ----------
    estimator : str
    gain : (float, float, float)
        Value, low, high.
    score : str
        What is gained.
    n_rows : int
    """
    value, low, high = gain
    apart = f"{number(abs(value))} {'below' if value < 0 else 'above'} that of a constant"
    said = (
        f"{score} is {apart} "
        f"(95 % interval {number(low)} to {number(high)}, {n_rows:,} held-out rows)"
    )
    if n_rows < FEWEST_ROWS:
        status, said = INCONCLUSIVE, f"{too_few(n_rows)} whether it is better than a constant"
    elif low > 0:
        status, said = PASSED, said[:1].upper() + said[1:]
    elif high < 0:
        status, said = ATTENTION, f"Worse than a constant: {said}"
    else:
        status, said = INCONCLUSIVE, f"Not shown to be better than a constant: {said}"
    return Finding("SKF001", estimator, status, f"{said}.")


def estimators_differ(
    estimator: str, first: str, difference: tuple[float, float, float], score: str, n_rows: int
) -> Finding:
    """SKF002, from the paired difference of two scores with its 95 % interval.

    Parameters
    ----------
    estimator, first : str
    difference : (float, float, float)
        Of this estimator less the first: value, low, high.
    score : str
    n_rows : int
    """
    finding = partial(Finding, "SKF002", estimator)
    value, low, high = difference
    numbers = (
        f"{score} {number(value)} apart, 95 % interval {number(low)} to {number(high)} "
        f"({n_rows:,} held-out rows)"
    )
    if n_rows < FEWEST_ROWS:
        return finding(INCONCLUSIVE, f"{too_few(n_rows)} which is better.")
    if low > 0:
        return finding(ATTENTION, f"{estimator} is better than {first}: {numbers}.")
    if high < 0:
        return finding(ATTENTION, f"{estimator} is worse than {first}: {numbers}.")
    if max(-low, high) < _SAME:
        said = (
            f"{estimator} and {first} have the same score on each of {n_rows:,} held-out rows. If "
            "their outputs are the same, too, one may be the other with rescaled weights, and a "
            "difference in flatness says nothing of what they have learned."
        )
        return finding(INCONCLUSIVE, said)
    return finding(INCONCLUSIVE, f"It is not shown that {estimator} and {first} differ: {numbers}.")


def honest_confidence(
    estimator: str, temperature: float, interval: tuple[float, float], bound: str | None
) -> Finding:
    """SKF012, from the temperature that makes the held-out labels most likely.

    Parameters
    ----------
    estimator : str
    temperature : float
    interval : (float, float)
    bound : str or None
        The end of the allowed range at which it is.
    """
    finding = partial(Finding, "SKF012", estimator)
    low, high = interval
    numbers = (
        f"the most likely temperature is {number(temperature)} "
        f"(95 % interval {number(low)} to {number(high)}; 1 is honest)."
    )
    if bound is not None:
        return finding(INCONCLUSIVE, f"Confidence is open: {numbers}")
    if low > 1:
        return finding(ATTENTION, f"Too sure of itself: {numbers}")
    if high < 1:
        return finding(ATTENTION, f"Not sure enough of itself: {numbers}")
    if high > 2 * low:
        return finding(INCONCLUSIVE, f"The rows do not say whether confidence is honest: {numbers}")
    return finding(PASSED, f"Confidence is not shown to be off: {numbers}")


def class_hierarchy(estimator: str, has_hierarchy: bool, said: str) -> Finding:
    """SKF013, which needs seven classes: fewer have too few orders for chance to be ruled out.

    Parameters
    ----------
    estimator : str
    has_hierarchy : bool
    said : str
        The probe's own sentence.
    """
    if has_hierarchy:
        return Finding("SKF013", estimator, PASSED, said)
    return Finding("SKF013", estimator, INCONCLUSIVE, f"Not supported. {said}")


def tree_stands_for_network(
    estimator: str,
    fidelity: float,
    gain: tuple[float, float, float],
    verdict: str,
    is_classifier: bool = True,
) -> Finding:
    """SKF014, from the fidelity of a small tree and its gain over one that saw the targets only.

    Parameters
    ----------
    estimator : str
    fidelity : float
    gain : (float, float, float)
        Value, low, high.
    verdict : str
        The probe's own words.
    is_classifier : bool, default=True
        Whether fidelity is a share of rows; else it is R² to the network's outputs.
    """
    finding = partial(Finding, "SKF014", estimator)
    value, low, high = gain
    numbers = (
        f"it agrees on {fidelity:.1%} of held-out rows, {number(abs(value))} "
        f"{'less' if value < 0 else 'more'} than a tree that "
        f"never saw the network (95 % interval {number(low)} to {number(high)}): {verdict}."
    )
    if not is_classifier:
        numbers = (
            f"its R² to the network's outputs is {_bounded(fidelity, 1)} on held-out rows, that of "
            f"a tree that never saw the network {_bounded(fidelity - value, 1)}, and the "
            f"difference {_bounded(value)} (95 % interval {_bounded(low)} to {_bounded(high)}): "
            f"{verdict}."
        )
    if low > 0 and fidelity >= FAITHFUL:
        return finding(PASSED, f"A small tree stands for it: {numbers}")
    if low > 0:
        said = f"A small tree says something of it, but too little to stand for it: {numbers}"
        return finding(INCONCLUSIVE, said)
    if high < 0:
        return finding(ATTENTION, f"A small tree does not: {numbers}")
    return finding(INCONCLUSIVE, f"Not supported that a small tree stands for it: {numbers}")


def _bounded(value: float, most: float = 2.0) -> str:
    """An R² or a difference of two; what is beyond the bound says no more than that it is.

    R² has no lower bound: of outputs that hardly vary, a tree's may be minus a thousand.
    """
    if value < -most:
        return f"below {-most:g}"
    return f"above {most:g}" if value > most else number(value)
