"""What several generators draw: shuffled columns, balanced labels, flipped labels."""

import inspect
from collections.abc import Callable
from functools import wraps
from numbers import Integral, Real
from typing import Any, ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray

from sklflat._compat import Interval, StrOptions, validate_parameter_constraints

__all__ = [
    "AT_LEAST_0",
    "AT_LEAST_1",
    "CORRELATION",
    "NON_NEGATIVE",
    "POSITIVE",
    "Seed",
    "balanced_labels",
    "contiguous_columns",
    "flip_labels",
    "validated",
]

Seed = int | np.random.RandomState | None

P = ParamSpec("P")
R = TypeVar("R")

AT_LEAST_0 = Interval(Integral, 0, None, closed="left")
AT_LEAST_1 = Interval(Integral, 1, None, closed="left")
POSITIVE = Interval(Real, 0, None, closed="neither")
NON_NEGATIVE = Interval(Real, 0, None, closed="left")
CORRELATION = Interval(Real, -1, 1, closed="both")

#: of parameters that mean the same in every generator that has them
_COMMON: dict[str, list[Any]] = {
    "n_samples": [AT_LEAST_1],
    "n_features": [AT_LEAST_1],
    "n_relevant": [AT_LEAST_1],
    "n_noise": [AT_LEAST_0],
    "n_unused": [AT_LEAST_0],
    "signal": [POSITIVE],
    "noise": [NON_NEGATIVE],
    "label_noise": [Interval(Real, 0, 0.5, closed="left")],  # at one half nothing would be real
    "task": [StrOptions({"regression", "classification"})],
    "random_state": ["random_state"],
}


def validated(**constraints: list[Any]) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Check a generator's parameters, those of `_COMMON` too, as scikit-learn's own do."""
    constraints = _COMMON | constraints

    def decorate(make: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(make)

        @wraps(make)
        def checked(*args: P.args, **kwargs: P.kwargs) -> R:
            bound = signature.bind(*args, **kwargs)
            bound.apply_defaults()
            validate_parameter_constraints(
                constraints, dict(bound.arguments), caller_name=make.__name__
            )
            return make(*args, **kwargs)

        return checked

    return decorate


def balanced_labels(
    n_samples: int, n_classes: int, random_state: np.random.RandomState
) -> NDArray[np.int64]:
    """Labels in random order; the sizes of the classes differ by one sample at most."""
    labels = np.arange(n_samples, dtype=np.int64) % n_classes
    return random_state.permutation(labels)


def flip_labels(
    y: NDArray[np.int64], probability: float, random_state: np.random.RandomState
) -> NDArray[np.int64]:
    """Flip each of the binary labels with the given probability."""
    flipped = random_state.uniform(size=len(y)) < probability
    return np.where(flipped, 1 - y, y)


def contiguous_columns(blocks: list[NDArray], order: NDArray[np.intp]) -> NDArray[np.float64]:
    """Put blocks of columns side by side and shuffle them: column i of X is ``order[i]``."""
    return np.ascontiguousarray(np.hstack(blocks)[:, order], dtype=np.float64)
