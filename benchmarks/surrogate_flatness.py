"""Whether flatter networks are better mimicked: plain training, SAM, and noise in flat directions.

``python benchmarks/surrogate_flatness.py`` writes results/surrogate_flatness.md: held-out fidelity
of the default surrogate and accuracy of its network, less those of plain training with the same
seed and rows. ``--seeds`` says how many trainings.
"""

import argparse
import warnings
from pathlib import Path

import numpy as np
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from surrogate_basin import ONLY_FIDELITY, SETS, interval

from sklflat import FlatNoiseClassifier, SAMClassifier, SurrogateAligner

TABLE = Path(__file__).parent / "results" / "surrogate_flatness.md"
SIZES = {"hidden_layer_sizes": (32,), "max_iter": 40, "learning_rate_init": 0.01}
ARMS = {
    "plain": SAMClassifier(**SIZES, rho=0.0),
    "SAM": SAMClassifier(**SIZES, rho=0.1),
    "flat noise": FlatNoiseClassifier(**SIZES, n_directions=2),
}
QUICK = {**ONLY_FIDELITY, "n_basin_models": 0}


def measured(name, arm, seed):
    """Fidelity, and accuracy of the network."""
    network = make_pipeline(StandardScaler(), arm)
    aligner = SurrogateAligner(network, random_state=seed, **QUICK)
    report = aligner.fit(*SETS[name](return_X_y=True)).fidelity_
    return report.value, report.of("network", "accuracy")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--sets", nargs="*", default=list(SETS))
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    lines = [
        "# Are flatter networks better mimicked?",
        "",
        "| data | training | fidelity | accuracy | fidelity less plain | accuracy less plain |",
        "|---|---|---|---|---|---|",
    ]
    for name in args.sets:
        runs = {
            arm: np.array([measured(name, estimator, seed) for seed in range(args.seeds)])
            for arm, estimator in ARMS.items()
        }
        for arm, pairs in runs.items():
            apart = (pairs - runs["plain"]).T
            cells = [f"{x:.3f}" for x in pairs.mean(axis=0)] + [interval(x) for x in apart]
            lines.append("| " + " | ".join([name, arm, *cells]) + " |")
        print("\n".join(lines[-len(ARMS) :]), flush=True)
        TABLE.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
