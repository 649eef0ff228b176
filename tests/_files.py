"""What the tests of stored files share."""

import subprocess
import sys
import textwrap

import numpy as np

ARRAYS = {
    "w": np.arange(12.0).reshape(3, 4),
    "half": np.array([1.5, -0.0, np.inf], dtype=np.float16),
    "flags": np.array([[True], [False]]),
    "bytes": np.arange(5, dtype=np.uint8),
    "scalar": np.array(7),
    "empty": np.zeros((0, 3), np.float32),
    "strided": np.arange(10)[::2],
    "../../etc/passwd": np.ones(1),
}
INFO = {"name": "ünïcode", "list": [1, 2.5, None, True], "nested": {"a": {}}}


def same(a, b):
    return a.keys() == b.keys() and all(
        a[k].dtype == b[k].dtype and a[k].shape == b[k].shape and a[k].tobytes() == b[k].tobytes()
        for k in a
    )


def run(script, *arguments, **kwargs):
    command = [sys.executable, "-c", textwrap.dedent(script), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, **kwargs)
