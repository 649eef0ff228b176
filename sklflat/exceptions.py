"""All errors and warnings of sklflat.

Every error also is the builtin that scikit-learn would raise in its place, so that code
written for scikit-learn catches it unchanged. :func:`warn` points at the line of the caller.
"""

import difflib
import inspect
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from sklearn.exceptions import ConvergenceWarning

__all__ = [
    "CalibrationWarning",
    "CheckpointError",
    "CommandError",
    "ConnectivityWarning",
    "DamagedFileWarning",
    "DependentRowsWarning",
    "DivergenceError",
    "DivergenceWarning",
    "DuplicateParameterError",
    "LostWorkerWarning",
    "NoUnitsError",
    "NoiseWarning",
    "NonFiniteStepWarning",
    "NothingFoundWarning",
    "OutputWidthError",
    "PerturbationWarning",
    "ProbabilitiesWarning",
    "RefitWarning",
    "RewindingWarning",
    "SklflatError",
    "StorageError",
    "SurrogateWarning",
    "UniversalityWarning",
    "UnsupportedNetworkError",
]

#: code between a caller and the place that warns: this package, and what wraps or runs its methods
_NOT_THE_CALLER = (
    "contextlib.",
    "functools.",
    "joblib.",
    "sklearn.base.",
    "sklearn.utils._set_output.",
    "sklearn.utils.parallel.",
    "sklflat.",
    "skorch.",
    "torch.",
)


class SklflatError(Exception):
    """Base of the package's own errors."""


class CalibrationWarning(UserWarning):
    """A fitted temperature is bounded, uncertain or of no help; says why, and what to do."""


class CheckpointError(SklflatError, ValueError):
    """A file is damaged, is not one of this package's, or was written by a newer version."""


class CommandError(SklflatError, ValueError):
    """A command of ``python -m sklflat`` cannot do what was asked for; says why and what to do."""


class ConnectivityWarning(UserWarning):
    """Units are aligned in part only, or a path is not finite; says which and where."""


class StorageError(SklflatError, OSError):
    """A file or directory cannot be written; names it and says what to do."""


class DamagedFileWarning(UserWarning):
    """A damaged file was deleted; what it held is computed anew."""


class DependentRowsWarning(UserWarning):
    """Rows are not independent of each other; says which, and what to do."""


class DivergenceError(SklflatError, ValueError):
    """Training produced values that are not finite; says at which epoch and what to lower."""


class DivergenceWarning(UserWarning):
    """Some of several networks diverged and are left out; says how many of which."""


class DuplicateParameterError(SklflatError, ValueError):
    """A parameter of the estimator contradicts what its ``net`` brings itself."""


class LostWorkerWarning(UserWarning):
    """A worker process ended before its work; the work is begun anew."""


class NoiseWarning(UserWarning):
    """Noise is not what was asked for; says in what, and what to do."""


class NothingFoundWarning(UserWarning):
    """Fewer units than asked for hold what they promise; says how many do."""


class OutputWidthError(SklflatError, ValueError):
    """A network's output does not fit the targets."""


class UnsupportedNetworkError(SklflatError, ValueError):
    """A network has a property that the requested method cannot treat correctly."""


class PerturbationWarning(UserWarning):
    """Perturbations lead to where the network knows nothing; says by how much, and the remedy."""


class NoUnitsError(UnsupportedNetworkError):
    """A network has no hidden layer of units; says what was looked for."""


class NonFiniteStepWarning(UserWarning):
    """Training steps were left out because a gradient was not finite."""


class RewindingWarning(UserWarning):
    """A rewind point, its children or a null are not as asked for; says in what."""


class SurrogateWarning(UserWarning):
    """A surrogate is less faithful than asked for, or has nothing to mimic."""


class UniversalityWarning(UserWarning):
    """Rows are too few to say what comes back; says how many there are."""


class ProbabilitiesWarning(UserWarning):
    """A module ends in probabilities, and its criterion takes logits; says what follows from it."""


class RefitWarning(UserWarning):
    """A fitted estimator is cloned and fitted anew, as it was not frozen."""


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn at the line outside of this package that called it, however deep the call is.

    Parameters
    ----------
    message : str
    category : type of warning, default=UserWarning
    """
    frame = inspect.currentframe()
    while frame is not None and frame.f_back is not None:
        if not f"{frame.f_globals.get('__name__')}.".startswith(_NOT_THE_CALLER):
            break
        frame = frame.f_back
    if frame is None:  # a Python without frames
        warnings.warn(message, category, stacklevel=2)
        return
    warnings.warn_explicit(
        message,
        category,
        frame.f_code.co_filename,
        frame.f_lineno,
        module=frame.f_globals.get("__name__"),
        registry=frame.f_globals.setdefault("__warningregistry__", {}),
    )


@contextmanager
def collected_warnings(
    are_wanted: Callable[[type[Warning]], bool] = lambda category: True,
) -> Iterator[list[warnings.WarningMessage]]:
    """Within, warnings of some kinds are not shown; others come at the end, as they are.

    Parameters
    ----------
    are_wanted : callable, default
        Whether warnings of a category are collected; all are, unless it is given.

    Yields
    ------
    collected : list of WarningMessage
        Filled at the end.
    """
    collected: list[warnings.WarningMessage] = []
    heard: list[warnings.WarningMessage] = []
    try:
        with warnings.catch_warnings(record=True) as heard:
            warnings.simplefilter("always")
            yield collected
    finally:
        collected += [w for w in heard if are_wanted(w.category)]
        for w in heard:
            if not are_wanted(w.category):
                warnings.warn_explicit(w.message, w.category, w.filename, w.lineno)


@contextmanager
def counted_convergence_warnings(n: int) -> Iterator[None]:
    """Within, n trainings that do not converge warn once, at the end, and say how many there are.

    Other warnings come at the end, too, as they are.

    Parameters
    ----------
    n : int
        Trainings in all.
    """
    unfinished: list[warnings.WarningMessage] = []
    try:
        with collected_warnings(lambda kind: issubclass(kind, ConvergenceWarning)) as unfinished:
            yield
    finally:
        for text, count in Counter(str(w.message) for w in unfinished).items():
            if count > 1:
                text += f" So it is with {count} of {n} trainings."
            warn(text, ConvergenceWarning)


def did_you_mean(name: str, known: Iterable[str], n: int = 1, cutoff: float = 0.6) -> str:
    """A question for a message, whether one of some names was meant; empty if none is near.

    Parameters
    ----------
    name : str
    known : iterable of str
    n : int, default=1
        Names to ask of at most.
    cutoff : float, default=0.6
        How near these have to be, from 0 to 1.

    Examples
    --------
    >>> did_you_mean("widht", ["width", "depth"])
    " Did you mean 'width'?"
    """
    close = difflib.get_close_matches(name, list(known), n=n, cutoff=cutoff)
    return f" Did you mean {' or '.join(map(repr, close))}?" if close else ""
