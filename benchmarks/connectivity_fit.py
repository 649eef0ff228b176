"""Seconds that a whole fit of ModeConnectivityProbe takes, nulls and trainings included.

Two networks of width 256 on the digits, from nothing to the invariant core: training of the pair,
alignment and its verification, walk, REPAIR, four nulls (with eight networks trained on shuffled
labels). ``python benchmarks/connectivity_fit.py`` writes results/connectivity_fit.md; with
``--check`` it fails where a fit takes longer than its limit.
"""

import argparse
import time
import warnings
from pathlib import Path

import torch
from sklearn.datasets import load_digits

from sklflat import ModeConnectivityProbe, SAMClassifier

TABLE = Path(__file__).parent / "results" / "connectivity_fit.md"
#: seconds on two cores
LIMIT = 60
NETWORKS = {
    "SAM, 200 epochs (the defaults)": {},
    "SAM, 60 epochs": {"max_iter": 60},
    "plain Adam, 60 epochs": {"max_iter": 60, "rho": 0},
}


def seconds(align="activations", **settings):
    """How long one fit takes."""
    X, y = load_digits(return_X_y=True)
    network = SAMClassifier((256,), random_state=0, **settings)
    probe = ModeConnectivityProbe(network, align=align, random_state=0)
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of epochs that are up, and of a core that is empty
        probe.fit(X / 16, y)
    return time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    rows = [
        (name, align, seconds(align, **settings))
        for name, settings in NETWORKS.items()
        for align in ("activations", "weights")
    ]
    lines = [
        "# A whole fit of `ModeConnectivityProbe`\n",
        "Written by `benchmarks/connectivity_fit.py`: two multi-layer perceptrons of width 256 on "
        "the 1,797 digits, from untrained networks to the core, all four nulls included; "
        f"{args.threads} threads. The limit is {LIMIT} s on two cores.\n",
        "| networks | `align` | seconds |",
        "|---|---|---|",
        *(f"| {name} | `{align!r}` | {took:.0f} |" for name, align, took in rows),
    ]
    TABLE.write_text("\n".join(lines) + "\n")
    print("\n".join(lines))
    if args.check and max(took for *_, took in rows) > LIMIT:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
