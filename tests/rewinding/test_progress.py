"""The bar: how long a study takes, from counted work and a law of times that it does not know."""

import numpy as np
import pytest

from sklflat import BasinRewinder
from sklflat.rewinding import Instability
from sklflat.rewinding.plan import StudyPlan
from sklflat.rewinding.progress import Progress, Stack


@pytest.mark.parametrize("exponent", [0.2, 0.5, 1.0])
def test_stacks_of_two_sizes_give_the_law_of_times(exponent):
    """Times of the law itself: the prior weighs a quarter of an observation."""
    progress = Progress()
    for size in (1, 2, 4, 8) * 5:
        progress.ran(Stack(size, 100), 3.0 * size**exponent)
    assert progress.time_of(Stack(16, 50)) == pytest.approx(1.5 * 16**exponent, rel=0.05)


def test_nothing_is_said_before_anything_was_trained():
    progress = Progress()
    progress.plan([Stack(1, 10), Stack(0, 10), Stack(3, 0)])
    assert progress.seconds_left() == 0
    progress.ran(Stack(1, 10), 2.0)
    assert progress.seconds_left() == 0  # and stacks of nothing are none


def test_what_was_kept_says_nothing_of_times():
    progress = Progress()
    progress.plan([Stack(1, 10), Stack(1, 10), Stack(1, 20)])
    progress.skipped()
    progress.ran(Stack(1, 10), 2.0)
    assert progress.seconds_left() == 4.0


def study(onset, law, n_steps=760, n_grid=33, **own):
    """Stacks of a study in order, with its forecast after each, by a law of times."""
    probe = BasinRewinder(sparsity=0.95, **own)
    progress = Progress()
    plan = StudyPlan(probe, progress, n_steps, n_grid)
    plan.begin()
    forecasts, elapsed = [], [0.0]

    def ran(n_networks, n):
        seconds = law(n_networks, n)
        elapsed.append(elapsed[-1] + seconds)
        progress.ran(Stack(n_networks, n), seconds)

    ran(1, n_steps)
    plan.parent_has(n_steps)
    forecasts.append(progress.seconds_left())
    grid = np.r_[0, np.geomspace(1, n_steps - 1, n_grid - 1).round()]
    for k in looks_of(onset, n_grid):
        step = int(grid[k])
        ran(probe.n_copies - 1, n_steps - step)
        plan.looked(Instability(step, np.array([0.0 if k >= onset else 1.0])))
        forecasts.append(progress.seconds_left())
    step = int(grid[onset])
    plan.rewinds_to(step, onset > 0)
    for stack in list(progress._planned):
        ran(stack.n_networks, stack.n_steps)
        forecasts.append(progress.seconds_left())
    assert progress.seconds_left() == 0
    return np.array(elapsed[1:]), np.array(forecasts)


def looks_of(onset, n_grid):
    """Numbers of the steps that bisection looks at."""
    seen = [0]
    low, high = 0, n_grid if onset else 0
    while high - low > 1:
        middle = (low + high) // 2
        seen.append(middle)
        low, high = (low, middle) if middle >= onset else (middle, high)
    return [*seen, (onset + n_grid) // 2]


#: seconds of a stack by its size and steps, none of them the law that is fitted
LAWS = {
    "measured, 64-64-64-64-10": lambda size, n: n * (1.2 if size == 1 else 1.35 + 0.175 * size),
    "shared cost of a step": lambda size, n: n * (0.7 + 0.2 * size),
    "large networks": lambda size, n: n * (0.1 + size),
    "hardly any cost of a network": lambda size, n: n * (2.0 + 0.05 * size),
}


@pytest.mark.parametrize("onset", [0, 17])
@pytest.mark.parametrize("law", LAWS)
def test_from_the_first_third_on_the_end_is_foretold_within_thirty_per_cent(onset, law):
    elapsed, left = study(onset, LAWS[law])
    due = elapsed >= elapsed[-1] / 3
    assert due.sum() > 3
    np.testing.assert_allclose((elapsed + left)[due], elapsed[-1], rtol=0.3)
    if law.startswith("measured"):  # also what is left, until it is a twentieth
        due &= elapsed < elapsed[-1] * 0.95
        np.testing.assert_allclose(left[due], (elapsed[-1] - elapsed)[due], rtol=0.3)


def test_a_bar_is_shown_where_asked_and_ends(capsys):
    progress = Progress(verbose=1)
    progress._bar.delay = 0
    progress.plan([Stack(1, 10), Stack(1, 10)])
    progress.ran(Stack(1, 10), 2.0)
    progress.close()
    assert "%" in capsys.readouterr().err
    quiet = Progress()
    quiet.ran(Stack(1, 10), 2.0)
    quiet.close()
    assert not capsys.readouterr().err
