"""How often a unit that is called needed, or harmful, is not, on rows that nothing has seen.

Networks of 16 ReLU units are trained on 300 rows of 8 inputs, with noise in the targets, and their
units decided on 100 or 1,000 other rows. The truth is the rise of the loss on 20,000 fresh rows,
of which units are also given their mean. A false discovery proportion is a network's share of wrong
units among those that are called so, 0 where there is none.

``python benchmarks/decisions.py`` writes results/decisions.md and keeps every cell in
results/decisions.json, 15 networks at a time, so that a run that is cut off goes on and more
networks are added to those that are there; ``--networks`` is their number a cell, ``--check`` fails
where an interval of a proportion lies above .05.
"""

import argparse
import json
import time
import warnings
from pathlib import Path

import numpy as np

from sklflat import SAMClassifier, SAMRegressor
from sklflat.metrics import mean_bounds
from sklflat.probing import Sample
from sklflat.probing.ablation_sample import AblationSample
from sklflat.training.runs import Training
from sklflat.training.stacking import train

RESULTS = Path(__file__).parent / "results"
TABLE, CELLS = RESULTS / "decisions.md", RESULTS / "decisions.json"
TASKS, EPOCHS, ROWS = ("regression", "binary", "5 classes"), (30, 150), (100, 1000)
N_INPUTS, N_TRAIN, N_FRESH = 8, 300, 20_000
#: networks that are trained, measured and kept at a time
N_AT_A_TIME = 15


def rows(task, n, rng):
    """Inputs and targets: an interaction and two main effects, with as much noise as signal."""
    X = rng.normal(size=(n, N_INPUTS))
    signal = np.stack([X[:, 0] * X[:, 1], X[:, 2], np.sin(2 * X[:, 3]), X[:, 4], -X[:, 2]], axis=1)
    if task == "regression":
        return X, signal[:, :3].sum(axis=1) + rng.standard_t(5, size=n)
    if task == "binary":
        return X, (signal[:, :3].sum(axis=1) + rng.logistic(size=n) > 0).astype(int)
    return X, (signal + rng.gumbel(size=signal.shape)).argmax(axis=1)


def networks(task, epochs, seeds):
    """Trained networks, each with the random state that its further rows come from."""
    kind = SAMRegressor if task == "regression" else SAMClassifier
    rngs = [np.random.RandomState(1000 * epochs + seed) for seed in seeds]
    trainings = [
        Training(
            kind((16,), rho=0, learning_rate_init=0.01, max_iter=epochs, random_state=seed),
            *rows(task, N_TRAIN, rng),
            {},
        )
        for seed, rng in zip(seeds, rngs, strict=True)
    ]
    for i in train(trainings):
        if trainings[i].error is not None:
            raise trainings[i].error
    return zip((t.estimator for t in trainings), rngs, strict=True)


def measure(task, epochs, seeds):
    """For 100 and 1,000 rows, proportions and shares found of both claims, by network."""
    found = {size: {"needed": [], "harmful": [], "decided": []} for size in ROWS}
    for network, rng in networks(task, epochs, seeds):
        X, y = rows(task, max(ROWS), rng)
        fresh = AblationSample.extending(Sample.of(network, *rows(task, N_FRESH, rng)))
        truth = fresh.paired_rises.mean(axis=0)
        for size in ROWS:
            held_out = Sample.of(network, X[:size], y[:size])
            verdict = AblationSample.extending(held_out).decisions.verdict
            for name, sign in (("needed", 1), ("harmful", -1)):
                said, so = verdict == name, sign * truth > 0
                false = (said & ~so).sum() / max(1, said.sum())
                power = (said & so).sum() / so.sum() if so.any() else None
                found[size][name].append((false, power))
            found[size]["decided"].append(float((verdict != "undecided").mean()))
    return found


def missing(cells, task, epochs, n):
    """Seeds of the networks that a task's cells do not have yet, some at a time."""
    kept = [len(cells.get(key(task, epochs, size), {}).get("decided", ())) for size in ROWS]
    if len(set(kept)) > 1:
        raise SystemExit(f"{task}, {epochs} epochs: cells of {kept} networks. Remove them.")
    for first in range(kept[0], n, N_AT_A_TIME):
        yield range(first, min(first + N_AT_A_TIME, n))


def add(cells, task, epochs, found):
    """What was found of further networks, behind that of those that are there."""
    for size, parts in found.items():
        cell = cells.setdefault(key(task, epochs, size), {name: [] for name in parts})
        for name, values in parts.items():
            cell[name] = cell[name] + values


def key(task, epochs, size):
    """Name of a cell in the file."""
    return f"{task}; {epochs}; {size}"


def report(cells):
    """The page, line by line."""
    yield "# Decisions about units, and fresh rows\n"
    yield (
        f"Written by `benchmarks/decisions.py`: networks of 16 units, {N_TRAIN} training rows, "
        f"truth from {N_FRESH:,} fresh rows. Mean false discovery proportion with its 95 % "
        "interval over networks, and the share of the units for which a claim is true that are "
        "found. *Decided* counts negligible units, too.\n"
    )
    head = "task epochs rows networks needed:_false found harmful:_false found decided"
    yield f"| {head.replace(' ', ' | ').replace('_', ' ')} |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for cell_name, cell in sorted(cells.items()):
        parts = []
        for name in ("needed", "harmful"):
            false, power = zip(*cell[name], strict=True)
            low, high = mean_bounds(false)
            powers = [p for p in power if p is not None]
            parts.append(f"{np.mean(false):.3f} [{max(low, 0):.3f}, {high:.3f}]")
            parts.append(f"{np.mean(powers):.2f}" if powers else "")
        n, decided = len(cell["decided"]), np.mean(cell["decided"])
        yield f"| {cell_name.replace(';', ' |')} | {n} | {' | '.join(parts)} | {decided:.2f} |"


def exceeded(cells):
    """Cells of which the interval of a false discovery proportion lies above .05."""
    return [
        f"{cell_name}: {name}"
        for cell_name, cell in cells.items()
        for name in ("needed", "harmful")
        if mean_bounds([false for false, _ in cell[name]])[0] > 0.05
    ]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--networks", type=int, default=150)
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    cells = json.loads(CELLS.read_text()) if CELLS.exists() else {}
    for task in TASKS:
        for epochs in EPOCHS:
            for seeds in missing(cells, task, epochs, args.networks):
                add(cells, task, epochs, measure(task, epochs, seeds))
                CELLS.write_text(json.dumps(cells))
                TABLE.write_text("\n".join(report(cells)) + "\n")
                print(task, epochs, seeds, f"{time.process_time():.0f} s", flush=True)
    TABLE.write_text("\n".join(report(cells)) + "\n")
    print(TABLE.read_text())
    failures = exceeded(cells)
    if args.check and failures:
        raise SystemExit("\n".join(failures))


if __name__ == "__main__":
    main()
