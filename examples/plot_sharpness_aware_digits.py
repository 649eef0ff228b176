"""
Sharpness-aware training of a digits network
============================================

Does training towards flat minima give a flatter, more accurate or better calibrated network, and is
that worth the second gradient of every step? A fifth of the digits is there to learn from. A
pipeline's ``rho`` is searched on it; then plain and sharpness-aware networks are trained from the
same starting weights, on the same batches, for several seeds, and compared on the other digits.

A sharpness-aware step takes two gradients, so there are two plain competitors: one with the same
number of epochs, and one with the same number of gradients, hence twice the epochs. Every interval
below is over the seeds of the training, for one split of the data; the settings of the network were
fixed on other seeds.

The setting is one in which sharpness-aware training helps: few labels. With half of the digits to
learn from, the same comparison showed no gain in accuracy, so do not carry the result over.
"""

# %%
# The pipeline
# ------------

import warnings

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import NullLocator
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler
from threadpoolctl import threadpool_limits
from tqdm.auto import tqdm

from sklflat import SAMClassifier
from sklflat.metrics import bca_interval, expected_calibration_error, sign_flip_test

# The number of epochs is part of the comparison, so no fit may end early, nor warn that it did not.
warnings.filterwarnings("ignore", category=ConvergenceWarning)

# A network this small only loses by sharing its sums among threads.
threadpool_limits(1)

N_EPOCHS, N_SEEDS, NEAR = 60, 20, 0.05

X, y = load_digits(return_X_y=True)
X, X_test, y, y_test = train_test_split(
    X.astype("float32"), y, train_size=0.2, stratify=y, random_state=0
)
classifier = SAMClassifier(
    (64,),
    solver="sgd",
    learning_rate_init=0.05,
    batch_size=64,
    max_iter=N_EPOCHS,
    n_iter_no_change=10 * N_EPOCHS,
    random_state=0,
)
model = make_pipeline(MinMaxScaler(), classifier)

# %%
# How far up? A search over rho
# -----------------------------
# ``rho`` is the distance at which a step takes its gradient. It is a parameter like any other, and
# it is chosen without the test digits, by the likelihood of the left-out fold.

grid = {"samclassifier__rho": [0.05, 0.1, 0.2, 0.4]}
n_folds = 3
progress = tqdm(total=n_folds * 4 + 3 * N_SEEDS, desc="searching rho", unit="fit")


def log_likelihood(fitted, X, y):
    """Mean log-probability of the true class; each call is one fit that is done."""
    progress.update()
    return np.log(fitted.predict_proba(X)[np.arange(len(y)), y]).mean()


search = GridSearchCV(model, grid, cv=n_folds, scoring=log_likelihood).fit(X, y)
rho = search.best_params_["samclassifier__rho"]

# %%
# Three competitors
# -----------------
# Sharpness is what sharpness-aware minimisation calls so: the rise of the training loss at distance
# rho along its gradient. It is measured at the distance of the training and, nearer, at 0.05.

competitors = {
    "plain": {"rho": 0.0},
    "plain, 2x epochs": {"rho": 0.0, "max_iter": 2 * N_EPOCHS},
    "sharpness-aware": {"rho": rho},
}
baselines = ["plain", "plain, 2x epochs"]
radii = NEAR * 2.0 ** np.arange(-1, 5)


def train(seed, settings):
    """One network of one competitor."""
    settings = {f"samclassifier__{name}": value for name, value in settings.items()}
    return clone(model).set_params(samclassifier__random_state=seed, **settings).fit(X, y)


def measure(fitted):
    """What the comparison asks of one fitted pipeline, in percent and milli-nats."""
    progress.update()
    rise = [
        1000 * fitted[-1].sharpness(fitted[:-1].transform(X), y, rho=radius)
        for radius in (NEAR, rho, *radii)
    ]
    return {
        "accuracy": 100 * fitted.score(X_test, y_test),
        "ECE": 100 * expected_calibration_error(y_test, fitted.predict_proba(X_test)),
        "sharpness": rise[1],
        "near sharpness": rise[0],
        "gradients": fitted[-1].n_gradient_evaluations_,
        "rise": rise[2:],
    }


progress.set_description("comparing seeds")
runs = {
    name: [measure(train(seed, settings)) for seed in range(N_SEEDS)]
    for name, settings in competitors.items()
}
progress.close()

# %%
# The comparison
# --------------
# Means over the seeds and paired differences, with 95 % BCa intervals and the p-values of sign-flip
# tests.


def values(name, quantity):
    """One quantity of one competitor, by seed."""
    return np.array([run[quantity] for run in runs[name]], dtype=float)


def difference(quantity, baseline):
    """Paired differences, their interval, and the p-value of their signs."""
    d = values("sharpness-aware", quantity) - values(baseline, quantity)
    return d, bca_interval(d, random_state=0), sign_flip_test(d)


def mean_cell(name, quantity):
    """A mean and its interval."""
    sample = values(name, quantity)
    low, high = bca_interval(sample, random_state=0)
    return f"{sample.mean():.2f} [{low:.2f}, {high:.2f}]"


def difference_cell(baseline, quantity):
    """A mean difference, its interval and its p-value."""
    d, (low, high), p = difference(quantity, baseline)
    return f"{d.mean():+.2f} [{low:+.2f}, {high:+.2f}] p={p:.2g}"


labels = {
    "accuracy": "accuracy (%)",
    "ECE": "calibration error (%)",
    "sharpness": f"sharpness at {rho:g} (mnat)",
    "near sharpness": f"sharpness at {NEAR:g} (mnat)",
}
print(f"\nrho = {rho:g} chosen by the search; means over {N_SEEDS} seeds [95 % interval]\n")
print("{:<26}{:>24}{:>24}{:>24}".format("", *competitors))
for quantity, label in labels.items():
    cells = [mean_cell(name, quantity) for name in competitors]
    print("{:<26}{:>24}{:>24}{:>24}".format(label, *cells))
gradients = [f"{values(name, 'gradients').mean():.0f}" for name in competitors]
print("{:<26}{:>24}{:>24}{:>24}".format("gradient evaluations", *gradients))

print("\n{:<26}{:>36}{:>36}".format("sharpness-aware minus", *baselines))
for quantity, label in labels.items():
    cells = [difference_cell(baseline, quantity) for baseline in baselines]
    print("{:<26}{:>36}{:>36}".format(label, *cells))

# %%
# The picture
# -----------
# Left: how the training loss rises with the distance along its gradient. Right: each mark is one
# seed's difference, the bar their mean and its interval, and the line at zero no effect.

figure, axes = plt.subplots(1, 4, figsize=(13, 4), width_ratios=[2, 1, 1, 1], layout="constrained")
styles = {
    "plain": {"color": "0.65", "linestyle": "--", "marker": "s"},
    "plain, 2x epochs": {"color": "0.4", "linestyle": ":", "marker": "^"},
    "sharpness-aware": {"color": "black", "linestyle": "-", "marker": "o"},
}
for name, style in styles.items():
    rise = values(name, "rise")
    ends = [bca_interval(column, random_state=0) for column in rise.T]
    axes[0].loglog(radii, rise.mean(axis=0), label=name, **style)
    axes[0].fill_between(radii, *np.transpose(ends), color=style["color"], alpha=0.25, linewidth=0)
axes[0].axvline(rho, color="0.8", zorder=0)
axes[0].set_xticks([NEAR, 0.1, 0.2, 0.4, 0.8], ["0.05", "0.1", "0.2", "0.4", "0.8"])
axes[0].xaxis.set_minor_locator(NullLocator())
axes[0].set(
    xlabel="distance along the gradient (units of the parameters)",
    ylabel="rise of the training loss (mnat)",
    title=f"how sharp: {N_SEEDS} seeds, mean and 95 % interval",
)
axes[0].legend(frameon=False, title=f"vertical line: rho = {rho:g}")

jitter = np.linspace(-0.15, 0.15, N_SEEDS)
for ax, quantity in zip(axes[1:], ["sharpness", "accuracy", "ECE"], strict=True):
    for position, baseline in enumerate(baselines):
        d, (low, high), _ = difference(quantity, baseline)
        style = styles[baseline]
        ax.plot(position + jitter, d, style["marker"], color=style["color"], alpha=0.7)
        ends = [[d.mean() - low], [high - d.mean()]]
        ax.errorbar(position + 0.3, d.mean(), ends, fmt="_k", markersize=12, capsize=4)
    ax.axhline(0, color="black", linewidth=0.8)
    ax.set_xticks([0, 1], ["same\nepochs", "same\ngradients"])
    ax.set(xlim=(-0.4, 1.6), xlabel="the plain competitor has", title=labels[quantity])
axes[1].set_ylabel("sharpness-aware minus plain (at 0: no effect)")

# %%
# The verdict
# -----------
# In words, and "no" is among them.


def verdict(quantity, better, baseline):
    """What interval and p-value support; ``better`` is 1 where more is better, else -1."""
    _, (low, high), p = difference(quantity, baseline)
    if low <= 0 <= high or p > 0.05:
        return f"not shown (p = {p:.2g})"
    return f"{'yes' if better * low > 0 else 'no, less so'} (p = {p:.2g})"


questions = {
    f"flatter at distance {rho:g}": ("sharpness", -1),
    f"flatter at distance {NEAR:g}": ("near sharpness", -1),
    "more accurate": ("accuracy", 1),
    "better calibrated": ("ECE", -1),
}
print("\nIs the sharpness-aware network ...")
for question, (quantity, better) in questions.items():
    for baseline in baselines:
        print(f"  {question} than {baseline}? {verdict(quantity, better, baseline)}")

# %%
# Right at the minimum a plain network that is trained for longer may well be the flatter one: its
# loss has gone on towards zero, and its gradient with it. What the intervals support is asserted.

assert (values("sharpness-aware", "gradients") == values(baselines[1], "gradients")).all()
assert all(difference("sharpness", baseline)[1].high < 0 for baseline in baselines)
