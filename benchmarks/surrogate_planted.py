"""Whether the default student finds the tree that a network was trained on.

``python benchmarks/surrogate_planted.py`` writes results/surrogate_planted.md: planted trees of
depth 2 to 5, and the parity of six bits, of which no tree of depth 4 can say anything. ``--depths``
chooses among them, ``--seeds`` says how many trainings.
"""

import argparse
import warnings
from pathlib import Path

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.frozen import FrozenEstimator
from surrogate_fidelity import lessons_of, student_of

from sklflat import SAMClassifier, SurrogateAligner, from_module
from sklflat.datasets import make_planted_tree, make_sparse_parity
from sklflat.exceptions import SurrogateWarning
from sklflat.probing.resolve import resolve
from sklflat.surrogate.stability import same_splits, top_splits

TABLE = Path(__file__).parent / "results" / "surrogate_planted.md"
#: depth of a planted tree: rows, sizes of the network's layers, and its precision
PLANTED = {
    2: (4000, (64,), None),
    3: (10_000, (128, 128), None),
    4: (20_000, (128, 128), None),
    5: (60_000, (256, 256), "float32"),
}
TRAINING = {
    "max_iter": 40,
    "rho": 0.02,
    "learning_rate_init": 0.003,
    "batch_size": 256,
}


def recovered(depth, seed):
    """Accuracy of a network, agreement, and whether the planted top splits came back."""
    n, sizes, dtype = PLANTED[depth]
    X, y, truth = make_planted_tree(
        n + 4000, depth=depth, n_relevant=min(4, 2**depth - 1), random_state=seed
    )
    net = SAMClassifier(sizes, dtype=dtype, random_state=seed, **TRAINING).fit(X[:n], y[:n])
    said = net.predict(X[n:])
    lesson = lessons_of(resolve(FrozenEstimator(net)), X[:n], y[:n], seed)[0]
    student = student_of(lesson, depth)
    planted = [(truth.tree.feature[i], truth.tree.threshold[i]) for i in range(3)]
    same = same_splits(planted, top_splits(student.model), np.full(X.shape[1], 2.0))
    return (said == y[n:]).mean(), (student.answers(X[n:]).labels == said).mean(), same


def planted(depth, n_seeds):
    """A row of the table."""
    runs = []
    for seed in range(n_seeds):
        runs.append(recovered(depth, seed))
        print(depth, seed, *runs[-1], flush=True)
    accuracy, agreement, same = np.array(runs).T
    return (
        f"| {depth} | {PLANTED[depth][0]} | {accuracy.mean():.3f} ({accuracy.min():.3f}) | "
        f"{agreement.mean():.3f} ({agreement.min():.3f}) | {int(same.sum())} of {n_seeds} |"
    )


def parity_network(support, n_features):
    """A network of one hidden layer whose label is the parity of some bits of -1 and 1."""
    k = len(support)
    module = torch.nn.Sequential(
        torch.nn.Linear(n_features, k + 2), torch.nn.ReLU(), torch.nn.Linear(k + 2, 2)
    ).double()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
        module[0].weight[:, support] = 1
        # a zigzag of slope 1 between the sums -k, -k + 2, ..., k; 1 where no or two bits are -1
        module[0].bias.copy_(torch.arange(k + 2) * -2.0 + k + 2)
        slopes = torch.tensor([(-1.0) ** j * (1 if j == 0 else 2) for j in range(k + 2)])
        sign = torch.tensor([[-1.0], [1.0]]) * (-1.0) ** k
        module[2].weight.copy_(sign * slopes)
        module[2].bias.copy_(-sign[:, 0])
    return module


def parity(n_seeds):
    """What the aligner says of the parity of six bits."""
    verdicts = []
    for seed in range(n_seeds):
        X, y, truth = make_sparse_parity(2000, n_features=12, n_relevant=6, random_state=seed)
        network = from_module(parity_network(np.flatnonzero(truth.inputs), 12), classes=[0, 1])
        quick = {"n_redraws": 0, "n_basin_models": 0, "n_null": 1, "n_units": None}
        aligner = SurrogateAligner(network, min_fidelity=0, random_state=seed, **quick).fit(X, y)
        report = aligner.fidelity_
        assert report.of("network", "accuracy") > 0.999999
        verdicts.append((report.value, report.of("majority"), report.verdict))
        print(*verdicts[-1], flush=True)
    own, majority, said = zip(*verdicts, strict=True)
    in_words = sum(verdict == "no gain over majority" for verdict in said)
    return (
        f"Parity of 6 bits: agreement {np.mean(own):.3f}, majority {np.mean(majority):.3f}; the "
        f'report says "no gain over majority" in {in_words} of {n_seeds} trainings.'
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--depths", type=int, nargs="*", default=list(PLANTED))
    args = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)
    warnings.simplefilter("ignore", SurrogateWarning)
    lines = [
        "# Planted trees that are found again",
        "",
        parity(args.seeds),
        "",
        "| depth | rows | accuracy of the network | agreement (least) | top two levels recovered |",
        "|---|---|---|---|---|",
    ]
    for depth in args.depths:
        lines.append(planted(depth, args.seeds))
        TABLE.write_text("\n".join(lines) + "\n")
        print(lines[-1], flush=True)


if __name__ == "__main__":
    main()
