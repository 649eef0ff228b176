"""Cues, copies and mechanisms: strengths and correlations are what was asked for."""

import numpy as np
import pytest
from scipy import stats
from sklearn.linear_model import LogisticRegression

from sklflat.datasets import make_redundant_features, make_spurious, make_two_mechanisms


def tolerance(rho, n):
    """Four standard errors of a correlation of binary variables."""
    return 4 * np.sqrt((1 - rho**2) / n)


@pytest.mark.parametrize("rho", [(0.9, 0.5, 0.0, -0.8), (1.0, -1.0), 0.3])
def test_the_spurious_cue_follows_the_label_as_each_environment_says(rho):
    _, y, truth = make_spurious(12_000, spurious_correlation=rho, random_state=0)
    signs, sizes = 2 * y - 1, np.bincount(truth.environment)
    assert np.ptp(sizes) <= 1
    for e, expected in enumerate(np.atleast_1d(rho)):
        rows = truth.environment == e
        assert y[rows].mean() == pytest.approx(0.5, abs=1 / sizes[e])
        correlation = np.corrcoef(signs[rows], truth.cues[rows, 1])[0, 1]
        assert correlation == pytest.approx(expected, abs=tolerance(expected, sizes[e]) + 1e-12)
    aligned = truth.regions == "aligned"
    assert np.array_equal(aligned, truth.cues[:, 1] == signs)
    assert np.array_equal(truth.cues[:, 0], signs)


def test_with_label_noise_the_spurious_cue_follows_the_label_and_not_the_real_cue():
    n = 20_000
    _, y, truth = make_spurious(n, spurious_correlation=0.8, label_noise=0.25, random_state=0)
    real, spurious = truth.cues.T
    assert np.mean(spurious * (2 * y - 1)) == pytest.approx(0.8, abs=tolerance(0.8, n))
    assert np.mean(real * (2 * y - 1)) == pytest.approx(0.5, abs=tolerance(0.5, n))
    assert np.mean(real * spurious) == pytest.approx(0.8 * 0.5, abs=tolerance(0.4, n))


@pytest.mark.parametrize(("easiness", "signal"), [(0.0, 1.0), (0.5, 2.0), (4.0, 0.25)])
def test_columns_show_their_cue_at_the_signal_to_noise_ratio_asked_for(easiness, signal):
    n = 20_000
    X, _, truth = make_spurious(
        n, n_spurious=2, easiness=easiness, signal=signal, label_noise=0.1, random_state=0
    )
    expected = {"real": (0, signal), "spurious": (1, easiness)}
    for role, (cue, ratio) in expected.items():
        shown = X[:, truth.roles == role] * truth.cues[:, [cue]]
        np.testing.assert_allclose(shown.mean(axis=0), ratio, atol=4 / np.sqrt(n))
        np.testing.assert_allclose(shown.std(axis=0), 1, atol=4 / np.sqrt(2 * n))
        errors = np.mean(shown < 0, axis=0)
        np.testing.assert_allclose(errors, stats.norm.cdf(-ratio), atol=2 / np.sqrt(n))
    noise = X[:, truth.roles == "noise"]
    correlations = noise.T @ truth.cues / n
    assert np.abs(correlations).max() < 4.5 / np.sqrt(n)
    assert noise.shape[1] == 6


def test_turning_a_dial_changes_nothing_but_its_columns():
    base, y, truth = make_spurious(500, spurious_correlation=0.9, random_state=0)
    for dial in ({"easiness": 0.1}, {"spurious_correlation": -0.9}):
        X, same_y, same = make_spurious(
            500, **{"spurious_correlation": 0.9, **dial}, random_state=0
        )
        assert np.array_equal(y, same_y)
        assert np.array_equal(truth.roles, same.roles)
        changed = (base != X).any(axis=0)
        assert np.array_equal(changed, truth.roles == "spurious")


def test_a_model_that_learned_the_easy_cue_fails_where_it_is_reversed():
    X, y, truth = make_spurious(
        3000, easiness=5.0, signal=0.3, spurious_correlation=(0.95, -0.95), random_state=0
    )
    train = truth.environment == 0
    model = LogisticRegression().fit(X[train], y[train])
    # the cue alone is right in (1 + rho) / 2 of the samples
    assert model.score(X[train], y[train]) == pytest.approx(0.975, abs=0.015)
    assert model.score(X[~train], y[~train]) == pytest.approx(0.025, abs=0.03)
    assert truth.auc(np.abs(model.coef_[0]), against="spurious") == 0


@pytest.mark.parametrize("rho", [1.0, 0.6])
def test_copies_of_a_feature_correlate_as_asked_and_features_not_at_all(rho):
    n = 20_000
    X, _, truth = make_redundant_features(n, correlation=rho, random_state=0)
    correlations = np.abs(np.corrcoef(X.T))
    together = (truth.groups[:, None] == truth.groups) & (truth.groups >= 0)
    np.fill_diagonal(together, False)
    np.testing.assert_allclose(correlations[together], rho, atol=tolerance(rho, n) + 1e-12)
    apart = ~together & ~np.eye(len(correlations), dtype=bool)
    assert correlations[apart].max() < 4.5 / np.sqrt(n)
    np.testing.assert_allclose(X.std(axis=0), 1, atol=4 / np.sqrt(2 * n))
    assert np.bincount(truth.groups[truth.inputs]).tolist() == [3, 3, 3]
    for group in range(3):
        column = X[:, truth.groups == group][:, 0]
        found = abs(np.corrcoef(column, truth.latent[:, group])[0, 1])
        assert found == pytest.approx(np.sqrt(rho), abs=4 / np.sqrt(n))


def test_exact_copies_span_one_dimension_a_feature():
    X, y, truth = make_redundant_features(500, n_informative=4, random_state=0)
    assert np.linalg.matrix_rank(X[:, truth.inputs]) == 4
    assert np.array_equal(y, truth.latent @ truth.coef > 0)
    model = LogisticRegression(C=1e6, max_iter=1000).fit(X[:, truth.inputs], y)
    assert model.score(X[:, truth.inputs], y) == 1


def test_the_spurious_input_beside_redundant_ones():
    n = 20_000
    X, y, truth = make_redundant_features(n, easiness=2.0, spurious_correlation=0.8, random_state=0)
    (column,) = X.T[truth.roles == "spurious"]
    assert not truth.inputs[truth.roles == "spurious"].any()
    # E[x (2 y - 1)] is easiness times the correlation, of y as balanced as a sign can be
    expected, spread = 2.0 * 0.8, np.sqrt(1 + 4 * (1 - 0.8**2))
    assert np.mean(column * (2 * y - 1)) == pytest.approx(expected, abs=4 * spread / np.sqrt(n))
    assert "spurious" not in make_redundant_features(9, random_state=0)[2].roles


@pytest.mark.parametrize("proportions", [(1 / 3, 1 / 3, 1 / 3), (0.5, 0.1, 0.4), (0, 0, 1)])
def test_mechanisms_are_open_where_their_region_says(proportions):
    n, signal = 12_000, 2.0
    X, y, truth = make_two_mechanisms(
        n, n_a=3, signal=signal, proportions=proportions, random_state=0
    )
    assert y.mean() == 0.5
    for region, p in zip(("a", "b", "both"), proportions, strict=True):
        rows = truth.regions == region
        assert rows.mean() == pytest.approx(p, abs=4 * np.sqrt(p * (1 - p) / n) + 1e-12)
        for role in ("a", "b", "noise"):
            shown = X[np.ix_(rows, truth.roles == role)] * (2 * y[rows, None] - 1)
            expected = signal if role != "noise" and region in (role, "both") else 0.0
            if rows.any():
                slack = 4.5 / np.sqrt(rows.sum())
                np.testing.assert_allclose(shown.mean(axis=0), expected, atol=slack)
                np.testing.assert_allclose(shown.std(axis=0), 1, atol=slack)
    assert np.array_equal(truth.groups, [{"a": 0, "b": 1, "noise": -1}[r] for r in truth.roles])
    assert truth.auc(truth.roles == "a", against="b") == 1


def test_label_noise_leaves_the_mechanisms_reading_the_cue():
    X, y, truth = make_two_mechanisms(8000, signal=9.0, label_noise=0.2, random_state=0)
    read = X[:, truth.inputs].sum(axis=1) > 0
    assert np.mean(read == y) == pytest.approx(0.8, abs=4 * np.sqrt(0.16 / 8000))
