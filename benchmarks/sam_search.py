"""What the default search of SAMClassifierCV costs, and what leaving early would save.

*Cost*: CPU time of ``SAMClassifierCV()`` on breast cancer by that of ``SAMClassifier()``, the
median of three of each by turns, one thread.

*Leaving early*: on the tables of ``sam_tables.py``, with right labels and with a fifth of them
wrong, all candidates are scored on all folds. For every order of the folds it is counted what
would have been chosen, had candidates far behind on the first fold not been trained on the others.

    OMP_NUM_THREADS=1 python benchmarks/sam_search.py   # five minutes; writes sam_search.md
    OMP_NUM_THREADS=1 python benchmarks/sam_search.py --cost   # the first part alone; no file
"""

import statistics
import sys
import time
import warnings
from pathlib import Path

import numpy as np
from _real_tables import load, names, split, with_wrong_labels
from sklearn.datasets import load_breast_cancer
from sklearn.preprocessing import StandardScaler

from sklflat import SAMClassifier, SAMClassifierCV

TABLE = Path(__file__).parent / "results" / "sam_search.md"
WIDTHS, N_ROUNDS = (32, 100, 128), 3
#: points behind the best on the first fold from which a candidate would leave
MARGINS = (0.02, 0.03, 0.04, 0.05, 0.06, 0.08, 0.1)


def seconds(estimator, X, y):
    """CPU time of one fit."""
    start = time.process_time()
    estimator.fit(X, y)
    return time.process_time() - start


def cost():
    """Lines of the table of costs."""
    X, y = load_breast_cancer(return_X_y=True)
    X = StandardScaler().fit_transform(X)
    SAMClassifierCV(max_iter=2).fit(X, y)  # imports
    yield "| units | `SAMClassifier`, s | `SAMClassifierCV`, s | ratio |\n|---|---|---|---|"
    for width in WIDTHS:
        pairs = [
            [seconds(e((width,), random_state=0), X, y) for e in (SAMClassifier, SAMClassifierCV)]
            for _ in range(N_ROUNDS)
        ]
        one, search = (statistics.median(times) for times in zip(*pairs, strict=True))
        ratio = statistics.median(b / a for a, b in pairs)
        yield f"| {width} | {one:.2f} | {search:.2f} | {ratio:.1f} |"


def scores():
    """Scores (n_folds, n_candidates) of each table, the one that is chosen among equals first."""
    for name in names():
        for kind, share in (("right", 0.0), ("symmetric", 0.2)):
            X, y, _, _ = split(*load(name), 7, 300, 1000)
            if share:
                y = with_wrong_labels(X, y, kind, share, 7)
            found = SAMClassifierCV((64,), random_state=7).fit(X, y).scores_
            yield found.swapaxes(1, 2).reshape(len(found), -1)


def leaving_early(tables):
    """Lines of the table of what early leaving would do."""
    orders = [np.roll(table, k, axis=0) for table in tables for k in range(len(table))]
    chosen = [order.mean(axis=0).round(10).argmax() for order in orders]
    yield f"From {len(tables)} searches and 3 orders of the folds each.\n"
    yield "| leaves from, points behind | candidates that leave | trainings saved | same choice |"
    yield "|---|---|---|---|"
    for margin in MARGINS:
        left = [order[0] < order[0].max() - margin for order in orders]
        now = [
            np.where(out, -1.0, order.mean(axis=0).round(10)).argmax()
            for order, out in zip(orders, left, strict=True)
        ]
        share, same = np.mean(left), np.mean(np.equal(now, chosen))
        saved = share * (len(orders[0]) - 1) / len(orders[0])
        yield f"| {100 * margin:.0f} | {share:.0%} | {saved:.0%} | {same:.1%} |"


def main():
    warnings.simplefilter("ignore")
    lines = ["# What a search by SAMClassifierCV costs\n", *cost()]
    if "--cost" not in sys.argv:
        lines += ["\n## Leaving early\n", *leaving_early(list(scores()))]
        TABLE.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
