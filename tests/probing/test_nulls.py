"""Nulls: p-values by counting, and draws that are what they say."""

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from sklflat import SAMClassifier
from sklflat.networks import MLP
from sklflat.probing.nulls import (
    Null,
    permuted_targets,
    random_rotations,
    reseeded,
    split_halves,
    untrained_twins,
)


def test_pooled_p_values_count_all_draws():
    null = Null("pooled", np.array([[1.0, 2.0], [3.0, 4.0]]), matched=False)
    np.testing.assert_allclose(
        null.p_values(np.array([0.0, 2.5, 4.0, 5.0])), [1.0, 3 / 5, 2 / 5, 1 / 5]
    )


def test_matched_units_of_different_scale_are_pooled_fairly():
    rng = np.random.RandomState(0)
    scale = np.array([1e-3, 1.0, 1e3])
    rejected = np.zeros(3)
    for _ in range(400):
        values = rng.normal(size=(101, 3)) * scale + 7 * scale
        rejected += Null("own", values[1:]).p_values(values[0]) <= 0.05
    for count in rejected:  # 20 expected; this interval holds 99.9 % of binomial counts
        low, high = stats.binom.interval(0.999, 400, 0.05)
        assert low <= count <= high


def test_strong_units_do_not_change_what_chance_is_for_the_others():
    rng = np.random.RandomState(0)
    p = []
    for _ in range(1500):
        values = rng.normal(size=(126, 16))
        values[0, 1:] += 30  # only unit 0 is at chance
        p.append(Null("own", values[1:]).p_values(values[0])[0])
    for level, low, high in (0.05, 0.035, 0.068), (0.01, 0.003, 0.02):  # 99.8 % of binomials
        assert low <= np.mean(np.array(p) <= level) <= high


def test_a_single_matched_unit_is_ranked_among_its_draws():
    draws = np.random.RandomState(0).normal(size=(99, 1))
    null = Null("own", draws)
    np.testing.assert_allclose(null.p_values(np.array([draws.max() + 3])), 0.01)
    np.testing.assert_allclose(null.p_values(np.array([draws.min() - 3])), 1.0)
    middle = null.p_values(np.array([np.median(draws)]))
    np.testing.assert_allclose(middle, 0.5, atol=0.02)


def test_draws_that_do_not_vary_are_compared_by_rank():
    null = Null("flat", np.c_[np.full((49, 3), 3.0), np.arange(49.0)])
    p = null.p_values(np.array([3.0, 2.0, 4.0, 20.0]))
    np.testing.assert_allclose(p[:3], [1.0, 1.0, 1 / 50])
    assert 0.4 < p[3] < 0.8
    with pytest.raises(ValueError, match="n_null"):
        Null("few", np.zeros((2, 1))).p_values(np.zeros(1))


def test_permuted_targets_gives_every_permutation_to_the_score():
    seen = []

    def score(permutations):
        seen.append(permutations)
        return permutations[:, :2].astype(float)

    null = permuted_targets(score, 5, 20, np.random.RandomState(0))
    assert null.draws.shape == (20, 2)
    np.testing.assert_array_equal(np.sort(seen[0], axis=1), np.tile(np.arange(5), (20, 1)))
    assert len(np.unique(seen[0], axis=0)) > 10


class Own(nn.Module):
    """Has a parameter that no reset_parameters knows."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 4)
        self.norm = nn.BatchNorm1d(4)
        self.scale = nn.Parameter(torch.arange(4.0))


@pytest.mark.parametrize("make", [Own, lambda: MLP(3, 2, (4,))])
def test_untrained_twins_forget_everything(make):
    module = make()
    with torch.no_grad():
        for p in module.parameters():
            p.add_(100.0)
    before = torch.random.get_rng_state()
    twins = list(untrained_twins(module, 3, np.random.RandomState(0)))
    again = list(untrained_twins(module, 3, np.random.RandomState(0)))
    assert torch.equal(torch.random.get_rng_state(), before)
    for name, p in twins[0].named_parameters():
        if name == "scale":
            assert sorted(p.tolist()) == [100.0, 101.0, 102.0, 103.0]
        else:
            assert p.abs().max() < 50
        assert torch.equal(p, dict(again[0].named_parameters())[name])
    weights = [next(t.parameters()).detach() for t in twins]
    assert not torch.equal(weights[0], weights[1])
    assert all(p.min() >= 50 for p in module.parameters() if p.numel() > 4)


def test_untrained_twins_have_the_variance_of_fresh_modules():
    torch.manual_seed(0)
    twin = next(untrained_twins(nn.Linear(400, 50), 1, np.random.RandomState(0)))
    # torch's Linear: uniform on +-1/sqrt(400), of standard deviation 0.05 / sqrt(3)
    assert twin.weight.std().item() == pytest.approx(0.05 / np.sqrt(3), rel=0.02)


def test_nested_random_states_are_drawn_anew():
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import QuantileTransformer

    pipeline = make_pipeline(QuantileTransformer(random_state=1), SAMClassifier(random_state=2))
    twin = reseeded(pipeline, np.random.RandomState(0))
    states = [v for k, v in twin.get_params().items() if k.endswith("random_state")]
    assert len(set(states)) == 2
    assert not {1, 2} & set(states)


def test_rotations_keep_lengths_and_mix_units():
    A = np.random.RandomState(0).normal(size=(30, 5))
    for rotated in random_rotations(A, 3, np.random.RandomState(1)):
        np.testing.assert_allclose(rotated @ rotated.T, A @ A.T, atol=1e-12)
        assert np.abs(rotated - A).max() > 0.1


def test_halves_are_disjoint_and_complete():
    a, b = split_halves(11, np.random.RandomState(0))
    assert (len(a), len(b)) == (5, 6)
    np.testing.assert_array_equal(np.sort(np.concatenate([a, b])), np.arange(11))
