"""``python -m sklflat claims``: the seven claims, measured, with a verdict each."""

import argparse
import datetime
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from sklflat.claims.cells import Cell, measure_all, versions
from sklflat.claims.html_page import html_page
from sklflat.claims.protocol import DECISION
from sklflat.claims.registry import CLAIMS, DATA, claim_number, claims_named
from sklflat.claims.results import Results, check_output, read_results
from sklflat.claims.tables import LEGEND, changed_verdicts, details, summary, verdict_table
from sklflat.exceptions import CommandError
from sklflat.storage import RunStore, fingerprint
from sklflat.storage.text_files import writable, write_text

HELP = "Measure the seven claims on planted and real data, and say of each whether it holds."

N_SEEDS, N_SEEDS_QUICK = 24, DECISION.min_seeds
#: claims add up to a million for further networks, and generators take 32 bits
LARGEST_SEED = 2**32 - 1_000_001
#: of the names of the files that are written
ENDS = (".json", ".md", ".html")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    add = parser.add_argument
    add("--seeds", type=int, help=f"paired seeds ({N_SEEDS}; {N_SEEDS_QUICK} with --quick)")
    add("--first-seed", type=int, default=0, help="the first of them (0)")
    only = f"some claims by number or word ({claims_named()})"
    add("--only", action="extend", nargs="+", metavar="CLAIM", help=only)
    add("--quick", action="store_true", help="planted data only, few seeds")
    add("--cache-dir", help="keeps what is measured; a run that was cut off goes on")
    add("-o", "--output", help="results (claims.json); .md and .html go beside it")
    add("--jobs", type=int, default=1, help="workers (1)")
    add("--show", metavar="FILE", help="show results again, without measuring; -o writes")
    add("--repeated", metavar="FILE", help="results with other seeds, to mark unstable verdicts")


def run(arguments: argparse.Namespace) -> int:
    """Measure, write three files and print the verdicts.

    Parameters
    ----------
    arguments : argparse.Namespace

    Returns
    -------
    status : int
        0, whatever the verdicts are; 130 after Ctrl-C.

    Raises
    ------
    CommandError
        If what was asked for cannot be done.
    """
    repeated = None if arguments.repeated is None else read_results(arguments.repeated)
    if arguments.show is not None:
        _check_nothing_to_measure(arguments)
        results = read_results(arguments.show)
        _check_other_seeds(results.configuration, repeated)
        if arguments.output is not None:
            files = _files(arguments.output)
            check_output(files)
            _write(files, results, repeated)
        _print(results, repeated)
        return 0
    files = _files("claims.json" if arguments.output is None else arguments.output)
    configuration = _configuration(arguments)
    _check_other_seeds(configuration, repeated)
    check_output(files)
    try:
        results = measured(configuration, arguments.cache_dir, arguments.jobs)
    except KeyboardInterrupt:
        kept = arguments.cache_dir
        said = "Nothing is kept: --cache-dir keeps what is finished."
        if kept is not None:
            said = f"What is finished is kept in {kept}: the same command goes on from there."
        print(f"\nInterrupted. {said}", file=sys.stderr)
        return 130
    try:
        _write(files, results, repeated)
    finally:  # what was measured is not lost where the disk is full by now
        _print(results, repeated)
    print(f"\nNumbers of every seed: {files[0]}; as a page: {files[2]}")
    return 0


def _check_nothing_to_measure(arguments: argparse.Namespace) -> None:
    """Raise for options of a measurement beside ``--show``, which makes none."""
    parser = argparse.ArgumentParser(add_help=False)
    add_arguments(parser)
    without = ("seeds", "first_seed", "only", "quick", "cache_dir", "jobs")
    given = [name for name in without if getattr(arguments, name) != parser.get_default(name)]
    if given:
        options = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise CommandError(
            f"--show measures nothing, so {options} would have no effect: leave out."
        )


def _check_other_seeds(configuration: dict[str, Any], repeated: Results | None) -> None:
    """Raise if results that are to be a repetition have seeds, and claims and data, in common."""
    if repeated is None:
        return
    ours, theirs = (
        range(c["first_seed"], c["first_seed"] + c["seeds"])
        for c in (configuration, repeated.configuration)
    )
    if max(ours.start, theirs.start) < min(ours.stop, theirs.stop):
        raise CommandError(
            f"--repeated has the seeds {theirs.start} to {theirs.stop - 1}, some of which are "
            f"among {ours.start} to {ours.stop - 1}: only other seeds tell whether a verdict is "
            "stable."
        )


def _files(output: str) -> list[Path]:
    """Of numbers, text and page."""
    path = writable(output)
    stem = path.with_suffix("") if path.suffix in ENDS else path
    return [stem.with_name(f"{stem.name}{end}") for end in ENDS]


def _write(files: Sequence[Path], results: Results, repeated: Results | None) -> None:
    for file, text in zip(files, _texts(results, repeated), strict=True):
        write_text(file, text)


def _configuration(arguments: argparse.Namespace) -> dict[str, Any]:
    """What to measure, checked."""
    n = arguments.seeds
    if n is None:
        n = N_SEEDS_QUICK if arguments.quick else N_SEEDS
    if n < 2:
        raise CommandError(
            f"--seeds {n} are too few: two make a spread, and {DECISION.min_seeds} a verdict."
        )
    first = arguments.first_seed
    if not 0 <= first <= LARGEST_SEED - n:
        raise CommandError(
            f"--first-seed {first}: seeds are from 0 to {LARGEST_SEED}, and {n} are asked for."
        )
    if arguments.jobs == 0:
        raise CommandError("--jobs 0: give 1 or more workers, or -1 for one a core.")
    numbers = sorted({claim_number(word) for word in arguments.only or map(str, CLAIMS)})
    if n < DECISION.min_seeds:
        print(
            f"--seeds {n}: all verdicts will be inconclusive; {DECISION.min_seeds} seeds or more "
            "can decide.",
            file=sys.stderr,
        )
    return {
        "seeds": n,
        "first_seed": first,
        "claims": numbers,
        "data": list(DATA[:1] if arguments.quick else DATA),
    }


def measured(configuration: dict[str, Any], cache_dir: str | None, n_jobs: int) -> Results:
    """All cells of a configuration, with a progress bar on stderr.

    Parameters
    ----------
    configuration : dict
    cache_dir : str or None
    n_jobs : int

    Returns
    -------
    Results
    """
    store = None if cache_dir is None else _store(cache_dir)
    begun = _date(store, configuration)
    seeds = range(configuration["first_seed"], configuration["first_seed"] + configuration["seeds"])
    cells = [
        Cell(number, data, seed)
        for data in configuration["data"]
        for number in configuration["claims"]
        if data in CLAIMS[number].protocol.data
        for seed in seeds
    ]
    # planted data first, and then seed by seed: what is cut off has whole seeds
    cells.sort(key=lambda cell: (cell.data != DATA[0], cell.seed))
    found: dict[Cell, dict[str, Any]] = {}
    with tqdm(total=len(cells), unit="cell", desc="claims", file=sys.stderr) as bar:
        for cell, record in measure_all(cells, store, n_jobs):
            found[cell] = record
            bar.set_postfix_str(f"claim {cell.claim}, {cell.data}, seed {cell.seed}")
            bar.update()
    return Results(configuration, versions(), begun, _by_claim(cells, found))


def _store(cache_dir: str) -> RunStore:
    try:
        return RunStore(cache_dir)
    except (ValueError, OSError) as error:
        raise CommandError(f"--cache-dir: {error}") from error


def _date(store: RunStore | None, configuration: dict[str, Any]) -> str:
    """The day on which this run was begun, also if it goes on on another."""
    today = datetime.date.today().isoformat()
    if store is None:
        return today
    key = fingerprint(["begun", configuration, versions()])
    kept = store.get(key)
    if kept is None:
        store.put(key, {}, today)
        return today
    return str(kept[1])


def _by_claim(
    cells: Sequence[Cell], found: dict[Cell, dict[str, Any]]
) -> dict[int, dict[str, list[dict[str, Any]]]]:
    records: dict[int, dict[str, list[dict[str, Any]]]] = {}
    for cell in cells:
        records.setdefault(cell.claim, {}).setdefault(cell.data, []).append(found[cell])
    return records


def _texts(results: Results, repeated: Results | None) -> tuple[str, str, str]:
    """JSON, Markdown and HTML."""
    lines = [
        "# Verdicts on the seven claims\n",
        f"Written by `python -m sklflat claims`. {summary(results)}\n",
        verdict_table(results, repeated),
        "",
        *details(results),
        f"{LEGEND}\n",
    ]
    return results.to_json(), "\n".join(lines).rstrip() + "\n", html_page(results, repeated)


def _print(results: Results, repeated: Results | None) -> None:
    print(summary(results), verdict_table(results, repeated), sep="\n\n")
    for data in results.data:
        for number, verdict in results.verdicts(data).items():
            print(f"\nClaim {number}, {data}. {verdict.sentence}")
    if repeated is not None:
        for (number, data), (one, other) in changed_verdicts(results, repeated).items():
            print(f"\nUnstable: claim {number}, {data}: {one}, with other seeds {other}.")
