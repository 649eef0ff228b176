"""What a whole fit of SurrogateAligner costs, with 32 models of the basin.

``python benchmarks/surrogate_speed.py`` writes results/surrogate_speed.md: CPU seconds of breast
cancer, and of 20,000 rows of 16 columns and 26 classes. What PyTorch's optimizers import in the
first fit of a process is not counted. ``--sets`` chooses among them.
"""

import argparse
import time
import warnings
from pathlib import Path

import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklflat import SAMClassifier, SurrogateAligner

TABLE = Path(__file__).parent / "results" / "surrogate_speed.md"
N_ROWS, N_COLUMNS, N_CLASSES, N_CENTRES = 20_000, 16, 26, 4


def letters():
    """Classes of a few clusters each."""
    rng = np.random.RandomState(0)
    centres = rng.normal(size=(N_CLASSES, N_CENTRES, N_COLUMNS))
    y = rng.randint(N_CLASSES, size=N_ROWS)
    own = centres[y, rng.randint(N_CENTRES, size=N_ROWS)]
    return own + 0.9 * rng.normal(size=own.shape), np.array([chr(65 + k) for k in y])


SETS = {"breast cancer": lambda: load_breast_cancer(return_X_y=True), "26 classes": letters}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", nargs="*", default=list(SETS))
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    lines = [
        "# A whole fit",
        "",
        "| data | rows | units | CPU s of the network | CPU s of the whole fit | fidelity |",
        "|---|---|---|---|---|---|",
    ]
    # what is imported once only is not a fit's
    SAMClassifier((2,), max_iter=2).fit(np.eye(4), [0, 1, 0, 1])
    for name in args.sets:
        X, y = SETS[name]()
        network = make_pipeline(StandardScaler(), SAMClassifier((64,), max_iter=60, random_state=0))
        start = time.process_time()
        network.fit(X, y)
        alone = time.process_time() - start
        aligner = SurrogateAligner(network, random_state=0, verbose=1)
        start = time.process_time()
        aligner.fit(X, y)
        whole = time.process_time() - start
        cells = [name, str(len(X)), "64", f"{alone:.1f}", f"{whole:.1f}"]
        lines.append("| " + " | ".join([*cells, f"{aligner.fidelity_.value:.3f}"]) + " |")
        print(lines[-1], flush=True)
        TABLE.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
