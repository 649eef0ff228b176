"""How far the tree of classes is the same with other rows and another start: digits and letters.

Ten networks of each, every one trained on its own random choice of the rows from its own start,
and looked at on the rest. The letters are 26 classes on a planted tree that no class mean shows
(those of the gallery's example); whether digits have a tree is not known.
``python benchmarks/temperature_seeds.py`` writes results/temperature_seeds.md; with ``--check`` it
fails where the letters have no hierarchy in nine of ten seeds.
"""

import argparse
import time
import warnings
from itertools import permutations
from pathlib import Path

import numpy as np
from _planted_trees import N_SEEDS, trained
from sklearn.datasets import load_digits
from sklearn.frozen import FrozenEstimator

from sklflat import SAMClassifier, TemperatureProbe
from sklflat.datasets import make_class_tree
from sklflat.temperature.class_tree import cophenetic, share_with

TABLE = Path(__file__).parent / "results" / "temperature_seeds.md"
NETWORK = SAMClassifier((128,), learning_rate_init=0.003, max_iter=30, n_iter_no_change=30)
#: share of the seeds in which the letters have a hierarchy
TOLD = 0.9


def digits():
    """Rows, labels, how many to train on, and no truth."""
    X, y = load_digits(return_X_y=True)
    return X / 16, y, 1000, None


def letters():
    """The same of 26 letters, with the planted tree."""
    X, y, truth = make_class_tree(
        8000, n_classes=26, separation=9, decay=0.75, warp="parity", n_noise=0, random_state=0
    )
    return X, np.array(list("ABCDEFGHIJKLMNOPQRSTUVWXYZ"))[y], 6500, truth


def probes_of(X, y, n_train):
    """A probe for every seed, and the accuracies of their networks on the rows looked at."""
    parts = []
    for seed in range(N_SEEDS):
        order = np.random.RandomState(seed).permutation(len(X))
        train, rest = order[:n_train], order[n_train:]
        parts.append((X[train], y[train], X[rest], y[rest]))
    networks = trained(NETWORK, parts)
    accuracies = [n.score(*part[2:]) for n, part in zip(networks, parts, strict=True)]
    probes = [
        TemperatureProbe(FrozenEstimator(n), n_bootstrap=50, n_null=100, random_state=0)
        for n in networks
    ]
    return [p.fit(*part[2:]) for p, part in zip(probes, parts, strict=True)], accuracies


def agreement(linkages):
    """Correlation of heights, and share of branches, with other seeds' trees (n_seeds,) each."""
    heights = [cophenetic(Z) for Z in linkages]
    n = len(linkages)
    same, shared = np.full((n, n), np.nan), np.full((n, n), np.nan)
    for i, j in permutations(range(n), 2):
        same[i, j] = np.corrcoef(heights[i], heights[j])[0, 1]
        shared[i, j] = np.nanmean(share_with(linkages[i], [linkages[j]])[:-1])  # but the root
    return np.nanmean(same, axis=1), np.nanmean(shared, axis=1)


def measure():
    """Probes, accuracies and the truth, by name."""
    found = {}
    for name, data in (("digits", digits), ("letters", letters)):
        X, y, n_train, truth = data()
        found[name] = *probes_of(X, y, n_train), truth
        print(name, f"{time.process_time():.0f} s", flush=True)
    return found


# --- tables -----------------------------------------------------------------------------------


def spread(values, digits=2):
    """Mean, and the least and the greatest."""
    low, mean, high = (f"{f(values):.{digits}f}" for f in (np.min, np.mean, np.max))
    return f"{mean} ({low} to {high})"


def found_table(found):
    """What the probes say of each data set."""
    yield (
        "| | accuracy | hierarchy found | T of the tree, over the calibrated | stability on other "
        "rows | support of branches |"
    )
    yield "|---|---|---|---|---|---|"
    for name, (probes, accuracies, _) in found.items():
        cells = [
            spread(accuracies),
            f"{sum(p.hierarchy_ is not None for p in probes)} of {len(probes)}",
            spread([p.tree_.temperature / p.calibrated_temperature_ for p in probes]),
            spread([p.stability_.max() for p in probes]),
            spread([np.nanmean(p.tree_.support[:-1]) for p in probes]),
        ]
        yield f"| {name} | {' | '.join(cells)} |"


def agreement_table(probes, truth):
    """How far trees of other seeds are the same, way by way."""
    yield "| tree by | heights, correlation | branches shared |" + (
        " triplet accuracy |" if truth else ""
    )
    yield "|---|---|---|" + ("---|" if truth else "")
    ways = list(zip(*(p.comparisons_ for p in probes), strict=True))
    for k, trees in enumerate(ways):
        linkages = [c.linkage for c in trees]
        cells = [spread(values) for values in agreement(linkages)]
        if truth:
            cells.append(spread([truth.triplet_accuracy(Z) for Z in linkages]))
        name = trees[0].name if k else "the most stable temperature"
        yield f"| {name} | {' | '.join(cells)} |"


def report(found):
    """The page, line by line."""
    yield "# Trees of digits and letters over seeds\n"
    yield (
        f"Written by `benchmarks/temperature_seeds.py`: {N_SEEDS} seeds, each of another split of "
        "the rows and another start of the network; means, in brackets the least and the greatest "
        "of the seeds. Support is that of bootstrap samples of a seed's own rows, averaged over "
        "branches. Of a seed, agreement is that with the nine others' trees: the correlation of "
        "heights over pairs of classes, and the share of its branches that the other has.\n"
    )
    yield from found_table(found)
    for name, (probes, _, truth) in found.items():
        yield f"\n## {name.capitalize()}\n"
        yield from agreement_table(probes, truth)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    found = measure()
    TABLE.write_text("\n".join(report(found)) + "\n")
    print(TABLE.read_text())
    told = np.mean([p.hierarchy_ is not None for p in found["letters"][0]])
    failures = [f"letters: a hierarchy in {told:.0%} of the seeds"] if told < TOLD else []
    print("\n".join(failures) or "the letters have a hierarchy")
    if args.check and failures:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
