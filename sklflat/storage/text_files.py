"""Text files that commands write: tried before the work, and never seen half written."""

import os
import tempfile
from pathlib import Path

from sklflat.exceptions import CommandError
from sklflat.storage.files import replace_file

__all__ = ["writable", "write_text"]


def writable(path: str | os.PathLike[str]) -> Path:
    """The path, if a file can be put there, which is tried; nothing is changed.

    Parameters
    ----------
    path : path

    Returns
    -------
    path : Path

    Raises
    ------
    CommandError
        If it cannot; names the path.
    """
    path = Path(path)
    folder = path.parent
    try:
        if not path.name or path.is_dir():
            raise CommandError(f"{str(path)!r} is a directory: give --output the name of a file.")
        if not folder.is_dir():
            raise CommandError(f"There is no directory {str(folder)!r} to write {path.name!r} to.")
        handle, name = tempfile.mkstemp(dir=folder, prefix=f".{path.name}.")
        os.close(handle)
        os.unlink(name)
        if path.exists():
            with path.open("a"):
                pass
    except OSError as error:
        raise CommandError(f"{str(path)!r} cannot be written: {error.strerror}.") from error
    return path


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Put a text in the place of a file as a whole: at every instant it is the old or the new one.

    Parameters
    ----------
    path : path
        A link is followed.
    text : str

    Raises
    ------
    StorageError
        If it cannot be written; names the path.
    """
    replace_file(Path(path).resolve(), text.encode("utf-8"))
