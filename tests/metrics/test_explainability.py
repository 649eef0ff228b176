"""Cross-validated explanations of units, against scikit-learn on the same folds."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LinearRegression, OrthogonalMatchingPursuit
from sklearn.metrics import r2_score
from sklearn.model_selection import PredefinedSplit, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeRegressor

from sklflat.metrics import sparse_probe_explainability, tree_explainability

RNG = np.random.RandomState(0)
F = RNG.normal(size=(120, 6)) * [1, 10, 0.1, 1, 1, 1] + 3
A = np.maximum(F @ RNG.normal(size=(6, 4)), 0) + 0.1 * RNG.normal(size=(120, 4))


def by_sklearn(model, A, F):
    """Rows in the order of the last column of F are dealt out to five folds at random."""
    order = np.argsort(F[:, -1])
    split = PredefinedSplit(np.random.RandomState(0).permutation(len(F)) % 5)
    Z = StandardScaler().fit_transform(A[order])
    predicted = [cross_val_predict(model, F[order], z, cv=split) for z in Z.T]
    return [max(0, r2_score(z, p)) for z, p in zip(Z.T, predicted, strict=True)]


@pytest.mark.parametrize("k", [1, 2, 4])
def test_sparse_probe_is_orthogonal_matching_pursuit(k):
    model = make_pipeline(StandardScaler(), OrthogonalMatchingPursuit(n_nonzero_coefs=k))
    expected = by_sklearn(model, A, F)
    np.testing.assert_allclose(sparse_probe_explainability(A, F, k=k), expected, rtol=1e-8)


def test_all_factors_are_least_squares():
    expected = by_sklearn(LinearRegression(), A, F)
    for k in 6, 99:
        np.testing.assert_allclose(sparse_probe_explainability(A, F, k=k), expected, rtol=1e-8)


def test_trees():
    model = DecisionTreeRegressor(max_depth=3, random_state=0)
    np.testing.assert_allclose(
        tree_explainability(A, F, max_depth=3), by_sklearn(model, A, F), rtol=1e-10
    )


@pytest.mark.parametrize("depth", [1, 2])
def test_trees_of_few_thresholds_are_trees_of_binned_factors(depth):
    """By scikit-learn's tree, one unit after the other, on the numbers of the bins."""
    factors = RNG.normal(size=(600, 4))
    units = np.maximum(factors @ RNG.normal(size=(4, 9)), 0)
    fold = np.random.RandomState(0).permutation(600) % 5
    order = np.argsort(factors[:, -1])
    F_, A_ = factors[order], units[order]
    error = np.zeros(9)
    for k in range(5):
        train, left = fold != k, fold == k
        cuts = [np.quantile(c, np.linspace(0, 1, 9)[1:-1], method="lower") for c in F_[train].T]
        binned = np.column_stack(
            [np.searchsorted(c, x, side="left") for c, x in zip(cuts, F_.T, strict=True)]
        )
        tree = DecisionTreeRegressor(max_depth=depth, random_state=0)
        for u, a in enumerate(A_.T):
            said = tree.fit(binned[train], a[train]).predict(binned[left])
            error[u] += np.square(a[left] - said).sum()
    expected = 1 - error / np.square(A_ - A_.mean(axis=0)).sum(axis=0)
    # a left-out value between a quantile and the next one may lie on either side of the cut
    found = tree_explainability(units, factors, max_depth=depth, max_cuts=7)
    np.testing.assert_allclose(found, expected, atol=0.01)
    assert tree_explainability(units, np.ones((600, 2)), max_cuts=3).max() < 0.01


def test_many_thresholds_are_all_of_them():
    """Ten values of a factor have nine thresholds, for either way to grow a tree."""
    factors = RNG.randint(10, size=(500, 3)).astype(float)
    units = np.column_stack([factors[:, 0] * (factors[:, 1] > 4), factors[:, 2] ** 2])
    np.testing.assert_allclose(
        tree_explainability(units, factors, max_depth=3, max_cuts=9),
        tree_explainability(units, factors, max_depth=3),
        atol=1e-9,
    )


def test_noise_and_constants_are_not_explained():
    noise = np.random.RandomState(1).normal(size=(120, 30))
    assert sparse_probe_explainability(noise, F, k=2).mean() < 0.02
    for score in sparse_probe_explainability, tree_explainability:
        np.testing.assert_array_equal(score(np.full((120, 2), 7.7), F), 0)


@pytest.mark.parametrize("score", [sparse_probe_explainability, tree_explainability])
def test_rows_of_equal_factors(score):
    """Labels as factors: the order within a label is random, and neither rows nor units matter."""
    rng = np.random.RandomState(0)
    factor = rng.randint(3, size=(300, 1)).astype(float)
    units = np.maximum(factor + rng.normal(size=(300, 3)), 0)
    plain = score(units, factor)
    rows = rng.permutation(300)
    np.testing.assert_allclose(score(units[rows], factor[rows]), plain, rtol=1e-9)
    np.testing.assert_allclose(score(units[:, 1:2], factor), plain[1:2], rtol=1e-9)
    np.testing.assert_allclose(score(9 * units + 1, factor), plain, rtol=1e-9)
    # 60 groups of 5 rows explain nothing of noise, though 59/299 of it within the sample
    noise = rng.normal(size=(300, 40))
    assert score(noise, np.repeat(np.arange(60.0), 5)[:, None]).mean() < 0.02


def test_a_full_grid_of_factors():
    """Five levels and five folds: no fold may take all of one level with it."""
    grid = np.stack(np.meshgrid(*[np.arange(5.0)] * 3), axis=-1).reshape(-1, 3)
    np.testing.assert_allclose(tree_explainability(grid == 2, grid), 1)
    np.testing.assert_allclose(sparse_probe_explainability(grid, grid), 1)


@pytest.mark.parametrize("score", [sparse_probe_explainability, tree_explainability])
def test_scale_and_shift_of_factors(score):
    """Single precision, in which trees see them, has steps of 64 at 1e9."""
    for other in F * 2.0**600, F * 2.0**-600, F + 1e9:
        np.testing.assert_allclose(score(A, other), score(A, F), rtol=1e-5, atol=1e-7)


def test_constant_factors_explain_nothing():
    constant = np.full((120, 2), 0.1)
    np.testing.assert_array_equal(sparse_probe_explainability(A, constant), 0)
    np.testing.assert_allclose(
        sparse_probe_explainability(A, np.c_[constant, F]), sparse_probe_explainability(A, F)
    )


@pytest.mark.parametrize("score", [sparse_probe_explainability, tree_explainability])
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10_000), factor=st.floats(1e-2, 1e2), shift=st.floats(-10, 10))
def test_invariances(score, seed, factor, shift):
    rng = np.random.RandomState(seed)
    rows, units = rng.permutation(120), rng.permutation(4)
    plain = score(A, F)
    np.testing.assert_allclose(score(A[rows], F[rows]), plain, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(score(A[:, units], F), plain[units], rtol=1e-6)
    np.testing.assert_allclose(score(factor * A + shift, F), plain, rtol=1e-6, atol=1e-9)


def test_bad_input():
    with pytest.raises(ValueError, match="minimum of 5"):
        sparse_probe_explainability(A[:3], F[:3])
    with pytest.raises(ValueError, match="k == 0"):
        sparse_probe_explainability(A, F, k=0)
    with pytest.raises(ValueError, match="max_depth"):
        tree_explainability(A, F, max_depth=0)
    with pytest.raises(ValueError, match="max_cuts == 0"):
        tree_explainability(A, F, max_cuts=0)
    with pytest.raises(ValueError, match="factors"):
        tree_explainability(A, F * np.nan)
