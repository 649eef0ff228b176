"""Expected calibration error against hand-worked values and other formulas."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve

from sklflat.metrics import expected_calibration_error


def test_two_bins_worked_by_hand():
    # (0, .5]: none; (.5, .75]: .6, .7, one of two right, |.5 - .65| = .15;
    # (.75, 1]: .8, .9, 1., all right, |1 - .9| = .1. ECE = 2/5 * .15 + 3/5 * .1 = .12.
    y_prob = np.array([[0.4, 0.6], [0.7, 0.3], [0.2, 0.8], [0.9, 0.1], [0.0, 1.0]])
    y_true = [1, 1, 1, 0, 1]
    assert expected_calibration_error(y_true, y_prob, n_bins=4) == pytest.approx(0.12)


def test_quantile_bins_worked_by_hand():
    # Confidences .5 .6 | .7 .9, the second and the third wrong:
    # |1/2 - .55| = .05 and |1/2 - .8| = .3, so (.05 + .3) / 2 = .175.
    y_prob = [0.5, 0.6, 0.7, 0.9]
    y_true = [0, 0, 0, 1]
    got = expected_calibration_error(y_true, y_prob, n_bins=2, strategy="quantile")
    assert got == pytest.approx(0.175)


def test_three_classes_worked_by_hand():
    # One bin: two of three right at mean confidence (.5 + .6 + .7) / 3 = .6.
    y_prob = [[0.5, 0.3, 0.2], [0.2, 0.6, 0.2], [0.1, 0.2, 0.7]]
    got = expected_calibration_error(["a", "b", "b"], y_prob, n_bins=1, labels=["a", "b", "c"])
    assert got == pytest.approx(2 / 3 - 0.6)


@pytest.mark.parametrize(("y_true", "expected"), [([0, 1], 0.0), ([1, 0], 1.0)])
def test_certain_predictions_are_perfect_or_worst(y_true, expected):
    assert expected_calibration_error(y_true, [0.0, 1.0]) == expected


def test_edges_are_closed_on_the_right():
    # .75 belongs to (.5, .75] with .6: accuracy .5, confidence .675, error .175. Closed on the
    # left it would be alone: (|0 - .6| + |1 - .75|) / 2 = .425.
    got = expected_calibration_error([0, 1], [0.6, 0.75], n_bins=4)
    assert got == pytest.approx(0.175)


def test_equals_scikit_learns_calibration_curve_where_the_top_label_is_the_positive_one():
    rng = np.random.default_rng(0)
    y_prob = rng.uniform(0.5, 1.0, 500)
    y_true = (rng.uniform(size=500) < y_prob**2).astype(int)
    fraction, mean = calibration_curve(y_true, y_prob, n_bins=10)
    size = np.histogram(y_prob, bins=np.linspace(0, 1, 11))[0]
    expected = np.sum(size[size > 0] * np.abs(fraction - mean)) / 500
    assert expected_calibration_error(y_true, y_prob, n_bins=10) == pytest.approx(expected)


def test_a_calibrated_forecaster_errs_by_no_more_than_sampling_noise():
    # The error of a calibrated forecast is at most sum_b sqrt(n_b p (1 - p)) / n in expectation,
    # which Cauchy-Schwarz bounds by sqrt(n_bins / n) / 2.
    rng = np.random.default_rng(1)
    y_prob = rng.uniform(size=(20_000, 3)) ** 2
    y_prob /= y_prob.sum(axis=1, keepdims=True)
    y_true = (rng.uniform(size=(20_000, 1)) > y_prob.cumsum(axis=1)).sum(axis=1)
    assert expected_calibration_error(y_true, y_prob) < np.sqrt(15 / 20_000) / 2


@pytest.mark.parametrize("strategy", ["uniform", "quantile"])
def test_integer_weights_are_repeated_rows(strategy):
    rng = np.random.default_rng(2)
    y_prob, y_true = rng.uniform(size=60), np.arange(60) % 2
    weight = rng.integers(0, 4, 60)
    weighted = expected_calibration_error(
        y_true, y_prob, n_bins=5, strategy=strategy, sample_weight=weight
    )
    repeated = expected_calibration_error(
        y_true.repeat(weight), y_prob.repeat(weight), n_bins=5, strategy=strategy
    )
    assert weighted == pytest.approx(repeated, abs=1e-12)


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=30), st.data())
def test_column_order_of_rows_and_form_of_input_do_not_matter(pairs, data):
    y_prob, y_true = np.array([p for p, _ in pairs]), np.array([int(t) for _, t in pairs])
    order = np.array(data.draw(st.permutations(range(len(pairs)))))
    one = expected_calibration_error(y_true, y_prob, labels=[0, 1])
    two_columns = np.column_stack([1 - y_prob, y_prob])[order]
    two = expected_calibration_error(y_true[order], two_columns, labels=[0, 1])
    assert 0 <= one <= 1
    assert one == pytest.approx(two, abs=1e-9)


def test_single_precision_probabilities_are_accepted():
    y_prob = np.full((3, 3), 1 / 3, dtype=np.float32)
    assert expected_calibration_error([0, 1, 2], y_prob) == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize(
    ("y_true", "y_prob", "options", "message"),
    [
        ([0, 1], [0.5, 1.5], {}, r"y_prob must hold probabilities .* to 1\.5"),
        ([0, 1], [[0.2, 0.2], [0.5, 0.5]], {}, "rows of y_prob must add up to 1"),
        ([0, 1], [[0.2, 0.2, 0.6]] * 2, {}, "3 columns for 2 labels"),
        ([0, 1], [0.5, np.nan], {}, "y_prob contains NaN"),
        ([0, np.nan], [0.5, 0.5], {}, "y_true contains NaN"),
        ([[0, 1], [1, 0]], [0.5, 0.5], {}, "should be a 1d array"),
        ([0, 1], [0.5, 0.5], {"sample_weight": [1, np.nan]}, "sample_weight contains NaN"),
        (["a", "b"], [0.5, 0.5], {"labels": [0, 1]}, r"not in labels=\[0, 1\]: \['a', 'b'\]"),
        ([0, 1, 1], [0.5, 0.5], {}, "inconsistent numbers of samples"),
        ([1, 1], [0.5, 0.5], {}, "only one label .* pass all labels"),
        ([0, 2], [0.5, 0.5], {"labels": [0, 1]}, r"not in labels=\[0, 1\]: \[2\]"),
        ([0, 0], [0.5, 0.5], {"labels": [0]}, r"at least two labels, got \[0\]"),
        ([0, 1], [0.5, 0.5], {"n_bins": 0}, "n_bins == 0, must be >= 1"),
        ([0, 1], [0.5, 0.5], {"strategy": "even"}, "'uniform' or 'quantile', got 'even'"),
        (
            [0, 1],
            [0.5, 0.5],
            {"sample_weight": [1, -1]},
            "Negative values in data passed to `sample_weight`",
        ),
        ([0, 1], [0.5, 0.5], {"sample_weight": [0, 0]}, "at least one non-zero"),
    ],
)
def test_bad_input_is_named(y_true, y_prob, options, message):
    with pytest.raises(ValueError, match=message):
        expected_calibration_error(y_true, y_prob, **options)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_probabilities_of_low_precision(dtype):
    rng = np.random.RandomState(0)
    p = rng.dirichlet(np.ones(4), size=200)
    y = (p.cumsum(axis=1) < rng.uniform(size=(200, 1))).sum(axis=1)
    rounded = expected_calibration_error(y, p.astype(dtype))
    assert rounded == pytest.approx(expected_calibration_error(y, p), abs=2e-3)
