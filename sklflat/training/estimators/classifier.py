"""Classifiers: labels in, probabilities out."""

from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import ClassifierMixin
from sklearn.metrics import accuracy_score
from sklearn.utils import Tags
from sklearn.utils.multiclass import check_classification_targets

from sklflat._compat import (
    check_partial_fit_first_call,
    check_sample_weight,
    fit_context,
)
from sklflat.training.engine.epochs import run_alone
from sklflat.training.estimators.base import PerturbedEstimator
from sklflat.training.estimators.data import Inputs, class_weights
from sklflat.training.estimators.parameters import ClassifierParameters, TrainingParameters
from sklflat.training.estimators.targets import ClassTargets


class PerturbedClassifier(ClassifierMixin, PerturbedEstimator, ClassifierParameters):
    """What all classifiers of this room share."""

    _parameter_constraints = {
        **TrainingParameters._parameter_constraints,
        **ClassifierParameters._parameter_constraints,
    }

    _y_numeric = False

    @property
    def _temperature(self) -> float:  # type: ignore[override]
        return self.training_temperature

    @property
    def _unweighted(self) -> bool:  # type: ignore[override]
        return self.class_weight is None

    @fit_context(prefer_skip_nested_validation=True)
    def partial_fit(
        self,
        X: Inputs,
        y: ArrayLike | None = None,
        classes: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> Self:
        """Train for one pass over the data, going on from where training is.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features), or torch Dataset
        y : array-like of shape (n_samples,) or (n_samples, n_labels)
        classes : array-like of shape (n_classes,), default=None
            All classes that will ever occur; required in the first call.
        sample_weight : array-like of shape (n_samples,), default=None

        Returns
        -------
        self
        """
        check_partial_fit_first_call(self, classes)
        run_alone(self._fitting(X, y, sample_weight, incremental=True, classes=self.classes_))
        return self

    def _check_y(self, y: NDArray) -> None:
        check_classification_targets(y)

    def _make_targets(self, y: NDArray, classes: ArrayLike | None) -> ClassTargets:
        targets = ClassTargets(y, None if classes is None else np.asarray(classes))
        if not targets.multilabel:
            self._check_several(targets.classes)
        self.classes_ = targets.classes
        self.n_outputs_ = targets.n_outputs
        one_logit = targets.multilabel or targets.binary
        self.out_activation_ = "logistic" if one_logit else "softmax"
        if classes is not None:
            self._check_continues(y, incremental=True)
        return targets

    def _check_several(self, classes: NDArray) -> None:
        if len(classes) < 2:
            raise ValueError(
                f"{type(self).__name__} needs samples of at least 2 classes, but y contains "
                f"only one class: {classes[0]}."
            )

    def _check_continues(self, y: NDArray, incremental: bool) -> None:
        found = ClassTargets(y).classes
        if incremental and len(np.setdiff1d(found, self.classes_)):
            raise ValueError(
                f"`y` has classes not in `self.classes_`. `self.classes_` has {self.classes_}. "
                f"'y' has {found}."
            )
        if not incremental and not np.array_equal(found, self.classes_):
            raise ValueError(
                "warm_start can only be used where `y` has the same classes as in the previous "
                f"call to fit. Previously got {self.classes_}, `y` has {found}."
            )

    def _weights(
        self, X: Inputs, y: NDArray, sample_weight: ArrayLike | None, incremental: bool
    ) -> NDArray | None:
        if sample_weight is None and self.class_weight is None:
            return None
        weight = check_sample_weight(sample_weight, y, ensure_non_negative=True)
        if self.class_weight is not None:
            if incremental and self.class_weight == "balanced":
                raise ValueError(
                    "class_weight='balanced' cannot be computed from a part of the data. Pass "
                    "partial_fit a dict of weights, or sample_weight."
                )
            classes = None if self._targets.multilabel else self.classes_
            weight = weight * class_weights(self.class_weight, classes, y, weight)
        if not self._targets.multilabel and not incremental and (weight > 0).any():
            self._check_several(np.unique(y[weight > 0]))
        return weight

    def _stratify(self, y: NDArray) -> NDArray | None:
        return y if self._targets.binary else None  # as MLPClassifier does

    def _score_outputs(self, z: NDArray, y: NDArray, weight: NDArray | None) -> float:
        predicted = self._targets.predict(self._decide(z))
        return float(accuracy_score(y, predicted, sample_weight=weight))

    def _decide(self, z: NDArray) -> NDArray:
        """Logits as scikit-learn returns them, from what has been read of outputs."""
        return self._targets.decision(z, "softmax" if self._is_read_by_net else self._loss)

    def decision_function(self, X: Inputs) -> NDArray:
        """Logits in float64.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features), or torch Dataset

        Returns
        -------
        logits : ndarray of shape (n_samples,) or (n_samples, n_classes)
            For two classes the margin of ``classes_[1]`` over ``classes_[0]``.
        """
        z = self._raw_predict(X)
        return self._decide(z)

    def predict_proba(self, X: Inputs) -> NDArray:
        """Probabilities: softmax (or sigmoid) of the logits.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features), or torch Dataset

        Returns
        -------
        p : ndarray of shape (n_samples, n_classes)
        """
        decision = self.decision_function(X)
        return self._targets.proba(decision)

    def predict_log_proba(self, X: Inputs) -> NDArray:
        """Logarithms of ``predict_proba``, computed without underflow.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features), or torch Dataset

        Returns
        -------
        log_p : ndarray of shape (n_samples, n_classes)
        """
        decision = self.decision_function(X)
        return self._targets.proba(decision, log=True)

    def predict(self, X: Inputs) -> NDArray:
        """The most probable labels.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features), or torch Dataset

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_labels)
        """
        decision = self.decision_function(X)
        return self._targets.predict(decision)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        tags.input_tags.sparse = True
        return tags
