"""Every score of units on networks of which it is known which units are real.

Eight planted sets, 24 seeds each: the area under the ROC curve (AUC) of every probe, of eight
baselines, and of the consensus, over the units that are alive, on 500 rows that no network was
trained on. All but BasinRewinder, which prunes and retrains networks of its own, score one and the
same network.

``python benchmarks/planted_scores.py`` writes results/planted_scores.md, and keeps every seed in
results/planted_scores.json as it ends, so that it goes on where it was stopped; ``--minutes``
stops it, ``--check`` asserts that the tables are those of what is kept, and a cell what it was.
``--pages`` writes into the pages of the user guide what they quote, of default_selections.py too.
"""

import argparse
import json
import os
import platform
import time
from pathlib import Path

import _planted_units as planted
import default_selections
import numpy as np
import scipy
import sklearn
import torch
from _planted_report import PAGES, compared, page, sentences, with_quotation

import sklflat

RESULTS = Path(__file__).parent / "results"
TABLE, KEPT = RESULTS / "planted_scores.md", RESULTS / "planted_scores.json"
N_SEEDS = 24
SETTINGS = {
    "n_train": planted.N_TRAIN,
    "n_held_out": planted.N_HELD_OUT,
    "n_siblings": planted.N_SIBLINGS,
    "network": {k: list(v) if isinstance(v, tuple) else v for k, v in planted.NETWORK.items()},
    "recovered": [planted.RECOVERED, *planted.OTHER_THRESHOLDS],
    "reads": planted.READS,
    "top": planted.TOP,
}
#: difference of an area when it is computed again
SAME = 0.01


def read():
    """What is kept, of the same settings: cells by set, group of scores and seed."""
    if not KEPT.exists():
        return {"settings": SETTINGS, "cells": {}}
    kept = json.loads(KEPT.read_text())
    if kept["settings"] != SETTINGS:
        raise SystemExit(f"{KEPT} was made with other settings: move it away to start anew.")
    cells: dict = {}
    for cell in kept["cells"]:
        of_group = cells.setdefault(cell["set"], {}).setdefault(cell["group"], {})
        of_group[str(cell["seed"])] = cell["found"]
    return kept | {"cells": cells}


def write(kept):
    """Replace the file as a whole; a cell is a line."""
    kept["versions"] = {
        "sklflat": sklflat.__version__,
        "python": platform.python_version(),
        **{module.__name__: module.__version__ for module in (np, scipy, sklearn, torch)},
    }
    kept["date"] = time.strftime("%Y-%m-%d")
    head = {name: kept[name] for name in ("settings", "versions", "date")}
    lines = [
        json.dumps({"set": name, "group": group, "seed": int(seed), "found": found})
        for name, groups in sorted(kept["cells"].items())
        for group, cells in sorted(groups.items())
        for seed, found in sorted(cells.items(), key=lambda item: int(item[0]))
    ]
    text = json.dumps(head)[:-1] + ', "cells": [\n' + ",\n".join(lines) + "\n]}\n"
    part = KEPT.with_suffix(".part")
    part.write_text(text)
    os.replace(part, KEPT)


def order(n_seeds):
    """Groups of scores, sets and seeds, the most useful first; half of the seeds at once."""
    *quick, slow = planted.GROUPS
    halves = np.array_split(np.arange(n_seeds), 2)
    for groups in (quick, [slow]):
        for half in halves:
            yield from ((group, name, half) for group in groups for name in planted.SETS)


def run(n_seeds, minutes):
    """Compute the cells that are not kept."""
    end = time.monotonic() + 60 * minutes
    kept = read()
    for group, name, seeds in order(n_seeds):
        cells = kept["cells"].setdefault(name, {}).setdefault(group, {})
        missing = [int(seed) for seed in seeds if str(seed) not in cells]
        for seed, found in planted.areas(group, name, missing) if missing else ():
            cells[str(seed)] = found
            write(kept)
            if time.monotonic() > end:
                print("the time is over; what was computed is kept")
                return kept
        print(group, name, len(cells), f"{time.process_time():.0f} s", flush=True)
    return kept


def check():
    """Assert that the tables are those of what is kept, and one cell what it was."""
    kept = read()
    assert TABLE.read_text() == "\n".join(page(kept)) + "\n", "the tables are not of the JSON file"
    for name, group in (("shared units", "one network"), ("teacher, numbers", "several networks")):
        was = kept["cells"][name][group]["0"]
        ((_, now),) = planted.areas(group, name, [0])
        for threshold, areas in was["areas"].items():
            for score, value in areas.items():
                again = now["areas"][threshold][score]
                assert abs(again - value) <= SAME, f"{name}, {score}: {again}, kept is {value}"
    shared = planted.SETS["shared units"](0)
    consensus = sklflat.UnitConsensus(shared.network, n_units=5, random_state=0).fit(*shared.rows)
    area = planted.area(shared.real[0](None, None), consensus.unit_scores_)
    kept_area = kept["cells"]["shared units"]["one network"]["0"]["areas"]["0"]["UnitConsensus"]
    assert abs(area - kept_area) <= SAME, f"UnitConsensus has {area}, kept is {kept_area}"


def quotations():
    """What the page of each probe quotes, by probe."""
    kept, selections = read(), default_selections.read()
    found = {
        name: f"{said} {default_selections.sentence(name, selections)}".strip()
        for name, said in sentences(kept).items()
    }
    shuffled = default_selections.sentence(default_selections.SHUFFLED, selections)
    found["UnitConsensus"] += f" {shuffled} {compared(kept)}"
    return {name: " ".join(said.split()) for name, said in found.items()}


def write_pages():
    """Write into the user guide what it quotes."""
    for probe, said in quotations().items():
        path = RESULTS.parents[1] / "docs" / "user_guide" / f"{PAGES[probe]}.md"
        path.write_text(with_quotation(path.read_text(), probe, said))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=N_SEEDS)
    parser.add_argument("--minutes", type=float, default=float("inf"))
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--pages", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.check:
        return check()
    if args.pages:
        return write_pages()
    kept = run(args.seeds, args.minutes)
    TABLE.write_text("\n".join(page(kept)) + "\n")
    return print(TABLE.read_text())


if __name__ == "__main__":
    main()
