"""Activations of a wide convolutional network, streamed: time and memory.

10,000 images, 256 channels in the last of three convolutions. Time is a ratio to the bare forward
pass; peak memory is to stay below what one batch's forward pass and the result need. Run
``python benchmarks/units.py``; it writes results/units.md. With ``--check`` it fails above limits.
"""

import argparse
import resource
import statistics
import time
from pathlib import Path

import torch
from torch import nn

from sklflat.networks import Units

N_IMAGES, BATCH, LIMIT = 10_000, 100, 1.2
TABLE = Path(__file__).parent / "results" / "units.md"


def make():
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(1, 64, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(64, 128, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(128, 256, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(256, 10),
    ).eval()
    return module, torch.randn(N_IMAGES, 1, 16, 16)


def bare(module, X):
    with torch.no_grad():
        for x in X.split(BATCH):
            module(x)


def seconds(function):
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def peak_mib():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(rounds):
    """Ratios of alternating runs, and the growth of the process's peak memory in MiB."""
    module, X = make()
    units = Units.find(module, X[:5])
    bare(module, X[:BATCH])
    before = peak_mib()
    units.activations(module, X, BATCH)
    growth = peak_mib() - before
    ratios = [
        seconds(lambda: units.activations(module, X, BATCH)) / seconds(lambda: bare(module, X))
        for _ in range(rounds)
    ]
    return len(units), ratios, growth


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--check", action="store_true", help="fail above the limits")
    options = parser.parse_args()
    n_units, ratios, growth = measure(options.rounds)
    ratio, result = statistics.median(ratios), N_IMAGES * n_units * 4 / 2**20
    # one batch in flight: input, three convolutions and what they are worked out in
    batch = BATCH * (64 * 256 + 128 * 64 + 256 * 16) * 4 * 2 / 2**20
    lines = [
        "# Activations of a wide convolutional network",
        "",
        f"{N_IMAGES:,} images of 16 x 16, {n_units} units in three convolutions (64, 128 and 256",
        f"channels), batches of {BATCH}, float32, {torch.get_num_threads()} threads; median of",
        f"{len(ratios)} alternating runs.",
        "",
        "| quantity | value | limit |",
        "|---|---|---|",
        f"| time / bare forward pass | {ratio:.2f} | {LIMIT} |",
        f"| growth of peak memory [MiB] | {growth:.0f} | {result + batch:.0f} |",
        "",
        f"The result takes {result:.0f} MiB, one batch in flight at most {batch:.0f} MiB.",
    ]
    TABLE.write_text("\n".join(lines) + "\n")
    print("\n".join(lines))
    if options.check and (ratio > LIMIT or growth > result + batch):
        raise SystemExit("above the limits")


if __name__ == "__main__":
    main()
