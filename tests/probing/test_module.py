"""from_module: a trained module as a fitted estimator that scikit-learn can work with."""

import pickle

import matplotlib
import numpy as np
import pytest
import torch
from scipy.special import expit, softmax
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.calibration import CalibratedClassifierCV
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.inspection import DecisionBoundaryDisplay, permutation_importance
from sklearn.metrics import ConfusionMatrixDisplay, RocCurveDisplay, accuracy_score, r2_score
from sklearn.model_selection import cross_val_score
from sklearn.utils.validation import check_is_fitted
from torch import nn

from sklflat import AblationProbe, SAMClassifier, check_network, from_module
from sklflat.exceptions import OutputWidthError, UnsupportedNetworkError
from tests._estimators import IRIS, MOONS, SIDE, SPECIES

matplotlib.use("Agg")
NAMES = np.array(["setosa", "versicolor", "virginica"])


@pytest.fixture(scope="module")
def module():
    """A module that knows the iris, in torch's own precision."""
    fitted = SAMClassifier((8,), random_state=0, learning_rate_init=0.02, max_iter=60)
    return fitted.fit(IRIS.astype("float32"), SPECIES).module_


@pytest.fixture(scope="module")
def clf(module):
    return from_module(module, classes=NAMES)


def test_predictions_are_the_modules(module, clf):
    with torch.no_grad():
        z = module(torch.as_tensor(IRIS).float()).double().numpy()
    np.testing.assert_allclose(clf.decision_function(IRIS), z, rtol=1e-6)
    np.testing.assert_allclose(clf.predict_proba(IRIS), softmax(z, axis=1), rtol=1e-6)
    np.testing.assert_array_equal(clf.predict(IRIS), NAMES[z.argmax(1)])
    assert clf.score(IRIS, NAMES[SPECIES]) == accuracy_score(SPECIES, z.argmax(1)) > 0.9


def test_it_counts_as_a_fitted_frozen_classifier(clf):
    check_is_fitted(clf)
    assert is_classifier(clf)
    assert not is_regressor(clf)
    assert clone(clf) is clf
    again = pickle.loads(pickle.dumps(clf))
    np.testing.assert_array_equal(again.predict_proba(IRIS), clf.predict_proba(IRIS))
    frozen = FrozenEstimator(clf).fit(IRIS, NAMES[SPECIES])
    np.testing.assert_array_equal(frozen.predict(IRIS), clf.predict(IRIS))
    assert "ModuleClassifier" in repr(clf)
    assert "ModuleClassifier" in clf._repr_html_()


def test_scikit_learns_tools_take_it(clf):
    y = NAMES[SPECIES]
    assert cross_val_score(clf, IRIS, y, cv=3).mean() > 0.9
    assert CalibratedClassifierCV(FrozenEstimator(clf)).fit(IRIS, y).score(IRIS, y) > 0.9
    importance = permutation_importance(clf, IRIS, y, n_repeats=2, random_state=0)
    assert importance.importances_mean.shape == (4,)
    ConfusionMatrixDisplay.from_estimator(clf, IRIS, y)


def test_displays_of_two_classes():
    trained = SAMClassifier((8,), random_state=0, learning_rate_init=0.02).fit(MOONS, SIDE)
    clf = from_module(trained.module_, nn.BCEWithLogitsLoss(), classes=[0, 1])
    np.testing.assert_allclose(clf.predict_proba(MOONS), trained.predict_proba(MOONS), rtol=1e-9)
    RocCurveDisplay.from_estimator(clf, MOONS, SIDE)
    DecisionBoundaryDisplay.from_estimator(clf, MOONS)


def test_classes_follow_the_outputs_and_come_out_sorted(module):
    order = np.array([2, 0, 1])
    shuffled = NAMES[order]  # output 0 now means "virginica"
    clf = from_module(module, classes=shuffled)
    np.testing.assert_array_equal(clf.classes_, NAMES)
    z = from_module(module, classes=NAMES).decision_function(IRIS)
    np.testing.assert_array_equal(clf.predict(IRIS), shuffled[z.argmax(1)])
    np.testing.assert_allclose(clf.decision_function(IRIS), z[:, np.argsort(order)])


def test_a_single_output_belongs_to_the_second_class():
    module = nn.Linear(1, 1, bias=False)
    nn.init.constant_(module.weight, 2.0)
    X = np.array([[1.0], [-3.0]])
    for classes, sign in (["a", "b"], 1), (["b", "a"], -1):
        clf = from_module(module, nn.BCEWithLogitsLoss, classes)
        np.testing.assert_allclose(clf.predict_proba(X)[:, 1], expit(sign * 2 * X[:, 0]))
        trained = clf.trained_network()
        y = np.array(classes)[[1, 0]]  # both predicted right
        loss = trained.network.loss(trained.to_input(X), trained.to_target(y))
        assert loss == pytest.approx(np.log1p(np.exp([-2, -6])).mean(), rel=1e-6)


def test_the_loss_knows_the_order_of_the_outputs(module):
    losses = []
    for order in [0, 1, 2], [2, 0, 1]:
        permuted = nn.Sequential(module, _Columns(order))
        trained = from_module(permuted, classes=NAMES[order]).trained_network()
        y = trained.to_target(NAMES[SPECIES])
        losses.append(float(trained.network.loss(trained.to_input(IRIS), y)))
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)


class _Columns(nn.Module):
    def __init__(self, order):
        super().__init__()
        self.order = order

    def forward(self, z):
        return z[:, self.order]


def test_regressors():
    module = nn.Linear(3, 1)
    X = np.random.RandomState(0).normal(size=(20, 3))
    y = module.double()(torch.as_tensor(X))[:, 0].detach().numpy() + 0.1 * X[:, 0]
    reg = from_module(module)
    assert is_regressor(reg)
    assert reg.predict(X).shape == (20,)
    assert reg.score(X, y) == pytest.approx(r2_score(y, reg.predict(X)))
    assert from_module(nn.Linear(3, 2), nn.MSELoss).predict(X).shape == (20, 2)
    trained = from_module(module, nn.MSELoss()).trained_network()
    loss = trained.network.loss(trained.to_input(X), trained.to_target(y))
    assert float(loss) == pytest.approx(np.mean((y - reg.predict(X)) ** 2), rel=1e-9)


def test_token_ids_stay_integers():
    module = nn.Sequential(nn.Embedding(9, 4), nn.Flatten(), nn.Linear(12, 2))
    X = np.random.RandomState(0).randint(9, size=(5, 3))
    assert from_module(module, classes=[0, 1]).predict_proba(X).shape == (5, 2)


def test_the_given_module_is_copied():
    module = nn.Sequential(nn.Linear(4, 3), nn.Dropout(0.5)).train()
    clf = from_module(module, classes=NAMES)
    before = clf.decision_function(IRIS)
    assert module.training
    nn.init.zeros_(module[0].weight)
    np.testing.assert_array_equal(clf.decision_function(IRIS), before)


BAD = {
    "no module": (lambda m: from_module("net"), TypeError, "torch.nn.Module"),
    "no classes": (lambda m: from_module(m, nn.CrossEntropyLoss), ValueError, "classes="),
    "one class": (lambda m: from_module(m, classes=["a"]), ValueError, "two different labels"),
    "twice": (lambda m: from_module(m, classes=[1, 1, 2]), ValueError, "two different labels"),
    "too few classes": (
        lambda m: from_module(m, classes=[0, 1]).predict(IRIS),
        OutputWidthError,
        "`classes` has 2 labels, the module 3 outputs",
    ),
    "width of X": (
        lambda m: from_module(m, classes=NAMES).predict(IRIS[:, :3]),
        UnsupportedNetworkError,
        r"cannot be run on X of shape \(2, 3\): .*rows as the module reads them",
    ),
    "labels without classes, a probe": (
        lambda m: AblationProbe(from_module(m)).fit(IRIS, NAMES[SPECIES]),
        ValueError,
        r"holds 'setosa'.*say so: from_module\(module, classes=",
    ),
    "labels without classes, checked": (
        lambda m: check_network(from_module(m), IRIS, NAMES[SPECIES]),
        ValueError,
        r"say so: from_module\(module, classes=",
    ),
    "numbers and labels": (
        lambda m: from_module(m, nn.MSELoss(), NAMES),
        ValueError,
        "MSELoss compares outputs with numbers.*Leave classes out",
    ),
    "one output": (
        lambda m: from_module(nn.Linear(4, 1), classes=[0, 1, 2]).predict(IRIS),
        OutputWidthError,
        "`classes` has 3 labels, the module 1 outputs",
    ),
    "probabilities": (
        lambda m: from_module(nn.Sequential(m, nn.Softmax(1)), nn.NLLLoss, NAMES).predict(IRIS),
        UnsupportedNetworkError,
        "log_softmax",
    ),
    "nan": (lambda m: from_module(m, classes=NAMES).predict(IRIS * np.nan), ValueError, "NaN"),
    "unknown label": (
        lambda m: from_module(m, classes=NAMES).trained_network().to_target(np.array(["rose"])),
        ValueError,
        "rose",
    ),
    "a gpu that is not there": (
        lambda m: from_module(m, classes=NAMES, device="cuda:7"),
        ValueError,
        "GPU",
    ),
}


@pytest.mark.parametrize(("call", "error", "message"), BAD.values(), ids=BAD)
def test_bad_input(call, error, message, module):
    with pytest.raises(error, match=message):
        call(module)
    assert issubclass(error, (ValueError, TypeError))
    assert not issubclass(error, NotFittedError)
