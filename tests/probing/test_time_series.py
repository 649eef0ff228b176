"""Rows in time: targets are shifted, rises counted by blocks, and a series may be too short."""

import pickle

import numpy as np
import pytest
from scipy import stats
from sklearn.base import clone
from sklearn.model_selection import KFold, ShuffleSplit, TimeSeriesSplit

from sklflat import AblationProbe, ActivationProbe, SAMClassifier, TemperatureProbe, from_module
from sklflat.exceptions import NothingFoundWarning
from sklflat.metrics import mean_bounds
from sklflat.metrics.selectivity import permuted_target_correlation
from sklflat.probing.nulls import Null
from sklflat.probing.sample import by_group
from sklflat.probing.time_series import blocks, memory, shifted_orders
from tests._probes import random_arrays, random_data, two_layer
from tests.probing.test_groups import autocorrelated

RNG = np.random.RandomState
IN_TIME = TimeSeriesSplit(3)

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
]


def frozen(k=2):
    """A network of six units that nothing has trained."""
    return from_module(two_layer(*random_arrays(0, k=k)), classes=range(k))


def series(seed, n=400, rho=0.95):
    """Inputs and labels that have nothing to do with each other."""
    rng = RNG(seed)
    X, y = autocorrelated(rng, n, rho, (4,)), (autocorrelated(rng, n, rho) > 0).astype(int)
    y[:2] = 0, 1
    return X, y


# --- how long a series remembers --------------------------------------------------------------


@pytest.mark.parametrize("scale", [1e-200, 1.0, 1e160])
def test_memory_of_autoregressive_series(scale):
    r, s = 0.8, 0.5  # closed form: the sum of r^|k|, and of (rs)^|k|, over all lags
    x = scale * autocorrelated(RNG(0), 50_000, r, (2,))
    z = autocorrelated(RNG(1), 50_000, s, (1,))
    assert memory(x) == pytest.approx((1 + r) / (1 - r), rel=0.1)
    assert memory(x, z) == pytest.approx((1 + r * s) / (1 - r * s), rel=0.1)


def test_memory_that_cannot_be_told_is_infinite():
    for n in (100, 1000):  # a trend is worth no more rows, however long it is
        assert memory(np.arange(float(n))[:, None]) > n / 10
    for nothing in (np.ones((50, 2)), np.zeros((50, 0)), np.zeros((0, 1))):
        assert memory(nothing) == np.inf
        assert (blocks(nothing) == 0).all()


def test_blocks_are_neighbours_of_about_equal_length():
    x = autocorrelated(RNG(0), 5000, 0.8, (1,))
    of_block = blocks(x)
    assert (np.diff(of_block) >= 0).all()
    assert np.ptp(np.bincount(of_block)) <= 1
    assert np.bincount(of_block).min() >= 5 * 0.8 * 9


# --- shifts -----------------------------------------------------------------------------------


def test_every_shift_once_and_never_none():
    orders = shifted_orders(50, 1000, RNG(0))
    assert len(orders) == 49
    assert sorted(orders[:, 0]) == list(range(1, 50))
    np.testing.assert_array_equal(np.diff(orders, axis=1) % 50, 1)
    assert len(shifted_orders(50, 7, RNG(0))) == 7


def test_ranks_among_all_shifts_are_exact_whatever_the_memory():
    """Of a series that goes round, every rotation is as likely: its ranks are 1 to n, once each."""
    n = 60
    A, y = autocorrelated(RNG(0), n, 0.9, (1,)), autocorrelated(RNG(1), n, 0.9)
    weight, same = np.full(n, 1 / n), np.arange(n)[None]
    ranks = []
    for turn in range(n):
        turned = np.roll(y, turn)
        draws = permuted_target_correlation(A, turned, shifted_orders(n, n, RNG(0)), weight)
        score = permuted_target_correlation(A, turned, same, weight)[0]
        ranks.append(Null("shifts", draws, pooled=False).p_values(score)[0] * n)
    np.testing.assert_allclose(sorted(ranks), np.arange(1, n + 1))


# --- probes -----------------------------------------------------------------------------------


def test_the_end_of_a_series_is_scored_and_the_gap_left_out():
    X, y = random_data(0, n=200, k=2)
    net = SAMClassifier((5,), max_iter=3, random_state=0)
    probe = ActivationProbe(net, n_units=1, n_null=50, holdout=TimeSeriesSplit(3, gap=20))
    probe.fit(X, y)
    card = probe.unit_card(probe.unit_names_[0])
    assert card.top_samples.min() >= 150
    assert probe.nulls_[0].name == "targets shifted in time"
    expected = clone(net).fit(X[:130], y[:130]).predict_proba(X)
    np.testing.assert_allclose(probe.estimator_.predict_proba(X), expected, atol=1e-6)


def test_other_cross_validators_hold_out_their_last_split():
    X, y = random_data(0, n=200, k=2)
    net = SAMClassifier((5,), max_iter=3, random_state=0)
    probe = ActivationProbe(net, n_units=1, n_null=50, holdout=KFold(4)).fit(X, y)
    assert probe.unit_card(probe.unit_names_[0]).top_samples.min() >= 150
    assert probe.nulls_[0].name == "permuted targets"


class _Overlapping:
    def split(self, X, y=None, groups=None):
        yield np.arange(len(X)), np.arange(len(X) // 2)


def test_what_cannot_be_held_out_is_named():
    X, y = random_data(0, n=60, k=2)
    net = SAMClassifier((5,), max_iter=3, random_state=0)
    with pytest.raises(ValueError, match="two descriptions of how rows depend"):
        ActivationProbe(net, holdout=IN_TIME).fit(X, y, groups=np.arange(60) // 3)
    with pytest.raises(ValueError, match="TemperatureProbe compares rows as if their order"):
        TemperatureProbe(net, holdout=IN_TIME).fit(X, y)
    with pytest.raises(ValueError, match="on rows that it trains on"):
        ActivationProbe(net, holdout=_Overlapping()).fit(X, y)
    with pytest.raises(ValueError, match=r"1 to score units on, of 60"):
        ActivationProbe(net, holdout=ShuffleSplit(1, test_size=1)).fit(X, y)
    for wrong in (3, "0.25"):  # a string has a method split, as a cross-validator has
        with pytest.raises(ValueError, match="'holdout' parameter"):
            ActivationProbe(net, holdout=wrong).fit(X, y)
    with pytest.raises(ValueError, match="has 3 rows, and at least 5"):
        AblationProbe(frozen(), holdout=IN_TIME).fit(X[:3], y[:3])


def test_a_series_that_is_too_short_selects_nothing_and_says_so():
    walks = np.cumsum(RNG(0).normal(size=(300, 5)), axis=0)
    X, y = walks[:, :4] / 5, (walks[:, 4] > np.median(walks[:, 4])).astype(int)
    for probe in (
        ActivationProbe(frozen(), unit_score="correlation", holdout=IN_TIME),
        AblationProbe(frozen(), holdout=IN_TIME),
    ):
        with pytest.warns(NothingFoundWarning, match="series of 300 rows (is worth|and its)"):
            probe.fit(X, y)
        assert (probe.p_values_ == 1).all()
    assert set(probe.decisions_.verdict) <= {"undecided", "negligible"}
    assert "blocks decide nothing" in str(probe.decisions_)


def test_labels_that_a_unit_makes_are_found_in_time():
    X = autocorrelated(RNG(0), 2000, 0.8, (4,))
    y = frozen().predict(X)
    probe = ActivationProbe(frozen(), unit_score="correlation", holdout=IN_TIME, random_state=0)
    plain = ActivationProbe(frozen(), unit_score="correlation", random_state=0)
    assert probe.fit(X, y).support_.any()
    np.testing.assert_allclose(probe.unit_scores_, plain.fit(X, y).unit_scores_)


def test_a_series_of_independent_rows_decides_what_rows_decide():
    X, y = random_data(0, n=1000)
    settings = {"n_units": 1, "n_null": 10, "random_state": 0}
    probe = AblationProbe(frozen(3), **settings).fit(X, y)
    in_time = AblationProbe(frozen(3), holdout=IN_TIME, **settings).fit(X, y)
    np.testing.assert_allclose(in_time.unit_scores_, probe.unit_scores_)
    np.testing.assert_allclose(in_time.decisions_.low, probe.decisions_.low, atol=0.02)
    assert in_time.decisions_.parts == "blocks"
    assert in_time.decisions_.n_groups < 250


def test_probes_of_series_are_estimators_as_others(tmp_path):
    X, y = random_data(0, n=200, k=2)
    probe = ActivationProbe(frozen(), n_units=2, n_null=50, holdout=IN_TIME, random_state=0)
    probe = clone(probe).fit(X, y)
    again = pickle.loads(pickle.dumps(probe))
    np.testing.assert_array_equal(again.transform(X), probe.transform(X))
    assert clone(probe).holdout.n_splits == 3


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::sklflat.exceptions.NothingFoundWarning")
@pytest.mark.parametrize("kind", ["walk", "season", "trend"])
def test_series_that_are_not_stationary_select_nothing(kind):
    """Shifts of such series selected something in 22 to 67 % of fits."""
    t, found, n = np.arange(1000)[:, None], 0, 60
    for seed in range(n):
        rng = RNG(seed)
        noise = rng.normal(size=(1000, 5))
        Z = {
            "walk": np.cumsum(noise, axis=0) / 20,
            "season": np.sin(2 * np.pi * (t / 24 + rng.uniform(size=5))) + noise,
            "trend": t / 500 * rng.normal(size=5) + noise,
        }[kind]
        probe = ActivationProbe(
            frozen(), unit_score="correlation", holdout=IN_TIME, n_null=600, random_state=seed
        )
        probe.fit(Z[:, :4], (Z[:, 4] > np.median(Z[:, 4])).astype(int))
        found += bool(probe.q_values_.min() <= 0.05)
    assert found <= 0.12 * n


# --- size -------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::sklflat.exceptions.NothingFoundWarning")
@pytest.mark.parametrize("unit_score", ["correlation", "selectivity"])
def test_nothing_is_selected_of_a_series_of_nothing(unit_score):
    """Without time, such fits selected something in 94 %; with blocks as groups, in 16 %."""
    found = {IN_TIME: 0, 0.25: 0}
    for seed in range(200):
        X, y = series(seed)
        for holdout in found:
            probe = ActivationProbe(
                frozen(), unit_score=unit_score, holdout=holdout, n_null=600, random_state=seed
            )
            found[holdout] += bool(probe.fit(X, y).q_values_.min() <= 0.05)
    assert found[IN_TIME] <= 16
    assert found[0.25] > 100


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["normal", "skewed", "product"])
def test_intervals_of_blocks_cover_the_mean_of_a_series(kind):
    """Nominal .95; a series that is too short for twenty blocks says nothing, and is not wrong."""
    wrong, decided, n = 0, 0, 200
    for seed in range(n):
        x, z = autocorrelated(RNG(seed), 4000, 0.9, (2,)).T
        values = {"normal": x, "skewed": np.exp(x) - np.exp(0.5), "product": abs(x) * np.sign(z)}
        shares = values[kind][:, None]
        parts = by_group(blocks(shares), shares)
        if len(parts) >= 20:
            low, high = mean_bounds(parts)
            wrong += not low <= 0 <= high
            decided += 1
    assert decided > 0.9 * n
    assert wrong <= stats.binom.isf(1e-2, n, 0.06)
