"""Losses at 25 points of a straight path, against one model a point.

Each figure is the median of alternating runs in one process: two multilayer perceptrons on 8,000
MNIST digits. The peers are `LerpSimple` of rebasin, which copies a model, writes mixed parameters
and calls a function of the user's, here a pass over a `DataLoader` in batches of 1,000; and the
same loop over batches that were cut once, the least that anybody would write. All of them are in
float32, as is `path_losses` in one of its two rows; in the other it is in float64, which is what
`Network` chooses on a CPU. It is a plain loop, too: in a default fit of `ModeConnectivityProbe` the
losses along its paths take about 1 % of the time, so that nothing faster is worth its code.

OpenMP's threads wait without spinning, for all of them alike. Where they spin and other processes
share the two cores, two threads mostly wait for each other whatever is computed.

    python benchmarks/connectivity_paths.py --data mnist10k.npz  # rewrites results/
    python benchmarks/connectivity_paths.py --check              # fails if a limit is not kept

Times do not depend on the digits, so without a file those of scikit-learn are enlarged.
"""

import argparse
import copy
import itertools
import os
import statistics
import time
from functools import partial
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # is read when torch is imported

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from sklflat.networks import Network
from sklflat.networks.state import read_state
from sklflat.paths.losses import path_losses
from sklflat.paths.paths import LinearPath

RESULTS = Path(__file__).parent / "results" / "connectivity_paths.md"
N_POINTS, N_ROWS, BATCH = 25, 8000, 1000
#: the points that rebasin takes for so many steps
TS = np.arange(1, N_POINTS + 1) / (N_POINTS + 2)
NETWORKS = {"784-300-100-10": 5, "784-512-512-512-10": 3}  # with how many runs
LIMIT = 1.0  # of LeNet-300-100 in rebasin's precision, one thread or two


def digits(path=None):
    """8,000 images of 784 pixels, and labels."""
    if path:
        with np.load(path) as file:
            X, y = file["images"].reshape(-1, 784) / 255, file["labels"]
    else:
        X, y = load_digits(return_X_y=True)
        X = np.kron(X.reshape(-1, 8, 8) / 16, np.ones((1, 3, 3)))
        X = np.pad(X, ((0, 0), (2, 2), (2, 2))).reshape(-1, 784)
    rows = np.arange(N_ROWS) % len(X)
    return torch.tensor(X[rows], dtype=torch.float32), torch.tensor(y[rows], dtype=torch.int64)


def ends(name):
    """Two networks from seeds of their own."""
    sizes = [int(n) for n in name.split("-")]
    modules = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        layers = [
            part for n, m in itertools.pairwise(sizes) for part in (nn.Linear(n, m), nn.ReLU())
        ]
        modules.append(nn.Sequential(*layers[:-1]))
    return modules


@torch.no_grad()
def mean_loss(module, device=None, *, batches):
    """What a user gives to rebasin."""
    losses = [nn.functional.cross_entropy(module(x), y, reduction="sum") for x, y in batches]
    return float(sum(losses)) / N_ROWS


def loader(X, y):
    return DataLoader(TensorDataset(X, y), batch_size=BATCH)


def rebasin(a, b, X, y):
    """The peer itself."""
    from rebasin.interpolation import LerpSimple

    walk = LerpSimple([a, b], eval_fn=partial(mean_loss, batches=loader(X, y)))
    walk.interpolate(steps=N_POINTS)
    return walk.metrics_interpolated


def bare(a, b, batches):
    """What rebasin does, and nothing else."""
    losses = []
    for t in TS:
        module = copy.deepcopy(a)
        triples = zip(a.parameters(), b.parameters(), module.parameters(), strict=True)
        for one, other, mixed in triples:
            mixed.data = torch.lerp(one.detach(), other.detach(), float(t))
        losses.append(mean_loss(module, batches=batches))
    return losses


def ours(a, b, X, y, dtype=None):
    network = Network(a, nn.CrossEntropyLoss(), dtype=dtype)
    return path_losses(network, LinearPath(read_state(a), read_state(b)), TS, X, y).loss


def seconds(functions, runs):
    """Times (runs, functions) in alternating runs; all losses are the same to float32."""
    times = []
    for _ in range(runs + 1):
        row, found = [], []
        for function in functions:
            start = time.perf_counter()
            found.append(function())
            row.append(time.perf_counter() - start)
        for losses in found[1:]:
            np.testing.assert_allclose(losses, found[0], rtol=1e-4)
        times.append(row)
    return np.array(times[1:])  # the first run warms up


def ratio(times, peer, fast):
    """The median of ratios with the lowest and the highest."""
    ratios = times[:, peer] / times[:, fast]
    return statistics.median(ratios), ratios.min(), ratios.max()


def table(X, y, threads):
    rows, failed = [], []
    cut = list(zip(X.split(BATCH), y.split(BATCH), strict=True))
    for name, runs in NETWORKS.items():
        a, b = ends(name)
        peers = {"rebasin": partial(rebasin, a, b, X, y), "bare loop": partial(bare, a, b, cut)}
        arms = {"float32": torch.float32, "float64": None}
        functions = [*peers.values(), *(partial(ours, a, b, X, y, d) for d in arms.values())]
        times = seconds(functions, runs)
        for i, peer in enumerate(peers):
            for j, arm in enumerate(arms, len(peers)):
                median, low, high = ratio(times, i, j)
                limit = (
                    LIMIT
                    if (name, peer, arm) == (next(iter(NETWORKS)), "rebasin", "float32")
                    else None
                )
                rows.append(
                    f"| {name} | {threads} | {peer} | {arm} | {np.median(times[:, i]):.2f} "
                    f"| {np.median(times[:, j]):.2f} | {median:.2f} [{low:.2f}, {high:.2f}] "
                    f"| {limit or ''} |"
                )
                print(rows[-1], flush=True)
                if limit and median < limit:
                    failed.append(rows[-1])
    return rows, failed


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", help="an npz file with images and labels")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--threads", type=int, nargs="*", default=[1, 2])
    arguments = parser.parse_args()
    X, y = digits(arguments.data)
    rows, failed = [], []
    for threads in arguments.threads:
        torch.set_num_threads(threads)
        for found, kept in zip(table(X, y, threads), (rows, failed), strict=True):
            kept += found
    head = [
        "| network | threads | peer | precision | peer (s) | path_losses (s) "
        "| times faster [range] | at least |",
        "|---" * 8 + "|",
    ]
    text = __doc__.partition("\n\n    python")[0].strip()
    RESULTS.write_text("\n".join(["# Losses along a path", "", text, "", *head, *rows, ""]))
    if arguments.check and failed:
        raise SystemExit("Below the limit:\n" + "\n".join(failed))


if __name__ == "__main__":
    main()
