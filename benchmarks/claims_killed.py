"""Whether ``python -m sklflat claims``, killed at random instants, goes on to the same file.

One claim on planted data: once without interruption, then killed again and again, and once more to
its end. Both times the three files have to be equal, bit for bit. Kills are of three kinds: at
instants drawn over a share of the time that the cells took, while these are computed; as soon as
the temporary file is seen in which a cell is kept; and as soon as that of the results is.
``python benchmarks/claims_killed.py`` writes results/claims_killed.md and fails where files differ.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

TABLE = Path(__file__).parent / "results" / "claims_killed.md"
CLAIM = 3
ENDS = (".json", ".md", ".html")
#: share of the time of all cells over which an instant is drawn, so that ten do not reach the end
SHARE = 0.15


def begun(folder, seeds):
    """The command, which has begun its cells: the bar is the first that it says on stderr."""
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "sklflat", "claims", "--quick", "--seeds", str(seeds)),
            *("--only", str(CLAIM), "-o", str(folder / "claims.json")),
            *("--cache-dir", str(folder / "kept")),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        bufsize=0,
    )
    while (sign := process.stderr.read(1)) not in (b"c", b""):
        pass
    assert sign, "the command ended before it began"
    return process


def whole(folder, seeds):
    """Seconds from the first cell of a run without interruption."""
    process = begun(folder, seeds)
    start = time.perf_counter()
    said = process.stderr.read()
    assert process.wait() == 0, said
    return time.perf_counter() - start


def kept(folder):
    """How many cells are, beside the store's own file and the date."""
    return max(0, len(list((folder / "kept").glob("*.safetensors"))) - 2)


def temporary(folder):
    """Names of files that are being written."""
    return {path.name for path in folder.glob(".*.tmp")}


def killed(process, now):
    """Kill a process as soon as that is so; False if it ended before."""
    while not now():
        if process.poll() is not None:
            process.stderr.close()
            return False
    process.kill()
    process.wait()
    process.stderr.close()
    return True


def kill_at_random(folder, seeds, seconds, rng):
    """Kill while cells are computed, or not at all if they end before the instant."""
    process = begun(folder, seeds)
    end = time.perf_counter() + rng.uniform(0, SHARE * seconds)
    return killed(process, lambda: time.perf_counter() > end)


def kill_while_written(folder, place, seeds, n=1):
    """Kill when the n-th new temporary file is seen in a folder."""
    process = begun(folder, seeds)
    before, seen = temporary(place), set()

    def now():
        seen.update(temporary(place) - before)
        return len(seen) >= n

    return killed(process, now)


def results_of(folder):
    """The three files; None for one that is not there."""
    paths = [folder / f"claims{end}" for end in ENDS]
    return [path.read_bytes() if path.exists() else None for path in paths]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=16)
    parser.add_argument("--random-state", type=int, default=0)
    args = parser.parse_args()
    rng = np.random.RandomState(args.random_state)
    with tempfile.TemporaryDirectory() as place:
        once, often = Path(place) / "once", Path(place) / "often"
        once.mkdir()
        often.mkdir()
        seconds = whole(once, args.seeds)
        rows, partial = [], []
        for k in range(args.kills):
            done = kill_at_random(often, args.seeds, seconds, rng)
            rows.append(("cells are computed", done, kept(often)))
            if k % 4 == 1:
                done = kill_while_written(often, often / "kept", args.seeds, n=rng.randint(1, 3))
                rows.append(("a cell is written", done, kept(often)))
        for _ in range(3):
            done = kill_while_written(often, often, args.seeds)
            rows.append(("results are written", done, kept(often)))
            # whatever is there is whole
            partial += [
                name
                for name, is_, should in zip(ENDS, results_of(often), results_of(once), strict=True)
                if is_ not in (None, should)
            ]
        whole(often, args.seeds)
        same = [a == b for a, b in zip(results_of(once), results_of(often), strict=True)]
    n = sum(done for _, done, _ in rows)
    lines = [
        "# Claims that are measured in spite of kills\n",
        f"Written by `benchmarks/claims_killed.py`: claim {CLAIM} on planted data, {args.seeds} "
        f"seeds, killed {n} times, then run to the end; an uninterrupted run beside it.\n",
        "| killed while | in time | cells kept |",
        "|---|---|---|",
        *(f"| {what} | {'yes' if done else 'no'} | {n_kept} |" for what, done, n_kept in rows),
        "",
        f"Files of results that were seen half written: {len(partial)}.\n",
        *(
            f"- claims{end}: {'the same, bit for bit' if s else 'DIFFERS'}"
            for end, s in zip(ENDS, same, strict=True)
        ),
    ]
    TABLE.write_text("\n".join(lines) + "\n")
    print(TABLE.read_text())
    if not all(same) or partial or n < len(rows):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
