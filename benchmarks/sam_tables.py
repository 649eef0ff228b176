"""What sharpness-aware training is worth on real tables, with right labels and with wrong ones.

Of each of 18 tables (a part of ``--mnist mnist10k.npz`` is the 19th) at most 300 rows are trained
on, and at most 1,000 judge, with right labels. Of the training labels 0, 10, 20 or 40 % are wrong:
by lot to any class (symmetric), by lot to the most similar class (where there are three classes or
more), or those nearest to the boundary. For every table, kind and share of wrong labels and seed,
two questions are asked, each answered by networks trained in one stack:

- *radius*: 100 units, all else default, by radius, SAM or ASAM, Adam or SGD, from the same weights
  and batches. No perturbation, with Adam, is ``MLPClassifier()``.
- *choice*: ``SAMClassifierCV()`` against ``MLPClassifier()``, against the same network with its
  ``alpha`` chosen of six by the same folds, and against a random forest and a support vector
  machine with default parameters.

Differences are of accuracy in points, means over tables with 95 % intervals over tables, of which
each is the mean of its seeds.

    python benchmarks/sam_tables.py            # 2 to 3 seeds; goes on where it was cut off
    python benchmarks/sam_tables.py --quick    # 5 tables, 2 kinds of labels, 1 seed; no files
    python benchmarks/sam_tables.py --minutes 30  # and then writes the table of what there is
"""

import argparse
import itertools
import json
import time
import warnings
from pathlib import Path

import numpy as np
from _real_tables import load, names, split, with_wrong_labels
from sklearn.ensemble import RandomForestClassifier
from sklearn.svm import SVC

from sklflat import SAMClassifier, SAMClassifierCV
from sklflat.metrics import mean_bounds
from sklflat.training.runs import Training
from sklflat.training.stacking import train

RESULTS = Path(__file__).parent / "results"
TABLE, CELLS = RESULTS / "sam_tables.md", RESULTS / "sam_tables.json"
N_TRAIN, N_TEST = 300, 1000
KINDS = ("right", "symmetric", "similar", "boundary")
SHARES = (0.1, 0.2, 0.4)
NOISE = (("right", 0.0), *((kind, share) for kind in KINDS[1:] for share in SHARES))
RADIUS, CHOICE = "radius", "choice"
#: seeds, questions and places in NOISE in the order in which they are asked, the most important
#: first; networks of one entry and table stand in one stack
PLAN = (
    *((0, RADIUS, (0, 2)), (0, CHOICE, (2,)), (0, CHOICE, (0,)), (0, CHOICE, (3,))),
    *((1, CHOICE, (2,)), (0, CHOICE, (5,)), (0, CHOICE, (8,)), (0, RADIUS, (3, 8))),
    *((1, CHOICE, (0,)), (1, CHOICE, (3,)), (1, RADIUS, (0, 2)), (2, CHOICE, (2,))),
    *((0, RADIUS, (5,)), (0, CHOICE, (1,)), (0, CHOICE, (9,)), (0, CHOICE, (6,))),
    *((0, CHOICE, (7,)), (0, CHOICE, (4,)), (0, RADIUS, (1, 9)), (0, RADIUS, (4, 6, 7))),
    *((1, RADIUS, (3, 5, 8)), *((1, CHOICE, (k,)) for k in (5, 8, 1, 9, 6, 7, 4))),
    *((1, RADIUS, (1, 9)), (1, RADIUS, (4, 6, 7)), (2, CHOICE, (0,)), (2, CHOICE, (3,))),
)
RADII = {"sam": (0.05, 0.1, 0.2, 0.5, 1.0), "asam": (0.5, 1.0, 2.0)}
SOLVERS = {"adam": {}, "sgd": {"solver": "sgd", "learning_rate_init": 0.05}}
#: L2 penalties that the tuned network without perturbation may choose from
ALPHAS = (1e-4, 1e-3, 1e-2, 0.1, 1.0, 10.0)
QUICK = ("wine", "breast cancer", "digits", "pima", "vehicle")
OURS, PLAIN, TUNED = "SAMClassifierCV", "MLPClassifier", "MLPClassifier, tuned"


def settings():
    """Parameters of every network of the first question, by its name in the table."""
    for solver, own in SOLVERS.items():
        yield f"{solver}; none; 0", {"rho": 0.0, **own}
        for variant, radii in RADII.items():
            for rho in radii:
                yield f"{solver}; {variant}; {rho:g}", {"variant": variant, "rho": rho, **own}


def by_radius(X, labels, X_test, y_test, seed):
    """For every version of the labels, accuracy of every setting; None where training diverged."""
    trainings = [
        {n: Training(SAMClassifier(random_state=seed, **own), X, y, {}) for n, own in settings()}
        for y in labels
    ]
    for _ in train([t for version in trainings for t in version.values()]):
        pass
    return [
        {n: None if t.error else t.estimator.score(X_test, y_test) for n, t in version.items()}
        for version in trainings
    ]


def by_choice(X, y, X_test, y_test, seed):
    """Accuracy of estimators that choose for themselves, and what was chosen."""
    ours = SAMClassifierCV(random_state=seed).fit(X, y)
    tuned = SAMClassifierCV(rhos=(0.0,), alphas=ALPHAS, random_state=seed).fit(X, y)
    plain = SAMClassifier(rho=0, random_state=seed).fit(X, y)
    peers = {"random forest": RandomForestClassifier(random_state=seed), "SVC": SVC()}
    networks = {OURS: ours, TUNED: tuned, PLAIN: plain}
    scores = {name: network.score(X_test, y_test) for name, network in networks.items()}
    scores |= {name: peer.fit(X, y).score(X_test, y_test) for name, peer in peers.items()}
    return scores | {"chosen": [ours.rho_, ours.alpha_, tuned.alpha_]}


def measure(question, name, kinds, seed, mnist):
    """Answers to a question on one table, by kind and share of wrong labels."""
    X, y, X_test, y_test = split(*load(name, mnist), seed, N_TRAIN, N_TEST)
    if y.max() == 1:  # of two classes one is the similar one
        kinds = [kind for kind in kinds if kind[0] != "similar"]
    start = time.process_time()
    labels = [with_wrong_labels(X, y, *kind, seed) for kind in kinds]
    if question == "radius":
        found = by_radius(X, labels, X_test, y_test, seed)
    else:
        found = [by_choice(X, y, X_test, y_test, seed) for y in labels]
    for kind, answer in zip(kinds, found, strict=True):
        answer["seconds"] = round((time.process_time() - start) / len(kinds), 2)
        yield kind, answer


def run(cells, todo, mnist, minutes, keep):
    """Measure what is missing, and keep it as it ends."""
    start = time.monotonic()
    for (seed, question, places), name in todo:
        keys = {NOISE[k]: f"{name}; {NOISE[k][0]}; {NOISE[k][1]:g}; {seed}" for k in places}
        kinds = [noise for noise, key in keys.items() if question not in cells.get(key, ())]
        if not kinds:
            continue
        if minutes is not None and time.monotonic() - start > 60 * minutes:
            return
        for kind, answer in measure(question, name, kinds, seed, mnist):
            cells.setdefault(keys[kind], {})[question] = answer
            print(keys[kind], question, answer["seconds"], f"{time.process_time():.0f} s")
        if keep:
            part = CELLS.with_suffix(".part")
            part.write_text(json.dumps(cells))
            part.replace(CELLS)


# --- the page ---------------------------------------------------------------------------------


def differences(cells, kind, share, value):
    """Mean over seeds, in points, of a function of a cell, for every table that has it."""
    found = {}
    for key, cell in cells.items():
        name, its_kind, its_share, _ = key.split("; ")
        if (its_kind, float(its_share)) == (kind, share) and value(cell) is not None:
            found.setdefault(name, []).append(100 * value(cell))
    return np.array([np.mean(values) for values in found.values()])


def minus(question, ours, theirs):
    """The difference of two answers to a question; None if one is missing."""

    def value(cell):
        a, b = (cell.get(question, {}).get(name) for name in (ours, theirs))
        return None if a is None or b is None else a - b

    return value


def entry(d):
    """A mean and its interval."""
    if len(d) < 3:
        return ""
    low, high = mean_bounds(d) if d.std() > 0 else (d.mean(), d.mean())
    return f"{d.mean():+.1f} [{low:+.1f}, {high:+.1f}]"


def kinds_measured(cells, question):
    """Of how many tables a question has an answer, by kind and share of wrong labels."""
    tables = {noise: set() for noise in NOISE}
    for key, cell in cells.items():
        name, kind, share, _ = key.split("; ")
        if question in cell:
            tables[kind, float(share)].add(name)
    return {noise: len(some) for noise, some in tables.items() if some}


def heading(kinds):
    """Names of columns, with their numbers of tables."""
    return [
        f"{kind}{f' {100 * share:.0f} %' if share else ''} ({n})"
        for (kind, share), n in kinds.items()
    ]


def report(cells):
    """The page, line by line."""
    tables = sorted({key.split("; ")[0] for key in cells})
    seeds = {key.split("; ")[-1] for key in cells}
    minutes = sum(answer["seconds"] for cell in cells.values() for answer in cell.values()) / 60
    yield "# Sharpness-aware training on real tables\n"
    yield (
        f"Written by `benchmarks/sam_tables.py` from {len(tables)} tables and {len(seeds)} "
        f"seed(s), {minutes:.0f} minutes of one core: {', '.join(tables)}. At most {N_TRAIN} "
        "training rows, of whose labels a share is wrong. Differences of accuracy on rows with "
        "right labels, in points: means over tables (their number is in the heading) with 95 % "
        "intervals over tables.\n"
    )
    kinds = kinds_measured(cells, "radius")
    yield "## Which radius\n\nAgainst no perturbation, with all else equal (`alpha=1e-4`).\n"
    yield f"| solver | variant | rho | {' | '.join(heading(kinds))} |"
    yield "|---" * (len(kinds) + 3) + "|"
    for name, own in settings():
        solver, variant, rho = name.split("; ")
        if own["rho"]:
            value = minus("radius", name, f"{solver}; none; 0")
            row = [entry(differences(cells, *kind, value)) for kind in kinds]
            yield f"| {solver} | {variant} | {rho} | {' | '.join(row)} |"
    kinds = kinds_measured(cells, "choice")
    yield "\n## SAMClassifierCV against others\n"
    yield f"| SAMClassifierCV minus | {' | '.join(heading(kinds))} |"
    yield "|---" * (len(kinds) + 1) + "|"
    for peer in (PLAIN, TUNED, "random forest", "SVC"):
        value = minus("choice", OURS, peer)
        row = [entry(differences(cells, *kind, value)) for kind in kinds]
        yield f"| {peer} | {' | '.join(row)} |"
    yield from means(cells, kinds)
    yield from choices(cells, kinds)
    yield from by_table(cells)


def means(cells, kinds):
    """Accuracies themselves."""
    yield "\nAccuracy in per cent, mean over tables:\n"
    yield f"| | {' | '.join(heading(kinds))} |"
    yield "|---" * (len(kinds) + 1) + "|"
    for name in (PLAIN, TUNED, OURS, "random forest", "SVC"):
        values = [
            differences(cells, *kind, lambda cell, name=name: cell.get("choice", {}).get(name))
            for kind in kinds
        ]
        yield f"| {name} | {' | '.join(f'{value.mean():.1f}' for value in values)} |"


def choices(cells, kinds):
    """How often which radius was chosen."""
    yield "\nHow often which radius was chosen, in per cent:\n"
    yield f"| rho | {' | '.join(heading(kinds))} |"
    yield "|---" * (len(kinds) + 1) + "|"
    chosen = {
        (kind, share): [
            cell["choice"]["chosen"][0]
            for key, cell in cells.items()
            if f"; {kind}; {share:g};" in key and "choice" in cell
        ]
        for kind, share in kinds
    }
    for rho in sorted({rho for some in chosen.values() for rho in some}):
        shares = [f"{100 * np.mean(np.array(some) == rho):.0f}" for some in chosen.values()]
        yield f"| {rho:g} | {' | '.join(shares)} |"


def by_table(cells):
    """Accuracies on every table at 20 % symmetric wrong labels."""
    names_ = (PLAIN, TUNED, OURS, "random forest", "SVC")
    yield "\n## Table by table\n"
    yield "Accuracy in per cent at 20 % symmetric wrong labels, mean of the seeds.\n"
    yield f"| table | {' | '.join(names_)} |"
    yield "|---" * (len(names_) + 1) + "|"
    at = {k: c["choice"] for k, c in cells.items() if "; symmetric; 0.2;" in k and "choice" in c}
    for table in sorted({key.split("; ")[0] for key in at}):
        own = [scores for key, scores in at.items() if key.startswith(f"{table};")]
        row = [f"{100 * np.mean([c[name] for c in own]):.1f}" for name in names_]
        yield f"| {table} | {' | '.join(row)} |"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--mnist")
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    cells = json.loads(CELLS.read_text()) if CELLS.exists() else {}
    tables, plan = names(args.mnist), PLAN
    if args.quick:
        tables, plan, cells = [t for t in tables if t in QUICK], PLAN[:2], {}
    run(cells, itertools.product(plan, tables), args.mnist, args.minutes, keep=not args.quick)
    page = "\n".join(report(cells)) + "\n"
    if not args.quick:
        TABLE.write_text(page, encoding="utf-8")
    print(page)


if __name__ == "__main__":
    main()
