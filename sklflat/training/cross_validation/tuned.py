"""What the estimators that choose their radius share: the search, and its best network."""

from dataclasses import dataclass
from numbers import Integral
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn import get_config
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    clone,
    is_classifier,
)
from sklearn.metrics import check_scoring, get_scorer_names
from sklearn.utils import Tags, check_random_state, get_tags
from sklearn.utils.metadata_routing import (
    MetadataRouter,
    MethodMapping,
    process_routing,
)
from sklearn.utils.validation import check_is_fitted
from skorch import NeuralNet
from torch import nn

from sklflat._compat import (
    EstimatorMixin,
    StrOptions,
    check_sample_weight,
    fit_context,
    scorer_params,
)
from sklflat.exceptions import DuplicateParameterError
from sklflat.training.cross_validation.checks import (
    check_rows_of_classes,
    check_scored,
    grid,
    scores_of_folds,
    warn_of_no_gain,
)
from sklflat.training.cross_validation.final_network import train_final
from sklflat.training.estimators.parameters import Constraints, SharedParameters, make_perturbation
from sklflat.training.estimators.targets import as_values
from sklflat.training.perturbations import Perturbation
from sklflat.training.stacking.search import StackedSearchCV

_RHOS = (0.0, 0.1, 0.2, 0.5, 1.0)
_ALPHAS = (1e-4, 1.0, 10.0)


@dataclass(kw_only=True, eq=False, repr=False)
class TunedEstimator(
    EstimatorMixin,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    BaseEstimator,
    SharedParameters,
):
    """Base of the estimators that choose ``rho`` and ``alpha`` by cross-validation.

    A subclass says which estimator it tunes (``_tuned``) and which of its parameters that has not
    (``_own``). Whatever else it is asked, its ``best_estimator_`` answers.
    """

    variant: str | Perturbation = "sam"
    rhos: ArrayLike = _RHOS
    alphas: ArrayLike = _ALPHAS
    cv: Any = 3
    scoring: Any = None
    n_jobs: int | None = None
    search_dtype: str | None = "float32"

    #: the class of the estimator that is tuned
    _tuned: ClassVar[type[BaseEstimator]]
    #: parameters that it has not
    _own: ClassVar[tuple[str, ...]] = (
        *("rhos", "alphas", "cv", "scoring", "n_jobs", "search_dtype"),
    )
    _parameter_constraints: ClassVar[Constraints] = {
        **SharedParameters._parameter_constraints,
        "variant": [str, Perturbation],
        "rhos": ["array-like"],
        "alphas": ["array-like"],
        "cv": ["cv_object"],
        "scoring": [StrOptions(set(get_scorer_names())), callable, None],
        "n_jobs": [Integral, None],
        "search_dtype": [StrOptions({"float32", "float64"}), None],
    }

    # --- fit ----------------------------------------------------------------------------------

    @fit_context(prefer_skip_nested_validation=True)
    def fit(
        self, X: ArrayLike, y: ArrayLike | None = None, sample_weight: Any = None, **params: Any
    ) -> Self:
        """Train all candidates on every fold, and the best of them on all rows.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        sample_weight : array-like of shape (n_samples,) or float, default=None
            Weights of rows in training and, as in ``GridSearchCV``, in scores.
        **params : dict
            ``groups`` for the splitter; with metadata routing enabled, what splitter and scorer
            have requested.

        Returns
        -------
        self
        """
        rhos, alphas = grid(self.rhos, "rhos"), self._alphas_to_try()
        if sample_weight is not None:
            params["sample_weight"] = sample_weight
        self._check_routed(params)
        estimator = self._estimator()
        make_perturbation(self.variant, rhos.max())
        data = clone(estimator)._validated(X, y, sample_weight, True, False, None)
        if sample_weight is not None:  # scorers want a number a row
            params["sample_weight"] = sample_weight = check_sample_weight(sample_weight, X)
        if is_classifier(self):
            check_rows_of_classes(data.y, self.cv)
        else:
            as_values(data.y)
        lists = {"rho": rhos.tolist()}
        if not np.isnan(alphas).any():
            lists["alpha"] = alphas.tolist()
        candidate = clone(estimator)
        if self.net is None and self.dtype is None and self.search_dtype is not None:
            candidate.set_params(dtype=self._search_dtype(data.X))
        settings = {"cv": self.cv, "scoring": self.scoring, "n_jobs": self.n_jobs}
        search = StackedSearchCV(candidate, lists, refit=False, verbose=self.verbose, **settings)
        self._search(search, X, y, params)
        folds = scores_of_folds(search)
        # the last parameter by name, rho, varies fastest
        scores = np.reshape(folds, (len(folds), len(alphas), len(rhos))).swapaxes(1, 2)
        check_scored(scores)
        self.rhos_, self.alphas_, self.scores_ = rhos, alphas, scores
        self.n_stacked_ = search.n_stacked_
        as_folds = scorer_params(search, params)
        best, self.best_estimator_ = train_final(
            search,
            np.array(folds),
            lambda chosen: (
                clone(estimator).set_params(**chosen).fit(X, y, sample_weight=sample_weight)
            ),
            lambda trained: search.scorer_(trained, X, y, **as_folds),
        )
        chosen = search.cv_results_["params"][best]
        self.rho_, self.alpha_ = chosen["rho"], chosen.get("alpha", np.nan)
        self.best_score_ = float(search.cv_results_["mean_test_score"][best])
        if not is_classifier(self) and self.scoring is None:
            warn_of_no_gain(self.best_score_, data.y)
        return self

    def _alphas_to_try(self) -> NDArray:
        """L2 penalties (n_alphas,); one NaN where a skorch net brings its own."""
        if not isinstance(self.net, NeuralNet):
            return grid(self.alphas, "alphas")
        if not np.array_equal(np.ravel(self.alphas), _ALPHAS):
            raise DuplicateParameterError(
                f"alphas={self.alphas!r} are set beside net=, but the skorch net brings its own "
                "weight decay. Leave alphas at its default."
            )
        return np.array([np.nan])

    def _estimator(self) -> Any:
        """The estimator to be tuned, with a seed that all candidates share."""
        values = self.get_params(deep=False)
        own = {name: value for name, value in values.items() if name not in self._own}
        if own["random_state"] is None:
            own["random_state"] = int(check_random_state(None).randint(np.iinfo(np.int32).max))
        estimator = clone(self._tuned(**own))
        return estimator.set_params(verbose=0)

    def _search_dtype(self, X: NDArray) -> str | None:
        """Precision of the candidates; X (n_samples, ...) may have values that single has not."""
        largest = np.finfo(np.float32).max
        return self.search_dtype if len(X) == 0 or np.abs(X).max() < largest else "float64"

    def _search(self, search: StackedSearchCV, X: Any, y: Any, params: dict[str, Any]) -> None:
        """Fit the search, which routes parameters to estimator, scorer and splitter."""
        if get_config()["enable_metadata_routing"] and "sample_weight" in params:
            search.estimator.set_fit_request(sample_weight=True)
            search.estimator.set_score_request(sample_weight=True)
        search.fit(X, y, **params)

    # --- what the chosen network answers ------------------------------------------------------

    def _best(self, asked_for: str) -> Any:
        if "best_estimator_" not in vars(self):
            raise AttributeError(
                f"{type(self).__name__} has no {asked_for} before fit; it is that of "
                "best_estimator_."
            )
        return self.best_estimator_

    def predict(self, X: ArrayLike) -> NDArray:
        """Predictions of the chosen network.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_outputs)
        """
        check_is_fitted(self)
        return self.best_estimator_.predict(X)

    def transform(self, X: ArrayLike) -> NDArray:
        """Activations of the last hidden layer of the chosen network.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)

        Returns
        -------
        activations : ndarray of shape (n_samples, n_units), float64
        """
        check_is_fitted(self)
        return self.best_estimator_.transform(X)

    def sharpness(self, X: ArrayLike, y: ArrayLike, rho: float = 0.05, *, steps: int = 1) -> float:
        """Rise of the loss on data within radius rho of the chosen network's weights.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        rho : float, default=0.05
        steps : int, default=1
            As in :meth:`sklflat.SAMClassifier.sharpness`.

        Returns
        -------
        rise : float
        """
        check_is_fitted(self)
        return self.best_estimator_.sharpness(X, y, rho, steps=steps)

    def score(self, X: ArrayLike, y: ArrayLike, sample_weight: Any = None, **params: Any) -> float:
        """Score by ``scoring``; without one, accuracy or R² as of the estimator that is tuned.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        sample_weight : array-like of shape (n_samples,), default=None
        **params : dict
            With metadata routing enabled, what the scorer has requested.

        Returns
        -------
        score : float
        """
        check_is_fitted(self)
        if sample_weight is not None:
            params["sample_weight"] = sample_weight
        if self.scoring is None:
            return self.best_estimator_.score(X, y, **params)
        if get_config()["enable_metadata_routing"]:
            params = process_routing(self, "score", **params).scorer.score
        return check_scoring(self.best_estimator_, self.scoring)(
            self.best_estimator_, X, y, **params
        )

    @property
    def net_(self) -> Any:
        """The skorch net of the chosen network."""
        return self._best("net_").net_

    @property
    def module_(self) -> nn.Module:
        """Its torch module."""
        return self._best("module_").module_

    @property
    def n_iter_(self) -> int:
        """Epochs of its training."""
        return self._best("n_iter_").n_iter_

    @property
    def n_features_in_(self) -> int:
        """Number of columns of X."""
        return self._best("n_features_in_").n_features_in_

    @property
    def feature_names_in_(self) -> NDArray:
        """Names of the columns of X (n_features,), if they are strings."""
        return self._best("feature_names_in_").feature_names_in_

    @property
    def coefs_(self) -> list[NDArray]:
        """Weights (fan_in, fan_out) of every layer, of the default network."""
        return self._best("coefs_").coefs_

    @property
    def intercepts_(self) -> list[NDArray]:
        """Biases (fan_out,) of every layer, of the default network."""
        return self._best("intercepts_").intercepts_

    def get_feature_names_out(self, input_features: Any = None) -> NDArray:
        """Names of the columns of ``transform``, those that probes give the units.

        Parameters
        ----------
        input_features : array-like of str or None, default=None
            Not used.

        Returns
        -------
        names : ndarray of str objects
        """
        check_is_fitted(self)
        return self.best_estimator_.get_feature_names_out(input_features)

    @property
    def _n_features_out(self) -> int:
        return self._best("_n_features_out")._n_features_out

    # --- what scikit-learn asks ---------------------------------------------------------------

    def _check_routed(self, params: dict[str, Any]) -> None:
        """Raise if a parameter of fit is one that nobody wants."""
        if get_config()["enable_metadata_routing"]:
            process_routing(self, "fit", **params)
            return
        unknown = sorted(set(params) - {"sample_weight", "groups"})
        if unknown:
            raise TypeError(
                f"fit() got {', '.join(unknown)}, which nobody wants: it takes sample_weight and "
                "groups, and others only with metadata routing enabled."
            )

    def get_metadata_routing(self) -> MetadataRouter:
        """Who gets which parameters of ``fit`` and ``score``.

        Returns
        -------
        routing : MetadataRouter
        """
        router = MetadataRouter(owner=self).add_self_request(self)
        router.add(
            splitter=self.cv, method_mapping=MethodMapping().add(caller="fit", callee="split")
        )
        if self.scoring is not None:
            both = MethodMapping().add(caller="fit", callee="score")
            both.add(caller="score", callee="score")
            router.add(scorer=check_scoring(scoring=self.scoring), method_mapping=both)
        return router

    def __sklearn_tags__(self) -> Tags:
        tags, tuned = super().__sklearn_tags__(), get_tags(self._tuned())
        tags.input_tags, tags.target_tags = tuned.input_tags, tuned.target_tags
        tags.classifier_tags, tags.regressor_tags = tuned.classifier_tags, tuned.regressor_tags
        return tags
