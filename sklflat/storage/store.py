"""A directory of finished work, safe against crashes and other processes."""

import os
import re
import stat
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from sklflat._version import __version__
from sklflat.exceptions import CheckpointError, DamagedFileWarning, StorageError, warn
from sklflat.storage.files import read, write

_KEY = re.compile(r"[0-9a-f]{8,64}\Z")
_MANIFEST = "store.safetensors"
#: names of files that are being written, see :mod:`files`
_TEMPORARY = re.compile(r"\.(store|[0-9a-f]{8,64})\.safetensors\.\d+-[0-9a-f]{8}\.tmp\Z")
#: version of what is kept; a directory of a newer one is refused
SCHEMA = 1
#: seconds after which another process's temporary file counts as left behind
_STALE = 3600.0


class RunStore:
    """Keeps units of work as files, one each.

    Parameters
    ----------
    cache_dir : path
        Created if it does not exist. Several processes may use it at once.

    Raises
    ------
    ValueError
        If it is empty.
    StorageError
        If the directory is a file or cannot be written to.
    CheckpointError
        If it was written by a newer version.
    """

    def __init__(self, cache_dir: str | os.PathLike[str]) -> None:
        if not os.fspath(cache_dir):
            raise ValueError(
                "cache_dir='' is no directory: None keeps nothing, '.' is the working directory."
            )
        self.directory = Path(cache_dir)
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(
                f"cache_dir={str(self.directory)!r} cannot be used as a directory: "
                f"{error.strerror}. Choose a directory that you may write to."
            ) from error
        self._check_version()
        self._clean()

    def _check_version(self) -> None:
        manifest = self.directory / _MANIFEST
        try:
            _, info = read(manifest)
            found = info.get("schema") if isinstance(info, dict) else None
        except FileNotFoundError:
            found = SCHEMA
        except CheckpointError as error:
            if "upgrade" in str(error):
                raise
            _set_aside(manifest)
            found = SCHEMA
        if type(found) is not int or found > SCHEMA:
            raise CheckpointError(
                f"cache_dir={str(self.directory)!r} was written by a newer sklflat (schema "
                f"{str(found)[:20]}, known are those up to {SCHEMA}). Upgrade sklflat, or choose "
                "another."
            )
        write(manifest, {}, {"schema": SCHEMA})  # it shows at once whether one can write

    def _clean(self) -> None:
        """Delete what crashed writers left behind, but not what others are writing."""
        for path in self.directory.glob(".*.tmp"):
            if not _TEMPORARY.match(path.name):
                continue
            with suppress(OSError):
                status = path.lstat()
                if stat.S_ISREG(status.st_mode) and time.time() - status.st_mtime > _STALE:
                    path.unlink()

    def path(self, key: str) -> Path:
        """The file of a key."""
        if not isinstance(key, str) or not _KEY.match(key):
            raise ValueError(f"A key has 8 to 64 hexadecimal digits, got {str(key)[:80]!r}.")
        return self.directory / f"{key}.safetensors"

    def get(self, key: str) -> tuple[dict[str, np.ndarray], Any] | None:
        """Arrays and information that were kept under a key; None if there are none.

        What another version of this package has kept is not used. A damaged file, or one that was
        kept under another key, is set aside as ``<key>.damaged``, with a ``DamagedFileWarning``.
        """
        path = self.path(key)
        try:
            arrays, info = read(path)
            if not isinstance(info, dict) or set(info) != {"key", "version", "info"}:
                raise CheckpointError(f"{path} was not kept by a store.")
            if info["key"] != key:
                raise CheckpointError(f"{path} was kept under another key.")
        except FileNotFoundError:
            return None
        except CheckpointError as error:
            warn(f"{error} It is computed anew.", DamagedFileWarning)
            _set_aside(path)
            return None
        return (arrays, info["info"]) if info["version"] == __version__ else None

    def put(self, key: str, arrays: dict[str, np.ndarray], info: Any) -> None:
        """Keep arrays and what JSON can hold under a key, in place of what was there."""
        write(self.path(key), arrays, {"key": key, "version": __version__, "info": info})

    def delete(self, key: str) -> None:
        """Forget a key."""
        try:
            self.path(key).unlink(missing_ok=True)
        except OSError as error:
            raise StorageError(f"{self.path(key)} cannot be deleted: {error.strerror}.") from error

    def keys(self) -> Iterator[str]:
        """All keys."""
        for path in sorted(self.directory.glob("*.safetensors")):
            if _KEY.match(path.stem):
                yield path.stem

    def __contains__(self, key: str) -> bool:
        return self.path(key).exists()


def _set_aside(path: Path) -> None:
    """Give a file that cannot be used another name, so that nothing is lost."""
    with suppress(OSError):
        path.replace(path.with_suffix(".damaged"))
