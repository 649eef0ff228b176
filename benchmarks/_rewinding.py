"""What the benchmarks of rewinding have in common: intervals, tables, and results kept by seed."""

import json
from pathlib import Path

import numpy as np
from scipy import stats

RESULTS = Path(__file__).parent / "results"


def interval(values, digits=2):
    """Mean and 95 % interval (Student's t) of a few values, as text."""
    mean, half = mean_and_half(values)
    low, high = mean - half, mean + half
    return f"{mean:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def mean_and_half(values):
    """Mean of a few values, and half of its 95 % interval (Student's t)."""
    values = np.asarray(values, dtype=float)
    half = stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / len(values) ** 0.5
    return values.mean(), half


def as_table(rows):
    """Lines of a table in Markdown, of dicts with the same keys."""
    head = list(rows[0])
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return [*lines, *("| " + " | ".join(str(row[name]) for name in head) + " |" for row in rows)]


def write(name, lines):
    """Write lines as ``results/rewinding_NAME.md``, and print them."""
    text = "\n".join(lines) + "\n"
    (RESULTS / f"rewinding_{name}.md").write_text(text)
    print(text)


def by_seed(path, seeds, of_seed):
    """What ``of_seed`` returns for each seed, kept in a file if given, so that a run can go on."""
    path = None if path is None else Path(path)
    known = json.loads(path.read_text()) if path is not None and path.exists() else {}
    for seed in seeds:
        if str(seed) not in known:
            known[str(seed)] = of_seed(seed)
            if path is not None:
                path.write_text(json.dumps(known))
            print("seed", seed, "done", flush=True)
    return [known[str(seed)] for seed in seeds]
