"""Whether ``python -m sklflat claims``, killed at random instants, goes on to the same file.

Two claims on planted data with four seeds: once without interruption, then killed ten times, at
instants drawn over the time that the first took, and once more to its end. All three files have to
be equal, bit for bit. ``python benchmarks/claims_killed.py`` writes results/claims_killed.md and
fails where they are not.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

TABLE = Path(__file__).parent / "results" / "claims_killed.md"
CLAIMS = (2, 6)
ENDS = (".json", ".md", ".html")


def command(folder, seeds):
    """The command, with results and kept cells in a folder."""
    only = [part for number in CLAIMS for part in ("--only", str(number))]
    files = ["-o", str(folder / "claims.json"), "--cache-dir", str(folder / "kept")]
    return [
        *(sys.executable, "-m", "sklflat", "claims", "--quick", "--seeds", str(seeds)),
        *(*only, *files),
    ]


def whole(folder, seeds):
    """Seconds of a run without interruption."""
    start = time.perf_counter()
    subprocess.run(command(folder, seeds), check=True, capture_output=True)
    return time.perf_counter() - start


def killed(folder, seeds, n_kills, seconds, rng):
    """Files that were kept after each kill; a run that ends before its instant is begun again."""
    kept = []
    while len(kept) < n_kills:
        started = subprocess.Popen(
            command(folder, seeds), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            started.wait(rng.uniform(0, seconds))
        except subprocess.TimeoutExpired:
            started.kill()
            started.wait()
            kept.append(len(list((folder / "kept").glob("*.safetensors"))))
    return kept


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--random-state", type=int, default=0)
    args = parser.parse_args()
    rng = np.random.RandomState(args.random_state)
    with tempfile.TemporaryDirectory() as place:
        once, often = Path(place) / "once", Path(place) / "often"
        once.mkdir()
        often.mkdir()
        seconds = whole(once, args.seeds)
        kept = killed(often, args.seeds, args.kills, seconds, rng)
        whole(often, args.seeds)
        names = [f"claims{end}" for end in ENDS]
        same = [(once / n).read_bytes() == (often / n).read_bytes() for n in names]
    lines = [
        "# Claims that are measured in spite of kills\n",
        f"Written by `benchmarks/claims_killed.py`: {len(CLAIMS)} claims on planted data, "
        f"{args.seeds} seeds, killed {args.kills} times at random instants, then run to the end; "
        "an uninterrupted run beside it.\n",
        f"Files kept after each kill: {', '.join(map(str, kept))}.\n",
        *(
            f"- {n}: {'the same, bit for bit' if s else 'DIFFERS'}"
            for n, s in zip(names, same, strict=True)
        ),
    ]
    TABLE.write_text("\n".join(lines) + "\n")
    print(TABLE.read_text())
    if not all(same):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
