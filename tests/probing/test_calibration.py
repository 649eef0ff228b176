"""P-values of networks that have learned nothing real are uniform.

Tiny networks are trained on labels that say nothing, many at once; each is then probed on fresh
data and one unit's p-value is kept. Of 2,000 p-values of a perfect test, less than 3 % or more than
7 % are below 0.05 once in 20,000 times.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from sklflat import AblationProbe, ActivationProbe, from_module
from sklflat.networks import Network
from sklflat.probing import Sample
from tests._probes import two_layer
from tests._slow import slow_unless

D, H, N_TRAIN, N_FRESH, N_TWINS = 3, 4, 30, 40, 20
PROBES = {
    "ablation": AblationProbe(n_null=400, n_units=1),
    "selectivity": ActivationProbe(n_null=400, n_units=1),
    "correlation": ActivationProbe(unit_score="correlation", n_null=400, n_units=1),
    "class_variance": ActivationProbe(unit_score="class_variance", n_null=400, n_units=1),
    "variance": ActivationProbe(unit_score="variance", n_null=N_TWINS * H, n_units=1),
    "explainability": ActivationProbe(unit_score="explainability", n_null=N_TWINS * H, n_units=1),
}


def train(X, y, seed, steps=60, rate=0.3):
    """Weights of as many networks as y has rows, by full-batch gradient descent."""
    generator = torch.Generator().manual_seed(seed)
    n = len(y)
    shapes = [(D, H), (1, H), (H, 1), (1, 1)]
    weights = [
        torch.randn(n, *shape, generator=generator, dtype=torch.float64).requires_grad_()
        for shape in shapes
    ]
    for _ in range(steps):
        W1, b1, W2, b2 = weights
        z = torch.tanh(X @ W1 + b1) @ W2 + b2
        loss = nn.functional.binary_cross_entropy_with_logits(z[..., 0], y, reduction="sum")
        gradients = torch.autograd.grad(loss / N_TRAIN, weights)
        with torch.no_grad():
            for w, g in zip(weights, gradients, strict=True):
                w -= rate * g
    return [w.detach().numpy() for w in weights]


def modules(weights, chosen):
    for i in chosen:
        W1, b1, W2, b2 = (w[i] for w in weights)
        yield two_layer(W1, b1[0], W2, b2[0], nn.Tanh)


def p_values(name, n_draws, seed):
    """One unit's p-value in each of n_draws independent networks on independent data."""
    probe, rng = PROBES[name], np.random.RandomState(seed)
    with_twins = name in ("variance", "explainability")
    copies = 1 + (N_TWINS if with_twins else 0)
    X = torch.as_tensor(rng.normal(size=(n_draws, N_TRAIN, D))).repeat_interleave(copies, 0)
    y = torch.as_tensor(rng.randint(2, size=(n_draws * copies, N_TRAIN)).astype(float))
    weights = train(X, y, seed)
    for draw in range(n_draws):
        first, *twins = modules(weights, range(draw * copies, (draw + 1) * copies))
        fresh = rng.normal(size=(N_FRESH, D))
        labels = rng.permutation(np.arange(N_FRESH) % 2)
        frozen = from_module(first, nn.BCEWithLogitsLoss(), classes=[0, 1])
        sample = Sample.of(frozen, fresh, labels)
        if with_twins:
            sample = _Retrained(**vars(sample) | {"training": "by the test"}, twins=twins)
        scores = probe._score_units(sample)
        (null,) = probe._draw_nulls(sample, probe.n_null, rng)
        yield null.p_values(scores)[0]


class _Retrained(Sample):
    """A sample whose twins were trained beforehand, all at once."""

    def __init__(self, *, twins, **fields):
        super().__init__(**{k: v for k, v in fields.items() if k in Sample.__dataclass_fields__})
        object.__setattr__(self, "twins", twins)

    def shuffled_label_twins(self, n, rng, verbose=0):
        assert n == len(self.twins)
        for module in self.twins:
            network = Network(module, self.network.criterion.module)
            trained = replace(self.trained, network=network)
            yield Sample(trained, self.units, self.raw, self.y, None, None)


def rejections_are_within(name, n_draws, low, high):
    p = np.array(list(p_values(name, n_draws, seed=0)))
    rate = np.mean(p <= 0.05)
    assert low <= rate <= high, rate
    return p


@pytest.mark.parametrize("name", slow_unless(lambda name: name == "ablation", PROBES))
def test_rejections_of_a_few_networks(name):
    low, high = np.array(stats.binom.interval(0.9999, 40, 0.05)) / 40
    p = rejections_are_within(name, 40, low, high)
    assert abs(p.mean() - 0.5) < 4 / np.sqrt(12 * 40)  # four standard errors


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", PROBES)
def test_rejections_of_two_thousand_networks(name, draws):
    n = draws(200, 2000)
    low, high = (0.03, 0.07) if n == 2000 else np.array(stats.binom.interval(0.999, n, 0.05)) / n
    p = rejections_are_within(name, n, low, high)
    assert stats.kstest(p, "uniform").statistic < 0.06 * np.sqrt(2000 / n)
