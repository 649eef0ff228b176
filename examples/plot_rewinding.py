"""
What comes back when a network is trained again?
================================================

Handwritten digits, four in ten of them with a random label. A network with three hidden layers fits
them, wrong labels and all. From which of its steps on do copies of the training, with the rows in
other orders, end in one basin? How few weights are enough? And which units come back when what is
left is trained again? :class:`~sklflat.BasinRewinder` answers all three.
"""

# %%
# Digits with wrong labels
# ------------------------

import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning

from sklflat import BasinDisplay, BasinRewinder, SAMClassifier
from sklflat.exceptions import NothingFoundWarning

# Forty epochs fit the labels well enough, and nothing more is asked of them.
warnings.simplefilter("ignore", ConvergenceWarning)
warnings.simplefilter("ignore", NothingFoundWarning)

X, y = load_digits(return_X_y=True)
rng = np.random.RandomState(0)
X, y = (X[:800] / 16).astype(np.float32), y[:800].copy()
wrong = rng.uniform(size=len(y)) < 0.4
y[wrong] = rng.randint(10, size=wrong.sum())

network = SAMClassifier(
    (64, 64, 64),
    solver="sgd",
    learning_rate_init=0.05,
    batch_size=32,
    max_iter=40,
    rho=0,
    alpha=0,
    tol=0,
    n_iter_no_change=100,
)

# %%
# The onset, the ticket, the children
# -----------------------------------
#
# Copies that leave from the first step do not end in one basin: half-way between them the network
# errs on some per cent more of its training rows than at the ends. A few dozen steps later they do.

rewinder = BasinRewinder(network, sparsity=0.5, n_grid=16, n_retrains=4, random_state=0).fit(X, y)
print(rewinder.onset_curve_.to_frame().round(3))
for found in rewinder.consistency_.values():
    print(found)

# %%
# The children from just after the onset and those from just before it are two experiments. Their
# consistency hardly differs: it grows smoothly with the rewind point, and has no step at the onset.
#
# A unit has to beat what an ancestor in common gives by itself, which is much (the grey range): the
# children of a parent that has learned shuffled labels are consistent, too.

display = BasinDisplay.from_estimator(rewinder)
plt.show()

# %%
# What was shown
# --------------

assert not rewinder.entered_at_init_
assert 0 < rewinder.onset_ < 760
assert rewinder.consistency_["before"].step < rewinder.onset_ == rewinder.step_
shuffled = next(null for null in rewinder.nulls_ if null.name == "shuffled labels")
fresh = next(null for null in rewinder.nulls_ if null.name == "fresh initialisations")
assert np.median(rewinder.unit_scores_) > np.quantile(fresh.draws, 0.95)
assert np.median(shuffled.draws) > np.median(fresh.draws)
