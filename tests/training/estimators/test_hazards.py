"""Numbers that would look right and be wrong: each was once, or nearly."""

import numpy as np
import pytest
import torch
from sklearn.datasets import make_blobs, make_moons
from sklearn.neural_network import MLPClassifier
from skorch import NeuralNetClassifier
from skorch.callbacks import Callback, EpochScoring
from torch import nn

from sklflat import SAMClassifier, SAMRegressor
from sklflat.training.perturbations import ASAM, GSAM, SAM, FisherSAM, FriendlySAM, LookSAM
from sklflat.training.perturbations.base import norm, unit
from tests._estimators import MOONS, SIDE, small

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
X, y = make_moons(150, noise=0.2, random_state=0)
SGD = {"solver": "sgd", "learning_rate_init": 0.05, "batch_size": 30, "random_state": 0}


class Listener(Callback):
    """Makes skorch's own step run."""

    def on_batch_end(self, net, **kwargs):
        pass


def on_both_paths(net, n_iter=4, **parameters):
    """The loss curve on the vector path and by skorch's own step."""
    options = {**SGD, "max_iter": n_iter, "n_iter_no_change": 99, **parameters}
    fits = [
        SAMClassifier(net=net, callbacks=calls, **options).fit(X, y) for calls in ((), [Listener()])
    ]
    return [fit.loss_curve_ for fit in fits], fits


@pytest.mark.parametrize("size", [1e-18, 1e-22, 1e-25, 1e-38, 0.0])
def test_a_vanishing_vector_has_no_direction_longer_than_one(size):
    v = torch.full((100,), size)
    assert float(torch.linalg.vector_norm(unit(v).double())) < 1 + 1e-6
    assert float(norm(v)) > 0


@pytest.mark.parametrize("variant", [SAM, ASAM, GSAM, LookSAM, FisherSAM, FriendlySAM])
def test_a_perfect_fit_in_single_precision_stays_where_it_is(variant):
    """Gradients near 1e-25 once moved the weights by a step of length 4."""
    blobs, side = make_blobs(100, centers=[[-80.0, -80.0], [80.0, 80.0]], random_state=0)
    net = nn.Linear(2, 1)
    nn.init.constant_(net.weight, 0.36)
    nn.init.zeros_(net.bias)
    fit = SAMClassifier(
        net=net, variant=variant(), alpha=0, dtype="float32", momentum=0, max_iter=3, **SGD
    ).fit(blobs, side)
    np.testing.assert_allclose(fit.module_.weight.detach(), 0.36, rtol=1e-6)


class ByNumpy(nn.Linear):
    def forward(self, X):
        return super().forward(X) / float(X.detach().numpy().std())


class ByList(nn.Linear):
    def forward(self, X):
        return super().forward(X) * (1 + 0.5 * max(X.detach().abs().amax(1).tolist()))


class ByItem(nn.Linear):
    def forward(self, X):
        return super().forward(X) * (1 if X.sum().item() > 0 else 0.5)


class ByStride(nn.Linear):
    def forward(self, X):
        return X @ self.weight.as_strided((2, 2), (1, 2), 0) + self.bias


@pytest.mark.parametrize("net", [ByNumpy, ByList, ByItem, ByStride], ids=lambda c: c.__name__)
@pytest.mark.parametrize("rho", [0.0, 0.1])
def test_values_that_leave_torch_are_not_frozen(net, rho):
    curves, fits = on_both_paths(net(2, 2), rho=rho)
    np.testing.assert_allclose(*curves, rtol=1e-10)
    assert "forward is not torch's" in fits[0].net_._engine.replays.why_not


class Annealed(NeuralNetClassifier):
    def get_loss(self, *args, **kwargs):
        return super().get_loss(*args, **kwargs) * len(self.history)


def test_a_loss_that_changes_between_epochs():
    curves, start = [], nn.Linear(2, 2)
    for callbacks in ([], [Listener()]):
        net = Annealed(
            start, criterion=nn.CrossEntropyLoss, max_epochs=4, lr=0.1,
            train_split=None, callbacks=callbacks, verbose=0, iterator_train__shuffle=False,
        )  # fmt: skip
        curves.append(SAMClassifier(net=net, random_state=0).fit(X, y).loss_curve_)
    np.testing.assert_allclose(*curves, rtol=1e-10)
    assert curves[0][3] > 1.5 * curves[0][0]


def test_attributes_changed_between_fits_take_effect():
    clf = SAMClassifier((8,), dropout=0.1, max_iter=1, **SGD)
    for _ in range(3):
        clf.partial_fit(X, y, classes=[0, 1])
    before = clf.loss_
    clf.module_.hidden.dropout_0.p = 0.95
    assert clf.partial_fit(X, y).loss_ > before


def test_hooks_are_called_in_every_pass():
    net, calls = nn.Linear(2, 2), []

    class Hook(Callback):
        def on_train_begin(self, net, **kwargs):
            net.module_.register_forward_hook(lambda *_: calls.append(1))

    fit = SAMClassifier(net=net, callbacks=[Hook()], max_iter=3, **SGD).fit(X, y)
    assert fit.net_.fast_path_ == "vector"
    assert sum(calls) >= fit.n_gradient_evaluations_ == 30


def test_initial_weights_and_dropout_do_not_share_random_numbers():
    class Net(nn.Linear):
        def __init__(self):
            super().__init__(2, 2)
            self.first = torch.rand(5)
            self.second = None

        def forward(self, X):
            if self.training and self.second is None:
                self.second = torch.rand(5)
            return super().forward(X)

    module = SAMClassifier(net=Net, max_iter=1, **SGD).fit(X, y).module_
    assert not torch.equal(module.first, module.second)


class Sometimes(SAM):
    """Every fourth perturbed point is nowhere."""

    def perturb(self, g, at, state):
        self.calls = getattr(self, "calls", 0) + 1
        w_tilde, state = super().perturb(g, at, state)
        return (w_tilde * torch.nan if self.calls % 4 == 0 else w_tilde), state


def test_a_skipped_step_leaves_both_paths_at_the_same_random_numbers():
    curves, fits = [], []
    for callbacks in ((), [Listener()]):
        fit = SAMClassifier((8,), dropout=0.5, variant=Sometimes(), callbacks=callbacks, **SGD)
        with pytest.warns(UserWarning, match="left out"):
            fits.append(fit.set_params(max_iter=4).fit(X, y))
        curves.append(fit.loss_curve_)
    assert fits[0].n_skipped_steps_ == fits[1].n_skipped_steps_ == 5
    np.testing.assert_allclose(*curves, rtol=1e-10)


class CountsInADictionary(nn.Linear):
    def __init__(self):
        super().__init__(2, 2)
        self.state = {"step": 0}

    def forward(self, X):
        self.state["step"] += self.training
        z = super().forward(X)
        return z * z if self.state["step"] > 12 else z


class Projects(nn.Linear):
    def __init__(self):
        super().__init__(2, 2)

    def forward(self, X):
        with torch.no_grad():
            self.weight.clamp_(-0.1, 0.1)
        return super().forward(X)


class InPlace(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Dropout(0.3, inplace=True), nn.Linear(2, 2))


@pytest.mark.parametrize("net", [CountsInADictionary, Projects, InPlace])
@pytest.mark.parametrize("rho", [0.0, 0.1])
def test_modules_with_habits_train_alike_on_both_paths(net, rho):
    given = X.copy()
    curves, fits = on_both_paths(net, rho=rho, shuffle=False)
    np.testing.assert_allclose(*curves, rtol=1e-10)
    for fit in fits:
        fit.predict(X)
    np.testing.assert_array_equal(X, given)


def test_a_projection_in_the_forward_pass_is_plain_torchs():
    module = Projects().double()
    start = {k: v.clone() for k, v in module.state_dict().items()}
    fit = SAMClassifier(net=module, rho=0, alpha=0, shuffle=False, max_iter=2, **SGD).fit(X, y)
    module.load_state_dict(start)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.05, momentum=0.9, nesterov=True)
    for _ in range(2):
        for x, t in zip(torch.tensor(X).split(30), torch.tensor(y).split(30), strict=True):
            optimizer.zero_grad()
            nn.functional.cross_entropy(module(x), t).backward()
            optimizer.step()
    torch.testing.assert_close(fit.module_.weight, module.weight, rtol=0, atol=1e-12)


def test_an_embedding_that_shortens_its_weights_in_the_forward_pass():
    tokens = np.random.RandomState(0).randint(0, 9, (150, 1))
    start = nn.Sequential(nn.Embedding(9, 2, max_norm=0.2), nn.Flatten())
    fits = [
        SAMClassifier(net=start, callbacks=c, rho=0.1, max_iter=4, **SGD).fit(tokens, y)
        for c in ((), [Listener()])
    ]
    weights = [fit.module_[0].weight.detach() for fit in fits]
    torch.testing.assert_close(*weights, rtol=0, atol=1e-12)
    assert "in place" in fits[0].net_._engine.replays.why_not


def test_scoring_callbacks_see_classes():
    scoring = EpochScoring("accuracy", on_train=True, lower_is_better=False)
    clf = SAMClassifier((8,), callbacks=[scoring], max_iter=20, **SGD)
    labels = (X[:, 0] > 0).astype(int) + (X[:, 0] > 1)
    clf.fit(X, labels)
    assert 0.5 < clf.net_.history[-1, "accuracy"] <= 1


WARM = {"hidden_layer_sizes": (6,), "max_iter": 20, "warm_start": True, "random_state": 0}


@pytest.mark.parametrize(
    "change",
    [{"alpha": 50.0}, {"learning_rate_init": 0.3}, {"solver": "sgd"}, {"learning_rate_init": 1e-4}],
    ids=str,
)
def test_warm_start_follows_changed_parameters(change):
    theirs = MLPClassifier(**WARM).fit(X, y).set_params(**change).fit(X, y)
    ours = SAMClassifier(rho=0, **WARM).fit(X, y).set_params(**change).fit(X, y)
    np.testing.assert_allclose(ours.loss_curve_, theirs.loss_curve_, rtol=5e-3)


def test_rho_and_temperature_can_change_between_fits():
    clf = SAMClassifier(**WARM).fit(X, y)
    count = clf.n_gradient_evaluations_
    clf.set_params(rho=0.0, training_temperature=3.0).fit(X, y)
    assert clf.n_gradient_evaluations_ == count + clf.n_iter_
    assert clf.net_.criterion_.temperature == 3.0
    with pytest.raises(ValueError, match=r"early_stopping=True differs"):
        clf.set_params(early_stopping=True).fit(X, y)


def test_sharpness_refuses_labels_that_were_never_seen():
    clf = SAMClassifier((4,), max_iter=2, random_state=0).fit(X, 2 * y)
    with pytest.raises(ValueError, match=r"labels \[1\] that are not among \[0 2\]"):
        clf.sharpness(X, np.ones(len(X), int))


def test_balanced_class_weights_count_by_sample_weight():
    weight = np.random.RandomState(0).randint(0, 4, len(X))
    options = {"class_weight": "balanced", "max_iter": 20, "random_state": 0}
    weighted = SAMClassifier((6,), **options).fit(X, y, sample_weight=weight)
    repeated = SAMClassifier((6,), batch_size=999, **options)
    with pytest.warns(UserWarning, match="clipped"):
        repeated.fit(np.repeat(X, weight, 0), np.repeat(y, weight))
    np.testing.assert_allclose(weighted.coefs_[0], repeated.coefs_[0], rtol=1e-6)
    with pytest.raises(ValueError, match=r"class_weight='balanced' cannot be computed"):
        SAMClassifier(class_weight="balanced").partial_fit(X, y, classes=[0, 1])
    SAMClassifier(class_weight={1: 5.0}).partial_fit(X[y == 0], y[y == 0], classes=[0, 1])


class Remembers(nn.Linear):
    def forward(self, X):
        self.kept = torch.tanh(super().forward(X))
        return self.kept


def test_a_module_may_keep_a_tensor_of_its_last_pass():
    clf = SAMClassifier(net=Remembers(2, 2), max_iter=2, **SGD).fit(X, y)
    assert np.isfinite(clf.predict_proba(X)).all()


def test_a_fit_cut_short_counts_what_it_trained():
    class Stop(Callback):
        def on_epoch_end(self, net, **kwargs):
            if len(net.history) == 3:
                raise KeyboardInterrupt

    clf = SAMClassifier((4,), callbacks=[Stop()], **SGD).fit(X, y)
    assert clf.n_iter_ == len(clf.loss_curve_) == 3
    assert clf.n_gradient_evaluations_ == 30


def test_regressor_has_no_temperature():
    with pytest.raises(TypeError, match="training_temperature"):
        SAMRegressor(training_temperature=2.0)


def test_momentum_sam_cannot_go_on_without_momentum():
    clf = small(variant="momentum", warm_start=True, max_iter=2).fit(MOONS, SIDE)
    with pytest.raises(ValueError, match="momentum"):
        clf.set_params(momentum=0.0).fit(MOONS, SIDE)
