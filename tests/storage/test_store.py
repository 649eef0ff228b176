"""The directory of finished work, and the names that it goes by."""

import hashlib
import os
import threading
import warnings

import numpy as np
import pytest
import torch

from sklflat.exceptions import CheckpointError, DamagedFileWarning, StorageError
from sklflat.storage import RunStore, fingerprint, read, write
from sklflat.storage import files as files_module
from tests._files import ARRAYS, INFO, run, same

# --- the store ------------------------------------------------------------------------------


def test_a_store_keeps_and_forgets(tmp_path):
    store = RunStore(tmp_path / "new" / "store")
    key = fingerprint("unit")
    assert store.get(key) is None
    store.put(key, ARRAYS, INFO)
    assert key in store
    assert list(store.keys()) == [key]
    assert same(store.get(key)[0], ARRAYS)
    store.delete(key)
    assert key not in store
    for bad in ("../../etc/x", "ABCDEFGH", "a" * 7, "a" * 65, "aaaaaaaa\n", "", 3):
        with pytest.raises(ValueError, match="hexadecimal"):
            store.get(bad)


def test_a_damaged_file_is_deleted_with_a_warning(tmp_path):
    store = RunStore(tmp_path)
    store.put("a" * 8, ARRAYS, INFO)
    store.path("a" * 8).write_bytes(b"nonsense")
    with pytest.warns(DamagedFileWarning, match="computed anew"):
        assert store.get("a" * 8) is None
    assert "a" * 8 not in store


def test_a_directory_that_is_a_file_or_of_a_newer_schema(tmp_path, monkeypatch):
    file = tmp_path / "file"
    file.write_text("x")
    with pytest.raises(StorageError, match=r"cache_dir=.*file"):
        RunStore(file)
    with pytest.raises(StorageError, match=r"cache_dir=.*file"):
        RunStore(file / "below")
    RunStore(tmp_path / "newer")
    write(tmp_path / "newer" / "store.safetensors", {}, {"schema": 99})
    with pytest.raises(CheckpointError, match="newer sklflat"):
        RunStore(tmp_path / "newer")
    monkeypatch.setattr(files_module, "SCHEMA", 2)
    write(tmp_path / "x.safetensors", {}, 1)
    monkeypatch.undo()
    with pytest.raises(CheckpointError, match="upgrade sklflat"):
        read(tmp_path / "x.safetensors")
    (tmp_path / "folder.safetensors").mkdir()
    with pytest.raises(CheckpointError, match="folder"):
        read(tmp_path / "folder.safetensors")
    with pytest.raises(StorageError, match="folder"):
        write(tmp_path / "folder.safetensors", {}, 1)


def test_only_what_was_left_long_ago_is_cleaned_up(tmp_path):
    old, young = (tmp_path / f".{'a' * 8}.safetensors.{k}-{k}1234567.tmp" for k in (1, 2))
    for file in (old, young):
        file.write_text("x")
    os.utime(old, (0, 0))
    RunStore(tmp_path)
    assert not old.exists()
    assert young.exists()


def test_two_processes_write_one_directory(tmp_path):
    def child(value):
        code = 1
        try:
            warnings.simplefilter("error")
            store = RunStore(tmp_path)
            for _ in range(150):
                store.put("c" * 8, {"w": np.full(3000, value)}, value)
                arrays, info = store.get("c" * 8)
                assert (arrays["w"] == info).all()
            code = 0
        finally:
            os._exit(code)

    pids = []
    for value in (1.0, 2.0):
        pid = os.fork()
        if pid == 0:
            child(value)
        pids.append(pid)
    assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids] == [0, 0]


# --- fingerprints ---------------------------------------------------------------------------


def test_fingerprints_tell_apart_what_differs():
    class Net(torch.nn.Module):
        def forward(self, X):
            return X + 1

    class Other(torch.nn.Module):
        def forward(self, X):
            return X + 2

    Other.__qualname__ = Net.__qualname__
    values = [None, 0, 0.0, -0.0, False, True, 1, 1.0, "1", b"1", (1,), [1], {1}, {1: 1}, 1j]
    values += [np.ones(2), np.ones((2, 1)), np.ones(2, np.float32), np.ones(2, int), [1.0, 1.0]]
    values += [
        torch.ones(2),
        torch.ones(2, dtype=torch.bfloat16),
        np.float32(1),
        ["ab"],
        ["a", "b"],
    ]
    values += [lambda x: x + 1, lambda x: x + 2, Net, Other, [[1], 2], [[1, 2]], np.nan, "", [], ()]
    values += [np.random.RandomState(0), np.random.RandomState(1), {"a": 1}, {"a": 2}, {"b": 1}]
    values += [
        np.array(["a", "b"]),
        np.array(["a", "b"], object),
        torch.nn.Linear(2, 2),
        torch.float,
    ]
    keys = [fingerprint(value) for value in values]
    assert len(set(keys)) == len(keys)
    assert keys == [fingerprint(value) for value in values]
    with pytest.raises(TypeError, match=r"x\[0\] is a _thread.lock, whose contents are not known"):
        fingerprint({"x": [threading.Lock()]})


def test_a_change_anywhere_in_a_users_code_changes_the_key():
    source = """
SCALE = {scale}

def helper(x):
    return x * {factor}

class Base:
    slope = {slope}

    def step(self, x):
        return [helper(v) for v in x]

class Net(Base):
    def forward(self, x):
        return SCALE * self.step(x)

def again(n):
    return n and again(n - 1)
"""
    keys = []
    for change in ({}, {"scale": 2}, {"factor": 3}, {"slope": 4}, {}):
        space = {"__name__": "users_module"}
        exec(source.format(**{"scale": 1, "factor": 1, "slope": 1, **change}), space)
        keys.append(fingerprint(space["Net"], space["again"]))
    assert len(set(keys)) == 4
    assert keys[0] == keys[-1]


PRINT_KEY = """
import numpy as np
import pandas as pd
from sklflat import SAMClassifier
from sklflat.storage import fingerprint
frame = pd.DataFrame({"a": [1, 2], "b": ["x", "y"]})
print(fingerprint({"a", "b", "c"}, {"x": 1, "y": np.arange(3)}, frame, SAMClassifier(rho=0.1)))
"""


@pytest.mark.slow
@pytest.mark.parametrize("seed", ["1", *(pytest.param(k, marks=pytest.mark.slow) for k in "07")])
def test_fingerprints_are_those_of_other_processes(seed, capsys):
    exec(PRINT_KEY, {})
    key = capsys.readouterr().out
    assert len(key.strip()) == 32
    assert run(PRINT_KEY, env={**os.environ, "PYTHONHASHSEED": seed}).stdout == key


def test_the_checksum_covers_names_types_and_shapes():
    a = {"a": np.arange(4.0)}
    others = [{"b": a["a"]}, {"a": a["a"].reshape(2, 2)}, {"a": a["a"].view(np.int64)}, {}]
    sums = {files_module._checksum(x, "{}", 1) for x in [a, *others]}
    assert len(sums) == 5
    assert files_module._checksum(a, "{}", 1) != files_module._checksum(a, "{}", 2)
    assert len(hashlib.blake2b(b"", digest_size=16).hexdigest()) == 32
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert files_module._checksum({"e": np.zeros((0, 2))}, "", 1)
