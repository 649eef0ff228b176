"""Temperatures through flat basins: plain, sharpness-aware and flat-noise training, paired seeds.

Eight classes on a balanced planted tree. Of each network ten models of its basin, all within the
same rise of the loss: how merge temperatures, trees and profiles of units vary among them, beside
what bootstrap samples of the rows do at the minimum alone. And networks *trained* at a temperature
in the loss, which is another question than looking at one network at several.
``python benchmarks/temperature_basin.py`` writes results/temperature_basin.md; with ``--check`` it
fails where a basin lacks models, or training at a temperature does not move the calibrated one.
"""

import argparse
import time
import warnings
from pathlib import Path

import numpy as np
from _planted_trees import OVERLAPS, TRAINING, interval, trained, tree_data
from sklearn.frozen import FrozenEstimator

from sklflat import FlatNoiseClassifier, SAMClassifier, TemperatureProbe
from sklflat.metrics import sign_flip_test
from sklflat.probing import sample_basin
from sklflat.temperature import temperatures_through_basin

TABLE = Path(__file__).parent / "results" / "temperature_basin.md"
N_SEEDS, N_TRAIN, N_BASIN = 6, 4000, 500
N_MODELS, LOSS_RISE = 10, 0.05
ARMS = {
    "plain": SAMClassifier(**TRAINING, rho=0),
    "SAM": SAMClassifier(**TRAINING, rho=0.1),
    "flat noise": FlatNoiseClassifier(**TRAINING, sigma=0.05),
}
TRAINED_AT = (0.3, 1.0, 3.0)


def basin_figures(estimator, X, y):
    """How much temperatures, trees and profiles vary through a basin."""
    basin = sample_basin(
        estimator,
        X[:N_BASIN],
        y[:N_BASIN],
        n_models=N_MODELS,
        loss_rise=LOSS_RISE,
        random_state=0,
    )
    X, y = X[N_BASIN:], y[N_BASIN:]
    found = temperatures_through_basin(basin, X, y, n_bootstrap=30)
    return {
        "accuracy": estimator.score(X, y),
        "models": len(basin),
        "distance of models": basin.spread.mean(),
        "merge spread, models": found.merge_spread,
        "merge spread, rows": found.row_spread,
        "tree agreement": found.tree_agreement.mean(),
        "tree agreement, lowest T": found.tree_agreement[:, 0].mean(),
        "tree agreement, highest T": found.tree_agreement[:, -1].mean(),
        "profile agreement": found.profile_agreement.mean(),
        "profile agreement, lowest T": found.profile_agreement[:, 0].mean(),
        "profile agreement, highest T": found.profile_agreement[:, -1].mean(),
    }


def training_figures(estimator, X, y, truth):
    """What a network trained at a temperature says at temperatures after training."""
    frozen = FrozenEstimator(estimator)
    probe = TemperatureProbe(frozen, n_bootstrap=30, n_null=100, random_state=0).fit(X, y)
    merges = probe.merge_temperatures_[np.triu_indices(len(probe.classes_), 1)]
    at_one = next(c for c in probe.comparisons_ if c.name == "confusion at T = 1")
    return {
        "accuracy": estimator.score(X, y),
        "calibrated T": probe.calibrated_temperature_,
        "T of the tree": probe.tree_.temperature,
        "median merge T": np.median(merges),
        "the same over calibrated T": np.median(merges) / probe.calibrated_temperature_,
        "triplet accuracy, T = 1": truth.triplet_accuracy(at_one.linkage),
        "triplet accuracy, T of the tree": truth.triplet_accuracy(probe.tree_.linkage),
        "vacuity": probe.vacuity_,
    }


def measure():
    """Figures of every seed, by arm; and by training temperature."""
    sets = [tree_data("balanced", "parity", OVERLAPS[1], seed, N_TRAIN) for seed in range(N_SEEDS)]
    arms, hot = {}, {}
    for name, network in ARMS.items():
        networks = zip(trained(network, sets), sets, strict=True)
        arms[name] = [basin_figures(fitted, X, y) for fitted, (*_, X, y, _) in networks]
        print(name, f"{time.process_time():.0f} s", flush=True)
    for T in TRAINED_AT:
        network = SAMClassifier(**TRAINING, rho=0, training_temperature=T)
        networks = zip(trained(network, sets), sets, strict=True)
        hot[T] = [training_figures(fitted, *data[2:]) for fitted, data in networks]
        print(T, f"{time.process_time():.0f} s", flush=True)
    return arms, hot


def table(found, reference):
    """A line for every figure: the arms, and what others have above the reference."""
    others = [name for name in found if name != reference]
    yield (
        f"| | {' | '.join(map(str, found))} | "
        + " | ".join(f"{name} less {reference} | p" for name in others)
        + " |"
    )
    yield "|---" * (1 + len(found) + 2 * len(others)) + "|"
    for figure in found[reference][0]:
        values = {name: np.array([r[figure] for r in rows]) for name, rows in found.items()}
        cells = [f"{v.mean():.3f}" for v in values.values()]
        for name in others:
            difference = values[name] - values[reference]
            cells += [interval(difference, 3), f"{sign_flip_test(difference):.3f}"]
        yield f"| {figure} | {' | '.join(cells)} |"


def report(arms, hot):
    """The page, line by line."""
    yield "# Temperatures through flat basins\n"
    yield (
        f"Written by `benchmarks/temperature_basin.py`: {N_SEEDS} paired seeds, {N_MODELS} models "
        f"of each basin, all within a rise of the loss by {LOSS_RISE}. Differences with 95 % "
        "intervals (BCa), p-values by flipped signs. Spreads are standard deviations of log merge "
        "temperatures; agreements are correlations of a model with its minimum, over all "
        "temperatures unless one is named.\n"
    )
    yield from table(arms, "plain")
    yield (
        "\n## Training at a temperature\n\nThe logits are divided by it in the loss; the probe "
        "looks at the undivided ones.\n"
    )
    yield from table(hot, 1.0)


def not_met(arms, hot):
    """What does not hold."""
    for name, rows in arms.items():
        if min(r["models"] for r in rows) < N_MODELS:
            yield f"{name}: a basin with fewer than {N_MODELS} models"
    calibrated = {T: np.array([r["calibrated T"] for r in rows]) for T, rows in hot.items()}
    for T, values in calibrated.items():
        if T != 1 and not ((values - calibrated[1.0]) * (T - 1) > 0).all():
            yield f"training at {T} does not move the calibrated temperature in all seeds"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    arms, hot = measure()
    TABLE.write_text("\n".join(report(arms, hot)) + "\n")
    print(TABLE.read_text())
    failures = list(not_met(arms, hot))
    print("\n".join(failures) or "all basins have their models; training moves the temperature")
    if args.check and failures:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
