"""Tango's interval, against its closed form and its coverage, counted out."""

import numpy as np
import pytest
from scipy.stats import multinomial

from sklflat.metrics import paired_rate_interval

RATES = [(0.01, 0.01), (0.05, 0.05), (0.1, 0.02), (0.3, 0.1), (0.05, 0.0), (0.1, 0.0)]


@pytest.mark.parametrize("n", [20, 50])
def test_coverage_of_each_end_over_all_outcomes(n):
    """Nominally .975 an end and .95 in all; published is .945 and more from n = 20 on."""
    counts = np.array([(b, c) for b in range(n + 1) for c in range(n + 1 - b) if b + c <= n * 0.9])
    ends = np.array([paired_rate_interval(int(b), int(c), n) for b, c in counts])
    for up, down in RATES:
        outcomes = np.c_[counts, n - counts.sum(axis=1)]
        p = multinomial.pmf(outcomes, n, [up, down, 1 - up - down])
        above = float(p @ (ends[:, 1] >= up - down))
        below = float(p @ (ends[:, 0] <= up - down))
        assert min(above, below) > 0.965
        assert above + below - 1 > 0.94


def test_ends_mirror_and_reach_the_end_of_the_scale():
    low, high = paired_rate_interval(9, 1, 50)
    assert paired_rate_interval(1, 9, 50) == pytest.approx((-high, -low))
    low, high = paired_rate_interval(50, 0, 50)
    assert high == 1
    assert 0.85 < low < 0.95


@pytest.mark.parametrize("counts", [(0, 0, 0), (-1, 0, 5), (4, 3, 5)])
def test_impossible_counts_are_refused(counts):
    with pytest.raises(ValueError, match="n_up="):
        paired_rate_interval(*counts)
