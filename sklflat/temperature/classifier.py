"""A classifier whose logits are divided by a temperature."""

from dataclasses import replace
from numbers import Real
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn import get_config
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin, clone, is_classifier
from sklearn.model_selection import check_cv
from sklearn.utils import Bunch, Tags, column_or_1d, get_tags, indexable
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping, process_routing
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_consistent_length, check_is_fitted, has_fit_parameter

from sklflat._compat import (
    EstimatorMixin,
    Interval,
    StrOptions,
    check_sample_weight,
    fit_context,
)
from sklflat.exceptions import CalibrationWarning, warn
from sklflat.probing.resolve import is_frozen, warn_if_fitted
from sklflat.probing.split import Rows
from sklflat.temperature.calibration import LOG_BOUNDS, Calibration, fit_temperature
from sklflat.temperature.calibration_rows import columns_of, out_of_fold
from sklflat.temperature.softened import log_softened, logits_of, method_of, softened
from sklflat.training import SAMClassifier
from sklflat.training.estimators.containers import as_arrays, own_copy
from sklflat.training.stacking.planned_fits import TrainsAnother


class TemperatureClassifier(
    EstimatorMixin, TrainsAnother, MetaEstimatorMixin, ClassifierMixin, BaseEstimator
):
    r"""Any classifier, with its logits :math:`f` divided by a temperature.

    .. math:: p_k(x; T) = \frac{e^{f_k(x) / T}}{\sum_j e^{f_j(x) / T}}

    (Guo et al. 2017, eq. 9 [1]_.) A temperature above 1 makes probabilities more even, one below
    1 makes them surer; the predicted labels stay as they are. Search over it with
    ``GridSearchCV(..., {"temperature": [...]}, scoring="neg_log_loss")``, or with
    :class:`StackedSearchCV`, which trains once a fold for all temperatures.

    The estimator is trained as it is: the temperature comes afterwards. What is trained *at* a
    temperature is ``SAMClassifier(training_temperature=...)``.

    Parameters
    ----------
    estimator : classifier, default=None
        With ``decision_function`` or, failing that, ``predict_proba``, whose logarithm is taken.
        A ``Pipeline`` or a search is fine. None is ``SAMClassifier(random_state=0)``: as there is
        no ``random_state`` here, the default is deterministic. What is wrapped in a
        ``FrozenEstimator``, and what :func:`from_module` returns, is taken as it is.
    temperature : float or "nll", default=1.0
        A positive number, or ``"nll"``: the temperature of least negative log-likelihood, as of
        ``CalibratedClassifierCV(method="temperature", ensemble=False)``. That is fitted on the
        rows given to ``fit`` if the estimator is frozen, which should be rows that it was not
        trained on. Else it is fitted on predictions out of fold, and the estimator is trained
        again on all rows.
    cv : int, splitter or iterable, default=None
        Folds of ``temperature="nll"``, where the estimator is not frozen; None is 5 folds, of about
        the same share of every class. A row may be in several test parts, or in none: its
        predictions all count for the temperature, and as one row for its interval.

    Attributes
    ----------
    estimator_ : classifier
        Trained on all rows, or the frozen one.
    temperature_ : float
        In units of the logits that :func:`~sklflat.temperature.logits_of` describes: for two
        classes the probability of the second is :math:`1 / (1 + e^{-f/T})` for the margin
        :math:`f`. (There scikit-learn's inverse temperature is :math:`\beta = 1 / (2 T)`.)
    calibration_ : Calibration or None
        With ``"nll"``: an interval of the temperature, and likelihood and calibration error
        before and after.
    classes_ : ndarray of shape (n_classes,)
    n_features_in_, feature_names_in_
        If the estimator has them.

    Warns
    -----
    CalibrationWarning
        If a fitted temperature is at the end of its range, rests on few rows or on rows that lack
        a class, changes nothing, or makes the calibration error worse.
    RefitWarning
        If the estimator is fitted but not frozen: that fit is not used.

    References
    ----------
    .. [1] C. Guo, G. Pleiss, Y. Sun, K. Q. Weinberger, "On calibration of modern neural
       networks", ICML 2017. https://arxiv.org/abs/1706.04599

    Examples
    --------
    Odds of 3 to 1 become 9 to 1 at half the temperature:

    >>> from sklearn.dummy import DummyClassifier
    >>> from sklflat import TemperatureClassifier
    >>> prior = DummyClassifier(strategy="prior")
    >>> clf = TemperatureClassifier(prior, temperature=0.5).fit([[0]] * 4, ["a", "b", "b", "b"])
    >>> clf.predict_proba([[0]]).round(3).tolist()
    [[0.1, 0.9]]
    """

    _parameter_constraints = {
        "estimator": "no_validation",  # _begin_fit says what is accepted
        "temperature": [Interval(Real, 0, None, closed="neither"), StrOptions({"nll"})],
        "cv": ["cv_object"],
    }

    def __init__(
        self, estimator: Any = None, *, temperature: float | str = 1.0, cv: Any = None
    ) -> None:
        self.estimator = estimator
        self.temperature = temperature
        self.cv = cv

    # --- fit ----------------------------------------------------------------------------------

    def fit(self, X: Any, y: Any, sample_weight: Any = None, **fit_params: Any) -> Self:
        """Train the estimator, unless it is frozen, and fit the temperature if that is asked for.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            What the estimator accepts.
        y : array-like of shape (n_samples,)
        sample_weight : array-like of shape (n_samples,), default=None
            For the estimator, and for the fit of the temperature.
        **fit_params
            For the estimator's ``fit``.

        Returns
        -------
        self : TemperatureClassifier
        """
        X, y = as_arrays(X, y)
        estimator, its_params = self._begin_fit(X, y, sample_weight, **fit_params)
        estimator.fit(own_copy(X), own_copy(y), **its_params)
        return self._end_fit(estimator, X, y, sample_weight, **fit_params)

    @fit_context(prefer_skip_nested_validation=False)
    def _begin_fit(
        self, X: Any, y: Any, sample_weight: Any = None, **fit_params: Any
    ) -> tuple[Any, dict[str, Any]]:
        """What is to be trained on X and y first, and the parameters of its ``fit``."""
        estimator = self._given()
        is_instance = hasattr(estimator, "__sklearn_tags__") and not isinstance(estimator, type)
        if not (is_instance and is_classifier(estimator)):
            raise TypeError(
                f"estimator={estimator!r} is not a classifier, so it has no logits to divide by a "
                "temperature. Give an instance of a classifier."
            )
        method_of(estimator)  # raises, if there are no logits
        self._check_y(y)
        check_consistent_length(X, y, sample_weight)
        if sample_weight is not None:
            check_sample_weight(sample_weight, y, ensure_non_negative=True)
        if is_frozen(estimator) and fit_params:
            raise TypeError(
                f"fit() got {', '.join(sorted(fit_params))}, but a frozen estimator is not trained."
            )
        if not is_frozen(estimator):
            warn_if_fitted(estimator)
        params = self._routed(estimator, sample_weight, fit_params)
        return clone(estimator), params.estimator.fit

    def _end_fit(
        self, estimator: Any, X: Any, y: Any, sample_weight: Any = None, **fit_params: Any
    ) -> Self:
        """The rest of ``fit``, given what has been trained on X and y."""
        self.estimator_ = estimator
        self.classes_ = estimator.classes_
        if len(self.classes_) < 2:
            raise ValueError(
                f"estimator={type(estimator).__name__}(...) knows only one class, so every "
                f"temperature gives the probability 1: {self.classes_}. Give y at least 2 classes."
            )
        for name in ("n_features_in_", "feature_names_in_"):
            self.__dict__.pop(name, None)  # of an earlier fit
            if hasattr(estimator, name):
                setattr(self, name, getattr(estimator, name))
        self.calibration_ = None
        if self.temperature == "nll":
            self.calibration_ = self._calibrate(X, y, sample_weight, fit_params)
            self.temperature_ = self.calibration_.temperature
        else:
            self.temperature_ = float(self.temperature)
        return self

    def _calibrate(
        self, X: Any, y: Any, sample_weight: Any, fit_params: dict[str, Any]
    ) -> Calibration:
        X, y = indexable(X, self._check_y(y))
        params = self._routed(self._given(), sample_weight, fit_params)
        if is_frozen(self.estimator):
            logits, numbers = logits_of(self.estimator_, own_copy(X)), np.arange(len(y))
        else:
            splitter = check_cv(self.cv, y, classifier=True)
            splits = list(splitter.split(X, y, **params.splitter.split))
            rows = Rows(X, y, params.estimator.fit)
            logits, numbers = out_of_fold(self._given(), rows, splits, self.classes_)
        weighed = fit_params if sample_weight is None else {"sample_weight": sample_weight}
        given = Rows(X, y, weighed).weight
        weight = None if given is None else given.numpy()[numbers]
        columns = columns_of(self.classes_, y[numbers], weight)
        # scikit-learn's beta multiplies twice the logits that a margin has here
        shift = np.log(2) if self._has_margin else 0.0
        bounds = LOG_BOUNDS[0] - shift, LOG_BOUNDS[1] - shift
        calibration = fit_temperature(logits, columns, weight, bounds, numbers)
        for doubt in calibration.doubts():
            warn(doubt, CalibrationWarning)
        return calibration

    def _check_y(self, y: Any) -> NDArray:
        if y is None:
            raise ValueError(
                "This TemperatureClassifier estimator requires y to be passed, but the target y "
                "is None."
            )
        check_classification_targets(y)
        return column_or_1d(y)

    def _given(self) -> Any:
        """The estimator; the default one asks for the weights that are routed."""
        if self.estimator is not None:
            return self.estimator
        default = SAMClassifier(random_state=0)
        if get_config()["enable_metadata_routing"]:
            default.set_fit_request(sample_weight=True)
        return default

    @property
    def _has_margin(self) -> bool:
        return len(self.classes_) == 2 and method_of(self.estimator_) == "decision_function"

    # --- predict ------------------------------------------------------------------------------

    def decision_function(self, X: Any) -> NDArray:
        """Logits divided by the temperature.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        logits : ndarray of shape (n_samples,) or (n_samples, n_classes)
            For two classes the margin of ``classes_[1]`` over ``classes_[0]``.
        """
        f = self._logits(X)
        f = f[:, 1] - f[:, 0] if len(self.classes_) == 2 else f
        largest = np.finfo(float).max
        with np.errstate(over="ignore"):
            return np.clip(f / self.temperature_, -largest, largest)

    def predict_proba(self, X: Any) -> NDArray:
        """Softmax of the logits divided by the temperature.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        p : ndarray of shape (n_samples, n_classes)
        """
        f = self._logits(X)
        return softened(f, self.temperature_)

    def predict_log_proba(self, X: Any) -> NDArray:
        """Logarithms of ``predict_proba``, computed without underflow.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        log_p : ndarray of shape (n_samples, n_classes)
        """
        f = self._logits(X)
        return log_softened(f, self.temperature_)

    def predict(self, X: Any) -> NDArray:
        """The estimator's own labels, which no temperature changes.

        They are those of the greatest probability for most classifiers, but not where an estimator
        decides otherwise, as ``SVC`` with three classes or more, or breaks ties in its own way.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        y : ndarray of shape (n_samples,)
        """
        check_is_fitted(self)
        return self.estimator_.predict(X)

    def _logits(self, X: Any) -> NDArray:
        check_is_fitted(self)
        return logits_of(self.estimator_, X)

    # --- what scikit-learn asks ---------------------------------------------------------------

    def _routed(self, estimator: Any, sample_weight: Any, fit_params: dict[str, Any]) -> Bunch:
        """Parameters of fit for the estimator, and of split for the splitter."""
        if is_frozen(estimator):
            return Bunch(splitter=Bunch(split={}), estimator=Bunch(fit={}))
        if get_config()["enable_metadata_routing"]:
            return process_routing(self, "fit", sample_weight=sample_weight, **fit_params)
        its_params = dict(fit_params)
        if sample_weight is not None:
            if not has_fit_parameter(estimator, "sample_weight"):
                raise ValueError(
                    f"sample_weight was given, but estimator={type(estimator).__name__}(...) does "
                    "not take it in fit. Leave it out; for a step of a Pipeline call it "
                    "<step>__sample_weight, or enable metadata routing."
                )
            its_params["sample_weight"] = sample_weight
        return Bunch(splitter=Bunch(split={}), estimator=Bunch(fit=its_params))

    def get_metadata_routing(self) -> MetadataRouter:
        """Who gets which parameters of ``fit``.

        Returns
        -------
        routing : MetadataRouter
        """
        fit, split = (MethodMapping().add(caller="fit", callee=name) for name in ("fit", "split"))
        router = MetadataRouter(owner=self).add_self_request(self)
        router.add(estimator=self._given(), method_mapping=fit)
        return router.add(splitter=self.cv, method_mapping=split)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        inner = get_tags(self._given())
        tags.input_tags, tags.non_deterministic = inner.input_tags, inner.non_deterministic
        if inner.classifier_tags is not None:
            tags.classifier_tags = replace(inner.classifier_tags, multi_label=False)
        return tags
