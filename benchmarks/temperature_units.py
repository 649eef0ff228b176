"""Whether the temperature tells units of coarse features from units of fine ones.

The networks of eight classes on a planted tree (``make_class_tree(warp="parity")``), whose inputs
have levels. A unit's level is that of the inputs that it reads: the share of its squared incoming
weights, times the variances of the inputs, that is on inputs of the level, in the top quarter of
the units. ``python benchmarks/temperature_units.py`` writes results/temperature_units.md; with
``--check`` it fails where coarseness is no better than ablation.
"""

import argparse
import time
import warnings
from pathlib import Path

import numpy as np
from _planted_trees import N_HELD_OUT, N_SEEDS, NET, OVERLAPS, interval, trained, tree_data
from sklearn.frozen import FrozenEstimator

from sklflat import TemperatureProbe
from sklflat.metrics import bca_interval, sign_flip_test
from sklflat.probing import Sample
from sklflat.probing.baselines import ablation
from sklflat.temperature.profiles import unit_profiles

TABLE = Path(__file__).parent / "results" / "temperature_units.md"
N_TRAIN = 4000
#: shape and overlap
SETTINGS = (*(("balanced", overlap) for overlap in OVERLAPS), ("unbalanced", OVERLAPS[1]))
#: a unit is of a level if its share is in this part of all
TOP = 0.25


def level_shares(estimator, X, levels):
    """Shares (n_units,) of what a unit reads that are of the top level and of the leaves."""
    weights = estimator.module_.state_dict()["hidden.linear_0.weight"].double().numpy()
    reads = np.square(weights) * X.var(axis=0)
    reads /= reads.sum(axis=1, keepdims=True)
    return [reads[:, levels == level].sum(axis=1) for level in (0, levels.max())]


def figures(estimator, X, y, truth):
    """Areas under the curve of every score, for both levels, and how many units pass the nulls."""
    probe = TemperatureProbe(FrozenEstimator(estimator), n_bootstrap=2, random_state=0).fit(X, y)
    sample = Sample.of(estimator, X, y)
    alive = ~probe.dead_
    rows = np.arange(len(X))
    others = {
        "rise of the loss": ablation(sample)[alive],
        "change at T = 1": unit_profiles(sample, np.array([1.0]), "ablation", rows)[0][alive],
    }
    found = {"vacuity": probe.vacuity_, "units": int(alive.sum())}
    found["coarse"] = int(probe.coarse_units_.sum())
    found["refinement"] = int(probe.refinement_units_.sum())
    top, leaf = (share[alive] for share in level_shares(estimator, X, truth.levels))
    coarseness = probe.unit_scores_[alive]
    for name, share, score in (
        ("top", top, coarseness),
        ("leaf", leaf, 1 - coarseness),
        ("top, smallest share over T", top, probe.unit_profiles_.min(axis=0)[alive]),
    ):
        mask = share >= np.quantile(share, 1 - TOP)
        areas = {n: truth.auc(s, of=mask) for n, s in others.items()}
        found[name] = {"ours": truth.auc(score, of=mask), **areas}
    return found


def measure():
    """Figures of every seed, by shape and overlap."""
    found = {}
    for shape, overlap in SETTINGS:
        sets = [tree_data(shape, "parity", overlap, seed, N_TRAIN) for seed in range(N_SEEDS)]
        found[shape, overlap] = [
            figures(network, *rows[2:])
            for network, rows in zip(trained(NET, sets), sets, strict=True)
        ]
        print(shape, overlap, f"{time.process_time():.0f} s", flush=True)
    return found


# --- tables -----------------------------------------------------------------------------------


def areas(rows, level):
    """Areas (n_seeds,) of our score and of the others."""
    ours, *others = (np.array([r[level][name] for r in rows]) for name in rows[0][level])
    return ours, others


def gain(rows, level):
    """Area of our score above the better of the others, each in the direction that suits it."""
    ours, others = areas(rows, level)
    return ours - max((a if a.mean() >= 0.5 else 1 - a for a in others), key=np.mean)


def unit_table(found):
    """Areas by level of the inputs."""
    yield (
        "| tree | units that read | coarseness, or 1 less it | rise of the loss | change at T = 1 "
        "| above the better | p |"
    )
    yield "|---|---|---|---|---|---|---|"
    for (shape, overlap), rows in found.items():
        for level in ("top", "leaf"):
            ours, others = areas(rows, level)
            cells = [interval(v) for v in (ours, *others, gain(rows, level))]
            p = sign_flip_test(gain(rows, level))
            yield f"| {shape} {overlap} | {level} | {' | '.join(cells)} | {p:.3f} |"


def count_table(found):
    """What passes the nulls, what the profiles say, and the score that was not taken."""
    yield "| tree | living units | coarse | refinement | vacuity | smallest share over T, top |"
    yield "|---|---|---|---|---|---|"
    for (shape, overlap), rows in found.items():
        units, coarse, fine = (
            ", ".join(str(r[name]) for r in rows) for name in ("units", "coarse", "refinement")
        )
        vacuity = interval([r["vacuity"] for r in rows])
        smallest = interval(areas(rows, "top, smallest share over T")[0])
        yield f"| {shape} {overlap} | {units} | {coarse} | {fine} | {vacuity} | {smallest} |"


def not_met(found):
    """Settings in which coarseness is not above ablation."""
    for (shape, overlap), rows in found.items():
        for level in ("top", "leaf"):
            low, _ = bca_interval(gain(rows, level), random_state=0)
            if low <= 0:
                yield f"{shape} {overlap}, {level}: coarseness is not above ablation"


def report(found):
    """The page, line by line."""
    yield "# Units over temperatures\n"
    yield (
        f"Written by `benchmarks/temperature_units.py`: {N_SEEDS} seeds a tree, which is named by "
        f"its shape (separation, decay); {N_TRAIN:,} rows to train, {N_HELD_OUT:,} held out. "
        "Areas under the ROC curve for units that read inputs of the top level or of the leaves, "
        "means with 95 % intervals (BCa) over seeds. The others are read in the direction that "
        "suits them before they are compared.\n"
    )
    yield from unit_table(found)
    yield (
        "\nHow many units of each seed's network pass the null of untrained twins at a false "
        "discovery rate of 5 %; the rank correlation of the profiles at both ends; and the areas "
        "of the smallest share over all temperatures as a score.\n"
    )
    yield from count_table(found)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    found = measure()
    TABLE.write_text("\n".join(report(found)) + "\n")
    print(TABLE.read_text())
    failures = list(not_met(found))
    print("\n".join(failures) or "coarseness is above ablation everywhere")
    if args.check and failures:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
