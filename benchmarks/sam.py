"""Speed of sharpness-aware training beside its peers, as ratios from alternating runs.

Digits in float32, MLP 64-128-128-10, batches of 64, momentum SGD, 30 epochs. Every round runs
every contestant once, in the same process, so drifts of the machine's speed cancel in the
ratios of a round; reported are medians over rounds, with the range. Run ::

    python benchmarks/sam.py            # 1 and 2 threads; writes results/sam.md
    python benchmarks/sam.py --check    # and fails if a limit is exceeded
"""

import argparse
import importlib.util
import json
import statistics
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier
from torch import nn

from sklflat import SAMClassifier
from sklflat.networks import MLP
from sklflat.training.engine.loader import SampleOrder, TensorLoader
from sklflat.training.perturbations import VARIANTS

EPOCHS, BATCH, RATE, MOMENTUM, SIZES = 30, 64, 0.05, 0.9, (128, 128)
RESULTS = Path(__file__).parent / "results" / "sam.md"
#: contestant, against whom, largest ratio allowed
LIMITS = {
    ("fit: SAMClassifier(rho=0)", "fit: bare PyTorch loop"): 1.0,
    ("fit: SAMClassifier(rho=0)", "fit: MLPClassifier"): 1.3,
    ("step: sam", "step: rho=0"): 2.05,
    ("step: looksam", "step: rho=0"): 1.25,
    ("step: momentum", "step: rho=0"): 1.05,
}

BOUNDS = """
What bounds the two limits that are not always kept (about 500 us a plain step on one thread): a
step of Momentum-SAM adds one norm and one `addcdiv` over 26,122 entries, and a step of LookSAM
between refreshes one norm and one `addcmul`. In a loop of their own each takes 6 us; measured
between two passes of a network, two to three times as much (the cause was not isolated; colder
caches are likely). torch has no single operation for the two.
"""

X, y = load_digits(return_X_y=True)
X = (X / 16).astype(np.float32)


def bare_loop(make_optimizer=None):
    """What one writes by hand: slices of a tensor, no DataLoader."""
    torch.manual_seed(0)
    net, loss = MLP(64, 10, SIZES), nn.CrossEntropyLoss()
    inputs, targets = torch.from_numpy(X), torch.from_numpy(y)
    base = {"lr": RATE, "momentum": MOMENTUM}
    if make_optimizer is None:
        optimizer = torch.optim.SGD(net.parameters(), **base)
    else:
        optimizer = make_optimizer(net.parameters(), base)
    for _ in range(EPOCHS):
        order = torch.randperm(len(X))
        for start in range(0, len(X), BATCH):
            batch = order[start : start + BATCH]
            x, t = inputs[batch], targets[batch]

            def closure(x=x, t=t):
                optimizer.zero_grad()
                value = loss(net(x), t)
                value.backward()
                return value

            if make_optimizer is None:
                closure()
                optimizer.step()
            else:
                closure()
                optimizer.first_step(zero_grad=True)
                closure()
                optimizer.second_step(zero_grad=True)


def peer_sam(parameters, base):
    from pytorch_optimizer import SAM

    return SAM(parameters, torch.optim.SGD, rho=0.05, **base)


def skorch_fit():
    from skorch import NeuralNetClassifier

    NeuralNetClassifier(
        MLP,
        module__n_features=64,
        module__n_outputs=10,
        module__hidden_layer_sizes=SIZES,
        criterion=nn.CrossEntropyLoss,
        lr=RATE,
        optimizer__momentum=MOMENTUM,
        max_epochs=EPOCHS,
        batch_size=BATCH,
        iterator_train__shuffle=True,
        train_split=None,
        callbacks="disable",
        verbose=0,
    ).fit(X, y)


SETTINGS = {
    "hidden_layer_sizes": SIZES,
    "solver": "sgd",
    "alpha": 0.0,
    "batch_size": BATCH,
    "learning_rate_init": RATE,
    "momentum": MOMENTUM,
    "nesterovs_momentum": False,
    "max_iter": EPOCHS,
    "tol": 0.0,
    "n_iter_no_change": 10 * EPOCHS,
    "random_state": 0,
}


def fit(variant="sam", rho=None):
    return SAMClassifier(variant=variant, rho=rho, **SETTINGS).fit(X, y)


def steps(variant, rho=None):
    """The training steps alone, each time from the weights after one epoch."""
    net = SAMClassifier(variant=variant, rho=rho, **{**SETTINGS, "max_iter": 1}).fit(X, y).net_
    dataset = type("Data", (), {"X": X, "y": y, "__len__": lambda self: len(X)})()
    batches = TensorLoader(dataset, BATCH, SampleOrder(len(X), np.random.RandomState(0)))

    start = {name: value.clone() for name, value in net.module_.state_dict().items()}

    def run():
        # not from where the last run ended: near a loss of zero denormal numbers slow all down
        net.module_.load_state_dict(start)
        net._initialize_optimizer()
        net.history.new_epoch()
        for _ in range(EPOCHS):
            net.run_single_epoch(batches, training=True, prefix="train", step_fn=net.train_step)

    return run


def contestants():
    table = {
        "fit: bare PyTorch loop": bare_loop,
        "fit: MLPClassifier": lambda: MLPClassifier(**SETTINGS).fit(X, y),
        "fit: skorch, callbacks off": skorch_fit,
        "fit: SAMClassifier(rho=0)": lambda: fit(rho=0.0),
        "fit: SAMClassifier()": fit,
        "step: rho=0": steps("sam", 0.0),
        **{f"step: {variant}": steps(variant) for variant in VARIANTS},
    }
    if importlib.util.find_spec("pytorch_optimizer"):
        table["fit: pytorch_optimizer's SAM"] = lambda: bare_loop(peer_sam)
    return table


def measure(rounds):
    """Seconds of every contestant in every round."""
    runs = contestants()
    seconds = {name: [] for name in runs}
    for i in range(rounds + 1):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            if i:  # the first round warms up
                seconds[name].append(time.perf_counter() - start)
    return seconds


def ratios(seconds, name, against):
    return [a / b for a, b in zip(seconds[name], seconds[against], strict=True)]


def in_process(threads, rounds):
    """Measure in a process of its own, as thread counts are set once."""
    command = [sys.executable, __file__, "--worker", str(threads), "--rounds", str(rounds)]
    printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return json.loads(printed.splitlines()[-1])


def table(seconds, threads):
    lines = [
        f"\n## {threads} thread{'s' if threads > 1 else ''}\n",
        "| contestant | ms | ratio | (range) | to | limit |",
        "|---|---|---|---|---|---|",
    ]
    for name in seconds:
        against = "fit: bare PyTorch loop" if name.startswith("fit") else "step: rho=0"
        pairs = [against, *(b for a, b in LIMITS if a == name and b != against)]
        for other in pairs:
            r = ratios(seconds, name, other)
            limit = LIMITS.get((name, other), "")
            lines.append(
                f"| {name} | {1e3 * statistics.median(seconds[name]):.0f} | "
                f"{statistics.median(r):.2f} | ({min(r):.2f} to {max(r):.2f}) | "
                f"{other.split(': ')[1]} | {limit} |"
            )
    return "\n".join(lines)


def exceeded(seconds, slack=1.0):
    """Limits that the medians exceed."""
    return [
        f"{name} is {statistics.median(ratios(seconds, name, against)):.2f}x {against}, "
        f"allowed is {limit}"
        for (name, against), limit in LIMITS.items()
        if statistics.median(ratios(seconds, name, against)) > slack * limit
    ]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--worker", type=int)
    options = parser.parse_args()
    if options.worker:
        from threadpoolctl import threadpool_limits

        warnings.simplefilter("ignore", ConvergenceWarning)
        torch.set_num_threads(options.worker)
        with threadpool_limits(options.worker):
            print(json.dumps(measure(options.rounds)))
        return
    measured = {threads: in_process(threads, options.rounds) for threads in (1, 2)}
    text = (
        "# Speed of sharpness-aware training\n\n"
        + __doc__.split("\n\n")[1].removesuffix(" Run ::")
        + "\n"
    )
    text += "".join(table(seconds, threads) + "\n" for threads, seconds in measured.items())
    text += BOUNDS
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(text)
    print(text)
    complaints = [f"{t} threads: {c}" for t, s in measured.items() for c in exceeded(s)]
    print("\n".join(complaints) or "No limit is exceeded.")
    if options.check and complaints:
        sys.exit(1)


if __name__ == "__main__":
    main()
