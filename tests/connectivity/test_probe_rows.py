"""What a ModeConnectivityProbe does with weights, targets, frozen networks and batch statistics."""

import warnings

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.frozen import FrozenEstimator
from torch import nn

from sklflat import ModeConnectivityProbe, PlaneDisplay, SAMClassifier, SAMRegressor, from_module
from sklflat.connectivity.path_builder import Data
from sklflat.exceptions import ConnectivityWarning
from sklflat.networks.batch_statistics import recompute_batch_statistics
from sklflat.networks.state import read_state, write_state
from sklflat.probing import sample_basin
from sklflat.probing.nulls import split_halves
from tests._slow import slow_after

X, Y = load_digits(return_X_y=True)
ORDER = np.random.RandomState(0).permutation(len(X))  # else the writers are not the same
X, Y = X[ORDER] / 16, Y[ORDER]
TRAINED, FRESH = slice(0, 600), slice(600, 1000)
SMALL = {"hidden_layer_sizes": (16,), "rho": 0, "max_iter": 20, "learning_rate_init": 0.01}
QUICK = {"n_points": 5, "n_null": 60, "n_units": 3, "random_state": 0}

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::sklflat.exceptions.NothingFoundWarning"),
    # few draws and few rows serve where no core is looked for
    pytest.mark.filterwarnings("ignore:A null has too few draws"),
]


def fitted(y=Y, rows=TRAINED, seed=0, **settings):
    clf = SAMClassifier(**{**SMALL, **settings}, random_state=seed)
    return FrozenEstimator(clf.fit(X[rows], y[rows]))


PAIR = [fitted(), fitted(seed=1)]


# --- sample weights ---------------------------------------------------------------------------


def test_rows_are_spread_evenly_over_weights():
    data = Data(
        torch.arange(10.0), torch.arange(10), torch.tensor([0.0, 1, 3, 0, 0, 0, 2, 2, 2, 0])
    )
    np.testing.assert_array_equal(data.spread(10).y, [1, 2, 2, 2, 6, 6, 7, 7, 8, 8])
    np.testing.assert_array_equal(data.spread(5).y, [2, 2, 6, 7, 8])
    even = Data(data.X, data.y, torch.full((10,), 0.3))
    np.testing.assert_array_equal(even.spread().y, np.arange(10))
    np.testing.assert_array_equal(Data(data.X, data.y).spread(4).y, [0, 3, 6, 9])


@pytest.mark.parametrize("path", slow_after(1, ["linear", "bezier"]))
def test_rows_without_weight_are_not_there(path):
    rng = np.random.RandomState(0)
    weight = (rng.uniform(size=400) < 0.7).astype(float)
    noise = np.where(weight[:, None] > 0, X[FRESH], rng.normal(size=(400, 64)))
    wrong = np.where(weight > 0, Y[FRESH], rng.permutation(Y[FRESH]))
    probes = [
        ModeConnectivityProbe(PAIR, path=path, **QUICK).fit(data, y, sample_weight=weight)
        for data, y in ((X[FRESH], Y[FRESH]), (noise, wrong))
    ]
    for name in ("unit_scores_", "p_values_"):
        np.testing.assert_array_equal(*(getattr(probe, name) for probe in probes))
    frames = [probe.barriers_.to_frame()["barrier"] for probe in probes]
    np.testing.assert_allclose(*frames, atol=1e-6)


def test_a_weight_is_as_good_as_so_many_rows():
    weight = np.where(np.arange(400) % 2, 3.0, 1.0)
    probe = ModeConnectivityProbe(PAIR, align=None, **QUICK)
    probe.fit(X[FRESH], Y[FRESH], sample_weight=weight)
    curve = probe.barriers_.curves[1, "naive"].curves
    # both halves together are all rows, whichever is which
    wrong = PAIR[0].predict(X[FRESH]) != Y[FRESH]
    total = sum(
        curve[name].error[0] * weight[rows].sum()
        for name, rows in zip(("held-out", "train"), halves(), strict=True)
    )
    assert total == pytest.approx((wrong * weight).sum())


def halves():
    """Rows that a probe of frozen networks judges on, and those that it matches on."""
    match, judge = split_halves(400, np.random.RandomState(QUICK["random_state"]))
    return judge, match


def test_rows_have_to_have_some_weight():
    few = (np.arange(400) < 3).astype(float)
    with pytest.raises(ValueError, match=r"n_samples=3 rows cannot be split"):
        ModeConnectivityProbe(PAIR, **QUICK).fit(X[FRESH], Y[FRESH], sample_weight=few)


# --- targets ----------------------------------------------------------------------------------


def test_outputs_of_a_regressor_are_judged_each_by_its_own_variance():
    target = np.column_stack([X[:, 20:30].sum(1), X[:, 30:40].sum(1)])
    ends = [
        FrozenEstimator(
            SAMRegressor((16,), rho=0, max_iter=20, random_state=s).fit(X[TRAINED], target[TRAINED])
        )
        for s in (0, 1)
    ]
    shifted = []
    for end in ends:  # the second output, and its target, a hundred higher
        module = end.estimator.trained_network().network.module
        module = type(module)(64, 2, hidden_layer_sizes=(16,)).to(next(module.parameters()).dtype)
        write_state(module, read_state(end.estimator.trained_network().network.module))
        with torch.no_grad():
            next(p for p in module.parameters() if p.shape == (2,))[1] += 100
        shifted.append(from_module(module, nn.MSELoss()))
    found = [
        ModeConnectivityProbe(pair, align=None, repair=False, barrier_tol=tol, **QUICK)
        .fit(X[FRESH], y[FRESH])
        .connected_
        for tol in (0.02, 5.0)
        for pair, y in ((ends, target), (shifted, target + np.array([0, 100])))
    ]
    assert found == [False, False, True, True]


# --- networks that are given ------------------------------------------------------------------


def test_networks_that_are_not_of_one_kind_are_refused():
    with pytest.raises(ValueError, match="Network 1 is of another architecture"):
        ModeConnectivityProbe([PAIR[0], fitted(activation="tanh")], **QUICK).fit(X[FRESH], Y[FRESH])
    low, high = (np.flatnonzero(Y[TRAINED] != k) for k in (9, 0))
    others = [fitted(rows=low), fitted(rows=high)]
    with pytest.raises(ValueError, match=r"Network 1 has other targets.*\[1, 2.*\[0, 1"):
        ModeConnectivityProbe(others, **QUICK).fit(X[FRESH], Y[FRESH])
    modules = [end.estimator.trained_network().network.module for end in PAIR]
    orders = range(10), range(9, -1, -1)
    ordered = [from_module(m, classes=list(c)) for m, c in zip(modules, orders, strict=True)]
    with pytest.raises(ValueError, match="or in another order"):
        ModeConnectivityProbe(ordered, **QUICK).fit(X[FRESH], Y[FRESH])


def test_orders_are_the_permutation_of_blocks_too():
    class Heads(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Linear(8, 12)
            self.attention = nn.MultiheadAttention(12, 3, batch_first=True)
            self.last = nn.Linear(12, 10)

        def forward(self, rows):
            h = self.first(rows.unflatten(1, (8, 8)))
            h = h + self.attention(h, h, h, need_weights=False)[0]
            return self.last(torch.relu(h).mean(1))

    torch.manual_seed(0)
    pair = [from_module(Heads(), classes=range(10)) for _ in range(2)]
    probe = ModeConnectivityProbe(pair, align="weights", repair=False, **QUICK)
    probe.fit(X[FRESH], Y[FRESH])
    orders = probe.permutations_[1]
    (name,) = [n for n in orders if n.endswith(".parts_0")]
    heads, within = orders[name.removesuffix(".parts_0")], orders[name]
    assert heads.shape == (3,)
    assert within.shape == (3, 4)
    block = "attention.in_proj_weight"
    before = read_state(pair[1].trained_network().network.module)[block]
    after = probe.path_.anchors[-1][block]
    # of all projections, each row of the aligned one is the row that the orders name
    columns = orders[next(n for n in orders if n.startswith("first"))]
    for projection in range(3):
        rows = before[12 * projection : 12 * (projection + 1)][:, columns]
        moved = rows.unflatten(0, (3, 4))[heads]
        own = orders.get(f"{name.removesuffix('.parts_0')}.parts_{int(projection == 2)}", within)
        expected = torch.stack([m[list(o)] for m, o in zip(moved, own, strict=True)]).flatten(0, 1)
        torch.testing.assert_close(after[12 * projection : 12 * (projection + 1)], expected)


def test_points_of_a_path_are_members_of_a_basin():
    probe = ModeConnectivityProbe(PAIR, repair=False, **QUICK).fit(X[FRESH], Y[FRESH])
    points = [probe.path_.at(t) for t in (0.0, 0.1, 0.5)]
    basin = sample_basin(PAIR[0], X[FRESH], Y[FRESH], members=points[:1], loss_rise=0.01)
    assert len(basin) == 1
    assert torch.equal(basin.members[0], basin.centre)
    with pytest.raises(ValueError, match="no parameter"):
        sample_basin(PAIR[0], X, Y, members=[{"weight": torch.ones(1)}])


def test_there_is_no_plane_through_two_networks():
    probe = ModeConnectivityProbe(PAIR, align=None, **QUICK).fit(X[FRESH], Y[FRESH])
    with pytest.raises(ValueError, match="n_models=3"):
        PlaneDisplay.from_estimator(probe, X, Y)


# --- batch normalisation ----------------------------------------------------------------------


class Normed(nn.Module):
    def __init__(self, seed):
        super().__init__()
        torch.manual_seed(seed)
        self.first, self.norm, self.last = nn.Linear(64, 16), nn.BatchNorm1d(16), nn.Linear(16, 10)

    def forward(self, rows):
        return self.last(torch.relu(self.norm(self.first(rows))))


@pytest.mark.parametrize("path", slow_after(1, ["linear", "bezier"]))
def test_batch_statistics_are_those_of_every_point(path):
    """All kinds of paths by statistics of their own, as a loop over points measures it."""
    ends = [
        SAMClassifier(net=Normed(s), rho=0, max_iter=15, learning_rate_init=0.01, random_state=s)
        for s in (0, 1)
    ]
    frozen = [FrozenEstimator(end.fit(X[TRAINED], Y[TRAINED])) for end in ends]
    probe = ModeConnectivityProbe(frozen, path=path, **QUICK).fit(X[FRESH], Y[FRESH])
    judged, matched = halves()
    module = Normed(0).to(next(ends[0].module_.parameters()).dtype).eval()
    dtype = module.last.weight.dtype
    rows = torch.as_tensor(X[FRESH]).to(dtype)
    curve = probe.barriers_.curves[1, "aligned"]
    for t in (0.0, 0.5, 1.0):
        write_state(module, probe.path_.at(t))
        recompute_batch_statistics(module, [rows[matched]])
        with torch.no_grad():
            loss = nn.functional.cross_entropy(
                module(rows[judged]), torch.as_tensor(Y[FRESH][judged])
            )
        assert curve.curves["held-out"].loss[curve.ts == t] == pytest.approx(float(loss), rel=1e-4)
    # a trained curve is not worse for it than the straight line between the networks as they are
    assert probe.barriers_.value("aligned") < 0.5 * probe.barriers_.value("naive")
    np.testing.assert_allclose(probe.core_.before, probe.core_.after, atol=1e-4)


# --- nulls and what they can tell -------------------------------------------------------------


def test_only_units_with_a_signal_are_in_the_comparison_with_the_ends():
    module = PAIR[0].estimator.trained_network().network.module
    state = read_state(module)
    rare = {n: t.clone() for n, t in state.items()}
    bias = next(n for n, t in rare.items() if t.shape == (16,))
    hidden = PAIR[0].estimator.transform(X)
    rare[bias][:6] -= torch.as_tensor(hidden[:, :6].max(0)).to(rare[bias]) * 0.999
    twin = SAMClassifier(**SMALL, random_state=0).fit(X[TRAINED], Y[TRAINED])
    write_state(twin.module_, rare)
    pair = [FrozenEstimator(twin), PAIR[1]]
    probe = ModeConnectivityProbe(pair, align=None, repair=False, **QUICK).fit(X[FRESH], Y[FRESH])
    live = probe.core_.eligible & ~probe.dead_
    assert 0 < live.sum() < 16
    gain = probe.gain_over_endpoints_
    assert gain.n_units == live.sum()
    expected = np.corrcoef(probe.unit_scores_[live], probe.core_.ends[live])[0, 1] ** 2
    assert gain.r_squared == pytest.approx(expected)


@pytest.mark.filterwarnings("default:A null has too few draws")
def test_layers_that_cannot_be_in_the_core_are_named():
    ends = [fitted(hidden_layer_sizes=(60, 4), seed=s) for s in (0, 1)]
    few = {**QUICK, "n_null": 8}
    with pytest.warns(ConnectivityWarning, match=r"untrained twins: [^;]*Raise n_null"):
        ModeConnectivityProbe(ends, **few).fit(X[FRESH], Y[FRESH])


@pytest.mark.parametrize("n_units", ["auto", 2])
def test_few_draws_are_one_cause_and_one_warning(n_units):
    torch.manual_seed(0)
    pair = [nn.Sequential(nn.Linear(4, 9), nn.ReLU(), nn.Linear(9, 2)) for _ in range(2)]
    data, y = np.random.RandomState(0).normal(size=(60, 4)), np.arange(60) % 2
    probe = ModeConnectivityProbe([from_module(m, classes=[0, 1]) for m in pair])
    probe.set_params(**{**QUICK, "n_null": 8, "n_units": n_units})
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        probe.fit(data, y)
    assert len(caught) == 1
    assert "A null has too few draws" in str(caught[0].message)
    assert ("smallest p-value" in str(caught[0].message)) == (n_units == "auto")


def test_trainings_are_kept(tmp_path):
    clf = SAMClassifier(**SMALL, random_state=0)
    own = {**QUICK, "cache_dir": tmp_path}
    first = ModeConnectivityProbe(clf, **own).fit(X[TRAINED], Y[TRAINED])
    n_kept = len(list(tmp_path.rglob("*")))
    assert n_kept > 0
    again = ModeConnectivityProbe(clf, **own).fit(X[TRAINED], Y[TRAINED])
    assert len(list(tmp_path.rglob("*"))) == n_kept
    np.testing.assert_array_equal(first.p_values_, again.p_values_)
