"""Searches whose candidates and folds are trained as one network."""

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from numbers import Integral
from typing import Any

import numpy as np
from sklearn import get_config
from sklearn.base import clone, is_classifier
from sklearn.metrics import check_scoring
from sklearn.model_selection import GridSearchCV, ParameterGrid, ParameterSampler, check_cv
from sklearn.utils.metadata_routing import process_routing

from sklflat._compat import EstimatorMixin, Interval, StrOptions, fit_context
from sklflat.training.stacking.planned_fits import PlannedFit, Planner
from sklflat.training.stacking.trainer import train


class StackedSearchCV(EstimatorMixin, GridSearchCV):
    """Grid or random search that trains candidates and folds at once.

    Takes the place of :class:`sklearn.model_selection.GridSearchCV` (and, with ``n_iter``, of
    ``RandomizedSearchCV``): same ``cv_results_``, same best parameters. Candidates and folds of
    a :class:`SAMClassifier` or :class:`SAMRegressor`, alone or last in a ``Pipeline``, that
    differ in numbers only (``rho``, ``alpha``, ``learning_rate_init``, ``random_state``,
    ``training_temperature``, ...) are trained as one stacked network; the others are fitted by
    joblib, as scikit-learn does. Candidates that differ only in what is done after training, as
    the ``temperature`` of a :class:`TemperatureClassifier`, share one training a fold. Splitting,
    scoring and ranking are scikit-learn's own.

    Parameters
    ----------
    estimator : estimator
        Any; what cannot be stacked is fitted as usual.
    param_grid : dict or list of dict
        As in ``GridSearchCV``; with ``n_iter`` it may hold distributions, as
        ``param_distributions`` of ``RandomizedSearchCV``.
    n_iter : int, default=None
        Candidates to draw at random; None tries all.
    scoring, n_jobs, refit, cv, verbose, pre_dispatch, error_score, return_train_score
        As in ``GridSearchCV``; of several workers each stacks its part. ``verbose=1`` says
        at the end why fits were not stacked, ``verbose=2`` when it is found.
    cache_dir : path, default=None
        A directory in which trainings are kept, so that no fit is repeated and a search that was
        cut off goes on. Fits with callbacks or without a ``random_state`` are not kept.
    stack : bool or "force", default=True
        False fits each alone; with ``"force"`` a fit that cannot be stacked raises. Networks of
        more than 50,000 parameters are stacked on a GPU, or by ``"force"``.
    random_state : int, RandomState instance or None, default=None
        Of the candidates, with ``n_iter``.

    Attributes
    ----------
    cv_results_ : dict
        As in ``GridSearchCV``. The time of a stacked fit is its share of the stack's.
    best_estimator_, best_params_, best_score_, best_index_, scorer_, n_splits_, refit_time_
        As in ``GridSearchCV``.
    n_stacked_ : int
        How many trainings were in a stack; one that several candidates share is one.
    not_stacked_ : dict of str to int
        Why others were not, and how many; ``verbose=1`` prints it.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklflat import SAMClassifier, StackedSearchCV
    >>> X, y = load_iris(return_X_y=True)
    >>> clf = SAMClassifier((8,), max_iter=20, n_iter_no_change=20, tol=-1e9, random_state=0)
    >>> search = StackedSearchCV(clf, {"rho": [0.01, 0.05, 0.1]}, cv=3).fit(X, y)
    >>> len(search.cv_results_["params"]), search.n_stacked_
    (3, 9)
    """

    _parameter_constraints = {
        **GridSearchCV._parameter_constraints,
        "n_iter": [Interval(Integral, 1, None, closed="left"), None],
        "cache_dir": [str, os.PathLike, None],
        "stack": ["boolean", StrOptions({"force"})],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        estimator: Any,
        param_grid: Any,
        *,
        n_iter: int | None = None,
        scoring: Any = None,
        n_jobs: int | None = None,
        refit: Any = True,
        cv: Any = None,
        verbose: int = 0,
        pre_dispatch: Any = "2*n_jobs",
        error_score: Any = np.nan,
        return_train_score: bool = False,
        cache_dir: Any = None,
        stack: bool | str = True,
        random_state: Any = None,
    ) -> None:
        super().__init__(
            estimator,
            param_grid,
            scoring=scoring,
            n_jobs=n_jobs,
            refit=refit,
            cv=cv,
            verbose=verbose,
            pre_dispatch=pre_dispatch,
            error_score=error_score,
            return_train_score=return_train_score,
        )
        self.n_iter = n_iter
        self.cache_dir = cache_dir
        self.stack = stack
        self.random_state = random_state

    @fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: Any, y: Any = None, **params: Any) -> "StackedSearchCV":
        """Search.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_outputs), default=None
        **params : dict
            As in ``GridSearchCV``, for example ``sample_weight`` or ``groups``.

        Returns
        -------
        self : StackedSearchCV
        """
        splitter = check_cv(self.cv, y, classifier=is_classifier(self.estimator))
        splits = list(splitter.split(X, y, **self._split_params(params)))
        candidates = list(self._candidates())
        # first pass: scikit-learn splits data and sets parameters for each fit, which is recorded
        recorded = _RecordFits(len(splits))
        settings = {"cv": splits, "error_score": "raise", "refit": False, "scoring": _no_score}
        first = _Search(_DeferredEstimator(self.estimator, recorded), candidates, **settings)
        first.fit(X, y, **first.wanted(params))
        own = ("stack", "n_jobs", "cache_dir", "verbose")
        results = _TrainedFits(recorded.fits, {name: getattr(self, name) for name in own})
        # second pass: where scikit-learn would fit, it gets what has been trained
        given = ("scoring", "refit", "verbose", "error_score", "return_train_score")
        settings = {"cv": splits, **{name: getattr(self, name) for name in given}}
        search = _Search(_DeferredEstimator(self.estimator, results), candidates, **settings)
        search.fit(X, y, **search.wanted(params))
        self._take_over(search, results)
        return self

    def _split_params(self, params: dict[str, Any]) -> dict[str, Any]:
        """What the splitter gets of the parameters of fit."""
        if get_config()["enable_metadata_routing"]:
            return process_routing(self, "fit", **params).splitter.split
        return {"groups": params.get("groups")}

    def _candidates(self) -> Iterable[dict[str, Any]]:
        if self.n_iter is None:
            return ParameterGrid(self.param_grid)
        return ParameterSampler(self.param_grid, self.n_iter, random_state=self.random_state)

    def _take_over(self, search: Any, results: "_TrainedFits") -> None:
        for name, value in vars(search).items():
            if name.endswith("_") and not name.startswith("_"):
                setattr(self, name, value)
        if "best_estimator_" in vars(self):
            self.best_estimator_ = search.best_estimator_.fitted
        if self.scoring is None:  # the search's would keep every fold and network alive
            self.scorer_ = check_scoring(self.estimator)
        seconds = np.reshape(results.seconds, (-1, self.n_splits_))
        self.cv_results_["mean_fit_time"] = seconds.mean(axis=1)
        self.cv_results_["std_fit_time"] = seconds.std(axis=1)
        self.n_stacked_ = results.n_stacked
        self.not_stacked_ = dict(results.not_stacked)
        if self.verbose and self.stack and self.not_stacked_:
            reasons = "; ".join(f"{n} as {why}" for why, n in self.not_stacked_.items())
            print(f"{type(self).__name__}: not stacked were {reasons}.")


def _no_score(estimator: Any, X: Any, y: Any = None, sample_weight: Any = None) -> float:
    return 0.0


class _Search(GridSearchCV):
    """A search over given candidates."""

    def __init__(self, estimator: Any, candidates: Any, **settings: Any) -> None:
        super().__init__(estimator, {}, **settings)
        self.candidates = candidates

    def _run_search(self, evaluate_candidates: Any) -> None:
        evaluate_candidates(self.candidates)

    def wanted(self, params: dict[str, Any]) -> dict[str, Any]:
        """Of the parameters of fit those that somebody here wants; the splits are made already."""
        if not get_config()["enable_metadata_routing"]:
            return params
        consumed = self.get_metadata_routing().consumes("fit", params.keys())
        return {name: value for name, value in params.items() if name in consumed}


class _DeferredEstimator:
    """An estimator whose ``fit`` is done by an executor, in the order in which it is called."""

    def __init__(self, estimator: Any, executor: Any) -> None:
        self.estimator = estimator
        self.executor = executor
        self.fitted: Any = None

    def __sklearn_clone__(self) -> "_DeferredEstimator":
        return _DeferredEstimator(clone(self.estimator), self.executor)

    def __sklearn_tags__(self) -> Any:
        return self.estimator.__sklearn_tags__()

    def __getattr__(self, name: str) -> Any:
        own = vars(self)
        if "estimator" not in own:
            raise AttributeError(name)
        return getattr(own["estimator"] if own["fitted"] is None else own["fitted"], name)

    def set_params(self, **params: Any) -> "_DeferredEstimator":
        self.estimator.set_params(**params)
        return self

    def fit(self, X: Any, y: Any = None, **fit_params: Any) -> "_DeferredEstimator":
        self.fitted = self.executor.fit(self.estimator, X, y, fit_params)
        return self


class _RecordFits:
    """Executor that records the fits that are asked for; folds share their data."""

    def __init__(self, n_splits: int) -> None:
        self.n_splits = n_splits
        self.fits: list[dict[str, Any]] = []

    def fit(self, estimator: Any, X: Any, y: Any, fit_params: dict[str, Any]) -> Any:
        fold = len(self.fits) % self.n_splits
        if len(self.fits) >= self.n_splits:
            first = self.fits[fold]
            X, y = first["X"], first["y"]
        given = {"estimator": estimator, "X": X, "y": y, "fit_params": fit_params, "fold": fold}
        self.fits.append(given)
        return estimator


class _TrainedFits:
    """Executor that trains all recorded fits at once and returns them in order; others it fits."""

    def __init__(self, fits: Sequence[dict[str, Any]], settings: dict[str, Any]) -> None:
        self.estimators = [fit["estimator"] for fit in fits]
        self.settings = settings
        self.errors: dict[int, Exception] = {}
        self.planned: dict[int, PlannedFit] = {}
        planner = Planner()
        for i, fit in enumerate(fits):
            try:
                self.planned[i] = planner.plan(**fit)
            except Exception as error:
                self.errors[i] = error
        trainings = planner.trainings
        for _ in train(trainings, **settings):
            pass
        self.n_stacked = sum(t.why_alone is None for t in trainings)
        self.not_stacked = Counter(t.why_alone for t in trainings if t.why_alone is not None)
        self._next = 0

    @property
    def seconds(self) -> list[float]:
        """Of each fit, in order."""
        n = len(self.estimators)
        return [self.planned[i].seconds if i in self.planned else 0.0 for i in range(n)]

    def fit(self, estimator: Any, X: Any, y: Any, fit_params: dict[str, Any]) -> Any:
        i, self._next = self._next, self._next + 1
        if i >= len(self.estimators):  # the refit, which is kept as well
            planner = Planner()
            planned = planner.plan(estimator, X, y, fit_params, fold=-1)
            for _ in train(planner.trainings, **self.settings):
                pass
            planned.finish()
            return estimator
        if i in self.errors:
            raise self.errors[i]
        self.planned[i].finish()
        return self.estimators[i]
