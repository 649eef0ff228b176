"""Every mistake that a user makes is answered by name, value and what to do."""

import functools
import warnings

import numpy as np
import pytest
import torch
from sklearn.datasets import load_iris, make_regression
from sklearn.exceptions import NotFittedError
from skorch import NeuralNetClassifier
from skorch.callbacks import GradientNormClipping
from torch import nn
from torch.utils.data import TensorDataset

from sklflat import PerturbedOptimizer, SAMClassifier, SAMRegressor
from sklflat.exceptions import (
    DivergenceError,
    DuplicateParameterError,
    NonFiniteStepWarning,
    OutputWidthError,
    UnsupportedNetworkError,
)
from sklflat.training.perturbations import ASAM, SAM, FisherSAM, LookSAM, MomentumSAM

pytestmark = pytest.mark.filterwarnings("ignore:Stochastic Optimizer")

X, y = load_iris(return_X_y=True)
X_nan, X_inf = np.where(X > 7, np.nan, X), np.where(X > 7, np.inf, X)
X_words = X.astype(object)
X_words[0, 0] = "long"
ones = np.ones(len(X))
no_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")


class Body(nn.Module):
    def __init__(self, n_features, n_outputs):
        super().__init__()
        self.linear = nn.Linear(n_features, n_outputs)

    def forward(self, X):
        return self.linear(X)


class ThreeDimensional(Body):
    def forward(self, X):
        return self.linear(X)[:, :, None]


class Pair(Body):
    def forward(self, X):
        return self.linear(X), X


class Normalised(Body):
    def __init__(self, n_features, n_outputs):
        super().__init__(n_features, n_outputs)
        self.norm = nn.BatchNorm1d(n_outputs)

    def forward(self, X):
        return self.norm(self.linear(X))


class NeedsMore(nn.Module):
    def __init__(self, n_features, n_units, depth):
        super().__init__()


class OwnCriterion(nn.Module):
    def forward(self, z, y):
        return nn.functional.cross_entropy(z, y)


class TwoOptimizers(NeuralNetClassifier):
    def initialize_optimizer(self, *args, **kwargs):
        self.optimizer_ = torch.optim.SGD(self.module_.parameters(), lr=0.1)
        self.optimizer2_ = torch.optim.SGD(self.module_.parameters(), lr=0.1)
        return self


def fit(X=X, y=y, sample_weight=None, **parameters):
    if not isinstance(parameters.get("net"), NeuralNetClassifier):
        parameters = {"max_iter": 2, **parameters}
    return SAMClassifier(random_state=0, **parameters).fit(X, y, sample_weight)


def fit_skorch(sample_weight=None, net_class=NeuralNetClassifier, module=None, **parameters):
    facade = {key: parameters.pop(key) for key in ("variant", "max_iter") if key in parameters}
    own = {"criterion": nn.CrossEntropyLoss, "max_epochs": 2, "train_split": None, "verbose": 0}
    net = net_class(module or nn.Linear(4, 3), **{**own, **parameters})
    return fit(net=net, sample_weight=sample_weight, **facade)


def regress(X=X, y=y, **parameters):
    return SAMRegressor(max_iter=2, random_state=0, **parameters).fit(X, y)


def first_part(*X, classes=(0, 1, 2), **parameters):
    clf = SAMClassifier(random_state=0, **parameters)
    return clf.partial_fit(*(X or (globals()["X"], y)), classes=classes)


def optimize(perturbation, base=torch.optim.SGD, **options):
    return PerturbedOptimizer(base([nn.Parameter(torch.ones(1))], **options), perturbation)


def case(name, mistake, error, *said, marks=()):
    return pytest.param(mistake, error, said, id=name, marks=marks)


do = functools.partial

CASES = [
    # parameters out of range
    case("negative rho", do(fit, rho=-0.1), ValueError, "'rho'", "[0.0, inf)", "Got -0.1"),
    case("rho is NaN", do(fit, rho=np.nan), ValueError, "'rho'", "[0.0, inf)", "Got nan"),
    case("infinite rho", do(fit, rho=np.inf), ValueError, "'rho'", "[0.0, inf)", "Got inf"),
    case("rho is a string", do(fit, rho="0.1"), ValueError, "'rho'", "[0.0, inf)", "Got '0.1'"),
    case("rho is a list", do(fit, rho=[0.1]), ValueError, "'rho'", "[0.0, inf)", "Got [0.1]"),
    case("rho of an object", do(fit, variant=SAM(-1)), ValueError, "'rho'", "SAM", "Got -1"),
    case("eta", do(fit, variant=ASAM(eta=-1)), ValueError, "'eta'", "ASAM", "Got -1"),
    case("k", do(fit, variant=LookSAM(k=0)), ValueError, "'k'", "[1, inf)", "Got 0"),
    case("rho in torch", do(optimize, SAM(-1), lr=1), ValueError, "'rho'", "[0.0, inf)", "Got -1"),
    case(
        *("fisher", do(fit, variant=FisherSAM(fisher="sample")), ValueError),
        *("'fisher'", "'per_sample'", "'batch'", "'model'", "Got 'sample'"),
    ),
    case("learning rate", do(fit, learning_rate_init=-1.0), ValueError, "'learning_rate_init'"),
    case("temperature", do(fit, training_temperature=0), ValueError, "'training_temperature'"),
    case("momentum", do(fit, momentum=1.5), ValueError, "'momentum'", "[0.0, 1.0]", "Got 1.5"),
    case("dtype", do(fit, dtype="float16"), ValueError, "'dtype'", "float32", "Got 'float16'"),
    case("class_weight", do(fit, class_weight="balance"), ValueError, "'class_weight'", "balanced"),
    case("loss", do(regress, loss="huber"), ValueError, "'loss'", "'poisson'", "Got 'huber'"),
    # names that do not exist
    case("asm", do(fit, variant="asm"), ValueError, "'asm'", "Did you mean 'asam'?", "'fisher'"),
    case("lokSAM", do(fit, variant="lokSAM"), ValueError, "'lokSAM'", "Did you mean 'looksam'?"),
    case("SAM", do(fit, variant="SAM"), ValueError, "variant 'SAM'", "Did you mean 'sam'?"),
    case("variant", do(fit, variant="?"), ValueError, "variant '?'", "Known are 'sam', 'asam'"),
    case("class for object", do(fit, variant=SAM), ValueError, "'variant'", "instance of"),
    case("lbfgs", do(fit, solver="lbfgs"), ValueError, "solver='lbfgs'", "'sgd' or 'adam'"),
    case("solver", do(fit, solver="rms"), ValueError, "solver='rms'", "'sgd' or 'adam'"),
    case("device", do(fit, device="gpu"), ValueError, "device='gpu'", "'cpu', 'cuda' or 'auto'"),
    case(
        *("no GPU", do(fit, device="cuda"), ValueError),
        *("device='cuda'", "Use device='cpu'", "device='auto'"),
        marks=no_gpu,
    ),
    # Momentum-SAM without momentum
    case(
        *("no momentum", do(fit, variant="momentum", solver="sgd", momentum=0), ValueError),
        *("MomentumSAM", "SGD has none", "Set momentum > 0"),
    ),
    case(
        *("no beta", do(fit, variant="momentum", solver="adam", beta_1=0.0), ValueError),
        *("MomentumSAM", "Adam has none"),
    ),
    case("skorch's SGD", do(fit_skorch, variant="momentum"), ValueError, "Set momentum > 0"),
    case("torch's SGD", do(optimize, MomentumSAM(), lr=1), ValueError, "Set momentum > 0"),
    # networks
    case(
        "hidden 0", do(fit, hidden_layer_sizes=(5, 0)), ValueError, "hidden_layer_sizes", "[5, 0]"
    ),
    case("hidden -3", do(fit, hidden_layer_sizes=-3), ValueError, "hidden_layer_sizes", "Got -3"),
    case("hidden 5.5", do(fit, hidden_layer_sizes=(5.5,)), ValueError, "[5.5]", "are integers"),
    case("hidden 'a'", do(fit, hidden_layer_sizes=("a",)), ValueError, "['a']", "are integers"),
    case(
        *("too wide", do(fit, net=nn.Linear(4, 7)), OutputWidthError),
        *("7 outputs", "3 classes", "last layer 3 wide", "'n_outputs'"),
    ),
    case("one logit", do(fit, net=nn.Linear(4, 1)), OutputWidthError, "1 outputs", "3 classes"),
    case(
        "regression", do(regress, net=nn.Linear(4, 2)), OutputWidthError, "2 outputs", "1 targets"
    ),
    case("skorch", do(fit_skorch, module=nn.Linear(4, 7)), OutputWidthError, "last layer 3 wide"),
    case(
        *("narrow input", do(fit, net=nn.Linear(9, 3)), UnsupportedNetworkError),
        *("shape (2, 4)", "'n_features'"),
    ),
    case("3-D", do(fit, net=ThreeDimensional), OutputWidthError, "(2, k)", "got (2, 3, 1)"),
    case("a tuple", do(fit, net=Pair), OutputWidthError, "(2, k)", "got tuple"),
    case(
        *("unknown arguments", do(fit, net=NeedsMore), TypeError),
        *("net=NeedsMore", "['n_units', 'depth']", "give defaults", "functools.partial"),
    ),
    case("no module", do(fit, net=lambda: 3), TypeError, "returned int, not a torch.nn.Module"),
    case("a number", do(fit, net=3), TypeError, "net=3", "pass a torch.nn.Module"),
    case("a name", do(fit, net="mlp"), TypeError, "net='mlp'", "pass a torch.nn.Module"),
    case(
        *("frozen", do(fit, net=nn.Linear(4, 3).requires_grad_(False)), ValueError),
        "no parameter with requires_grad=True",
    ),
    case(
        *("normalised", do(fit, net=Normalised, variant=FisherSAM(fisher="per_sample"))),
        *(UnsupportedNetworkError, "Normalised", "FisherSAM(fisher='batch')", "batch statistics"),
    ),
    # parameters beside a net that brings its own
    case(
        *("two epochs", do(fit_skorch, max_iter=3), DuplicateParameterError),
        *("max_iter=3", "skorch net", "get_params()", "default 200"),
    ),
    case(
        *("two widths", do(fit, net=Body, hidden_layer_sizes=(7,)), DuplicateParameterError),
        *("hidden_layer_sizes=(7,)", "module", "default (100,)"),
    ),
    case(
        *("two optimizers", do(fit_skorch, net_class=TwoOptimizers), UnsupportedNetworkError),
        *("['optimizer', 'optimizer2']", "for one"),
    ),
    case(
        *("LBFGS", do(fit_skorch, optimizer=torch.optim.LBFGS), UnsupportedNetworkError),
        *("optimizer=LBFGS", "use SGD or Adam", "rho=0"),
    ),
    case("LBFGS", do(optimize, SAM(), torch.optim.LBFGS), TypeError, "use SGD or Adam"),
    case(
        *("no reduction", do(fit_skorch, 2 * ones, criterion=OwnCriterion), TypeError),
        *("sample_weight", "OwnCriterion", "'reduction' attribute"),
    ),
    case(
        *("no labels", do(fit_skorch, criterion=OwnCriterion, variant=FisherSAM(fisher="model"))),
        *(TypeError, "OwnCriterion", "CrossEntropyLoss", "fisher='per_sample'"),
    ),
    # data
    case("one class", do(fit, X[:50], y[:50]), ValueError, "at least 2 classes", "only one class"),
    case("weighted out", do(fit, X, y, 1.0 * (y == 0)), ValueError, "at least 2 classes"),
    case("NaN", do(fit, X_nan), ValueError, "Input X contains NaN", "imputer"),
    case("infinite", do(fit, X_inf), ValueError, "Input X contains infinity"),
    case("NaN in y", do(regress, y=X_nan[:, 0]), ValueError, "Input y contains NaN"),
    case("words", do(fit, X_words), ValueError, "could not convert string to float: 'long'"),
    case("real labels", do(fit, y=X[:, 0]), ValueError, "continuous"),
    case("negative counts", do(regress, y=y - 1.0, loss="poisson"), ValueError, "y >= 0", "-1.0"),
    case("three dimensions", do(fit, X[:, :, None]), ValueError, "dim <= 2 is required"),
    case("lengths", do(fit, X, y[:9]), ValueError, "[150, 9]"),
    # sample weights
    case("zero weights", do(fit, X, y, 0 * ones), ValueError, "at least one non-zero"),
    case("negative weights", do(fit, X, y, -ones), ValueError, "Negative", "`sample_weight`"),
    case("NaN weights", do(fit, X, y, np.nan * ones), ValueError, "sample_weight contains NaN"),
    case("too few weights", do(fit, X, y, ones[:9]), ValueError, "(9,)", "expected (150,)"),
    # partial_fit and early stopping
    case("no classes", do(first_part, classes=None), ValueError, "classes must be passed"),
    case(
        *("early", do(first_part, early_stopping=True), ValueError),
        *("partial_fit", "early_stopping=True"),
    ),
    case(
        *("unseen", lambda: first_part(X[:100], y[:100], classes=[0, 1]).partial_fit(X, y)),
        *(ValueError, "[0 1]", "[0 1 2]"),
    ),
    case("unseen at first", do(first_part, classes=[0, 1]), ValueError, "[0 1]", "[0 1 2]"),
    case(
        *("few", do(fit, early_stopping=True, validation_fraction=0.001), ValueError),
        "Increase 'validation_fraction'",
    ),
    case(
        *("split", lambda: fit(dataset(), None, net=nn.Linear(4, 3), early_stopping=True)),
        *(ValueError, "early_stopping=True", "split a torch Dataset yourself"),
    ),
    # after fit
    case("features", lambda: fit().predict(X[:, :3]), ValueError, "X has 3", "expecting 4"),
    case("hidden", lambda: fit().transform(np.c_[X, X]), ValueError, "X has 8", "expecting 4"),
    case("NaN later", lambda: fit().predict(X_nan), ValueError, "Input X contains NaN"),
    case("not fitted", lambda: SAMClassifier().predict(X), NotFittedError, "not fitted", "'fit'"),
    case("foreign", lambda: fit(net=Body).coefs_, AttributeError, "coefs_", "net=None"),
    case("cosine", lambda: fit().cosine_to_sam_, AttributeError, "variant='fisher'"),
]


def dataset():
    return TensorDataset(torch.tensor(X, dtype=torch.float32), torch.tensor(y))


@pytest.mark.parametrize(("mistake", "error", "said"), CASES)
def test_message_says_what_is_wrong_and_what_to_do(mistake, error, said):
    with pytest.raises(error) as raised:
        mistake()
    message = str(raised.value)
    assert [part for part in said if part not in message] == [], message


def test_there_are_enough_golden_messages():
    assert len(CASES) >= 25


def test_batches_larger_than_the_data_are_clipped_with_a_warning():
    with pytest.warns(UserWarning, match="batch_size=1000, larger than the sample size 150"):
        clf = fit(batch_size=1000, rho=0)
    assert clf.n_gradient_evaluations_ == 2  # one batch in each of two epochs


def test_no_hidden_layer_is_a_linear_model():
    clf = fit(hidden_layer_sizes=())
    assert [w.shape for w in clf.coefs_] == [(4, 3)]
    expected = X @ clf.coefs_[0] + clf.intercepts_[0]
    np.testing.assert_allclose(clf.decision_function(X), expected, rtol=1e-10)


def test_numbers_in_an_object_array_are_numbers():
    expected = fit(dtype="float64").coefs_[0]
    np.testing.assert_array_equal(fit(X.astype(object), dtype="float64").coefs_[0], expected)


def scale_of_targets(scale):
    A, b = make_regression(200, 5, random_state=0)
    return A, scale * b


DIVERGING = [
    (SAMClassifier, (X, y), {"solver": "sgd", "learning_rate_init": 1e3}),
    (SAMClassifier, (X, y), {"solver": "sgd", "learning_rate_init": 1e8}),
    (SAMClassifier, (X, y), {"solver": "adam", "learning_rate_init": 1e3}),
    (SAMClassifier, (X, y), {"solver": "adam", "learning_rate_init": 1e8}),
    (SAMClassifier, (X, y), {"solver": "adam", "learning_rate_init": 1e30}),
    (SAMRegressor, scale_of_targets(1e4), {"solver": "sgd"}),
    (SAMRegressor, scale_of_targets(1e30), {"solver": "sgd"}),
    (SAMRegressor, scale_of_targets(1e10), {"solver": "adam", "learning_rate_init": 1e8}),
]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("variant", ["sam", "momentum", "friendly"])
@pytest.mark.parametrize("i", range(len(DIVERGING)))
def test_predictions_are_never_nan(i, variant, dtype):
    estimator, data, parameters = DIVERGING[i]
    model = estimator((10,), variant=variant, dtype=dtype, random_state=0, max_iter=15)
    try:
        model.set_params(**parameters).fit(*data)
    except DivergenceError:
        return
    output = getattr(model, "predict_proba", model.predict)(data[0])
    assert np.isfinite(output).all()


@pytest.mark.parametrize("callbacks", [(), "batch"], ids=["vector", "skorch"])
def test_divergence_names_the_epoch_and_what_to_lower(callbacks):
    listeners = [GradientNormClipping(None)] if callbacks else ()
    data = scale_of_targets(1e4)
    model = SAMRegressor((10,), solver="sgd", learning_rate_init=0.05, random_state=0)
    model.set_params(callbacks=listeners)
    with pytest.raises(ValueError, match=r"in epoch [1-9]") as raised:
        model.fit(*data)
    assert isinstance(raised.value, DivergenceError)
    for part in ("learning_rate_init", "now 0.05", "rho", "preprocessed"):
        assert part in str(raised.value)


class Root(nn.Module):
    """``-sqrt(1 - w x)``, which is NaN for w x > 1: at w = 0.5 one ascent step goes there."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.tensor([0.5]))

    def forward(self, X):
        return -torch.sqrt(1 - X * self.w)


def test_skipped_steps_are_reported():
    X, y = np.array([[1.0], [0.0]]), np.array([-1.0, -1.0])
    reg = SAMRegressor(net=Root(), rho=0.6, batch_size=1, max_iter=1, shuffle=False, alpha=0)
    with pytest.warns(NonFiniteStepWarning, match=r"1 training steps .*Lower rho or learning_rate"):
        reg.fit(X, y)
    assert reg.n_skipped_steps_ == 1
    assert reg.module_.w.item() == 0.5  # the gradient of the other sample is zero


def test_nothing_is_warned_of_in_an_ordinary_fit():
    with warnings.catch_warnings(action="error"):
        SAMClassifier((5,), max_iter=300, learning_rate_init=0.01, tol=1.0).fit(X, y)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"batch_size": True}, r"'batch_size' parameter of SAMClassifier .*'auto' or an int.*True"),
        ({"callbacks": [1]}, r"'callbacks' .* skorch callbacks, such as .*Got 1 of type int"),
        ({"callbacks": [("name", "x")]}, r"pairs of a name and one. Got \('name', 'x'\)"),
    ],
)
def test_what_other_libraries_would_stumble_over_is_named(bad, message):
    with pytest.raises(ValueError, match=message):
        SAMClassifier(max_iter=1, **bad).fit(np.eye(4), [0, 1, 0, 1])
