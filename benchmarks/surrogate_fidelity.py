"""How faithful small trees are, of each depth, beside those that never saw the network.

``python benchmarks/surrogate_fidelity.py`` writes results/surrogate_fidelity.md; ``--check`` fails
where the student with oracle samples is not above the one without, at depth 4. ``--seeds`` and
``--planted`` choose how many trainings, and whether planted trees are recovered too.
"""

import argparse
import warnings
from pathlib import Path

import numpy as np
from scipy.stats import bootstrap
from sklearn.datasets import load_breast_cancer, load_digits, load_wine
from sklearn.exceptions import ConvergenceWarning
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklflat import SAMClassifier
from sklflat.datasets import make_planted_tree
from sklflat.probing.resolve import resolve
from sklflat.surrogate import AlternatingTreeClassifier, Columns, draw_oracle_samples, teach
from sklflat.surrogate.oracle import n_oracle_samples
from sklflat.surrogate.stability import same_splits, top_splits
from sklflat.surrogate.teacher import Answers, answers_of

TABLE = Path(__file__).parent / "results" / "surrogate_fidelity.md"
SETS = {"breast cancer": load_breast_cancer, "wine": load_wine, "digits": load_digits}
DEPTHS = range(1, 7)
#: logit of the true class for the student that never saw the network, as in SurrogateAligner
SURE = 10.0
#: depth of a planted tree: rows, and sizes of the network's layers
PLANTED = {
    2: (4000, (64,)),
    3: (10_000, (128, 128)),
    4: (20_000, (128, 128)),
    5: (60_000, (256, 256)),
}


def network_of(X, y, seed):
    net = SAMClassifier((64,), max_iter=60, learning_rate_init=0.005, random_state=seed)
    return make_pipeline(StandardScaler(), net).fit(X, y)


def students_of(trained, X, y, depth, seed):
    """The same tree taught on samples too, on rows alone, and on the truth."""
    rng = np.random.RandomState(seed)
    columns, answers = Columns.of(X), answers_of(trained, X)
    drawn = draw_oracle_samples(X, columns, n_oracle_samples("auto", len(X)), rng)
    values = np.concatenate([answers.values, answers_of(trained, drawn).values])
    known = np.eye(len(answers.classes))[np.searchsorted(answers.classes, y)]
    truth = Answers(SURE * (known - known.mean(axis=1, keepdims=True)), answers.classes)
    lessons = [
        (np.concatenate([X, drawn]), Answers(values, answers.classes)),
        (X, answers),
        (X, truth),
    ]
    tree = AlternatingTreeClassifier(depth, random_state=0)
    return [teach(tree, "proba", *lesson) for lesson in lessons]


def measured(X, y, seed):
    """Held-out agreement (n_depths, 3), of the majority, and accuracy of the network."""
    parts = train_test_split(X, y, test_size=0.25, stratify=y, random_state=seed)
    X_train, X_test, y_train, y_test = parts
    network = network_of(X_train, y_train, seed)
    trained, said = resolve(network), network.predict(X_test)
    found = [
        [
            (student.answers(X_test).labels == said).mean()
            for student in students_of(trained, X_train, y_train, depth, seed)
        ]
        for depth in DEPTHS
    ]
    majority = np.bincount(answers_of(trained, X_train).codes).argmax()
    share = (np.searchsorted(trained.classes, said) == majority).mean()
    return np.array(found), share, (said == y_test).mean()


def interval(differences):
    """Mean of paired differences, with the ends of its 95 % interval."""
    if np.ptp(differences) == 0:
        return (float(differences[0]),) * 3
    found = bootstrap((differences,), np.mean, random_state=0, method="BCa")
    return float(differences.mean()), *map(float, found.confidence_interval)


def real(n_seeds):
    lines = [
        "| data | depth | samples | no samples | never saw it | majority | samples less none | "
        "gain over never saw it |",
        "|---|---|---|---|---|---|---|---|",
    ]
    at_four = {}
    for name, load in SETS.items():
        runs = [measured(*load(return_X_y=True), seed) for seed in range(n_seeds)]
        scores = np.array([run[0] for run in runs])
        share, accuracy = (np.mean([run[k] for run in runs]) for k in (1, 2))
        for i, depth in enumerate(DEPTHS):
            own, plain, blind = scores[:, i].T
            gains = [interval(own - other) for other in (plain, blind)]
            said = [f"{m:+.3f} [{low:+.3f}, {high:+.3f}]" for m, low, high in gains]
            cells = [f"{x.mean():.3f}" for x in (own, plain, blind)]
            label = f"{name} (accuracy {accuracy:.3f})" if i == 0 else ""
            lines.append(
                "| " + " | ".join([label, str(depth), *cells, f"{share:.3f}", *said]) + " |"
            )
            if depth == 4:
                at_four[name] = gains[0][1]
        print("\n".join(lines[-len(DEPTHS) :]), flush=True)
    return lines, at_four


def recovered(depth, seed):
    """Accuracy of a network, agreement, and whether the planted top splits came back."""
    n, sizes = PLANTED[depth]
    X, y, truth = make_planted_tree(
        n + 4000, depth=depth, n_relevant=min(4, 2**depth - 1), random_state=seed
    )
    net = SAMClassifier(
        sizes, max_iter=40, rho=0.02, learning_rate_init=0.003, batch_size=256, random_state=seed
    ).fit(X[:n], y[:n])
    said = net.predict(X[n:])
    student = students_of(resolve(FrozenEstimator(net)), X[:n], y[:n], depth, seed)[0]
    planted = [(truth.tree.feature[i], truth.tree.threshold[i]) for i in range(3)]
    same = same_splits(planted, top_splits(student.model), np.full(X.shape[1], 2.0))
    return (said == y[n:]).mean(), (student.answers(X[n:]).labels == said).mean(), same


def planted(n_seeds, depths):
    lines = [
        "| depth | rows | accuracy of the network | agreement (least) | top two levels recovered |",
        "|---|---|---|---|---|",
    ]
    for depth in depths:
        runs = np.array([recovered(depth, seed) for seed in range(n_seeds)])
        accuracy, agreement, same = runs.T
        lines.append(
            f"| {depth} | {PLANTED[depth][0]} | {accuracy.mean():.3f} ({accuracy.min():.3f}) | "
            f"{agreement.mean():.3f} ({agreement.min():.3f}) | {int(same.sum())} of {n_seeds} |"
        )
        print(lines[-1], flush=True)
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--planted", type=int, nargs="*", default=list(PLANTED))
    parser.add_argument("--no-real", action="store_true")
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)
    lines = ["# Fidelity of small trees", ""]
    if args.planted:
        lines += [*planted(args.seeds, args.planted), ""]
    if not args.no_real:
        table, at_four = real(args.seeds)
        lines += table
        if args.check:
            assert all(low > 0 for low in at_four.values()), at_four
    if not args.check:
        TABLE.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
