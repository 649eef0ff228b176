"""A stack needs no more memory than the guide says."""

import os
import subprocess
import sys
import textwrap

import pytest

SCRIPT = """
import sys, warnings
import numpy as np
import torch
from sklflat import SAMClassifier
from sklflat.training.runs import Training
from sklflat.training.stacking.stackable import stack_bytes
from sklflat.training.stacking import train

warnings.simplefilter("ignore")
torch.set_num_threads(1)
layers, batch, n, solver, variant = eval(sys.argv[1])
draw = np.random.RandomState(0)
X = draw.normal(size=(max(2 * batch, 400), 64)).astype(np.float32)
y = draw.randint(0, 10, len(X))


def status(name):
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) * 1024


def run(n, layers, batch):
    own = {"batch_size": batch, "max_iter": 3, "solver": solver, "variant": variant}
    made = [SAMClassifier(layers, random_state=seed, **own) for seed in range(n)]
    list(train([Training(e, X, y) for e in made], max_replicas=n, stack="force"))
    return made


run(2, (8,), 20)
before = status("VmRSS")
open("/proc/self/clear_refs", "w").write("5")  # the peak begins here
made = run(n, layers, batch)
sizes = [64, *layers, 10]
p = sum(a * b + b for a, b in zip(sizes, sizes[1:]))
print((status("VmHWM") - before) / (n * stack_bytes(p, sum(sizes[1:]), batch, 4) + X.nbytes))
"""

#: freed memory goes back at once: glibc keeps gaps between what is in use, .0 to .5 of it by chance
ALLOCATOR = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}

CASES = {
    "parameters": ((512, 512), 20, 16, "sgd", "sam"),
    "moments and state": ((512, 512), 20, 16, "adam", "looksam"),
    "activations": ((64, 64, 64), 2000, 16, "sgd", "sam"),
    "both": ((256, 256), 500, 16, "adam", "gsam"),
}


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak where Linux keeps it")
@pytest.mark.parametrize("case", CASES)
def test_the_peak_is_within_a_fifth_of_the_formula(case):
    command = [sys.executable, "-c", textwrap.dedent(SCRIPT), repr(CASES[case])]
    ratios = []
    # a busy system takes pages of idle libraries away before, and their return counts as growth:
    # what disturbs the measurement only adds to it
    while not ratios or (min(ratios) > 1.2 and len(ratios) < 3):
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=ALLOCATOR)
        assert done.returncode == 0, done.stderr
        ratios.append(float(done.stdout))
    assert min(ratios) <= 1.2
    # activations larger than a core's cache are held for a block of the networks at a time
    assert case == "activations" or min(ratios) > 0.3
