"""Inputs that nobody lists: what is refused by name, and what has to work all the same."""

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_digits
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklflat import SAMClassifier, TemperatureClassifier, TemperatureProbe, from_module
from sklflat.exceptions import CalibrationWarning
from sklflat.networks import MLP
from sklflat.probing import sample_basin
from sklflat.temperature import temperatures_through_basin
from sklflat.temperature.calibration import fit_temperature

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:No unit scores above 0"),
]
X, Y = load_digits(return_X_y=True)
X, Y = X[:300] / 16, Y[:300]
QUICK = {"n_bootstrap": 4, "n_null": 30, "random_state": 0}
NET = SAMClassifier((16,), max_iter=8, learning_rate_init=0.02, random_state=0)


@pytest.fixture(scope="module")
def frozen():
    return FrozenEstimator(SAMClassifier(**NET.get_params()).fit(X, Y))


@pytest.fixture(scope="module")
def plain(frozen):
    return TemperatureProbe(frozen, **QUICK).fit(X, Y)


# --- what holds no network --------------------------------------------------------------------


@pytest.mark.parametrize("around", [TemperatureClassifier, CalibratedClassifierCV])
def test_what_is_around_a_network_is_refused_before_it_is_trained(around, monkeypatch):
    monkeypatch.setattr(SAMClassifier, "fit", lambda *a, **k: pytest.fail("it was trained"))
    name = around.__name__
    with pytest.raises(TypeError, match=rf"no network in estimator={name}\(...\).*inside it"):
        TemperatureProbe(around(NET), **QUICK).fit(X, Y)


def test_the_network_in_a_fitted_one_is_what_it_says_to_give(frozen, plain):
    soft = TemperatureClassifier(frozen, temperature=3.0).fit(X, Y)
    with pytest.raises(TypeError, match=r"FrozenEstimator\(fitted.estimator_\)"):
        TemperatureProbe(FrozenEstimator(soft), **QUICK).fit(X, Y)
    inside = TemperatureProbe(FrozenEstimator(soft.estimator_), **QUICK).fit(X, Y)
    np.testing.assert_array_equal(inside.similarity_, plain.similarity_)


# --- labels, rows and containers --------------------------------------------------------------


def test_sparse_rows_and_labels_that_are_objects_give_the_same_tree():
    dense = TemperatureProbe(NET, **QUICK).fit(X, Y)
    named = np.array([f"d{k}" for k in Y], dtype=object)
    other = TemperatureProbe(NET, **QUICK).fit(csr_array(X), named)
    np.testing.assert_allclose(other.similarity_, dense.similarity_, atol=1e-6)
    assert other.tree_.groups() == [tuple(f"d{k}" for k in g) for g in dense.tree_.groups()]


def test_data_frames_in_a_pipeline_are_their_rows():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(X, columns=[f"f{k}" for k in range(64)], index=np.arange(300)[::-1])
    labels = pd.Series(Y, index=np.arange(300) * 3).astype("category")
    scaled = make_pipeline(StandardScaler().set_output(transform="pandas"), NET)
    probe = TemperatureProbe(scaled, **QUICK).fit(frame, labels)
    rows = TemperatureProbe(make_pipeline(StandardScaler(), NET), **QUICK).fit(X, Y)
    np.testing.assert_allclose(probe.similarity_, rows.similarity_, atol=1e-6)
    assert probe.feature_names_in_[0] == "f0"


def test_a_class_of_one_row_has_no_support_and_says_so(frozen):
    kept = [*np.flatnonzero(Y != 3).tolist(), int(np.flatnonzero(Y == 3)[0])]
    probe = TemperatureProbe(frozen, **QUICK).fit(X[kept], Y[kept])
    for group, support in zip(probe.tree_.groups()[:-1], probe.tree_.support[:-1], strict=True):
        assert np.isnan(support) or 3 not in group
    assert any("Rows of the smallest class: 1, too few" in sentence for sentence in probe.findings_)
    only = [int(np.flatnonzero(k == Y)[0]) for k in range(10)]
    alone = TemperatureProbe(frozen, **QUICK).fit(X[only], Y[only])
    assert np.isnan(alone.tree_.support[:-1]).all()
    assert np.isfinite(alone.similarity_).all()


def test_a_row_twice_is_what_a_weight_of_two_is(frozen, plain):
    twice = TemperatureProbe(frozen, **QUICK).fit(np.tile(X, (2, 1)), np.tile(Y, 2))
    weighted = TemperatureProbe(frozen, **QUICK).fit(X, Y, sample_weight=np.full(300, 2.0))
    for probe in (twice, weighted):
        np.testing.assert_allclose(probe.similarity_, plain.similarity_, atol=1e-9)
        np.testing.assert_allclose(probe.linkages_, plain.linkages_, atol=1e-9)


def test_outputs_in_another_order_give_the_same_tree_also_where_distances_are_equal(frozen):
    """At a low temperature distances are shares of few rows: many are equal, and names decide."""
    module = frozen.estimator.module_
    state, order = module.state_dict(), np.random.RandomState(0).permutation(10)
    moved = MLP(64, 10, (16,))
    moved.load_state_dict({k: v[order] if k.startswith("output") else v for k, v in state.items()})
    same, other = (
        TemperatureProbe(from_module(m.eval(), classes=classes), temperatures=[1e-9], **QUICK)
        for m, classes in ((module, np.arange(10)), (moved, np.arange(10)[order]))
    )
    same.fit(X[:60], Y[:60])
    other.fit(X[:60], Y[:60])
    heights = same.linkages_[0][:, 2]
    assert len(np.unique(heights)) < len(heights)
    np.testing.assert_array_equal(other.linkages_, same.linkages_)
    np.testing.assert_array_equal(other.stability_, same.stability_)


# --- temperatures -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "temperatures", [[2, 1], np.array([[1.0], [2.0]]), [np.float32(1), np.int8(2), 1.0]]
)
def test_temperatures_are_one_rising_grid(temperatures, frozen):
    probe = TemperatureProbe(frozen, temperatures=temperatures, **QUICK).fit(X, Y)
    assert probe.temperatures_.tolist() == [1, 2]


@pytest.mark.parametrize("temperatures", [2.0, "auto", {1.0}, ["high"], [1j], [[1.0], [-2.0]]])
def test_what_is_no_list_of_temperatures(temperatures, frozen):
    with pytest.raises(ValueError, match=r"temperatures.* must be (an array-like|positive num)"):
        TemperatureProbe(frozen, temperatures=temperatures, **QUICK).fit(X, Y)


@pytest.mark.parametrize("temperature", [np.float32(2), np.int64(2), np.float64(2)])
def test_a_temperature_may_be_any_real_number(temperature, frozen):
    model = TemperatureClassifier(frozen, temperature=temperature).fit(X, Y)
    assert isinstance(model.temperature_, float)
    assert model.temperature_ == 2


@pytest.mark.parametrize("temperature", [np.array([1.0, 2.0]), [2.0], np.array(2.0), "2", 1j])
def test_a_temperature_is_one_number(temperature, frozen):
    with pytest.raises(
        ValueError, match="'temperature' parameter of TemperatureClassifier must be"
    ):
        TemperatureClassifier(frozen, temperature=temperature).fit(X, Y)


# --- networks out of range --------------------------------------------------------------------


def scaled(scale, dtype=torch.float64):
    """A random network whose parameters are so many times larger."""
    torch.manual_seed(0)
    module = MLP(64, 10, (16,)).to(dtype)
    with torch.no_grad():
        for w in module.parameters():
            w.mul_(scale)
    return from_module(module, classes=range(10))


@pytest.mark.parametrize("scale", [1e150, 1e80, 1e-80, 1e-150])
def test_logits_of_any_scale_are_swept(scale):
    """Their squares are out of range, and the smallest are equal but for rounding."""
    probe = TemperatureProbe(scaled(scale), **QUICK).fit(X, Y)
    assert np.isfinite(probe.temperatures_).all()
    assert np.isfinite(probe.similarity_).all()
    assert probe.hierarchy_ is None


def test_half_precision_is_swept():
    probe = TemperatureProbe(scaled(1, torch.float16), **QUICK).fit(X, Y)
    double = TemperatureProbe(scaled(1), temperatures=probe.temperatures_, **QUICK).fit(X, Y)
    np.testing.assert_allclose(probe.similarity_[12:], double.similarity_[12:], atol=0.01)


def test_outputs_that_are_no_numbers_are_refused():
    with pytest.raises(ValueError, match="outputs are not finite"):
        TemperatureProbe(scaled(np.nan), **QUICK).fit(X, Y)


@pytest.mark.parametrize("scale", [1e-300, 1e300, 1.7e308])
def test_logits_at_the_ends_of_the_range_have_a_temperature(scale):
    logits = scale * np.random.RandomState(0).uniform(-1, 1, size=(50, 4))
    found = fit_temperature(logits, np.arange(50) % 4)
    assert 0 < found.temperature < np.inf
    assert found.nll_after <= found.nll_before
    assert next(found.doubts())


def test_no_rows_are_refused(frozen):
    with pytest.raises(ValueError, match=r"no row of positive sample_weight|0 sample"):
        TemperatureClassifier(frozen, temperature="nll").fit(X[:0], Y[:0])


def test_rows_of_one_class_calibrate_with_a_warning(frozen):
    with pytest.warns(CalibrationWarning, match="without rows of class 1 and 8 others"):
        TemperatureClassifier(frozen, temperature="nll").fit(X[Y == 0], Y[Y == 0])


@pytest.mark.slow
def test_a_thousand_classes_are_swept():
    rng = np.random.RandomState(0)
    rows, labels = rng.normal(size=(2000, 20)).astype(np.float32), np.arange(2000) % 1000
    network = from_module(MLP(20, 1000, (16,)), classes=np.arange(1000))
    options = {**QUICK, "n_bootstrap": 2, "temperatures": [0.1, 10.0]}
    probe = TemperatureProbe(network, **options).fit(rows, labels)
    assert probe.hierarchy_ is None
    assert probe.linkages_.shape == (2, 999, 4)
    assert np.isfinite(probe.similarity_).all()


# --- through the basin ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def basin(frozen):
    return sample_basin(frozen, X, Y, n_models=2, loss_rise=0.2, random_state=0)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"importance": "nonsense"}, "'importance' parameter of temperatures_through_basin"),
        ({"linkage": "ward"}, "'linkage' parameter of temperatures_through_basin"),
        ({"n_bootstrap": 1}, "'n_bootstrap' parameter of temperatures_through_basin"),
        ({"temperatures": 1.0}, "'temperatures' parameter of temperatures_through_basin"),
        ({"temperatures": [-1.0]}, "must be positive numbers"),
        ({"random_state": "x"}, "'random_state' parameter of temperatures_through_basin"),
    ],
)
def test_parameters_of_a_sweep_through_a_basin_are_checked(wrong, message, basin):
    with pytest.raises(ValueError, match=message):
        temperatures_through_basin(basin, X, Y, **wrong)


def test_what_is_no_basin(frozen, basin):
    with pytest.raises(TypeError, match="it has to come from sample_basin"):
        temperatures_through_basin(frozen, X, Y)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        temperatures_through_basin(basin, X, Y[:-1])


def test_both_spreads_are_of_the_same_pairs(basin):
    """Of pairs that merge in some bootstrap samples only, neither says anything."""
    found = temperatures_through_basin(basin, X, Y, temperatures=[0.5, 1.0, 2.0], n_bootstrap=5)
    merging = np.isfinite(found.row_merges).all(axis=0)
    merging &= np.isfinite(found.merge_temperatures[1:]).all(axis=0)
    pairs = np.nonzero(np.triu(merging, 1))
    assert 0 < len(pairs[0]) < 45
    for merges, spread in (
        (found.merge_temperatures[1:], found.merge_spread),
        (found.row_merges, found.row_spread),
    ):
        logs = np.log(merges[:, pairs[0], pairs[1]])
        assert spread == pytest.approx(np.std(logs, axis=0, ddof=1).mean())
