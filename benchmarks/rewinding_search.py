"""The search for an onset on simulated falling curves, whose true onset is known.

``python benchmarks/rewinding_search.py``. Steps, costs and noise are those of the digits of
`rewinding_onset.py`: looks of 5 copies have a standard error of 2 %, or of a third of the value
where that is less. Curves are that of the digits (moved and scaled), sigmoids, and straight falls;
barriers are a sum of effects of two networks, the parent's among all looks, and of pairs. Asked is
how often plain bisection, the search of a fit, and looks at all steps are within one step of the
grid of the true onset. By these curves the rule of the search was chosen.
"""

import argparse
from itertools import combinations

import numpy as np
from _rewinding import as_table, write

from sklflat.rewinding import Instability, find_onset, step_grid
from sklflat.rewinding.dose_response import onset_of_all

N_STEPS = 900
GRID = step_grid(N_STEPS, 32)
PLACES = np.arange(len(GRID))
#: means over seeds of the digits, from the twentieth step of the grid on
DIGITS = [15.5] * 20 + [14.9, 14.2, 13.9, 13.7, 13.6, 13.2, 12.2, 11, 9.7, 8, 6.6, 5.4, 0]
#: of a pair of networks, what of its barrier's deviation is each network's own
OWN = 0.45


def curve_of(kind, rng):
    """A falling curve (33,), 0 at the last step, from which nothing is left that could differ."""
    if kind == "digits":
        moved = np.interp(PLACES - rng.uniform(-2, 2), PLACES, np.array(DIGITS) / 100)
        curve = moved * rng.uniform(0.85, 1.15)
    elif kind == "sigmoid":
        height, middle, width = rng.uniform(0.06, 0.3), rng.uniform(2, 31), rng.uniform(0.2, 4)
        curve = height / (1 + np.exp((PLACES - middle) / width))
    else:
        height, first = rng.uniform(0.06, 0.3), rng.uniform(0, 28)
        last = rng.uniform(first + 1, 33)
        curve = height * np.clip((last - PLACES) / (last - first), 0, 1)
    curve = np.maximum(np.minimum.accumulate(curve), 0.002)
    curve[-1] = 0.0
    return curve


class Looks:
    """Looks of ``n_copies`` at a step, more of them each time."""

    def __init__(self, curve, rng, parent, n_copies):
        self.curve, self.rng, self.n_new = dict(zip(GRID, curve, strict=True)), rng, n_copies - 1
        self.effects = {step: [parent] for step in GRID}
        self.barriers = {step: {} for step in GRID}

    def cost(self, step):
        return self.n_new * (N_STEPS - step)

    def __call__(self, step):
        effects, known = self.effects[step], self.barriers[step]
        effects += list(self.rng.normal(size=self.n_new))
        deviation = 0.044 * min(1, self.curve[step] / 0.06)
        for i, j in combinations(range(len(effects)), 2):
            if (i, j) not in known:
                pair = np.sqrt(1 - 2 * OWN**2) * self.rng.normal()
                own = OWN * (effects[i] + effects[j])
                known[i, j] = max(self.curve[step] + deviation * (own + pair), 0.0)
        n_trained = (len(effects) - 1) * (N_STEPS - step)
        values = [known[pair] for pair in combinations(range(len(effects)), 2)]
        return Instability(step, np.array(values), n_trained=n_trained)


def distances(kind, tol, n_copies, seed):
    """Steps of the grid between the true onset and each found one, and costs."""
    rng = np.random.default_rng(seed)
    curve, parent = curve_of(kind, rng), rng.normal()
    place = {None: len(GRID), **{step: k for k, step in enumerate(GRID)}}
    true = int(np.flatnonzero(curve <= tol)[0])
    looks = [Looks(curve, rng, parent, n_copies) for _ in range(3)]
    brute = onset_of_all([looks[0](step) for step in GRID], tol)
    plain = find_onset(looks[1], GRID, tol)
    search = find_onset(looks[2], GRID, tol, cost=looks[2].cost)
    apart = [abs(place[c.onset] - true) for c in (plain, search, brute)]
    return [*apart, *(c.n_trained / brute.n_trained for c in (plain, search))]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=400)
    args = parser.parse_args()
    rows = []
    settings = [("digits", 0.1, 5), ("digits", 0.05, 5), ("digits", 0.02, 3)]
    settings += [("sigmoid", 0.02, 3), ("sigmoid", 0.05, 5), ("straight", 0.02, 3)]
    for kind, tol, n_copies in [*settings, ("straight", 0.05, 5)]:
        found = np.array([distances(kind, tol, n_copies, seed) for seed in range(args.runs)])
        near, mean = (found[:, :3] <= 1).mean(axis=0), found.mean(axis=0)
        rows.append({"curves": kind, "tolerance": f"{tol:.0%}", "copies": n_copies})
        for k, name in enumerate(("plain bisection", "search", "looks at all steps")):
            rows[-1][f"{name}: within one step"] = f"{near[k]:.0%}"
            rows[-1][f"{name}: steps apart"] = f"{mean[k]:.2f}"
        rows[-1] |= {"cost of bisection": f"{mean[3]:.0%}", "of the search": f"{mean[4]:.0%}"}
        rows[-1]["at most"] = f"{found[:, 4].max():.0%}"
    lines = [
        "# The search for an onset on simulated curves\n",
        f"Written by `benchmarks/rewinding_search.py`: {args.runs} runs each, {len(GRID)} steps. "
        "Costs are in steps trained, relative to looks at all steps.\n",
        *as_table(rows),
    ]
    write("search", lines)


if __name__ == "__main__":
    main()
