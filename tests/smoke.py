"""What has to work wherever the package is installed, without pytest: run it as a script.

python tests/smoke.py
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from sklearn.datasets import load_iris
from sklearn.preprocessing import scale

import sklflat
from sklflat import AblationProbe, SAMClassifier, SAMRegressor


def fits() -> None:
    """Train a classifier of strings, and a regressor."""
    iris = load_iris()
    X, y = scale(iris.data), iris.target_names[iris.target]
    clf = SAMClassifier((8,), learning_rate_init=0.05, max_iter=500, random_state=0).fit(X, y)
    assert clf.score(X, y) > 0.8
    reg = SAMRegressor((8,), rho=0, learning_rate_init=0.05, max_iter=500, random_state=0)
    reg.fit(X, X[:, 0])
    assert reg.score(X, X[:, 0]) > 0.5
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clf.safetensors"
        sklflat.save(clf, path)
        np.testing.assert_array_equal(sklflat.load(path).predict(X), clf.predict(X))
    probe = AblationProbe(SAMClassifier((8,), learning_rate_init=0.05, max_iter=500), n_units=2)
    assert probe.set_params(random_state=0).fit(X, y).transform(X).shape == (150, 2)


def commands() -> None:
    """Ask the command line for its version, as a module and as the installed script."""
    script = Path(sys.executable).with_name("sklflat")
    for command in (
        [sys.executable, "-m", "sklflat"],
        *([[str(script)]] if script.exists() else []),
    ):
        done = subprocess.run([*command, "--version"], capture_output=True, text=True, check=True)
        assert done.stdout == f"sklflat {sklflat.__version__}\n", done.stdout


if __name__ == "__main__":
    fits()
    commands()
    print(sklflat.__version__, Path(sklflat.__file__).parent)
