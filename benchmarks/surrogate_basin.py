"""What disagreement and agreement of surrogate, network and basin say, source by source.

``python benchmarks/surrogate_basin.py`` writes results/surrogate_basin.md: how much more often the
network is right where all say the same, at equal margin, on the three bundled data sets; the area
of the degeneracy test on interchangeable mechanisms; and how often that test rejects where there is
nothing to find. ``--seeds`` says how many trainings, ``--null-runs`` how many runs of the last.
"""

import argparse
import warnings
from pathlib import Path

import numpy as np
from scipy.stats import bootstrap
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_digits, load_wine
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklflat import SAMClassifier, SurrogateAligner
from sklflat.datasets import make_two_mechanisms
from sklflat.surrogate import degeneracy_test
from sklflat.training.runs import Training
from sklflat.training.stacking import train

TABLE = Path(__file__).parent / "results" / "surrogate_basin.md"
SETS = {"breast cancer": load_breast_cancer, "wine": load_wine, "digits": load_digits}
RISES = (0.05, 0.2, 1.0)
#: shares of rows in which only a, only b, and both can be read while training
DESIGNS = {"one of both masked": (1 / 3, 1 / 3, 1 / 3), "both shown": (0, 0, 1)}
N_CHILDREN = 8
ONLY_FIDELITY = {"n_redraws": 0, "n_null": 1, "n_units": None, "min_fidelity": 0.0}


def trained(sets, seeds, rho=0.05):
    """Networks of these data and seeds, trained as a stack."""
    net = SAMClassifier((32,), max_iter=40, rho=rho, learning_rate_init=0.01, batch_size=64)
    trainings = [
        Training(clone(net).set_params(random_state=seed), *data)
        for data, seed in zip(sets, seeds, strict=True)
    ]
    for i in train(trainings):
        if trainings[i].error is not None:
            raise trainings[i].error
    return [training.estimator for training in trainings]


def children(X, y, roles):
    """Networks of other seeds, plain ones, and ones that never saw one of the mechanisms."""
    masked = []
    for k in range(N_CHILDREN):
        hidden = X.copy()
        columns = np.flatnonzero(roles == "ab"[k % 2])
        hidden[:, columns] = np.random.RandomState(k).normal(size=(len(X), len(columns)))
        masked.append((hidden, y))
    same, seeds = [(X, y)] * N_CHILDREN, range(100, 100 + N_CHILDREN)
    return {
        "other seeds": trained(same, seeds),
        "plain, other seeds": trained(same, seeds, rho=0.0),
        "one mechanism hidden": trained(masked, seeds),
    }


def areas(design, seed):
    """Area beyond the margin by source, on fresh rows of all three regions."""
    kept = {"n_a": 2, "n_b": 2, "n_noise": 4, "random_state": seed}
    X, y, truth = make_two_mechanisms(2000, proportions=DESIGNS[design], **kept)
    fresh, labels, other = make_two_mechanisms(4000, **kept)
    assert (truth.roles == other.roles).all()  # of one seed, whatever the proportions
    network = FrozenEstimator(trained([(X, y)], [seed])[0])
    found = {}
    for rise in RISES:
        sources = children(X, y, truth.roles) if rise == RISES[0] else None
        aligner = SurrogateAligner(
            network, loss_rise=rise, basin_models=sources, random_state=seed, **ONLY_FIDELITY
        ).fit(fresh, labels)
        tests = dict(aligner.degeneracy_)
        found[f"sample_basin, loss_rise={rise}"] = tests.pop("sample_basin")
        found |= tests
    return found


def interval(values):
    values = np.asarray(values, dtype=float)
    values = values[np.isfinite(values)]
    if len(values) < 3 or np.ptp(values) == 0:
        return f"{np.mean(values):.3f}" if len(values) else "-"
    low, high = bootstrap((values,), np.mean, random_state=0, method="BCa").confidence_interval
    return f"{values.mean():.3f} [{low:.3f}, {high:.3f}]"


def mechanisms(design, n_seeds):
    """Rows of the table, one a source of models."""
    runs = []
    for seed in range(n_seeds):
        runs.append(areas(design, seed))
        print(design, seed, {name: round(t.auc, 3) for name, t in runs[-1].items()}, flush=True)
    lines = []
    for source in runs[0]:
        tests = [run[source] for run in runs]
        cells = [interval([getattr(t, name) for t in tests]) for name in AREAS]
        small = sum(t.p_value <= 0.05 for t in tests)
        lines.append("| " + " | ".join([design, source, *cells, f"{small} of {n_seeds}"]) + " |")
    return lines


AREAS = ("auc", "auc_all", "auc_margin")


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
    add(
        "",
        "| network trained with | source of models | area beyond the margin | area | of the margin "
        "| p <= .05 |",
        "|---|---|---|---|---|---|",
    )
    for design in DESIGNS:
        add(*mechanisms(design, args.seeds))


if __name__ == "__main__":
    main()
