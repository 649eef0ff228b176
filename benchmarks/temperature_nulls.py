"""How often a hierarchy is found where there is none, and what else passes for one.

Logits are drawn as they are, without a network: ten classes, 40 rows each unless sizes differ.
``python benchmarks/temperature_nulls.py`` writes results/temperature_nulls.md; with ``--check`` it
fails where classes that are all alike but for difficulty, size or name are a hierarchy in more
than a tenth of the draws.
"""

import argparse
import time
import warnings
from pathlib import Path

import numpy as np

from sklflat.temperature import TemperatureSweep, softened
from sklflat.temperature.resampled_rows import ResampledRows
from sklflat.temperature.sweep import LEVEL, LEVEL_REPRODUCED
from sklflat.temperature.temperature_sample import temperature_grid

TABLE = Path(__file__).parent / "results" / "temperature_nulls.md"
N_CLASSES, N_ROWS, N_DRAWS, N_RESAMPLED = 10, 40, 10, 20
SIZES = np.geomspace(5, 200, N_CLASSES).astype(int)
MOST = 0.1


def alike(rng, margin=3.0, sizes=N_ROWS, named=0.0):
    """Logits that take every class for all others alike, but for margins and names."""
    y = np.repeat(np.arange(N_CLASSES), sizes)
    names = np.linspace(0, named, N_CLASSES)[rng.permutation(N_CLASSES)]
    logits = rng.normal(size=(len(y), N_CLASSES)) + names
    logits[np.arange(len(y)), y] += np.broadcast_to(margin, N_CLASSES)[y]
    return logits, y


def gaussian(rng, means, spreads):
    """Logarithms of the densities of normal classes, of the rows that they are."""
    y = np.repeat(np.arange(N_CLASSES), N_ROWS)
    X = means[y] + spreads[y, None] * rng.normal(size=(len(y), means.shape[1]))
    squares = np.square(X[:, None] - means).sum(axis=2)
    return -squares / (2 * spreads**2) - means.shape[1] * np.log(spreads), y


EVEN, NUMBERS = np.ones(N_CLASSES), np.arange(N_CLASSES)
ROUND = 2 * np.pi * NUMBERS / N_CLASSES
HARD = np.linspace(0, 5, N_CLASSES)
#: kinds of classes without a tree, whether they are alike but for what is said, and their logits
KINDS = {
    "all alike": (True, alike),
    "some hard, some easy": (True, lambda rng: alike(rng, HARD)),
    "the same, of 5 to 200 rows": (True, lambda rng: alike(rng, HARD, SIZES)),
    "the same, some named up to twenty times as often": (
        True,
        lambda rng: alike(rng, HARD, SIZES[::-1], 3.0),
    ),
    "equally far from each other, spreads of 0.5 to 2.5": (
        False,
        lambda rng: gaussian(rng, 3 * np.eye(N_CLASSES), np.linspace(0.5, 2.5, N_CLASSES)),
    ),
    "on a line": (False, lambda rng: gaussian(rng, 2.0 * NUMBERS[:, None], EVEN)),
    "on a circle": (
        False,
        lambda rng: gaussian(rng, 3 * np.column_stack([np.cos(ROUND), np.sin(ROUND)]), EVEN),
    ),
}


def found_in(logits, y, rng):
    """P-values of both tests at the most stable temperature."""
    even = np.ones(len(y))
    resampled = ResampledRows.drawn(y, even, N_RESAMPLED, rng)
    sweep = TemperatureSweep.of(
        lambda T: softened(logits, T),
        y,
        even,
        temperature_grid(None, logits),
        np.arange(N_CLASSES),
        "average",
        resampled,
        rng,
    )
    return sweep.p_value <= LEVEL, sweep.reproduced_p_value <= LEVEL_REPRODUCED, sweep.has_hierarchy


def measure():
    """How often each test is passed, and both, by kind (3,)."""
    found = {}
    for kind, (_, draw) in KINDS.items():
        rngs = [np.random.RandomState(seed) for seed in range(N_DRAWS)]
        found[kind] = np.sum([found_in(*draw(rng), rng) for rng in rngs], axis=0)
        print(kind, found[kind], f"{time.process_time():.0f} s", flush=True)
    return found


def report(found):
    """The page, line by line."""
    yield "# Hierarchies of classes that have none\n"
    yield (
        f"Written by `benchmarks/temperature_nulls.py`: {N_CLASSES} classes, {N_DRAWS} draws of "
        f"each kind. How often distances are more those of a tree than by chance (at {LEVEL}), how "
        f"often what pairs of classes are comes back on other rows (at {LEVEL_REPRODUCED}), and "
        "how often a hierarchy is found, which takes both.\n"
    )
    yield "| classes | distances of a tree | pairs come back | hierarchy found |"
    yield "|---|---|---|---|"
    for kind, counts in found.items():
        yield f"| {kind} | {' | '.join(f'{n} of {N_DRAWS}' for n in counts)} |"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    found = measure()
    TABLE.write_text("\n".join(report(found)) + "\n")
    print(TABLE.read_text())
    failures = [
        f"{kind}: a hierarchy in {found[kind][-1]} of {N_DRAWS}"
        for kind, (is_alike, _) in KINDS.items()
        if is_alike and found[kind][-1] > MOST * N_DRAWS
    ]
    print("\n".join(failures) or "no hierarchy where classes are alike")
    if args.check and failures:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
