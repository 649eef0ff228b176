"""The student: a small model that is taught what the network says."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import ClassifierMixin, RegressorMixin, clone, is_classifier, is_regressor
from sklearn.pipeline import Pipeline
from sklearn.utils import get_tags
from sklearn.utils.validation import has_fit_parameter

from sklflat.surrogate.teacher import Answers
from sklflat.surrogate.trees import AlternatingTreeClassifier, AlternatingTreeRegressor
from sklflat.temperature.softened import logits_of_margin
from sklflat.training.estimators.containers import own_copy

#: probabilities below this are not taught: they cost a row each and change no split
_LEAST = 0.01
#: what a student's probabilities are bounded by, where their logarithm is taken
FLOOR = 1e-3


@dataclass(frozen=True)
class Student:
    """A fitted surrogate, and how its predictions are read.

    Attributes
    ----------
    model : estimator
        scikit-learn's, or one like it.
    target : {"label", "proba", "logit"}
    classes : ndarray of shape (n_classes,) or None
        Of the network; None for regressors.
    """

    model: Any
    target: str
    classes: NDArray | None

    def answers(self, features: NDArray) -> Answers:
        """Outputs as those of the network: logits of mean 0, or predictions."""
        if self.classes is None:
            return Answers(
                np.asarray(self._predicted(features), float).reshape(len(features), -1),
                None,
            )
        if self.target == "logit":
            return Answers(_both(self._predicted(features)), self.classes)
        logs = np.log(np.maximum(self.proba(features), FLOOR))
        return Answers(logs - logs.mean(axis=1, keepdims=True), self.classes)

    def _predicted(self, features: NDArray) -> NDArray:
        return np.asarray(self.model.predict(own_copy(features)))

    def proba(self, features: NDArray) -> NDArray[np.float64]:
        """Probabilities (n_samples, n_classes) of a classifier's student."""
        assert self.classes is not None
        if self.target == "logit":
            return self.answers(features).proba
        if regresses(self.model):
            found = np.asarray(self._predicted(features), float).reshape(len(features), -1)
            found = np.column_stack([1 - found, found]) if found.shape[1] == 1 else found
            found = np.clip(found, 0, None)
            return found / np.maximum(found.sum(axis=1, keepdims=True), 1e-300)
        found = np.zeros((len(features), len(self.classes)))
        own = np.searchsorted(self.classes, self.model.classes_)
        if hasattr(self.model, "predict_proba"):
            found[:, own] = self.model.predict_proba(own_copy(features))
        else:
            predicted = np.searchsorted(self.classes, self._predicted(features))
            found[np.arange(len(found)), predicted] = 1
        return found


def classifies(model: Any) -> bool:
    """Whether a model is a classifier.

    So is one whose mixin stands behind `BaseEstimator`, where scikit-learn's tags do not see it, as
    those of the rule lists of imodels do.
    """
    return bool(is_classifier(model) or isinstance(model, ClassifierMixin))


def regresses(model: Any) -> bool:
    """Whether a model is a regressor; see :func:`classifies`."""
    return bool(is_regressor(model) or isinstance(model, RegressorMixin))


def weight_parameter(model: Any) -> str | None:
    """The parameter of ``fit`` that takes the weights of rows; None if there is none.

    Of a pipeline it is that of its last step.

    Examples
    --------
    >>> from sklearn.linear_model import Ridge
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from sklflat.surrogate.student import weight_parameter
    >>> weight_parameter(Ridge()), weight_parameter(make_pipeline(StandardScaler(), Ridge()))
    ('sample_weight', 'ridge__sample_weight')
    """
    if isinstance(model, Pipeline):
        name, last = model.steps[-1]
        of_last = weight_parameter(last)
        return None if of_last is None else f"{name}__{of_last}"
    return "sample_weight" if has_fit_parameter(model, "sample_weight") else None


def default_surrogate(target: str, of_classes: bool) -> Any:
    """A tree of depth 4 for the task.

    By entropy, so that a tree taught probabilities minimises their Kullback-Leibler divergence;
    Gini's index separates one class after the other, and a small tree never comes to most of ten.
    """
    if of_classes and target != "logit":
        return AlternatingTreeClassifier(max_depth=4, random_state=0)
    return AlternatingTreeRegressor(max_depth=4, random_state=0)


def check_surrogate(surrogate: Any, target: str, n_outputs: int, of_classes: bool) -> None:
    """Raise if a surrogate cannot be taught what is asked for.

    Parameters
    ----------
    surrogate : estimator
    target : {"label", "proba", "logit"}
    n_outputs : int
        Classes, or targets of a regressor.
    of_classes : bool
        Whether the network is a classifier.

    Raises
    ------
    TypeError, ValueError
        Names the surrogate, and says what would do.
    """
    name = type(surrogate).__name__
    if not hasattr(surrogate, "fit") or not hasattr(surrogate, "predict"):
        raise TypeError(
            f"surrogate={surrogate!r} is no estimator with fit and predict. Give a classifier or a "
            "regressor of scikit-learn, or one like it; None is a tree of depth 4."
        )
    if not of_classes and classifies(surrogate):
        raise ValueError(
            f"surrogate={name}() is a classifier, but the network is a regressor: give a regressor."
        )
    if of_classes and target == "logit" and not regresses(surrogate):
        raise ValueError(
            f"surrogate={name}() is no regressor, so it cannot be taught target='logit'. Use "
            "target='proba' or 'label', or a regressor such as DecisionTreeRegressor()."
        )
    if of_classes and target == "label" and not classifies(surrogate):
        raise ValueError(
            f"surrogate={name}() is no classifier, so it cannot be taught target='label'. Use "
            "target='proba' or 'logit', or a classifier such as DecisionTreeClassifier()."
        )
    by_weight = of_classes and target == "proba" and classifies(surrogate)
    if by_weight and weight_parameter(surrogate) is None:
        raise ValueError(
            f"surrogate={name}() takes no sample_weight, by which a classifier is taught "
            "target='proba'. Use target='label', or a regressor."
        )
    several = n_outputs > (2 if of_classes else 1) and regresses(surrogate)
    if several and not get_tags(surrogate).target_tags.multi_output:
        raise ValueError(
            f"surrogate={name}() predicts one number, but the network has {n_outputs} outputs. Use "
            "a regressor of several, such as DecisionTreeRegressor(), or MultiOutputRegressor."
        )


def check_missing(surrogate: Any, features: NDArray, names: Sequence[str]) -> None:
    """Raise if features (n_samples, n_features) lack values, and a surrogate takes no such rows."""
    missing = np.isnan(features).any(axis=0)
    if missing.any() and not get_tags(surrogate).input_tags.allow_nan:
        kind = type(surrogate).__name__
        raise ValueError(
            f"surrogate={kind}() takes no missing values, but {names[int(missing.argmax())]!r} has "
            f"some. Give a tree, or make_pipeline(SimpleImputer(), {kind}())."
        )


def check_magnitude(features: NDArray, names: Sequence[str]) -> None:
    """Raise if features (n_samples, n_features) are too large for a tree's single precision."""
    largest = np.abs(np.nan_to_num(features)).max(axis=0)
    j = int(largest.argmax())
    if largest[j] > np.finfo(np.float32).max:
        raise ValueError(
            f"{names[j]!r} has numbers up to {largest[j]:.3g}, but the default surrogate is a "
            "tree, which reads X in single precision. Scale X, or give a surrogate of double "
            "precision."
        )


def teach(
    surrogate: Any,
    target: str,
    features: NDArray,
    answers: Answers,
    weight: NDArray | None = None,
) -> Student:
    r"""Fit a clone of a surrogate to what a network says.

    - ``"label"``: a classifier is fitted to the network's labels.
    - ``"proba"``: a classifier is fitted to every class of every sample, weighted by the network's
      probability :math:`p_{ic}` of it. With log loss or entropy it then minimises the mean of
      :math:`\mathrm{KL}(p_i \| q_i)`. A regressor is fitted to the probabilities.
    - ``"logit"``: a regressor is fitted to the logits, whose mean over the classes is 0.

    Of two classes a regressor is taught one number: the probability of the second, or its logit.
    For regressors it is the network's predictions, whatever the target.

    Parameters
    ----------
    surrogate : estimator
        Not changed.
    target : {"label", "proba", "logit"}
    features : ndarray of shape (n_samples, n_features)
    answers : Answers
        Of the network (or true targets, to make the student that has not seen the network).
    weight : ndarray of shape (n_samples,), default=None

    Returns
    -------
    student : Student

    Examples
    --------
    A stump that is taught the logits of a step finds the step:

    >>> import numpy as np
    >>> from sklearn.tree import DecisionTreeRegressor
    >>> from sklflat.surrogate.student import teach
    >>> from sklflat.surrogate.teacher import Answers
    >>> x = np.arange(10.0)[:, None]
    >>> z = np.where(x > 4.5, 3.0, -1.0)
    >>> answers = Answers(np.hstack([-z, z]) / 2, np.array(["no", "yes"]))
    >>> student = teach(DecisionTreeRegressor(max_depth=1), "logit", x, answers)
    >>> float(student.model.tree_.threshold[0]), student.answers(x).labels[4:6].tolist()
    (4.5, ['no', 'yes'])
    """
    model = clone(surrogate)
    by_weight = answers.classes is not None and target == "proba" and classifies(model)
    if by_weight:
        assert answers.classes is not None
        rows, numbers = np.nonzero(answers.proba >= _LEAST)
        weight = answers.proba[rows, numbers] * (1 if weight is None else weight[rows])
        features, taught = features[rows], answers.classes[numbers]
    else:
        taught = _taught(target, answers)
    by = weight_parameter(model)
    model.fit(own_copy(features), taught, **({} if by is None or weight is None else {by: weight}))
    return Student(model, target, answers.classes)


def _taught(target: str, answers: Answers) -> NDArray:
    """What a surrogate is fitted to, (n_samples,) or (n_samples, n_outputs)."""
    if answers.classes is None or target == "label":
        return answers.labels
    values = answers.values if target == "logit" else answers.proba
    if len(answers.classes) > 2:
        return values
    return values[:, 1] - values[:, 0] if target == "logit" else values[:, 1]


def _both(found: NDArray) -> NDArray[np.float64]:
    """Logits of mean 0 of all classes, from a regressor's predictions."""
    z = np.asarray(found, dtype=float).reshape(len(found), -1)
    return logits_of_margin(z) if z.shape[1] == 1 else z
