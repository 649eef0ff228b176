"""What outputs mean: skorch's own predictions are the oracle, and logit twins."""

import copy

import numpy as np
import pytest
import torch
from sklearn.frozen import FrozenEstimator
from skorch import NeuralNetBinaryClassifier, NeuralNetClassifier, NeuralNetRegressor
from torch import nn

from sklflat import (
    AblationProbe,
    ActivationProbe,
    HessianSpectrum,
    SAMClassifier,
    SAMRegressor,
    from_module,
)
from sklflat.exceptions import UnsupportedNetworkError
from sklflat.networks.outputs import ends_in
from sklflat.probing import resolve
from tests._slow import slow_after

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::sklflat.exceptions.NothingFoundWarning"),
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.DataConversionWarning"),
]
RNG = np.random.RandomState(0)
X = RNG.normal(size=(120, 4)).astype("float32")
THREE = X[:, :3].argmax(1)
TWO = (X[:, 0] + 0.3 * X[:, 1] > 0.2).astype("float32")
COUNTS = RNG.poisson(np.exp(X[:, 0] / 2)).astype("float32")[:, None]


class Ends(nn.Module):
    def __init__(self, width, last=None, flat=False):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Linear(4, 6), nn.Linear(6, width)
        self.last, self.flat = last, flat

    def forward(self, X):
        z = self.second(self.first(X).tanh())
        z = z if self.last is None else self.last(z)
        return z[:, 0] if self.flat else z


def softmax(z):
    return z.softmax(1)


def log_softmax(z):
    return z.log_softmax(1)


def own_softmax(z):
    e = z.exp()
    return e / e.sum(1, keepdim=True)


class OwnOfProbabilities(nn.Module):
    """A user's loss of probabilities."""

    def forward(self, p, y):
        return -(p.gather(1, y.long()[:, None]) + 1e-8).log().mean()


class OwnOfLogits(nn.Module):
    """A focal loss of logits."""

    def forward(self, z, y):
        log_p = z.log_softmax(1).gather(1, y.long()[:, None])
        return -((1 - log_p.exp()) ** 2 * log_p).mean()


def two_columns(z):
    p = z.sigmoid().flatten()
    return torch.stack([1 - p, p], 1)


CLASSIFIER, BINARY, REGRESSOR = NeuralNetClassifier, NeuralNetBinaryClassifier, NeuralNetRegressor
#: net class, criterion, module, nonlinearity, further settings, targets; whether it is refused
CASES = {
    "nll": (CLASSIFIER, nn.NLLLoss, (3, softmax), "auto", {}, THREE, False),
    "nll, none": (CLASSIFIER, nn.NLLLoss, (3, softmax), None, {}, THREE, False),
    "nll of logs": (CLASSIFIER, nn.NLLLoss, (3, log_softmax), "auto", {}, THREE, True),
    "cross entropy": (CLASSIFIER, nn.CrossEntropyLoss, (3,), "auto", {}, THREE, False),
    "cross entropy, none": (CLASSIFIER, nn.CrossEntropyLoss, (3,), None, {}, THREE, True),
    "cross entropy, own": (CLASSIFIER, nn.CrossEntropyLoss, (3,), own_softmax, {}, THREE, False),
    "own of probabilities": (
        CLASSIFIER,
        OwnOfProbabilities,
        (3, softmax),
        "auto",
        {},
        THREE,
        False,
    ),
    "own of logits": (CLASSIFIER, OwnOfLogits, (3,), "auto", {}, THREE, True),
    "own of logits, said": (CLASSIFIER, OwnOfLogits, (3,), softmax, {}, THREE, False),
    "mse on classes": (CLASSIFIER, OwnOfProbabilities, (3, own_softmax), None, {}, THREE, False),
    "binary": (BINARY, nn.BCEWithLogitsLoss, (1, None, True), "auto", {}, TWO, False),
    "binary, column": (BINARY, nn.BCEWithLogitsLoss, (1,), "auto", {}, TWO, False),
    "binary, threshold": (
        BINARY,
        nn.BCEWithLogitsLoss,
        (1, None, True),
        "auto",
        {"threshold": 0.8},
        TWO,
        False,
    ),
    "binary, none": (BINARY, nn.BCEWithLogitsLoss, (1, None, True), None, {}, TWO, True),
    "binary, own": (BINARY, nn.BCEWithLogitsLoss, (1, None, True), two_columns, {}, TWO, False),
    "bce": (BINARY, nn.BCELoss, (1, torch.sigmoid, True), "auto", {}, TWO, False),
    "bce, threshold": (
        BINARY,
        nn.BCELoss,
        (1, torch.sigmoid, True),
        "auto",
        {"threshold": 0.3},
        TWO,
        False,
    ),
    "mse": (REGRESSOR, nn.MSELoss, (1,), "auto", {}, COUNTS, False),
    "poisson": (REGRESSOR, nn.PoissonNLLLoss, (1,), "auto", {}, COUNTS, True),
    "poisson, exp": (REGRESSOR, nn.PoissonNLLLoss, (1,), torch.exp, {}, COUNTS, False),
    "poisson of means": (
        REGRESSOR,
        nn.PoissonNLLLoss,
        (1, nn.functional.softplus),
        "auto",
        {"criterion__log_input": False},
        COUNTS,
        False,
    ),
}


def net_of(case):
    of, criterion, module, nonlinearity, more, y, _ = case
    net = of(
        Ends(*module),
        criterion=criterion,
        predict_nonlinearity=nonlinearity,
        max_epochs=5,
        lr=0.05,
        train_split=None,
        verbose=0,
        **more,
    )
    return net, y


@pytest.mark.parametrize("name", list(CASES))
def test_trained_by_us_it_predicts_as_its_own_net(name):
    (net, y), refused = net_of(CASES[name]), CASES[name][-1]
    estimator = SAMRegressor if isinstance(net, REGRESSOR) else SAMClassifier
    model = estimator(net=net, rho=0, random_state=0)
    if refused:
        with pytest.raises(UnsupportedNetworkError, match=r"CrossEntropyLoss|predict_nonlinearity"):
            model.fit(X, y).predict_proba(X)
        return
    model.fit(X, y)
    np.testing.assert_allclose(
        np.ravel(model.predict(X)), np.ravel(model.net_.predict(X)), rtol=1e-5, atol=1e-6
    )
    if estimator is SAMClassifier:
        np.testing.assert_allclose(model.predict_proba(X), model.net_.predict_proba(X), atol=1e-6)


@pytest.mark.parametrize("name", [n for n, case in CASES.items() if case[0] is not REGRESSOR])
def test_fitted_by_skorch_and_frozen_a_probe_sees_its_probabilities(name):
    (net, y), refused = net_of(CASES[name]), CASES[name][-1]
    if name == "nll of logs":
        return  # skorch itself trains on NaN
    net.fit(X, y)
    trained = resolve(FrozenEstimator(net))
    if refused:
        with pytest.raises(UnsupportedNetworkError, match="predict_nonlinearity"):
            trained.to_input(X)
        return
    z = trained.network.outputs(trained.to_input(X)).numpy()
    decision = trained.targets.decision(z, trained.loss)
    np.testing.assert_allclose(trained.targets.proba(decision), net.predict_proba(X), atol=1e-6)
    assert np.array_equal(trained.targets.predict(decision), net.predict(X))
    target = trained.to_target(y)
    own = float(net.get_loss(net.infer(torch.as_tensor(X)), torch.as_tensor(y)).detach())
    target = target.reshape(z.shape) if trained.loss == "logistic" else target
    assert float(trained.network.loss(torch.as_tensor(X), target)) == pytest.approx(own, rel=1e-4)


# --- modules without a criterion ----------------------------------------------------------------

#: what a module with these logits ends in, and the classes
TWINS = {
    "softmax": (3, softmax, THREE),
    "softmax written out": (3, own_softmax, THREE),
    "log-softmax": (3, log_softmax, THREE),
    "softmax of two": (2, softmax, TWO),
}


@pytest.mark.parametrize("name", slow_after(1, TWINS))
def test_a_module_of_probabilities_is_its_logit_twin(name):
    width, last, y = TWINS[name]
    ended = Ends(width, last)
    twin = copy.deepcopy(ended)
    twin.last = None
    ours, right = (from_module(m, classes=np.unique(y)) for m in (ended, twin))
    p = right.predict_proba(X)
    np.testing.assert_allclose(ours.predict_proba(X), p, atol=1e-5)
    np.testing.assert_allclose(
        ended(torch.as_tensor(X)).detach().exp()
        if "log" in name
        else ended(torch.as_tensor(X)).detach(),
        p,
        atol=1e-5,
    )
    for probe in (HessianSpectrum(n_components=3, random_state=0), AblationProbe(random_state=0)):
        found = [copy.deepcopy(probe).set_params(estimator=e).fit(X, y) for e in (ours, right)]
        np.testing.assert_allclose(
            found[0].unit_scores_, found[1].unit_scores_, rtol=1e-3, atol=1e-5
        )
        if isinstance(probe, HessianSpectrum):
            np.testing.assert_allclose(*(f.eigenvalues_ for f in found), rtol=1e-5)


@pytest.mark.parametrize(
    ("width", "last", "y", "criterion"),
    [
        (3, torch.sigmoid, THREE, None),
        (2, torch.sigmoid, TWO, None),
        (1, lambda z: 1 / (1 + (-40 * z).exp()), TWO, None),
    ],
)
def test_other_probabilities_are_refused_with_the_fix(width, last, y, criterion):
    model = from_module(Ends(width, last), criterion, classes=np.unique(y))
    for ask in (model.predict, lambda X: ActivationProbe(model).fit(X, y)):
        with pytest.raises(ValueError, match=r"BCEWithLogitsLoss|criterion=torch.nn.BCELoss\(\)"):
            ask(X)


def test_one_probability_of_two_classes_says_so_by_its_criterion():
    ended = Ends(1, torch.sigmoid)
    ours = from_module(ended, nn.BCELoss(), classes=["no", "yes"])
    twin = copy.deepcopy(ended)
    twin.last = None
    right = from_module(twin, nn.BCEWithLogitsLoss(), classes=["no", "yes"])
    np.testing.assert_allclose(ours.predict_proba(X), right.predict_proba(X), atol=1e-6)
    y = np.where(TWO > 0, "yes", "no")
    found = [HessianSpectrum(e, n_components=2, random_state=0).fit(X, y) for e in (ours, right)]
    np.testing.assert_allclose(*(f.eigenvalues_ for f in found), rtol=1e-5)


def one_hot(z):
    first = (z[:, :1] > z[:, :1].median()).to(z.dtype)
    return torch.cat([first, 1 - first], 1)


def test_probabilities_of_exactly_zero_and_one_are_finite():
    module = Ends(2, one_hot)
    model = from_module(module, classes=[0, 1])
    right = module(torch.as_tensor(X)).detach().numpy()
    assert set(np.unique(right)) == {0, 1}
    np.testing.assert_allclose(model.predict_proba(X), right, atol=1e-6)
    assert np.isfinite(model.decision_function(X)).all()


def test_a_head_whose_biases_add_up_to_one_has_logits():
    module = Ends(2)
    with torch.no_grad():
        module.second.weight.zero_()
        module.second.bias.copy_(torch.tensor([0.3, 0.7]))
    p = from_module(module, classes=[0, 1]).predict_proba(X)
    np.testing.assert_allclose(p[0], torch.tensor([0.3, 0.7]).softmax(0), atol=1e-6)


@pytest.mark.parametrize(
    "last", [lambda z: z.sigmoid().clamp(1e-7, 1 - 1e-7), lambda z: z.sigmoid().clone()]
)
def test_what_comes_after_a_sigmoid_may_keep_it(last):
    assert ends_in(Ends(1, last), torch.as_tensor(X)) == "sigmoid"
    assert ends_in(Ends(1, lambda z: z.sigmoid().double()), torch.as_tensor(X)) == "sigmoid"


@pytest.mark.parametrize(
    ("criterion", "width", "last", "message"),
    [
        (nn.NLLLoss(), 3, None, "log_softmax"),
        (nn.NLLLoss(), 3, softmax, "log_softmax"),
        (nn.BCELoss(), 1, None, "sigmoid"),
    ],
)
def test_outputs_that_a_criterion_does_not_take_are_refused(criterion, width, last, message):
    model = from_module(Ends(width, last), criterion, classes=list(range(max(width, 2))))
    y = THREE if width == 3 else TWO.astype(int)
    for ask in (model.predict_proba, lambda X: HessianSpectrum(model, n_components=2).fit(X, y)):
        with pytest.raises(UnsupportedNetworkError, match=message):
            ask(X)


@pytest.mark.parametrize("last", [torch.sigmoid, softmax])
def test_modules_trained_by_us(last):
    """As with the logit twin: neither the accuracy nor the probabilities are capped."""
    width = 1 if last is torch.sigmoid else 2
    settings = {"max_iter": 80, "learning_rate_init": 0.02, "rho": 0.0, "random_state": 0}
    models = [
        SAMClassifier(net=Ends(width, end), **settings).fit(X.astype(float), TWO)
        for end in (last, None)
    ]
    scores = [m.score(X.astype(float), TWO) for m in models]
    assert scores[0] == pytest.approx(scores[1], abs=0.02)
    assert min(scores) > 0.95
    proba = [m.predict_proba(X.astype(float)) for m in models]
    np.testing.assert_allclose(*proba, atol=1e-3)
    assert proba[0].max() > 0.95


def test_logits_are_left_alone():
    for width in (2, 3):
        assert ends_in(Ends(width), torch.as_tensor(X)) is None
    assert ends_in(Ends(3, torch.sigmoid), torch.as_tensor(X)) == "sigmoid"
    assert ends_in(Ends(1, torch.sigmoid, True), torch.as_tensor(X)) == "sigmoid"
    gated = Ends(3, lambda z: z * z.sigmoid())
    assert ends_in(gated, torch.as_tensor(X)) is None
    scaled = Ends(3, lambda z: z.sigmoid().mul_(7))
    assert ends_in(scaled, torch.as_tensor(X)) is None
