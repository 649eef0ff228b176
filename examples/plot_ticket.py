"""
A ticket, its controls, and its mask in PyTorch
===============================================

How few weights does a digits network need, and does it matter which? Weights of least magnitude are
removed round by round, and what is left goes back to an early step of the training. Beside every
ticket stand two controls with as many weights: fresh weights under the same mask, and random masks
on the same weights.
"""

# %%
# Rounds and controls
# -------------------

import warnings

import matplotlib.pyplot as plt
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning

from sklflat import BasinRewinder, SAMClassifier
from sklflat.exceptions import NothingFoundWarning
from sklflat.rewinding import read_masks, write_masks

# Units of four children are not what is asked for here, and 20 epochs have to be enough.
warnings.simplefilter("ignore", ConvergenceWarning)
warnings.simplefilter("ignore", NothingFoundWarning)

X, y = load_digits(return_X_y=True)
network = SAMClassifier((64,), rho=0, learning_rate_init=0.005, max_iter=20)
rewinder = BasinRewinder(
    network, sparsity=0.95, rewind=20, n_controls=2, n_retrains=3, n_null=100, random_state=0
).fit(X / 16, y)
table = rewinder.rounds_.pivot_table(index="remaining", columns="network", values="score")
print(table.sort_index(ascending=False).round(3))

# %%
# Every control is trained as long as the ticket is. Down to a third of the weights there is little
# to choose; below, fresh weights fall behind, and random masks, which cut the layers in the same
# shares, fall behind by far.

figure, ax = plt.subplots(layout="constrained")
for name, style in zip(table.columns, ("o-", "s--", "^:", "v-."), strict=False):
    known = table[name].dropna()
    ax.plot(100 * known.index, 100 * known, style, label=name)
ax.set_xscale("log")
ax.invert_xaxis()
ax.set(xlabel="weights left (%)", ylabel="held-out accuracy (%)")
ax.legend()
plt.show()

# %%
# The ticket is a classifier, its mask is torch's
# -----------------------------------------------
# ``mask_`` has the weights that stay, by name. ``write_masks`` prunes a module by them, so that
# PyTorch's own tools go on from there.

pruned = write_masks(rewinder.ticket_.module_, rewinder.mask_)
masks = read_masks(pruned)
kept, total = sum(m.sum() for m in masks.values()), sum(m.size for m in masks.values())
print(f"{kept} of {total} weights are left ({kept / total:.1%})")
print(f"accuracy of the ticket on all rows: {rewinder.score(X / 16, y):.3f}")

# %%
# What was shown
# --------------

last = table.sort_index().iloc[0]
assert abs(kept / total - 0.05) < 0.001
assert last["ticket"] > last["random pruning"]
