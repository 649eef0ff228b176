"""Which code is a library's, and so the same wherever its version is, and which is the user's."""

import json
import os
import platform
import sys
import sysconfig
from contextlib import suppress
from functools import cache
from importlib import metadata
from pathlib import Path
from types import FunctionType, MethodType
from typing import Any


@cache
def _folders() -> tuple[str, ...]:
    names = ("purelib", "platlib", "stdlib", "platstdlib")
    return tuple({sysconfig.get_path(name) + os.sep for name in names})


@cache
def _installed_from_folders() -> frozenset[str]:
    """Modules of packages that pip has installed from a folder: one's own, whose version stays."""
    found: set[str] = set()
    for folder in _folders():
        for note in Path(folder).glob("*.dist-info/direct_url.json"):
            with suppress(OSError, ValueError):
                if "dir_info" in json.loads(note.read_text()):
                    lines = note.with_name("RECORD").read_text().splitlines()
                    found |= {line.split(",")[0].split("/")[0].split(".")[0] for line in lines}
    return frozenset(found)


@cache
def _version(top: str, file: str) -> str:
    """The version of an imported library; if it says none, when it was installed."""
    version = getattr(sys.modules[top], "__version__", None)
    if type(version) is str:
        return version
    if top in sys.stdlib_module_names:
        return platform.python_version()
    with suppress(metadata.PackageNotFoundError):
        return metadata.version(top)
    status = os.stat(file)
    return f"{status.st_size} {status.st_mtime_ns}"


def library_of(module_name: str | None) -> str | None:
    """The library that a module belongs to, with its version; None for the user's own."""
    top = (module_name or "").partition(".")[0]
    if top == "__main__":  # whatever runs it
        return None
    module = sys.modules.get(top)
    file = getattr(module, "__file__", None)
    if top == "sklflat" or (file is None and top in sys.stdlib_module_names):
        return top
    if type(file) is not str or not file.startswith(_folders()) or top in _installed_from_folders():
        return None
    return f"{top} {_version(top, file)}"


def name_of(value: Any) -> str:
    """Module and qualified name of a class or function, as they say themselves."""
    return f"{value.__module__}.{value.__qualname__}"


def is_librarys(value: Any) -> bool:
    """Whether a function or class is what a library has under its name."""
    if library_of(value.__module__) is None:
        return False
    found: Any = sys.modules.get(value.__module__)
    for part in value.__qualname__.split("."):
        found = getattr(found, part, None)
    return getattr(found, "__func__", found) is value


def is_users(value: Any) -> bool:
    """Whether a function or method is of the user's own code."""
    if isinstance(value, (staticmethod, classmethod, MethodType)):
        value = value.__func__
    is_function = isinstance(value, FunctionType)
    return is_function and library_of(value.__globals__.get("__name__")) is None
