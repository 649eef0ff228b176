"""Perturbations that destroy what the network knows are said, with the columns at fault."""

import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklflat import SAMClassifier, SAMRegressor
from sklflat.exceptions import PerturbationWarning

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
WINE = load_wine(return_X_y=True, as_frame=True)


def test_raw_wine_names_proline():
    with pytest.warns(PerturbationWarning, match=r"far larger for 'proline' \(8\d\d\).*Standard"):
        SAMClassifier(max_iter=30, random_state=0).fit(*WINE)
    with pytest.warns(PerturbationWarning, match=r"far larger for 12 \(8\d\d\)"):
        SAMClassifier(max_iter=30, random_state=0).fit(WINE[0].to_numpy(), WINE[1])


@pytest.mark.parametrize("variant", ["gsam", "looksam", "friendly"])
def test_other_variants(variant):
    with pytest.warns(PerturbationWarning, match="proline"):
        SAMClassifier(max_iter=30, random_state=0, variant=variant, rho=0.05).fit(*WINE)


def test_one_column_in_other_units_and_all_of_them():
    X, y = load_iris(return_X_y=True)
    X = StandardScaler().fit_transform(X)
    own = X.copy()
    own[:, 2] *= 1e4
    frame = pd.DataFrame(own, columns=list("abcd"))
    with pytest.warns(PerturbationWarning, match=r"for 'c' \(1e\+04\)"):
        SAMClassifier(max_iter=30, random_state=0).fit(frame, y)
    with pytest.warns(PerturbationWarning, match=r"about 1e\+04"):
        SAMClassifier(max_iter=30, random_state=0).fit(X * 1e4, y)


def test_a_regressor():
    X, y = WINE[0].to_numpy(), StandardScaler().fit_transform(WINE[0][["alcohol"]])[:, 0]
    with pytest.warns(PerturbationWarning):
        SAMRegressor(max_iter=30, random_state=0).fit(X, y)


@pytest.mark.parametrize("load", [load_wine, load_breast_cancer, load_iris, load_digits])
@pytest.mark.parametrize("rho", [0.05, 0.2])
def test_no_word_where_training_is_fine(load, rho):
    X, y = load(return_X_y=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error", PerturbationWarning)
        make_pipeline(StandardScaler(), SAMClassifier(max_iter=15, rho=rho, random_state=0)).fit(
            X, y
        )
        if load in (load_digits, load_iris):  # raw columns of like units are fine, too
            SAMClassifier(max_iter=15, rho=rho, random_state=0).fit(X, y)
        SAMClassifier(max_iter=15, rho=0, random_state=0).fit(X, y)


def test_one_epoch_on_scaled_data_and_labels_of_one_kind():
    X = np.random.RandomState(0).normal(size=(60, 3))
    with warnings.catch_warnings():
        warnings.simplefilter("error", PerturbationWarning)
        SAMClassifier(max_iter=1, random_state=0).fit(X, X[:, 0] > 0)
        SAMClassifier(max_iter=1, random_state=0).fit(X, (X[:, :2] > 0).astype(int))
        SAMRegressor(max_iter=1, random_state=0, loss="poisson").fit(X, np.exp(X[:, 0]))
