"""How the time of a fit grows with rows, units and parameters.

Each estimator is fitted at its defaults (but for what ``SETTINGS`` says) on a table of 2,000 rows,
32 inputs and 4 classes, for a network of 64 hidden units; then on four times as many rows, four
times as many units (and with them parameters), and four times as many inputs (parameters alone).
Probes that need one network are given it, trained before; the others train theirs, for 20 epochs.
Seconds are the processor's, on one thread; the least of two fits, as other work only adds to them.
``python benchmarks/how_time_grows.py`` writes results/how_time_grows.md, in about ten minutes.
"""

import time
import warnings
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import make_classification
from sklearn.frozen import FrozenEstimator

import sklflat

TABLE = Path(__file__).parent / "results" / "how_time_grows.md"
BASE = {"rows": 2000, "units": 64, "inputs": 32}
FACTOR = 4
#: name -> parameters; of those that are given a trained network, and of those that train
SETTINGS = {
    "ActivationProbe": {},
    "AblationProbe": {},
    "HessianSpectrum": {},
    "TemperatureProbe": {},
    "PruningPath": {},
    "SurrogateAligner": {},
    "UniversalityProbe": {},
    "ModeConnectivityProbe": {"n_null": 500},
    "BasinRewinder": {"sparsity": 0.5, "n_retrains": 3},
}
TRAIN = {"UniversalityProbe", "ModeConnectivityProbe", "BasinRewinder"}


def table(rows, inputs):
    """Rows with four classes, two clusters each."""
    X, y = make_classification(
        rows, inputs, n_informative=8, n_redundant=0, n_classes=4, random_state=0
    )
    return X.astype(np.float32), y


def seconds(name, rows, units, inputs, repeats=2):
    """Seconds of the processor that a fit takes, and parameters of the network."""
    X, y = table(rows, inputs)
    network = sklflat.SAMClassifier((units,), rho=0, max_iter=20, random_state=0)
    fitted = sklflat.SAMClassifier((units,), rho=0, max_iter=20, random_state=0).fit(X, y)
    n_parameters = sum(p.numel() for p in fitted.module_.parameters())
    given = network if name in TRAIN else FrozenEstimator(fitted)
    taken = []
    for _ in range(repeats):
        probe = getattr(sklflat, name)(given, random_state=0, **SETTINGS[name])
        start = time.process_time()
        probe.fit(X, y)
        taken.append(time.process_time() - start)
    return min(taken), n_parameters


def main():
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    lines = [
        "# How time grows\n",
        "Written by `benchmarks/how_time_grows.py`: seconds of the processor on one thread for a "
        f"fit on {BASE['rows']:,} rows of {BASE['inputs']} inputs and 4 classes, a network of "
        f"{BASE['units']} hidden units; and how many times as long it takes with {FACTOR} times "
        "as many of one of them. Parameters are as they are by default, but for those in brackets. "
        "The trained network is given, unless the estimator trains its own, for 20 epochs.\n",
    ]
    header, body = None, []
    for name in SETTINGS:
        seconds(name, 200, 8, 16, repeats=1)  # imports
        base, n_parameters = seconds(name, **BASE)
        said = [f"{key}={value}" for key, value in SETTINGS[name].items()]
        said += ["trains"] if name in TRAIN else []
        cells = [f"`{name}`" + (f" ({', '.join(said)})" if said else ""), f"{base:.2f}"]
        sizes = []
        for axis in BASE:
            larger, n = seconds(name, **BASE | {axis: FACTOR * BASE[axis]})
            cells.append(f"{larger / base:.1f}")
            sizes.append(n)
        print(" ".join(cells), flush=True)
        body.append(f"| {' | '.join(cells)} |")
        header = (
            f"| estimator | seconds ({n_parameters:,} parameters) | {FACTOR} x rows "
            f"| {FACTOR} x units ({sizes[1]:,} parameters) "
            f"| {FACTOR} x inputs ({sizes[2]:,} parameters) |"
        )
    lines += [header, "|---|---|---|---|---|", *body]
    TABLE.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
