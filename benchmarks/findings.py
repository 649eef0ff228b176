"""How often each code of a report is reported where nothing is there: 2,000 null runs of each.

Runs are at the level of the statistic: what a probe would hand to the finding is drawn under the
null at its boundary (units that change nothing on average, a rise that is just not flat, networks
that have learned nothing), with skewed rows, and goes through the package's own decisions.
``python benchmarks/findings.py`` writes results/findings.md and sklflat/report/false_alarms.py,
and fails where a code is reported in more than 8 % of the runs: tests are made for 5 %, and long
tails cost some of them a little. Codes as arguments run these only; all take twenty minutes.
"""

import argparse
import json
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from torch import nn

from sklflat import ActivationProbe, UniversalityProbe, from_module
from sklflat.probing.dead_units import dead_units
from sklflat.probing.decisions import decide
from sklflat.pruning.judge import finest_drop
from sklflat.report import CODES
from sklflat.report import findings as f
from sklflat.report.techniques.connectivity import barrier_error
from sklflat.report.techniques.prediction import difference
from sklflat.report.techniques.rewinding import margin_of
from sklflat.report.verdict import flatter
from sklflat.surrogate.fidelity import bootstrap_means
from sklflat.temperature import TemperatureSweep, softened
from sklflat.temperature.calibration import fit_temperature
from sklflat.temperature.resampled_rows import ResampledRows
from sklflat.temperature.temperature_sample import temperature_grid

ROOT = Path(__file__).parents[1]
TABLE = ROOT / "benchmarks" / "results" / "findings.md"
COUNTS = TABLE.with_suffix(".json")
RATES = ROOT / "sklflat" / "report" / "false_alarms.py"
N_RUNS, N_ROWS, N_UNITS, N_CLASSES = 2000, 450, 100, 10
HEAD = (
    "# False alarms of the codes of a report\n\nWritten by `benchmarks/findings.py`: how often "
    "each code is reported where nothing is there.\n\n| code | claim | null | reported | rate |\n"
    "|---|---|---|---|---|\n"
)
#: level of every code, and what long tails may add to it
LEVEL, SLACK = 0.05, 0.03


def skewed(rng, *shape):
    """Draws of mean 0 with a long tail to the right, as losses of rows have."""
    return rng.lognormal(size=shape) - np.exp(0.5)


def wrong(rng, share, n=N_ROWS):
    return (rng.uniform(size=n) < share).astype(float)


def better_than_constant(rng):
    """A network whose labels have nothing to do with the rows, as often right as the constant."""
    gain = difference(wrong(rng, 0.9), wrong(rng, 0.9))
    return f.better_than_constant("a", gain, "accuracy", N_ROWS).status == "passed"


def estimators_differ(rng):
    """Two networks that are wrong on 5 % of the rows, most of them the same."""
    both = wrong(rng, 0.03)
    one, other = (np.maximum(both, wrong(rng, 0.02)) for _ in range(2))
    found = f.estimators_differ("a", "b", difference(one, other), "accuracy", N_ROWS)
    return found.status == "attention"


def dead(rng):
    """A unit that is active on one row in a hundred."""
    A = np.where(rng.uniform(size=(N_ROWS, 1)) < 0.01, 1.0, 0.0)
    return f.dead_units("a", int(dead_units(A).sum()), 1, N_ROWS).status == "attention"


def decided(rng):
    rises = skewed(rng, N_ROWS, N_UNITS)
    return decide(rises, margin=0.01, n_effective=N_ROWS)


def needed(rng):
    """A hundred units without which the loss does not rise on average; whether any is needed."""
    return decided(rng).count("needed") > 0


def harmful(rng):
    """The same units; whether any harms."""
    return decided(rng).count("harmful") > 0


def network(seed, n_inputs=6, n_units=8):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(n_inputs, n_units), nn.ReLU(), nn.Linear(n_units, 3))


def know_target(rng):
    """Units of a network of fresh weights, on labels that are drawn at random."""
    X, y = rng.normal(size=(100, 6)), rng.randint(3, size=100)
    frozen = from_module(network(rng.randint(2**31)), classes=[0, 1, 2])
    probe = ActivationProbe(frozen, unit_score="class_variance", random_state=rng).fit(X, y)
    tied = (probe.q_values_ <= f.LEVEL) & (probe.unit_scores_ > 0) & ~probe.dead_
    return f.units_know_target("a", int(tied.sum()), 8).status == "passed"


def flat(rng):
    """Rises of rows whose mean is just what is not flat any more."""
    rises = 0.01 * rng.lognormal(size=1350) / np.exp(0.5)
    x = difference(rises, np.zeros(1350))
    return f.flat_minimum("a", x, 1.0, True).status == "passed"


def flatter_than_first(rng):
    """Top eigenvalues of six pairs of trainings that differ by chance."""
    one, other = np.exp(0.1 * rng.normal(size=(2, 6)))
    return flatter("a", "b", list(one), list(other))[0].status != "inconclusive"


def one_valley(rng):
    """Errors along a path whose middle is truly 2 % above its ends, on 225 rows."""
    t = np.linspace(0, 1, 25)
    u = rng.uniform(size=(225, 1))
    rate = 0.03 + 0.02 * 4 * t * (1 - t)
    errors = (u < rate).mean(axis=0)
    barrier = errors.max() - (errors[0] + errors[-1]) / 2
    return f.one_valley("a", barrier, barrier_error(errors, 225), 225, 1.0).status == "passed"


def trained(seed):
    """A module that has learned a rule."""
    rng, module = np.random.RandomState(seed), network(seed)
    X = torch.as_tensor(rng.normal(size=(300, 6)), dtype=torch.float32)
    y = (X[:, 0] > 0).long() + (X[:, 1] * X[:, 2] > 0).long()
    optimizer = torch.optim.Adam(module.parameters(), lr=0.05)
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.cross_entropy(module(X), y).backward()
        optimizer.step()
    return from_module(module, classes=[0, 1, 2])


OTHERS = [trained(seed) for seed in range(20)]


def come_back(rng):
    """A network of fresh weights beside five that have learned; whether any unit comes back."""
    X = rng.normal(size=(100, 6))
    first = from_module(network(rng.randint(2**31)), classes=[0, 1, 2])
    others = [OTHERS[i] for i in rng.choice(20, 5, replace=False)]
    probe = UniversalityProbe([first, *others], random_state=rng)
    n = len(probe.fit(X, rng.randint(3, size=100)).universal_units_)
    return n > 0


def honest(rng):
    """Labels that are drawn from the network's own probabilities."""
    z = 2 * rng.normal(size=(N_ROWS, N_CLASSES))
    p = softened(z, 1.0)
    y = (rng.uniform(size=(N_ROWS, 1)) > p.cumsum(axis=1)).sum(axis=1).clip(max=N_CLASSES - 1)
    found = fit_temperature(z, y)
    finding = f.honest_confidence("a", found.temperature, found.interval, found.bound)
    return finding.status == "attention"


def hierarchy(rng):
    """Classes that are alike but for how hard they are."""
    y = np.repeat(np.arange(N_CLASSES), 20)
    z = rng.normal(size=(len(y), N_CLASSES))
    z[np.arange(len(y)), y] += np.linspace(0, 5, N_CLASSES)[y]
    s = np.ones(len(y))
    sweep = TemperatureSweep.of(
        lambda T: softened(z, T), y, s, temperature_grid(None, z)[::6], np.arange(N_CLASSES),
        "average", ResampledRows.drawn(y, s, 20, rng), rng,
    )  # fmt: skip
    found = f.class_hierarchy("a", sweep.has_hierarchy, "")
    return found.status == "passed"


def tree_stands(rng):
    """Two trees that agree with the network equally often, on 112 rows."""
    same = 1 - np.column_stack([wrong(rng, 0.08, 112) for _ in range(2)])
    share = np.full(112, 1 / 112)
    drawn = bootstrap_means(same, share, rng)
    ends = np.quantile(drawn[:, 0] - drawn[:, 1], [0.025, 0.975])
    gain = (float(np.diff(same.mean(axis=0)[::-1])[0]), *map(float, ends))
    finding = f.tree_stands_for_network("a", float(same[:, 0].mean()), gain, "")
    return finding.status != "inconclusive" or gain[1] > 0


def fewer_units(rng):
    """A path on which every unit that goes costs a little; whether too many go."""
    n, tol = 1250, 0.01
    assert finest_drop(n) < tol
    u, smallest = rng.uniform(size=n), 40
    for kept in range(39, 0, -1):
        true = 0.02 * (40 - kept) / 40
        lost = (u < true).astype(float) - (rng.uniform(size=n) < 0.002)
        drop = difference(np.maximum(lost, 0), np.maximum(-lost, 0))
        if drop[2] > tol:
            break
        smallest = kept
    return 0.02 * (40 - smallest) / 40 > tol


def ticket(rng):
    """Five retrained tickets that are worse by just as much as no ticket may be."""
    scores = 0.95 + 0.005 * rng.normal(size=5)
    drop = 0.97 - float(scores.mean())
    return f.ticket("a", 0.8, drop, margin_of(scores), 5).status == "passed"


RUNS = {
    "SKF001": better_than_constant,
    "SKF002": estimators_differ,
    "SKF003": dead,
    "SKF004": needed,
    "SKF005": harmful,
    "SKF006": know_target,
    "SKF007": flat,
    "SKF009": flatter_than_first,
    "SKF010": one_valley,
    "SKF011": come_back,
    "SKF012": honest,
    "SKF013": hierarchy,
    "SKF014": tree_stands,
    "SKF015": fewer_units,
    "SKF016": ticket,
}


def false_reports(code, n_runs=N_RUNS):
    """Runs in which a code was reported, of so many under its null."""
    number = int(code[3:])
    return sum(bool(RUNS[code](np.random.RandomState([number, i]))) for i in range(n_runs))


def measured(codes):
    """Run some codes and keep their counts beside those of the others."""
    for code in codes:
        start = time.process_time()
        n = false_reports(code)
        print(f"{code} {n}/{N_RUNS} {time.process_time() - start:.0f} s", flush=True)
        counts = json.loads(COUNTS.read_text()) if COUNTS.exists() else {}
        counts[code] = n, N_RUNS
        COUNTS.write_text(json.dumps(dict(sorted(counts.items())), indent=1) + "\n")
    return json.loads(COUNTS.read_text())


def row(code, n, m):
    null = " ".join(RUNS[code].__doc__.split())
    return f"| {code} | {CODES[code].title} | {null} | {n:,} of {m:,} | {n / m:.1%} |\n"


def main():
    warnings.simplefilter("ignore")
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("codes", nargs="*", default=list(RUNS), help="some codes; default: all")
    found = measured(parser.parse_args().codes)
    TABLE.write_text(HEAD + "".join(row(code, *found[code]) for code in RUNS if code in found))
    lines = "".join(f'    "{code}": ({n}, {m}),\n' for code, (n, m) in found.items())
    source = RATES.read_text().split("FALSE_ALARMS: ")[0]
    RATES.write_text(f"{source}FALSE_ALARMS: dict[str, tuple[int, int]] = {{\n{lines}}}\n")
    often = [code for code, (n, m) in found.items() if n / m > LEVEL + SLACK]
    assert not often, f"reported more often than {LEVEL:.0%}: {often}"


if __name__ == "__main__":
    main()
