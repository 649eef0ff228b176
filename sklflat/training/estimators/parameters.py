"""Parameters of the estimators, written once: defaults, allowed values and conflicts.

Constructors are generated from these fields. The classes that inherit from them decide the order,
which is that of ``MLPClassifier`` with ``net`` and the perturbation's own parameters in front.
"""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from sklearn.base import clone
from skorch import NeuralNet
from skorch.callbacks import Callback
from torch import nn

from sklflat._compat import Interval, InvalidParameterError, Options, StrOptions
from sklflat.exceptions import DuplicateParameterError, did_you_mean
from sklflat.networks.mlp import ACTIVATIONS
from sklflat.training.engine.protocols import TrainedNet
from sklflat.training.perturbations import VARIANTS, Perturbation

#: parameters that build the default network
ARCHITECTURE = ("hidden_layer_sizes", "activation", "dropout")
#: parameters that a skorch net brings itself
TRAINING = (
    *("solver", "alpha", "batch_size", "learning_rate", "learning_rate_init", "power_t"),
    *("max_iter", "momentum", "nesterovs_momentum", "beta_1", "beta_2", "epsilon", "shuffle"),
    *("early_stopping", "validation_fraction", "n_iter_no_change", "tol", "callbacks"),
    *("training_temperature", "device", "verbose", "loss"),
)

_FRACTION = [Interval(Real, 0, 1, closed="left")]
_POSITIVE = [Interval(Real, 0, None, closed="neither")]
_NOT_NEGATIVE = [Interval(Real, 0, None, closed="left")]
_COUNT = [Interval(Integral, 1, None, closed="left")]

Constraints = dict[str, Any]


@dataclass(kw_only=True, eq=False, repr=False)
class NetworkParameters:
    """What the network is."""

    hidden_layer_sizes: Sequence[int] | np.ndarray | int = field(default=(100,), kw_only=False)
    activation: str = field(default="relu", kw_only=False)
    net: nn.Module | NeuralNet | Callable[..., Any] | None = None
    dropout: float = 0.0

    _parameter_constraints: ClassVar[Constraints] = {
        "hidden_layer_sizes": ["array-like", *_COUNT],
        "activation": [StrOptions(set(ACTIVATIONS))],
        "net": "no_validation",
        "dropout": _FRACTION,
    }


@dataclass(kw_only=True, eq=False, repr=False)
class SharedParameters(NetworkParameters):
    """How networks are trained whose radius and L2 penalty are chosen among several."""

    solver: str = "adam"
    batch_size: int | str = "auto"
    learning_rate: str = "constant"
    learning_rate_init: float = 0.001
    power_t: float = 0.5
    max_iter: int = 200
    momentum: float = 0.9
    nesterovs_momentum: bool = True
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-8
    shuffle: bool = True
    early_stopping: bool = False
    validation_fraction: float = 0.1
    n_iter_no_change: int = 10
    tol: float = 1e-4
    callbacks: Sequence[Any] = ()
    dtype: str | None = None
    device: str = "cpu"
    random_state: int | np.random.RandomState | None = None
    verbose: int = 0

    _parameter_constraints: ClassVar[Constraints] = {
        **NetworkParameters._parameter_constraints,
        "solver": [str],
        "batch_size": [StrOptions({"auto"}), *_COUNT],
        "learning_rate": [StrOptions({"constant", "invscaling", "adaptive"})],
        "learning_rate_init": _POSITIVE,
        "power_t": _NOT_NEGATIVE,
        "max_iter": _COUNT,
        "momentum": [Interval(Real, 0, 1, closed="both")],
        "nesterovs_momentum": ["boolean"],
        "beta_1": _FRACTION,
        "beta_2": _FRACTION,
        "epsilon": _POSITIVE,
        "shuffle": ["boolean"],
        "early_stopping": ["boolean"],
        "validation_fraction": _FRACTION,
        "n_iter_no_change": [*_COUNT, Options(Real, {np.inf})],
        "tol": [Interval(Real, None, None, closed="both")],
        "callbacks": [tuple, list],
        "dtype": [StrOptions({"float32", "float64"}), None],
        "device": [str],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }


@dataclass(kw_only=True, eq=False, repr=False)
class TrainingParameters(SharedParameters):
    """How one is trained: the parameters of ``MLPClassifier`` and ``MLPRegressor``, and ours."""

    alpha: float = 1e-4
    warm_start: bool = False

    _parameter_constraints: ClassVar[Constraints] = {
        **SharedParameters._parameter_constraints,
        "alpha": _NOT_NEGATIVE,
        "warm_start": ["boolean"],
    }


@dataclass(kw_only=True, eq=False, repr=False)
class ClassifierParameters(SharedParameters):
    """What only classifiers have."""

    class_weight: dict[Any, float] | list[dict[Any, float]] | str | None = None
    training_temperature: float = 1.0

    _parameter_constraints: ClassVar[Constraints] = {
        **SharedParameters._parameter_constraints,
        "class_weight": [dict, list, StrOptions({"balanced"}), None],
        "training_temperature": _POSITIVE,
    }


@dataclass(kw_only=True, eq=False, repr=False)
class RegressorParameters(SharedParameters):
    """What only regressors have."""

    loss: str = "squared_error"

    _parameter_constraints: ClassVar[Constraints] = {
        **SharedParameters._parameter_constraints,
        "loss": [StrOptions({"squared_error", "poisson"})],
    }


@dataclass(kw_only=True, eq=False, repr=False)
class SharpnessAware(NetworkParameters):
    """Training whose perturbation is named by ``variant``, with a radius ``rho``."""

    variant: str | Perturbation = "sam"
    rho: float | None = None

    _parameter_constraints: ClassVar[Constraints] = {
        "variant": [str, Perturbation],
        "rho": [*_NOT_NEGATIVE, None],
    }

    def _make_perturbation(self) -> Perturbation:
        return make_perturbation(self.variant, self.rho)

    def _finish_perturbation(self, net: TrainedNet) -> None:
        """A perturbation in the direction of the gradient leaves nothing to report."""


def check_solver(solver: str) -> None:
    """Raise for solvers without a meaning here."""
    if solver == "lbfgs":
        raise InvalidParameterError(
            "solver='lbfgs' has no meaning here: it searches along lines of the loss over all "
            "data, so there is no training step to perturb. Use 'sgd' or 'adam', or "
            "sklearn.neural_network.MLPClassifier."
        )
    if solver not in ("sgd", "adam"):
        raise InvalidParameterError(f"solver={solver!r} is not known; use 'sgd' or 'adam'.")


def make_perturbation(variant: str | Perturbation, rho: float | None) -> Perturbation:
    """The perturbation that ``variant`` names, with ``rho`` in place of its own unless None."""
    if isinstance(variant, str):
        if variant not in VARIANTS:
            raise InvalidParameterError(
                f"The variant {variant!r} does not exist."
                f"{did_you_mean(variant.lower(), VARIANTS, cutoff=0.4)} "
                f"Known are {', '.join(map(repr, VARIANTS))}."
            )
        perturbation = VARIANTS[variant]()
    else:
        perturbation = clone(variant)
    if rho is not None:
        perturbation.set_params(rho=rho)
    return perturbation.validate()


def check_batches_and_callbacks(estimator: Any) -> None:
    """Raise if the size of a batch is no number, or a callback none."""
    name = type(estimator).__name__
    if isinstance(estimator.batch_size, bool | np.bool_):
        raise InvalidParameterError(
            f"The 'batch_size' parameter of {name} must be 'auto' or an int from 1 on. Got "
            f"{estimator.batch_size!r} instead."
        )
    for given in estimator.callbacks:
        named = isinstance(given, tuple) and len(given) == 2 and isinstance(given[0], str)
        callback = given[1] if named else given
        kind = callback if isinstance(callback, type) else type(callback)
        if not issubclass(kind, Callback):
            raise InvalidParameterError(
                f"The 'callbacks' parameter of {name} must hold skorch callbacks, such as "
                f"skorch.callbacks.EpochTimer(), or pairs of a name and one. Got {given!r} of type "
                f"{type(given).__name__} instead."
            )


def check_conflicts(estimator: Any) -> None:
    """Raise if a parameter is none, or is set and left without effect by ``net``."""
    check_batches_and_callbacks(estimator)
    if estimator.net is None:
        return
    brings: tuple[str, ...] = ARCHITECTURE
    if isinstance(estimator.net, NeuralNet):
        brings += TRAINING
    defaults = inspect.signature(type(estimator).__init__).parameters
    values = estimator.get_params(deep=False)
    for name in brings:
        if name in values and not _equal(values[name], defaults[name].default):
            is_skorch = isinstance(estimator.net, NeuralNet)
            kind = "skorch net" if is_skorch else "module"
            where = "Set it there (see net.get_params())" if is_skorch else "Build it in there"
            raise DuplicateParameterError(
                f"{name}={values[name]!r} is set beside net=, but the {kind} brings its own. "
                f"{where}, or leave {name} at its default "
                f"{defaults[name].default!r}."
            )


def _equal(value: Any, default: Any) -> bool:
    if isinstance(value, list):
        value = tuple(value)
    return type(value) is type(default) and bool(value == default)
