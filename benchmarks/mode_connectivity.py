"""Barriers between independently trained networks against width, on real MNIST digits.

Multi-layer perceptrons with three hidden layers, 3 pairs a width, 8,000 of 10,000 digits for
training: the barrier of the loss along the straight line as the networks are, after matching by
weights and by activations, each with and without REPAIR at the midpoint, and along a trained
Bezier curve. ``python benchmarks/mode_connectivity.py --data mnist10k.npz`` writes
results/mode_connectivity.md; the file holds ``images`` and ``labels``, and without it the digits
come from OpenML. With ``--check`` it fails where a barrier is above its limit.
"""

import argparse
import warnings
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import fetch_openml

from sklflat import SAMClassifier
from sklflat.matching import match_by_activations, match_weights
from sklflat.networks.state import read_state
from sklflat.paths.barriers import barrier, measure_barriers
from sklflat.paths.losses import path_losses
from sklflat.paths.paths import LinearPath
from sklflat.paths.repair.repair import repaired_losses
from sklflat.paths.trained_curves import fit_bend
from sklflat.probing import resolve
from sklflat.symmetry import find_symmetry
from sklflat.training.runs import Training
from sklflat.training.stacking import train

TABLE = Path(__file__).parent / "results" / "mode_connectivity.md"
WIDTHS, N_PAIRS, BATCH = (32, 64, 128, 256, 512), 3, 128
ARMS = ("naive", "weights", "weights, repaired", "activations", "activations, repaired", "Bezier")
#: what a prototype measured at these widths, by SGD; and at most .02 along a curve
LIMITS = {
    128: {"weights": 0.073, "activations": 0.131, "weights, repaired": 0.026}
    | {"activations, repaired": 0.048},
    512: {"weights": 0.045, "activations": 0.088, "weights, repaired": 0.016}
    | {"activations, repaired": 0.032, "Bezier": 0.02},
}
#: barriers of the training loss after matching on 60,000 digits, as published (784-512-512-512-10
#: and narrower, Adam): for the order only
PUBLISHED = {32: 0.644, 64: 0.267, 128: 0.081, 256: 0.012, 512: 0.003}


def digits(path):
    """8,000 digits to train on and 2,000 others."""
    if path:
        with np.load(path) as file:
            X, y = file["images"].reshape(-1, 784), file["labels"]
    else:
        X, y = fetch_openml("mnist_784", version=1, return_X_y=True, as_frame=False)
        X, y = X[:10_000], y[:10_000]
    X, y = (X / 255).astype(np.float32), y.astype(int)
    return X[:8000], y[:8000], X[8000:10_000], y[8000:10_000]


def networks(width, X, y, solver="sgd", decay=5e-3, epochs=30):
    """Six networks from seeds of their own."""
    trainings = [
        Training(
            SAMClassifier(
                (width,) * 3,
                rho=0,
                solver=solver,
                learning_rate_init=0.05 if solver == "sgd" else 1e-3,
                nesterovs_momentum=False,
                alpha=decay * BATCH,  # is divided by the size of a batch
                batch_size=BATCH,
                max_iter=epochs,
                n_iter_no_change=epochs,
                tol=0,
                random_state=seed,
            ),
            X,
            y,
        )
        for seed in range(2 * N_PAIRS)
    ]
    for _ in train(trainings):
        pass
    return [training.estimator for training in trainings]


def pair_barriers(one, other, X, y):
    """Barriers of the training loss (against the mean of the ends) between two estimators."""
    trained = resolve(one)
    network, second = trained.network, resolve(other).network
    x, target = trained.to_input(X), trained.to_target(y)
    a, b = read_state(network.module), read_state(second.module)
    symmetry = find_symmetry(network.module, x)
    names = [name for name, _ in network.module.named_parameters()]
    perms = {
        "weights": match_weights(symmetry, a, b, names=names, random_state=0).perm,
        "activations": match_by_activations(symmetry, network.module, a, b, x).perm,
    }
    data = {"train": (x, target)}
    line = LinearPath(a, b)
    found = {"naive": measure_barriers(network, line, data).value("loss", "train", "mean")}
    for name, perm in perms.items():
        path = LinearPath(a, symmetry.permute(b, perm))
        found[name] = measure_barriers(network, path, data).value("loss", "train", "mean")
        ends = path_losses(network, path, [0.0, 1.0], x, target).loss
        middle = repaired_losses(network, path, [0.5], x, x, target).loss
        curve = [ends[0], middle[0], ends[1]]
        found[f"{name}, repaired"] = barrier([0, 0.5, 1], curve, "mean")
    bezier = fit_bend(network, a, b, x, target, max_iter=40, random_state=0)
    found["Bezier"] = measure_barriers(network, bezier, data).value("loss", "train", "mean")
    return found


def measure(X, y, widths, **settings):
    """For each width the barriers (n_pairs,) of every arm."""
    rows = {}
    for width in widths:
        ends = networks(width, X, y, **settings)
        pairs = [pair_barriers(*ends[2 * i : 2 * i + 2], X, y) for i in range(N_PAIRS)]
        rows[width] = {arm: np.array([pair[arm] for pair in pairs]) for arm in ARMS}
        print(width, {arm: round(float(v.mean()), 4) for arm, v in rows[width].items()}, flush=True)
    return rows


def exceeded(rows):
    """What is above its limit."""
    return [
        f"width {width}, {arm}: {rows[width][arm].mean():.3f} > {limit}"
        for width, limits in LIMITS.items()
        if width in rows
        for arm, limit in limits.items()
        if rows[width][arm].mean() > limit
    ]


def table(rows):
    """Rows of a table, means over pairs with the range."""
    lines = [f"| width | {' | '.join(ARMS)} |", "|---" * (len(ARMS) + 1) + "|"]
    for width, found in rows.items():
        cells = [f"{v.mean():.3f} ({v.min():.3f} to {v.max():.3f})" for v in found.values()]
        lines.append(f"| {width} | {' | '.join(cells)} |")
    return lines


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", help="an npz file with images and labels")
    parser.add_argument("--widths", type=int, nargs="*", default=WIDTHS)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(args.threads)
    X, y, *_ = digits(args.data)
    sgd = measure(X, y, args.widths)
    adam = measure(X, y, args.widths[-1:], solver="adam", decay=0.0)
    ratios = [
        sgd[a]["weights"].mean() / sgd[b]["weights"].mean()
        for a, b in zip(args.widths, args.widths[1:], strict=False)
    ]
    lines = [
        "# Barriers against width\n",
        "Written by `benchmarks/mode_connectivity.py`: three hidden layers, 8,000 MNIST digits, "
        f"{N_PAIRS} pairs of independent seeds a width. Barriers of the training loss against the "
        "mean of the ends, in nats: mean over pairs (range). REPAIR is measured at the midpoint.\n",
        "SGD, rate 0.05, momentum 0.9, weight decay 0.005, 30 epochs:\n",
        *table(sgd),
        "\nFrom one width to the next the barrier after weight matching falls by "
        f"{', '.join(f'{r:.1f}' for r in ratios)}.\n",
        "Adam, rate 0.001, no weight decay, 30 epochs:\n",
        *table(adam),
        "\nPublished for 60,000 digits and Adam, after matching (for the order only): "
        f"{', '.join(f'{v} at {w}' for w, v in PUBLISHED.items())}.",
    ]
    TABLE.write_text("\n".join(lines) + "\n")
    failures = exceeded(sgd)
    print("\n".join(failures) or "within all limits")
    if args.check and failures:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
