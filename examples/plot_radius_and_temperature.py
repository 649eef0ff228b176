"""
One search over the radius of training and the temperature afterwards
=====================================================================

Two remedies for a network that is too sure of itself act at different times:
``rho`` of sharpness-aware training changes the network, ``temperature`` of
:class:`~sklflat.TemperatureClassifier` what is made of its outputs. Both are ordinary parameters of
nested estimators, so one search tries them together. Judged is the log loss on held-out rows, as
accuracy does not see a temperature at all.
"""

# %%
# The search
# ----------
# A fifth of the training labels is wrong. ``"nll"`` fits the temperature by likelihood on rows
# that the network has not seen; the numbers are fixed temperatures, and 1 changes nothing.

import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import accuracy_score, log_loss
from sklearn.model_selection import GridSearchCV, train_test_split

from sklflat import SAMClassifier, StackedSearchCV, TemperatureClassifier

# As many epochs for all; that the loss of some would fall further is meant.
warnings.filterwarnings("ignore", category=ConvergenceWarning)

X, y = load_digits(return_X_y=True)
X, X_test, y, y_test = train_test_split(X / 16, y, train_size=500, stratify=y, random_state=0)
rng = np.random.default_rng(0)
wrong = rng.permutation(len(y))[:100]
y[wrong] = (y[wrong] + rng.integers(1, 10, len(wrong))) % 10

network = SAMClassifier(
    (32,), learning_rate_init=0.01, max_iter=50, tol=0, n_iter_no_change=100, random_state=0
)
grid = {"estimator__rho": [0.0, 0.1, 0.5], "temperature": [0.5, 1.0, 2.0, 4.0]}
search = GridSearchCV(TemperatureClassifier(network), grid, scoring="neg_log_loss", cv=3)
search.fit(X, y)
print(search.best_params_, f"log loss {-search.best_score_:.3f}")

# %%
# The same search, with every network trained once
# ------------------------------------------------
# Candidates that differ in temperature only have the same network. ``GridSearchCV`` cannot know
# that and trains 36 networks on the folds; :class:`~sklflat.StackedSearchCV` trains nine, stacked
# into one.

stacked = StackedSearchCV(TemperatureClassifier(network), grid, scoring="neg_log_loss", cv=3)
stacked.fit(X, y)
difference = np.abs(
    stacked.cv_results_["mean_test_score"] - search.cv_results_["mean_test_score"]
).max()
print(f"networks trained in the stack: {stacked.n_stacked_}; scores differ by {difference:.1e}")

# %%
# What they do together
# ---------------------
# A network trained without a radius has learned the wrong labels by heart and needs a high
# temperature to take back its certainty. With a large radius it has not, and needs none.

losses = -search.cv_results_["mean_test_score"].reshape(3, 4)
print(losses.round(2))
figure, ax = plt.subplots(layout="constrained")
styles = zip(grid["estimator__rho"], losses, ("o-", "s--", "^:"), strict=True)
for rho, of_radius, style in styles:
    ax.plot(grid["temperature"], of_radius, style, label=f"rho={rho:g}")
ax.set_xscale("log", base=2)
ax.set(xlabel="temperature", ylabel="log loss on held-out rows (nats)")
ax.legend(title="radius")
plt.show()

# %%
# On right labels
# ---------------
# The rows that judged have wrong labels, too, so a temperature that is right for them makes the
# network less certain than it may be of right ones: calibration is always to the labels at hand.
# The test rows have right labels, and say which of the two remedies they would have chosen.

plain = TemperatureClassifier(network.set_params(rho=0.0)).fit(X, y)
warm = TemperatureClassifier(network, temperature=2.0).fit(X, y)
for name, model in {"plain, T=1": plain, "plain, T=2": warm, "chosen": search}.items():
    loss = log_loss(y_test, model.predict_proba(X_test))
    accuracy = accuracy_score(y_test, model.predict(X_test))
    print(f"{name}: log loss {loss:.3f}, accuracy {accuracy:.3f}")

assert difference < 1e-6
assert losses[0].argmin() > losses[-1].argmin()  # a larger radius needs a lower temperature
assert losses.min() < losses[0].min()  # and does more than the temperature alone
