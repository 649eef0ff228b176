"""TemperatureProbe: planted trees, words for what is not there, and inputs nobody meant."""

import warnings

import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import confusion_matrix, log_loss
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklflat import (
    SAMClassifier,
    SAMRegressor,
    TemperatureDisplay,
    TemperatureProbe,
    from_module,
    load,
    save,
)
from sklflat.datasets import make_class_tree
from sklflat.exceptions import NothingFoundWarning
from sklflat.probing import sample_basin
from sklflat.temperature import logits_of, softened, temperatures_through_basin
from sklflat.temperature.class_tree import branches

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:No unit scores above 0"),
]
QUICK = {"n_bootstrap": 10, "n_null": 60, "random_state": 0}
NET = SAMClassifier((32,), learning_rate_init=0.005, max_iter=30, random_state=0)


@pytest.fixture(scope="module")
def planted():
    """A network on a tree that no class mean of the inputs shows, and rows it has not seen."""
    X, y, truth = make_class_tree(2600, warp="parity", random_state=0)
    names = np.array([f"class {k}" for k in "abcdefgh"])[y]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        clf = SAMClassifier(**{**NET.get_params(), "hidden_layer_sizes": (64,)})
        clf.fit(X[:2000], names[:2000])
        probe = TemperatureProbe(FrozenEstimator(clf), **QUICK).fit(X[2000:], names[2000:])
    return clf, X[2000:], names[2000:], truth, probe


def test_a_tree_that_only_the_network_sees_is_found(planted):
    *_, truth, probe = planted
    assert truth.triplet_accuracy(probe.hierarchy_.linkage) > 0.95
    by_inputs = next(c for c in probe.comparisons_ if c.name == "class means of the inputs")
    assert truth.triplet_accuracy(by_inputs.linkage) < 0.6
    assert probe.findings_[0].startswith("A hierarchy of 8 classes at T = ")
    assert "confusions" in probe.findings_[1]


def test_attributes_are_those_of_the_logits(planted):
    clf, X, y, _, probe = planted
    codes = np.searchsorted(probe.classes_, y)
    logits = logits_of(clf, X)
    k = 12
    p = softened(logits, probe.temperatures_[k])
    S = np.stack([p[codes == a].mean(axis=0) for a in range(8)])
    np.testing.assert_allclose(probe.similarity_[k], S, atol=1e-8)
    best = min(np.geomspace(0.2, 10, 400), key=lambda T: log_loss(codes, softened(logits, T)))
    assert probe.calibrated_temperature_ == pytest.approx(best, rel=0.01)
    np.testing.assert_allclose(probe.unit_profiles_.sum(axis=1), 1)
    low, high = probe.unit_profiles_[[0, -1]]
    np.testing.assert_allclose(probe.unit_scores_, high / (high + low))


def test_the_lowest_temperature_is_the_confusion_matrix(planted):
    clf, X, y, *_ = planted
    probe = TemperatureProbe(FrozenEstimator(clf), temperatures=[1e-4, 1.0], **QUICK).fit(X, y)
    hard = confusion_matrix(y, clf.predict(X), normalize="true")
    np.testing.assert_allclose(probe.similarity_[0], hard, atol=1e-3)


def test_a_star_has_no_hierarchy():
    X, y, _ = make_class_tree(1500, tree="star", separation=4, random_state=0)
    probe = TemperatureProbe(NET, **QUICK).fit(X, y)
    assert probe.hierarchy_ is None
    assert "No hierarchy" in probe.findings_[0]
    if probe.hierarchy_p_value_ > 0.001:  # the level, without which .004 reads as found
        assert "at most 0.001 is asked for" in probe.findings_[0]
    assert len(probe.tree_.linkage) == 7


def test_results_are_kept_drawn_and_told(planted, tmp_path):
    _, X, y, _, probe = planted
    save(probe, tmp_path / "probe.safetensors")
    again = load(tmp_path / "probe.safetensors")
    np.testing.assert_array_equal(again.transform(X), probe.transform(X))
    assert again.hierarchy_.to_newick() == probe.hierarchy_.to_newick()
    frame = probe.to_frame()
    assert {"share_low", "share_high", "coarse", "refinement"} <= set(frame.columns)
    branches = probe.hierarchy_.to_frame()
    assert set(branches["classes"].iloc[-1]) == set(np.unique(y))
    display = TemperatureDisplay.from_estimator(probe)
    assert {t.get_text() for t in display.axes_[0].get_yticklabels()} == set(np.unique(y))
    names = {t.get_text() for t in display.axes_[0].texts}
    assert names == {f"{s:.0%}" for s in probe.tree_.support[:-1]}
    low, high = sorted(display.axes_[0].get_xlim())
    heights = probe.tree_.linkage[:, 2]
    assert 0 < low < heights.min()  # all of the picture is of the branches
    assert high > heights.max()
    assert len(display.plot_similarity(temperatures=[1.0])) == 1
    hot = display.plot_similarity(temperatures=[probe.temperatures_[-1]])[0].images[0]
    assert hot.get_clim() == (hot.get_array().min(), hot.get_array().max())
    with pytest.raises(ValueError, match="axes must be 4"):
        display.plot_confidence(X, axes=display.axes_)
    assert len(display.plot_confidence(X)) == 4


def test_same_seed_same_result(planted):
    clf, X, y, _, probe = planted
    again = TemperatureProbe(FrozenEstimator(clf), **QUICK).fit(X, y)
    for name in ("stability_", "unit_profiles_", "p_values_", "support_of_branches_"):
        np.testing.assert_array_equal(getattr(again, name), getattr(probe, name))


def test_permuting_hidden_units_permutes_scores_and_leaves_the_tree(planted):
    clf, X, y, _, probe = planted
    order = np.random.RandomState(0).permutation(64)
    state = clf.module_.state_dict()
    module = SAMClassifier(**clf.get_params()).fit(X[:50], y[:50]).module_
    moved = {
        "hidden.linear_0.weight": state["hidden.linear_0.weight"][order],
        "hidden.linear_0.bias": state["hidden.linear_0.bias"][order],
        "output.weight": state["output.weight"][:, order],
        "output.bias": state["output.bias"],
    }
    module.load_state_dict(moved)
    frozen = from_module(module.eval(), classes=clf.classes_)
    again = TemperatureProbe(frozen, temperatures=probe.temperatures_, **QUICK).fit(X, y)
    np.testing.assert_allclose(again.unit_scores_, probe.unit_scores_[order], atol=1e-6)
    np.testing.assert_allclose(again.tree_.linkage, probe.tree_.linkage, atol=1e-9)


def test_outputs_of_a_module_may_be_in_any_order(planted):
    clf, X, y, _, probe = planted
    old = probe.classes_
    new = np.array([f"class {k}" for k in "zyxabcdw"])
    frozen = from_module(clf.module_, classes=new)  # output k was old[k]
    renamed = dict(zip(old.tolist(), new.tolist(), strict=True))
    again = TemperatureProbe(frozen, temperatures=probe.temperatures_, **QUICK).fit(
        X, np.array([renamed[c] for c in y])
    )
    order = np.argsort(new)
    S = probe.similarity_[:, order][:, :, order]
    np.testing.assert_allclose(again.similarity_, S, atol=1e-6)
    assert again.calibrated_temperature_ == pytest.approx(probe.calibrated_temperature_, rel=1e-5)
    # all but the tree at the temperature that random halves of the rows choose
    for one, two in zip(probe.comparisons_[1:], again.comparisons_[1:], strict=True):
        np.testing.assert_allclose(np.sort(one.linkage[:, 2]), np.sort(two.linkage[:, 2]), 1e-4)
    for one, two in zip(probe.linkages_, again.linkages_, strict=True):
        np.testing.assert_allclose(one[:, 2], two[:, 2], 1e-4)
        names = [renamed[c] for c in old]
        assert groups_of(two, again.classes_) == groups_of(one, names)


def groups_of(linkage, names):
    return [frozenset(c for k, c in enumerate(names) if m >> k & 1) for m in branches(linkage)]


def test_a_row_without_weight_is_not_there(planted):
    clf, X, y, *_ = planted
    weight = (np.arange(len(y)) % 3 > 0).astype(float)
    weight[np.flatnonzero(y == "class a")[3:]] = 0  # halves of this class hold a row or two
    there = weight > 0
    frozen = FrozenEstimator(clf)
    weighted = TemperatureProbe(frozen, **QUICK).fit(X, y, sample_weight=weight)
    alone = TemperatureProbe(frozen, **QUICK).fit(X[there], y[there])
    np.testing.assert_allclose(weighted.similarity_, alone.similarity_, atol=1e-12)
    np.testing.assert_allclose(weighted.stability_, alone.stability_, atol=1e-12)
    np.testing.assert_allclose(weighted.unit_profiles_, alone.unit_profiles_, atol=1e-9)


# --- what is not there ------------------------------------------------------------------------


def test_two_classes_are_one_branch():
    X, y = load_iris(return_X_y=True)
    probe = TemperatureProbe(NET, **QUICK).fit(X[:100], y[:100])
    assert probe.findings_[0].startswith("Two classes make a tree of one branch")
    assert probe.hierarchy_ is None
    assert probe.tree_.linkage.shape == (1, 4)


def test_three_classes_are_too_few_to_tell():
    X, y = load_iris(return_X_y=True)
    probe = TemperatureProbe(make_pipeline(StandardScaler(), NET), **QUICK).fit(X, y)
    assert "3 classes are too few" in probe.findings_[0]
    assert probe.tree_.groups()[0] == (1, 2)


def test_a_class_without_rows_is_left_out_and_said(planted):
    clf, X, y, *_ = planted
    there = y != "class c"
    with pytest.warns(NothingFoundWarning, match=r"\['class c'\].*holdout"):
        probe = TemperatureProbe(FrozenEstimator(clf), **QUICK).fit(X[there], y[there])
    assert "class c" not in probe.classes_
    assert probe.similarity_.shape[1:] == (7, 7)


def test_one_class_is_refused(planted):
    clf, X, y, *_ = planted
    only = y == "class a"
    with pytest.raises(ValueError, match=r"one class only, \['class a'\]"):
        TemperatureProbe(FrozenEstimator(clf), **QUICK).fit(X[only], y[only])


@pytest.mark.parametrize("wrong", [[0.0, 1.0], [-1.0], [np.nan, 1], [np.inf], []])
def test_wrong_temperatures_are_refused(wrong):
    X, y = load_iris(return_X_y=True)
    with pytest.raises(ValueError, match=r"temperatures=.*must be positive"):
        TemperatureProbe(NET, temperatures=wrong, **QUICK).fit(X, y)


def test_a_regressor_is_refused():
    X, y = load_iris(return_X_y=True)
    with pytest.raises(ValueError, match="needs a classifier"):
        TemperatureProbe(SAMRegressor((4,), max_iter=2), **QUICK).fit(X, y.astype(float))


def test_multilabel_targets_are_refused():
    X, y = load_iris(return_X_y=True)
    with pytest.raises(ValueError, match="multilabel"):
        TemperatureProbe(NET, **QUICK).fit(X, np.eye(3, dtype=int)[y])


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_temperatures_far_from_the_logits_stay_finite(scale):
    X, y = load_iris(return_X_y=True)
    probe = TemperatureProbe(NET, temperatures=scale * np.array([1, 2.0]), **QUICK).fit(X, y)
    assert np.isfinite(probe.similarity_).all()
    assert np.isfinite(probe.unit_scores_).all()


def test_a_network_that_says_the_same_of_all_rows():
    """All logits are equal: nothing is told apart, and nothing breaks."""
    import torch

    module = torch.nn.Sequential(torch.nn.Linear(4, 5), torch.nn.ReLU(), torch.nn.Linear(5, 3))
    with torch.no_grad():
        module[2].weight.zero_()
        module[2].bias.zero_()
    X, y = load_iris(return_X_y=True)
    probe = TemperatureProbe(from_module(module, classes=[0, 1, 2]), **QUICK).fit(X, y)
    np.testing.assert_allclose(probe.similarity_, 1 / 3)
    assert probe.vacuity_ == 1


# --- through the basin ------------------------------------------------------------------------


def test_through_the_basin(planted):
    clf, X, y, _, probe = planted
    basin = sample_basin(clf, X, y, n_models=2, loss_rise=0.1, random_state=0)
    before = basin.trained.network.vector.read().clone()
    found = temperatures_through_basin(basin, X, y, temperatures=probe.temperatures_)
    np.testing.assert_allclose(found.similarity[0], probe.similarity_, atol=1e-6)
    np.testing.assert_allclose(found.profiles[0], probe.unit_profiles_, atol=1e-4)
    assert found.merge_spread > 0
    assert found.row_spread > 0
    assert (found.tree_agreement <= 1).all()
    assert not np.allclose(found.similarity[1], found.similarity[0])
    assert (basin.trained.network.vector.read() == before).all()
    # the models are those of the basin: their outputs say so
    second = basin.outputs(X)[1]
    np.testing.assert_allclose(
        found.similarity[2, 12],
        np.stack(
            [softened(second, probe.temperatures_[12])[y == c].mean(axis=0) for c in probe.classes_]
        ),
        atol=1e-5,
    )
