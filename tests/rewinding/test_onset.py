"""The onset of known curves, and the price of finding it."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

from sklflat import from_module
from sklflat.probing import resolve
from sklflat.rewinding import Instability, find_onset, step_grid
from sklflat.rewinding.segments import segment_barriers


def looked_at(curve_of, grid, tol=0.02):
    seen = []

    def instability(step):
        seen.append(step)
        return Instability(step, np.array([curve_of(step)]))

    return find_onset(instability, grid, tol), seen


@pytest.mark.parametrize("true", [1, 3, 14, 32, 33])
def test_every_onset_of_a_falling_curve_is_found(true):
    """Of 33 steps seven are looked at, none twice."""
    grid = list(range(33))
    curve, seen = looked_at(lambda k: 0.1 if k < true else 0.0, grid)
    assert curve.onset == (true if true < 33 else None)
    assert curve.before == true - 1
    assert not curve.entered_at_init
    assert curve.contradictions == ()
    assert len(seen) == len(set(seen)) <= 8


def test_what_is_stable_from_the_start_is_said_to_be():
    curve, seen = looked_at(lambda k: 0.01, list(range(33)))
    assert curve.onset == 0
    assert curve.entered_at_init
    assert curve.before is None
    assert len(seen) == 2


def test_a_step_that_contradicts_the_onset_is_reported():
    """Unstable at first, stable at 2 to 8, and unstable again."""
    curve, _ = looked_at(lambda k: 0.0 if 2 <= k <= 8 else 0.1, list(range(17)))
    assert curve.onset == 2
    assert curve.contradictions == (9,)


def test_one_failed_copy_makes_a_step_unstable():
    assert Instability(3, np.array([0.0, np.nan])).value == np.inf


def test_grids_have_equal_ratios():
    grid = step_grid(1024, 10)
    assert grid[:2] == (0, 1)
    assert grid[-1] == 1023
    assert max(b / a for a, b in pairwise(grid[1:])) < 2.6
    assert step_grid(1, 5) == (0,)
    assert step_grid(4, 5) == (0, 1, 2, 3)
    fine = step_grid(1000, 32)  # of which so many are different
    assert len(set(fine)) == 33
    assert fine == tuple(sorted(fine))


def test_a_barrier_of_the_error_in_closed_form():
    """Two linear classifiers that are each other's negative: half of the rows err in between.

    At the middle of the segment all logits are 0, and the label is the first class.
    """

    def linear(sign):
        module = nn.Linear(1, 2, bias=False)
        with torch.no_grad():
            module.weight.copy_(sign * torch.tensor([[-1.0], [1.0]]))
        return resolve(from_module(module, classes=[0, 1]))

    X = torch.tensor([[-1.0], [1.0]])
    right, wrong = linear(1.0), linear(-1.0)
    y = torch.tensor([0, 1])
    np.testing.assert_allclose(segment_barriers([right, right], X, y), [0.0])
    # ends err on 0 and on all rows, so their mean is .5, and no point errs on more than all
    np.testing.assert_allclose(segment_barriers([right, wrong], X, y), [0.5])
    assert segment_barriers([right, wrong, right], X, y).tolist() == [0.5, 0.0, 0.5]


def test_the_standard_error_is_that_of_the_jackknife_over_copies():
    """Of three copies, each left out leaves one pair: 2 / 3 of their squared deviations."""
    own = Instability(0, np.array([0.1, 0.2, 0.6]))
    assert own.standard_error == pytest.approx(np.sqrt(2 / 3 * (0.2**2 + 0.1**2 + 0.3**2)))
    curve = find_onset(lambda k: own, [0], 0.02)
    assert curve.to_frame().standard_error.tolist() == [own.standard_error]
    assert np.isnan(Instability(0, np.array([0.1])).standard_error)
    assert np.isnan(Instability(0, np.array([0.1, np.nan, 0.2])).standard_error)
