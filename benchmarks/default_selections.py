"""How many units every probe selects by default on three real tables.

A network of 32 ReLU units, trained for 40 epochs on three quarters of breast cancer, wine or digits
(standardised), nine seeds each. Of the probes all parameters but the network and the seed are the
default ones; the numbers are those of units that pass (0 where none does, though the best one is
then selected with a warning). For the consensus also with the labels shuffled, where there is
nothing to find.

``python benchmarks/default_selections.py`` writes results/default_selections.md and keeps every
seed in results/default_selections.json as it ends; ``--minutes`` stops it, ``--check`` asserts that
the table is that of what is kept, and three numbers what they were.
"""

import argparse
import json
import os
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_breast_cancer, load_digits, load_wine
from sklearn.preprocessing import scale

from sklflat import (
    AblationProbe,
    ActivationProbe,
    BasinRewinder,
    HessianSpectrum,
    ModeConnectivityProbe,
    PruningPath,
    SAMClassifier,
    SurrogateAligner,
    TemperatureProbe,
    UnitConsensus,
    UniversalityProbe,
)
from sklflat.exceptions import NothingFoundWarning

RESULTS = Path(__file__).parent / "results"
TABLE, KEPT = RESULTS / "default_selections.md", RESULTS / "default_selections.json"
N_SEEDS, N_UNITS = 9, 32
TABLES = {"breast cancer": load_breast_cancer, "wine": load_wine, "digits": load_digits}
SHUFFLED = "UnitConsensus, labels shuffled"
PROBES = {
    "UnitConsensus": UnitConsensus,
    "HessianSpectrum": HessianSpectrum,
    "AblationProbe": AblationProbe,
    "ActivationProbe": ActivationProbe,
    SHUFFLED: UnitConsensus,
    "PruningPath": PruningPath,
    "UniversalityProbe": UniversalityProbe,
    "TemperatureProbe": TemperatureProbe,
    "ModeConnectivityProbe": ModeConnectivityProbe,
    "SurrogateAligner": SurrogateAligner,
    "BasinRewinder": BasinRewinder,
}
CHECKED = (("UnitConsensus", "wine"), ("AblationProbe", "breast cancer"))


def selected(name, table, seed):
    """How many units pass, and how many live."""
    X, y = TABLES[table](return_X_y=True)
    X = scale(X)
    if name == SHUFFLED:
        y = np.random.RandomState(seed).permutation(y)
    network = SAMClassifier((N_UNITS,), max_iter=40, random_state=seed)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        probe = PROBES[name](network, random_state=seed).fit(X, y)
    nothing = any(
        issubclass(w.category, NothingFoundWarning) and "best unit is selected" in str(w.message)
        for w in said
    )
    return [0 if nothing else int(probe.support_.sum()), int((~probe.dead_).sum())]


def run(minutes, kept):
    """Compute what is not kept, a seed of all tables at a time."""
    end = time.monotonic() + 60 * minutes
    for name in PROBES:
        for seed in range(N_SEEDS):
            for table in TABLES:
                cells = kept.setdefault(name, {}).setdefault(table, {})
                if str(seed) in cells:
                    continue
                if time.monotonic() > end:
                    print("the time is over; what was computed is kept")
                    return
                cells[str(seed)] = selected(name, table, seed)
                part = KEPT.with_suffix(".part")
                part.write_text(json.dumps(kept, indent=1) + "\n")
                os.replace(part, KEPT)
        print(name, f"{time.process_time():.0f} s", flush=True)


def cell(found):
    """Median number, its range, and how many networks have none."""
    n = np.array([selected for selected, _ in found.values()])
    if not len(n):
        return "not run"
    few = "" if len(n) == N_SEEDS else f", {len(n)} seeds"
    return f"{np.median(n):g} ({n.min()} to {n.max()}), none in {(n == 0).sum()} of {len(n)}{few}"


def sentence(name, kept):
    """What a page says of a probe's default; empty where it was not run on all tables."""
    found = kept.get(name, {})
    if not all(len(found.get(table, {})) == N_SEEDS for table in TABLES):
        return ""
    medians = {
        table: np.median([selected for selected, _ in found[table].values()]) for table in TABLES
    }
    nothing = sum(selected == 0 for table in TABLES for selected, _ in found[table].values())
    said = ", ".join(f"{medians[table]:g} on {table}" for table in TABLES)
    what = "With the labels shuffled it" if name == SHUFFLED else f"By default `{name}`"
    return (
        f"{what} selects a median of {said}, of {N_UNITS} units, and none in "
        f"{nothing} of {N_SEEDS * len(TABLES)} fits (`benchmarks/default_selections.py`)."
    )


def page(kept):
    """The table, line by line."""
    yield "# How many units each probe selects by default\n"
    yield (
        f"Written by `benchmarks/default_selections.py`: {N_UNITS} ReLU units, {N_SEEDS} seeds a "
        "table. Median number of units that pass (least to most), and networks in which none does."
        "\n"
    )
    yield "| probe | " + " | ".join(TABLES) + " |"
    yield "|---|" + "---|" * len(TABLES)
    for name in PROBES:
        yield (
            f"| {name} | " + " | ".join(cell(kept.get(name, {}).get(t, {})) for t in TABLES) + " |"
        )


def read():
    """What is kept."""
    return json.loads(KEPT.read_text()) if KEPT.exists() else {}


def check():
    """Assert that the table is that of what is kept, and some numbers what they were."""
    kept = read()
    assert TABLE.read_text() == "\n".join(page(kept)) + "\n", "the table is not of what is kept"
    for name, table in CHECKED:
        was, now = kept[name][table]["0"], selected(name, table, 0)
        assert abs(was[0] - now[0]) <= 1, f"{name}, {table}: {now}, kept is {was}"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=float("inf"))
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.check:
        return check()
    kept = read()
    run(args.minutes, kept)
    TABLE.write_text("\n".join(page(kept)) + "\n")
    return print(TABLE.read_text())


if __name__ == "__main__":
    main()
