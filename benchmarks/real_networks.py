"""Default fits of the probes on networks that somebody else trained, against plain loops and peers.

A one-dimensional CNN of wide kernels on tones of 1,024 samples, a small ResNet on 32 x 32 images, a
transformer encoder on tokens, and an MLP of a million parameters, all float32 and trained by a
plain PyTorch loop. Every probe is fitted with its defaults to rows that the network has not seen,
which is compared with the module's own forward pass over the same rows; ablation with a plain loop
that silences one channel at a time, the Hessian with curvlinops and ARPACK at the loosest tolerance
that reaches the same residual. Each fit runs in a process of its own. A fit of more than 20 seconds
is timed once. Pairs of the CNN are computed on 150 rows. `TemperatureProbe` is timed on the MLP
alone: it ablates 74 and more untrained networks, which takes ten minutes on the CNN and the ResNet.

``python benchmarks/real_networks.py`` writes results/real_networks.md; ``--only`` measures some
networks; with ``--check`` it fails where a limit is not kept.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
import warnings
from pathlib import Path

import _peers as peers
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from sklflat import (
    AblationProbe,
    ActivationProbe,
    HessianSpectrum,
    TemperatureProbe,
    check_network,
    from_module,
)
from sklflat.networks import Network

TABLE = Path(__file__).parent / "results" / "real_networks.md"
#: eigenpairs, and the true residual that both are to reach, relative to the largest eigenvalue
K = 5
#: most forward passes of a fit; most of the plain loop's, and of curvlinops' time
MAX_PASSES, MAX_LOOP, MAX_PEER, MAX_FORWARD, MAX_CHECKS = 4.0, 0.5, 1.0, 1.1, 0.05


def tones_cnn():
    """272 channels in six convolutions of kernels 512 and 64, as of a small pitch tracker."""

    def block(n_in, n_out, kernel, stride=1):
        padding = (254, 254) if stride > 1 else (31, 32)
        convolution = nn.Conv1d(n_in, n_out, kernel, stride)
        pad = nn.ConstantPad1d(padding, 0.0)
        return pad, convolution, nn.ReLU(), nn.BatchNorm1d(n_out), nn.MaxPool1d(2)

    return nn.Sequential(
        nn.Unflatten(1, (1, 1024)),
        *block(1, 128, 512, stride=4),
        *block(128, 16, 64),
        *block(16, 16, 64),
        *block(16, 16, 64),
        *block(16, 32, 64),
        *block(32, 64, 64),
        nn.Flatten(),
        nn.Linear(256, 360),
    )


class Residual(nn.Module):
    def __init__(self, n_in, n_out, stride):
        super().__init__()
        self.one = nn.Conv2d(n_in, n_out, 3, stride, 1, bias=False)
        self.two = nn.Conv2d(n_out, n_out, 3, 1, 1, bias=False)
        self.norms = nn.ModuleList([nn.BatchNorm2d(n_out) for _ in range(3)])
        self.short = nn.Conv2d(n_in, n_out, 1, stride, bias=False)

    def forward(self, x):
        a = F.relu(self.norms[0](self.one(x)))
        return F.relu(self.norms[1](self.two(a)) + self.norms[2](self.short(x)))


def resnet():
    return nn.Sequential(
        nn.Unflatten(1, (3, 32, 32)),
        nn.Conv2d(3, 16, 3, 1, 1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        Residual(16, 16, 1),
        Residual(16, 32, 2),
        Residual(32, 64, 2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(64, 10),
    )


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.tokens = nn.Embedding(100, 64)
        self.position = nn.Parameter(0.1 * torch.randn(32, 64))
        layer = nn.TransformerEncoderLayer(64, 4, 128, dropout=0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(64, 5)

    def forward(self, X):
        return self.head(self.encoder(self.tokens(X) + self.position).mean(1))


def mlp():
    return nn.Sequential(
        nn.Linear(64, 700),
        nn.ReLU(),
        nn.Linear(700, 700),
        nn.ReLU(),
        nn.Linear(700, 700),
        nn.ReLU(),
        nn.Linear(700, 10),
    )


def tones(n, rng):
    """Twelve of 360 pitches, with overtones at random phases, in noise."""
    y = 30 * (np.arange(n) % 12)
    t = np.arange(1024) / 16000
    pitch = 220 * 2 ** (y / 360)
    X = sum(
        np.sin(2 * np.pi * k * pitch[:, None] * t + rng.uniform(0, 2 * np.pi, (n, 1))) / k
        for k in (1, 2, 3)
    )
    return (X + rng.normal(0, 1, X.shape)).astype(np.float32), y


def gratings(n, rng):
    """Ten orientations of a grating, in colours and noise of their own."""
    y = np.arange(n) % 10
    u, v = np.meshgrid(np.arange(32), np.arange(32))
    angle = (y * np.pi / 10)[:, None, None]
    phase = rng.uniform(0, 2 * np.pi, (n, 1, 1))
    wave = np.sin((np.cos(angle) * u + np.sin(angle) * v) * 0.6 + phase)
    X = wave[:, None] * rng.normal(1, 0.3, (n, 3, 1, 1)) + rng.normal(0, 1.5, (n, 3, 32, 32))
    return X.reshape(n, -1).astype(np.float32), y


def sentences(n, rng):
    """Of which of five groups of twenty tokens a sentence of 32 has most."""
    y = np.arange(n) % 5
    common = rng.rand(n, 32) < 0.35
    X = np.where(
        common, 20 * y[:, None] + rng.randint(0, 20, (n, 32)), rng.randint(0, 100, (n, 32))
    )
    return X, y


def digits(n, rng):
    from sklearn.datasets import load_digits

    X, y = load_digits(return_X_y=True)
    order = rng.permutation(len(y))[:n]
    return (X[order] / 16).astype(np.float32), y[order]


#: what makes network and data, rows to train on and to probe on, and epochs
NETWORKS = {
    "CNN on tones": (tones_cnn, tones, 1200, 600, 3),
    "ResNet": (resnet, gratings, 1000, 300, 3),
    "transformer": (Encoder, sentences, 1000, 500, 8),
    "MLP": (mlp, digits, 1297, 500, 8),
}
PROBES = {
    "ActivationProbe": lambda f: ActivationProbe(f, random_state=0),
    "AblationProbe": lambda f: AblationProbe(f, random_state=0),
    "HessianSpectrum": lambda f: HessianSpectrum(f, n_components=K, random_state=0),
    "TemperatureProbe": lambda f: TemperatureProbe(f, random_state=0),
}


def trained(name):
    """A network by a plain loop, and rows that it has not seen."""
    make, data, n_train, n_rows, n_epochs = NETWORKS[name]
    torch.manual_seed(0)
    X, y = data(n_train + n_rows, np.random.RandomState(0))
    module = make()
    inputs, targets = torch.as_tensor(X), torch.as_tensor(y)
    optimizer = torch.optim.Adam(module.parameters(), 1e-3)
    for _ in range(n_epochs):
        for rows in torch.randperm(n_train).split(64):
            optimizer.zero_grad()
            F.cross_entropy(module(inputs[rows]), targets[rows]).backward()
            optimizer.step()
    module.eval()
    return module, X[n_train:], y[n_train:]


def seconds(run):
    start = time.perf_counter()
    result = run()
    return time.perf_counter() - start, result


@torch.no_grad()
def forward(module, x):
    for part in x.split(1024):
        module(part)


def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def fits(name, what, module, X, y):
    """What is timed, as a function of no arguments."""
    n_outputs = [m for m in module.modules() if isinstance(m, nn.Linear)][-1].out_features
    model = from_module(module, classes=np.arange(n_outputs))
    if what == "Network.outputs":
        network, x = Network(module, nn.CrossEntropyLoss()), torch.as_tensor(X)
        return lambda: network.outputs(x)
    if what == "check_network":
        return lambda: check_network(model, X, y)
    return lambda: PROBES[what](model).fit(X, y)


def curvature_peer(probe, module, x, t):
    """Curvlinops at the tolerance that reaches the probe's residual, and figures of both."""

    def run(tol):
        with sdpa_kernel(SDPBackend.MATH):
            return peers.curvlinops(module, x, t, tol, K)

    own = peers.residual(module, x, t, probe.eigenvalues_, probe.eigenvectors_)
    tol = peers.loosest(run, module, x, t, max(own, 1e-4))
    return (lambda: run(tol)), {"residual": own, "tolerance": tol}


def one(name, what, n_threads, rounds):
    """Seconds of a fit and of what it is compared with, medians of rounds, and mebibytes."""
    torch.set_num_threads(n_threads)
    warnings.simplefilter("ignore")
    module, X, y = trained(name)
    n_rows = FEWER_ROWS.get((name, what), len(X))
    X, y = X[:n_rows], y[:n_rows]
    x, t = torch.as_tensor(X), torch.as_tensor(y)
    forward(module, x)
    before = peak()
    run = fits(name, what, module, X, y)
    (first, found), peer = seconds(run), None
    long = first > LONG
    figures = {"network": name, "what": what, "threads": n_threads, "memory": peak() - before}
    if what == "HessianSpectrum":
        peer, more = curvature_peer(found, module, x, t)
        figures |= more
    times = {"own": [], "forward": [], "peer": []}
    for _ in range(1 if long else rounds):
        times["own"].append(first if long else seconds(run)[0])
        times["forward"].append(seconds(lambda: forward(module, x))[0])
        if peer is not None:
            times["peer"].append(seconds(peer)[0])
    if what == "AblationProbe":  # a plain loop runs the network once for every unit
        times["peer"] = [len(found.units_) * t for t in times["forward"]]
    figures |= {key: statistics.median(v) for key, v in times.items() if v}
    figures |= {
        ratio: statistics.median(a / b for a, b in zip(times["own"], times[key], strict=True))
        for ratio, key in (("passes", "forward"), ("of peer", "peer"))
        if times[key]
    }
    n_parameters = sum(p.numel() for p in module.parameters())
    units = len(found.units_) if hasattr(found, "units_") else None
    return figures | {"rows": len(x), "parameters": n_parameters, "units": units}


#: rows that are fewer than the network's, and what is not timed
FEWER_ROWS = {("CNN on tones", "HessianSpectrum"): 150}
LEFT_OUT = {(name, "TemperatureProbe") for name in ("CNN on tones", "ResNet", "transformer")}
#: the network that has limits
LIMITED = "CNN on tones"
#: seconds of a fit that is timed once
LONG = 20
MEASURED = ["Network.outputs", "check_network", *PROBES]


def measure(name, what, n_threads, rounds):
    """The figures of one fit, from a process of its own."""
    arguments = ["--one", name, what, str(n_threads), "--rounds", str(rounds)]
    command = [sys.executable, __file__, *arguments]
    ended = subprocess.run(command, check=True, capture_output=True, text=True)
    figures = json.loads(ended.stdout.splitlines()[-1])
    print(figures, flush=True)
    return figures


def table(rows, rounds):
    yield "# Default fits on networks that were trained elsewhere"
    yield ""
    yield (
        f"Written by `benchmarks/real_networks.py`: medians of {rounds} rounds, float32. *Passes* "
        "is the time relative to one forward pass of the module itself over the same rows. The "
        "plain loop of ablation is as many forward passes as there are units; for the Hessian's 5 "
        "pairs the peer is curvlinops with ARPACK, which stops at the same true residual. *Memory* "
        "is what the fit adds to the peak of the process."
    )
    yield ""
    yield "| network | rows | threads | what | seconds | passes | peer | of the peer | memory |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for row in rows:
        size = f"{row['network']}, {row['parameters']:,} parameters"
        peer = f"{row['peer']:.2f} s | {row['of peer']:.2f}" if "peer" in row else " | "
        what = row["what"] + (f", {row['units']} units" if row["units"] else "")
        yield (
            f"| {size} | {row['rows']} | {row['threads']} | {what} | {row['own']:.3f} | "
            f"{row['passes']:.1f} | {peer} | {row['memory']:.0f} MiB |"
        )


def failures(rows):
    """Limits that are not kept on the CNN, for which they were set, and those of the checks."""
    for row in [row for row in rows if row["network"] == LIMITED]:
        where = f"{row['network']}, {row['what']}, {row['threads']} threads"
        if row["what"] == "HessianSpectrum" and row["of peer"] > MAX_PEER:
            yield f"{where}: {row['of peer']:.2f} times curvlinops"
        if row["what"] == "Network.outputs" and row["passes"] > MAX_FORWARD:
            yield f"{where}: {row['passes']:.2f} forward passes"
        if row["what"] == "AblationProbe" and row["of peer"] > MAX_LOOP:
            yield f"{where}: {row['of peer']:.2f} times the plain loop"
        if row["what"] == "ActivationProbe" and row["passes"] > MAX_PASSES:
            yield f"{where}: {row['passes']:.1f} forward passes"
    for name in NETWORKS:
        own = [r for r in rows if r["network"] == name and r["threads"] == 1]
        checks = [r["own"] for r in own if r["what"] == "check_network"]
        whole = sum(r["own"] for r in own if r["what"] in PROBES)
        if checks and checks[0] > MAX_CHECKS * whole:
            yield f"{name}: the checks take {checks[0] / whole:.1%} of the probes' fits"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="*", default=list(NETWORKS), choices=list(NETWORKS))
    parser.add_argument("--check", action="store_true", help="fail where a limit is not kept")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        name, what, n_threads = options.one
        print(json.dumps(one(name, what, int(n_threads), options.rounds)))
        return
    rows = [
        measure(name, what, n_threads, options.rounds)
        for name in options.only
        for n_threads in (1, 2)
        for what in MEASURED
        if (name, what) not in LEFT_OUT
    ]
    text = "\n".join(table(rows, options.rounds)) + "\n"
    print(text)
    if set(options.only) == set(NETWORKS):
        TABLE.write_text(text)
    found = list(failures(rows))
    if options.check and found:
        raise SystemExit("\n".join(found))


if __name__ == "__main__":
    main()
