"""
Is the gain larger than the spread over seeds?
==============================================

One training says little: another seed gives another score. The honest comparison of radii takes
many seeds, and compares within seeds. That is a lot of small trainings, which differ in numbers
only, so :class:`~sklflat.StackedSearchCV` trains them as one network.
"""

# %%
# Five radii, twelve seeds, three folds: 180 trainings. ``rho=0`` is the plain optimizer; as it
# takes one gradient a step where the others take two, it is a stack of its own.

import time

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import ShuffleSplit

from sklflat import SAMClassifier, StackedSearchCV

X, y = load_digits(return_X_y=True)
X = (X / 16).astype(np.float32)
clf = SAMClassifier(
    (32,), solver="sgd", learning_rate_init=0.05, max_iter=30, tol=-np.inf, n_iter_no_change=30
)
radii, seeds = [0.0, 0.02, 0.05, 0.1, 0.2], list(range(12))
folds = ShuffleSplit(3, train_size=300, test_size=1000, random_state=0)
search = StackedSearchCV(clf, {"rho": radii, "random_state": seeds}, cv=folds, refit=False)

start = time.perf_counter()
search.fit(X, y)
seconds = time.perf_counter() - start
print(f"{search.n_stacked_} trainings in {seconds:.1f} s")

# %%
# The scores, one row a seed. The difference to ``rho=0`` is taken within each seed and then
# averaged; its interval is Student's over the seeds. (The folds are the same for all, so it
# says nothing about other data.)

from scipy.stats import t

params = search.cv_results_["params"]
scores = np.zeros((len(seeds), len(radii)))
for value, candidate in zip(search.cv_results_["mean_test_score"], params, strict=True):
    scores[candidate["random_state"], radii.index(candidate["rho"])] = value
gain = scores[:, 1:] - scores[:, :1]
half = t.ppf(0.975, len(seeds) - 1) * gain.std(axis=0, ddof=1) / np.sqrt(len(seeds))
for rho, mean, h in zip(radii[1:], gain.mean(axis=0), half, strict=True):
    low, high = 100 * (mean - h), 100 * (mean + h)
    print(f"rho={rho}: gain {100 * mean:+.2f} points [{low:+.2f}, {high:+.2f}]")

# %%
# Thin lines are seeds, the thick one is their mean. Where the interval on the right leaves out
# zero, the radius changed the accuracy by more than seeds explain, in the direction that it
# shows. In this setting (thirty epochs for all) that direction is down: small radii make no
# difference, large ones cost accuracy. A single seed could have told any of these stories.

import matplotlib.pyplot as plt

positions = np.arange(len(radii))
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
left.plot(positions, 100 * scores.T, color="0.75", linewidth=0.8)
left.plot(positions, 100 * scores.mean(axis=0), color="black", marker="o", linewidth=2)
left.set(xlabel="radius rho", ylabel="held-out accuracy (%)", title="12 seeds and their mean")
right.axhline(0, color="0.5", linewidth=0.8)
right.errorbar(
    positions[1:], 100 * gain.mean(axis=0), 100 * half, fmt="o", color="black", capsize=4
)
right.set(xlabel="radius rho", ylabel="gain over rho=0 (points)", title="paired, 95% intervals")
left.set_xticks(positions, radii)
right.set_xticks(positions[1:], radii[1:])
plt.show()

# %%
# All were stacked, and equal seeds give equal networks whatever else is in the stack.

alone = SAMClassifier(**{**clf.get_params(), "rho": 0.05, "random_state": 3})
train, test = next(folds.split(X))
expected = alone.fit(X[train], y[train]).score(X[test], y[test])
index = params.index({"random_state": 3, "rho": 0.05})
assert gain.mean(axis=0)[-1] + half[-1] < 0  # the largest radius costs accuracy here
assert search.n_stacked_ == len(radii) * len(seeds) * 3
assert abs(search.cv_results_["split0_test_score"][index] - expected) <= 0.002
