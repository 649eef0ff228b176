"""UniversalityProbe: what a fit tells, planted truth, and bad input."""

import pickle
import warnings

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

import sklflat
from sklflat import (
    ModeConnectivityProbe,
    SAMClassifier,
    SAMRegressor,
    UniversalityDisplay,
    UniversalityProbe,
    from_module,
)
from sklflat.exceptions import UniversalityWarning
from tests._probes import random_arrays, two_layer

X, Y = load_digits(return_X_y=True)
ORDER = np.random.RandomState(0).permutation(len(X))[:500]
X, Y = X[ORDER] / 16, Y[ORDER]
SMALL = SAMClassifier((12,), rho=0, max_iter=15, learning_rate_init=0.01, random_state=0)
QUICK = {"n_models": 3, "n_untrained": 30, "n_null": 120, "random_state": 0}

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::sklflat.exceptions.NothingFoundWarning"),
]


@pytest.fixture(scope="module")
def probe():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return UniversalityProbe(SMALL, **QUICK).fit(X, Y)


def test_what_a_fit_tells(probe):
    assert [len(probe.estimators_), probe.n_failed_] == [4, 0]
    assert probe.estimator_ is probe.estimators_[0]
    assert probe.returns_.shape == probe.partners_.shape == (3, 12)
    excess = probe.returns_.mean(axis=0) - probe.chance_
    np.testing.assert_allclose(probe.unit_scores_, np.where(probe.dead_, 0, excess), atol=1e-12)
    frame = probe.to_frame()
    np.testing.assert_allclose(frame["return"], probe.returns_.mean(axis=0))
    assert set(probe.universal_units_) == set(
        frame.index[(frame.q_value <= 0.05) & (frame.score > 0)]
    )
    assert list(probe.alignment_) == ["hidden.relu_0"]
    assert 0.5 < probe.alignment_["hidden.relu_0"] <= 1
    assert probe.reliability_.n_models == 3
    assert [null.name for null in probe.nulls_] == ["untrained networks"]
    assert (probe.explained_[~probe.dead_] <= 1).all()


def test_the_returns_are_those_of_the_rows_held_out(probe):
    """Against NumPy, from activations that the fitted networks themselves give."""
    u = int(np.argmax(probe.unit_scores_))
    table = probe.partners_of(probe.unit_names_[u])
    assert table["partner"].tolist() == probe.partners_[:, u].tolist()
    card = probe.unit_card(probe.unit_names_[u])
    assert f"{probe.unit_scores_[u]:.3g}"[:4] in str(card)
    everything = probe.estimators_[0].transform(X)[:, u]
    for k, row in table.iterrows():
        other = probe.estimators_[k].transform(X)
        v = int(row["partner"].split("[")[1][:-1])
        overall = np.corrcoef(everything, other[:, v])[0, 1]
        assert row["correlation"] == pytest.approx(overall, abs=0.15)  # on a quarter of the rows


def test_frozen_networks_give_what_trained_ones_do(probe):
    siblings = [FrozenEstimator(e) for e in probe.estimators_]
    found = UniversalityProbe(siblings, **QUICK).fit(X, Y)
    A = [e.transform(X) for e in probe.estimators_]
    live = ~found.dead_
    lives = [B[:, B.any(axis=0)] for B in A[1:]]  # of ReLU units
    C = [np.corrcoef(A[0][:, live].T, B.T)[: live.sum(), live.sum() :] for B in lives]
    expected = [c.max(axis=1) for c in C]
    np.testing.assert_allclose(found.returns_[:, live], expected, atol=1e-5)


def test_orders_of_units_and_relu_scales_do_not_count():
    def siblings(scale, order):
        arrays = [random_arrays(k) for k in range(3)]
        W1, b1, W2, b2 = arrays[0]
        arrays[0] = (W1 * scale)[:, order], (b1 * scale)[order], (W2 / scale[:, None])[order], b2
        return [from_module(two_layer(*a), classes=[0, 1, 2]) for a in arrays]

    rng = np.random.RandomState(0)
    inputs, labels = rng.normal(size=(80, 4)), np.arange(80) % 3
    order = rng.permutation(6)
    quick = QUICK | {"n_units": 1}
    plain = UniversalityProbe(siblings(np.ones(6), np.arange(6)), **quick).fit(inputs, labels)
    other = UniversalityProbe(siblings(np.exp(rng.normal(size=6)), order), **quick)
    other.fit(inputs, labels)
    np.testing.assert_allclose(other.returns_, plain.returns_[:, order], atol=1e-9)
    np.testing.assert_allclose(other.unit_scores_, plain.unit_scores_[order], atol=1e-9)


def with_units(seed, more):
    """A random network with further units of given incoming weights."""
    W1, b1, W2, b2 = random_arrays(seed)
    for column, bias in more:
        W1, b1 = np.hstack([W1, column[:, None]]), np.append(b1, bias)
        W2 = np.vstack([W2, W2[:1]])
    return from_module(two_layer(W1, b1, W2, b2), classes=[0, 1, 2])


def test_duplicated_dead_and_constant_units_have_names():
    W1, b1, *_ = random_arrays(0)
    zero = np.zeros(4)
    more = [(3 * W1[:, 2], 3 * b1[2]), (zero, -1.0), (zero, 2.0)]
    siblings = [with_units(0, more), with_units(1, more), with_units(2, more)]
    inputs = np.random.RandomState(0).normal(size=(60, 4))
    found = UniversalityProbe(siblings, **QUICK).fit(inputs, np.arange(60) % 3)
    assert found.duplicates_ == (("1[2]", "1[6]"),)
    assert found.unit_names_[found.dead_].tolist() == ["1[7]", "1[8]"]
    assert found.unit_scores_[[7, 8]].tolist() == [0, 0]
    assert found.p_values_[[7, 8]].tolist() == [1, 1]
    np.testing.assert_allclose(found.unit_scores_[2], found.unit_scores_[6], atol=1e-9)
    # what all of them have in common returns in full, and the constants return as nothing
    np.testing.assert_allclose(found.returns_[:, 7:], 0)


@pytest.mark.slow
def test_one_to_one_gives_no_partner_twice(probe):
    siblings = [FrozenEstimator(e) for e in probe.estimators_]
    found = UniversalityProbe(siblings, matching="one_to_one", **QUICK).fit(X, Y)
    for names in found.partners_:
        assert len(set(names)) == 12
    best = UniversalityProbe(siblings, **QUICK).fit(X, Y)
    assert (found.returns_ <= best.returns_ + 1e-9).all()


def test_negatives_return_without_sign():
    arrays = random_arrays(0)
    W1, b1, W2, b2 = arrays
    mixed = np.where(np.arange(len(b1)) % 2, 1, -1)  # the second has half of the signs
    negatives = [(-W1, -b1, 2 * W2, b2), (W1 * mixed, b1 * mixed, 3 * W2, b2)]
    siblings = [from_module(two_layer(*a, nn.Tanh)) for a in (arrays, *negatives)]
    inputs = np.random.RandomState(0).normal(size=(60, 4))
    y = np.random.RandomState(1).normal(size=(60, 3))
    signed = UniversalityProbe(siblings, **QUICK).fit(inputs, y)
    unsigned = UniversalityProbe(siblings, signed=False, **QUICK).fit(inputs, y)
    assert signed.returns_.min() < 0.99
    np.testing.assert_allclose(unsigned.returns_, 1, atol=1e-9)


@pytest.mark.slow
def test_others_may_be_wider_or_narrower():
    siblings = [
        from_module(two_layer(*random_arrays(k, h=h)), classes=[0, 1, 2])
        for k, h in enumerate((6, 3, 11))
    ]
    inputs = np.random.RandomState(0).normal(size=(60, 4))
    for null in ("untrained", "rotation"):
        found = UniversalityProbe(siblings, null=null, **QUICK).fit(inputs, np.arange(60) % 3)
        assert found.returns_.shape == (2, 6)
    assert found.nulls_[0].draws.shape == (30, 6)  # rotations


@pytest.mark.parametrize(
    ("null", "name"),
    [
        ("rotation", "random rotations of the layers"),
        ("shuffled_labels", "trained on shuffled labels"),
    ],
)
def test_other_kinds_of_chance(null, name):
    found = UniversalityProbe(SMALL, null=null, **QUICK).fit(X, Y)
    assert [n.name for n in found.nulls_] == [name]
    assert found.returns_.mean(axis=0).max() > found.chance_.max()


@pytest.mark.slow
def test_regressors_pipelines_and_searches():
    y = X[:, 20] + 0.1 * Y
    regressor = SAMRegressor((6,), rho=0, max_iter=10, learning_rate_init=0.01)
    found = UniversalityProbe(make_pipeline(StandardScaler(), regressor), **QUICK).fit(X, y)
    assert found.returns_.shape == (3, 6)
    steps = make_pipeline(UniversalityProbe(SMALL, **QUICK), LogisticRegression(max_iter=300))
    grid = {"universalityprobe__n_units": [3, 12]}
    search = GridSearchCV(steps, grid, cv=2).fit(X[:200], Y[:200])
    assert search.best_params_["universalityprobe__n_units"] == 12


def test_it_is_pickled_cloned_saved_and_resumed(probe, tmp_path):
    np.testing.assert_array_equal(
        pickle.loads(pickle.dumps(probe)).transform(X), probe.transform(X)
    )
    sklflat.save(probe, tmp_path / "probe")
    loaded = sklflat.load(tmp_path / "probe")
    np.testing.assert_array_equal(loaded.unit_scores_, probe.unit_scores_)
    assert loaded.reliability_ == probe.reliability_
    again = clone(probe).set_params(cache_dir=tmp_path / "runs").fit(X, Y)
    np.testing.assert_array_equal(again.unit_scores_, probe.unit_scores_)
    files = sorted(p for p in (tmp_path / "runs").rglob("*") if p.is_file())
    resumed = clone(again).fit(X, Y)
    np.testing.assert_array_equal(resumed.unit_scores_, probe.unit_scores_)
    assert files
    assert sorted(p for p in (tmp_path / "runs").rglob("*") if p.is_file()) == files


@pytest.mark.slow
def test_the_models_of_a_connectivity_probe_are_siblings():
    connected = ModeConnectivityProbe(
        SMALL, n_models=3, n_null=4, n_points=3, repair=False, n_units=1, random_state=0
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        connected.fit(X[:250], Y[:250])
    siblings = [FrozenEstimator(e) for e in connected.estimators_]
    found = UniversalityProbe(siblings, **QUICK).fit(X[250:], Y[250:])
    assert found.returns_.shape == (2, 12)


def test_a_convolution_and_two_layers():
    def module(seed):
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 5), nn.Tanh(),
            nn.Linear(5, 10),
        )  # fmt: skip

    siblings = [from_module(module(k), classes=list(range(10))) for k in range(3)]
    images = X.reshape(-1, 1, 8, 8).astype(np.float32)
    found = UniversalityProbe(siblings, **QUICK).fit(images[:100], Y[:100])
    assert found.units_.layer_of.tolist() == [0] * 4 + [1] * 5
    partners = found.partners_[0]
    assert {name.split("[")[0] for name in partners[:4]} == {"1"}
    assert {name.split("[")[0] for name in partners[4:]} == {"4"}
    assert list(found.alignment_) == ["1", "4"]


def test_a_row_of_weight_zero_is_not_there(probe):
    siblings = [FrozenEstimator(e) for e in probe.estimators_]
    weight = np.r_[np.ones(300), np.zeros(200)]
    weighted = UniversalityProbe(siblings, **QUICK).fit(X, Y, sample_weight=weight)
    fewer = UniversalityProbe(siblings, **QUICK).fit(X[:300], Y[:300])
    np.testing.assert_allclose(weighted.returns_, fewer.returns_, atol=1e-9)


def test_groups_decide_as_one(probe):
    siblings = [FrozenEstimator(e) for e in probe.estimators_]
    with pytest.warns(UniversalityWarning, match="10 groups are left .* of 20"):
        found = UniversalityProbe(siblings, **QUICK).fit(X, Y, groups=np.arange(500) % 10)
    assert (found.p_values_ == 1).all()


def test_the_picture_shows_units_and_matches(probe):
    display = UniversalityDisplay.from_estimator(probe)
    units, matches = display.axes_
    assert (units.get_xticks() % 1 == 0).all()  # a unit's rank is whole
    assert "95 % of chance" in units.get_legend().get_texts()[0].get_text()
    assert len(matches.get_yticks()) == 3
    name = probe.unit_names_[1]
    own = UniversalityDisplay.from_estimator(probe, unit=name)
    assert name in own.axes_[1].get_xlabel()
    with pytest.raises(ValueError, match="There is no unit 'hidden'"):
        UniversalityDisplay.from_estimator(probe, unit="hidden")
    plt.close("all")


def test_trainings_that_do_not_converge_warn_once_with_their_number():
    probe = UniversalityProbe(SMALL, **QUICK)
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        probe.fit(X[:100], Y[:100])
    said = [str(w.message) for w in heard if w.category is ConvergenceWarning]
    assert len(said) == 1
    assert said[0].endswith("So it is with 4 of 4 trainings.")
    assert heard[0].filename == __file__
