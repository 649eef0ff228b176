"""Trees of scikit-learn's kind, improved by alternation."""

from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import issparse
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor
from sklearn.utils import check_random_state, column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import validate_data

from sklflat._compat import EstimatorMixin, Interval, check_sample_weight
from sklflat.surrogate.trees.bins import Bins
from sklflat.surrogate.trees.losses import Taught
from sklflat.surrogate.trees.search import search
from sklflat.surrogate.trees.written import written

#: a deeper tree is nothing to read, and there are few rows in its leaves
_DEEPEST = 10


class _Alternating(EstimatorMixin):
    """What classifier and regressor share: parameters, and the search after greedy growth."""

    _parameter_constraints: dict[str, Any] = {
        "max_depth": [Interval(Integral, 1, _DEEPEST, closed="both")],
        "n_restarts": [Interval(Integral, 0, None, closed="left")],
        "random_state": ["random_state"],
    }
    # what scikit-learn's trees read of themselves, and nothing here changes
    splitter = "best"
    min_samples_split = 2
    min_samples_leaf = 1
    min_weight_fraction_leaf = 0.0
    min_impurity_decrease = 0.0
    max_features = max_leaf_nodes = class_weight = monotonic_cst = None
    ccp_alpha = 0.0
    criterion: str
    tree_: Any

    def __init__(
        self, max_depth: int = 4, *, n_restarts: int = 0, random_state: Any = None
    ) -> None:
        self.max_depth = max_depth
        self.n_restarts = n_restarts
        self.random_state = random_state

    def _search(self, X: NDArray, y: NDArray, values: NDArray, sample_weight: Any) -> None:
        """Find the best tree, and put it in the place of one that scikit-learn has grown.

        That one is of a few rows, one of each class among them: it brings all that an estimator
        of scikit-learn's has, and takes no time.

        Parameters
        ----------
        X : ndarray of shape (n_samples, n_features), float32
        y : ndarray
            Targets as they were given.
        values : ndarray of shape (n_samples, n_outputs)
            Shares of the classes, or targets.
        sample_weight : array-like of shape (n_samples,) or None
        """
        rng = check_random_state(self.random_state)
        weight = check_sample_weight(sample_weight, X, dtype=np.float64)
        by_log = self.criterion == "entropy"
        # three of each, or scikit-learn takes the classes of more than 20 rows for numbers
        few = np.repeat(np.unique(values.argmax(axis=0)), 3) if by_log else np.arange(1)
        super().fit(np.nan_to_num(X[few]), y[few], check_input=False)  # type: ignore[misc]
        shown = weight > 0
        rows = _Rows.merged(X[shown], values[shown], weight[shown])
        # as many rows as they stand for; weights that are smaller than that are relative ones
        w = rows.weight * max(1.0, len(rows.weight) / rows.weight.sum())
        mean, scale = np.zeros(rows.values.shape[1]), 1.0
        if not by_log:
            mean = np.average(rows.values, axis=0, weights=w)
            scale = float(np.sqrt(w @ np.square(rows.values - mean) / w.sum()).max()) or 1.0
        bins = Bins.of(rows.X)
        taught = Taught((rows.values - mean) / scale, w, by_log)
        tree = search(bins, taught, self.max_depth, self.n_restarts, rng)
        said = Taught(rows.values, w, by_log)
        self.tree_ = written(self.tree_, tree, bins, said, rows.counts, rows.weight)


class _Rows:
    """Rows, those that are the same as the one before merged with it.

    A classifier is taught probabilities by one row a class, weighted by it: they are one row here.
    """

    def __init__(self, X: NDArray, values: NDArray, weight: NDArray, counts: NDArray) -> None:
        self.X, self.values, self.weight, self.counts = X, values, weight, counts

    @classmethod
    def merged(cls, X: NDArray, values: NDArray, weight: NDArray) -> "_Rows":
        same = ((X[1:] == X[:-1]) | (np.isnan(X[1:]) & np.isnan(X[:-1]))).all(axis=1)
        first = np.concatenate([[0], 1 + np.flatnonzero(~same)])
        w = np.add.reduceat(weight, first)
        mean = np.add.reduceat(values * weight[:, None], first) / w[:, None]
        counts = np.diff(np.append(first, len(X)))
        return cls(X[first], mean, w, counts)


class AlternatingTreeClassifier(_Alternating, DecisionTreeClassifier):
    """A decision tree by entropy whose splits are improved together, not one after the other.

    Greedy growth chooses a split by what it gains at once. A second start comes from comparing
    all trees of depth 3 over some coarse questions, which finds splits that gain nothing alone, as
    in exclusive or. Both, and `n_restarts` random trees, are improved by alternating optimisation
    [1]_, and the one with the least cross-entropy on the rows is kept. It is written as
    scikit-learn's own tree, so ``export_text``, ``plot_tree`` and all others read it.

    Parameters
    ----------
    max_depth : int, default=4
        From 1 to 10. Up to 5 the search for the second start tries all its questions as the root.
    n_restarts : int, default=0
        Random trees to start from, beside the two.
    random_state : int, RandomState instance or None, default=None

    Attributes
    ----------
    tree_ : sklearn.tree._tree.Tree
    classes_, n_features_in_, feature_names_in_, feature_importances_
        As of ``DecisionTreeClassifier``.

    References
    ----------
    .. [1] M. Carreira-Perpiñán, P. Tavallali, "Alternating optimization of decision trees, with
       application to learning sparse oblique trees", NeurIPS 2018.

    Examples
    --------
    Exclusive or of two inputs among five, which no single split helps with:

    >>> import numpy as np
    >>> from sklearn.tree import DecisionTreeClassifier
    >>> from sklflat.surrogate import AlternatingTreeClassifier
    >>> X = np.random.RandomState(0).uniform(-1, 1, size=(1000, 5))
    >>> y = (X[:, 1] > 0) != (X[:, 3] > 0)
    >>> tree = AlternatingTreeClassifier(max_depth=2, random_state=0).fit(X, y)
    >>> tree.score(X, y) > 0.97, DecisionTreeClassifier(max_depth=2).fit(X, y).score(X, y) < 0.8
    (True, True)
    """

    criterion = "entropy"

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> "AlternatingTreeClassifier":
        """Find a tree.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,)
        sample_weight : array-like of shape (n_samples,), default=None

        Returns
        -------
        self
        """
        self._validate_params()
        X, y = _checked(self, X, column_or_1d(y, warn=True))
        check_classification_targets(y)
        shares = y[:, None] == np.unique(y)
        self._search(X, y, shares.astype(float), sample_weight)
        return self

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = False
        tags.classifier_tags.multi_label = False
        return tags


class AlternatingTreeRegressor(_Alternating, DecisionTreeRegressor):
    """A regression tree whose splits are improved together, not one after the other.

    As :class:`AlternatingTreeClassifier`, by squared error; of several outputs by its sum.

    Parameters
    ----------
    max_depth : int, default=4
        From 1 to 10. Up to 5 the search for the second start tries all its questions as the root.
    n_restarts : int, default=0
        Random trees to start from, beside the two.
    random_state : int, RandomState instance or None, default=None

    Attributes
    ----------
    tree_ : sklearn.tree._tree.Tree
    n_features_in_, feature_names_in_, feature_importances_
        As of ``DecisionTreeRegressor``.

    Examples
    --------
    >>> import numpy as np
    >>> from sklflat.surrogate import AlternatingTreeRegressor
    >>> X = np.random.RandomState(0).uniform(-1, 1, size=(1000, 5))
    >>> y = np.sign(X[:, 1]) * np.sign(X[:, 3])
    >>> AlternatingTreeRegressor(max_depth=2, random_state=0).fit(X, y).score(X, y) > 0.95
    True
    """

    criterion = "squared_error"

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> "AlternatingTreeRegressor":
        """Find a tree.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        sample_weight : array-like of shape (n_samples,), default=None

        Returns
        -------
        self
        """
        self._validate_params()
        X, y = _checked(self, X, y, multi_output=True, y_numeric=True)
        y = y.astype(float)
        self._search(X, y, y.reshape(len(y), -1), sample_weight)
        return self


def _checked(tree: Any, X: Any, y: Any, **of_y: bool) -> tuple[NDArray[np.float32], NDArray]:
    """Rows as scikit-learn's trees read them, and targets."""
    X, y = validate_data(
        tree, X, y, dtype=np.float32, accept_sparse="csr", ensure_all_finite="allow-nan", **of_y
    )
    return np.ascontiguousarray(X.toarray() if issparse(X) else X), np.asarray(y)
