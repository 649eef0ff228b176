"""How good a network is left by each probe's order of its units, beside simple orders.

Every probe scores the hidden units of a network of 64 ReLU units that was trained on bundled digits
(of 32 on wine), on rows of its own. The 16 (8) units of the highest scores are kept, the others
fixed at their means, and the accuracy is taken on a third part of the rows, which neither trained
nor scored. Beside it: as many units of the same network by the spread of the activation times the
norm of the outgoing weights, and 20 random sets.

``python benchmarks/unit_orders.py`` writes results/unit_orders.md and keeps every seed of every
probe in results/unit_orders.json as it ends; ``--seeds`` is their number.
"""

import argparse
import json
import time
import warnings
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits, load_wine
from sklearn.preprocessing import scale

from sklflat import (
    AblationProbe,
    ActivationProbe,
    BasinRewinder,
    HessianSpectrum,
    ModeConnectivityProbe,
    SAMClassifier,
    SurrogateAligner,
    TemperatureProbe,
)
from sklflat.metrics import mean_bounds
from sklflat.probing import Sample
from sklflat.probing.restricted import restricted_score
from sklflat.pruning.baselines import baseline_orders

RESULTS = Path(__file__).parent / "results"
TABLE, KEPT = RESULTS / "unit_orders.md", RESULTS / "unit_orders.json"
SIMPLE = "spread x outgoing norm"
FEW = {"n_units": None, "n_null": 20}
PROBES = {
    "AblationProbe": lambda net, **k: AblationProbe(net, **FEW, **k),
    "ActivationProbe, selectivity": lambda net, **k: ActivationProbe(net, **FEW, **k),
    "ActivationProbe, correlation": lambda net, **k: ActivationProbe(
        net, unit_score="correlation", **FEW, **k
    ),
    "ActivationProbe, variance": lambda net, **k: ActivationProbe(
        net, unit_score="variance", n_units=None, n_null=1, **k
    ),
    "HessianSpectrum, flat alignment": lambda net, **k: HessianSpectrum(
        net, holdout=0.25, **FEW, **k
    ),
    "HessianSpectrum, curvature": lambda net, **k: HessianSpectrum(
        net, unit_score="curvature", holdout=0.25, **FEW, **k
    ),
    "HessianSpectrum, response": lambda net, **k: HessianSpectrum(
        net, unit_score="response", holdout=0.25, **FEW, **k
    ),
    "TemperatureProbe": lambda net, **k: TemperatureProbe(net, n_bootstrap=2, **FEW, **k),
    "SurrogateAligner": lambda net, **k: SurrogateAligner(
        net, n_basin_models=0, n_redraws=2, **FEW, **k
    ),
    "ModeConnectivityProbe": lambda net, **k: ModeConnectivityProbe(net, n_points=5, **FEW, **k),
    "BasinRewinder": lambda net, **k: BasinRewinder(
        net, sparsity=0.5, n_grid=6, n_copies=2, n_retrains=4, n_controls=1, **FEW, **k
    ),
}


def data(name, seed):
    """Rows to train and score on, and others to judge on; hidden units, and how many are kept."""
    X, y = (load_digits if name == "digits" else load_wine)(return_X_y=True)
    X = X / 16 if name == "digits" else scale(X)
    order = np.random.RandomState(seed).permutation(len(X))
    judged, own = order[: len(X) // 3], order[len(X) // 3 :]
    units, kept = (64, 16) if name == "digits" else (32, 8)
    return (X[own], y[own]), (X[judged], y[judged]), units, kept


def measure(name, probe, seed):
    """Accuracies: the whole network, by the probe, by the simple order, of random sets."""
    own, judged, n_units, n_kept = data(name, seed)
    net = SAMClassifier((n_units,), max_iter=30, learning_rate_init=0.005, rho=0, random_state=seed)
    fitted = PROBES[probe](net, random_state=seed).fit(*own)
    alive = np.flatnonzero(~fitted.dead_)
    sample = Sample.of(fitted.estimator_, *own)
    orders = [
        np.lexsort((-fitted.unit_scores_, fitted.dead_)),
        baseline_orders(sample, alive)[SIMPLE],
    ]
    rng = np.random.RandomState(seed)
    orders += [rng.permutation(alive) for _ in range(20)]
    scores = []
    for order in orders:
        keep = np.isin(np.arange(n_units), order[:n_kept])
        scores.append(restricted_score(fitted, keep, *judged))
    whole = restricted_score(fitted, np.ones(n_units, dtype=bool), *judged)
    return [whole, scores[0], scores[1], float(np.mean(scores[2:]))]


def report(kept):
    """The page, line by line."""
    yield "# What is left of a network by each probe's order of its units\n"
    yield (
        "Written by `benchmarks/unit_orders.py`. Digits: 16 of 64 units; wine: 8 of 32. The others "
        "at their means; accuracy on rows that neither trained nor scored, means over seeds. "
        f"*Above {SIMPLE}*: difference on the same networks, with its 95 % interval over seeds. "
        "ModeConnectivityProbe and BasinRewinder train networks of their own (the ticket of half "
        "the weights).\n"
    )
    yield f"| data | probe | seeds | whole | its order | {SIMPLE} | random | above {SIMPLE} |"
    yield "|---|---|---|---|---|---|---|---|"
    for key in kept:
        name, probe = key.split("; ")
        found = np.array(kept[key])
        row = " | ".join(f"{v:.3f}" for v in found.mean(axis=0))
        gain = found[:, 1] - found[:, 2]
        low, high = mean_bounds(gain) if len(gain) > 1 else (np.nan, np.nan)
        gained = f"{gain.mean():.3f} [{low:.3f}, {high:.3f}]"
        yield f"| {name} | {probe} | {len(found)} | {row} | {gained} |"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=10)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    kept = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    for name in ("digits", "wine"):
        for probe in PROBES:
            rows = kept.setdefault(f"{name}; {probe}", [])
            for seed in range(len(rows), args.seeds):
                rows.append(measure(name, probe, seed))
                KEPT.write_text(json.dumps(kept))
            print(name, probe, f"{time.process_time():.0f} s", flush=True)
    TABLE.write_text("\n".join(report(kept)) + "\n")
    print(TABLE.read_text())


if __name__ == "__main__":
    main()
