"""UniversalityProbe reads the rows in parts: the same numbers, and memory that rows do not fill."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from sklflat import ActivationProbe, UniversalityProbe, from_module
from sklflat.universality import returns

N_FEATURES, N_UNITS = 3, 7

pytestmark = pytest.mark.filterwarnings("ignore::sklflat.exceptions.NothingFoundWarning")


def network(seed):
    """One unit is dead, and one is in four steps, so that many rows drive it equally."""
    torch.manual_seed(seed)
    first, last = torch.nn.Linear(N_FEATURES, N_UNITS), torch.nn.Linear(N_UNITS, 2)
    with torch.no_grad():
        first.weight[0], first.bias[0] = 0.0, -1.0
        first.weight[1] = torch.tensor([0.0, 0.0, 1.0])
    return from_module(torch.nn.Sequential(first, torch.nn.ReLU(), last), classes=[0, 1])


@pytest.mark.parametrize("weighted", [False, True])
def test_numbers_are_those_of_a_probe_that_keeps_all_rows(weighted, monkeypatch):
    monkeypatch.setattr(returns, "_MAX_VALUES", 20 * N_UNITS)  # parts of at most 20 rows
    rng = np.random.RandomState(0)
    X = rng.normal(size=(130, N_FEATURES))
    X[:, 2] = rng.randint(4, size=130)
    y = rng.randint(2, size=130)
    siblings = [network(k) for k in range(4)]
    fit_params = {"sample_weight": np.where(np.arange(130) % 5, rng.rand(130), 0)}
    fit_params = fit_params if weighted else {}
    options = {"n_null": 50, "random_state": 0}
    ours = UniversalityProbe(siblings, n_untrained=8, **options).fit(X, y, **fit_params)
    whole = ActivationProbe(siblings[0], unit_score="variance", **options)
    whole.fit(X, y, **fit_params)
    assert ours.dead_.tolist() == whole.dead_.tolist()
    assert ours.dead_[0]
    np.testing.assert_allclose(ours.unit_means_, whole.unit_means_, rtol=1e-12)
    np.testing.assert_allclose(ours.unit_variances_, whole.unit_variances_, rtol=1e-12, atol=1e-15)
    for name in whole.unit_names_:
        a, b = ours.unit_card(name), whole.unit_card(name)
        assert list(a.top_samples) == list(b.top_samples)
        assert a.class_means == pytest.approx(b.class_means, rel=1e-6, nan_ok=True)
        assert a.inputs == pytest.approx(b.inputs)


PEAK = """
import resource, sys, warnings
import numpy as np, torch
from sklflat import UniversalityProbe, from_module
warnings.simplefilter("ignore")
def network(seed):
    torch.manual_seed(seed)
    layers = torch.nn.Linear(8, 256), torch.nn.ReLU(), torch.nn.Linear(256, 2)
    return from_module(torch.nn.Sequential(*layers), classes=[0, 1])
n, siblings = int(sys.argv[1]), [network(k) for k in range(4)]
X, y = np.random.RandomState(0).normal(size=(n, 8)).astype("f4"), np.arange(n) % 2
probe = UniversalityProbe(siblings, n_untrained=8, n_null=256, n_units=1, random_state=0)
probe.fit(X, y)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3)
"""


@pytest.mark.slow
def test_memory_is_that_of_ten_times_fewer_rows():
    """The activations of one network on all rows would take 55 MB more of so many more rows."""
    few, many = (
        float(
            subprocess.run(
                [sys.executable, "-c", PEAK, str(n)], check=True, capture_output=True, text=True
            ).stdout
        )
        for n in (3000, 30000)
    )
    assert many - few < 30
