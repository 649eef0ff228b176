"""A search in single precision chooses what one in double precision chooses."""

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_wine
from sklearn.preprocessing import StandardScaler

from sklflat import SAMClassifierCV


@pytest.mark.slow
def test_the_choice_is_the_same_in_nineteen_of_twenty_runs():
    same = []
    for seed in range(20):
        X, y = (load_wine, load_breast_cancer)[seed % 2](return_X_y=True)
        rng = np.random.default_rng(seed)
        rows = rng.permutation(len(y))[:150]
        X, y = StandardScaler().fit_transform(X[rows]), y[rows]
        if seed % 4 > 1:
            y[:30] = (y[:30] + 1) % (y.max() + 1)
        settings = {"max_iter": 25, "learning_rate_init": 0.005, "cv": 2, "random_state": seed}
        clf = SAMClassifierCV((16,), **settings, rhos=(0, 0.2, 1), alphas=(1e-4, 1))
        single, double = (
            clf.set_params(search_dtype=dtype).fit(X, y) and (clf.rho_, clf.alpha_)
            for dtype in ("float32", None)
        )
        same.append(single == double)
    assert sum(same) >= 19
