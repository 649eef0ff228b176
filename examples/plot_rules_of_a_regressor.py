"""
Rules that speak for a network, and where they do not
=====================================================

A network foretells how far diabetes has progressed after a year. A tree of three questions is
taught what the network says, and its leaves are rules: in the units of the table, each with the
share of the patients that it covers and with how faithful it is there. The last figure shows where
the rules do not speak for the network.
"""

# %%
# Taught, and measured on patients that neither has seen
# ------------------------------------------------------

import matplotlib.pyplot as plt
from sklearn.datasets import load_diabetes
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklflat import SAMRegressor, SurrogateAligner
from sklflat.surrogate import AlternatingTreeRegressor

X, y = load_diabetes(return_X_y=True, as_frame=True, scaled=False)
X, X_new, y, y_new = train_test_split(X, y, random_state=0)

network = make_pipeline(
    StandardScaler(),
    SAMRegressor((16,), alpha=1, learning_rate_init=0.01, max_iter=300, random_state=0),
)
aligner = SurrogateAligner(
    network,
    AlternatingTreeRegressor(max_depth=3, random_state=0),
    n_redraws=4,
    n_basin_models=0,
    n_null=64,
    n_units=4,
    min_fidelity=0.0,
    random_state=0,
).fit(X, y)
print(aligner.fidelity_)

# %%
# The rules
# ---------
# ``condition`` is in the columns and units of the table, whatever stands before the network.
# Coverage is a share of the held-out patients; no rule is hidden because it is a bad one.

rules = aligner.rules_
print(rules.round(3).to_string())

# %%
# Where they do not speak for it
# ------------------------------
# The network's forecast beside the rule's, for patients that nothing was fitted to. Within a rule
# the network still tells patients apart, and the tree cannot.

said, forecast = aligner.predict(X_new), aligner.network_predict(X_new)
figure, ax = plt.subplots(layout="constrained")
ax.plot([50, 300], [50, 300], color="0.6", linewidth=1)
ax.plot(said, forecast, "o", color="black", alpha=0.5, markersize=4)
ax.set(
    xlabel="what the rule says (progression)",
    ylabel="what the network says (progression)",
    title="One column of dots is one rule",
)
plt.show()

assert rules["coverage"].sum() > 0.99
assert aligner.fidelity_.value > 0.6
assert len(set(said)) <= 8 < len(set(forecast))
