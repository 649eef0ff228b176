"""Noise in flat directions against its controls: lengths, curvature, degeneracy and cost.

1. At equal rise of the loss, how much longer flat noise is than isotropic noise, against the
   formula sqrt(1 / (1 - s)), s the share of the trace of the Hessian in the top k: within 15 %
   of it where second order holds.
2. The largest eigenvalue and the trace after training without noise, with SAM, isotropic and flat
   noise, on 10 seeds.
3. An over-wide student of a narrow teacher, 10 paired seeds: effective rank of the hidden layer,
   live units, per-unit correlation with the features of the teacher, error on unseen rows.
4. Cost of flat noise against plain training, in work and in time.

``python benchmarks/flat_noise.py`` writes results/flat_noise.md.
"""

import time
import warnings
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.metrics import r2_score

from sklflat import FlatNoiseClassifier, FlatNoiseRegressor, SAMClassifier, SAMRegressor
from sklflat.curvature import (
    Displacements,
    Hessian,
    InSubspace,
    Landscape,
    NoiseGauge,
    Spread,
    eigenpairs,
    hutchinson,
)
from sklflat.datasets import make_teacher_student
from sklflat.metrics import bca_interval, effective_rank, sign_flip_test
from sklflat.probing import resolve

TABLE = Path(__file__).parent / "results" / "flat_noise.md"
N_SEEDS = 10
KS = (1, 5, 10, 20, 50)
#: rises of the loss in nats; at the first of them the formula must hold
RISES = {"tanh": (1e-4, 1e-3, 0.02), "relu": (1e-9, 1e-3, 0.02)}
ARMS = ("none", "dropout", "isotropic", "flat", "sharp", "random")
DIGITS, DIGIT = load_digits(return_X_y=True)
DIGITS = DIGITS / 16


def lengths(seed, activation, rises, width=16):
    """Formula of each k, and measured ratios of lengths (n_rises, n_ks) at equal rise, in nats."""
    clf = SAMClassifier(
        (width,),
        rho=0,
        activation=activation,
        max_iter=100,
        learning_rate_init=0.005,
        random_state=seed,
    ).fit(DIGITS[:1000], DIGIT[:1000])
    trained = resolve(clf)
    X, y = trained.to_input(DIGITS[:1000]), trained.to_target(DIGIT[:1000])
    land = Landscape(trained.network, X, y)
    w = land.vector.read()
    theta, V = torch.linalg.eigh(land.hessian(w).dense())
    order = theta.abs().argsort(descending=True)
    spread = Spread(torch.ones_like(w), land.filters)
    # the top eigenpairs steady the measurement, whether the noise is along them or not
    steady = theta[order[:50]], V[:, order[:50]].T.contiguous()
    measured = np.empty((len(rises), 1 + len(KS)))
    for i, k in enumerate((0, *KS)):
        top = V[:, order[:k]].T.contiguous()
        noise = Displacements(spread, InSubspace(top, torch.zeros(k).to(w), 1.0))
        for j, rise in enumerate(rises):
            gauge = NoiseGauge(land, w, noise, 16, (seed, k), *steady)
            c, _ = gauge.scale_for_rise(rise, rise**0.5, 10.0, 20)
            measured[j, i] = c * float(noise.length())
    shares = [float(theta[order[:k]].sum() / theta.sum()) for k in KS]
    return (1 / (1 - np.array(shares))) ** 0.5, measured[:, 1:] / measured[:, :1]


def curvature_after(seed):
    """Largest eigenvalue, trace and test accuracy after four trainings."""
    common = {"hidden_layer_sizes": (32,), "max_iter": 80, "learning_rate_init": 0.005}
    common |= {"random_state": seed, "tol": 0, "n_iter_no_change": 1000, "batch_size": 64}
    arms = {
        "none": SAMClassifier(rho=0, **common),
        "SAM, rho 0.05": SAMClassifier(rho=0.05, **common),
        "isotropic": FlatNoiseClassifier(subspace="isotropic", sigma=0.1, **common),
        "flat": FlatNoiseClassifier(subspace="flat", sigma=0.1, **common),
    }
    order = np.random.RandomState(seed).permutation(len(DIGITS))
    train, test = order[:1000], order[1000:]
    rows = {}
    for name, clf in arms.items():
        clf.fit(DIGITS[train], DIGIT[train])
        trained = resolve(clf)
        H = Hessian(
            trained.network, trained.to_input(DIGITS[train]), trained.to_target(DIGIT[train])
        )
        pairs = eigenpairs(H, 1, tol=1e-3)
        trace = hutchinson(H, 30, known=(pairs.values, pairs.vectors))
        length = getattr(clf, "noise_scale_", np.nan)
        accuracy = clf.score(DIGITS[test], DIGIT[test])
        rows[name] = (float(pairs.values[0]), trace.value, accuracy, length)
    return rows


def degeneracy(seed):
    """Effective rank, live units, selectivity and R^2 of six students of one teacher."""
    X, y, truth = make_teacher_student(
        1200, n_features=10, n_teacher=4, noise=0.1, random_state=seed
    )
    train, test = slice(0, 600), slice(600, 1200)
    common = {"hidden_layer_sizes": (40,), "max_iter": 150, "learning_rate_init": 0.005}
    common |= {"random_state": seed, "tol": 0, "n_iter_no_change": 1000, "batch_size": 50}
    rows = {}
    for arm in ARMS:
        if arm in ("none", "dropout"):
            reg = SAMRegressor(rho=0, dropout=0.2 if arm == "dropout" else 0.0, **common)
        else:
            reg = FlatNoiseRegressor(subspace=arm, sigma=0.2, **common)
        reg.fit(X[train], y[train])
        A = reg.transform(X[test])
        live = A.std(0) > 1e-6 * A.std()
        corr = np.abs(np.corrcoef(A[:, live].T, truth.latent[test].T))
        selectivity = corr[: live.sum(), live.sum() :].max(1).mean()
        r2 = r2_score(y[test], reg.predict(X[test]))
        rows[arm] = (effective_rank(A), live.sum(), selectivity, r2)
    return rows


def cost(rounds=5):
    """Ratio of times, and work in gradients of a batch, over one whole refresh interval."""
    common = {"max_iter": 223, "tol": 0, "n_iter_no_change": 10_000, "random_state": 0}
    plain, noisy = SAMClassifier(rho=0, **common), FlatNoiseClassifier(**common)
    ratios = []
    for _ in range(rounds):
        times = []
        for clf in (plain, noisy):
            start = time.perf_counter()
            clf.fit(DIGITS, DIGIT)
            times.append(time.perf_counter() - start)
        ratios.append(times[1] / times[0])
    share = noisy.max_samples / 200  # samples of the landscape over those of a batch
    n = noisy.n_gradient_evaluations_
    # a product costs about two gradients, a forward pass a third of one
    extra = share * (2 * noisy.n_products_ + noisy.n_loss_evaluations_ / 3)
    return float(np.median(ratios)), n, noisy.n_products_, noisy.n_loss_evaluations_, 1 + extra / n


def interval(values):
    found = bca_interval(np.asarray(values, dtype=float), random_state=0)
    return f"{np.mean(values):.3g} [{found.low:.3g}, {found.high:.3g}]"


def main():
    warnings.simplefilter("ignore")
    ratio, n, n_products, n_passes, work = cost()
    out = [
        "# Noise in flat directions\n",
        "Written by `python benchmarks/flat_noise.py`. Intervals are 95 % BCa over seeds.\n",
        "## Cost\n",
        f"Default network and parameters on the digits, {n} steps: {n_products} products with the "
        f"Hessian and {n_passes} forward passes on 200 samples, by count {work:.2f} times the work "
        f"of plain training; measured time {ratio:.2f} times (limit 1.5).\n",
        "## Length at equal rise of the loss\n",
        "Ratio of the lengths of flat and isotropic noise, measured, and sqrt(1 / (1 - s)), on 3 "
        "seeds; in brackets the largest deviation from the formula. The formula is of second "
        "order in the rise, and of a smooth network: a ReLU's kinks that noise crosses have a "
        "curvature that no Hessian holds. It is the more of what is left the more is taken "
        "out, and vanishes only for noise so small that it crosses none.\n",
    ]
    for activation, rises in RISES.items():
        found = [lengths(seed, activation, rises) for seed in range(3)]
        formula, measured = map(np.array, zip(*found, strict=True))  # (seed, k), (seed, rise, k)
        out += [
            f"| k, {activation} | formula | " + " | ".join(f"rise {r:g}" for r in rises) + " |",
            "|---|---|" + "---|" * len(rises),
        ]
        off = np.abs(measured / formula[:, None] - 1).max(0)
        for i, k in enumerate(KS):
            cells = [f"{m[i]:.2f} [{o[i]:.0%}]" for m, o in zip(measured.mean(0), off, strict=True)]
            out.append(f"| {k} | {formula[:, i].mean():.2f} | " + " | ".join(cells) + " |")
        out.append("")
        assert off[0].max() < 0.15, off
    out += ["\n## Curvature after training, 10 seeds, sigma 0.1 of the loss\n"]
    out += [
        "| arm | largest eigenvalue | trace | test accuracy | length |",
        "|---|---|---|---|---|",
    ]
    after = [curvature_after(seed) for seed in range(N_SEEDS)]
    for arm in after[0]:
        columns = zip(*(rows[arm] for rows in after), strict=True)
        cells = [interval(c) if np.isfinite(c).all() else "" for c in columns]
        out.append(f"| {arm} | " + " | ".join(cells) + " |")
    lower = [rows["flat"][0] - rows["none"][0] for rows in after]
    out.append(f"\nLargest eigenvalue, flat less none, paired: {interval(lower)}.\n")
    out += [
        "## Degeneracy: 40 units learn a teacher of 4, 10 paired seeds, sigma 0.2 of the loss\n"
    ]
    out += ["| arm | effective rank | live units | selectivity | R² |", "|---|---|---|---|---|"]
    students = [degeneracy(seed) for seed in range(N_SEEDS)]
    for arm in ARMS:
        columns = zip(*(rows[arm] for rows in students), strict=True)
        out.append(f"| {arm} | " + " | ".join(map(interval, columns)) + " |")
    out.append("\nPrimary contrast, flat less random, paired:\n")
    for i, name in enumerate(("effective rank", "live units", "selectivity", "R²")):
        d = np.array([float(rows["flat"][i] - rows["random"][i]) for rows in students])
        p = sign_flip_test(d, random_state=0) if d.any() else 1.0
        out.append(f"- {name}: {interval(d) if d.any() else 'no difference'}, p = {p:.2g}")
    TABLE.write_text("\n".join(out) + "\n")
    print(TABLE.read_text())


if __name__ == "__main__":
    main()
