"""With ``rho=0`` the default solver trains MLPClassifier's network, also on raw columns."""

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.preprocessing import StandardScaler
from skorch.callbacks import GradientNormClipping

from sklflat import SAMClassifier, SAMRegressor

pytestmark = pytest.mark.filterwarnings(
    "ignore::sklearn.exceptions.ConvergenceWarning",
    "ignore::sklflat.exceptions.PerturbationWarning",
)


def both(theirs, ours, X, y, **given):
    own = {"hidden_layer_sizes": (20,), "random_state": 0, "tol": 0, "n_iter_no_change": 10**6}
    own |= given
    own.pop("callbacks", None)
    return theirs(**own).fit(X, y), ours(rho=0, **(own | given)).fit(X, y)


@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_200_epochs_to_12_digits(solver):
    X, y = load_breast_cancer(return_X_y=True)
    own = {"solver": solver, "max_iter": 200}
    a, b = both(MLPClassifier, SAMClassifier, StandardScaler().fit_transform(X), y, **own)
    np.testing.assert_allclose(b.loss_curve_, a.loss_curve_, rtol=1e-12)
    for W, V in zip(b.coefs_, a.coefs_, strict=True):
        np.testing.assert_allclose(W, V, rtol=1e-9, atol=1e-12)
    X, y = load_diabetes(return_X_y=True)
    a, b = both(MLPRegressor, SAMRegressor, X, y / 100, **own | {"max_iter": 50})
    np.testing.assert_allclose(b.loss_curve_, a.loss_curve_, rtol=1e-12)


@pytest.mark.parametrize("callbacks", [(), [GradientNormClipping(None)]], ids=["vector", "skorch"])
def test_raw_columns_and_a_large_stabiliser(callbacks):
    """Gradients of units that hardly fire are as small as epsilon."""
    X, y = load_breast_cancer(return_X_y=True)
    for own in ({}, {"epsilon": 1e-3}):
        own |= {"max_iter": 5, "callbacks": callbacks}
        a, b = both(MLPClassifier, SAMClassifier, X, y, **own)
        # its loss is none of that at first: scikit-learn clips probabilities before the logarithm
        for W, V in zip(b.coefs_, a.coefs_, strict=True):
            np.testing.assert_allclose(W, V, rtol=1e-9, atol=1e-12)
