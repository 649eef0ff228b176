"""Scales of noise that meet a budget: (scale, rise of the loss, outcome of the search)."""

import math

from sklflat.curvature import NoiseGauge
from sklflat.training.perturbations.subspace_check import BACKED_OFF, CAPPED, FINE


def for_rise(
    gauge: NoiseGauge, share: float, start: float, longest: float, n_steps: int
) -> tuple[float, float, int]:
    """The scale at which the loss rises by a share of itself."""
    target = share * abs(gauge.loss)
    c, rise = gauge.scale_for_rise(target, start, longest, n_steps)
    if gauge.was_infinite:
        return c, rise.value, BACKED_OFF
    return c, rise.value, CAPPED if c >= longest and abs(rise.value) < 0.9 * target else FINE


def longest_within(
    gauge: NoiseGauge, accuracy_budget: float, start: float, longest: float
) -> tuple[float, float, int]:
    """The largest scale at which the score falls by ``accuracy_budget`` at most."""
    wanted = gauge.landscape.score_at(gauge.w) - accuracy_budget
    c = gauge.largest_scale(lambda c: gauge.score(c) >= wanted, start, longest)
    return c, math.nan, CAPPED if c >= longest else FINE


def with_finite_loss(gauge: NoiseGauge, c: float) -> tuple[float, float, int]:
    """The scale, halved until the loss is finite; half of that, not to stand at the edge."""
    rise, outcome = gauge.rise(c).value, FINE
    while not math.isfinite(rise) and c > 0:
        c, outcome = c / 4, BACKED_OFF
        rise = gauge.rise(c).value
    return c, rise, outcome
