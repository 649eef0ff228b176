"""ModeConnectivityProbe: connected or not, the core, its nulls, and bad input."""

import pickle
import warnings
from copy import deepcopy

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from sklflat import (
    ModeConnectivityProbe,
    PathDisplay,
    PlaneDisplay,
    SAMClassifier,
    SAMRegressor,
    from_module,
)
from sklflat.datasets import make_shared_private
from sklflat.exceptions import ConnectivityWarning, UnsupportedNetworkError
from sklflat.networks.state import write_state
from sklflat.symmetry import find_symmetry
from tests._probes import two_layer
from tests._slow import slow_after
from tests.aligned_cases import Unknown

X, Y = load_digits(return_X_y=True)
ORDER = np.random.RandomState(0).permutation(len(X))  # else the writers are not the same
X, Y = X[ORDER] / 16, Y[ORDER]
SMALL = SAMClassifier((24,), rho=0, alpha=0.2, max_iter=25, learning_rate_init=0.01, random_state=0)
QUICK = {"n_points": 7, "n_null": 48, "n_units": 5, "random_state": 0}
ROWS = slice(0, 600)

pytestmark = [
    # few draws serve where no core is looked for
    pytest.mark.filterwarnings("ignore:A null has too few draws"),
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::sklflat.exceptions.NothingFoundWarning"),
]


@pytest.fixture(scope="module")
def probe():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return ModeConnectivityProbe(SMALL, **QUICK).fit(X[ROWS], Y[ROWS])


def test_what_a_fit_tells(probe):
    assert probe.verified_
    assert probe.estimator_ is probe.estimators_[0]
    assert len(probe.estimators_) == 2
    assert isinstance(probe.connected_, bool)
    table = probe.barriers_
    assert table.value("naive") > table.value("aligned") > table.value("repaired")
    frame = table.to_frame()
    assert len(frame) == 3 * 3 * 2 * 2  # kinds, definitions, measures, data
    for (other, kind, measure, data), rows in frame.groupby(["network", "kind", "measure", "data"]):
        values = rows.set_index("definition")["barrier"]
        curve = getattr(table.curves[other, kind].curves[data], measure)
        assert values["lower"] == curve.max() - min(curve[0], curve[-1])
        assert values["mean"] == pytest.approx(curve.max() - (curve[0] + curve[-1]) / 2)
    (order,) = probe.permutations_[1].values()
    np.testing.assert_array_equal(np.sort(order), np.arange(24))
    (identity,) = probe.permutations_[0].values()
    np.testing.assert_array_equal(identity, np.arange(24))
    assert [null.name for null in probe.nulls_] == [
        "unrelated units, matched on other rows",
        "random rotations of the layers",
        "untrained twins",
        "trained on shuffled labels",
    ]
    assert probe.merged_.score(X[600:], Y[600:]) > 0.85
    assert probe.transform(X[:9]).shape == (9, 5)


def test_scores_are_the_least_correlation_on_rows_that_were_held_out(probe):
    core = probe.core_
    frame = probe.to_frame()
    np.testing.assert_array_equal(frame["score"], np.where(core.eligible, core.after, 0))
    # the whole data instead of the rows held out: the same up to sampling
    first = probe.estimators_[0].transform(X)
    (order,) = probe.permutations_[1].values()
    second = probe.estimators_[1].transform(X)[:, order]
    with np.errstate(invalid="ignore"):
        r = np.array([np.corrcoef(first[:, u], second[:, u])[0, 1] for u in range(24)])
    r = np.nan_to_num(r)  # dead units
    assert np.corrcoef(r, core.ends)[0, 1] > 0.95
    assert np.abs(r - core.ends).max() < 0.15


def test_aligned_networks_compute_what_they_did(probe):
    symmetry, end = probe.symmetry_, probe.path_.anchors[-1]
    assert symmetry.n_movable == 24
    module = probe.estimators_[1].trained_network().network.module
    x = torch.as_tensor(X[:20])
    before = module(x)
    write_state(module, end)
    torch.testing.assert_close(module(x), before, rtol=1e-9, atol=1e-9)


def test_the_core_restricted_and_how_it_moves():
    data, y, truth = make_shared_private(1200, n_cancelling=0, random_state=0)
    pair = frozen(*(two_layer(s.W1, s.b1, s.W2, s.b2) for s in truth.students))
    own = {**QUICK, "n_null": "auto", "n_units": 3}
    probe = ModeConnectivityProbe(pair, **own).fit(data, y)
    core = probe.core_
    assert probe.support_.sum() == 3 < len(core)  # what is selected is another question
    found = core.restrict(data, y, n_random=6, random_state=0)
    assert found.n_units == len(core)
    assert found.score > found.random_scores.max()
    assert found.score > found.outside_scores.max()
    np.testing.assert_allclose(found.end_scores, [e.score(data, y) for e in probe.estimators_])
    assert found.full_score == found.end_scores[0]
    assert found.p_value == 1 / 7
    assert found.estimator.score(data, y) == pytest.approx(found.score)
    moves = core.sensitivity()
    by_level = {row["q"]: row for row in moves["threshold"]}
    assert by_level[0.05] == {"q": 0.05, "n_units": len(core), "jaccard": 1.0}
    for level, row in by_level.items():
        q = probe.q_values_[probe.unit_scores_ > 0]
        assert row["n_units"] == (q <= level).sum()
    assert moves["layer"][0]["n_core"] == len(core)
    assert moves["data"][0]["rank_correlation"] > 0.7
    assert repr(core).startswith(f"<InvariantCore: {len(core)} of 22 units")


def test_a_core_is_that_of_its_fit(probe):
    again = clone(probe).fit(X[ROWS], Y[ROWS])
    core, mask, ends = again.core_, again.core_.mask, again.core_.ends
    again.set_params(random_state=5).fit(X[600:1100], Y[600:1100])
    np.testing.assert_array_equal(core.mask, mask)
    assert core.ends is ends
    assert not np.array_equal(again.core_.ends, ends)
    empty = ModeConnectivityProbe(SMALL, **{**QUICK, "n_units": 4})
    empty.fit(X[ROWS], np.random.RandomState(0).permutation(Y[ROWS]))
    assert empty.support_.sum() == 4
    with pytest.raises(ValueError, match="The core is empty"):
        empty.core_.restrict(X, Y)


def test_the_gain_says_that_a_path_adds_little(probe):
    gain = probe.gain_over_endpoints_
    assert gain.rank_correlation > 0.95
    assert "The ends explain" in str(gain)


def test_it_is_reproducible_and_survives_pickle(probe):
    again = clone(probe).fit(X[ROWS], Y[ROWS])
    np.testing.assert_array_equal(again.unit_scores_, probe.unit_scores_)
    np.testing.assert_array_equal(again.p_values_, probe.p_values_)
    loaded = pickle.loads(pickle.dumps(probe))
    np.testing.assert_array_equal(loaded.core_.mask, probe.core_.mask)
    np.testing.assert_array_equal(loaded.merged_.predict(X[:9]), probe.merged_.predict(X[:9]))


@pytest.mark.parametrize("align", slow_after(3, ["weights", "ot", None, "straight_through"]))
def test_every_alignment(align):
    probe = ModeConnectivityProbe(SMALL, align=align, repair=False, **QUICK).fit(X[ROWS], Y[ROWS])
    naive, aligned = probe.barriers_.value("naive"), probe.barriers_.value("aligned")
    if align is None:
        assert naive == aligned
        assert probe.verified_ is None
        assert probe.permutations_ == [{}, {}]
    else:
        assert aligned < naive
    assert np.isnan(probe.core_.after).all()
    with pytest.raises(ValueError, match="kind='repaired'"):
        probe.barriers_.value("repaired")


@pytest.mark.slow
def test_a_curve_and_several_networks():
    probe = ModeConnectivityProbe(SMALL, path="bezier", align=None, n_models=3, **QUICK)
    probe.fit(X[ROWS], Y[ROWS])
    assert len(probe.paths_) == 2
    table = probe.barriers_
    for other in (1, 2):
        assert table.value("aligned", data="train", other=other) < 0.3 * table.value(
            "naive", data="train", other=other
        )
    assert table.largest("naive", "loss", "train", "mean") == max(
        table.value("naive", data="train", other=other) for other in (1, 2)
    )


@pytest.mark.parametrize(
    "estimator",
    slow_after(
        1,
        [
            make_pipeline(StandardScaler(), SMALL),
            GridSearchCV(SMALL, {"alpha": [0.1, 0.3]}, cv=2),
        ],
    ),
    ids=["pipeline", "search"],
)
def test_pipelines_and_searches(estimator):
    probe = ModeConnectivityProbe(estimator, **QUICK).fit(X[ROWS], Y[ROWS])
    assert probe.merged_.score(X[ROWS], Y[ROWS]) > 0.8


MORE = {**QUICK, "n_null": 100}  # some of sixteen units are dead


def test_regressors():
    reg = SAMRegressor((16,), max_iter=30, learning_rate_init=0.01)
    target = X[ROWS, 20:30].sum(1)
    probe = ModeConnectivityProbe(reg, **MORE).fit(X[ROWS], target)
    assert probe.merged_.score(X[ROWS], target) > 0.5


def test_batch_normalisation():
    def net(n_features, n_outputs):
        layers = nn.Linear(n_features, 16), nn.BatchNorm1d(16), nn.ReLU()
        return nn.Sequential(*layers, nn.Linear(16, n_outputs))

    clf = SAMClassifier(net=net, rho=0, max_iter=10, learning_rate_init=0.01)
    probe = ModeConnectivityProbe(clf, **MORE).fit(X[ROWS], Y[ROWS])
    assert probe.barriers_.value("repaired") < probe.barriers_.value("naive")


def test_displays(probe):
    display = PathDisplay.from_estimator(probe)
    assert display.axes_[0].get_ylabel() == "loss, held-out rows"
    assert len(display.axes_[0].lines) == 4  # three kinds and the chord
    plane = PlaneDisplay.from_estimator(probe, X[ROWS], Y[ROWS], n_points=7)
    assert plane.loss.shape == (7, 7)
    assert np.isfinite(plane.loss).all()
    with pytest.raises(ValueError, match="other=3"):
        PathDisplay.from_estimator(probe, other=3)
    with pytest.raises(ValueError, match="axes must be 2"):
        display.plot([None])
    plt.close("all")


# --- invariances ------------------------------------------------------------------------------


def frozen(*modules):
    return [from_module(module) for module in modules]


def test_the_ends_know_neither_the_order_nor_the_scale_of_units():
    data, y, truth = make_shared_private(600, n_cancelling=0, random_state=0)
    one, other = (two_layer(s.W1, s.b1, s.W2, s.b2) for s in truth.students)
    perm = np.random.RandomState(1).permutation(22)
    scale = np.exp(np.random.RandomState(2).normal(size=22))
    s = truth.students[1]
    moved = two_layer(
        (s.W1 * scale)[:, perm], (s.b1 * scale)[perm], (s.W2 / scale[:, None])[perm], s.b2
    )
    again = ModeConnectivityProbe(frozen(one, moved), repair=False, **QUICK).fit(data, y)
    reference = ModeConnectivityProbe(frozen(one, other), repair=False, **QUICK).fit(data, y)
    # the path between depends on the scale
    np.testing.assert_allclose(again.core_.ends, reference.core_.ends, atol=1e-9)
    for null, other in zip(again.nulls_[:2], reference.nulls_[:2], strict=True):
        assert null.draws.mean() == pytest.approx(other.draws.mean(), abs=0.02)


# --- bad input --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"n_models": 1}, "n_models"),
        ({"path": "spline"}, "path"),
        ({"align": "names"}, "align"),
        ({"n_points": 2}, "n_points"),
        ({"barrier_tol": -0.1}, "barrier_tol"),
    ],
)
def test_bad_parameters(bad, message):
    with pytest.raises(ValueError, match=message):
        ModeConnectivityProbe(SMALL, **{**QUICK, **bad}).fit(X[ROWS], Y[ROWS])


def test_networks_that_cannot_be_joined():
    small, large = (two_layer(*arrays(h)) for h in (5, 6))
    data, y = np.random.RandomState(0).normal(size=(50, 4)), np.arange(50) / 50
    with pytest.raises(ValueError, match=r"'0.weight' is \(5, 4\) in one and \(6, 4\)"):
        ModeConnectivityProbe(frozen(small, large), **QUICK).fit(data, y)
    with pytest.raises(ValueError, match=r"two networks, got 1 frozen"):
        ModeConnectivityProbe(frozen(small), **QUICK).fit(data, y)
    with pytest.raises(ValueError, match=r"two networks, got 1 frozen"):
        ModeConnectivityProbe(from_module(small), **QUICK).fit(data, y)
    with pytest.raises(TypeError, match=r"estimator\[1\] is SAMClassifier.*FrozenEstimator"):
        ModeConnectivityProbe([from_module(small), SMALL], **QUICK).fit(data, y)
    with pytest.raises(ValueError, match="n_samples=3 rows cannot be split"):
        ModeConnectivityProbe(frozen(small, small), **QUICK).fit(data[:3], y[:3])
    pipes = [
        FrozenEstimator(make_pipeline(StandardScaler(), clone(SMALL)).fit(X[rows], Y[rows]))
        for rows in (slice(0, 200), slice(200, 400))
    ]
    with pytest.raises(ValueError, match="reads other inputs than the first"):
        ModeConnectivityProbe(pipes, **QUICK).fit(X[400:600], Y[400:600])


def arrays(h):
    rng = np.random.RandomState(h)
    return rng.normal(size=(4, h)), rng.normal(size=h), rng.normal(size=(h, 1)), rng.normal(size=1)


class OnlyFourier(nn.Module):
    """All hidden units go into an operation that is not understood."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(6, 8), nn.Linear(5, 1)

    def forward(self, rows):
        return self.last(torch.fft.rfft(torch.relu(self.first(rows))).abs())


def test_operations_that_are_not_understood():
    data, y = np.random.RandomState(0).normal(size=(60, 6)), np.arange(60) / 60
    torch.manual_seed(0)
    pair = frozen(OnlyFourier().double(), OnlyFourier().double())
    with pytest.raises(UnsupportedNetworkError, match=r"_fft_r2c.*first.weight.*align=None"):
        ModeConnectivityProbe(pair, **QUICK).fit(data, y)
    assert ModeConnectivityProbe(pair, align=None, **QUICK).fit(data, y).verified_ is None

    class Partly(Unknown):
        def forward(self, rows):
            return super().forward(rows)[:, :1]

    pair = frozen(Partly().double(), Partly().double())
    with pytest.warns(ConnectivityWarning, match=r"Only 7 of 15 hidden channels.*_fft_r2c"):
        ModeConnectivityProbe(pair, **QUICK).fit(data, y)


def test_permuted_copies_are_refused():
    """Units in another order, and with scales of their own: one minimum is no two."""
    torch.manual_seed(0)
    module, other = (nn.Sequential(nn.Linear(4, 9), nn.ReLU(), nn.Linear(9, 2)) for _ in range(2))
    data, y = np.random.RandomState(0).normal(size=(60, 4)), np.arange(60) % 2
    copied, tuned = deepcopy(module), deepcopy(module)
    order, scale = torch.randperm(9), torch.rand(9) + 0.5
    with torch.no_grad():
        copied[0].weight.copy_((copied[0].weight * scale[:, None])[order])
        copied[0].bias.copy_((copied[0].bias * scale)[order])
        copied[2].weight.copy_((copied[2].weight / scale)[:, order])
        tuned[2].weight *= 2
    networks = [from_module(m, classes=[0, 1]) for m in (module, other, copied)]
    with pytest.raises(ValueError, match=r"Networks 0 and 2 are the same one \(outputs on 30 rows"):
        ModeConnectivityProbe(networks, **QUICK).fit(data, y)
    networks[2] = from_module(tuned, classes=[0, 1])
    with pytest.raises(ValueError, match=r"Networks 0 and 2 .*\(activations on 30 rows"):
        ModeConnectivityProbe(networks, **QUICK).fit(data, y)


def test_the_same_network_twice_is_refused_by_number():
    torch.manual_seed(0)
    module, other = (nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 1)) for _ in range(2))
    data, y = np.random.RandomState(0).normal(size=(60, 4)), np.arange(60) / 60
    with pytest.raises(ValueError, match=r"Networks 0 and 2 are the same one \(weights equal"):
        ModeConnectivityProbe(frozen(module, other, module), **QUICK).fit(data, y)


def test_a_path_that_is_not_finite_is_reported_point_by_point():
    data, y = np.random.RandomState(0).normal(size=(60, 4)), np.arange(60) / 60

    class Root(nn.Module):
        """Not a number where its second weight is negative."""

        def __init__(self, scale):
            super().__init__()
            self.first, self.last = nn.Linear(4, 5), nn.Linear(5, 1)
            self.scale = nn.Parameter(torch.tensor([scale]))

        def forward(self, rows):
            return self.last(torch.relu(self.first(rows))) * (self.scale.square() - 0.25).sqrt()

    torch.manual_seed(0)
    pair = frozen(Root(1.0).double(), Root(-1.0).double())
    with pytest.warns(ConnectivityWarning, match=r"not finite at t = \[.*0\.5.*\] of the aligned"):
        probe = ModeConnectivityProbe(pair, repair=False, **QUICK).fit(data, y)
    assert np.isnan(probe.barriers_.value("aligned"))
    assert not probe.connected_
    assert 0.0 not in probe.barriers_.non_finite[1, "aligned"]


def test_the_symmetry_is_the_one_that_is_found(probe):
    module = probe.estimators_[0].trained_network().network.module
    found = find_symmetry(module, torch.as_tensor(X[:5]))
    assert [g.name for g in found.groups] == [g.name for g in probe.symmetry_.groups]
