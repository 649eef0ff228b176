"""
Which units come back in another training?
==========================================

A network of 32 hidden units tells malignant from benign tumours. Train it again from another seed:
which of its units are there again? :class:`~sklflat.UniversalityProbe` trains eight further
networks as one stack and looks for each unit in all of them. Some units come back from every seed,
others are an accident of this one. Part of that is given by the inputs alone, so the return is
compared with that in two hundred networks that were never trained.
"""

# %%
# Return, and what of it is chance
# --------------------------------

import warnings

import matplotlib.pyplot as plt
import numpy as np
from scipy.stats import spearmanr
from sklearn.datasets import load_breast_cancer
from sklearn.exceptions import ConvergenceWarning
from sklearn.frozen import FrozenEstimator
from sklearn.preprocessing import StandardScaler

from sklflat import ActivationProbe, SAMClassifier, UniversalityDisplay, UniversalityProbe

# Forty epochs are enough here, whether or not the loss still falls a little.
warnings.filterwarnings("ignore", category=ConvergenceWarning)

X, y = load_breast_cancer(return_X_y=True)
X = StandardScaler().fit_transform(X)
network = SAMClassifier((32,), rho=0, max_iter=40, random_state=0)
probe = UniversalityProbe(network, holdout=0.5, n_units=8, random_state=0).fit(X, y)
UniversalityDisplay.from_estimator(probe)
print(
    probe.to_frame().sort_values("score", ascending=False).head()[["return", "chance", "q_value"]]
)

# %%
# Many units are found again with correlations near 1, and nearly as many would be in networks that
# have learned nothing: the inputs of this table depend on each other so much that any weights see
# the same few directions. What exceeds chance is small, and a handful of networks measures it
# badly: the reliability says how well other networks would give the same order of units.

print(probe.reliability_)
print("with 24 networks:", probe.reliability_.with_models(24))
print("subspace:", {name: round(cka, 3) for name, cka in probe.alignment_.items()})

# %%
# One unit in every network
# -------------------------

name = probe.unit_names_[int(np.argmax(probe.unit_scores_))]
print(probe.partners_of(name))

# %%
# Foretold from one network
# -------------------------
# Who cannot train again looks at how much of a unit's activation differs between the classes.

known = FrozenEstimator(probe.estimator_)
forecast = ActivationProbe(known, unit_score="class_variance", random_state=0).fit(X, y)
live = ~probe.dead_
returned = probe.returns_.mean(axis=0)[live]
foretold = forecast.unit_scores_[live]
rho = spearmanr(foretold, returned).statistic

fig, ax = plt.subplots()
ax.scatter(foretold, returned, color="black", s=18)
ax.set_xscale("log")
ax.set_xlabel("variance between class means, from one network")
ax.set_ylabel("return in eight other networks")
ax.set_title(f"Spearman correlation {rho:.2f}")

# %%
# What was shown
# --------------

assert rho > 0.6
assert returned.mean() > probe.chance_[live].mean()
assert probe.reliability_.returns > probe.reliability_.excess
