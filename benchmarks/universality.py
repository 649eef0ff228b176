"""What comes back in another training, on real tables, and which score of one network foretells it.

Of every table half the rows are held out. 24 networks are trained on the others from seeds of their
own, 40 epochs of Adam; the units of each return in the other 23, on the rows held out, as
``UniversalityProbe`` has it. Chance is that of 208 untrained networks, or of rotated layers. Within
each network the Spearman correlation of a score with the return is computed, over units that live;
a mean over networks has a 95 % interval. Networks share their others, so it is an interval over
what a further network of the same table would say, and not over tables.

``python benchmarks/universality.py`` writes results/universality.md and keeps every cell in
results/universality.json as it ends, so that a run that is cut off goes on. ``--mnist`` is the path
of a file with ``images`` and ``labels``, ``--networks`` the seeds of a cell, ``--minutes`` the time
after which no cell is begun; ``--check`` fails where the forecast does not hold.
"""

import argparse
import json
import time
import warnings
from pathlib import Path

import numpy as np
from _universality import (
    KEEL,
    SCIKIT,
    columns,
    network,
    pool_of,
    probe_scores,
    records,
    scores,
    table,
)
from scipy.stats import t as student
from sklearn.linear_model import LogisticRegression

from sklflat.metrics import mean_bounds
from sklflat.training.runs import Training
from sklflat.training.stacking import train
from sklflat.universality.chance import chance_by_network, rotated_returns
from sklflat.universality.networks import UnitsOf
from sklflat.universality.reliability import split_half, within_layers
from sklflat.universality.returns import Held, Matching, largest_with_pool, pairs_with

RESULTS = Path(__file__).parent / "results"
TABLE, CELLS = RESULTS / "universality.md", RESULTS / "universality.json"
N_ROTATIONS, N_KEPT = 4, 8
OUTCOMES = ("return", "excess", "over rotation", "explained")
#: tables, hidden layers and arms, in the order in which they are run
FIRST = [(name, "32", "plain") for name in ("breast cancer", "digits", "letter", "mnist", "wine")]
FURTHER = [(name, "32", "plain") for name in (*SCIKIT, *KEEL)]
ARMS = ("alpha 1", "sam .05", "dropout .3", "80 epochs", "sam .5", "alpha 10", "noise .05", "tanh")
FURTHER += [(name, "32", arm) for arm in ARMS for name in ("breast cancer", "digits", "letter")]
FURTHER += [
    (name, hidden, "plain")
    for hidden in ("8", "32, 32", "128")
    for name in ("breast cancer", "digits", "letter")
]
FURTHER += [("digits", "cnn", "plain")]
FURTHER += [(name, "32", "sam .1") for name in ("breast cancer", "digits", "letter")]
FURTHER += [("mnist", "32", arm) for arm in ("alpha 1", "alpha 10", "sam .5")]


def halves(X, y, shift=False):
    """Rows to train on, and rows held out: at random, or along the first principal component."""
    if not shift:
        return (X[::2], y[::2]), (X[1::2], y[1::2])
    along = X @ np.linalg.svd(X - X.mean(axis=0), full_matrices=False)[2][0]
    low = along <= np.median(along)
    return (X[low], y[low]), (X[~low], y[~low])


def trained(arm, hidden, rows, n, regression):
    """Networks from seeds of their own, as one stack where that can be."""
    sizes = None if hidden == "cnn" else tuple(map(int, hidden.split(", ")))
    trainings = [
        Training(network(arm, sizes, regression, seed), *rows, {}, snapshots_at=(0,))
        for seed in range(n)
    ]
    for i in train(trainings):
        if trainings[i].error is not None:
            raise trainings[i].error
    return [training.estimator for training in trainings]


def returns_of(k, own, rows, untrained, matching, rng):
    """Outcomes of the units of network k, by network (n_others, n_units).

    ``untrained`` (n_pool, n_units) are largest correlations with untrained networks.
    """
    others = [other for i, other in enumerate(own) if i != k]
    pairs = pairs_with(own[k], others, rows, np.arange(len(rows.X)) % 5)
    found = np.stack(
        [
            matching.largest(p.together[0].correlations, p.layer_of, p.other_layer_of)[0]
            for p in pairs
        ]
    )
    rotated = [rotated_returns(p, matching, N_ROTATIONS, rng).mean(axis=0) for p in pairs]
    return {
        "return": found,
        "excess": found - chance_by_network(untrained, len(others)),
        "over rotation": found - np.stack(rotated),
        "explained": np.stack([p.explained() for p in pairs]),
    }


def measure(name, hidden, arm, n, mnist, *, probes=False):
    """One cell: of each network means, reliabilities, and what scores correlate with."""
    X, y = table(name, mnist)
    fitted, judged = halves(X, y)
    estimators = trained(arm, hidden, fitted, n, name == "diabetes")
    cell = {"accuracy": [float(e.score(*judged)) for e in estimators], "networks": []}
    rng = np.random.RandomState(0)
    opened = [scores(e, fitted, judged) for e in estimators]
    own = [UnitsOf(s.network.module, s.units) for _, _, s in opened]
    first = opened[0][2]
    rows = Held(first.X, np.ones(len(first.X)), 1024)
    matching = Matching(signed=arm != "tanh")
    untrained = largest_with_pool(own, pool_of(own, rng), rows, matching)
    for k, (by_name, live, sample) in enumerate(opened):
        outcomes = returns_of(k, own, rows, untrained[k], matching, rng)
        layer_of = sample.units.layer_of
        by_name["one other network"] = outcomes["return"][0]
        if probes:
            by_name = probe_scores(estimators[k], estimators[0 if k else 1], fitted, judged)
        record = {"live": int(live.sum()), "mean": {}, "reliability": {}, "scores": {}}
        for outcome, by_network in outcomes.items():
            # the first other network is a score, so it is none of those that are foretold
            mean = by_network[1:].mean(axis=0)
            record["mean"][outcome] = float(by_network.mean(axis=0)[live].mean())
            record["reliability"][outcome] = split_half(by_network[1:], layer_of, live, rng)
            for score, values in by_name.items():
                rho = within_layers(values, mean, layer_of, live)
                record["scores"].setdefault(score, {})[outcome] = rho
        cell["networks"].append(record)
    return cell


def readouts(name, shift, n, mnist):
    """Accuracies of linear readouts of 8 units, chosen on other rows than they are judged on."""
    X, y = table(name, mnist)
    fitted, held = halves(X, y, shift)
    chosen_on, judged = halves(*held)
    estimators = trained("plain", "32", fitted, n, regression=False)
    rng = np.random.RandomState(0)
    opened = [scores(e, fitted, chosen_on) for e in estimators]
    own = [UnitsOf(s.network.module, s.units) for _, _, s in opened]
    rows = Held(opened[0][2].X, np.ones(len(opened[0][2].X)), 1024)
    untrained = largest_with_pool(own, pool_of(own, rng), rows, Matching())
    noise = rng.normal(size=judged[0].shape)
    missing = rng.uniform(size=judged[0].shape[1]) < 0.3
    tests = {
        "clean": judged[0],
        "noise": judged[0] + noise,
        "missing columns": np.where(missing, 0.0, judged[0]),
    }
    found = {}
    for k, (by_name, live, _) in enumerate(opened):
        outcomes = returns_of(k, own, rows, untrained[k], Matching(), rng)
        orders = {o: outcomes[o].mean(axis=0) for o in ("return", "excess")}
        orders |= {s: by_name[s] for s in ("class_variance", "activation variance", "ablation")}
        units = np.flatnonzero(live)
        sets = {"random": rng.permutation(units)[:N_KEPT]}
        for order, values in orders.items():
            ranked = units[np.argsort(-values[units])]
            sets |= {f"{order}, top": ranked[:N_KEPT], f"{order}, bottom": ranked[-N_KEPT:]}
        activations = estimators[k].transform(fitted[0])
        seen = {test: estimators[k].transform(inputs) for test, inputs in tests.items()}
        for label, some in sets.items():
            model = LogisticRegression(max_iter=2000).fit(activations[:, some], fitted[1])
            for test, A in seen.items():
                accuracy = float(model.score(A[:, some], judged[1]))
                found.setdefault(label, {}).setdefault(test, []).append(accuracy)
    return found


def read():
    """Cells that are kept."""
    cells = json.loads(CELLS.read_text()) if CELLS.exists() else {}
    for cell in cells.values():
        if "networks" in cell:
            n = len(cell["accuracy"])
            cell["networks"] = [records(cell["networks"], k) for k in range(n)]
    return cells


def write(cells):
    """Keep cells, and the page that is made of them."""
    kept = {
        key: cell | {"networks": columns(cell["networks"])} if "networks" in cell else cell
        for key, cell in cells.items()
    }
    CELLS.write_text(json.dumps(kept, separators=(",", ":")))
    TABLE.write_text("\n".join(report(cells)) + "\n")


# --- the page -------------------------------------------------------------------------------------


def interval(values, digits=2):
    """Mean with its 95 % interval, in few digits."""
    values = np.array([v for v in values if v is not None and np.isfinite(v)])
    if len(values) < 2:
        return ""
    low, high = mean_bounds(values)
    return f"{values.mean():.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def corrected(records, score, outcome):
    """Mean correlation, and what it would be with an outcome of perfect reliability."""
    raw = np.array([r["scores"][score][outcome] for r in records], dtype=float)
    reliability = np.nanmean([r["reliability"][outcome] for r in records])
    value = np.nanmean(raw) / np.sqrt(reliability) if reliability > 0.2 else np.nan
    return f"{interval(raw)}" + (f" ({value:.2f})" if np.isfinite(value) else " (-)")


def report(cells):
    """The page, line by line."""
    grid = {k: c for k, c in cells.items() if "networks" in c and "probes" not in k}
    probes = {k: c for k, c in cells.items() if "probes" in k}
    yield "# What comes back in another training\n"
    yield (
        "Written by `benchmarks/universality.py`; how is said there. Means over networks with 95 % "
        "intervals. In brackets behind a correlation: corrected for attenuation, divided by the "
        "root of the mean reliability of what is foretold; a dash where that is .2 at most.\n"
    )
    yield "## How much comes back\n"
    yield (
        "*return*: mean largest correlation with the units of another network. *untrained* and "
        "*rotation*: the same by chance. *explained*: cross-validated share of a unit's variance "
        "that another network's layer explains. *reliability*: of the return, and of its excess "
        "over untrained networks, within one network.\n"
    )
    head = "table | hidden | training | accuracy | return | untrained | rotation | explained"
    yield f"| {head} | reliability |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for key, cell in grid.items():
        records = cell["networks"]
        mean = {o: np.array([r["mean"][o] for r in records]) for o in OUTCOMES}
        parts = [
            interval(cell["accuracy"]),
            interval(mean["return"]),
            interval(mean["return"] - mean["excess"]),
            interval(mean["return"] - mean["over rotation"]),
            interval(mean["explained"]),
            ", ".join(
                f"{np.nanmean([r['reliability'][o] for r in records]):.2f}" for o in OUTCOMES[:2]
            ),
        ]
        yield f"| {' | '.join(key.split('; '))} | {' | '.join(parts)} |"
    yield from _arms(grid)
    for outcome in OUTCOMES:
        yield f"\n## Which score foretells it: {outcome}\n"
        keys = [k for k in grid if k.endswith("; 32; plain")]
        yield from _correlations(grid, keys, outcome)
    if probes:
        yield "\n## Scores of the other probes: return, and excess\n"
        for outcome in OUTCOMES[:2]:
            yield from _correlations(probes, list(probes), outcome)
            yield ""
    yield "\n## The same with other widths, depths and trainings: excess\n"
    keys = [k for k in grid if not k.endswith("; 32; plain")]
    yield from _correlations(grid, keys, "excess")
    yield from _readouts({k: c for k, c in cells.items() if "networks" not in c})


def _arms(grid):
    """What other trainings change, paired by seed: same rows, weights to start from and order."""
    yield "\n## What other trainings change\n"
    yield (
        "Less the plain training of the same seed, so of the same weights to start from and order "
        "of rows. Accuracies are not matched.\n"
    )
    yield "| table | training | accuracy | return | excess | over rotation | explained |"
    yield "|---|---|---|---|---|---|---|"
    for key, cell in grid.items():
        name, hidden, arm = key.split("; ")
        plain = grid.get(f"{name}; 32; plain")
        if hidden != "32" or arm in ("plain", "tanh") or plain is None:
            continue  # of tanh the correlations have no sign, so they are not compared
        parts = [interval(np.subtract(cell["accuracy"], plain["accuracy"]), 3)]
        pairs = list(zip(cell["networks"], plain["networks"], strict=True))
        for outcome in OUTCOMES:
            differences = [a["mean"][outcome] - b["mean"][outcome] for a, b in pairs]
            parts.append(interval(differences, 3))
        yield f"| {name} | {arm} | {' | '.join(parts)} |"


def _correlations(grid, keys, outcome):
    names = sorted({s for k in keys for r in grid[k]["networks"] for s in r["scores"]})
    mean = {
        s: np.nanmean(
            [
                r["scores"][s][outcome]
                for k in keys
                for r in grid[k]["networks"]
                if s in r["scores"] and r["scores"][s][outcome] is not None
            ]
        )
        for s in names
    }
    shown = [k.removesuffix("; 32; plain").removeprefix("probes; ") for k in keys]
    yield f"| score | mean | {' | '.join(shown)} |"
    yield "|---|---|" + "---|" * len(keys)
    for s in sorted(names, key=lambda s: -mean[s]):
        parts = [
            corrected(grid[k]["networks"], s, outcome)
            if s in grid[k]["networks"][0]["scores"]
            else ""
            for k in keys
        ]
        label = {"correlation": "eta squared", "class_variance": "class variance"}.get(s, s)
        yield f"| {label} | {mean[s]:.2f} | {' | '.join(parts)} |"


def _readouts(cells):
    yield f"\n## What it is good for: a linear readout of {N_KEPT} of 32 units\n"
    yield (
        "Accuracy, on rows on which nothing was chosen. *shift*: trained on the half of the rows "
        "that is lower along the first principal component, judged on the other.\n"
    )
    yield "| table | units | clean | noise | missing columns |"
    yield "|---|---|---|---|---|"
    for key, cell in cells.items():
        for label, tests in cell.items():
            parts = [interval(tests[t]) for t in ("clean", "noise", "missing columns")]
            yield f"| {key.removeprefix('readout; ')} | {label} | {' | '.join(parts)} |"


def paired(cells, better, worse, outcome="return"):
    """Mean difference of two scores over tables of plain networks, and its one-sided bound."""
    differences = [
        np.nanmean(
            [r["scores"][better][outcome] - r["scores"][worse][outcome] for r in c["networks"]]
        )
        for key, c in cells.items()
        if key.endswith("; 32; plain")
    ]
    n = len(differences)
    error = np.std(differences, ddof=1) / np.sqrt(n)
    return float(np.mean(differences)), float(
        np.mean(differences) - student.ppf(0.95, n - 1) * error
    )


def cells_to_run():
    """Keys, and what measures them."""
    grid = [*FIRST, *[c for c in FURTHER if c not in FIRST]]
    jobs = [("; ".join(c), lambda n, m, c=c: measure(*c, n, m)) for c in grid]
    first = 1 + len(SCIKIT) + len(KEEL)
    given = [
        (f"readout; {t}{', shift' * s}", lambda n, m, t=t, s=s: readouts(t, s, n, m))
        for s in (False, True)
        for t in ("breast cancer", "digits", "letter", "satellite", "spam")
    ]
    others = [
        (f"probes; {t}", lambda n, m, t=t: measure(t, "32", "plain", n, m, probes=True))
        for t in ("breast cancer", "digits", "letter")
    ]
    arms = first + 3 * len(ARMS)
    return [*jobs[:first], *given, *jobs[first:arms], *others, *jobs[arms:]]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--networks", type=int, default=24)
    parser.add_argument("--mnist")
    parser.add_argument("--minutes", type=float, default=np.inf)
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    cells = read()
    began = time.monotonic()
    for key, job in cells_to_run():
        name = key.removeprefix("readout; ").removeprefix("probes; ").removesuffix(", shift")
        name = name.split("; ")[0]
        if key in cells or time.monotonic() - began > 60 * args.minutes:
            continue
        if table(name, args.mnist) is None:
            print(f"{name} is not there", flush=True)
            continue
        cells[key] = job(args.networks, args.mnist)
        write(cells)
        print(key, f"{time.monotonic() - began:.0f} s", flush=True)
    write(cells)
    print(TABLE.read_text())
    if args.check:
        for rival in ("ablation", "flat alignment", "outgoing norm"):
            mean, low = paired(cells, "class_variance", rival)
            print(f"class variance less {rival}: {mean:.2f}, at least {low:.2f}")
            if low <= 0:
                raise SystemExit(f"class variance does not foretell return better than {rival}")


if __name__ == "__main__":
    main()
