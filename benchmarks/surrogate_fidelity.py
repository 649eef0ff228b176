"""How faithful small trees are, of each depth, beside those that never saw the network.

The plain student is scikit-learn's ``DecisionTreeClassifier``, taught the network's labels of the
rows that the network was trained on: what one would do without this library. *No samples* is the
library's own student, taught probabilities, without oracle samples. The last table is of what a
user calls: the aligner with its defaults, which trains the network itself and holds rows out.

``python benchmarks/surrogate_fidelity.py`` writes results/surrogate_fidelity.md; ``--check`` fails
where at depth 4 the surrogate is not above the plain student. ``--seeds`` says how many trainings.
"""

import argparse
import warnings
from pathlib import Path

import numpy as np
from scipy.stats import bootstrap
from sklearn.datasets import load_breast_cancer, load_digits, load_wine
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from sklflat import SAMClassifier, SurrogateAligner
from sklflat.probing.resolve import resolve
from sklflat.surrogate import AlternatingTreeClassifier, Columns, draw_oracle_samples, teach
from sklflat.surrogate.oracle import n_oracle_samples
from sklflat.surrogate.teacher import Answers, answers_of

TABLE = Path(__file__).parent / "results" / "surrogate_fidelity.md"
SETS = {"breast cancer": load_breast_cancer, "wine": load_wine, "digits": load_digits}
DEPTHS = range(1, 7)
#: logit of the true class for the student that never saw the network, as in SurrogateAligner
SURE = 10.0
HEAD = (
    "| data | depth | samples | no samples | never saw it | plain student | majority | "
    "samples less none | gain over never saw it | gain over the plain student |",
    "|---|---|---|---|---|---|---|---|---|---|",
)


#: what is not asked for: fidelity is the same without
LESS = {"n_basin_models": 0, "n_redraws": 0, "n_null": 1, "n_units": None, "min_fidelity": 0.0}
PLAIN = {"target": "label", "oracle_samples": 0, **LESS}
DEFAULT_HEAD = (
    "| data | the default call | no samples | never saw it | plain student | default less none | "
    "gain over never saw it | gain over the plain student |",
    "|---|---|---|---|---|---|---|---|",
)


def network(seed=None):
    net = SAMClassifier((64,), max_iter=60, learning_rate_init=0.005, random_state=seed)
    return make_pipeline(StandardScaler(), net)


def network_of(X, y, seed):
    return network(seed).fit(X, y)


def lessons_of(trained, X, y, seed):
    """What is taught: rows and samples, rows alone, and the truth."""
    rng = np.random.RandomState(seed)
    columns, answers = Columns.of(X), answers_of(trained, X)
    drawn = draw_oracle_samples(X, columns, n_oracle_samples("auto", len(X)), rng)
    values = np.concatenate([answers.values, answers_of(trained, drawn).values])
    known = np.eye(len(answers.classes))[np.searchsorted(answers.classes, y)]
    truth = Answers(SURE * (known - known.mean(axis=1, keepdims=True)), answers.classes)
    everything = np.concatenate([X, drawn]), Answers(values, answers.classes)
    return [everything, (X, answers), (X, truth)]


def student_of(lesson, depth):
    """The default surrogate, of a depth."""
    return teach(AlternatingTreeClassifier(depth, random_state=0), "proba", *lesson)


def measured(X, y, seed):
    """Held-out agreement (n_depths, 4), of the majority, and accuracy of the network."""
    parts = train_test_split(X, y, test_size=0.25, stratify=y, random_state=seed)
    X_train, X_test, y_train, y_test = parts
    network = network_of(X_train, y_train, seed)
    trained, said = resolve(network), network.predict(X_test)
    lessons = lessons_of(trained, X_train, y_train, seed)
    labels = network.predict(X_train)
    found = []
    for depth in DEPTHS:
        plain = DecisionTreeClassifier(max_depth=depth, random_state=0).fit(X_train, labels)
        mimicked = [student_of(lesson, depth).answers(X_test).labels for lesson in lessons]
        found.append([(m == said).mean() for m in [*mimicked, plain.predict(X_test)]])
    majority = np.bincount(answers_of(trained, X_train).codes).argmax()
    share = (np.searchsorted(trained.classes, said) == majority).mean()
    return np.array(found), share, (said == y_test).mean()


def interval(differences):
    """Mean of paired differences, with the ends of its 95 % interval."""
    if np.ptp(differences) == 0:
        return (float(differences[0]),) * 3
    found = bootstrap((differences,), np.mean, random_state=0, method="BCa")
    return float(differences.mean()), *map(float, found.confidence_interval)


def real(name, load, n_seeds):
    """Rows of the table, and the end of the interval of the gain over the plain student at 4."""
    lines = []
    runs = [measured(*load(return_X_y=True), seed) for seed in range(n_seeds)]
    scores = np.array([run[0] for run in runs])
    share, accuracy = (np.mean([run[k] for run in runs]) for k in (1, 2))
    for i, depth in enumerate(DEPTHS):
        own, *others = scores[:, i].T
        gains = [interval(own - other) for other in others]
        said = [f"{m:+.3f} [{low:+.3f}, {high:+.3f}]" for m, low, high in gains]
        cells = [f"{x.mean():.3f}" for x in (own, *others)]
        label = f"{name} (accuracy {accuracy:.3f})" if i == 0 else ""
        lines.append("| " + " | ".join([label, str(depth), *cells, f"{share:.3f}", *said]) + " |")
        if depth == 4:
            at_four = gains[2][1]
    return lines, at_four


def by_default(name, load, n_seeds):
    """A row of the table of the default call."""
    X, y = load(return_X_y=True)
    runs = []
    for seed in range(n_seeds):
        report = SurrogateAligner(network(), random_state=seed, **LESS).fit(X, y).fidelity_
        if seed == 0:
            whole = SurrogateAligner(network(), random_state=seed).fit(X, y).fidelity_
            assert np.array_equal(whole.scores, report.scores, equal_nan=True)
        plain = DecisionTreeClassifier(max_depth=4, random_state=0)
        # of one seed are the network and the rows held out
        other = SurrogateAligner(network(), plain, random_state=seed, **PLAIN).fit(X, y).fidelity_
        assert other.of("network", "accuracy") == report.of("network", "accuracy")
        names = ("surrogate", "without oracle samples", "taught true targets")
        runs.append([*map(report.of, names), other.value])
    own, *others = np.array(runs).T
    gains = [interval(own - other) for other in others]
    said = [f"{m:+.3f} [{low:+.3f}, {high:+.3f}]" for m, low, high in gains]
    cells = [f"{x.mean():.3f}" for x in (own, *others)]
    return "| " + " | ".join([name, *cells, *said]) + " |"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)
    lines = ["# Fidelity of small trees", "", *HEAD]
    at_four = {}
    for name, load in SETS.items():
        rows, at_four[name] = real(name, load, args.seeds)
        lines += rows
        print("\n".join(rows), flush=True)
        if not args.check:
            TABLE.write_text("\n".join(lines) + "\n")
    call = "SurrogateAligner(network, random_state=seed).fit(X, y)"
    lines += ["", f"The default call, `{call}`, depth 4:", "", *DEFAULT_HEAD]
    for name, load in SETS.items():
        lines.append(by_default(name, load, args.seeds))
        print(lines[-1], flush=True)
        if not args.check:
            TABLE.write_text("\n".join(lines) + "\n")
    if args.check:
        assert all(low > 0 for low in at_four.values()), at_four


if __name__ == "__main__":
    main()
