"""What the fits of a search have to train, and what is left of them when that is done."""

import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import partial
from types import FunctionType
from typing import Any

from sklearn import get_config
from sklearn.base import BaseEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils.metadata_routing import get_routing_for_object

from sklflat.storage import fingerprint
from sklflat.training.estimators.base import PerturbedEstimator
from sklflat.training.estimators.containers import own_copy
from sklflat.training.estimators.fitted import FittedNet
from sklflat.training.runs import Training


class TrainsAnother:
    """A meta-estimator that trains another estimator on all the rows that it is given.

    Its ``fit(X, y, **fit_params)`` is ``_begin_fit``, then the other's ``fit`` on the same X and
    y, then ``_end_fit``. So fits that differ only in how they end share what is trained in
    between, which the end must leave as it is.
    """

    def _begin_fit(self, X: Any, y: Any, **fit_params: Any) -> tuple[Any, dict[str, Any]]:
        """The estimator to train, and the parameters of its ``fit``."""
        raise NotImplementedError

    def _end_fit(self, estimator: Any, X: Any, y: Any, **fit_params: Any) -> Any:
        """The rest of ``fit``, given the trained estimator."""
        raise NotImplementedError


@dataclass
class PlannedFit:
    """A fit as a training and what comes after it.

    Parameters
    ----------
    training : Training
    before : PlannedFit, default=None
        The fit that has to be finished first; several may share it.
    end : callable, default=None
        What is left to be done then.
    n_sharing : int
        How many fits have this one before them.
    end_seconds : float
        How long the end took.
    """

    training: Training
    before: "PlannedFit | None" = None
    end: Callable[[], Any] | None = None
    n_sharing: int = 0
    end_seconds: float = 0.0

    def finish(self) -> None:
        """Do what is left, if that is not done; raises what went wrong, in training or now."""
        if self.training.error is not None:
            raise self.training.error
        if self.before is not None:
            self.before.finish()
        if self.end is not None:
            start = time.perf_counter()
            self.end()
            self.end_seconds, self.end = time.perf_counter() - start, None

    @property
    def seconds(self) -> float:
        """Time of its own, and its share of what is shared."""
        if self.before is None:
            return self.training.seconds
        return self.before.seconds / self.before.n_sharing + self.end_seconds


class Planner:
    """Takes the fits of a search apart, so that nothing is transformed or trained twice.

    Attributes
    ----------
    trainings : list of Training
        What is to be trained before fits are finished.
    """

    def __init__(self) -> None:
        self.trainings: list[Training] = []
        self._transformed: dict[Any, Any] = {}
        self._parts: dict[Any, tuple[Any, PlannedFit]] = {}

    def plan(self, estimator: Any, X: Any, y: Any, fit_params: dict[str, Any], fold: int) -> Any:
        """Plan one fit; its estimator is fitted when the plan is finished.

        Parameters
        ----------
        estimator : estimator
        X, y : array-like
        fit_params : dict
        fold : int
            Number of X and y: fits of one fold are on the same.

        Returns
        -------
        planned : PlannedFit
        """
        return self._plan(estimator, X, y, fit_params, (fold,))

    def _plan(self, estimator: Any, X: Any, y: Any, fit_params: Any, data: Any) -> PlannedFit:
        """``data`` says which X and y these are."""
        if isinstance(estimator, TrainsAnother):
            return self._plan_meta(estimator, X, y, fit_params, data)
        if not _is_plain_pipeline(estimator, fit_params):
            training = Training(estimator, X, y, fit_params)
            self.trainings.append(training)
            return PlannedFit(training)
        *before, (name, last) = estimator.steps
        data = *data, _known_identity(before)
        if data not in self._transformed:
            transformers = [
                transformer for _, transformer in before if not _is_skipped(transformer)
            ]
            X, targets = (own_copy(X), own_copy(y)) if transformers else (X, y)
            for transformer in transformers:
                X = _fit_transform(transformer, X, targets)
            self._transformed[data] = X, before
        X, estimator.steps[:-1] = self._transformed[data]
        own = {key.removeprefix(name + "__"): value for key, value in fit_params.items()}
        return self._plan(last, X, y, own, data)

    def _plan_meta(self, meta: Any, X: Any, y: Any, fit_params: Any, data: Any) -> PlannedFit:
        part, its_params = meta._begin_fit(X, y, **fit_params)
        requests = repr(get_routing_for_object(part))  # of steps inside, too
        key = data, _known_identity([part, its_params]), requests
        if key not in self._parts:
            self._parts[key] = part, self._plan(part, X, y, its_params, data)
        trained, before = self._parts[key]
        before.n_sharing += 1
        return PlannedFit(
            before.training, before, partial(meta._end_fit, trained, X, y, **fit_params)
        )


def _known_identity(value: Any) -> Hashable:
    """The identity of a value, or of its own where nothing is known of its contents."""
    try:
        return _identity(value)
    except TypeError:
        return object()


def _identity(value: Any) -> Hashable:
    """What two estimators, or parameters of them, have in common if they are trained alike.

    Clones are what their class and parameters say. Classes, functions and what is cloned in its
    own way, such as a frozen estimator, are the same only if they are the same object.

    Raises
    ------
    TypeError
        If nothing is known of the contents of a parameter.
    """
    if isinstance(value, (list, tuple)):
        return type(value), tuple(_identity(item) for item in value)
    own_clone = getattr(type(value), "__sklearn_clone__", None)
    if own_clone not in (None, BaseEstimator.__sklearn_clone__, FittedNet.__sklearn_clone__):
        return _Same(value)
    if isinstance(value, (type, FunctionType)):
        return _Same(value)
    if hasattr(value, "get_params"):
        params = value.get_params(deep=False)
        return type(value), tuple((name, _identity(params[name])) for name in sorted(params))
    return fingerprint(value)


@dataclass(frozen=True)
class _Same:
    """Equal if it is of the same object, which it keeps alive."""

    of: Any

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.of is self.of

    def __hash__(self) -> int:
        return id(self.of)


def _is_skipped(transformer: Any) -> bool:
    return transformer is None or isinstance(transformer, str)  # "passthrough"


def _fit_transform(transformer: Any, X: Any, y: Any) -> Any:
    """As a pipeline does it."""
    if hasattr(transformer, "fit_transform"):
        return transformer.fit_transform(X, y)
    return transformer.fit(X, y).transform(X)


def _is_plain_pipeline(pipeline: Any, fit_params: dict[str, Any]) -> bool:
    """Whether what comes before the last step can be done first, and the last is ours."""
    if type(pipeline) is not Pipeline or pipeline.memory is not None:
        return False
    *before, (name, last) = pipeline.steps
    plain = all(_is_skipped(t) or hasattr(t, "transform") for _, t in before)
    mine = all(key.startswith(name + "__") for key in fit_params)
    routed = get_config()["enable_metadata_routing"]
    ours = isinstance(last, (PerturbedEstimator, TrainsAnother))
    return ours and plain and mine and not routed
