"""Tickets, onsets and consistency: what BasinRewinder finds where the answer is known.

``python benchmarks/rewinding.py onset`` compares the onset by bisection with brute force over all
steps of the grid, on digits with 40 % wrong labels, which have one. ``... cues`` plants a real and
a spurious cue and asks which units come back. ``... tickets`` trains tickets beside both controls,
on digits or, with ``--data mnist10k.npz`` (``images`` and ``labels``), on MNIST. Each writes a
table results/rewinding_<part>.md.
"""

import argparse
import warnings
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits
from sklearn.isotonic import IsotonicRegression

from sklflat import BasinRewinder, SAMClassifier
from sklflat.datasets import make_spurious
from sklflat.networks.units import Units
from sklflat.probing import resolve
from sklflat.probing.split import Rows
from sklflat.rewinding.onset import Instability, find_onset, step_grid
from sklflat.rewinding.recipe import Recipe
from sklflat.rewinding.rewinds import Comparison
from sklflat.training.runs.start import Start

RESULTS = Path(__file__).parent / "results"
TOL, N_GRID, N_COPIES = 0.02, 32, 4


def interval(values):
    """Mean and 95 % interval (Student's t) of a few values, as text."""
    from scipy import stats

    values = np.asarray(values, dtype=float)
    half = stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / len(values) ** 0.5
    return f"{values.mean():.2f} ({values.mean() - half:.2f} to {values.mean() + half:.2f})"


# --- the onset ------------------------------------------------------------------------------------


def noisy_digits(seed):
    """800 digits, 40 % of them with random labels."""
    rng = np.random.RandomState(seed)
    X, y = load_digits(return_X_y=True)
    rows = rng.permutation(len(X))[:800]
    X, y = (X[rows] / 16).astype(np.float32), y[rows].copy()
    wrong = rng.uniform(size=len(y)) < 0.4
    y[wrong] = rng.randint(10, size=wrong.sum())
    return X, y


def deep(seed):
    """Three hidden layers, plain SGD."""
    sgd = {"solver": "sgd", "learning_rate_init": 0.05, "momentum": 0.9, "batch_size": 32}
    fixed = {"max_iter": 40, "rho": 0, "alpha": 0, "tol": 0, "n_iter_no_change": 100}
    return SAMClassifier((64, 64, 64), **sgd, **fixed, random_state=seed)


def brute_force(seed):
    """Instability at every step of the grid, all copies as one stack, and steps trained for it."""
    X, y = noisy_digits(seed)
    rng = np.random.RandomState(seed)
    recipe = Recipe.of(deep(seed), Rows(X, y, {}), rng, 0)
    parent = recipe.training(states_at=step_grid(recipe.n_steps, N_GRID))
    recipe.run([parent])
    trained = resolve(parent.estimator)
    units = Units.find(trained.network.module, trained.to_input(X[:5]))
    comparison = Comparison(recipe, units, X, X, None)
    seeds = [int(rng.randint(2**31 - 1)) for _ in range(N_COPIES - 1)]
    grid = sorted(parent.states)
    copies = {
        step: [recipe.training(start=Start(parent.states[step], s)) for s in seeds] for step in grid
    }
    recipe.run([t for own in copies.values() for t in own])
    return {
        step: Instability(
            step,
            comparison.barriers([parent, *own]),
            n_trained=sum(t.estimator.net_.steps_.n_begun - step for t in own),
        )
        for step, own in copies.items()
    }


def onset_row(seed):
    """Onsets by brute force and by bisection, and the latter's cost."""
    points = brute_force(seed)
    grid = list(points)
    curve = find_onset(points.__getitem__, grid, TOL)
    values = np.array([points[step].value for step in grid])
    # of all looks at a curve that falls, but for noise
    falling = IsotonicRegression(increasing=False).fit_transform(np.arange(len(grid)), values)
    whole = int(np.argmax(falling <= TOL)) if (falling <= TOL).any() else len(grid)
    found = len(grid) if curve.onset is None else grid.index(curve.onset)
    return {
        "seed": seed,
        "instability at 0": f"{values[0]:.3f}",
        "first stable step": next((s for s, v in zip(grid, values, strict=True) if v <= TOL), None),
        "unstable after it": int((values[int(np.argmax(values <= TOL)) :] > TOL).sum()),
        "brute force": grid[whole] if whole < len(grid) else None,
        "bisection": curve.onset,
        "grid steps apart": abs(found - whole),
        "cost": f"{curve.n_trained / sum(p.n_trained for p in points.values()):.1%}",
        "contradictions seen": list(curve.contradictions),
        "curve": " ".join(f"{100 * v:.1f}" for v in values),
    }


def onset(args):
    rows = [onset_row(seed) for seed in range(args.seeds)]
    return [
        "# The onset by bisection and by brute force\n",
        "Written by `benchmarks/rewinding.py onset`: 800 digits, 40 % of them with random labels, "
        f"three hidden layers of 64, SGD, 1,000 steps, {N_GRID} steps of equal ratios, {N_COPIES} "
        f"copies each, tolerance {TOL:.0%} of the training error. The cost is that of bisection in "
        "steps trained, relative to brute force, which looks at all steps and takes the first one "
        "that is stable on the falling curve nearest to all looks (isotonic regression).\n",
        *as_table(rows),
    ]


# --- cues -----------------------------------------------------------------------------------------

EASINESS = (0.5, 1.5, 4.0)
ARMS = {"order of the rows": {}, "bootstrap": {"bootstrap": True}, "environments": {}}


def cue_auc(seed, easiness, arm):
    """AUC of consistency for units that follow the real cue, against those of the spurious one."""
    correlation = (0.9, 0.9, -0.5) if arm == "environments" else (0.9, 0.7)
    X, y, truth = make_spurious(
        1200, easiness=easiness, spurious_correlation=correlation, random_state=seed
    )
    net = SAMClassifier((24,), learning_rate_init=0.01, batch_size=50, max_iter=15, rho=0)
    probe = BasinRewinder(
        net,
        sparsity=0.3,
        n_rounds=1,
        n_controls=0,
        rewind=0,
        n_retrains=4,
        n_null=10,
        n_units=None,
        n_bootstrap=2,
        random_state=seed,
        **ARMS[arm],
    )
    probe.fit(X, y, **({"groups": truth.environment} if arm == "environments" else {}))
    A = probe.transform(X)
    live = probe.support_
    r = np.abs(np.corrcoef(np.column_stack([truth.cues, A]).T)[:2, 2:])
    real = r[0] > r[1]
    if real.all() or not real.any():
        return np.nan
    scores = probe.unit_scores_[live]
    above = scores[real][:, None] - scores[~real][None]
    return float((above > 0).mean() + 0.5 * (above == 0).mean())


def cues(args):
    rows = []
    for easiness in EASINESS:
        row = {"easiness": easiness}
        for arm in ARMS:
            found = np.array([cue_auc(seed, easiness, arm) for seed in range(args.seeds)])
            known = found[np.isfinite(found)]
            row[arm] = interval(known) + (
                f", {len(known)} seeds" if len(known) < len(found) else ""
            )
        rows.append(row)
    return [
        "# Real and spurious cues\n",
        "Written by `benchmarks/rewinding.py cues`: AUC of consistency for units that follow the "
        "real cue more than the spurious one, against the others; mean over seeds (95 % interval). "
        "Below .5 the spurious ones come back more consistently. Children differ in the order of "
        "the rows, in bootstrap rows, or are trained on one of three environments, in the third of "
        "which the spurious cue misleads.\n",
        *as_table(rows),
    ]


# --- tickets --------------------------------------------------------------------------------------


def data(path):
    if path is None:
        X, y = load_digits(return_X_y=True)
        return (X / 16).astype(np.float32), y
    with np.load(path) as file:
        X, y = file["images"].reshape(-1, 784), file["labels"].astype(int)
    return ((X / 255 - 0.1307) / 0.3081).astype(np.float32), y


def tickets(args):
    import pandas as pd

    X, y = data(args.data)
    net = SAMClassifier(
        (300, 100),
        learning_rate_init=0.0012,
        batch_size=60,
        max_iter=args.epochs,
        rho=0,
        alpha=0,
        early_stopping=True,
        n_iter_no_change=args.epochs,
        tol=0,
    )
    tables = []
    for seed in range(args.seeds):
        probe = BasinRewinder(
            net,
            sparsity=0.964,
            prune="layerwise",
            rewind=0,
            n_retrains=2,
            n_null=10,
            n_units=1,
            n_bootstrap=2,
            random_state=seed,
            verbose=1,
            cache_dir=args.cache,
        ).fit(X, y)
        tables.append(probe.rounds_.assign(seed=seed))
    table = pd.concat(tables)
    rows = []
    for left, part in table.groupby("remaining", sort=True):
        row = {"weights left": f"{left:.1%}"}
        for name in ("ticket", "re-initialised", "random pruning"):
            own = part[part.network == name]
            row[name] = f"{own.score.mean():.3f}" if len(own) else ""
            row[f"epochs, {name}"] = interval(own.epochs) if len(own) > 1 else ""
        rows.append(row)
    where = "digits" if args.data is None else "10,000 MNIST digits"
    return [
        "# Tickets beside their controls\n",
        f"Written by `benchmarks/rewinding.py tickets`: {where}, LeNet-300-100, Adam .0012, "
        f"batches of 60, {args.epochs} epochs, pruned layer by layer at 20 % a round (output layer "
        f"10 %), {args.seeds} seeds. Held-out accuracy, and the epoch of the best validation "
        "score (95 % interval).\n",
        *as_table(rows[::-1]),
    ]


def as_table(rows):
    head = list(rows[0])
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return [*lines, *("| " + " | ".join(str(row[name]) for name in head) + " |" for row in rows)]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=["onset", "cues", "tickets"])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--data")
    parser.add_argument("--cache")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    lines = globals()[args.part](args)
    text = "\n".join(lines) + "\n"
    (RESULTS / f"rewinding_{args.part}.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
