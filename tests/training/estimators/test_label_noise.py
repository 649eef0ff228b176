"""The benchmark under label noise compares what it says it compares."""

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from benchmarks.label_noise import (
    accuracies,
    difference_table,
    differences,
    make_data,
    run,
    summarise,
    to_markdown,
)


def test_forty_percent_of_the_training_labels_are_wrong_and_no_test_label():
    X, y = load_digits(return_X_y=True)
    _, _, clean, clean_test = train_test_split(X, y, test_size=0.5, stratify=y, random_state=3)
    _, noisy, _, y_test = make_data(3)
    assert np.sum(noisy != clean) == round(0.4 * len(clean))
    assert set(noisy) == set(range(10))
    assert np.array_equal(y_test, clean_test)


@pytest.fixture(scope="module")
def curves():
    return run(range(3), rhos=(0.1,), n_epochs=4)


def test_both_sides_take_the_same_number_of_gradients(curves):
    # 898 samples in batches of 64 are 15 steps an epoch: 4 epochs of 2 gradients, or 8 of 1.
    assert {c["n_gradient_evaluations"] for c in curves} == {120}
    assert accuracies(curves, 0.1).shape == (3, 4)
    assert accuracies(curves, 0.0).shape == (3, 8)


def test_pairs_start_alike(curves):
    # Without a perturbation both sides are one and the same training, epoch by epoch.
    shorter = run(range(2), rhos=(), n_epochs=2)
    assert np.array_equal(accuracies(shorter, 0.0), accuracies(curves, 0.0)[:2, :4])


def test_differences_are_those_of_the_curves():
    flat = {"seed": 0, "n_gradient_evaluations": 4}
    made_up = [
        {**flat, "rho": 0.0, "accuracy": [0.5, 0.75, 0.5, 0.25]},
        {**flat, "rho": 0.1, "accuracy": [0.25, 0.5]},
    ]
    got = {protocol: d.item() for protocol, d in differences(made_up, 0.1).items()}
    assert got == {
        "last epoch": 0.25,
        "best epoch": -0.25,
        "last epoch, equal epochs": -0.25,
        "best epoch, equal epochs": -0.25,
    }


def test_the_table_says_what_the_intervals_support():
    row = {"rho": 0.1, "protocol": "last epoch", "mean": 0.25, "p": 0.5}
    rows = [
        {**row, "low": 0.125, "high": 0.5},
        {**row, "low": -0.125, "high": 0.5},
        {**row, "low": -0.5, "high": -0.125},
    ]
    *_, up, open_, down = difference_table(rows)
    assert up == "| 0.1 | last epoch | +25.00 | +12.50 to +50.00 | 0.5 | sharpness-aware |"
    assert open_.endswith("| not shown |")
    assert down.endswith("| plain |")


def test_the_report_is_written_for_any_number_of_seeds(curves):
    text = to_markdown(curves, summarise(curves))
    assert "mean over 3 seeds; 4 epochs sharpness-aware, 8 plain" in text
    assert "both take 120 gradients" in text
