"""What so many draws can show: the least p-values, and units that are alone among many."""

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from sklflat import AblationProbe, HessianSpectrum, SAMClassifier, from_module
from sklflat.curvature import Subspace
from sklflat.eigenspace.unit_directions import Response, UnitDirections, flat_alignment_null
from sklflat.networks import ParameterVector
from sklflat.networks.units import Units
from sklflat.probing.false_discovery import above_chance, n_to_pass, q_values, resolution
from sklflat.probing.nulls import Null
from tests._probes import random_data, two_layer

RNG = np.random.RandomState
INFINITE = np.full(4, np.inf)


@pytest.mark.parametrize(
    "null",
    [
        Null("pooled", RNG(0).normal(size=(30, 4))),
        Null("of units that do not vary", RNG(0).normal(size=(30, 4)) * [1, 0, 1, 0]),
        Null("each on its own", RNG(0).normal(size=(30, 4)), pooled=False),
        Null("of others", RNG(0).normal(size=50), matched=False),
        Null("by layer", np.zeros(5), False, True, (np.r_[0, 0, 0, 1, 1], np.r_[0, 0, 1, 2])),
    ],
    ids=lambda null: null.name,
)
def test_no_score_has_a_p_value_below_the_least(null):
    np.testing.assert_allclose(null.least_p_values(4), null.p_values(np.full(4, 1e9)))


def test_how_many_units_it_takes_is_what_benjamini_and_hochberg_say():
    for m, least in (16, 0.0062), (16, 0.0031), (40, 0.02), (8, 0.06):
        dead = np.arange(m + 3) >= m
        k = n_to_pass(np.full(m + 3, least), dead)
        for n in range(1, m + 1):
            p = np.where(np.arange(m + 3) < n, least, 1.0)
            assert (q_values(p, dead).min() <= 0.05) == (k is not None and n >= k)


@pytest.mark.parametrize(("n_units", "n_read"), [(12, 1), (64, 3)])
def test_the_units_that_are_read_are_found_among_those_that_are_not(n_units, n_read):
    """None of 21 networks of 12 units, and none of 6 of 64, had a unit selected."""
    for seed in range(2):
        rng = RNG(seed)
        W2 = np.zeros((n_units, 1))
        W2[:n_read] = 2
        W1 = rng.normal(size=(4, n_units))
        W1[:, :n_read] = 3 * np.eye(4)[:, :n_read]
        module = two_layer(W1, np.zeros(n_units), W2, [0.0], nn.Tanh)
        X = rng.normal(size=(200, 4))
        y = module(torch.as_tensor(X)).detach().numpy()[:, 0] + rng.normal(size=200)
        probe = AblationProbe(from_module(module), random_state=seed).fit(X, y)
        assert np.flatnonzero(probe.support_).tolist() == list(range(n_read))


@pytest.mark.parametrize(
    ("lowest", "least", "said"),
    [
        (0.04, 0.04, "cannot pass, and 4 of 4 units"),
        (0.2, 0.1, "even all 4 units"),  # no unit could be beyond chance, however far it is
        (0.6, 0.04, ""),
    ],
)
def test_the_warning_says_how_many_units_it_takes(lowest, least, said):
    p, dead = np.array([lowest, 0.7, 0.8, 0.9]), np.zeros(4, dtype=bool)
    found = above_chance(np.ones(4), p, np.ones(4), np.full(4, least), dead)
    assert not found.found.any()
    assert said in found.if_none
    assert ("Raise n_null" in found.if_none) == bool(said)


def test_layers_with_too_few_draws_are_named_though_others_have_enough():
    least = np.repeat([1e-3, 0.02], [10, 2])
    said = resolution(least, np.zeros(12, dtype=bool))
    assert said.startswith(" 2 of 12 units could not pass alone")
    assert resolution(least[:10], np.zeros(10, dtype=bool)) == ""
    assert resolution(least, np.arange(12) >= 10) == ""  # the two are dead


def test_above_a_thousand_units_a_single_one_can_pass():
    module = two_layer(RNG(0).normal(size=(1, 1100)), np.zeros(1100), np.zeros((1100, 1)), [0.0])
    vector = ParameterVector.of(module)
    units = Units.find(module, torch.zeros(3, 1).double())
    directions = UnitDirections.of(units, vector, "plain", False, torch.float64)
    v = torch.randn(1, len(vector), dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    null = flat_alignment_null(directions, Subspace(v / v.norm()), 22_000, RNG(0))
    assert n_to_pass(null.least_p_values(1100), np.zeros(1100, dtype=bool)) == 1


def responses(rng, k, m, n_units):
    """Of top directions that are no others than random ones; units share what directions do."""
    energies = rng.chisquare(1, size=(k + m, n_units)) * rng.lognormal(size=(k + m, 1))
    top, random = energies[:k], energies[k:]
    return Response(top, random, random, np.ones(k), np.ones(m))


@pytest.mark.parametrize(("k", "n"), [(10, 150), (1, 60)])
def test_the_null_of_the_response_is_exact_where_it_is_true(k, n):
    """A unit was selected in 11 % of the networks at 10 directions, in 59 % at one."""
    rng, first, any_found = RNG(0), [], 0
    for _ in range(n):
        response = responses(rng, k, 4 * k, 16)
        p = response.null(400, rng).p_values(response.scores())
        first.append(p[0])
        any_found += q_values(p, np.zeros(16, dtype=bool)).min() <= 0.05
    assert np.mean(np.array(first) <= 0.2) <= stats.binom.isf(1e-3, n, 0.2) / n
    assert any_found <= stats.binom.isf(1e-3, n, 0.05)
    if k == 1:  # one of five directions is never the best by more than chance
        assert min(first) > 0.1


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_no_random_vector_is_counted_twice_in_the_density():
    """The run of the eigenpairs is one of its probes, and another began with the same vector."""
    X, y = random_data(0, n=80)
    net = SAMClassifier((100,), max_iter=3, random_state=0)
    spectrum = HessianSpectrum(
        net, n_components=3, tol=1e-2, n_units=1, n_null=200, density=True, random_state=0
    )
    probes = spectrum.fit(X, y).density_.probes
    assert len(probes) > 2
    traces = np.sort([nodes @ weights for nodes, weights in probes])
    assert np.diff(traces).min() > 1e-9 * np.ptp(traces)
