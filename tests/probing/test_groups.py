"""Rows that are not independent: groups are held out, shuffled and counted together."""

import numpy as np
import pytest
from scipy import stats
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV, GroupKFold

from sklflat import (
    AblationProbe,
    ActivationProbe,
    ModeConnectivityProbe,
    SAMClassifier,
    from_module,
)
from sklflat.exceptions import DependentRowsWarning
from sklflat.probing.decisions import decide
from sklflat.probing.false_discovery import q_values
from sklflat.probing.nulls import target_orders
from sklflat.probing.split import Rows, split_rows
from tests._probes import random_arrays, random_data, two_layer

RNG = np.random.RandomState
TINY = SAMClassifier((5,), max_iter=3, random_state=0)

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::sklflat.exceptions.NothingFoundWarning"),
    pytest.mark.filterwarnings("ignore:A null has too few draws"),
]


def autocorrelated(rng, n, rho, shape=()):
    """Series of length n of an autoregressive process of order 1, of unit variance."""
    series = rng.normal(size=(n, *shape))
    for i in range(1, n):
        series[i] = rho * series[i - 1] + np.sqrt(1 - rho**2) * series[i]
    return series


def test_targets_move_with_their_group():
    groups = np.repeat([3, 1, 2, 0], [2, 2, 2, 3])
    for order in target_orders(9, 50, RNG(0), groups):
        sources = groups[order]
        for g in range(4):
            own = sources[groups == g]
            assert len(set(own)) == 1  # all of one group, and in its order
            rows = np.flatnonzero(groups == own[0])
            np.testing.assert_array_equal(order[groups == g], np.resize(rows, (groups == g).sum()))


@pytest.mark.parametrize("by_class", [True, False])
def test_whole_groups_are_held_out_and_no_class_is_lost(by_class):
    for seed in range(20):
        rng = RNG(seed)
        groups = rng.randint(12, size=200)
        y = (groups + rng.randint(3, size=200)) % 3
        rows = Rows(rng.normal(size=(200, 2)), y, {"groups": groups})
        fitted, scored = split_rows(rows, 0.25, by_class, rng)
        assert not set(fitted.groups) & set(scored.groups)
        assert 0.15 < len(scored) / 200 < 0.35
        assert set(fitted.y) == set(y)


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        (np.zeros(60), "groups has one group"),
        (np.zeros(59), r"groups must be of shape \(60,\)"),
        ([None] * 60, "missing values"),
    ],
)
def test_groups_that_cannot_be_split_are_named(groups, message):
    X, y = random_data(0, n=60, k=2)
    with pytest.raises(ValueError, match=message):
        AblationProbe(TINY).fit(X, y, groups=groups)


def test_few_groups_decide_nothing_and_each_row_its_own_group_changes_nothing():
    module = from_module(two_layer(*random_arrays(0)), classes=[0, 1, 2])
    X, y = random_data(0, n=200)
    few = AblationProbe(module, random_state=0).fit(X, y, groups=np.arange(200) % 10)
    assert set(few.decisions_.verdict) == {"undecided"}
    assert "200 rows in 10 groups" in str(few.decisions_)
    assert "Fewer than 20 groups decide nothing" in str(few.decisions_)
    alone = AblationProbe(module, random_state=0).fit(X, y, groups=np.arange(200))
    plain = AblationProbe(module, random_state=0).fit(X, y)
    np.testing.assert_allclose(alone.decisions_.low, plain.decisions_.low)
    np.testing.assert_array_equal(alone.decisions_.verdict, plain.decisions_.verdict)


def test_repeated_rows_with_groups_decide_what_single_rows_decide():
    module = from_module(two_layer(*random_arrays(0)), classes=[0, 1, 2])
    X, y = random_data(0, n=100)
    rows = np.tile(np.arange(100), 3)
    single = AblationProbe(module, random_state=0).fit(X, y).decisions_
    repeated = AblationProbe(module, random_state=0).fit(X[rows], y[rows], groups=rows).decisions_
    np.testing.assert_allclose(repeated.p_needed, single.p_needed, rtol=1e-6)
    np.testing.assert_allclose(repeated.high, single.high, rtol=1e-9)
    without = AblationProbe(module, random_state=0).fit(X[rows], y[rows]).decisions_
    assert (without.high - without.low < 0.7 * (single.high - single.low)).all()


def test_rows_that_repeat_across_the_split_are_seen():
    X, y = random_data(0, n=80, k=2)
    rows = np.tile(np.arange(80), 3)
    probe = AblationProbe(TINY, n_units=1, n_null=20, random_state=0)
    with pytest.warns(DependentRowsWarning, match=r"rows repeat.*groups="):
        probe.fit(X[rows], y[rows])
    probe.fit(X[rows], y[rows], groups=rows)
    discrete = RNG(0).randint(2, size=(240, 3)).astype(float)  # equal by chance
    probe.fit(discrete, RNG(1).randint(2, size=240))


def test_groups_go_to_searches_and_to_all_probes():
    X, y = random_data(0, n=120, k=2)
    groups = np.arange(120) // 4
    search = GridSearchCV(TINY, {"rho": [0.0, 0.05]}, cv=GroupKFold(2))
    ActivationProbe(search, n_units=1, n_null=20, random_state=0).fit(X, y, groups=groups)
    ActivationProbe(TINY, unit_score="variance", n_units=1, n_null=10).fit(X, y, groups=groups)
    probe = ModeConnectivityProbe(TINY, n_points=3, n_null=8, n_units=1, repair=False)
    probe.fit(X, y, groups=groups)
    frozen = FrozenEstimator(TINY.fit(X, y))
    with pytest.raises(TypeError, match="only sample_weight and groups"):
        ActivationProbe(frozen).fit(X, y, epochs=3)


def selected(probe, X, y, groups):
    """Whether anything is selected of a network of whose units none has to do with y."""
    module = from_module(two_layer(*random_arrays(0, k=2)), classes=[0, 1])
    params = {} if groups is None else {"groups": groups}
    fitted = probe.set_params(estimator=module).fit(X, y, **params)
    return bool(q_values(fitted.p_values_, fitted.dead_).min() <= 0.05)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["autocorrelated", "repeated"])
def test_groups_keep_the_size_of_null_fits(kind):
    """Without groups something was selected in 75 to 95 % and in 33 to 52 % of such fits."""
    found = {True: 0, False: 0}
    n = 60
    for seed in range(n):
        rng = RNG(seed)
        if kind == "autocorrelated":
            # twenty series of twenty rows, as of patients
            X = autocorrelated(rng, 20, 0.95, (20, 4)).transpose(1, 0, 2).reshape(400, 4)
            y = (autocorrelated(rng, 20, 0.95, (20,)).T.reshape(400) > 0).astype(int)
            groups = np.arange(400) // 20
        else:
            rows = np.tile(np.arange(60), 3)
            X, y, groups = rng.normal(size=(60, 4))[rows], rng.randint(2, size=60)[rows], rows
        for with_groups in found:
            probe = ActivationProbe(unit_score="correlation", n_null=600, random_state=seed)
            found[with_groups] += selected(probe, X, y, groups if with_groups else None)
    assert found[True] <= stats.binom.isf(1e-3, n, 0.05)
    assert found[False] > 0.25 * n


def test_clusters_of_rises_are_counted_once():
    """A mean of groups has the error of their means: rows of a group say the same."""
    rng = RNG(0)
    covered = 0
    for _ in range(200):
        each = rng.normal(size=(30, 1))
        found = decide(each, margin=0.0, n_effective=30, n_rows=300)
        covered += found.low[0] <= 0 <= found.high[0]
        assert found.n_rows == 300
        assert found.n_groups == 30
    assert 180 <= covered <= 199
