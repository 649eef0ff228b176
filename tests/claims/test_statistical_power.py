"""Power of paired seeds, against published tables, another formula, and simulation."""

import numpy as np
import pytest
from scipy import stats

from sklflat.claims.statistical_power import paired_power, smallest_effect_seen


# smallest n with 80 % power at .05 / 7, as the protocol has it
@pytest.mark.parametrize(("d", "n"), [(0.8, 24), (1.0, 17), (0.5, 54)])
def test_as_the_protocol_has_it(d, n):
    assert paired_power(d, n - 1, 0.05 / 7) < 0.8 <= paired_power(d, n, 0.05 / 7)
    seen = smallest_effect_seen(n, 0.05 / 7, 0.8)
    assert paired_power(seen, n, 0.05 / 7) == pytest.approx(0.8, abs=1e-6)
    assert seen <= d


# Cohen, Statistical power analysis for the behavioral sciences, 1988: one sample, two-sided .05
@pytest.mark.parametrize(("d", "n"), [(0.2, 199), (0.5, 34), (0.8, 15)])
def test_as_published(d, n):
    assert paired_power(d, n - 1, 0.05) < 0.8 <= paired_power(d, n, 0.05) + 0.005


def test_as_simulated():
    d = np.random.RandomState(0).normal(0.8, 1, size=(20_000, 24))
    found = np.mean(stats.ttest_1samp(d, 0, axis=1).pvalue <= 0.05 / 7)
    assert paired_power(0.8, 24, 0.05 / 7) == pytest.approx(found, abs=0.01)


def test_without_an_effect_it_is_the_level():
    assert paired_power(0.0, 12, 0.01) == pytest.approx(0.01)


def test_the_sign_makes_no_difference():
    assert paired_power(-0.7, 12, 0.05) == pytest.approx(paired_power(0.7, 12, 0.05))


def test_one_pair_is_refused():
    with pytest.raises(ValueError, match="n == 1"):
        paired_power(0.5, 1, 0.05)
