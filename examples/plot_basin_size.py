"""
How large is the basin, and does anything change at its entrance?
=================================================================

Copies of a training go on from one of its steps. Do they end connected, and how alike are their
units? Both are asked of many steps at once: the dose is the time that they have spent together, the
responses are instability and consistency. And from one step, how far may a copy be pushed before it
ends somewhere else? A :class:`~sklflat.rewinding.Parent` is trained once and answers all of these.
"""

# %%
# A task with an entrance
# -----------------------
#
# Digits with random labels have to be learned by heart, and copies do so in different ways.

import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning

from sklflat import SAMClassifier
from sklflat.rewinding import DoseDisplay, Parent

warnings.simplefilter("ignore", ConvergenceWarning)

X, _ = load_digits(return_X_y=True)
X = (X[:400] / 16).astype(np.float32)
y = np.random.RandomState(0).randint(10, size=len(X))

network = SAMClassifier(
    (64, 64, 64),
    solver="sgd",
    learning_rate_init=0.05,
    batch_size=32,
    max_iter=80,
    rho=0,
    alpha=0,
    tol=0,
    n_iter_no_change=100,
)
parent = Parent.train(network, X, y, n_grid=10, random_state=0)

# %%
# Dose and response
# -----------------
#
# Instability falls below the tolerance at some step. Consistency rises smoothly, and has no step
# there: most of it is inherited.

curve = parent.dose_response(n_copies=4, stability_tol=0.05)
print(curve.to_frame()[["instability", "standard_error", "stable", "consistency"]].round(3))

# %%
# The size of the basin
# ---------------------
#
# Noise in proportion to each parameter is added to the weights of one step; all else, also the
# order of the rows, is the parent's.

first, last = parent.steps[0], parent.steps[-2]
sizes = [parent.basin_size(step, stability_tol=0.05) for step in (first, last)]
for size in sizes:
    print(size.step, size.radius, size.to_frame().instability.round(3).to_dict())

DoseDisplay.from_curve(curve, sizes)
plt.show()

# %%
# A guess from curvature
# ----------------------
#
# The largest eigenvalue of the Hessian costs no training. Where it settles is a guess at the onset,
# and says how often it calls a step as the copies do.

plateau = parent.curvature_plateau()
print(plateau.onset, curve.onset, plateau.agreement(curve))

# %%
# What was shown
# --------------

consistency = [point.consistency for point in curve.points]
assert not curve.entered_at_init
assert consistency[0] < consistency[-4] < consistency[-2]
assert curve.points[0].value > 0.05 > curve.points[-1].value
assert all(size.points[0].value < size.points[-1].value for size in sizes)
