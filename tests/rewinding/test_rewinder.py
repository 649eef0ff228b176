"""BasinRewinder from end to end: what it finds, what it refuses, and inputs nobody meant."""

import warnings
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier
from torch import nn

from sklflat import BasinRewinder, SAMClassifier, SAMRegressor, from_module
from sklflat.exceptions import (
    CheckpointError,
    DivergenceError,
    RewindingWarning,
    StorageError,
    UnsupportedNetworkError,
)
from sklflat.rewinding import rewinder as rewinder_module
from sklflat.rewinding import write_masks
from sklflat.rewinding.rewound_sample import Experiment
from sklflat.rewinding.study import _Study
from sklflat.storage import RunStore
from sklflat.training.runs import Training
from tests._estimators import DIGIT, DIGITS, IRIS, SPECIES, skorch_net

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:No unit scores above 0"),
]
NET = SAMClassifier((8,), learning_rate_init=0.02, max_iter=8, batch_size=20, rho=0)
QUICK = {"sparsity": 0.5, "n_rounds": 2, "n_grid": 3, "n_copies": 2, "n_retrains": 2}
QUICK |= {"n_null": 30, "n_units": 3, "n_bootstrap": 5, "random_state": 0}
#: what costs least
ONCE = {**QUICK, "n_rounds": 1, "n_controls": 0, "rewind": 0}
SHORT = clone(NET).set_params(max_iter=2)
NAMES = np.array(["setosa", "versicolor", "virginica"])[SPECIES]


@pytest.fixture(scope="module")
def fitted():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return BasinRewinder(NET, **QUICK).fit(IRIS, NAMES)


def test_the_ticket_is_a_pruned_classifier(fitted):
    assert fitted.sparsity_ == pytest.approx(0.5, abs=0.02)
    for name, mask in fitted.mask_.items():
        weights = fitted.ticket_.module_.get_parameter(name).detach().numpy()
        assert (weights[~mask] == 0).all()
        assert (weights[mask] != 0).all()
    np.testing.assert_array_equal(fitted.predict(IRIS), fitted.ticket_.predict(IRIS))
    np.testing.assert_array_equal(fitted.predict_proba(IRIS), fitted.ticket_.predict_proba(IRIS))
    assert fitted.score(IRIS, NAMES) == fitted.ticket_.score(IRIS, NAMES)
    assert set(fitted.classes_) == set(NAMES)
    assert write_masks(fitted.ticket_.module_, fitted.mask_) is not fitted.ticket_.module_


def test_rounds_have_both_controls(fitted):
    table = fitted.rounds_
    assert table.groupby("remaining").network.nunique().tolist() == [3, 3, 1]
    assert table.remaining.max() == 1
    assert table.epochs.between(1, 8).all()


def test_clean_small_tables_are_in_their_basin_from_the_start(fitted):
    assert fitted.entered_at_init_
    assert fitted.onset_ == fitted.step_ == 0
    assert set(fitted.consistency_) == {"after"}
    assert len(fitted.estimators_["after"]) == 3
    assert fitted.onset_curve_.to_frame().stable.all()


def test_scores_are_those_of_the_children(fitted):
    """The score by hand: correlations of matched units on the rows held out."""
    found = fitted.consistency_["after"]
    np.testing.assert_array_equal(fitted.unit_scores_, found.scores)
    assert found.n_failed == 0
    assert (found.low <= found.high).all()
    live = ~fitted.dead_
    np.testing.assert_allclose(
        found.reliability[live], 3 * found.scores[live] / (1 + 2 * found.scores[live])
    )
    assert [n.name for n in fitted.nulls_] == [
        "fresh initialisations",
        "shuffled labels",
        "untrained twins",
    ]
    columns = set(fitted.to_frame().columns)
    assert {"consistency_after", "low_after", "high_after", "reliability_after"} <= columns


def test_children_differ_and_the_ticket_is_the_reference(fitted):
    first, *others = fitted.estimators_["after"]
    assert first is fitted.ticket_
    outputs = [e.decision_function(IRIS) for e in (first, *others)]
    assert not np.allclose(outputs[0], outputs[1])
    assert not np.allclose(outputs[1], outputs[2])


def test_the_same_seed_gives_the_same_bits(fitted):
    again = clone(fitted).fit(IRIS, NAMES)
    np.testing.assert_array_equal(again.unit_scores_, fitted.unit_scores_)
    np.testing.assert_array_equal(again.p_values_, fitted.p_values_)
    for name, mask in fitted.mask_.items():
        np.testing.assert_array_equal(again.mask_[name], mask)


@pytest.mark.slow
def test_a_directory_keeps_every_training(tmp_path, fitted):
    own = clone(fitted).set_params(cache_dir=tmp_path)
    own.fit(IRIS, NAMES)
    n_kept = len(list(RunStore(tmp_path).keys()))
    assert n_kept > 15
    again = clone(own).fit(IRIS, NAMES)
    assert len(list(RunStore(tmp_path).keys())) == n_kept
    np.testing.assert_array_equal(again.unit_scores_, own.unit_scores_)
    np.testing.assert_array_equal(again.p_values_, own.p_values_)
    np.testing.assert_array_equal(again.predict_proba(IRIS), own.predict_proba(IRIS))


def test_a_step_can_be_given():
    """Of 6 batches an epoch and 8 epochs: step 24 is half of them."""
    probe = BasinRewinder(NET, **{**ONCE, "rewind": 0.5}).fit(IRIS, SPECIES)
    assert probe.step_ == 24
    assert probe.onset_ is probe.onset_curve_ is probe.entered_at_init_ is None
    early = BasinRewinder(NET, **ONCE).fit(IRIS, SPECIES)
    # children of a later step have less left that differs
    assert probe.consistency_["after"].mean > early.consistency_["after"].mean


def test_learning_rate_rewinding_layer_by_layer():
    own = {"rewind": 12, "rewinding": "learning_rate", "prune": "layerwise", "n_controls": 0}
    probe = BasinRewinder(NET, **QUICK, **own).fit(IRIS, SPECIES)
    kept = {name: mask.mean() for name, mask in probe.mask_.items()}
    rate = 1 - 0.5**0.5
    assert kept["hidden.linear_0.weight"] == pytest.approx(0.5, abs=0.05)
    assert kept["output.weight"] == pytest.approx((1 - rate / 2) ** 2, abs=0.05)


@pytest.mark.slow
def test_bootstrap_and_environments():
    X, y = DIGITS, DIGIT % 2
    groups = np.arange(len(y)) // 2 % 3
    for own, params in (({"bootstrap": True}, {}), ({}, {"groups": groups})):
        own = {**QUICK, "rewind": 0, "n_retrains": 3, **own}
        probe = BasinRewinder(NET, **own).fit(X, y, **params)
        assert probe.consistency_["after"].n_failed == 0


def test_a_share_of_the_steps_is_a_whole_number():
    """.29 of 100 steps are 29, though .29 * 100 is 28.999999999999996."""
    recipe = SimpleNamespace(n_steps=100, n_steps_an_epoch=1)
    assert _Study(BasinRewinder(rewind=0.29), recipe, None, None)._steps() == (29,)


def test_in_pipelines():
    inside = make_pipeline(StandardScaler(), clone(SHORT))
    probe = BasinRewinder(inside, **ONCE).fit(IRIS * 1000, SPECIES)
    assert probe.ticket_[:-1].transform(IRIS * 1000).std() == pytest.approx(1, abs=0.1)
    assert probe.score(IRIS * 1000, SPECIES) == probe.ticket_.score(IRIS * 1000, SPECIES)


@pytest.mark.slow
def test_before_a_tree():
    tree = make_pipeline(BasinRewinder(NET, **ONCE), DecisionTreeClassifier(max_depth=3))
    assert tree.fit(IRIS, SPECIES).score(IRIS, SPECIES) > 0.6


def test_a_regressor_has_no_classes():
    net = SAMRegressor((8,), max_iter=2, batch_size=20, learning_rate_init=0.02)
    probe = BasinRewinder(net, **ONCE).fit(IRIS[:, :3], IRIS[:, 3])
    assert is_regressor(probe)
    assert is_classifier(BasinRewinder())
    assert not hasattr(probe, "predict_proba")
    assert not hasattr(probe, "classes_")


def cnn(n_outputs):
    conv = [nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()]
    return nn.Sequential(*conv, nn.Linear(36, n_outputs))


class Transformer(nn.Module):
    def __init__(self, n_outputs):
        super().__init__()
        self.embed = nn.Linear(8, 8)
        self.block = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
        self.head = nn.Linear(8, n_outputs)

    def forward(self, X):
        return self.head(self.block(self.embed(X)).mean(1))


@pytest.mark.slow
@pytest.mark.parametrize(("module", "shape"), [(cnn, (-1, 1, 8, 8)), (Transformer, (-1, 8, 8))])
def test_convolutions_and_attention(module, shape):
    net = SAMClassifier(net=module, max_iter=3, batch_size=50, learning_rate_init=0.01)
    X = DIGITS.reshape(shape)
    probe = BasinRewinder(net, **QUICK).fit(X, DIGIT)
    assert probe.sparsity_ == pytest.approx(0.5, abs=0.01)
    assert probe.transform(X).shape == (300, 3)
    assert np.isfinite(probe.unit_scores_).all()


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("own", "error", "message"),
    [
        ({"sparsity": 1.0}, ValueError, "sparsity"),
        ({"sparsity": 0.0}, ValueError, "sparsity"),
        ({"sparsity": 0.995}, ValueError, r"output\.weight has none left|hidden.* has none left"),
        ({"sparsity": float("nan")}, ValueError, "sparsity"),
        ({"sparsity": 1e-6}, ValueError, r"sparsity=1e-06 of 56 weights is none of them"),
        ({"rewind": True}, ValueError, "rewind=True is no step"),
        ({"rewind": -1}, ValueError, "rewind"),
        ({"rewind": 1.0}, ValueError, "rewind"),
        ({"n_copies": 1}, ValueError, "n_copies"),
        ({"stability_tol": float("nan")}, ValueError, "stability_tol"),
        ({"rewind": 48}, ValueError, r"rewind=48 is after the end: the training has 48 steps"),
        ({"n_retrains": 1}, ValueError, "n_retrains"),
        ({"estimator": FrozenEstimator(NET)}, UnsupportedNetworkError, "no training to rewind"),
        (
            {"estimator": from_module(nn.Linear(4, 3), classes=[0, 1, 2])},
            UnsupportedNetworkError,
            "no training to rewind",
        ),
        ({"estimator": GridSearchCV(NET, {})}, UnsupportedNetworkError, "GridSearchCV does not"),
        (
            {"estimator": skorch_net(module__n_inputs=4, module__n_classes=3)},
            UnsupportedNetworkError,
            "runs its own epochs",
        ),
        ({"estimator": SAMClassifier((4,), shuffle=False)}, ValueError, "shuffle=False"),
    ],
)
def test_bad_input(own, error, message):
    with pytest.raises(error, match=message):
        BasinRewinder(**{"estimator": NET, **QUICK, "rewind": 0, **own}).fit(IRIS, SPECIES)


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ([0, 1, 2], r"groups must be of shape \(150,\), one a row, got \(3,\)"),
        (np.zeros((150, 2)), r"got \(150, 2\)"),
        (np.full(150, np.nan), r"missing values \(None or NaN\)"),
        (np.array(["a", None] * 75, dtype=object), "missing values"),
        (np.array(["a", 1] * 75, dtype=object), "labels of one kind"),
    ],
)
def test_groups_that_are_none(groups, message):
    with pytest.raises(ValueError, match=message):
        BasinRewinder(SHORT, **ONCE).fit(IRIS, SPECIES, groups=groups)


def test_a_parent_that_diverges_is_no_study():
    net = clone(SHORT).set_params(solver="sgd", learning_rate_init=1e30)
    with pytest.raises(DivergenceError, match="learning_rate_init"):
        BasinRewinder(net, **ONCE).fit(IRIS, SPECIES)


def test_a_directory_that_is_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot be used as a directory"):
        BasinRewinder(SHORT, **ONCE, cache_dir=tmp_path / "file").fit(IRIS, SPECIES)


def test_many_rounds_prune_all_that_was_asked():
    """Half of 56 weights in 20 rounds, of which each would remove less than two."""
    probe = BasinRewinder(SHORT, **{**ONCE, "n_rounds": 20}).fit(IRIS, SPECIES)
    assert probe.sparsity_ == 0.5
    left = probe.rounds_.remaining
    np.testing.assert_allclose(left, [round(56 * 0.5 ** (k / 20)) / 56 for k in range(21)])


def test_a_network_without_weights_to_prune():
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(np_ones())

        def forward(self, X):
            return (X * self.scale).relu()[:, :3]

    def np_ones():
        import torch

        return torch.ones(4)

    net = SAMClassifier(net=Scaled, max_iter=2, batch_size=20)
    with pytest.raises(UnsupportedNetworkError, match="no prunable weights"):
        BasinRewinder(net, **QUICK).fit(IRIS, SPECIES)


def test_a_directory_of_a_newer_version(tmp_path):
    from sklflat.storage.files import write

    write(tmp_path / "store.safetensors", {}, {"schema": 99})
    with pytest.raises(CheckpointError, match="newer sklflat"):
        BasinRewinder(NET, **QUICK, cache_dir=tmp_path).fit(IRIS, SPECIES)


def test_one_batch_of_all_rows_leaves_nothing_that_differs():
    with pytest.warns(RewindingWarning, match="One batch holds all 113 rows"):
        BasinRewinder(clone(SHORT).set_params(batch_size="auto"), **ONCE).fit(IRIS, SPECIES)


def failing(n_failed, n=8):
    trainings = [Training(None, None, None) for _ in range(n + 1)]
    for training in trainings[1 : 1 + n_failed]:
        training.error = DivergenceError("Training diverged in epoch 1.")
    return Experiment(0, trainings[0], trainings[1:])


def test_a_quarter_of_the_children_may_diverge():
    assert not failing(2).is_refused
    assert len(failing(2).good) == 7
    assert failing(3).is_refused


def test_more_refuse_a_verdict(monkeypatch):
    """Children that are made to diverge, as with a loss of infinity."""
    whole = rewinder_module.rewound_sample

    def with_failures(*args):
        sample = whole(*args)
        for child in sample.experiments["after"].children:
            child.error = DivergenceError("Training diverged in epoch 1.")
        return sample

    monkeypatch.setattr(rewinder_module, "rewound_sample", with_failures)
    with pytest.raises(DivergenceError, match=r"2 of 2 children failed.*diverged in epoch 1"):
        BasinRewinder(SHORT, **ONCE).fit(IRIS, SPECIES)


def test_of_a_failed_reference_the_children_still_have_their_scores():
    """None of them is taken for the reference, and the message is not about them."""
    seen = []
    whole = rewinder_module.rewound_sample
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(
            rewinder_module, "rewound_sample", lambda *args: seen.append(whole(*args)) or seen[0]
        )
        BasinRewinder(SHORT, **ONCE).fit(IRIS, SPECIES)
    known = seen[0].experiments["after"]
    reference = Training(None, None, None)
    reference.error = DivergenceError("Training diverged in epoch 1.")
    found = seen[0]._consistency(Experiment(0, reference, known.children))
    assert len(found.child_scores) == len(known.children)
    assert found.is_refused
    assert "the reference, which has the parent's own order" in str(found)


def test_rows_of_weight_zero_are_not_matched_on_and_scores_say_where_they_are_from():
    weight = np.where(np.arange(len(IRIS)) % 3 == 0, 0.0, 1.0)
    hidden = np.where(weight[:, None] > 0, IRIS, 1e6)
    probes = [
        BasinRewinder(SHORT, **ONCE, holdout=None).fit(X, SPECIES, sample_weight=weight)
        for X in (IRIS, hidden)
    ]
    np.testing.assert_array_equal(probes[0].unit_scores_, probes[1].unit_scores_)
    assert probes[0]._score_name == "consistency over retrained children, on rows trained on"


def test_a_network_that_has_not_converged_is_said_to_be_so_once():
    with pytest.warns(ConvergenceWarning, match=r"Maximum iterations \(2\) reached") as caught:
        BasinRewinder(SHORT, **ONCE).fit(IRIS, SPECIES)
    assert sum(w.category is ConvergenceWarning for w in caught) == 1
