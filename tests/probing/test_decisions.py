"""What held-out rows decide about units: against scipy's t test, closed forms and fresh rows."""

import dataclasses

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.stats import false_discovery_control
from sklearn.frozen import FrozenEstimator
from torch import nn

from sklflat import AblationProbe, SAMClassifier, SAMRegressor, from_module
from sklflat.exceptions import NothingFoundWarning
from sklflat.probing import Sample
from sklflat.probing.ablation_sample import AblationSample
from sklflat.probing.decisions import decide
from sklflat.report.findings.units import needed_units
from tests._probes import random_arrays, random_data, two_layer

RNG = np.random.RandomState


def mirrored(rng, n, means):
    """Rises whose sample has no skewness at all, so that Hall's transformation changes nothing."""
    half = rng.normal(size=(n // 2, len(means)))
    return np.concatenate([half, -half]) + means


def test_needed_and_harmful_are_those_of_the_t_test_and_benjamini_hochberg():
    x = mirrored(RNG(0), 200, np.r_[0.4, -0.4, 0.2, -0.15, np.zeros(8)])
    found = decide(x, margin=0.0, n_effective=200)
    p = np.r_[
        stats.ttest_1samp(x, 0, alternative="greater").pvalue,
        stats.ttest_1samp(x, 0, alternative="less").pvalue,
    ]
    np.testing.assert_allclose(np.r_[found.p_needed, found.p_harmful], p, rtol=1e-9)
    needed, harmful = (false_discovery_control(p) <= 0.05).reshape(2, -1)
    np.testing.assert_array_equal(found.verdict == "needed", needed)
    np.testing.assert_array_equal(found.verdict == "harmful", harmful)
    assert needed.any()
    assert harmful.any()
    low, high = stats.t.interval(0.95, 199, x.mean(0), stats.sem(x))
    np.testing.assert_allclose(found.low, low, rtol=1e-9)
    np.testing.assert_allclose(found.high, high, rtol=1e-9)


def test_negligible_is_two_one_sided_tests_and_wins_over_a_sure_sign():
    x = mirrored(RNG(0), 4000, np.array([0.1, 0.0, 0.3]))
    found = decide(x, margin=0.2, n_effective=4000)
    p = np.maximum(
        stats.ttest_1samp(x, 0.2, alternative="less").pvalue,
        stats.ttest_1samp(x, -0.2, alternative="greater").pvalue,
    )
    np.testing.assert_allclose(found.p_negligible, np.maximum(p, 2.0**-4000), rtol=1e-9)
    assert found.p_needed[0] < 1e-6
    assert found.verdict.tolist() == ["negligible", "negligible", "needed"]


def test_few_rows_decide_nothing_and_say_so():
    x = RNG(0).normal(size=(19, 2)) * 0.01 + 1
    found = decide(x, margin=0.0, n_effective=19)
    assert found.verdict.tolist() == ["undecided"] * 2
    assert "Fewer than 20 rows decide nothing" in str(found)
    assert decide(x[:1], margin=0.0, n_effective=1).verdict.tolist() == ["undecided"] * 2
    # equal values prove no more than so many equal signs
    constant = decide(np.ones((4, 1)), margin=0.0, n_effective=4)
    assert constant.p_needed == [2.0**-4]


def test_so_many_rows_as_are_named_decide_half_of_the_undecided():
    shares = []
    for seed in range(40):
        rng = RNG(seed)
        means = rng.normal(size=40) * 0.5
        before = decide(rng.normal(size=(60, 40)) + means, margin=0.02, n_effective=60)
        left = before.verdict == "undecided"
        n = int(before.rows_for_half)
        assert 60 < n < 60_000
        after = decide(rng.normal(size=(n, 40)) + means, margin=0.02, n_effective=n)
        shares.append(np.mean(after.verdict[left] != "undecided"))
    # the undecided are those whose rises came out small, so that more are decided than half
    assert 0.4 < np.mean(shares) < 0.8


@pytest.mark.filterwarnings("ignore::sklflat.exceptions.NothingFoundWarning")
@pytest.mark.parametrize("task", ["regression", "classes"])
def test_units_that_nothing_reads_never_pass(task):
    """Rounding of up to 4e-16 was selected in 26 of 3,084 networks, in this construction."""
    for seed in range(3):
        rng = RNG(seed)
        k = 1 if task == "regression" else 3
        W2 = rng.normal(size=(24, k))
        W2[3:] = 0.0
        module = two_layer(rng.normal(size=(8, 24)), rng.normal(size=24), W2, np.zeros(k))
        X = rng.normal(size=(97, 8))
        z = module(torch.as_tensor(X)).detach().numpy()
        y = z[:, 0] if k == 1 else (z + rng.gumbel(size=z.shape)).argmax(1)  # by softmax(z)
        frozen = from_module(module, classes=None if k == 1 else np.arange(3))
        probe = AblationProbe(frozen, random_state=seed).fit(X, y)
        assert not probe.support_[3:].any()
        assert (probe.unit_scores_[3:] == 0).all()
        assert (probe.p_values_[3:] == 1).all()
        assert (probe.decisions_.verdict[3:] == "negligible").all()


def test_a_unit_that_shifts_all_logits_alike_is_negligible_at_any_scale():
    for scale in (1e-3, 1e6):
        module = two_layer(np.eye(2), np.zeros(2), [[scale] * 2, [1.0, -1.0]], [0.0, 0.0])
        X = np.abs(RNG(0).normal(size=(200, 2)))
        y = (RNG(1).uniform(size=200) < 1 / (1 + np.exp(-2 * X[:, 1]))).astype(int)
        probe = AblationProbe(from_module(module, classes=[1, 0]), n_units=1).fit(X, y)
        assert probe.decisions_.verdict[0] == "negligible"
        assert probe.unit_scores_[0] == 0


def test_rows_of_weight_2_are_no_more_rows_and_rows_of_weight_0_are_not_there():
    module = two_layer(np.eye(2), np.zeros(2), [[1.0], [0.3]], [0.0])
    X = RNG(0).normal(size=(150, 2))
    y = np.maximum(X, 0) @ [1.0, 0.3] + RNG(1).normal(size=150)
    frozen = from_module(module)

    def fit(rows=slice(None), weight=None):
        params = {} if weight is None else {"sample_weight": weight}
        return AblationProbe(frozen, random_state=0).fit(X[rows], y[rows], **params).decisions_

    plain, twice = fit(), fit(weight=np.full(150, 2.0))
    np.testing.assert_allclose(twice.low, plain.low, rtol=1e-9)
    weight = np.where(np.arange(150) < 100, 1.0, 0.0)
    # the unit's mean is over the same rows, too
    np.testing.assert_allclose(fit(weight=weight).high, fit(slice(100)).high, rtol=1e-9)
    assert fit(weight=weight).n_rows == 100
    assert plain.verdict[0] == "needed"


def test_influences_of_weighted_rows_have_the_mean_of_the_loss():
    """Class weights are in the criterion's mean: scikit-learn's ratio of sums."""
    rng = RNG(0)
    module = two_layer(rng.normal(size=(3, 4)), np.zeros(4), rng.normal(size=(4, 3)), np.zeros(3))
    weights = torch.tensor([1.0, 2.0, 5.0], dtype=torch.float64)
    frozen = from_module(module, nn.CrossEntropyLoss(weights), classes=[0, 1, 2])
    X, y = rng.normal(size=(90, 3)), rng.randint(3, size=90)
    s = rng.uniform(0.5, 2, size=90)
    probe = AblationProbe(frozen, n_units=1, n_null=400).fit(X, y, sample_weight=s)
    A = torch.relu(module[0](torch.as_tensor(X))).detach()
    d = s * weights[y].numpy()
    for u in range(4):
        losses = []
        for B in (A, A.clone()):
            if B is not A:
                B[:, u] = float(s @ A[:, u].numpy() / s.sum())
            z = module[2](B)
            losses.append(-torch.log_softmax(z, 1)[range(90), y].detach().numpy())
        expected = d @ (losses[1] - losses[0]) / d.sum()
        assert probe.unit_scores_[u] == pytest.approx(expected, rel=1e-9)
        assert probe.decisions_.rise[u] == pytest.approx(expected, rel=1e-9)
        # the variance of a ratio of sums, by its linearisation
        influence = d * (losses[1] - losses[0] - expected) / d.mean()
        error = influence.std(ddof=1) / np.sqrt(90)
        assert probe.decisions_.low[u] <= expected - 1.98 * error  # Student's interval is in it
        assert probe.decisions_.high[u] >= expected + 1.98 * error


def test_the_frame_the_card_and_the_warning_say_what_is_decided():
    module = two_layer(np.eye(2), np.zeros(2), [[1.0], [0.001]], [0.0])
    X = RNG(0).normal(size=(100, 2))
    y = np.maximum(X[:, 0], 0) + RNG(1).normal(size=100)
    probe = AblationProbe(from_module(module), random_state=0).fit(X, y)
    frame = probe.to_frame()
    assert frame["verdict"].tolist() == ["needed", "negligible"]
    assert (frame["low"] < frame["score"]).all()
    assert (frame["score"] < frame["high"]).all()
    assert "needed: rise" in str(probe.unit_card(probe.unit_names_[0]))
    with pytest.warns(NothingFoundWarning, match=r"12 rows, 2 units: .* Fewer than 20 rows"):
        AblationProbe(from_module(module), random_state=0).fit(X[:12], y[:12])


def trained(seed, n_held_out):
    """A network that is too large for its rows, held-out rows, and many fresh ones."""
    rng = RNG(seed)

    def rows(n):
        X = rng.normal(size=(n, 8))
        return X, (rng.uniform(size=n) < 1 / (1 + np.exp(-2 * X[:, 0] * X[:, 1]))).astype(int)

    train, held_out, fresh = rows(300), rows(n_held_out), rows(20_000)
    clf = SAMClassifier((16,), rho=0, learning_rate_init=0.01, max_iter=40, random_state=seed)
    return clf.fit(*train), held_out, fresh


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_false_discoveries_against_fresh_rows():
    """With 100 rows 21 % of the units selected by shuffled targets made the loss fall on others."""
    proportions = {"needed": [], "harmful": []}
    for seed in range(25):
        clf, held_out, fresh = trained(seed, 100)
        probe = AblationProbe(FrozenEstimator(clf), random_state=0).fit(*held_out)
        truth = AblationSample.extending(Sample.of(clf, *fresh)).paired_rises.mean(axis=0)
        for name, sign in (("needed", 1), ("harmful", -1)):
            said = probe.decisions_.verdict == name
            wrong = said & (sign * truth <= 0)
            proportions[name].append(wrong.sum() / max(1, said.sum()))
    for name, values in proportions.items():
        assert np.mean(values) <= 0.05, name


def test_regression_at_defaults_trains_and_decides():
    X = RNG(0).normal(size=(400, 3))
    y = X[:, 0] + 0.1 * RNG(1).normal(size=400)
    net = SAMRegressor((6,), learning_rate_init=0.02, max_iter=60, random_state=0)
    probe = AblationProbe(net, random_state=0).fit(X, y)
    assert probe.decisions_.n_rows == 100
    assert probe.decisions_.count("needed") >= 1
    with pytest.raises(ValueError, match="negligible"):
        AblationProbe(net, negligible=-0.1).fit(X, y)


def test_one_row_that_outweighs_the_others_decides_nothing_and_is_named():
    X, y = random_data(0, n=200)
    weight = np.r_[1e6, np.ones(199)]
    probe = AblationProbe(from_module(two_layer(*random_arrays(0)), classes=[0, 1, 2]), n_units=1)
    decided = probe.fit(X, y, sample_weight=weight).decisions_
    assert set(decided.verdict) == {"undecided"}
    assert "By their weights they are worth 1 of equal weight: fewer than 20" in str(decided)


def test_rows_that_are_there_already_are_not_asked_for():
    rises = np.random.RandomState(0).normal(size=(100, 3)) * 0.01
    found = decide(rises, margin=0.001, n_effective=100)
    assert "undecided" in found.verdict
    assert "About 60 would" not in str(dataclasses.replace(found, rows_for_half=60.0))
    assert "Few more would" in str(dataclasses.replace(found, rows_for_half=60.0))
    assert "About 160 would" in str(dataclasses.replace(found, rows_for_half=160.0))
    few, many = (needed_units("net", 19, 0, 20, rows, 897).statement for rows in (600.0, 1200.0))
    assert "600" not in few
    assert "Few more held-out rows" in few
    assert "About 1,200 held-out rows" in many
