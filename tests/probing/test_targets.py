"""Labels, real targets and sample weights as probes take them."""

import numpy as np
import pandas as pd
import pytest
import torch
from skorch import NeuralNetBinaryClassifier, NeuralNetClassifier
from torch import nn

from sklflat import AblationProbe, ActivationProbe, SAMClassifier, SAMRegressor, from_module
from sklflat.exceptions import UnsupportedNetworkError
from sklflat.networks import Criterion, TaskLoss
from sklflat.probing.nulls import is_of_label
from tests._probes import random_arrays, random_data, sample, two_layer

pytestmark = pytest.mark.filterwarnings("default::sklflat.exceptions.NothingFoundWarning")

X, Y = random_data(0, n=90)
MODULE = two_layer(*random_arrays(0), activation=nn.Tanh)


def noise(seed, n=120):
    """Labels, a tenth of them rare, that nothing foretells, and weights that balance them."""
    rng = np.random.RandomState(seed)
    y = (rng.uniform(size=n) < 0.15).astype(int)
    y[:2] = 0, 1
    return rng.normal(size=(n, 4)), y, np.where(y == 1, 4.0, 0.6)


@pytest.mark.slow
@pytest.mark.parametrize(
    "probe",
    [AblationProbe, lambda *a, **k: ActivationProbe(*a, unit_score="selectivity", **k)],
    ids=["ablation", "selectivity"],
)
def test_p_values_hold_with_weights_that_balance_classes(probe):
    p = []
    for seed in range(40):
        data, y, weight = noise(seed)
        module = two_layer(*random_arrays(seed, k=2), activation=nn.Tanh)
        fitted = probe(from_module(module, classes=[0, 1]), n_null=600, random_state=seed)
        p.append(fitted.fit(data, y, sample_weight=weight).p_values_)
    assert np.mean(np.concatenate(p) <= 0.05) <= 0.1


def test_which_weights_are_of_the_label():
    y = np.array([0, 0, 1, 1])
    assert is_of_label(np.array([1.0, 1, 3, 3]), y)
    assert not is_of_label(np.array([1.0, 2, 3, 3]), y)
    assert not is_of_label(np.ones(4), y)
    assert not is_of_label(np.array([1.0, 1, 3, 3]), y.astype(float))


def test_weights_of_samples_stay_with_them():
    weight = np.linspace(0.1, 2, len(X))
    assert not sample(MODULE, X, Y, weight=torch.as_tensor(weight)).weight_is_of_label


def test_integer_targets_of_a_regression_are_numbers():
    y = np.round(10 * X[:, 0]).astype(int) - 3
    module = two_layer(*random_arrays(0, k=1), activation=nn.Tanh)
    scores = [
        ActivationProbe(from_module(module), unit_score="correlation", n_null=200, random_state=0)
        .fit(X, targets)
        .unit_scores_
        for targets in (y, y.astype(float))
    ]
    np.testing.assert_array_equal(*scores)
    A = sample(module, X, y.astype(float)).activations
    expected = [np.corrcoef(a, y)[0, 1] ** 2 for a in A.T]
    np.testing.assert_allclose(scores[0], expected)


@pytest.mark.parametrize("score", ["selectivity", "correlation"])
def test_unknown_labels_are_refused(score):
    probe = ActivationProbe(from_module(MODULE, classes=[0, 1, 2]), unit_score=score)
    with pytest.raises(ValueError, match=r"y has labels \[3\] that are not among \[0 1 2\]"):
        probe.fit(X, Y + 1)


@pytest.mark.parametrize("score", ["selectivity", "correlation"])
def test_a_column_of_labels_is_one_label_a_sample(score):
    frozen = from_module(MODULE, classes=["a", "b", "c"])
    labels = np.array(["a", "b", "c"])[Y]
    one, other = (
        ActivationProbe(frozen, unit_score=score, n_null=200, random_state=0).fit(X, y)
        for y in (labels, labels[:, None])
    )
    np.testing.assert_array_equal(one.p_values_, other.p_values_)


class Squeezed(nn.Module):
    def __init__(self):
        super().__init__()
        self.own = two_layer(*random_arrays(0, k=1))

    def forward(self, X):
        return self.own(X).squeeze(-1)


@pytest.mark.parametrize("targets", [X[:, 0], X[:, :1], Y], ids=["n", "n_1", "integer"])
@pytest.mark.parametrize("criterion", [TaskLoss("squared"), nn.MSELoss(), nn.BCEWithLogitsLoss()])
def test_outputs_of_shape_n_and_n_1_have_one_loss(criterion, targets):
    y = torch.as_tensor(targets)
    z = Squeezed()(torch.as_tensor(X)).detach()
    column = z[:, None], y.reshape(-1, 1).double()
    expected = criterion(*column)
    for shaped in (z, z[:, None]):
        losses, weights = Criterion(criterion).terms(shaped, y)
        torch.testing.assert_close(losses.sum() / weights.sum(), expected)


def test_a_squeezed_module_has_the_scores_of_the_other():
    squeezed = Squeezed()
    one, other = (
        AblationProbe(from_module(m), n_null=200, random_state=0).fit(X, X[:, 0]).unit_scores_
        for m in (squeezed, squeezed.own)
    )
    np.testing.assert_allclose(one, other)


def skorch_net(kind, y, n_outputs, **options):
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, n_outputs))
    net = kind(module, max_epochs=2, verbose=0, train_split=None, **options)
    return net.fit(X.astype(np.float32), y)


def test_skorch_labels_are_numbers_of_outputs():
    from sklearn.frozen import FrozenEstimator

    y = np.where(Y == 1, 2, Y)  # no label 1
    net = skorch_net(NeuralNetClassifier, y, 3, criterion=nn.CrossEntropyLoss)
    with pytest.raises(UnsupportedNetworkError, match=r"trained on the labels \[0 2\]"):
        AblationProbe(FrozenEstimator(net)).fit(X.astype(np.float32), y)


def test_a_binary_skorch_net_is_a_classifier():
    from sklearn.frozen import FrozenEstimator

    y = (Y > 0).astype(np.float32)
    net = skorch_net(NeuralNetBinaryClassifier, y, 1)
    probe = AblationProbe(FrozenEstimator(net), n_units=3, n_null=200, random_state=0)
    restriction = probe.fit(X.astype(np.float32), y).restrict(X.astype(np.float32), y)
    assert restriction.full_score == pytest.approx(np.mean(net.predict(X.astype(np.float32)) == y))


def test_misspelt_parameters_of_fit_are_refused():
    probe = AblationProbe(from_module(MODULE, classes=[0, 1, 2]))
    with pytest.raises(TypeError, match=r"fit\(\) got \['samples_weight'\], but the network is f"):
        probe.fit(X, Y, samples_weight=np.ones(len(X)))


def test_many_small_classes_are_split():
    y = np.repeat(np.arange(30), 3)  # a tenth of 3 rounds to none
    probe = ActivationProbe(
        SAMClassifier((5,), max_iter=3),
        unit_score="variance",
        holdout=0.1,
        n_null=8,
        n_units=2,
        random_state=0,
    )
    probe.fit(X, y)
    assert probe.estimator_.classes_.size == 30


def test_card_names_what_the_network_reads():
    from sklearn.compose import ColumnTransformer
    from sklearn.pipeline import make_pipeline

    frame = pd.DataFrame(X, columns=list("abcd"))
    swapped = ColumnTransformer([("first", "passthrough", ["d", "c"]), ("b", "drop", ["b"])])
    pipeline = make_pipeline(swapped, SAMRegressor((4,), max_iter=200, learning_rate_init=0.02))
    probe = AblationProbe(pipeline, n_units=None, n_null=200, random_state=0)
    probe.fit(frame, frame["d"])
    card = probe.unit_card(probe.unit_names_[probe.unit_scores_.argmax()])
    assert next(iter(card.inputs)) == "first__d"
    assert set(card.inputs) == {"first__d", "first__c"}


def test_card_looks_at_all_of_sorted_data_and_at_weighted_rows_only():
    data = np.repeat([[0.0, 0, 0, 0], [1.0, 2, 3, 4]], 150, axis=0)
    data[150:] += np.random.RandomState(0).normal(size=(150, 4))
    y = np.repeat([0, 1], 150)
    frozen = from_module(two_layer(*random_arrays(0, k=2)), classes=[0, 1])
    weight = np.ones(300)
    weight[200:] = 0
    probe = AblationProbe(frozen, n_units=None, n_null=200, random_state=0)
    card = probe.fit(data, y, sample_weight=weight).unit_card("1[0]")
    assert card.inputs
    assert card.top_samples.max() < 200


@pytest.mark.parametrize("unit_score", ["correlation", "class_variance", "selectivity"])
@pytest.mark.filterwarnings("ignore::sklflat.exceptions.NothingFoundWarning")
def test_targets_that_do_not_vary_where_rows_count_say_nothing(unit_score):
    """All weight is on one class, so what is left of a score would be rounding."""
    X, y = random_data(0, n=60, k=2)
    network = from_module(two_layer(*random_arrays(0)), classes=[0, 1, 2])
    probe = ActivationProbe(network, unit_score=unit_score, n_null=100, random_state=0)
    probe.fit(X, y, sample_weight=(y == 1).astype(float))
    np.testing.assert_array_equal(probe.unit_scores_, 0)
    np.testing.assert_array_equal(probe.p_values_, 1)
