"""Rows that depend on each other count as one: rows repeated as groups are the rows themselves."""

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer
from sklearn.frozen import FrozenEstimator
from sklearn.preprocessing import StandardScaler

from sklflat import SAMClassifier, SurrogateAligner
from sklflat.surrogate.fidelity import (
    HeldOut,
    bootstrap_means,
    estimates,
    group_means,
    measure_fidelity,
)
from sklflat.surrogate.regions import gain_at_equal_margin
from sklflat.surrogate.teacher import Answers

X, y = load_breast_cancer(return_X_y=True)
X = StandardScaler().fit_transform(X)
CLASSES = np.array(["a", "b", "c"])


def held_out(n, rng, repeats=1, groups=None):
    draws = [rng.normal(size=(n, 3)) for _ in range(6)]
    network, *students = [Answers(np.repeat(z, repeats, 0), CLASSES) for z in draws[:5]]
    truth = np.repeat(rng.randint(3, size=n), repeats)
    rows = HeldOut(network, truth, np.full(n * repeats, 1 / (n * repeats)), groups)
    names = ("surrogate", "taught true targets", "without oracle samples", "majority")
    return rows, dict(zip(names, students, strict=True))


def test_intervals_of_repeated_rows_are_those_of_the_rows():
    reports, gains = [], []
    for repeats, groups in ((1, None), (7, np.repeat(np.arange(40), 7)), (7, None)):
        rows, students = held_out(40, np.random.RandomState(0), repeats, groups)
        report = measure_fidelity(rows, students, "label", np.nan, np.random.RandomState(1))
        common = students["surrogate"].codes == rows.answers.codes
        gains.append(gain_at_equal_margin(rows, common, 0))
        reports.append(report)
    once, grouped, repeated = reports
    np.testing.assert_allclose(grouped.scores, once.scores, rtol=1e-9)
    assert (grouped.gain.low, grouped.gain.high) == pytest.approx((once.gain.low, once.gain.high))
    assert repeated.gain.high - repeated.gain.low < 0.5 * (once.gain.high - once.gain.low)
    assert gains[1].high - gains[1].low > 1.5 * (gains[2].high - gains[2].low)


def test_means_of_groups_are_weighted_and_whole_groups_are_drawn():
    values, weight = np.array([[1.0], [3.0], [10.0], [5.0]]), np.array([1.0, 3.0, 2.0, 0.0])
    groups = np.array(["b", "b", "a", "c"])
    np.testing.assert_allclose(group_means(values, weight, groups), [[10], [2.5], [0]])
    drawn = bootstrap_means(values[:3], weight[:3], np.random.RandomState(0), groups[:3])
    # both groups, one twice, or the other twice
    assert np.unique(drawn.round(9)).tolist() == [2.5, 5.0, 10.0]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.filterwarnings("ignore::sklflat.exceptions.DependentRowsWarning")  # what is tested
def test_an_aligner_of_repeated_rows_is_as_unsure_as_of_the_rows():
    network = FrozenEstimator(
        SAMClassifier((8,), max_iter=20, random_state=0).fit(X[:300], y[:300])
    )
    settings = {"n_basin_models": 0, "n_redraws": 1, "oracle_samples": 200, "min_fidelity": 0}
    aligner = SurrogateAligner(network, **settings, n_null=50, n_units=None, random_state=0)
    X_rest, y_rest = X[300:380], y[300:380]
    many = np.repeat(X_rest, 10, 0), np.repeat(y_rest, 10)
    widths = {}
    for name, rows, params in (
        ("once", (X_rest, y_rest), {}),
        ("groups", many, {"groups": np.repeat(np.arange(80), 10)}),
        ("alone", many, {}),
    ):
        report = aligner.fit(*rows, **params).fidelity_
        widths[name] = report.of("majority", "high") - report.of("majority", "low")
    assert widths["groups"] == pytest.approx(widths["once"], rel=0.4)
    assert widths["alone"] < 0.5 * widths["groups"]


def test_differences_that_cancel_are_zero_and_no_rounding():
    differences = np.array([1.0, -1.0, 0.0] * 67)[:, None]  # 201 weights, which no binary has
    weight = np.full(201, 1 / 201)
    answers = Answers(np.zeros((201, 3)), CLASSES)
    held_out = HeldOut(answers, np.zeros(201), weight)
    for seed in range(5):
        order = np.random.RandomState(seed).permutation(201)
        [found], drawn = estimates(differences[order], held_out, np.random.RandomState(0))
        assert found.value == 0
        assert not ((drawn != 0) & (np.abs(drawn) < 1e-6)).any()
        assert found.low == pytest.approx(-0.114, abs=0.02)  # 1.96 sqrt((2 / 3) / 201)
