"""Whether disagreement predicts the variance over the basin: against counting, and calibrated."""

from itertools import product

import numpy as np
import pytest
from scipy import stats
from scipy.special import expit
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from sklflat.surrogate import degeneracy_test
from sklflat.surrogate.degeneracy import apart, beyond_margin, output_variance, strata_of
from sklflat.surrogate.teacher import Answers


def drawn(seed, n, beyond=0.0):
    """Disagreement and variance that both fall with the margin, and share no more than `beyond`."""
    rng = np.random.RandomState(seed)
    margin = rng.exponential(size=n)
    shared = rng.normal(size=n)
    near = np.exp(-2 * margin)
    differs = rng.uniform(size=n) < np.clip(0.7 * near + beyond * (shared > 1), 0, 1)
    distance = near + 0.1 * rng.uniform(size=n) + 0.5 * differs
    variance = np.exp(-margin + 0.3 * rng.normal(size=n) + 3 * beyond * shared)
    return differs, distance, variance, margin


def test_area_is_the_share_of_pairs_in_order_within_strata():
    differs, distance, variance, margin = drawn(0, 120)
    variance = variance.round(1)
    left, stratum = beyond_margin(variance, margin), strata_of(margin)
    pairs = [
        1.0 if left[i] > left[j] else 0.5 if left[i] == left[j] else 0.0
        for i, j in product(range(120), repeat=2)
        if differs[i] and not differs[j] and stratum[i] == stratum[j]
    ]
    test = degeneracy_test(differs, distance, variance, margin, random_state=0)
    assert test.auc == pytest.approx(np.mean(pairs))
    assert test.auc_all == pytest.approx(roc_auc_score(differs, variance))
    assert test.auc_margin == pytest.approx(roc_auc_score(differs, -margin))


def test_correlation_of_one_stratum_is_spearmans():
    rng = np.random.RandomState(0)
    distance, variance = rng.normal(size=(2, 3))
    # three rows are one stratum, and too few for a polynomial
    test = degeneracy_test(distance > 0, distance, variance, np.arange(3), random_state=0)
    assert test.correlation == pytest.approx(spearmanr(distance, variance)[0])


def test_what_the_margin_explains_is_taken_off():
    """Of a function of the margin nothing is left but rounding, of noise all but six degrees."""
    margin = np.random.RandomState(0).permutation(1000) / 1000
    assert np.abs(beyond_margin(margin**2, margin)).max() < 1e-9
    # of |u| on [-1, 1] Legendre's first six polynomials leave 1 / 64 of the variance
    hat = beyond_margin(np.abs(margin - 0.5), margin)
    assert 12 * hat.var() == pytest.approx(1 / 64, rel=0.02)
    noise = np.random.RandomState(1).normal(size=1000)
    left = beyond_margin(noise, margin)
    assert left.var() * 12 == pytest.approx(1 - 6 / 1000, abs=0.01)


def test_strata_are_deciles_or_smaller_and_ordered_by_the_margin():
    margin = np.random.RandomState(0).normal(size=100)
    stratum = strata_of(margin)
    assert np.bincount(stratum).tolist() == [10] * 10
    for s in range(9):
        assert margin[stratum == s].max() <= margin[stratum == s + 1].min()
    assert np.bincount(strata_of(np.arange(5000))).max() == 20


def test_the_margin_explains_nothing_of_what_is_found_at_equal_margin():
    """Variance that is the margin's own function has a high area, and none beyond the margin."""
    differs, distance, _, margin = drawn(1, 4000)
    noise = np.random.RandomState(0).normal(size=4000)
    variance = np.exp(-margin + 0.1 * noise)
    test = degeneracy_test(differs, distance, variance, margin, random_state=0)
    assert test.auc_all > 0.7
    assert abs(test.auc - 0.5) < 0.05


def test_what_is_shared_beyond_the_margin_is_found():
    test = degeneracy_test(*drawn(2, 400, beyond=0.5), random_state=0)
    assert test.p_value == 0.001
    assert test.correlation_p_value <= 0.01
    assert "beyond the margin" in test.verdict


@pytest.mark.parametrize("differs", [np.zeros(40, bool), np.ones(40, bool)])
def test_without_pairs_nothing_is_decided(differs):
    rng = np.random.RandomState(0)
    test = degeneracy_test(
        differs, rng.uniform(size=40), rng.uniform(size=40), rng.uniform(size=40)
    )
    assert np.isnan(test.auc)
    assert test.p_value == 1
    assert test.verdict.startswith("undecided")


def test_monotone_functions_of_the_margin_and_the_variance_change_nothing():
    differs, distance, variance, margin = drawn(3, 200)
    one = degeneracy_test(differs, distance, variance, margin, random_state=0)
    two = degeneracy_test(differs, distance**3, np.log(variance), 5 * margin + 1, random_state=0)
    assert one.auc == two.auc
    assert one.p_value == two.p_value
    assert one.correlation == pytest.approx(two.correlation)


def test_labels_differ_and_predictions_are_apart():
    network = Answers(np.array([[0.0, 2.0], [2.0, 0.0]]), np.array([0, 1]))
    other = Answers(np.array([[2.0, 0.0], [2.0, 0.0]]), np.array([0, 1]))
    differs, distance = apart(network, other)
    assert differs.tolist() == [True, False]
    # total variation of (p, 1 - p) and (1 - p, p) is 2 p - 1, with p the sigmoid of 2
    np.testing.assert_allclose(distance, [2 / (1 + np.exp(-2)) - 1, 0])
    far = Answers(np.array([[3.0], [0.0], [0.0]]), None)
    differs, distance = apart(Answers(np.zeros((3, 1)), None), far)
    assert differs.tolist() == [True, False, False]
    np.testing.assert_allclose(distance, [3, 0, 0])


def test_variance_is_of_the_models():
    members = [Answers(np.full((3, 2), float(k)), None) for k in range(5)]
    np.testing.assert_allclose(output_variance(members), 2 * np.var(range(5)))


@pytest.mark.slow
@pytest.mark.parametrize("n", [60, 143, 1000])
def test_calibrated_where_there_is_nothing_beyond_the_margin(n, draws):
    """2,000 runs with all draws, within [.03, .07]; of fewer, 0.9999 of what chance allows."""
    n_runs = draws(300, 2000)
    low, high = np.array(stats.binom.interval(0.9999, n_runs, 0.05)) / n_runs
    tests = [
        degeneracy_test(*drawn(seed, n), n_permutations=199, random_state=seed)
        for seed in range(n_runs)
    ]
    for name in ("p_value", "correlation_p_value"):
        share = np.mean([getattr(test, name) <= 0.05 for test in tests])
        assert min(low, 0.03) <= share <= max(high, 0.07), (name, share)


def test_rows_that_mask_what_the_student_reads_are_found():
    """Two inputs show a label; the network adds them, the student reads a, which half may lack."""
    rng = np.random.RandomState(0)
    cue, lacks = rng.choice([-1.0, 1.0], 4000), rng.uniform(size=4000) < 0.5
    a = 3 * cue * ~lacks + rng.normal(size=4000)
    b = 3 * cue + rng.normal(size=4000)
    network, student = a + b, a
    readings = [Answers(np.column_stack([-z, z]), np.arange(2)) for z in (3 * a, 3 * b)]
    differs = np.sign(network) != np.sign(student)
    test = degeneracy_test(
        differs,
        np.abs(expit(network) - expit(student)),
        output_variance(readings),
        np.abs(network),
        random_state=0,
    )
    assert test.auc > 0.9
    assert test.p_value == 0.001
    # where models vary on rows that the student is right about, too, there is a bound
    everywhere = np.where(rng.uniform(size=4000) < 0.5, b, a), np.where(lacks, a, b)
    other = [Answers(np.column_stack([-z, z]), np.arange(2)) for z in everywhere]
    worse = degeneracy_test(
        differs, differs * 1.0, output_variance(other), np.abs(network), random_state=0
    )
    assert worse.auc < test.auc
