"""Replicas trained by one step, against one after the other.

Each figure is the median of alternating runs in one process: 8 multilayer perceptrons of one hidden
layer on the digits, batches of 128, two threads, by SGD with momentum or by SAM. The peers are a
bare PyTorch loop (the least that trains such a network), and skorch. `StackedSearchCV` is compared
with `GridSearchCV` on the same estimator and data, both with n_jobs=2 and worker processes that
were started before.

    python benchmarks/stacked.py            # rewrites benchmarks/results/stacked.md
    python benchmarks/stacked.py --check    # fails if a limit is not kept
"""

import argparse
import os
import statistics
import time
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV
from skorch import NeuralNetClassifier
from torch import nn

from sklflat import SAMClassifier, StackedSearchCV
from sklflat.training.runs import Training
from sklflat.training.stacking import train

RESULTS = Path(__file__).parent / "results" / "stacked.md"
EPOCHS, BATCH, REPLICAS, RHO = 40, 128, 8, 0.05
# (width, at least so many times the bare loop)
LIMITS = {32: 3.0, 64: 3.0, 128: 2.5, 256: 1.0}
SKORCH_LIMIT, SEARCH_LIMIT = 5.0, 3.0
RUNS = 5


def data():
    X, y = load_digits(return_X_y=True)
    return (X / 16).astype(np.float32), y


def make_module(width):
    return nn.Sequential(nn.Linear(64, width), nn.ReLU(), nn.Linear(width, 10))


def bare(width, rho, X, y, n=REPLICAS):
    """The loop that anybody would write."""
    X, y = torch.as_tensor(X), torch.as_tensor(y)
    for seed in range(n):
        torch.manual_seed(seed)
        module = make_module(width)
        optimizer = torch.optim.SGD(module.parameters(), lr=0.05, momentum=0.9, nesterov=True)
        parameters = list(module.parameters())
        for _ in range(EPOCHS):
            for rows in torch.randperm(len(X)).split(BATCH):
                inputs, labels = X[rows], y[rows]
                nn.functional.cross_entropy(module(inputs), labels).backward()
                if rho:
                    with torch.no_grad():
                        norm = torch.stack([p.grad.norm() for p in parameters]).norm()
                        shifts = [p.grad * (rho / (norm + 1e-12)) for p in parameters]
                        torch._foreach_add_(parameters, shifts)
                    optimizer.zero_grad()
                    nn.functional.cross_entropy(module(inputs), labels).backward()
                    with torch.no_grad():
                        torch._foreach_sub_(parameters, shifts)
                optimizer.step()
                optimizer.zero_grad()


def estimators(width, rho, n=REPLICAS):
    base = SAMClassifier(
        (width,),
        rho=rho,
        solver="sgd",
        learning_rate_init=0.05,
        alpha=0.0,
        batch_size=BATCH,
        max_iter=EPOCHS,
        tol=-np.inf,
        n_iter_no_change=EPOCHS,
    )
    return [clone(base).set_params(random_state=seed) for seed in range(n)]


def stacked(width, rho, X, y, n=REPLICAS):
    trainings = [Training(e, X, y) for e in estimators(width, rho, n)]
    for _ in train(trainings, stack="force" if n > 1 else True):
        pass


def sequential_skorch(width, rho, X, y):
    for seed in range(REPLICAS):
        torch.manual_seed(seed)
        NeuralNetClassifier(
            make_module(width),
            criterion=nn.CrossEntropyLoss,
            optimizer=torch.optim.SGD,
            optimizer__momentum=0.9,
            optimizer__nesterov=True,
            lr=0.05,
            batch_size=BATCH,
            max_epochs=EPOCHS,
            train_split=None,
            iterator_train__shuffle=True,
            verbose=0,
        ).fit(X, y)


def ratio(slow, fast, runs=RUNS, workers=False):
    """Median seconds of two functions and the median of their ratios, in alternating runs.

    Two searches by joblib replace each other's worker processes: each runs once before it is timed.
    """
    times = []
    for _ in range(runs + 1):
        row = []
        for function in (slow, fast):
            if workers:
                function()
            start = time.perf_counter()
            function()
            row.append(time.perf_counter() - start)
        times.append(row)
    slow_times, fast_times = zip(*times[1:], strict=True)  # the first run warms up
    ratios = [a / b for a, b in times[1:]]
    return *map(statistics.median, (slow_times, fast_times, ratios)), min(ratios), max(ratios)


def search(kind, X, y, batch_size, **settings):
    base = estimators(32, None, 1)[0].set_params(batch_size=batch_size)
    rho = [0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5]
    found = kind(base, {"rho": rho}, cv=5, **settings).fit(X, y)
    return found.cv_results_["mean_test_score"]


#: grids on which a search with its defaults must not be slower than a plain one in one process
GRIDS = {
    "one candidate": ({"rho": [0.05]}, {}),
    "nothing to stack": ({"hidden_layer_sizes": [(16,), (24,), (32,)]}, {}),
    "two layers of 256": ({"rho": [0.0, 0.05, 0.1]}, {"hidden_layer_sizes": (256, 256)}),
    "early stopping": ({"rho": [0.0, 0.05, 0.1]}, {"early_stopping": True}),
}


def default_search(kind, X, y, grid, settings, **search):
    """Mean scores of a search over a network of width 64, three folds and fifteen epochs."""
    settings = {"hidden_layer_sizes": (64,), "batch_size": 64, "max_iter": 15} | settings
    base = SAMClassifier(random_state=0, learning_rate_init=0.01, **settings)
    found = kind(base, grid, cv=3, **search).fit(X, y)
    return found.cv_results_["mean_test_score"]


def table(X, y):
    rows, failed = [], []

    def add(what, peer, limit, figures):
        slow, fast, median, low, high = figures
        rows.append(
            f"| {what} | {peer} | {slow:.2f} | {fast:.2f} | {median:.2f} [{low:.2f}, {high:.2f}] "
            f"| {limit:.1f} |"
        )
        print(rows[-1], flush=True)
        if median < limit:
            failed.append(rows[-1])

    for width, limit in LIMITS.items():
        for name, rho in (("SGD", 0.0), ("SAM", RHO)):
            task = (width, rho, X, y)
            figures = ratio(partial(bare, *task), partial(stacked, *task))
            add(f"{name}, width {width}", "bare loop", limit, figures)
    figures = ratio(
        lambda: sequential_skorch(64, 0.0, X, y), lambda: stacked(64, 0.0, X, y), runs=3
    )
    add("SGD, width 64", "skorch", SKORCH_LIMIT, figures)
    worst = 0.0
    for size, limit in ((64, SEARCH_LIMIT), (128, 2.0)):
        theirs = partial(search, GridSearchCV, X, y, size, n_jobs=2)
        ours = partial(search, StackedSearchCV, X, y, size, n_jobs=2)
        worst = max(worst, float(np.abs(theirs() - ours()).max()))
        what = f"8 rho x 5 folds, width 32, batches of {size}"
        figures = ratio(theirs, ours, runs=3, workers=True)
        add(what, "GridSearchCV, 2 processes", limit, figures)
    X, rhos = X[:1500].astype(float), [0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5]
    for solver in ("sgd", "adam"):
        task = (X, y[:1500], {"rho": rhos}, {"solver": solver})
        theirs = partial(default_search, GridSearchCV, *task, n_jobs=2)
        ours = partial(default_search, StackedSearchCV, *task)
        worst = max(worst, float(np.abs(theirs() - ours()).max()))
        what = f"8 rho x 3 folds, width 64, {solver}, defaults"
        figures = ratio(theirs, ours, runs=3, workers=True)
        add(what, "GridSearchCV, 2 processes", SEARCH_LIMIT, figures)
    for what, task in GRIDS.items():
        theirs = partial(default_search, GridSearchCV, X, y[:1500], *task)
        ours = partial(default_search, StackedSearchCV, X, y[:1500], *task)
        worst = max(worst, float(np.abs(theirs() - ours()).max()))
        add(f"{what}, defaults", "GridSearchCV, 1 process", 1.0, ratio(theirs, ours, runs=3))
    return rows, failed, worst


def gpu(X, y):
    """Time of 64 replicas over the time of one, on a GPU."""
    times = {}
    for n in (1, 64, 1, 64):
        trainings = [Training(e.set_params(device="cuda"), X, y) for e in estimators(64, RHO, n)]
        start = time.perf_counter()
        list(train(trainings, max_replicas=64))
        torch.cuda.synchronize()
        times[n] = time.perf_counter() - start
    print(f"64 replicas on a GPU: {times[64] / times[1]:.2f} times one (limit 4)")
    return times[64] / times[1]


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--gpu", action="store_true")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    os.environ["PYTHONWARNINGS"] = "ignore"  # of the workers: all fits end at the last epoch
    torch.set_num_threads(2)
    X, y = data()
    if arguments.gpu:
        assert gpu(X, y) <= 4
        return
    rows, failed, worst = table(X, y)
    head = ["| what | peer | peer (s) | stacked (s) | times faster [range] | at least |"]
    head.append("|---|---|---|---|---|---|")
    text = __doc__.partition("\n\n    python")[0].strip()
    note = f"Mean test scores of the two searches differ by at most {worst:.1e}."
    below = ["", "Below what was aimed for:", "", *head, *failed] if failed else []
    lines = ["# Stacked training", "", text, "", *head, *rows, *below, "", note, ""]
    RESULTS.write_text("\n".join(lines))
    if arguments.check and failed:
        raise SystemExit("Below the limit:\n" + "\n".join(failed))


if __name__ == "__main__":
    main()
