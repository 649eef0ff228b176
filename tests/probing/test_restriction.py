"""How many random choices a restriction draws, and what it says of them."""

import numpy as np
import pytest
import torch
from torch import nn

from sklflat import ActivationProbe, from_module

X = np.random.RandomState(0).normal(size=(200, 8))


def probe(weights):
    """The sum of eight sigmoid units, each of an input of its own, by these weights."""
    module = nn.Sequential(nn.Linear(8, 8), nn.Sigmoid(), nn.Linear(8, 1, bias=False)).double()
    with torch.no_grad():
        module[0].weight.copy_(torch.eye(8)), module[0].bias.zero_()
        module[2].weight.copy_(torch.as_tensor(weights, dtype=torch.float64)[None])
    network = from_module(module)
    y = network.predict(X)
    chosen = ActivationProbe(network, unit_score="correlation", n_units=2, random_state=0)
    return chosen.fit(X, y), y


def test_it_draws_to_the_end_where_no_choice_is_as_good_and_says_so():
    fitted, y = probe([1, 1, 0, 0, 0, 0, 0, 0])
    found = fitted.restrict(X, y, random_state=0)
    others = np.sum(found.random_scores >= found.score)  # the very same units, by chance
    assert found.score == pytest.approx(1.0)
    assert len(found.random_scores) == 199 or others == 10
    assert found.p_value == (others + 1) / (len(found.random_scores) + 1)
    assert "With 2 units the score is 1.000, with all 1.000." in str(found)


def test_it_ends_early_where_any_choice_is_as_good():
    fitted, y = probe([0] * 8)
    found = fitted.restrict(X, y + X[:, 0], random_state=0)
    assert len(found.random_scores) == 10
    assert found.p_value == 1
    assert "10 score as high (p = 1.000), so it is not shown to matter" in str(found)


def test_with_all_units_kept_there_is_nothing_to_compare_with():
    fitted, y = probe([1] * 8)
    fitted.support_ = np.ones(8, dtype=bool)
    fitted.dead_ = np.arange(8) == 7
    found = fitted.restrict(X, y, random_state=0)
    assert found.p_value == 1
    assert "All 8 units are kept" in str(found)
    fitted.support_[7] = False
    said = str(fitted.restrict(X, y, random_state=0))
    assert "All 7 units that are alive are kept, so there is no other choice of as many" in said
    fitted.support_[6] = False
    assert "Of 199 random choices" in str(fitted.restrict(X, y, n_random=199, random_state=0))


def test_p_values_of_early_ends_are_valid():
    """Under the null the score is one of as many alike, so that p <= a has a probability of a."""
    from sklflat.probing.restricted import Restriction

    rng, p = np.random.RandomState(0), []
    for _ in range(4000):
        own, draws = rng.uniform(), []
        while len(draws) < 199 and sum(d >= own for d in draws) < 10:
            draws.append(rng.uniform())
        p.append(Restriction(None, 1, own, 1.0, np.array(draws)).p_value)
    for level in (0.01, 0.05, 0.2):
        assert np.mean(np.array(p) <= level) <= level + 3 * np.sqrt(level / 4000)


@pytest.mark.parametrize("n_random", [0, -1, 2.5, "all", True])
def test_other_numbers_of_choices_are_refused(n_random):
    fitted, y = probe([1] * 8)
    with pytest.raises(ValueError, match="n_random must be 'auto' or an int of at least 1"):
        fitted.restrict(X, y, n_random=n_random)
