"""The onset of known curves, and the price of finding it."""

from itertools import combinations, pairwise

import numpy as np
import pytest
import torch
from torch import nn

from sklflat import from_module
from sklflat.probing import resolve
from sklflat.rewinding import Instability, find_onset, step_grid
from sklflat.rewinding.onset import falling_curve
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


# --- noise ----------------------------------------------------------------------------------------


class Noisy:
    """Looks at a falling curve: barriers of copies whose effects are drawn once."""

    def __init__(self, curve, noise, seed, n_copies=3, n_grid=33):
        self.curve, self.noise, self.n_new = curve, noise, n_copies - 1
        self.rng = np.random.default_rng(seed)
        self.grid = range(n_grid)
        self.effects = {k: [0.0] for k in self.grid}
        self.n_looks = dict.fromkeys(self.grid, 0)

    def cost(self, step):
        return self.n_new * (len(self.grid) - step)

    def __call__(self, step):
        self.n_looks[step] += 1
        own = self.effects[step]
        own += list(self.noise * self.rng.normal(size=self.n_new))
        pairs = [self.curve(step) + (a + b) / 2**0.5 for a, b in combinations(own, 2)]
        return Instability(step, np.maximum(pairs, 0.0))

    @property
    def spent(self):
        return sum(n * self.cost(k) for k, n in self.n_looks.items())


def test_without_noise_nothing_is_looked_at_twice():
    looks = Noisy(lambda k: 0.1 if k < 14 else 0.0, 0.0, 0)
    curve = find_onset(looks, looks.grid, 0.02, cost=looks.cost)
    assert curve.onset == 14
    assert max(looks.n_looks.values()) == 1


def test_looks_that_are_repeated_cost_no_more_than_a_quarter():
    """A curve that lies at the tolerance leaves doubt everywhere."""
    for seed in range(20):
        looks = Noisy(lambda k: 0.04 - 0.001 * k, 0.03, seed)
        find_onset(looks, looks.grid, 0.02, cost=looks.cost)
        everything = sum(looks.cost(k) for k in looks.grid)
        once = sum(looks.cost(k) for k, n in looks.n_looks.items() if n)  # what bisection costs
        assert looks.spent <= max(0.25 * everything, once)
        assert max(looks.n_looks.values()) <= 4


def test_where_looks_are_noisy_repeated_ones_end_nearer_to_the_onset():
    """A curve that falls through 5 % at step 25 of 33 by .8 % a step, and looks of 1.5 %."""

    def apart(**own):
        found = []
        for seed in range(200):
            looks = Noisy(lambda k: 0.05 + 0.008 * (24.5 - k), 0.02, seed)
            own = {"cost": looks.cost} if own else {}
            curve = find_onset(looks, looks.grid, 0.05, **own)
            found.append(abs((33 if curve.onset is None else curve.onset) - 25))
        return np.array(found)

    plain, repeated = apart(), apart(again=True)
    assert (repeated <= 1).mean() > (plain <= 1).mean() + 0.05
    assert repeated.mean() < 0.9 * plain.mean()


def test_a_lucky_look_is_corrected_and_a_failed_copy_is_not_looked_at_again():
    """Of 5 % at all steps but the last the first look at step 64 is 1.9 %, the second is not."""
    n_looks = dict.fromkeys(range(129), 0)

    def lucky(step):
        n_looks[step] += 1
        barriers = [0.05, 0.06, 0.055] if step < 128 else [0.0, 0.0, 0.0]
        if step == 64:
            barriers = [0.0, 0.019, 0.038] if n_looks[64] == 1 else [*barriers * 3, 0.05]
        return Instability(step, np.array(barriers))

    assert find_onset(lucky, range(129), 0.02).onset == 64
    n_looks[64] = 0
    assert find_onset(lucky, range(129), 0.02, cost=lambda step: 1.0).onset == 128
    n_looks = dict.fromkeys(range(129), 0)

    def failed(step):
        n_looks[step] += 1
        return Instability(step, np.array([np.nan]))

    assert find_onset(failed, range(129), 0.02, cost=lambda step: 1.0).onset is None
    assert max(n_looks.values()) == 1


def test_a_mean_of_equal_looks_is_no_higher_than_they_are():
    """Rounding would call looks at the tolerance unstable where several are taken together."""
    for tol in np.linspace(0.001, 0.2, 50):
        for n in range(2, 9):
            looks = [Instability(k, np.array([tol if k else 0.5])) for k in range(n)]
            assert (falling_curve(looks)[1:] <= tol).all()
