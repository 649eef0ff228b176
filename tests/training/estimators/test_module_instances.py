"""Module instances that ``copy.deepcopy`` or ``pickle`` refuse: clones, stacks, workers."""

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import make_classification
from sklearn.model_selection import GridSearchCV
from skorch import NeuralNetBinaryClassifier, NeuralNetClassifier
from skorch.callbacks import Checkpoint, EarlyStopping, EpochScoring, LRScheduler
from torch import nn
from torch.nn.utils import parametrizations, prune, spectral_norm, weight_norm

from sklflat import AblationProbe, SAMClassifier, StackedSearchCV
from sklflat.exceptions import LostWorkerWarning, UnsupportedNetworkError
from sklflat.training.runs import Training
from sklflat.training.stacking import train

X, y = make_classification(90, 6, n_informative=4, n_classes=3, random_state=0)
X = X.astype(np.float32)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(6, 8), nn.Linear(8, 3)

    def forward(self, X):
        return self.last(torch.relu(self.first(X)))


def made(how):
    torch.manual_seed(0)
    module = Net()
    if how == "pruned":
        prune.l1_unstructured(module.first, "weight", 0.5)
    elif how == "weight_norm":
        weight_norm(module.first)
    elif how == "parametrized":
        parametrizations.weight_norm(module.first)
    elif how == "spectral_norm":
        spectral_norm(module.first)
    module(torch.as_tensor(X)).sum()  # keeps tensors that are no leaves
    return module


HOW = ["pruned", "weight_norm", "parametrized", "spectral_norm"]
pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:There is a performance drop"),  # torch, of weight_norm
]


def skorch_net(module, **own):
    own = {"max_epochs": 3, "train_split": None, **own}
    return NeuralNetClassifier(module, criterion=nn.CrossEntropyLoss, lr=0.1, verbose=0, **own)


@pytest.mark.parametrize("how", HOW)
def test_clones_start_from_the_instance_and_leave_it_alone(how):
    for kind in ("own", "skorch"):
        module = made(how)
        module.last.eval()
        before = {name: t.clone() for name, t in module.state_dict().items()}
        if kind == "own":
            base = SAMClassifier(net=module, max_iter=2, shuffle=False, random_state=0)
        else:
            base = SAMClassifier(net=skorch_net(module), random_state=0)
        twin = clone(clone(base))
        copied = twin.net if kind == "own" else twin.net.module
        assert copied is not module
        assert copied.training
        assert not copied.last.training
        expected = base.fit(X, y).predict_proba(X)
        np.testing.assert_allclose(twin.fit(X, y).predict_proba(X), expected, atol=1e-6)
        if kind == "own":  # skorch itself trains the instance that it is given
            assert all(torch.equal(t, before[name]) for name, t in module.state_dict().items())


@pytest.mark.parametrize("how", HOW[:3])
def test_stacked_they_are_trained_as_alone(how):
    estimators = [
        SAMClassifier(net=made(how), rho=r, max_iter=3, random_state=0) for r in (0.02, 0.05, 0.1)
    ]
    trainings = [Training(clone(e), X, y) for e in estimators]
    for _ in train(trainings):
        pass
    assert how == "parametrized" or all(t.why_alone is None for t in trainings)
    for training, alone in zip(trainings, estimators, strict=True):
        assert training.error is None
        got, expected = training.estimator.predict_proba(X), alone.fit(X, y).predict_proba(X)
        np.testing.assert_allclose(got, expected, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("how", HOW[:3])
@pytest.mark.filterwarnings("ignore:resource_tracker")
def test_a_search_by_two_workers_is_that_by_one(how):
    base = SAMClassifier(net=made(how), max_iter=2, random_state=0)
    grid = {"rho": [0.0, 0.05], "alpha": [0.0, 1.0]}
    one = GridSearchCV(base, grid, cv=2).fit(X, y)
    if how == "parametrized":
        with pytest.warns(LostWorkerWarning, match="trained in this process"):
            two = StackedSearchCV(base, grid, cv=2, n_jobs=2).fit(X, y)
    else:
        two = StackedSearchCV(base, grid, cv=2, n_jobs=2).fit(X, y)
    np.testing.assert_allclose(
        two.cv_results_["mean_test_score"], one.cv_results_["mean_test_score"], atol=1e-6
    )


def test_scripted_modules_are_refused_by_name():
    scripted = torch.jit.script(Net())
    for net in (scripted, skorch_net(scripted)):
        with pytest.raises(UnsupportedNetworkError, match=r"torch\.jit"):
            SAMClassifier(net=net).fit(X, y)


# --- messages of a training -------------------------------------------------------------------


@pytest.mark.parametrize(
    "callback",
    [
        EarlyStopping(),
        EarlyStopping(monitor="valid_acc"),
        LRScheduler("ReduceLROnPlateau", monitor="valid_loss"),
        Checkpoint(monitor="valid_loss_best", dirname="nowhere"),
    ],
)
def test_callbacks_that_read_what_is_not_recorded_are_named(callback, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # Checkpoint makes a directory
    own = SAMClassifier(max_iter=3, callbacks=[("given", callback)])
    for estimator in (own, SAMClassifier(net=skorch_net(Net, callbacks=[callback]))):
        with pytest.raises(Exception, match=r"valid_(loss|acc)") as caught:
            estimator.fit(X, y)
        assert not isinstance(caught.value, KeyError)


def test_callbacks_that_read_what_is_recorded_go_on():
    stops = EarlyStopping(monitor="train_loss", patience=1, threshold=10.0)
    fitted = SAMClassifier(max_iter=30, callbacks=[("stops", stops)]).fit(X, y)
    assert fitted.n_iter_ < 5


def test_errors_of_a_users_own_callback_stay_what_they_are():
    class Fails(EpochScoring):
        def on_epoch_end(self, net, *args, **kwargs):
            raise KeyError("of my own")

    with pytest.raises(KeyError, match="of my own"):
        SAMClassifier(max_iter=3, callbacks=[("own", Fails("accuracy"))]).fit(X, y)


def test_an_epoch_without_a_batch_is_an_error():
    net = skorch_net(Net, batch_size=512, iterator_train__drop_last=True)
    with pytest.raises(ValueError, match="had no batch"):
        SAMClassifier(net=net).fit(X, y)


@pytest.mark.filterwarnings("ignore::sklflat.exceptions.NothingFoundWarning")
def test_an_unfitted_binary_net_is_trained_by_a_probe():
    class One(Net):
        def forward(self, X):
            return super().forward(X)[:, 0]

    net = NeuralNetBinaryClassifier(One, max_epochs=5, lr=0.1, train_split=None, verbose=0)
    probe = AblationProbe(net, n_null=20, random_state=0).fit(X, (y > 0).astype(int))
    assert probe.unit_scores_.shape == (8,)
