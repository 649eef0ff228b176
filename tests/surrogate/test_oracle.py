"""Oracle samples: what they keep of the data, column by column."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sklflat.surrogate import Columns, draw_oracle_samples
from sklflat.surrogate.oracle import BANDWIDTH, INDEPENDENT, n_oracle_samples


def rng(seed=0):
    return np.random.RandomState(seed)


def table(n=300, seed=0):
    r = rng(seed)
    size = r.normal(size=n)
    return pd.DataFrame(
        {
            "size": size,
            "count": r.poisson(5, size=n),
            "flag": r.randint(2, size=n),
            "colour": np.where(size > 0, "red", np.where(r.uniform(size=n) < 0.5, "blue", "green")),
            "shape": pd.Categorical(r.choice(["box", "ball"], size=n)),
        }
    )


def test_moments_are_those_of_the_formula():
    """Covariance S + h^2 ((1 - l) S + l diag S), where no value is cut off at the range."""
    S = np.array([[1.0, 0.8, 0.0], [0.8, 2.0, -0.5], [0.0, -0.5, 0.5]])
    X = rng().multivariate_normal([0, 10, -5], S, size=20_000)
    samples = draw_oracle_samples(X, Columns.of(X), 100_000, rng(1))
    C = np.cov(X.T)
    h2 = BANDWIDTH**2
    expected = C + h2 * ((1 - INDEPENDENT) * C + INDEPENDENT * np.diag(np.diag(C)))
    np.testing.assert_allclose(np.cov(samples.T), expected, atol=0.03)
    np.testing.assert_allclose(samples.mean(axis=0), X.mean(axis=0), atol=0.02)


def test_a_table_gives_a_table_of_the_same_kinds():
    X = table()
    columns = Columns.of(X)
    assert columns.kinds == ("number", "integer", "binary", "category", "category")
    drawn = columns.to_data(draw_oracle_samples(columns.codes(X), columns, 1000, rng()), X)
    assert list(drawn.columns) == list(X.columns)
    assert (drawn.dtypes == X.dtypes).all()
    assert set(drawn["colour"]) == {"red", "blue", "green"}
    assert drawn["count"].between(X["count"].min(), X["count"].max()).all()


def test_discrete_values_come_from_rows_nearby():
    """Red is what is above 0, up to what noise and neighbours move across."""
    X = table(3000)
    columns = Columns.of(X)
    drawn = columns.to_data(draw_oracle_samples(columns.codes(X), columns, 5000, rng()), X)
    far = drawn["size"].abs() > 1
    right = (drawn["colour"] == "red") == (drawn["size"] > 0)
    assert right[far].mean() > 0.98
    pairs = {tuple(row) for row in X[["flag", "colour", "shape"]].itertuples(index=False)}
    found = {tuple(row) for row in drawn[["flag", "colour", "shape"]].itertuples(index=False)}
    assert found <= pairs  # no combination is made up


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 40), st.integers(1, 5))
def test_no_sample_leaves_the_range(seed, n, d):
    X = rng(seed).standard_cauchy(size=(n, d))
    X[:, 0] = np.round(X[:, 0])
    samples = draw_oracle_samples(X, Columns.of(X), 100, rng(seed))
    assert (samples >= X.min(axis=0)).all()
    assert (samples <= X.max(axis=0)).all()
    assert (samples[:, 0] == np.round(samples[:, 0])).all()


def test_scale_and_shift_of_a_column_go_through():
    X = rng().normal(size=(200, 3))
    one = draw_oracle_samples(X, Columns.of(X), 50, rng(1))
    moved = X * [2.0, 1e6, 1e-6] + [0, 5, -1]
    two = draw_oracle_samples(moved, Columns.of(moved), 50, rng(1))
    np.testing.assert_allclose(two, one * [2.0, 1e6, 1e-6] + [0, 5, -1], rtol=1e-6)


def test_rows_without_weight_are_not_drawn_and_missing_values_stay():
    X = rng().normal(size=(50, 2))
    X[10, 1] = np.nan
    weight = np.zeros(50)
    weight[[10, 11]] = 1
    samples = draw_oracle_samples(X, Columns.of(X), 400, rng(), weight)
    missing = np.isnan(samples[:, 1])
    assert 150 < missing.sum() < 250
    assert np.abs(samples[missing, 0] - X[10, 0]).max() < 2
    assert not np.isnan(samples[:, 0]).any()


def test_constant_columns_stay_constant():
    X = np.column_stack([np.ones(30), rng().normal(size=30)])
    assert (draw_oracle_samples(X, Columns.of(X), 100, rng())[:, 0] == 1).all()


@pytest.mark.parametrize(
    ("asked", "n", "expected"), [("auto", 10, 400), ("auto", 999, 10_000), (7, 99, 7)]
)
def test_how_many(asked, n, expected):
    assert n_oracle_samples(asked, n) == expected


def test_codes_come_back_as_data():
    X = table()
    columns = Columns.of(X)
    pd.testing.assert_frame_equal(columns.to_data(columns.codes(X), X), X)
    images = rng().normal(size=(6, 2, 3, 3)).astype(np.float32)
    seen = Columns.of(images)
    again = seen.to_data(seen.codes(images), images)
    assert again.dtype == np.float32
    np.testing.assert_array_equal(again, images)


def test_a_category_that_is_new_is_none_of_the_known_ones():
    X = pd.DataFrame({"colour": ["red", "blue", None]})
    columns = Columns.of(X)
    features = columns.to_features(columns.codes(pd.DataFrame({"colour": ["green", None]})))
    assert columns.feature_names == ("colour = missing", "colour = blue", "colour = red")
    np.testing.assert_array_equal(features, [[0, 0, 0], [1, 0, 0]])


def test_another_number_of_columns_is_refused():
    with pytest.raises(ValueError, match="X has 3 columns, but 2 are expected"):
        Columns.of(np.ones((4, 2))).codes(np.ones((4, 3)))
