"""
Are two networks one?
=====================

Two networks are trained from two seeds. Between them as they are, the loss has a barrier. Hidden
units come in any order, though: after the units of the second network are brought into the order of
the first, most of the barrier is gone, and REPAIR removes most of the rest.
"""

# %%
# Two seeds, four barriers
# ------------------------
#
# The probe trains both networks, finds the symmetry of the architecture by running it, verifies it,
# aligns the units, and walks.
import matplotlib.pyplot as plt
from sklearn.datasets import load_digits

from sklflat import ModeConnectivityProbe, PathDisplay, PlaneDisplay, SAMClassifier, UnitDisplay

X, y = load_digits(return_X_y=True)
X = X / 16
network = SAMClassifier((64,), rho=0, alpha=0.3, max_iter=30, learning_rate_init=0.01)
probe = ModeConnectivityProbe(network, n_null=500, random_state=0).fit(X, y)

PathDisplay.from_estimator(probe)
plt.show()

for kind in ("naive", "aligned", "repaired"):
    print(f"{kind:9} barrier of the loss {probe.barriers_.value(kind):.3f}")
print("verified:", probe.verified_, " connected:", probe.connected_)

# %%
# The same function at two places
# -------------------------------
#
# A plane through three networks: the first, the second as it is, and the second with its units in
# another order. The last two are the same function. Only one of them is near the first.
PlaneDisplay.from_estimator(probe, X, y, n_points=17)
plt.show()

# %%
# Which units are shared?
# -----------------------
#
# Units of both networks agree, and the path adds nothing to what its ends say. But so do units of
# networks that were trained on shuffled labels: against that null there is little or no core.
# Scores are drawn with the range of the null of untrained twins.
UnitDisplay.from_estimator(probe, null=2)
plt.show()

print(probe.gain_over_endpoints_)
for null in probe.nulls_:
    n_above = (null.p_values(probe.unit_scores_) <= 0.05).sum()
    print(f"{null.name:42} units above chance at 5 %: {n_above}")

# %%
# The network halfway
# -------------------
#
# It is a classifier like any other.
ends = [estimator.score(X, y) for estimator in probe.estimators_]
print(f"accuracy of the ends {ends[0]:.3f}, {ends[1]:.3f}, halfway {probe.merged_.score(X, y):.3f}")

assert probe.barriers_.value("repaired") < probe.barriers_.value("aligned")
assert probe.barriers_.value("aligned") < 0.5 * probe.barriers_.value("naive")
assert probe.merged_.score(X, y) > 0.95
