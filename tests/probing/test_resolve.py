"""Any accepted estimator gives its network; anything else says what is accepted."""

import numpy as np
import pytest
import torch
from sklearn.compose import TransformedTargetRegressor
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from skorch import NeuralNet, NeuralNetRegressor
from torch import nn

from sklflat import SAMClassifier, SAMRegressor, from_module
from sklflat.exceptions import RefitWarning, UnsupportedNetworkError
from sklflat.probing.resolve import is_frozen, preprocessing, resolve, unfitted
from tests._estimators import IRIS, MOONS, SIDE, SPECIES, Net, skorch_net

LABELS = ["setosa", "versicolor", "virginica"]
NAMES = np.array(LABELS)[SPECIES]


def iris_net():
    return skorch_net(module__n_inputs=4, module__n_classes=3).fit(IRIS.astype("f4"), SPECIES)


def search(estimator, name):
    return GridSearchCV(estimator, {name: [0.0, 0.05]}, cv=2)


FITTED = {
    "facade": lambda: small().fit(IRIS, NAMES),
    "binary": lambda: small().fit(MOONS, SIDE),
    "own skorch net": lambda: small(net=skorch_net()).fit(MOONS, SIDE),
    "pipeline": lambda: make_pipeline(MinMaxScaler(), StandardScaler(), small()).fit(IRIS, NAMES),
    "search": lambda: search(small(), "rho").fit(IRIS, NAMES),
    "pipeline of a search": lambda: make_pipeline(StandardScaler(), search(small(), "rho")).fit(
        IRIS, NAMES
    ),
    "search of a pipeline": lambda: search(
        make_pipeline(StandardScaler(), small()), "samclassifier__rho"
    ).fit(IRIS, NAMES),
    "frozen": lambda: FrozenEstimator(make_pipeline(StandardScaler(), small()).fit(IRIS, NAMES)),
    "skorch": iris_net,
    "module": lambda: from_module(
        iris_net().module_, classes=["setosa", "versicolor", "virginica"]
    ),
}


def small(**parameters):
    own = {"hidden_layer_sizes": (8,), "solver": "sgd", "learning_rate_init": 0.05, "max_iter": 20}
    return SAMClassifier(**({} if "net" in parameters else own), random_state=0, **parameters)


@pytest.mark.parametrize("make", FITTED.values(), ids=FITTED)
def test_the_network_says_what_the_estimator_says(make):
    estimator = make()
    X = MOONS if resolve(estimator).classes.tolist() == [0, 1] else IRIS
    X = X.astype("float32")
    trained = resolve(estimator)
    z = trained.network.outputs(trained.to_input(X)).numpy()
    p = trained.targets.proba(trained.targets.decision(z, trained.loss))
    np.testing.assert_allclose(p, estimator.predict_proba(X), rtol=1e-5, atol=1e-6)
    y = estimator.predict(X)
    loss = trained.network.losses(trained.to_input(X), trained.to_target(y)).numpy()
    np.testing.assert_allclose(loss, -np.log(p.max(axis=1)), rtol=1e-5, atol=1e-7)
    before = preprocessing(estimator)
    if before is not None:
        inner = resolve(estimator).to_input(X)
        np.testing.assert_allclose(inner, before.transform(X), rtol=1e-6, atol=1e-7)


def test_regressors():
    reg = SAMRegressor((8,), max_iter=20, random_state=0).fit(IRIS[:, :3], IRIS[:, 3])
    trained = resolve(reg)
    assert trained.classes is None
    residuals = reg.predict(IRIS[:, :3]) - IRIS[:, 3]
    loss = trained.network.loss(trained.to_input(IRIS[:, :3]), trained.to_target(IRIS[:, 3]))
    assert float(loss) == pytest.approx(np.mean(residuals**2) / 2, rel=1e-9)

    net = NeuralNetRegressor(Net, module__n_classes=1, train_split=None, verbose=0, max_epochs=2)
    net.fit(MOONS.astype("f4"), SIDE[:, None].astype("f4"))
    trained = resolve(net)
    loss = trained.network.loss(trained.to_input(MOONS), trained.to_target(SIDE))
    expected = np.mean((net.predict(MOONS.astype("f4"))[:, 0] - SIDE) ** 2)
    assert float(loss) == pytest.approx(expected, rel=1e-5)


def test_what_is_frozen_and_what_is_fitted_anew():
    clf = small().fit(IRIS, NAMES)
    assert is_frozen(FrozenEstimator(clf))
    assert is_frozen(from_module(clf.module_, classes=clf.classes_))
    assert not is_frozen(clf)
    with pytest.warns(RefitWarning, match="FrozenEstimator"):
        fresh = unfitted(clf)
    assert not hasattr(fresh, "net_")
    assert isinstance(unfitted(None), SAMClassifier)
    facade = unfitted(skorch_net())
    assert isinstance(facade, SAMClassifier)
    assert facade.rho == 0


@pytest.mark.parametrize(
    ("estimator", "error", "message"),
    [
        (LogisticRegression(), TypeError, "no network in estimator=LogisticRegression"),
        (make_pipeline(StandardScaler()), TypeError, "StandardScaler"),
        (TransformedTargetRegressor(SAMClassifier()), TypeError, "Give the regressor inside it"),
        (nn.Linear(2, 2), TypeError, "from_module"),
        ("net", TypeError, "from_module"),
        (SAMClassifier, TypeError, "Accepted are"),
        (NeuralNet(Net, criterion=nn.MSELoss), TypeError, "NeuralNetClassifier"),
    ],
)
def test_what_is_not_a_network(estimator, error, message):
    with pytest.raises(error, match=message):
        unfitted(estimator)


def test_unfitted_and_trimmed_networks():
    with pytest.raises(NotFittedError):
        resolve(FrozenEstimator(SAMClassifier()))
    with pytest.raises(NotFittedError):
        resolve(FrozenEstimator(skorch_net()))
    with pytest.raises(NotFittedError):
        resolve(GridSearchCV(SAMClassifier(), {"rho": [0]}))
    net = iris_net()
    net.trim_for_prediction()
    with pytest.raises(UnsupportedNetworkError, match="trim"):
        resolve(net)
    no_refit = GridSearchCV(small(), {"rho": [0.0]}, cv=2, refit=False).fit(IRIS, NAMES)
    with pytest.raises(UnsupportedNetworkError, match="refit"):
        resolve(no_refit)
    with pytest.raises(TypeError, match="no network"):
        resolve(LogisticRegression())
    with pytest.raises(UnsupportedNetworkError, match="cannot be run on X of shape"):
        resolve(FrozenEstimator(iris_net())).to_input(np.zeros((3, 9)))
    assert torch.is_tensor(resolve(iris_net()).to_input(IRIS))
