"""
How many units does the network need?
=====================================

A network of 64 hidden units reads handwritten digits. How many of these units does it need, and
which? :class:`~sklflat.PruningPath` takes units from it one after the other, each time the one that
is missed least given all that are gone already, and refits the output layer to those that stay.
What is left is judged on digits that neither trained the network nor chose the order.
"""

# %%
# The path
# --------

import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning

from sklflat import PruningDisplay, PruningPath, SAMClassifier, from_module

# Sixty epochs are enough here, whether or not the loss still falls a little.
warnings.filterwarnings("ignore", category=ConvergenceWarning)

X, y = load_digits(return_X_y=True)
X = X / 16
network = SAMClassifier((64,), rho=0, max_iter=60)
path = PruningPath(network, tol=0.02, random_state=0).fit(X, y)
for sentence in path.findings_:
    print(sentence)

# %%
# The vertical line is at the smallest number of units that is shown to lose no more than ``tol`` of
# the accuracy: from there on all intervals stay above the dashed line. Once the output layer is
# refitted, simple orders do nearly as well, and of many units even random sets do.

display = PruningDisplay.from_estimator(path)
display.ax_.set_title("output layer refitted")
plt.show()

# %%
# Without a refit
# ---------------
# If the output layer stays as it is, it counts on all units, and which are kept matters more: a
# joint order is far above single scores, and these are above chance.

plain = PruningPath(network, refit=False, tol=0.02, random_state=0).fit(X, y)
display = PruningDisplay.from_estimator(plain)
display.ax_.set_title("output layer as it was")
plt.show()

# %%
# The smaller network
# -------------------
# Rows and columns are cut out of the weight matrices, and biases absorb the means of the units that
# are gone.

small = path.to_module()
print(small)
kept = from_module(small, classes=np.arange(10))
same = np.mean(kept.predict(X) == path.estimator_.predict(X))
print(f"{same:.3f} of its predictions are those of the whole network")

# %%
# What was shown
# --------------

assert path.n_units_ < 48
assert path.path_.at(path.n_units_)["high"] <= 0.02
row = plain.path_.to_frame().loc[16]
assert row["score"] > row["single ablation"] + 0.02
