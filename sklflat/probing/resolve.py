"""Any accepted estimator, fitted or taken as it is, and the trained network inside it."""

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.utils.validation import check_is_fitted
from skorch import (
    NeuralNet,
    NeuralNetBinaryClassifier,
    NeuralNetClassifier,
    NeuralNetRegressor,
)
from torch import Tensor

from sklflat.exceptions import RefitWarning, UnsupportedNetworkError, warn
from sklflat.probing.module import FittedModule
from sklflat.training import SAMClassifier, SAMRegressor
from sklflat.training.cross_validation.tuned import TunedEstimator
from sklflat.training.estimators.build import output_shape, takes_integers
from sklflat.training.estimators.cloned_nets import cloned_net
from sklflat.training.estimators.containers import own_copy
from sklflat.training.estimators.data import as_input
from sklflat.training.estimators.fitted import FittedNet
from sklflat.training.estimators.outputs import needs_reading
from sklflat.training.estimators.targets import ClassTargets, RealTargets
from sklflat.training.estimators.trained_network import (
    Joining,
    TrainedNetwork,
    network_of,
    settling,
)

_ACCEPTED = (
    "SAMClassifier, SAMRegressor, SAMClassifierCV, SAMRegressorCV, a skorch net, a Pipeline or a "
    "search that ends in one, a FrozenEstimator of one, or sklflat.from_module(...)"
)

#: what holds a network, or will hold one when it is fitted
_WITH_NETWORK = (FittedNet, FittedModule, TunedEstimator, NeuralNet)


def is_frozen(estimator: Any) -> bool:
    """Whether an estimator is taken as it is, and never fitted."""
    return isinstance(estimator, (FrozenEstimator, FittedModule))


def ends_frozen(estimator: Any) -> bool:
    """Whether the network in an estimator is frozen, though what stands before it may be fitted."""
    if isinstance(estimator, Pipeline):
        return ends_frozen(estimator.steps[-1][1])
    if is_search(estimator):
        return ends_frozen(estimator.estimator)
    return is_frozen(estimator)


def unfitted(estimator: Any) -> Any:
    """A clone, ready to be fitted; a skorch net becomes a facade around it.

    Raises
    ------
    TypeError
        If there is no network in the estimator.

    Warns
    -----
    RefitWarning
        If the estimator is fitted: that fit is not used.
    """
    estimator = SAMClassifier() if estimator is None else estimator
    _check_accepted(estimator)
    warn_if_fitted(estimator)
    if not isinstance(estimator, NeuralNet):
        return clone(estimator)
    if isinstance(estimator, (NeuralNetClassifier, NeuralNetBinaryClassifier)):
        return SAMClassifier(net=cloned_net(estimator), rho=0)
    if isinstance(estimator, NeuralNetRegressor):
        return SAMRegressor(net=cloned_net(estimator), rho=0)
    raise TypeError(
        f"{type(estimator).__name__} does not say whether it classifies: use "
        "NeuralNetClassifier or NeuralNetRegressor, or SAMClassifier(net=..., rho=0)."
    )


def warn_if_fitted(estimator: Any) -> None:
    """Say of an estimator that is about to be cloned and fitted that it is fitted already.

    Warns
    -----
    RefitWarning
    """
    if _is_fitted(estimator):
        warn(
            f"The {type(estimator).__name__} given is fitted, but it is cloned and fitted anew. "
            "Wrap it in sklearn.frozen.FrozenEstimator to use it as it is.",
            RefitWarning,
        )


def resolve(estimator: Any, dtype: str | None = None) -> TrainedNetwork:
    """The trained network inside a fitted estimator.

    Parameters
    ----------
    estimator : estimator
        Fitted: a facade, a skorch net, a ``Pipeline`` or search that ends in one, a
        ``FrozenEstimator`` of one, or what :func:`~sklflat.from_module` returns. The steps of a
        pipeline before the last become part of its ``to_input``.
    dtype : "float32" or "float64", default=None
        Precision in which the network is run; None is the module's own, of float32 at least.

    Returns
    -------
    TrainedNetwork

    Raises
    ------
    NotFittedError
        If the estimator is not fitted.
    TypeError
        If there is no network in it.
    UnsupportedNetworkError
        If a skorch net was trimmed for prediction, so its loss is gone.

    Examples
    --------
    >>> import torch
    >>> from sklflat import from_module
    >>> from sklflat.probing import resolve
    >>> trained = resolve(from_module(torch.nn.Linear(2, 3), classes=["a", "b", "c"]))
    >>> len(trained.network.vector), trained.classes.tolist()
    (9, ['a', 'b', 'c'])
    """
    trained = _resolved(estimator)
    if dtype is not None:
        trained.network.use(getattr(torch, dtype), strictly=True)
    return trained


def _resolved(estimator: Any) -> TrainedNetwork:
    if isinstance(estimator, FrozenEstimator):
        return resolve(estimator.estimator)
    if isinstance(estimator, (FittedNet, FittedModule)):
        return estimator.trained_network()
    if isinstance(estimator, TunedEstimator):
        check_is_fitted(estimator)
        return resolve(estimator.best_estimator_)
    if isinstance(estimator, Pipeline):
        return _resolve_pipeline(estimator)
    if is_search(estimator):
        check_is_fitted(estimator)
        if not hasattr(estimator, "best_estimator_"):
            raise UnsupportedNetworkError(
                f"{type(estimator).__name__} was fitted with refit=False, so it holds no "
                "network. Set refit=True."
            )
        return resolve(estimator.best_estimator_)
    if isinstance(estimator, NeuralNet):
        return _resolve_skorch(estimator)
    raise _not_a_network(estimator)


def _not_a_network(estimator: Any) -> TypeError:
    hint = ""
    if isinstance(estimator, torch.nn.Module):
        hint = " Wrap a trained module by sklflat.from_module(module, classes=...)."
    elif hasattr(estimator, "estimator"):  # it may change what the network says
        hint = " Give the network inside it, such as FrozenEstimator(fitted.estimator_)."
    elif hasattr(estimator, "regressor"):  # its targets are others than the network's
        hint = " Give the regressor inside it, and to fit the targets as it transforms them."
    elif isinstance(estimator, np.ndarray | Mapping | Set | Iterator):
        hint = " Several networks, where they are compared, are given as a list."
    elif isinstance(estimator, list | tuple):
        hint = (
            " Units of one network are scored: give one of the list. UniversalityProbe and "
            "ModeConnectivityProbe compare several networks, unit by unit."
        )
    return TypeError(
        f"There is no network in estimator={type(estimator).__name__}(...). Accepted are "
        f"{_ACCEPTED}.{hint}"
    )


def is_search(estimator: Any) -> bool:
    """Whether an estimator is a search over another one's parameters."""
    return hasattr(estimator, "refit") and hasattr(estimator, "estimator")


def _last(estimator: Any) -> Any:
    """What a pipeline, a search or a freezer ends in."""
    while not isinstance(estimator, _WITH_NETWORK):
        if isinstance(estimator, Pipeline):
            estimator = estimator.steps[-1][1]
        elif isinstance(estimator, FrozenEstimator) or is_search(estimator):
            estimator = estimator.estimator
        else:
            return estimator
    return estimator


def _check_accepted(estimator: Any) -> None:
    last = _last(estimator)
    if isinstance(last, type) or not isinstance(last, _WITH_NETWORK):
        raise _not_a_network(last if isinstance(estimator, Pipeline) else estimator)


def _is_fitted(estimator: Any) -> bool:
    try:
        check_is_fitted(estimator)
    except (NotFittedError, TypeError):
        return False
    return not isinstance(estimator, NeuralNet) or hasattr(estimator, "module_")


def _resolve_pipeline(pipeline: Pipeline) -> TrainedNetwork:
    trained = resolve(pipeline.steps[-1][1])
    if len(pipeline.steps) == 1:
        return trained
    before = pipeline[:-1]
    check_is_fitted(before)
    return replace(trained, to_input=_Preprocessed(before, trained.to_input))


def preprocessing(estimator: Any) -> Any:
    """The fitted transformer in front of the network, or None."""
    if isinstance(estimator, FrozenEstimator):
        return preprocessing(estimator.estimator)
    if is_search(estimator):
        return preprocessing(estimator.best_estimator_)
    if isinstance(estimator, FittedModule):
        return estimator.transformer
    if not isinstance(estimator, Pipeline):
        return None
    inner = preprocessing(estimator.steps[-1][1])
    before = [step for _, step in estimator.steps[:-1] if step not in (None, "passthrough")]
    before += [] if inner is None else [inner]
    return make_pipeline(*(FrozenEstimator(step) for step in before)) if before else None


@dataclass(frozen=True)
class _Preprocessed:
    """Preprocessing, and what makes its result the network's input."""

    transformer: Any
    to_input: Any

    def __call__(self, X: Any) -> Tensor:
        return self.to_input(self.transformer.transform(own_copy(X)))


def _check_numbered(classes: np.ndarray, name: str) -> None:
    """Labels are what skorch takes them for: numbers of outputs, none left out before the last."""
    if not np.array_equal(classes, np.arange(len(classes))):
        raise UnsupportedNetworkError(
            f"This {name} was trained on the labels {classes}. skorch takes a label for the number "
            "of an output, so it is not known which outputs the others stand for: wrap the module "
            "by sklflat.from_module(net.module_, criterion, classes=[one label an output])."
        )


def _resolve_skorch(net: NeuralNet) -> TrainedNetwork:
    name = type(net).__name__
    if not getattr(net, "initialized_", False):
        raise NotFittedError(f"This {name} is not fitted: fit it before it is probed.")
    if getattr(net, "_trimmed_for_prediction", False):
        raise UnsupportedNetworkError(
            f"This {name} was trimmed for prediction, so its criterion is gone. Probe a copy "
            "that was made before trim_for_prediction()."
        )
    network = network_of(net)
    join = Joining(network, getattr(net, "parts_", None))

    def to_input(X: Any) -> Tensor:
        X = as_input(join(X), torch.float32)
        X = X if X.is_floating_point() or takes_integers(network, X) else X.float()
        output_shape(network.forward, X[:2])
        return X

    targets: Any = RealTargets(np.zeros((1, 1)), "squared_error")
    loss = "squared"
    if isinstance(net, (NeuralNetClassifier, NeuralNetBinaryClassifier)):
        classes = np.asarray(net.classes_)
        _check_numbered(classes, name)
        logistic = isinstance(net.criterion_, (torch.nn.BCELoss, torch.nn.BCEWithLogitsLoss))
        loss, targets = ("logistic" if logistic else "softmax"), ClassTargets(classes, classes)
        targets.threshold = getattr(net, "threshold", 0.5)
    trained = TrainedNetwork(
        network, targets, loss, to_input, lambda y: torch.as_tensor(targets.encode(y, loss))
    )
    if loss == "squared":
        return trained
    return settling(net, trained, needs_reading(net, is_classifier=True))
