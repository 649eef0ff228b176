"""Pruning paths of rows that depend on each other: groups are judged together, as one."""

import numpy as np
import pytest
from sklearn.frozen import FrozenEstimator

from sklflat import PruningPath, SAMClassifier, SAMRegressor
from sklflat.exceptions import NothingFoundWarning

rng = np.random.RandomState(0)
X = rng.randn(300, 5)
y = (X[:, 0] + X[:, 1] > 0).astype(int)
target = X[:, 0] - X[:, 1] + 0.3 * rng.randn(300)
pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::sklflat.exceptions.NothingFoundWarning"),
    pytest.mark.filterwarnings("ignore::sklflat.exceptions.DependentRowsWarning"),
]


def regressor():
    net = SAMRegressor((8,), max_iter=40, learning_rate_init=0.02, random_state=0)
    return FrozenEstimator(net.fit(X[:100], target[:100]))


def test_copies_of_rows_in_groups_count_once():
    frozen = regressor()
    rows = np.repeat(np.arange(100, 300), 3)
    one = PruningPath(frozen, n_units=3, random_state=0).fit(X[100:], target[100:])
    own = np.arange(200)
    alone = PruningPath(frozen, n_units=3, random_state=0).fit(X[100:], target[100:], groups=own)
    path = PruningPath(frozen, n_units=3, random_state=0).fit(X[rows], target[rows], groups=rows)
    assert path.path_.n_groups == alone.path_.n_groups == 50
    assert path.path_.n_judged == 150
    copies = PruningPath(frozen, n_units=3, random_state=0).fit(X[rows], target[rows])
    # the same rows are judged with groups, as each is a group of its own
    width = [p.path_.path.high[3] - p.path_.path.low[3] for p in (alone, path, copies)]
    assert 0.5 < width[1] / width[0] < 2
    assert width[2] < width[1]
    assert one.path_.n_groups is None


def test_networks_are_trained_without_groups_and_few_groups_decide_nothing():
    net = SAMClassifier((8,), max_iter=20, learning_rate_init=0.02, random_state=0)
    groups = np.arange(300) // 5
    path = PruningPath(net, random_state=0, tol=0.3).fit(X, y, groups=groups)
    assert path.path_.n_groups == 15
    assert path.support_.all()
    with pytest.warns(NothingFoundWarning, match="15 groups of judged rows are too few"):
        PruningPath(net, random_state=0, tol=0.3).fit(X, y, groups=groups)
    more = PruningPath(net, random_state=0, holdout=0.5, tol=0.3).fit(X, y, groups=groups)
    assert more.path_.n_groups == 30
    assert not more.support_.all()


def test_groups_that_all_stay_right_do_not_prove_that_none_would_change():
    net = SAMClassifier((8,), max_iter=20, learning_rate_init=0.02, random_state=0)
    path = PruningPath(net, random_state=0, holdout=0.5).fit(X, y, groups=np.arange(300) // 5)
    n = path.path_.n_groups
    assert (path.path_.path.high >= 1.96**2 / (n + 1.96**2) - 1e-3).all()
