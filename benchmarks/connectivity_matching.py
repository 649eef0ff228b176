"""Weight matching against rebasin (PyPI), on identical checkpoints.

The objective is the inner product of all weights after permuting the second network; the larger,
the better aligned. ``python benchmarks/connectivity_matching.py`` writes
results/connectivity_matching.md and needs the extra ``bench``; ``--check`` fails where the
objective is below the peer's.
"""

import argparse
import copy
from pathlib import Path

import torch
from sklearn.datasets import load_digits
from torch import nn

from sklflat.matching import match_weights
from sklflat.networks.state import read_state
from sklflat.symmetry import find_symmetry

TABLE = Path(__file__).parent / "results" / "connectivity_matching.md"
N_SEEDS = 3


def mlp(width):
    return nn.Sequential(
        nn.Linear(64, width),
        nn.ReLU(),
        nn.Linear(width, width),
        nn.ReLU(),
        nn.Linear(width, 10),
    )


def cnn():
    return nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)),
        nn.Conv2d(1, 16, 3, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(32, 10),
    )


MODELS = {"MLP 64-64-64-10": lambda: mlp(64), "MLP 64-256-256-10": lambda: mlp(256), "CNN": cnn}


def trained(make, seed, X, y):
    torch.manual_seed(seed)
    module = make()
    optimizer = torch.optim.Adam(module.parameters(), lr=0.003, weight_decay=1e-4)
    for _ in range(15):
        for rows in torch.randperm(len(X)).split(64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(module(X[rows]), y[rows]).backward()
            optimizer.step()
    return module.eval()


def objective(a, b):
    """Inner product of the parameters of two modules."""
    pairs = zip(a.parameters(), b.parameters(), strict=True)
    return sum(float((p.detach().double() * q.detach().double()).sum()) for p, q in pairs)


def by_rebasin(a, b, X):
    from rebasin import PermutationCoordinateDescent

    moved = copy.deepcopy(b)
    PermutationCoordinateDescent(copy.deepcopy(a), moved, X[:8]).rebasin()
    return objective(a, moved)


def by_us(a, b, X):
    symmetry = find_symmetry(a, X)
    names = [n for n, _ in a.named_parameters()]
    return match_weights(symmetry, read_state(a), read_state(b), names=names, random_state=0)


def measure():
    """For each network and seed the objective as they are, ours and theirs."""
    X, y = load_digits(return_X_y=True)
    X, y = torch.as_tensor(X / 16, dtype=torch.float32), torch.as_tensor(y)
    rows = []
    for name, make in MODELS.items():
        for seed in range(N_SEEDS):
            a, b = (trained(make, 2 * seed + i, X, y) for i in (0, 1))
            ours = by_us(a, b, X)
            rows.append((name, seed, ours.objective_identity, ours.objective, by_rebasin(a, b, X)))
            print(rows[-1], flush=True)
    return rows


def exceeded(rows):
    """Where the peer is better, beyond rounding."""
    return [
        f"{name}, seed {seed}: {ours:.4f} < {theirs:.4f}"
        for name, seed, _, ours, theirs in rows
        if ours < theirs - 1e-6 * abs(theirs)
    ]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    rows = measure()
    lines = [
        "# Weight matching against rebasin\n",
        "Written by `benchmarks/connectivity_matching.py`: the inner product of all weights after "
        "matching, on identical checkpoints; the larger, the better.\n",
        "| network | seed | as they are | sklflat | rebasin |",
        "|---|---|---|---|---|",
    ]
    for name, seed, before, ours, theirs in rows:
        lines.append(f"| {name} | {seed} | {before:.3f} | {ours:.3f} | {theirs:.3f} |")
    TABLE.write_text("\n".join(lines) + "\n")
    failures = exceeded(rows)
    print("\n".join(failures) or "nowhere below the peer")
    if args.check and failures:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
