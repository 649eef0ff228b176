"""Files are whole or refused, whatever happens to them or whoever wrote them."""

import json
import os
import pickle
import random
import sys
import time
import tracemalloc
import zipfile

import pytest
import torch
from safetensors.numpy import load_file

from sklflat.exceptions import CheckpointError
from sklflat.storage import files as files_module
from sklflat.storage import read, write
from tests._files import ARRAYS, INFO, same


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "file.safetensors"
    write(path, ARRAYS, INFO)
    return path


def test_what_was_written_is_read_bit_for_bit(path):
    arrays, info = read(path)
    assert same(arrays, ARRAYS)
    assert info == INFO
    assert same(load_file(path), ARRAYS)  # the library's own reader agrees
    assert os.listdir(path.parent) == [path.name]
    arrays["w"][0] = 1.0  # they can be written to


def test_1000_truncations_and_bit_flips_are_noticed(path):
    content = path.read_bytes()
    draw = random.Random(0)
    for k in range(1000):
        damaged = bytearray(content)
        if k % 2:
            del damaged[draw.randrange(len(damaged)) :]
        else:
            damaged[draw.randrange(len(damaged))] ^= 1 << draw.randrange(8)
        path.write_bytes(damaged)
        try:
            found = read(path)
        except CheckpointError:
            found = None
        if found is not None:  # white space of the header
            assert same(found[0], ARRAYS)
            assert found[1] == INFO


def crafted(header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def signed(entries, data=b"", text="{}", **metadata):
    """A file whose checksum is right, if the entries can be read at all."""
    try:
        arrays = files_module._arrays(entries, memoryview(data))
    except Exception:
        arrays = {}
    own = {"sklflat": text, "schema": "1", "checksum": files_module._checksum(arrays, text, 1)}
    return crafted({"__metadata__": {**own, **metadata}, **entries}, data)


class Evil:
    def __reduce__(self):
        return os.system, ("touch EVIL",)


ENTRY = {"dtype": "F64", "shape": [2], "data_offsets": [0, 16]}
DATA = bytes(16)


def malformed_entries():
    for shape in (
        [3],
        [-2],
        [2.0],
        [True],
        ["2"],
        None,
        [2**70],
        [2**32, 2**32],
        [0, 2**63],
        [[2]],
    ):
        for offsets in ([0, 16], [0, 8], [16, 0], [-16, 0], [0], [0, 2**80], ["0", "16"], None):
            yield signed({"a": {"dtype": "F64", "shape": shape, "data_offsets": offsets}}, DATA)
    for dtype in (
        "F65",
        "",
        "O",
        "object",
        None,
        3,
        ["F64"],
        "F32",
        "I128",
        "<f8",
        "BF16",
        "F8_E4M3",
    ):
        yield signed({"a": {**ENTRY, "dtype": dtype}}, DATA)
    for extra in ("pickle", "__reduce__", "dtype2", "x" * 1000):
        yield signed({"a": {**ENTRY, extra: 1}}, DATA)
    for missing in ENTRY:
        yield signed({"a": {k: v for k, v in ENTRY.items() if k != missing}}, DATA)
    for value in (1, None, [], "F64", [ENTRY], {"a": ENTRY}):
        yield signed({"a": value}, DATA)
    yield signed({"a": ENTRY, "b": ENTRY}, DATA)  # overlap
    yield signed({"a": ENTRY, "b": {**ENTRY, "data_offsets": [24, 40]}}, bytes(40))  # hole
    yield signed({"a": ENTRY}, bytes(17))
    yield signed({"a": ENTRY}, bytes(15))


def malformed_headers():
    """Versions, checksums, texts and lengths that cannot be."""
    for schema in ("2", "-1", "1.0", "", "x", "9" * 5000, "²"):
        yield signed({"a": ENTRY}, DATA, schema=schema)
    for key, value in [("checksum", "0" * 32), ("checksum", 3), ("sklflat", 1), ("more", "x")]:
        yield signed({"a": ENTRY}, DATA, **{key: value})
    for text in ("", "{", "nul", '{"a":1,"a":2}', "[" * 100_000, '{"a":' * 50_000):
        yield signed({"a": ENTRY}, DATA, text=text)
    for head in (b"", b"[]", b"null", b"1", b"{", b"\xff\xfe", b"[" * 100_000, b'{"a":' * 50_000):
        yield crafted(head)
    yield crafted(b'{"a":1,"a":2}')
    yield crafted({"__metadata__": {"format": "pt"}, "a": ENTRY}, DATA)
    yield crafted({"a": ENTRY}, DATA)
    for length in (0, 7, 2**26 + 1, 2**40, 2**63, 2**64 - 1):
        yield length.to_bytes(8, "little") + b"{}"
        yield length.to_bytes(8, "little")
    yield pickle.dumps(Evil())
    for name in ("../x", "/etc/passwd", "a\x00b", "..\\x", "__metadata__ "):
        yield signed({name: {**ENTRY, "shape": [9]}}, DATA)
    draw = random.Random(1)
    known = signed({"a": ENTRY}, DATA)
    for _ in range(350):  # any bytes behind a plausible beginning
        cut = draw.randrange(1, len(known))
        yield known[:cut] + draw.randbytes(draw.randrange(1, 200))


@pytest.fixture(scope="module")
def crafted_files(tmp_path_factory):
    tmp_path = tmp_path_factory.mktemp("crafted")
    archive = tmp_path / "archive"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as z:
        z.writestr("data.pkl", bytes(10**6))
    torch.save({"w": torch.ones(2)}, tmp_path / "torch")
    others = [archive.read_bytes(), (tmp_path / "torch").read_bytes()]
    return [*malformed_entries(), *malformed_headers(), *others]


@pytest.mark.slow
def test_crafted_files_are_refused_in_a_moment(tmp_path, crafted_files):
    path = tmp_path / "crafted.safetensors"
    for content in crafted_files:
        path.write_bytes(content)
        start = time.process_time()
        with pytest.raises(CheckpointError):
            read(path)
        assert time.process_time() - start < 1


def test_500_crafted_files_are_refused_and_run_no_code(tmp_path, monkeypatch, crafted_files):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "crafted.safetensors"
    assert len(crafted_files) >= 500
    modules = set(sys.modules)
    for content in crafted_files:
        path.write_bytes(content)
        tracemalloc.start()
        with pytest.raises(CheckpointError):
            read(path)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 32 * len(content) + 2**20  # no size that a file names is allocated
    assert set(sys.modules) == modules
    assert not (tmp_path / "EVIL").exists()
