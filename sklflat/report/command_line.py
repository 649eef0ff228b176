"""``python -m sklflat report``: a page on a table, from the command line."""

import argparse
import os
import shutil
import sys
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

from sklflat.exceptions import CommandError
from sklflat.report.data_files import BUNDLED, read_table
from sklflat.report.parts import Page
from sklflat.report.table_files import Format
from sklflat.report.wording import duration
from sklflat.storage.text_files import writable

HELP = "Train networks on a table and write a page on what in them is real."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes.

    Parameters
    ----------
    parser : argparse.ArgumentParser
    """
    names = ", ".join(BUNDLED)
    parser.add_argument("data", help=f"a CSV or parquet file, or one of {names}")
    parser.add_argument("--target", help="the column to predict; not for bundled tables")
    parser.add_argument("-o", "--output", default="report.html", help="default: report.html")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter trainings")
    parser.add_argument(
        "--task",
        choices=("auto", "classification", "regression"),
        default="auto",
        help="whether the target is of classes or a number to estimate (regression); default: "
        "auto, which takes numbers for regression if some are not whole, "
        "else for classes",
    )
    parser.add_argument(
        "--separator", default=",", help="between the columns of a CSV file; default: a comma"
    )
    parser.add_argument(
        "--decimal", default=".", help="between a number and its decimals; default: a point"
    )
    parser.add_argument("--encoding", default="utf-8", help="of a CSV file; default: utf-8")
    parser.add_argument(
        "--missing",
        action="append",
        default=[],
        metavar="SIGN",
        help="stands for a missing value, as '?' may; may be given several times",
    )
    parser.add_argument(
        "--categories",
        action="append",
        default=[],
        metavar="COLUMN",
        help="is of categories though its values look like numbers; may be given several times",
    )
    parser.add_argument("--seed", type=int, default=0, help="default: 0")
    parser.add_argument("--jobs", type=int, default=1, help="processes; default: 1")
    parser.add_argument(
        "--cache-dir",
        help="keep finished work here; default: beside the output, until the report is done",
    )


def run(arguments: argparse.Namespace) -> int:
    """Read, check, measure and write.

    Parameters
    ----------
    arguments : argparse.Namespace

    Returns
    -------
    status : int
        0, or 130 after Ctrl-C.

    Raises
    ------
    CommandError
        If the data, the target or the output cannot be used.
    """
    output, beside = _outputs(arguments.output, arguments.data)
    _check_numbers(arguments.seed, arguments.jobs)
    separator = arguments.separator.replace("\\t", "\t")
    format_ = Format(_one_sign(separator, "separator"), _one_sign(arguments.decimal, "decimal"))
    format_ = replace(
        format_,
        encoding=arguments.encoding,
        missing=tuple(arguments.missing),
        categories=tuple(arguments.categories),
    )
    table = read_table(arguments.data, arguments.target, arguments.task, format_)
    own = arguments.cache_dir is None
    cache_dir = Path(f"{output}.unfinished" if own else arguments.cache_dir)
    n_columns = table.X.shape[1]
    columns = f"{n_columns:,} column{'s' * (n_columns > 1)}"
    print(f"{table.name}: {len(table.y):,} rows, {columns}, {table.task}.")
    for sentence in table.said:
        print(sentence)
    from sklflat.report.report import MinimaReport  # PyTorch is loaded after the checks

    report = MinimaReport(
        effort="quick" if arguments.quick else "full",
        task=table.task,
        n_jobs=arguments.jobs,
        cache_dir=cache_dir,
        random_state=arguments.seed,
        verbose=1,
    )
    try:
        report.fit(table.X, table.y)
    except KeyboardInterrupt:
        print(
            f"\nInterrupted. What is finished is kept in {cache_dir}: run the same command again "
            "to go on from there.",
            file=sys.stderr,
        )
        return 130
    except (ValueError, OSError) as error:
        raise CommandError(str(error)) from error
    if table.said:  # what the networks never saw is on the page, too
        told = report.page_.settings | {"columns of the file": " ".join(table.said)}
        report.page_ = replace(report.page_, settings=told)
    report.to_html(output)
    report.to_json(beside)
    if own:
        shutil.rmtree(cache_dir, ignore_errors=True)
    for sentence in report.page_.verdict:
        print(sentence)
    print(_times(report.page_))
    took = duration(report.page_.seconds)
    print(f"The report is {output}, its numbers are {beside}. It took {took}.")
    return 0


def _outputs(output: str, data: str) -> tuple[Path, Path]:
    """The page and its numbers beside it, which are neither one file nor the data."""
    if output.endswith(("/", os.sep)):
        raise CommandError(f"{output!r} is a directory: give --output the name of a file.")
    page = Path(output)
    beside = page.with_suffix(".json") if page.name else page
    if page == beside and page.name:
        raise CommandError(f"--output {output}: the numbers go there; name the page otherwise.")
    for path in (page, beside):
        if os.path.realpath(path) == os.path.realpath(data):
            raise CommandError(f"The report would overwrite the data in {data!r}: change --output.")
    return writable(page), writable(beside)


def _one_sign(sign: str, option: str) -> str:
    if len(sign) != 1:
        raise CommandError(f"--{option} {sign!r} is no single sign.")
    return sign


def _check_numbers(seed: int, jobs: int) -> None:
    if not 0 <= seed < 2**32:
        raise CommandError(f"--seed {seed} is not between 0 and {2**32 - 1:,}.")
    if jobs == 0:
        raise CommandError("--jobs 0 would do nothing: give 1, or -1 for all cores.")


def _times(page: Page) -> str:
    """How long each technique took, in a sentence."""
    seconds: dict[str, float] = defaultdict(float)
    for section in page.sections:
        seconds[section.title] += section.seconds
    parts = [f"{title} {duration(s)}" for title, s in seconds.items()]
    return f"Time of all estimators together: {', '.join(parts)}."
