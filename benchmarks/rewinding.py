"""One whole study of digits: its time, and that of the same trainings one by one in skorch.

``python benchmarks/rewinding.py``. 800 digits, 40 % of them with random labels, so that there is an
onset, in three hidden layers of 64: onset, pruning to 5 % of the weights with both controls, 8
children before and 8 after the onset, all three nulls. Times are seconds of the processor, of one
thread. Every training of the fit is counted in steps; of skorch some whole trainings are timed, in
turns with the fit, and scaled by the steps. What a study does beside training (masks, states,
matching, scores) costs skorch nothing in this.

After each stack it notes when the bar expected the end, and compares that with the end.
"""

import argparse
import time
import warnings
from itertools import pairwise
from unittest.mock import patch

import numpy as np
import torch
from _rewinding import as_table, write
from sklearn.datasets import load_digits
from skorch import NeuralNetClassifier
from torch import nn

from sklflat import BasinRewinder, SAMClassifier
from sklflat.rewinding.progress import Progress

HIDDEN, RATE, EPOCHS, BATCH = (64, 64, 64), 0.05, 40, 32


def noisy_digits(seed):
    """800 digits, 40 % of them with random labels."""
    rng = np.random.RandomState(seed)
    X, y = load_digits(return_X_y=True)
    rows = rng.permutation(len(X))[:800]
    X, y = (X[rows] / 16).astype(np.float32), y[rows].copy()
    wrong = rng.uniform(size=len(y)) < 0.4
    y[wrong] = rng.randint(10, size=wrong.sum())
    return X, y


class Noted(Progress):
    """A progress that notes every stack, and at what time it expects the end.

    Times are of the processor, as all else here.
    """

    of_fit = []

    def ran(self, stack, seconds):
        now = time.process_time()
        super().ran(stack, now - (self.of_fit[-1][1] if self.of_fit else now - seconds))
        self.of_fit.append((stack, now, now + self.seconds_left()))


def whole_fit(seed):
    """One study: seconds, networks, their steps, and when the end was expected."""
    sgd = {"solver": "sgd", "learning_rate_init": RATE, "momentum": 0.9, "batch_size": BATCH}
    fixed = {"max_iter": EPOCHS, "rho": 0, "alpha": 0, "tol": 0, "n_iter_no_change": 100}
    net = SAMClassifier(HIDDEN, **sgd, **fixed)
    probe = BasinRewinder(net, sparsity=0.95, n_retrains=8, random_state=seed)
    X, y = noisy_digits(seed)
    Noted.of_fit.clear()
    with patch("sklflat.rewinding.recipe.Progress", Noted):
        begun = time.process_time()
        probe.fit(X, y)
        seconds = time.process_time() - begun
    stacks = [stack for stack, *_ in Noted.of_fit]
    n_steps = sum(s.n_networks * s.n_steps for s in stacks)
    due = [(now, end) for _, now, end in Noted.of_fit if now - begun > seconds / 3]
    worst = max(abs((end - begun) / seconds - 1) for _, end in due)
    return probe, seconds, sum(s.n_networks for s in stacks), n_steps, worst


def skorch_seconds_a_step(seed):
    """Of one whole training of the same network on as many rows."""
    X, y = noisy_digits(seed)
    sizes = (64, *HIDDEN)
    widths = pairwise(sizes)
    layers = [part for pair in widths for part in (nn.Linear(*pair), nn.ReLU())]
    net = NeuralNetClassifier(
        nn.Sequential(*layers, nn.Linear(HIDDEN[-1], 10)),
        criterion=nn.CrossEntropyLoss,
        optimizer=torch.optim.SGD,
        lr=RATE,
        optimizer__momentum=0.9,
        batch_size=BATCH,
        max_epochs=EPOCHS,
        iterator_train__shuffle=True,
        train_split=None,
        verbose=0,
    )
    begun = time.process_time()
    net.fit(X[:600], y[:600])
    return (time.process_time() - begun) / (EPOCHS * int(np.ceil(600 / BATCH)))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=2)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    skorch_seconds_a_step(0)  # which loads what is loaded once
    rows = []
    for seed in range(args.seeds):
        before = skorch_seconds_a_step(seed)
        probe, seconds, n_networks, n_steps, worst = whole_fit(seed)
        a_step = (before + skorch_seconds_a_step(seed)) / 2
        rows.append(
            {
                "seed": seed,
                "onset": probe.onset_,
                "children": " + ".join(str(c.n_children) for c in probe.consistency_.values()),
                "networks": n_networks,
                "steps": n_steps,
                "fit (s)": f"{seconds:.0f}",
                "one by one in skorch (s)": f"{a_step * n_steps:.0f}",
                "times as fast": f"{a_step * n_steps / seconds:.1f}",
                "worst forecast of the end": f"{worst:.0%}",
            }
        )
    lines = [
        "# One whole study of digits\n",
        "Written by `benchmarks/rewinding.py`: 800 digits, 40 % random labels, three hidden layers "
        "of 64, 40 epochs of SGD in batches of 32; onset, pruning to 5 %, both controls, 8 "
        "children before and after the onset, all nulls. Seconds of the processor, one thread. Of "
        "skorch whole trainings are timed before and after the fit, and scaled by the steps of all "
        "networks. The worst forecast is that of the bar from the first third of the fit on.\n",
        *as_table(rows),
    ]
    write("study", lines)


if __name__ == "__main__":
    main()
