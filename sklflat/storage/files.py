"""One file of arrays and JSON: safetensors with a checksum, written whole or not at all.

The file is an ordinary safetensors file. Its metadata hold the JSON text of what is not an array,
a schema version, and a checksum over names, types, shapes and bytes of all arrays and that text.
"""

import errno
import hashlib
import json
import math
import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save as to_safetensors

from sklflat.exceptions import CheckpointError, StorageError
from sklflat.storage.json_text import Damage, check, parse

#: version of the format; files of a newer one are refused
SCHEMA = 1

#: bytes of a header without its arrays, and of an array's entry in it
_MAX_HEADER, _MAX_ENTRY = 2**20, 200
_MAX_TENSORS = 200_000
#: longer JSON is an array of bytes of its own, of this name
_LONG_TEXT, _LONG = "__json__", 2**18
#: bytes from which a file must not consist of holes
_MAX_HOLES = 2**26
_MAX_NDIM = 32
_DTYPES = {
    **{"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2"},
    **{"I8": "|i1", "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "|u1", "BOOL": "|b1"},
}
_KNOWN = {np.dtype(name) for name in _DTYPES.values()}


def write(path: str | os.PathLike[str], arrays: dict[str, np.ndarray], info: Any) -> None:
    """Write arrays and JSON to a file, so that after a crash it is the old file or the new one.

    Parameters
    ----------
    path : path
    arrays : dict of str to ndarray
        Numbers and booleans.
    info : object
        What JSON can hold.

    Raises
    ------
    TypeError
        If a value cannot be stored, or is nested too deep or in too many parts.
    StorageError
        If the file cannot be written; names the path.
    """
    path = Path(path)
    arrays = {name: np.ascontiguousarray(a).reshape(np.shape(a)) for name, a in arrays.items()}
    for name, array in arrays.items():
        if array.dtype not in _KNOWN:
            raise TypeError(f"The array {name!r} of dtype {array.dtype} cannot be stored.")
    text = json.dumps(info, sort_keys=True)
    try:
        check(text)
    except Damage as damage:
        raise TypeError(f"{path} could not be read again: {damage}.") from None
    if len(text) > _LONG:
        arrays[_LONG_TEXT] = np.frombuffer(text.encode(), dtype=np.uint8)
        text = ""
    metadata = {"sklflat": text, "schema": str(SCHEMA), "checksum": _checksum(arrays, text, SCHEMA)}
    replace_file(path, to_safetensors(arrays, metadata))


def read(path: str | os.PathLike[str]) -> tuple[dict[str, np.ndarray], Any]:
    """Arrays and JSON of a file; sizes are checked before anything is allocated.

    Parameters
    ----------
    path : path

    Returns
    -------
    arrays : dict of str to ndarray
    meta : object
        What the JSON describes.

    Raises
    ------
    CheckpointError
        If the file is damaged, no regular file, no file of this package, or of a newer version.
    FileNotFoundError
        If there is none.
    """
    path = Path(path)
    try:
        return _parse(*_content(path))
    except FileNotFoundError:
        raise
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}.") from error
    except Damage as damage:
        raise CheckpointError(f"{path} cannot be used: {damage}.") from None
    except Exception as error:  # whatever a damaged file leads to, the want of memory included
        raise CheckpointError(f"{path} cannot be used: {type(error).__name__}.") from None


def _content(path: Path) -> tuple[dict[str, Any], dict[str, str], bytearray]:
    """Entries, metadata and arrays of a regular file; nothing else is opened, as it may not end."""
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise Damage("it is no regular file")
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | os.O_CLOEXEC)
    with open(handle, "rb") as file:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise Damage("it is no regular file")
        size, kept = status.st_size, getattr(status, "st_blocks", 0) * 512
        if size > _MAX_HOLES and 0 < kept < size // 16:
            raise Damage("it consists of holes")
        length = _header_length(file.read(8), size)
        entries, metadata = _header(file.read(length))
        end = 8 + length + max((_entry(n, e)[1] for n, e in entries.items()), default=0)
        if end != size:
            raise Damage(f"it has {size} bytes where {end} are declared")
        data = bytearray(size - 8 - length)
        if file.readinto(data) != len(data):
            raise Damage("it was cut while it was read")
    return entries, metadata, data


def _parse(
    entries: dict[str, Any], metadata: dict[str, str], data: bytearray
) -> tuple[dict[str, np.ndarray], Any]:
    if not metadata["schema"].isascii() or not metadata["schema"].isdigit():
        raise Damage("its version is no number")
    if len(metadata["schema"]) > 9 or int(metadata["schema"]) > SCHEMA:
        raise Damage(
            f"it has version {metadata['schema'][:9]}, this sklflat knows versions up to {SCHEMA}; "
            "upgrade sklflat"
        )
    arrays = _arrays(entries, memoryview(data))
    text = metadata["sklflat"]
    if _checksum(arrays, text, int(metadata["schema"])) != metadata["checksum"]:
        raise Damage("its checksum is wrong")
    if _LONG_TEXT in arrays:
        text = arrays.pop(_LONG_TEXT).tobytes().decode()
    return arrays, parse(text)


def _header_length(head: bytes, size: int) -> int:
    if len(head) < 8:
        raise Damage(f"it has {len(head)} bytes")
    length = int.from_bytes(head, "little")
    if length > min(size - 8, _MAX_HEADER + _MAX_ENTRY * _MAX_TENSORS):
        raise Damage(f"its header is said to have {length} bytes")
    return length


def _header(head: bytes) -> tuple[dict[str, Any], dict[str, str]]:
    """Entries of the arrays, and the metadata."""
    try:
        header = parse(head.decode())
    except UnicodeDecodeError:
        raise Damage("its header is no text") from None
    if not isinstance(header, dict) or len(header) > _MAX_TENSORS:
        raise Damage("its header is no table of arrays")
    if len(head) > _MAX_HEADER + _MAX_ENTRY * len(header):
        raise Damage("its header is too long for its arrays")
    metadata = header.pop("__metadata__", None)
    if not isinstance(metadata, dict) or set(metadata) != {"sklflat", "schema", "checksum"}:
        raise Damage("it was not written by sklflat")
    if not all(isinstance(value, str) for value in metadata.values()):
        raise Damage("its metadata are not text")
    return header, metadata


def _arrays(header: dict[str, Any], data: memoryview) -> dict[str, np.ndarray]:
    entries = [(*_entry(name, entry), name) for name, entry in header.items()]
    end = 0
    for start, stop, *_ in sorted(entries, key=lambda e: (e[0], e[1])):
        if start != end:
            raise Damage("its arrays overlap or leave holes")
        end = stop
    if end != len(data):
        raise Damage(f"it has {len(data)} bytes of arrays where {end} are declared")
    return {
        name: np.frombuffer(data[start:stop], dtype).reshape(shape).copy()
        for start, stop, dtype, shape, name in entries
    }


def _entry(name: str, entry: Any) -> tuple[int, int, np.dtype[Any], tuple[int, ...]]:
    """Place, dtype and shape of an array, checked against each other."""
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise Damage(f"the entry of {name[:40]!r} is malformed")
    shape, offsets = entry["shape"], entry["data_offsets"]
    if not isinstance(entry["dtype"], str) or entry["dtype"] not in _DTYPES:
        raise Damage(f"the dtype of {name[:40]!r} is unknown")
    if not _counts(shape) or len(shape) > _MAX_NDIM or not _counts(offsets) or len(offsets) != 2:
        raise Damage(f"shape or place of {name[:40]!r} is malformed")
    dtype = np.dtype(_DTYPES[entry["dtype"]])
    spread = math.prod(max(n, 1) for n in shape) * dtype.itemsize  # NumPy counts so
    if math.prod(shape) * dtype.itemsize != offsets[1] - offsets[0] or spread >= 2**62:
        raise Damage(f"shape and size of {name[:40]!r} differ")
    return offsets[0], offsets[1], dtype, tuple(shape)


def _counts(value: Any) -> bool:
    return isinstance(value, list) and all(type(n) is int and n >= 0 for n in value)


def _checksum(arrays: dict[str, np.ndarray], text: str, schema: int) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(arrays):
        array = arrays[name]
        head = json.dumps([name, array.dtype.str, list(array.shape)])
        digest.update(f"{len(head)}:{head}".encode())
        digest.update(np.ascontiguousarray(array).data if array.size else b"")
    digest.update(f"{schema}:{text}".encode())
    return digest.hexdigest()


# --- writing whole or not at all ------------------------------------------------------------


def replace_file(path: Path, content: bytes) -> None:
    """Write a new file beside the path, make it durable, and put it in place."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        try:
            _write_all(handle, content)
            if path.exists():  # who may read it is not for the content to change
                os.fchmod(handle, stat.S_IMODE(path.stat().st_mode))
            os.fsync(handle)
        finally:
            os.close(handle)
        os.replace(temporary, path)
        _sync_directory(path.parent)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        raise StorageError(
            f"{path} cannot be written: {error.strerror or error}. {_advice(error)}"
        ) from error
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise


def _write_all(handle: int, content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        written = os.write(handle, rest)
        if written == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        rest = rest[written:]


def _sync_directory(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _advice(error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "Free some space, or choose another directory."
    if error.errno == errno.EFBIG:
        return "The limit on the size of files (ulimit -f) is too low."
    if error.errno in (errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ENOENT):
        return "Choose a path in a directory that exists."
    return "Choose a directory that you may write to."
