"""All errors and warnings of sklflat.

Every error also is the builtin that scikit-learn would raise in its place, so that code
written for scikit-learn catches it unchanged.
"""

__all__ = [
    "CheckpointError",
    "ConnectivityWarning",
    "DamagedFileWarning",
    "DivergenceError",
    "DuplicateParameterError",
    "LostWorkerWarning",
    "NoiseWarning",
    "NonFiniteStepWarning",
    "NothingFoundWarning",
    "OutputWidthError",
    "RefitWarning",
    "SklflatError",
    "StorageError",
    "UnsupportedNetworkError",
]


class SklflatError(Exception):
    """Base of the package's own errors."""


class CheckpointError(SklflatError, ValueError):
    """A file is damaged, is not one of this package's, or was written by a newer version."""


class ConnectivityWarning(UserWarning):
    """Units are aligned in part only, or a path is not finite; says which and where."""


class StorageError(SklflatError, OSError):
    """A file or directory cannot be written; names it and says what to do."""


class DamagedFileWarning(UserWarning):
    """A damaged file was deleted; what it held is computed anew."""


class DivergenceError(SklflatError, ValueError):
    """Training produced values that are not finite; says at which epoch and what to lower."""


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


class NonFiniteStepWarning(UserWarning):
    """Training steps were left out because a gradient was not finite."""


class RefitWarning(UserWarning):
    """A fitted estimator is cloned and fitted anew, as it was not frozen."""
