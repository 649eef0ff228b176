"""A crash or a full disk leaves the old file or the new one, and is never a success."""

import os
import resource
import signal
import subprocess
import sys

import numpy as np
import pytest

from sklflat.exceptions import StorageError
from sklflat.storage import RunStore, read, write
from sklflat.storage import files as files_module
from tests._files import run


def write_in_a_child(path, n):
    """Exit status of a process that writes a file and is killed before its n-th system call.

    With n = 0 it is not killed, and its status is the number of its calls.
    """
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    calls = 0

    def counted(function):
        def call(*args, **kwargs):
            nonlocal calls
            calls += 1
            if calls == n:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*args, **kwargs)

        return call

    try:
        for name in ("open", "write", "fsync", "close", "replace"):
            setattr(files_module.os, name, counted(getattr(os, name)))
        files_module.write(path, {"w": np.full(50_000, 2.0)}, {"version": 2})
    except BaseException:
        calls = 0
    os._exit(calls)


def test_a_kill_before_any_system_call_of_a_save_leaves_a_whole_file(tmp_path):
    """Before each call that the writer makes, and (n = 0) none."""
    path = tmp_path / "file.safetensors"
    n_calls = write_in_a_child(path, 0)
    assert n_calls >= 8
    seen = set()
    for n in range(1, n_calls + 1):
        write(path, {"w": np.full(50_000, 1.0)}, {"version": 1})
        assert write_in_a_child(path, n) == -signal.SIGKILL
        arrays, info = read(path)
        assert (arrays["w"] == info["version"]).all()
        seen.add(info["version"])
    assert seen == {1, 2}


def test_a_full_disk_and_a_read_only_one_are_errors_that_name_the_path(tmp_path, monkeypatch):
    path = tmp_path / "file.safetensors"
    write(path, {"w": np.ones(2)}, 1)
    for call, number in [("write", 28), ("fsync", 5), ("open", 30), ("replace", 13)]:
        with monkeypatch.context() as patch:

            def fails(*args, number=number, **kwargs):
                raise OSError(number, os.strerror(number))

            patch.setattr(files_module.os, call, fails)
            with pytest.raises(StorageError, match=r"file\.safetensors cannot be written"):
                write(path, {"w": np.zeros(2)}, 2)
        assert read(path)[1] == 1
        assert os.listdir(tmp_path) == [path.name]
    with monkeypatch.context() as patch:  # a disk that takes nothing, and says nothing
        patch.setattr(files_module.os, "write", lambda *a: 0)
        with pytest.raises(StorageError, match="space"):
            write(path, {"w": np.zeros(2)}, 2)
    assert read(path)[1] == 1


def mounted(tmp_path):
    """A file system of 1 MB, if this user may mount one."""
    directory = tmp_path / "small"
    directory.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(directory)]
    done = subprocess.run(command, capture_output=True, check=False)
    return directory if done.returncode == 0 else None


@pytest.mark.skipif(sys.platform != "linux", reason="tmpfs is Linux's")
def test_a_small_file_system_that_is_full_and_one_that_is_read_only(tmp_path):
    directory = mounted(tmp_path)
    if directory is None:
        pytest.skip("this user may not mount a file system; the errors are simulated above")
    try:
        store = RunStore(directory)
        store.put("a" * 8, {"w": np.ones(1000)}, 1)
        with pytest.raises(StorageError, match=str(directory)):
            store.put("a" * 8, {"w": np.ones(10**6)}, 2)
        assert store.get("a" * 8)[1] == 1
        assert [p.name for p in directory.iterdir() if p.name.startswith(".")] == []
        subprocess.run(["mount", "-o", "remount,ro", str(directory)], check=True)
        with pytest.raises(StorageError, match=str(directory)):
            RunStore(directory)
        with pytest.raises(StorageError, match=str(directory)):
            store.put("b" * 8, {}, 1)
    finally:
        subprocess.run(["umount", str(directory)], check=True)


@pytest.mark.slow
def test_a_limit_on_the_size_of_files_is_an_error_that_names_the_path(tmp_path):
    script = """
    import sys
    import numpy as np
    from sklflat.storage import write
    write(sys.argv[1], {"w": np.ones(100_000)}, 1)
    """

    def limited():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))

    path = tmp_path / "file.safetensors"
    done = run(script, path, preexec_fn=limited)
    assert done.returncode == 1
    assert "StorageError" in done.stderr
    assert str(path) in done.stderr
    assert os.listdir(tmp_path) == []
