"""Classes that files may name."""

import importlib
import re
from typing import Any

from sklflat.exceptions import CheckpointError

_NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*\Z", re.ASCII)
_CLOSED = {"tests", "conftest", "externals", "_build_utils", "__main__"}


def path_of(cls: type) -> str:
    """``module:name`` of a class that can be found again by it."""
    path = f"{cls.__module__}:{cls.__qualname__}"
    try:
        found = _find(*path.split(":"))
    except (ImportError, AttributeError, ValueError):
        found = None
    if found is not cls:
        raise TypeError(f"the class {path} cannot be imported by its name")
    return path


def class_at(path: Any, trusted: tuple[str, ...]) -> type:
    """The class of a path, if files may name it.

    These are this package's classes, torch's layers, scikit-learn's estimators, and those that
    are trusted by name. Nothing else is imported.

    Raises
    ------
    CheckpointError
    """
    if not isinstance(path, str) or path.count(":") != 1 or len(path) > 500:
        raise CheckpointError(f"{str(path)[:80]!r} is no name of a class.")
    module, name = path.split(":")
    if not _NAME.match(module) or not _NAME.match(name):
        raise CheckpointError(f"{path[:80]!r} is no name of a class.")
    is_trusted = f"{module}.{name}" in trusted
    top = module.split(".")[0]
    if not is_trusted and (top not in _BASES or _CLOSED & set(module.split("."))):
        raise CheckpointError(
            f"The file names the class {module}.{name}, which is not known to be harmless. If you "
            f"trust it, say so: trusted=({f'{module}.{name}'!r},)."
        )
    try:
        cls = _find(module, name)
    except (ImportError, AttributeError, ValueError) as error:
        raise CheckpointError(f"The class {module}.{name} does not exist here.") from error
    if not isinstance(cls, type) or (cls.__module__, cls.__qualname__) != (module, name):
        raise CheckpointError(f"{module}.{name} is no class of that module.")
    if not is_trusted and not _BASES[top](cls):
        raise CheckpointError(f"The class {module}.{name} is not one that files may hold.")
    return cls


def _find(module: str, name: str) -> Any:
    found: Any = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    return found


def _is_layer(cls: type) -> bool:
    from torch import nn

    own = cls.__module__.startswith(("torch.nn.modules.", "torch.ao.nn."))
    return own and issubclass(cls, nn.Module)


def _is_estimator(cls: type) -> bool:
    from sklearn.base import BaseEstimator
    from sklearn.utils import Bunch

    return issubclass(cls, (BaseEstimator, Bunch))


_BASES: dict[str, Any] = {
    "sklflat": lambda cls: True,
    "torch": _is_layer,
    "sklearn": _is_estimator,
}
