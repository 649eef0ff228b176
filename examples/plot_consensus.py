"""
Which units do several probes agree on?
=======================================

Loss, correlation with the target, curvature: each says something else of a unit, and each is fooled
by something else. :class:`~sklflat.UnitConsensus` trains one network, lets several probes rank its
units, and puts those first that they agree on. Here it is known which units are real: the target
was made by five hidden units of a teacher, and a unit of the network is real if it computes one of
them.
"""

# %%
# One network, three orders of its units
# --------------------------------------

import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.exceptions import ConvergenceWarning

from sklflat import ConsensusDisplay, SAMRegressor, UnitConsensus
from sklflat.datasets import make_teacher_student

# A hundred epochs are enough here, whether or not the loss still falls a little.
warnings.filterwarnings("ignore", category=ConvergenceWarning)

X, y, truth = make_teacher_student(1500, random_state=0)
network = SAMRegressor(
    (40,), rho=0, solver="sgd", learning_rate_init=0.05, max_iter=100, random_state=0
)
probe = UnitConsensus(network, random_state=0).fit(X, y / y.std())
ConsensusDisplay.from_estimator(probe, n_drawn=12)
print(probe.agreement_)

# %%
# On the left, which probes agree: ablation and curvature measure nearly the same, so that they put
# the same units first is no news. On the right, where each puts the units of the highest scores;
# those with an asterisk pass a false discovery rate of 5 % against orders that are independent of
# each other.
#
# Are they real?
# --------------

real = truth.real_units(probe.estimator_.transform(X))
areas = {
    name: truth.auc(scores, of=real)
    for name, scores in zip(probe.probe_names_, probe.probe_scores_, strict=True)
}
areas["consensus"] = truth.auc(probe.unit_scores_, of=real)
print(f"{real.sum()} of {len(real)} units compute one of the teacher's five")
for name, area in areas.items():
    print(f"{name}: AUC {area:.2f}")

# %%
# The consensus is between its probes, and seldom above the best of them; but which one is the best
# is not known where nothing is planted.

figure, ax = plt.subplots(layout="constrained")
order = np.argsort(-probe.unit_scores_)
colours = np.where(real[order], "black", "0.8")
ax.bar(np.arange(len(order)), probe.unit_scores_[order], color=colours)
ax.set_xlabel("units, highest score first (black: real)")
ax.set_ylabel("agreement, minus log10 of rho")

worst, best = min(areas.values()), max(areas.values())
assert areas["consensus"] > 0.85
assert worst <= areas["consensus"] <= best + 0.05
