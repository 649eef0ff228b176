"""
Which units does the network need?
==================================

A network of 24 hidden units tells malignant from benign tumours. Which of these units does it need,
by more than chance would have it? :class:`~sklflat.AblationProbe` silences one unit after the other
and looks at the loss on patients that the network was not trained on.

The probe is a transformer: it stands in a pipeline between the scaler and a small decision tree
that reads nothing but the selected units, and a search chooses how the network is trained
(``rho``) and how many units the tree gets to see (``n_units``).
"""

# %%
# A pipeline, searched
# --------------------

import warnings

import matplotlib.pyplot as plt
from sklearn.datasets import load_breast_cancer
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier, plot_tree

from sklflat import AblationProbe, SAMClassifier, UnitDisplay

# Forty epochs are enough here, whether or not the loss still falls a little.
warnings.filterwarnings("ignore", category=ConvergenceWarning)

X, y = load_breast_cancer(return_X_y=True, as_frame=True)
y = y.map({0: "malignant", 1: "benign"})
X, X_test, y, y_test = train_test_split(X, y, stratify=y, random_state=0)

network = SAMClassifier((24,), learning_rate_init=0.01, max_iter=40, random_state=0)
pipeline = make_pipeline(
    StandardScaler(),
    AblationProbe(network, random_state=0),
    DecisionTreeClassifier(max_depth=3, random_state=0),
)
grid = {
    "ablationprobe__estimator__rho": [0.0, 0.05, 0.2],
    "ablationprobe__n_units": [1, 2, 5],
}
search = GridSearchCV(pipeline, grid, cv=3).fit(X, y)
accuracy = search.score(X_test, y_test)
print(search.best_params_, f"accuracy on test patients: {accuracy:.3f}")

# %%
# The scores and what chance gives
# --------------------------------
# The number of units can also be left to the probe: by default it keeps those that pass a false
# discovery rate of 5 %. Under the null the diagnoses of the left-out patients are shuffled. That
# is a low bar: in a network that works, nearly every unit has something to do with the diagnosis.
# What it excludes is that a unit only fits noise.

scaler = StandardScaler().set_output(transform="pandas").fit(X)
X_scaled = scaler.transform(X)
probe = AblationProbe(network, random_state=0).fit(X_scaled, y)
print(probe.to_frame().sort_values("score", ascending=False).head().round(4))

display = UnitDisplay.from_estimator(probe)
display.ax_.set_ylabel("rise of the loss when the unit is silenced [nats]")

# %%
# One unit
# --------
# A card says what drives a unit: its inputs, by how far they move it, and its mean for each class.

best = probe.unit_names_[probe.unit_scores_.argmax()]
card = probe.unit_card(best)
print(card)

# %%
# Does it matter which units?
# ---------------------------
# The network reduced to its three best units, beside three random units of about the same variance.
# Where random ones do as well, the units are copies of each other, and there is no reason to point
# at these three. The p-value says how often random ones do.

three = AblationProbe(network, n_units=3, random_state=0).fit(X_scaled, y)
restriction = three.restrict(scaler.transform(X_test), y_test, n_random=100, random_state=0)
print(
    f"accuracy {restriction.score:.3f} with {restriction.n_units} units, "
    f"{restriction.full_score:.3f} with all; p = {restriction.p_value:.2f}"
)

fig, ax = plt.subplots(figsize=(6, 3))
ax.hist(restriction.random_scores, color="0.75", edgecolor="black", label="three random units")
ax.axvline(restriction.score, color="black", label="the three best")
ax.axvline(restriction.full_score, color="black", linestyle="--", label="all units")
ax.set_xlabel("accuracy on test patients")
ax.set_ylabel("random choices")
ax.legend()

# %%
# The tree behind the probe
# -------------------------

fig, ax = plt.subplots(figsize=(9, 4))
plot_tree(
    search.best_estimator_[-1],
    feature_names=search.best_estimator_[:-1].get_feature_names_out(),
    class_names=search.classes_,
    impurity=False,
    ax=ax,
)
fig.tight_layout()

# %%
# What was shown
# --------------

assert accuracy > 0.9
assert probe.support_.any()
assert (probe.q_values_[probe.support_] <= 0.05).all()
