"""
Noise in flat directions
========================

Most directions in which a network's weights can move hardly change its loss. This page trains with
noise in these directions only, checks that the noise is what it was asked to be, asks how much of
it the trained network bears against noise elsewhere, and samples models of the same basin.
"""

# %%
# Training with noise
# -------------------
# ``sigma=0.1`` is the budget: on average noise raises the training loss by a tenth. Each arm gets
# the same budget. The control of ``"flat"`` is ``"random"``, which leaves out as many directions,
# but random ones.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from sklflat import FlatNoiseClassifier, NoiseDisplay
from sklflat.probing import largest_noise, sample_basin

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X / 16, y, train_size=800, random_state=0)

arms = {}
for subspace in ("flat", "random", "sharp"):
    arms[subspace] = FlatNoiseClassifier(
        (32,),
        subspace=subspace,
        sigma=0.1,
        learning_rate_init=0.005,
        max_iter=80,
        tol=0,
        n_iter_no_change=80,
        refresh=200,
        random_state=0,
    ).fit(X_train, y_train)
    print(
        f"{subspace}: noise of {arms[subspace].noise_scale_:.3f} times the weights' length, "
        f"test accuracy {arms[subspace].score(X_test, y_test):.3f}"
    )

# %%
# At the same harm flat noise is longer. Was the subspace still the right one when it was used, and
# was the budget met? Every check is in ``noise_history_``.

flat = arms["flat"]
late = flat.noise_history_["step"] > 100
print("rises of the loss", flat.noise_history_["rise"][late].round(3))
print("overlap at refreshes", flat.subspace_overlap_.round(2))

# %%
# What noise does to the trained network
# --------------------------------------
# On the left, points of equal height are equally harmful; on the right, how much of the subspace
# was left at each check.

NoiseDisplay.from_estimator(flat, X_test, y_test)

# %%
# How much does it bear?
# ----------------------
# The longest noise at which training accuracy falls by one percent, by three, or by ten.

budgets = (0.01, 0.03, 0.1)
subspaces = ("flat", "random", "sharp")
bears = {name: [] for name in subspaces}
for budget in budgets:
    found = largest_noise(
        flat, X_train, y_train, subspaces=subspaces, accuracy_budget=budget, n_draws=4
    )
    for name in subspaces:
        bears[name].append(found[name].length)

fig, ax = plt.subplots()
for name, marker in zip(subspaces, "osv", strict=True):
    ax.plot(budgets, bears[name], marker=marker, label=name)
ax.set_xscale("log")
ax.set_xticks(budgets, [f"{100 * b:g} %" for b in budgets])
ax.minorticks_off()
ax.set_ylim(0)
ax.set_xlabel("training accuracy given up")
ax.set_ylabel("length of the noise / length of the weights")
ax.set_title("the longest noise that the network bears")
ax.legend()

# %%
# Models of the same basin
# ------------------------
# Each member's loss is within a twentieth of a nat of the minimum's, on data that did not find it.

basins = {
    name: sample_basin(flat, X_test, y_test, subspace=name, n_models=6, random_state=0)
    for name in ("flat", "isotropic")
}
for name, basin in basins.items():
    print(
        f"{name}: distance {np.median(basin.spread):.2f} of the weights' length, "
        f"rise of the loss at most {basin.rises_checked.max():.3f} nats"
    )

# %%
# The second order of the loss says nothing about the top eigenvalues where noise leaves them out:
# flat noise moves along the valley, it does not flatten it.

assert np.abs(flat.noise_history_["rise"][late] - 0.1).max() < 0.01
assert flat.noise_scale_ > 1.2 * arms["random"].noise_scale_ > 1.2 * arms["sharp"].noise_scale_
assert all(f > r > s for f, r, s in zip(*bears.values(), strict=True))
assert all((basin.bounds_checked <= 0.05).all() for basin in basins.values())
assert np.median(basins["flat"].spread) > np.median(basins["isotropic"].spread)
