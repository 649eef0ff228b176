"""
Is there a tree of classes in this network?
===========================================

Divided by a higher temperature, a classifier's logits show what it thinks of the classes that it
does not name. Classes that it mixes up there can be put on a tree, and a tree can be drawn of
anything. So :class:`~sklflat.TemperatureProbe` says three things of it: whether distances between
classes are more those of a tree than by chance, which branches come back on other rows, and whether
a simpler way gives as good a tree.
"""

# %%
# Digits
# ------
# Which digits a network mixes up is no hierarchy: 8 and 1 are close to each other, and little else.

import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.frozen import FrozenEstimator

from sklflat import SAMClassifier, TemperatureDisplay, TemperatureProbe
from sklflat.datasets import make_class_tree
from sklflat.exceptions import NothingFoundWarning

# Thirty epochs are enough here, and this example is about classes: no unit has to be found.
warnings.filterwarnings("ignore", category=ConvergenceWarning)
warnings.filterwarnings("ignore", category=NothingFoundWarning)


def look(X, y, n_train, seed):
    """A network trained on some rows, and the probe on the others."""
    order = np.random.RandomState(seed).permutation(len(X))
    train, rest = order[:n_train], order[n_train:]
    network = SAMClassifier((128,), learning_rate_init=0.003, max_iter=30, random_state=seed)
    network.fit(X[train], y[train])
    probe = TemperatureProbe(
        FrozenEstimator(network), n_bootstrap=30, n_null=200, random_state=seed
    )
    return probe.fit(X[rest], y[rest])


X, y = load_digits(return_X_y=True)
digits = [look(X / 16, y, 1000, seed) for seed in range(3)]
for probe in digits:
    print(probe.findings_[0])
display = TemperatureDisplay.from_estimator(digits[0])

# %%
# Twenty-six letters on a planted tree
# ------------------------------------
# These letters halve again and again, and every input is hidden in the product of two, whose
# factors have no class means: what a linear model sees is noise. The numbers on the branches say
# how many of the bootstrap samples of the rows have them.

names = np.array(list("ABCDEFGHIJKLMNOPQRSTUVWXYZ"))
X, y, truth = make_class_tree(
    8000, n_classes=26, separation=9, decay=0.75, warp="parity", n_noise=0, random_state=0
)
letters = [look(X, names[y], 6500, seed) for seed in range(3)]
for sentence in letters[0].findings_:
    print(sentence)

fig, ax = plt.subplots(figsize=(6, 7), layout="constrained")
TemperatureDisplay(letters[0]).plot_tree(ax)

# %%
# The classes in the order of the tree: at a low temperature only decisions are left, at a high one
# the blocks of all levels.

TemperatureDisplay(letters[0]).plot_similarity()

# %%
# Which temperature, and on which seeds
# -------------------------------------
# The tree is taken at the temperature whose tree is most stable on rows that did not build it. It
# is compared with the planted one by triplets of classes: which two of three are closest? Chance
# is 1/3.

fig, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained", sharey=True)
for ax, probes, name in zip(axes, (digits, letters), ("digits", "letters"), strict=True):
    for probe in probes:
        ax.semilogx(probe.temperatures_, probe.stability_, "k-", linewidth=1)
        ax.axvline(probe.tree_.temperature, color="0.7", linewidth=1)
    ax.set(title=name, xlabel="temperature T", ylabel="stability on other rows", ylim=(0, 1.02))

for seed, probe in enumerate(letters):
    ways = {c.name: truth.triplet_accuracy(c.linkage) for c in probe.comparisons_}
    print(f"seed {seed}: " + ", ".join(f"{name} {value:.2f}" for name, value in ways.items()))

# %%
# What was shown
# --------------

assert all(probe.hierarchy_ is None for probe in digits)
assert all(probe.hierarchy_ is not None for probe in letters)
assert all(truth.triplet_accuracy(probe.hierarchy_.linkage) > 0.9 for probe in letters)
