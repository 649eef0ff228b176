"""P-values of networks that have learned nothing are uniform, each against its own kind of chance.

Of 2,000 p-values of a perfect test, less than 3 % or more than 7 % are below .05 once in 20,000
times.
"""

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from sklflat import UniversalityProbe, from_module
from sklflat.probing.nulls import Null, untrained_twins
from sklflat.probing.split import Rows
from sklflat.universality.chance import rotated_returns
from sklflat.universality.networks import UnitsOf
from sklflat.universality.returns import Matching
from tests._probes import two_layer
from tests.probing.test_calibration import D, H, modules, train
from tests.universality.test_returns import of_arrays

N_OTHERS, N_ROWS = 4, 40
MODULE = two_layer(np.zeros((D, H)), np.zeros(H), np.zeros((H, 1)), np.zeros(1), nn.Tanh)


def siblings(networks):
    return [from_module(m, nn.BCEWithLogitsLoss(), classes=[0, 1]) for m in networks]


def prepared(probe, networks, rng):
    """What the probe scores the first of some networks on: fresh rows, labels at random."""
    inputs = rng.normal(size=(N_ROWS, D))
    probe.set_params(estimator=siblings(networks))
    return probe._prepare(Rows(inputs, rng.permutation(np.arange(N_ROWS) % 2), {}), rng)


def untrained(n_draws, rng):
    """Untrained networks among untrained networks."""
    probe = UniversalityProbe(n_untrained=24, n_null=80, signed=False)
    for _ in range(n_draws):
        sample = prepared(probe, untrained_twins(MODULE, N_OTHERS + 1, rng), rng)
        (null,) = probe._draw_nulls(sample, 80, rng)
        yield null.p_values(probe._score_units(sample))[0]


def among_trained(n_draws, rng):
    """An untrained network whose siblings were trained, on labels that say something."""
    copies = N_OTHERS
    X = torch.as_tensor(rng.normal(size=(n_draws, 30, D))).repeat_interleave(copies, 0)
    weights = train(X, (X[:, :, 0] > 0).double(), seed=0)
    probe = UniversalityProbe(n_untrained=24, n_null=80, signed=False)
    for draw in range(n_draws):
        first = list(untrained_twins(MODULE, 1, rng))
        trained = modules(weights, range(draw * copies, (draw + 1) * copies))
        sample = prepared(probe, [*first, *trained], rng)
        (null,) = probe._draw_nulls(sample, 80, rng)
        yield null.p_values(probe._score_units(sample))[0]


def shuffled(n_draws, rng):
    """Networks trained on labels that were drawn anew for each, the pool among them."""
    n_pool = 4 * N_OTHERS
    copies = 1 + N_OTHERS + n_pool
    X = torch.as_tensor(rng.normal(size=(n_draws, 30, D))).repeat_interleave(copies, 0)
    y = torch.as_tensor(rng.randint(2, size=(n_draws * copies, 30)).astype(float))
    weights = train(X, y, seed=0)
    probe = UniversalityProbe(n_null=80, signed=False)
    for draw in range(n_draws):
        own = list(modules(weights, range(draw * copies, (draw + 1) * copies)))
        sample = prepared(probe.set_params(null="untrained"), own[: 1 + N_OTHERS], rng)
        vars(sample)["null"] = "shuffled_labels"
        vars(sample)["pool"] = [UnitsOf(m, sample.units) for m in own[1 + N_OTHERS :]]
        (null,) = probe._draw_nulls(sample, 80, rng)
        yield null.p_values(probe._score_units(sample))[0]


def rotated(n_draws, rng):
    """Layers that share a subspace with the first, in a random basis."""
    for _ in range(n_draws):
        A = rng.normal(size=(N_ROWS, H)) ** 3
        noisy = [(A + rng.normal(size=A.shape)) for _ in range(3)]
        pairs = [of_arrays(A, B @ stats.ortho_group.rvs(H, random_state=rng)) for B in noisy]
        C = [p.together[0].correlations for p in pairs]
        layer = np.zeros(H, dtype=int)
        score = np.mean([Matching().largest(c, layer, layer)[0] for c in C], axis=0)
        draws = np.mean([rotated_returns(p, Matching(), 30, rng) for p in pairs], axis=0)
        yield Null("random rotations of the layers", draws).p_values(score)[0]


KINDS = {
    "untrained": untrained,
    "among trained": among_trained,
    "shuffled": shuffled,
    "rotated": rotated,
}


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kind", KINDS)
def test_rejections_of_networks_that_have_learned_nothing(kind, draws):
    n = draws(150, 2000)
    low, high = (0.03, 0.07) if n == 2000 else np.array(stats.binom.interval(0.999, n, 0.05)) / n
    p = np.array(list(KINDS[kind](n, np.random.RandomState(0))))
    rate = np.mean(p <= 0.05)
    assert low <= rate <= high, rate
    assert stats.kstest(p, "uniform").statistic < 0.06 * np.sqrt(2000 / n)
