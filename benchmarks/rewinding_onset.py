"""The onset by bisection, by brute force, and as guessed from curvature, on tasks of both kinds.

``python benchmarks/rewinding_onset.py``. Unstable at initialisation are 600 digits with random
labels, which three hidden layers of 64 learn by heart: plain SGD at .05 with momentum .9, batches
of 32, 60 epochs. Stable are 600 digits with their own labels, one hidden layer of 32 at a rate of
.02.

Asked is whether the search ends within one step of the grid of brute force over 33 steps, at 25 %
of its cost at most, on 5 seeds of the first: plain bisection by the looks that brute force had,
and the search of a fit, which looks again where it doubts, by looks of its own, of copies that
brute force has not seen; what the defaults of a fit find (3 copies, 2 %); whether the second is
said to be stable from its first step; and how often the curvature plateau, which trains nothing,
says the same as all looks do. Nearer to the end the curve falls more slowly and single looks are
noisier relative to it, so the same looks are judged by three tolerances.

Looks are noise, those of brute force, too. So there is a second brute force, of other copies, that
says how far two of them are apart; the mean of both curves is nearer to the truth than either.
"""

import argparse
import warnings

import numpy as np
from _rewinding import as_table, by_seed, write
from sklearn.datasets import load_digits

from sklflat import SAMClassifier
from sklflat.rewinding import CurvaturePlateau, Instability, Parent, find_onset
from sklflat.rewinding.dose_response import dose_response, onset_of_all
from sklflat.rewinding.rewinds import onset_curve

N_GRID, N_COPIES = 32, 5
#: copies and tolerance of BasinRewinder
DEFAULTS = (3, 0.02)
SGD = {"solver": "sgd", "momentum": 0.9, "batch_size": 32, "rho": 0, "alpha": 0, "tol": 0}
#: share of random labels, hidden layers, rate, epochs, tolerances
TASKS = {
    "random labels, 3 layers of 64, rate .05": (1.0, (64, 64, 64), 0.05, 60, (0.1, 0.05, 0.02)),
    "own labels, 1 layer of 32, rate .02": (0.0, (32,), 0.02, 20, (0.02,)),
}


def digits(seed, noise):
    """600 digits, a share of them with random labels."""
    rng = np.random.RandomState(seed)
    X, y = load_digits(return_X_y=True)
    rows = rng.permutation(len(X))[:600]
    X, y = (X[rows] / 16).astype(np.float32), y[rows].copy()
    wrong = rng.uniform(size=len(y)) < noise
    y[wrong] = rng.randint(10, size=wrong.sum())
    return X, y


def of_seed(seed, task):
    """All looks at all steps, their cost, and the largest eigenvalues."""
    noise, hidden, rate, epochs, tolerances = TASKS[task]
    own = {"learning_rate_init": rate, "max_iter": epochs, "n_iter_no_change": epochs}
    net = SAMClassifier(hidden, **SGD, **own, random_state=seed)
    parent = Parent.train(net, *digits(seed, noise), n_grid=N_GRID, random_state=seed)
    brute = parent.dose_response(n_copies=N_COPIES)
    asked = [(N_COPIES, tol) for tol in tolerances] + [DEFAULTS]
    again = dose_response(parent.comparison, parent.training, N_COPIES, 0.02, 2000 + seed)
    return {
        "again": [p.barriers.tolist() for p in again.points],
        "own looks": {str(own): own_looks(parent, *own, seed) for own in asked},
        "steps": list(parent.steps),
        "barriers": [p.barriers.tolist() for p in brute.points],
        "consistency": [p.consistency for p in brute.points],
        "n_trained": [p.n_trained for p in brute.points],
        "top": parent.curvature_plateau().top.tolist(),
    }


def own_looks(parent, n_copies, tol, seed):
    """Onset by the search of a fit, by own copies, the steps trained, and what contradicts it."""
    rng = np.random.RandomState(1000 + seed)
    seeds = [int(rng.randint(2**31 - 1)) for _ in range(n_copies - 1)]
    curve = onset_curve(parent.comparison, parent.training, tol=tol, seeds=seeds)
    return [curve.onset, curve.n_trained, list(curve.contradictions)]


def onsets(found, tol):
    """Places on the grid of all onsets at one tolerance, and the curve of plain bisection."""
    steps = found["steps"]
    place = {None: len(steps), **{step: k for k, step in enumerate(steps)}}

    def by_all(barriers):
        points = [Instability(s, np.array(b)) for s, b in zip(steps, barriers, strict=True)]
        return onset_of_all(points, tol)

    columns = zip(steps, found["barriers"], found["n_trained"], strict=True)
    points = {step: Instability(step, np.array(b), n_trained=n) for step, b, n in columns}
    plain = find_onset(points.__getitem__, steps, tol)
    own = found["own looks"][str((N_COPIES, tol))][0]
    known = {"brute": by_all(found["barriers"]).onset, "plain": plain.onset, "own": own}
    known["again"] = by_all(found["again"]).onset
    known["both"] = by_all(np.hstack([found["barriers"], found["again"]])).onset
    return {name: place[onset] for name, onset in known.items()}, plain, place


def row_of(seed, found, tol):
    """Onsets by all ways at one tolerance."""
    at, plain, place = onsets(found, tol)
    shown = {k: step for step, k in place.items()}
    n_brute = sum(found["n_trained"])
    plateau = CurvaturePlateau(tuple(found["steps"]), np.array(found["top"]), 2.0)
    brute = onset_of_all(
        [
            Instability(s, np.array(b))
            for s, b in zip(found["steps"], found["barriers"], strict=True)
        ],
        tol,
    )
    _, n_trained, against = found["own looks"][str((N_COPIES, tol))]
    of_defaults = {}
    if tol == DEFAULTS[1]:
        default, n_default, against_default = found["own looks"][str(DEFAULTS)]
        share = n_default / (n_brute * (DEFAULTS[0] - 1) / (N_COPIES - 1))
        of_defaults = {
            "by the defaults": default,
            "from brute force ": abs(place[default] - at["brute"]),
            "cost ": f"{share:.1%}",
            "contradictions ": against_default,
        }
    return {
        "tolerance": f"{tol:.0%}",
        "seed": seed,
        "at 0 (%)": f"{100 * brute.points[0].value:.1f}",
        "brute force": shown[at["brute"]],
        "second brute force": shown[at["again"]],
        "mean of both": shown[at["both"]],
        "plain bisection, same looks": shown[at["plain"]],
        "steps from brute force": abs(at["plain"] - at["brute"]),
        "its cost": f"{plain.n_trained / n_brute:.1%}",
        "search, own looks": shown[at["own"]],
        "from brute force": abs(at["own"] - at["brute"]),
        "from the second": abs(at["own"] - at["again"]),
        "from both": abs(at["own"] - at["both"]),
        "cost": f"{n_trained / n_brute:.1%}",
        "contradictions": against,
        "second from first": abs(at["again"] - at["brute"]),
        **of_defaults,
        "plateau": plateau.onset,
        "from brute force  ": abs(place[plateau.onset] - at["brute"]),
        "its agreement": f"{plateau.agreement(brute):.0%}",
    }


def counts(found, tol):
    """How many seeds are within one step of the grid, in words."""
    all_at = [onsets(own, tol)[0] for own in found]

    def near(a, b):
        return f"{sum(abs(at[a] - at[b]) <= 1 for at in all_at)} of {len(all_at)}"

    return (
        f"At {tol:.0%}, within one step of the grid: the search of brute force "
        f"{near('own', 'brute')}, of the second {near('own', 'again')}, of the mean of both "
        f"{near('own', 'both')}; the two of each other {near('brute', 'again')}."
    )


def curves(found):
    """Instability, its standard error, consistency and curvature by step, means over seeds."""

    def mean(values, digits=1, factor=100):
        return [f"{factor * v:.{digits}f}" for v in np.mean(list(values), axis=0)]

    points = [[Instability(0, np.array(b)) for b in seed["barriers"]] for seed in found]
    columns = {
        "step": found[0]["steps"],
        "instability (%)": mean([p.value for p in own] for own in points),
        "standard error of one seed": mean([p.standard_error for p in own] for own in points),
        "consistency": mean((seed["consistency"] for seed in found), 2, 1),
        "largest eigenvalue": mean((seed["top"] for seed in found), 1, 1),
    }
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    return as_table(rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--kept", help="file of finished seeds, {} for a task")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    lines = [
        "# The onset by bisection and by brute force\n",
        f"Written by `benchmarks/rewinding_onset.py`: 600 digits, SGD, {N_GRID + 1} steps of equal "
        f"ratios, {N_COPIES} copies each. Brute force looks at all steps, and takes the first that "
        "is stable on the falling curve nearest to all looks (isotonic regression). A cost is in "
        "steps trained, relative to brute force of as many copies. The plateau is the first "
        "step from which on the largest eigenvalue of the Hessian stays within a factor of 2 of "
        "its last value; its agreement is the share of all looks that it calls stable or not as "
        "they are. Own looks are those of copies that brute force has not seen; the defaults are "
        "those of a fit, 3 copies and 2 %, with looks of their own. The rule of the search was "
        "chosen by simulated curves.",
    ]
    for k, (task, (*_, tolerances)) in enumerate(TASKS.items()):
        seeds = range(args.seeds)
        found = by_seed(
            args.kept and args.kept.format(k), seeds, lambda seed, task=task: of_seed(seed, task)
        )
        lines.append(f"\n## {task}")
        for tol in tolerances:
            rows = [row_of(seed, own, tol) for seed, own in zip(seeds, found, strict=True)]
            lines += ["", *as_table(rows), "", counts(found, tol)]
        lines += ["\nMeans over seeds:\n", *curves(found)]
    write("onset", lines)


if __name__ == "__main__":
    main()
