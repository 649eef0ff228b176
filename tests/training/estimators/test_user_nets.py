"""The estimators around users' own nets and skorch's, against independent numbers."""

import copy
import functools
import threading

import numpy as np
import pytest
import torch
from scipy.special import expit, softmax
from sklearn.base import clone
from skorch import NeuralNetBinaryClassifier, NeuralNetRegressor
from skorch.callbacks import (
    Callback,
    EarlyStopping,
    EpochScoring,
    GradientNormClipping,
    LRScheduler,
)
from torch import nn
from torch.utils.data import TensorDataset

from sklflat import SAMClassifier, SAMRegressor
from tests._estimators import (
    DIGIT,
    DIGITS,
    IRIS,
    MOONS,
    SGD,
    SIDE,
    SPECIES,
    Net,
    skorch_net,
    small,
)

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

# --- the user's own nets --------------------------------------------------------------------


class Sized(nn.Module):
    """A module that takes its sizes from the data."""

    def __init__(self, n_features, n_outputs, width=7):
        super().__init__()
        self.hidden, self.out = nn.Linear(n_features, width), nn.Linear(width, n_outputs)

    def forward(self, X):
        return self.out(torch.tanh(self.hidden(X)))


def factory(n_features, n_outputs):
    return Sized(n_features, n_outputs)


@pytest.mark.parametrize(
    ("net", "width"),
    [(Sized, 7), (functools.partial(Sized, width=9), 9), (factory, 7)],
    ids=["class", "partial", "factory"],
)
def test_a_net_gets_its_sizes_from_the_data(net, width):
    model = SAMClassifier(net=net, **SGD).fit(IRIS, SPECIES)
    weights = [w.detach().numpy() for w in model.module_.parameters()]
    assert [w.shape for w in weights] == [(width, 4), (width,), (3, width), (3,)]
    z = np.tanh(IRIS @ weights[0].T + weights[1]) @ weights[2].T + weights[3]
    np.testing.assert_allclose(model.predict_proba(IRIS), softmax(z, axis=1), atol=1e-12)
    assert model.score(IRIS, SPECIES) > 0.9


def test_an_instance_is_the_start_and_stays_as_it_is():
    net = Sized(4, 3)
    before = copy.deepcopy(net.state_dict())
    model = SAMClassifier(net=net, max_iter=1, **SGD | {"learning_rate_init": 1e-12})
    model.fit(IRIS, SPECIES)
    for key, value in model.module_.state_dict().items():
        torch.testing.assert_close(value.float(), before[key])  # hardly trained at this rate
    model.set_params(max_iter=20, learning_rate_init=0.1).fit(IRIS, SPECIES)
    assert all(torch.equal(net.state_dict()[key], before[key]) for key in before)
    assert model.score(IRIS, SPECIES) > 0.8


@pytest.mark.parametrize("probabilities", [True, False], ids=["NLLLoss", "CrossEntropyLoss"])
def test_skorch_classifier(probabilities):
    own = {"criterion": nn.NLLLoss, "module__softmax": True} if probabilities else {}
    X = MOONS.astype(np.float32)
    model = SAMClassifier(net=skorch_net(max_epochs=30, **own), random_state=0).fit(X, SIDE)
    np.testing.assert_allclose(model.predict_proba(X), model.net_.predict_proba(X), atol=1e-6)
    assert model.score(X, SIDE) > 0.8
    p = model.predict_proba(X)[np.arange(len(X)), SIDE]
    z = model.decision_function(X)
    np.testing.assert_allclose(expit(np.where(SIDE == 1, z, -z)), p, rtol=1e-6)


def test_skorch_net_with_rho_0_is_skorch_alone():
    X = MOONS.astype(np.float32)
    start = skorch_net().initialize().module_
    own = skorch_net(module=copy.deepcopy(start), iterator_train__shuffle=False).fit(X, SIDE)
    given = skorch_net(module=start, iterator_train__shuffle=False)
    model = SAMClassifier(net=given, rho=0, random_state=0).fit(X, SIDE)
    for a, b in zip(own.module_.parameters(), model.module_.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-6)
    np.testing.assert_allclose(model.loss_curve_, own.history[:, "train_loss"], rtol=1e-5)


def test_skorch_binary_classifier():
    net = skorch_net(NeuralNetBinaryClassifier, module__n_classes=1, max_epochs=200)
    X = MOONS.astype(np.float32)
    model = SAMClassifier(net=net, random_state=0).fit(X, SIDE)
    np.testing.assert_allclose(model.predict_proba(X), model.net_.predict_proba(X), atol=1e-6)
    assert model.decision_function(X).shape == (120,)
    assert model.score(X, SIDE) > 0.8


def test_skorch_regressor():
    X = IRIS[:, :2].astype(np.float32)
    y = X @ [1.0, -2.0]
    net = skorch_net(NeuralNetRegressor, module__n_classes=1, max_epochs=100, lr=0.05)
    model = SAMRegressor(net=net, random_state=0).fit(X, y)
    np.testing.assert_allclose(model.predict(X), model.net_.predict(X)[:, 0], atol=1e-5)
    assert model.predict(X).shape == y.shape
    assert model.score(X, y) > 0.95


def test_images_through_a_convolutional_net():
    net = nn.Sequential(
        nn.Conv2d(1, 6, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(3), nn.Flatten(), nn.Linear(54, 10)
    )
    images = DIGITS.reshape(-1, 1, 8, 8)
    model = SAMClassifier(net=net, max_iter=20, **SGD | {"learning_rate_init": 0.1})
    model.fit(images, DIGIT)
    with torch.no_grad():
        z = model.module_(torch.as_tensor(images)).numpy()
    np.testing.assert_allclose(model.decision_function(images), z, atol=1e-10)
    assert model.score(images, DIGIT) > 0.7
    assert model.transform(images).shape == (300, 54)


class Tokens(nn.Module):
    """The mean of embedded token ids, mapped to two logits."""

    def __init__(self):
        super().__init__()
        self.embedding, self.out = nn.Embedding(20, 4), nn.Linear(4, 2)

    def forward(self, ids):
        return self.out(self.embedding(ids).mean(1))


def test_token_ids_stay_integers():
    ids = np.random.RandomState(0).randint(0, 20, (200, 6))
    y = ((ids < 5).sum(1) > 1).astype(int)
    model = SAMClassifier(net=Tokens, max_iter=60, **SGD | {"learning_rate_init": 0.3})
    model.fit(ids, y)
    table = model.module_.embedding.weight.detach().numpy()
    np.testing.assert_allclose(model.transform(ids), table[ids].mean(1), atol=1e-6)
    assert model.score(ids, y) > 0.9


def test_a_torch_dataset_is_its_arrays():
    X = torch.as_tensor(MOONS)
    dataset = TensorDataset(X, torch.as_tensor(SIDE))
    model = SAMClassifier(net=Sized(2, 2), shuffle=False, max_iter=5, **SGD)
    on_dataset, on_arrays = clone(model).fit(dataset), clone(model).fit(MOONS, SIDE)
    p = on_arrays.predict_proba(MOONS)
    np.testing.assert_allclose(on_dataset.predict_proba(dataset), p, atol=1e-10)
    assert list(on_dataset.classes_) == [0, 1]


# --- skorch's callbacks ---------------------------------------------------------------------


class Counter(Callback):
    """Counts what it is told."""

    def initialize(self):
        self.told = {"batch": 0, "gradient": 0, "epoch": 0}
        return self

    def on_batch_end(self, net, training=False, **kwargs):
        self.told["batch"] += training

    def on_grad_computed(self, net, **kwargs):
        self.told["gradient"] += 1

    def on_epoch_end(self, net, **kwargs):
        self.told["epoch"] += 1


def told(model):
    return dict(model.net_.callbacks_)["Counter"].told


@pytest.mark.parametrize("skorch", [True, False])
def test_callbacks_are_told_once_a_step(skorch):
    if skorch:
        net = skorch_net(callbacks=[Counter()], batch_size=50, max_epochs=4)
        model = SAMClassifier(net=net)
    else:
        model = small(callbacks=[Counter()], batch_size=50, max_iter=4)
    model.fit(MOONS, SIDE)
    assert told(model) == {"batch": 12, "gradient": 12, "epoch": 4}
    assert model.n_gradient_evaluations_ == 24  # SAM's two a step


def test_epoch_scoring_sees_the_net_after_each_epoch():
    scoring = EpochScoring("accuracy", on_train=True, use_caching=False, name="accuracy")
    X = MOONS.astype(np.float32)
    model = SAMClassifier(net=skorch_net(callbacks=[scoring]), random_state=0).fit(X, SIDE)
    assert model.net_.history[-1, "accuracy"] == pytest.approx(model.score(X, SIDE))


def test_a_learning_rate_scheduler_steps_once_an_epoch():
    scheduler = LRScheduler(torch.optim.lr_scheduler.StepLR, step_size=1, gamma=0.5)
    model = SAMClassifier(net=skorch_net(callbacks=[scheduler], lr=0.8)).fit(MOONS, SIDE)
    rates = model.net_.history[:, "event_lr"]
    np.testing.assert_allclose(rates, 0.8 * 0.5 ** np.arange(5))


def test_early_stopping_by_callback():
    # the first epoch is the best one, and three more do not improve enough
    stop = EarlyStopping("train_loss", patience=3, threshold=10.0, threshold_mode="abs", sink=str)
    net = skorch_net(callbacks=[stop], max_epochs=50)
    assert SAMClassifier(net=net, random_state=0).fit(MOONS, SIDE).n_iter_ == 4


def test_gradient_norms_are_clipped_in_the_final_direction_only():
    """With the whole data as one batch, a step of plain SGD has length lr times the bound."""
    clip = GradientNormClipping(1e-3)
    start = Net()
    net = skorch_net(module=start, callbacks=[clip], max_epochs=1, batch_size=-1, lr=0.1)
    model = SAMClassifier(net=net, random_state=0, dtype="float64").fit(MOONS, SIDE)
    pairs = zip(model.module_.parameters(), start.parameters(), strict=True)
    moved = torch.cat([(a - b.double()).flatten() for a, b in pairs])
    assert float(moved.detach().norm()) == pytest.approx(1e-4, rel=1e-3)
    assert model.n_gradient_evaluations_ == 2


class Locking(nn.Module):
    """A network that holds what cannot be copied."""

    def __init__(self, n_features, n_outputs):
        super().__init__()
        self.layer, self.lock = nn.Linear(n_features, n_outputs), threading.Lock()

    def forward(self, X):
        return self.layer(X)


def test_a_net_that_cannot_be_copied_is_named():
    with pytest.raises(TypeError, match=r"Locking cannot be copied.*__deepcopy__"):
        SAMClassifier(net=Locking).fit(np.eye(4), [0, 1, 0, 1])
