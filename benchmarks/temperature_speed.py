"""Seconds and memory of one fit of a temperature probe.

25 temperatures, 2,000 rows, 10 classes, 256 units, 100 bootstrap samples and as many halves; the
network is given, so that nothing is trained. Seconds are the processor's, on one thread. The peak
is what the fit adds to the process, beside the formula in the guide.
``python benchmarks/temperature_speed.py`` writes results/temperature_speed.md; with ``--check`` it
fails above ten seconds for ten classes, or above the formula.
"""

import argparse
import subprocess
import sys
from pathlib import Path

TABLE = Path(__file__).parent / "results" / "temperature_speed.md"
N_ROWS, N_UNITS, N_TEMPERATURES, N_BOOTSTRAP = 2000, 256, 25, 100
#: classes, and bootstrap samples of their rows
CASES = {10: N_BOOTSTRAP}
MAX_SECONDS = 10

SCRIPT = """
import sys, time, warnings
import numpy as np
import torch
from sklflat import TemperatureProbe, from_module
from sklflat.networks import MLP

warnings.simplefilter("ignore")
torch.set_num_threads(1)
n_rows, n_units, n_classes, n_bootstrap = map(int, sys.argv[1:])


def fit(n_rows, n_units, n_classes, n_bootstrap):
    X = np.random.RandomState(0).normal(size=(n_rows, 20)).astype(np.float32)
    network = from_module(MLP(20, n_classes, (n_units,)), classes=np.arange(n_classes))
    y = np.arange(n_rows) % n_classes
    start = time.process_time()
    TemperatureProbe(network, n_bootstrap=n_bootstrap, random_state=0).fit(X, y)
    return time.process_time() - start


def status(name):
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) * 1024


fit(100, 4, 6, 2)  # imports
before = status("VmRSS")
open("/proc/self/clear_refs", "w").write("5")  # the peak begins here
seconds = fit(n_rows, n_units, n_classes, n_bootstrap)
print(seconds, status("VmHWM") - before)
"""


def measure(n_classes, n_rows=N_ROWS, n_units=N_UNITS, n_bootstrap=N_BOOTSTRAP):
    """Seconds of the processor and bytes at the peak, in a process of its own."""
    figures = map(str, (n_rows, n_units, n_classes, n_bootstrap))
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *figures], capture_output=True, text=True, check=True
    )
    seconds, peak = done.stdout.split()
    return float(seconds), float(peak)


def formula(n_classes, n_rows=N_ROWS, n_units=N_UNITS, n_bootstrap=N_BOOTSTRAP):
    """Bytes at the peak, as the guide says: no product of temperatures, rows and units."""
    K, T, B, n, u = n_classes, N_TEMPERATURES, n_bootstrap, n_rows, n_units
    return 8 * (4 * B * n + 4 * n * K + 8 * n * u + 6 * T * K**2 + 8 * 2**22)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    rows = {K: measure(K, n_bootstrap=B) for K, B in CASES.items()}
    limits = {K: formula(K, n_bootstrap=B) for K, B in CASES.items()}
    lines = [
        "# Seconds and memory of a temperature probe\n",
        f"Written by `benchmarks/temperature_speed.py`: {N_TEMPERATURES} temperatures, "
        f"{N_ROWS:,} rows, {N_UNITS} units; seconds of the processor on one thread, and megabytes "
        "that the fit adds at its peak.\n",
        "| classes | bootstrap samples | seconds | megabytes | formula |",
        "|---|---|---|---|---|",
        *(
            f"| {K:,} | {CASES[K]} | {s:.1f} | {b / 1e6:.0f} | {limits[K] / 1e6:.0f} |"
            for K, (s, b) in rows.items()
        ),
    ]
    TABLE.write_text("\n".join(lines) + "\n")
    print(TABLE.read_text())
    failures = [f"{K} classes need more than the formula" for K in rows if rows[K][1] > limits[K]]
    if rows[10][0] > MAX_SECONDS:
        failures.append(f"10 classes take more than {MAX_SECONDS} s")
    print("\n".join(failures) or "within all limits")
    if args.check and failures:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
