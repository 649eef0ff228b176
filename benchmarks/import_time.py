"""Time that ``import sklflat`` takes beyond ``import sklearn``, in fresh processes.

Run ``python benchmarks/import_time.py``; it writes results/import_time.md.
"""

import statistics
import subprocess
import sys
from pathlib import Path

RESULTS = Path(__file__).parent / "results" / "import_time.md"
#: seconds beyond importing scikit-learn
LIMIT = 0.1
STATEMENT = "import sklearn.base, sklflat, torch"


def seconds():
    """Seconds of each import with all that it imports first, as Python itself takes them."""
    command = [sys.executable, "-X", "importtime", "-c", STATEMENT]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    rows = [line.removeprefix("import time:").split("|") for line in done.stderr.splitlines()]
    taken = {name.strip(): float(total) / 1e6 for _, total, name in rows[1:]}
    return {name: taken[name] for name in ("sklearn.base", "sklflat", "torch")}


def measure(rounds=9):
    """Median seconds of each import; the first round warms the disk cache."""
    taken = [seconds() for _ in range(rounds + 1)][1:]
    return {name: statistics.median(t[name] for t in taken) for name in taken[0]}


def main():
    taken = measure()
    lines = ["# Time to import\n", "| import | median s |", "|---|---|"]
    lines += [f"| `{name}`, after the one above | {t:.3f} |" for name, t in taken.items()]
    lines += ["", f"sklflat adds {taken['sklflat']:.3f} s (allowed: {LIMIT} s)."]
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text("\n".join(lines) + "\n")
    print(RESULTS.read_text())
    sys.exit(taken["sklflat"] > LIMIT)


if __name__ == "__main__":
    main()
