"""What disagreement and agreement of surrogate, network and basin say, source by source.

``python benchmarks/surrogate_basin.py`` writes results/surrogate_basin.md: how much more often the
network is right where all say the same, at equal margin, on the three bundled data sets; and how
often the degeneracy test rejects where there is nothing to find. What it finds where there is
something is in surrogate_mechanisms.py. ``--seeds`` says how many trainings, ``--null-runs`` how
many runs.
"""

import argparse
import warnings
from pathlib import Path

import numpy as np
from scipy.stats import bootstrap
from sklearn.datasets import load_breast_cancer, load_digits, load_wine
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklflat import SAMClassifier, SurrogateAligner
from sklflat.surrogate import degeneracy_test

TABLE = Path(__file__).parent / "results" / "surrogate_basin.md"
SETS = {"breast cancer": load_breast_cancer, "wine": load_wine, "digits": load_digits}
ONLY_FIDELITY = {"n_redraws": 0, "n_null": 1, "n_units": None, "min_fidelity": 0.0}


def interval(values):
    values = np.asarray(values, dtype=float)
    values = values[np.isfinite(values)]
    if len(values) < 3 or np.ptp(values) == 0:
        return f"{np.mean(values):.3f}" if len(values) else "-"
    low, high = bootstrap((values,), np.mean, random_state=0, method="BCa").confidence_interval
    return f"{values.mean():.3f} [{low:.3f}, {high:.3f}]"


def regions(name, n_seeds):
    """A row of the table."""
    X, y = SETS[name](return_X_y=True)
    rows = []
    for seed in range(n_seeds):
        net = SAMClassifier((64,), max_iter=60, learning_rate_init=0.005)
        aligner = SurrogateAligner(
            make_pipeline(StandardScaler(), net), random_state=seed, **ONLY_FIDELITY
        ).fit(X, y)
        tables = aligner.agreement_, aligner.disagreement_
        shares = [table["coverage"].sum() for table in tables]
        right = [
            (table["coverage"] * table["accuracy"]).sum() / max(share, 1e-12)
            for table, share in zip(tables, shares, strict=True)
        ]
        rows.append([shares[0], *right, aligner.agreement_gain_.value])
    columns = np.array(rows).T
    means = [f"{c.mean():.3f}" for c in columns[:3]]
    return "| " + " | ".join([name, *means, interval(columns[3])]) + " |"


def null_run(seed, n):
    """Rows whose disagreement and variance fall with the margin, and share nothing else."""
    rng = np.random.RandomState(seed)
    margin = rng.exponential(size=n)
    near = np.exp(-2 * margin)
    differs = rng.uniform(size=n) < 0.7 * near
    distance = near + 0.1 * rng.uniform(size=n) + 0.5 * differs
    variance = np.exp(-margin + 0.3 * rng.normal(size=n))
    return degeneracy_test(
        differs, distance, variance, margin, n_permutations=199, random_state=seed
    )


def calibration(n, n_runs):
    """A row of the table."""
    tests = [null_run(seed, n) for seed in range(n_runs)]
    shares = [
        np.mean([getattr(test, name) <= 0.05 for test in tests])
        for name in ("p_value", "correlation_p_value")
    ]
    return f"| {n} | {n_runs} | " + " | ".join(f"{share:.3f}" for share in shares) + " |"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--null-runs", type=int, default=2000)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    lines = ["# What disagreement says of the basin", ""]

    def add(*rows):
        lines.extend(rows)
        print(*rows, sep="\n", flush=True)
        TABLE.write_text("\n".join(lines) + "\n")

    add(
        "| data | rows in common agreement | accuracy there | elsewhere | gain at equal margin |",
        "|---|---|---|---|---|",
    )
    for name in SETS:
        add(regions(name, args.seeds))
    add("", "| rows | runs | rejected by the area | by the correlation |", "|---|---|---|---|")
    for n in (60, 143, 1000):
        add(calibration(n, args.null_runs))


if __name__ == "__main__":
    main()
